# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf evaluate` and `training/evaluate.py`: from a command line to a table, and errors as one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dims_hf.cli.main import main


TASK = ["--source_lang", "en", "--target_lang", "de"]


@pytest.mark.parametrize("dash", ["-", "_"])
def test_evaluate_writes_the_table_to_standard_output(tiny_model, tiny_tokenizer, tmp_path: Path, capsys, dash: str):
    from dims_hf.data import save_tokenizer

    tiny_model.save_pretrained(tmp_path / "model")
    save_tokenizer(tiny_tokenizer, tmp_path / "model")
    (tmp_path / "test.en").write_text("a cat sleeps .\nthe dog sees a cat .\n", encoding="utf-8")
    (tmp_path / "test.de").write_text("eine Katze schläft .\nder Hund sieht eine Katze .\n", encoding="utf-8")
    words = f"--student {tmp_path / 'model'} --data {tmp_path} --source{dash}lang en --target{dash}lang de"
    assert main(["evaluate", *words.split(), "--iterations", "1", "2", f"--keep{dash}repeats"]) == 0
    output = capsys.readouterr().out
    rows = [line.split()[:2] for line in output.splitlines() if line.strip().startswith("student ")]
    assert rows == [["student", "1"], ["student", "2"]]
    assert "Repeats kept before scoring" in output


def test_evaluate_without_passes_takes_those_that_a_family_has(tiny_tokenizer, tmp_path: Path, capsys):
    from dims_hf import DATConfig, DATForConditionalGeneration
    from dims_hf.data import save_tokenizer

    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    config = DATConfig(vocab_size=len(tiny_tokenizer), max_position_embeddings=128, upsample_ratio=4, **sizes)
    DATForConditionalGeneration(config).save_pretrained(tmp_path / "model")
    save_tokenizer(tiny_tokenizer, tmp_path / "model")
    (tmp_path / "test.en").write_text("a cat sleeps .\n", encoding="utf-8")
    (tmp_path / "test.de").write_text("eine Katze schläft .\n", encoding="utf-8")
    assert main(["evaluate", "--student", str(tmp_path / "model"), "--data", str(tmp_path), *TASK]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("student ")]
    assert [row[1] for row in rows if row[1].isdigit()] == ["1"]


def test_evaluate_more_systems_stand_between_teacher_and_student(monkeypatch):
    seen = {}
    monkeypatch.setattr("dims_hf.reports.run_evaluation", lambda models, **settings: seen.update(models))
    monkeypatch.setattr("dims_hf.reports.write_table", lambda results: None)
    words = ["--student", "s", "--system", "a=runs/a", "--teacher", "t", "--system", "b=x=y", "--data", "x", *TASK]
    assert main(["evaluate", *words]) == 0
    assert list(seen.items()) == [("teacher", "t"), ("a", "runs/a"), ("b", "x=y"), ("student", "s")]


def test_evaluate_decodings_are_read_as_names_and_settings(monkeypatch):
    seen = {}
    monkeypatch.setattr("dims_hf.reports.run_evaluation", lambda models, **settings: seen.update(settings))
    monkeypatch.setattr("dims_hf.reports.write_table", lambda results: None)
    first = "a b:repeat-penalty=inf,length_beam_size=3,length_score_weight=1e-1,graph_search=beam"
    words = ["--student", "s", "--decoding", first, "--decoding", "own", "--data", "x", *TASK, "--iterations"]
    assert main(["evaluate", *words]) == 0
    settings = {"repeat_penalty": float("inf"), "length_beam_size": 3, "length_score_weight": 0.1}
    assert seen["decodings"] == {"a b": {**settings, "graph_search": "beam"}, "own": {}}
    assert type(seen["decodings"]["a b"]["length_beam_size"]) is int and seen["iterations"] == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["--data", "x", *TASK],
            "error: There is no model to evaluate. Give --teacher, --student, --system or several.",
        ),
        (["--system", "student=x", "--data", "x", *TASK], "error: --system takes NAME=PATH with a name of your own"),
        (["--system", "runs/x", "--data", "x", *TASK], "error: --system takes NAME=PATH with a name of your own"),
        (
            ["--student", "s", "--decoding", "a:b", "--data", "x", *TASK],
            "error: --decoding takes NAME:SETTING=VALUE,..., got 'a:b'. Write for example",
        ),
        (["--student", "./absent", "--data", "x", *TASK], "error: Model folder ./absent does not exist. Give a "),
        (["--data", "x", *TASK, "--max_ex", "1"], "error: unrecognized arguments: --max-ex 1. `dims-hf "),
        (["--data", "x", *TASK, "--iterations", "a"], "error: argument --iterations: invalid int value: 'a'."),
    ],
)
def test_evaluate_wrong_call_is_one_line_on_stderr_and_returns_2(words: list[str], line: str, capsys):
    assert main(["evaluate", *words]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert shown.err.startswith(line)


def test_training_script_passes_its_words_on_and_returns_the_code(repository: Path, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, str(repository / "training" / "evaluate.py"), "--data", "x", *TASK],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(repository)},
    )
    assert done.returncode == 2
    assert done.stderr == "error: There is no model to evaluate. Give --teacher, --student, --system or several.\n"
