# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf translate` against a tiny model on disk."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from dims_hf.cli.main import main


SENTENCES = ["the small dog sees the old cat .", "a cat sleeps in the house today ."]


@pytest.fixture
def folder(tiny_model, tiny_tokenizer, tmp_path: Path) -> str:
    """A checkpoint folder with an untrained model."""
    from dims_hf.data import save_tokenizer

    tiny_model.save_pretrained(tmp_path / "model")
    save_tokenizer(tiny_tokenizer, tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def expected(tiny_model, tiny_tokenizer) -> list[str]:
    """What the library says of the same sentences."""
    from dims_hf.translation import translate

    return [each.text for each in translate(tiny_model, tiny_tokenizer, SENTENCES, num_iterations=2)]


def test_translate_arguments_prints_what_the_library_says(folder, expected, capsys: pytest.CaptureFixture):
    assert main(["translate", "--model", folder, "--num-iterations", "2", *SENTENCES]) == 0
    assert capsys.readouterr().out.splitlines() == expected


def test_translate_standard_input_keeps_blank_lines(folder, expected, capsys, monkeypatch: pytest.MonkeyPatch):
    text = f"{SENTENCES[0]}\r\n\n{SENTENCES[1]}\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))
    assert main(["translate", "--model", folder, "--num-iterations", "2"]) == 0
    assert capsys.readouterr().out.split("\n") == [expected[0], "", expected[1], ""]


def test_translate_file_to_file_leaves_no_temporary_file(folder, expected, tmp_path: Path):
    (tmp_path / "in.txt").write_text("\n".join(SENTENCES) + "\n", encoding="utf-8")
    files = ["--input", str(tmp_path / "in.txt"), "--output", str(tmp_path / "out.txt")]
    assert main(["translate", "--model", folder, "--num-iterations", "2", *files]) == 0
    assert (tmp_path / "out.txt").read_text(encoding="utf-8").splitlines() == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "model", "out.txt"]


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0c", "\r"])
@pytest.mark.parametrize("from_file", [True, False])
def test_translate_only_line_feeds_end_lines(folder, separator, from_file, tmp_path, capsys, monkeypatch):
    text = f"a cat{separator}sleeps .\r\na dog .\n".encode()
    (tmp_path / "in.txt").write_bytes(text)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text), encoding="utf-8"))
    echo = lambda model, tokenizer, sources, **_: [SimpleNamespace(text=source) for source in sources]  # noqa: E731
    monkeypatch.setattr("dims_hf.translation.translate", echo)
    assert main(["translate", "--model", folder, "--input", str(tmp_path / "in.txt") if from_file else "-"]) == 0
    assert capsys.readouterr().out == "a cat sleeps .\na dog .\n"


def test_translate_show_steps_prints_one_line_per_pass(folder, expected, capsys: pytest.CaptureFixture):
    words = ["--num_iterations", "2", "--length_beam_size=1", "--show_steps", SENTENCES[0]]
    assert main(["translate", "--model", folder, *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:9].strip() for line in lines] == ["source", "pass 1", "pass 2", "result"]
    assert lines[-1][9:] == expected[0]
    assert "[" not in lines[2]
    assert not any("<" in line for line in lines[1:3])


def test_translate_zero_iterations_is_refused_in_one_line(folder, capsys: pytest.CaptureFixture):
    assert main(["translate", "--model", folder, "--num-iterations", "0", "a cat ."]) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("error: num_iterations must be ")


def test_translate_folder_without_a_config_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(["translate", "--model", str(tmp_path), "a cat ."]) == 2
    assert f"error: {tmp_path} holds no config.json." in capsys.readouterr().err


def test_translate_unknown_device_is_refused(folder, capsys: pytest.CaptureFixture):
    assert main(["translate", "--model", folder, "--device", "abacus", "a cat ."]) == 2
    assert "error: 'abacus' is not a device." in capsys.readouterr().err
