# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The `dims-hf` command: dispatch, and errors as one line."""

from __future__ import annotations

import errno
import importlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from dims_hf.cli import main as main_module
from dims_hf.cli.main import COMMANDS, main


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch):
    """Makes `dims-hf translate` raise what the test says."""

    def install(error: BaseException) -> None:
        def command(argv: Sequence[str]) -> None:
            raise error

        monkeypatch.setattr(main_module.importlib, "import_module", lambda name: SimpleNamespace(main=command))

    return install


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_every_entry_names_a_module_with_main(name: str):
    assert callable(importlib.import_module(COMMANDS[name][0]).main)


def test_main_help_lists_commands_and_returns_0(capsys: pytest.CaptureFixture):
    assert main(["--help"]) == 0
    shown = capsys.readouterr()
    assert all(f"  {name} " in shown.out for name in COMMANDS)
    assert shown.err == ""


def test_main_without_arguments_shows_usage_and_returns_2(capsys: pytest.CaptureFixture):
    assert main([]) == 2
    assert capsys.readouterr().out.startswith("usage: dims-hf")


def test_main_version_is_the_package_version(capsys: pytest.CaptureFixture):
    import dims_hf

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dims-hf {dims_hf.__version__}\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["destil"], "error: Unknown command 'destil'. Commands: "),
        (["translate", "hello"], "error: the following arguments are required: --model. `dims-hf translate --help` "),
        (["translate", "--model", "./absent", "hello"], "error: Model folder ./absent does not exist. Give a "),
        (["translate", "--model", "m", "--input", "absent.txt"], "error: Input file absent.txt does not exist. Give "),
        (["translate", "--model", "m", "--input", "a", "hello"], "error: Sentences were given as arguments and as "),
        (["translate", "--model", "m", "--num-iterations", "x"], "error: argument --num-iterations: invalid int "),
        (["translate", "--model", "m", "--num-iter", "1", "a"], "error: unrecognized arguments: --num-iter"),
        (["evaluate", "--data", "x", "--source_lang", "en", "--target_lang", "de"], "error: There is no model to "),
        (["phrasebook", "--show", "0"], "error: --show must be at least 1, got 0."),
        (["import-fairseq", "a", "b", "c", "--attention-heads", "1", "2", "3"], "error: --attention-heads takes one "),
        (["import-fairseq", "absent.pt", "dict.txt", "out"], "error: absent.pt does not exist. Give the checkpoint"),
    ],
)
def test_main_wrong_call_is_one_line_on_stderr_and_returns_2(
    words: list[str], line: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(line)
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("bad\n  value"), 2, "error: bad value\n"),
        (
            FileNotFoundError(errno.ENOENT, "No such file", "x.txt"),
            2,
            "error: x.txt: No such file. Correct the path, or its permissions.\n",
        ),
        (
            ModuleNotFoundError("No module named 'datasets'", name="datasets"),
            2,
            'error: datasets is not installed. Install it: pip install "dims-hf[train]"\n',
        ),
        (NotImplementedError("This is an Imputer checkpoint."), 2, "error: This is an Imputer checkpoint.\n"),
        (NotImplementedError(), 1, "error: NotImplementedError: no message (`dims-hf --debug ...` shows where)\n"),
        (KeyError("mask"), 1, "error: KeyError: 'mask' (`dims-hf --debug ...` shows where)\n"),
        (ValueError(), 1, "error: ValueError: no message (`dims-hf --debug ...` shows where)\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_main_error_of_a_command_becomes_one_line(raising, error, code, line, capsys: pytest.CaptureFixture):
    raising(error)
    assert main(["translate"]) == code
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("words", [["--debug", "translate"], ["translate", "--debug"]])
def test_main_debug_lets_the_error_through(raising, words: list[str]):
    raising(ValueError("bad value"))
    with pytest.raises(ValueError, match="bad value"):
        main(words)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {"attention_heads": None, "legacy": True}),
        (["--attention-heads", "4"], {"attention_heads": (4, 4), "legacy": True}),
        (["--attention_heads", "4", "2", "--no_legacy"], {"attention_heads": (4, 2), "legacy": False}),
    ],
)
def test_main_import_passes_its_options_on(
    options: list[str], expected: dict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    seen = {}

    def refuse(*_: str, **settings: object) -> None:
        seen.update(settings)
        raise NotImplementedError("enough")

    monkeypatch.setattr("dims_hf.export.import_fairseq_checkpoint", refuse)
    for name in ("model.pt", "dict.txt"):
        (tmp_path / name).touch()
    words = [str(tmp_path / name) for name in ("model.pt", "dict.txt", "out")]
    assert main(["import-fairseq", *words, *options]) == 2
    assert seen == expected


@pytest.mark.parametrize(("command", "function"), [("train", "train_teacher"), ("distill", "distill")])
def test_main_training_command_passes_its_words_on(command: str, function: str, monkeypatch: pytest.MonkeyPatch):
    seen = []
    runs = SimpleNamespace(**{function: lambda argv: seen.append(list(argv))})
    monkeypatch.setitem(sys.modules, "dims_hf.recipes.runs", runs)
    assert main([command, "recipe.yaml", "--ema_decay", "0.999"]) == 0
    assert seen == [["recipe.yaml", "--ema_decay", "0.999"]]


def test_main_as_a_process_returns_2_without_a_traceback(repository: Path, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "dims_hf.cli.main", "translate", "--model", "/absent/model", "hello"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(repository)},
        timeout=120,
    )
    assert done.returncode == 2
    assert (
        done.stderr
        == "error: Model folder /absent/model does not exist. Give a checkpoint folder or a Hub model id.\n"
    )
