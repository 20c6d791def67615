# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf translate` against a tiny model on disk."""

from __future__ import annotations

import io
import subprocess
import sys
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
    echo = lambda runtime, sources, **_: [SimpleNamespace(text=source) for source in sources]  # noqa: E731
    monkeypatch.setattr("dims_hf.translation.translate_texts", echo)
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


def test_translate_show_steps_keeps_to_the_policies(folder, capsys: pytest.CaptureFixture):
    long = " ".join(["a cat ."] * 60)
    words = ["translate", "--model", folder, "--num-iterations", "1", "--show-steps"]
    assert main([*words, "a cat .", long]) == 2
    done = capsys.readouterr()
    assert done.err.splitlines()[-1].startswith("error: argument 2 has ") and "indexing errors" not in done.err
    assert [line[:9].strip() for line in done.out.splitlines()] == ["source", "pass 1", "result"]
    assert main([*words, "--on-long", "split", "--on-blank", "keep", long, " "]) == 0
    assert capsys.readouterr().out.count("source ") > 1
    assert main([*words, "--on-blank", "error", "a cat .", "\u200b"]) == 2
    assert "error: argument 2 is blank" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--threads", "0"], "threads must be between 1 and 1024, got 0"),
        (["--threads", "1000000000"], "threads must be between 1 and 1024, got 1000000000"),
        (["--device", "meta"], "Device 'meta' computes nothing here"),
        (["--num-iterations", "1000000000"], "num_iterations must be <= 1000"),
        (["--length-beam-size", "1000000000"], "length_beam_size must be <= 1000"),
        (["--output", "."], ". is a folder. Give a file to write."),
        (["--threshold", "0.5", "--fallback-iterations", "0"], "Passes of the second try must be between 1 and 1000"),
    ],
)
def test_translate_impossible_numbers_are_refused_in_one_line(folder, capsys: pytest.CaptureFixture, words, message):
    assert main(["translate", "--model", folder, *words, "a cat ."]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {message}")


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


def _run(folder: str, *words: str) -> int:
    return main(["translate", "--model", folder, "--num-iterations", "2", *words])


def test_translate_byte_order_mark_and_invisible_lines(folder, expected, tmp_path: Path, capsys):
    (tmp_path / "in.txt").write_bytes(f"\ufeff{SENTENCES[0]}\r\n\u200b\n{SENTENCES[1]}".encode())
    assert _run(folder, "--input", str(tmp_path / "in.txt")) == 0
    assert capsys.readouterr().out.split("\n") == [expected[0], "", expected[1], ""]


def test_translate_lines_that_end_in_carriage_returns_alone(folder, expected, tmp_path: Path, capsys):
    (tmp_path / "in.txt").write_bytes("\r".join(SENTENCES).encode())
    assert _run(folder, "--input", str(tmp_path / "in.txt")) == 0
    assert capsys.readouterr().out.splitlines() == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (SENTENCES[0].encode() + b"\ncaf\xe9\n", "in.txt:2: not valid UTF-8 (byte 0xe9)"),
        ("a cat\n".encode("utf-16"), "in.txt is UTF-16, not UTF-8. Convert it: `iconv -f utf-16"),
        ("a cat .\n".encode("utf-16le"), "in.txt looks like UTF-16, not UTF-8"),
        (b"\x1f\x8b\x08\0\0", "in.txt is compressed with gzip, not text."),
        (b"PAR1\0\0", "in.txt is a Parquet file, not text."),
        (b"a cat\na \0 dog\n", "in.txt:2: a NUL character."),
    ],
)
def test_translate_what_is_no_utf8_text_is_one_line(folder, tmp_path: Path, capsys, content: bytes, words: str):
    (tmp_path / "in.txt").write_bytes(content)
    assert _run(folder, "--input", str(tmp_path / "in.txt")) == 2
    error = capsys.readouterr().err.splitlines()
    assert words in error[-1] and error[-1].startswith("error: ")


def test_translate_overlong_line_is_named_after_the_lines_before_it_are_written(folder, expected, tmp_path, capsys):
    long = "cat " * 400
    (tmp_path / "in.txt").write_text(f"\n\n{SENTENCES[0]}\n{long}\n{SENTENCES[1]}\n")
    assert _run(folder, "--input", str(tmp_path / "in.txt")) == 2
    shown = capsys.readouterr()
    assert shown.out.split("\n") == ["", "", expected[0], ""]
    assert "in.txt:4 has " in shown.err and "indexing errors" not in shown.err
    for policy, is_empty in (("skip", True), ("truncate", False), ("split", False)):
        assert _run(folder, "--input", str(tmp_path / "in.txt"), "--on-long", policy) == 0
        lines = capsys.readouterr().out.split("\n")
        assert (lines[2], lines[4]) == (expected[0], expected[1]) and (lines[3] == "") is is_empty


def test_translate_refused_line_leaves_what_was_done_beside_the_output(folder, expected, tmp_path: Path, capsys):
    (tmp_path / "in.txt").write_text(f"{SENTENCES[0]}\n\n")
    words = ["--input", str(tmp_path / "in.txt"), "--output", str(tmp_path / "out.txt"), "--on-blank", "error"]
    assert _run(folder, *words) == 2
    assert "in.txt:2 is blank" in capsys.readouterr().err
    assert not (tmp_path / "out.txt").exists()
    assert (tmp_path / "out.txt.partial").read_text() == expected[0] + "\n"


def test_translate_nothing_in_gives_nothing_out(folder, capsys):
    assert _run(folder, "--input", "/dev/null") == 0
    assert capsys.readouterr().out == ""


def test_translate_jsonl_has_scores_and_flags(folder, expected, capsys):
    import json

    assert _run(folder, "--format", "jsonl", SENTENCES[0], " ") == 0
    first, blank = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["source"] == SENTENCES[0] and first["translation"].split() == expected[0].split()
    assert 0 < first["confidence"] < 1 and first["score"] < 0 and isinstance(first["flags"], list)
    assert (blank["translation"], blank["left_out"], blank["confidence"], blank["flags"]) == ("", "blank", None, [])


def test_translate_second_try_decodes_unsure_sentences_with_more_passes(folder, tiny_model, tiny_tokenizer, capsys):
    import json

    from dims_hf.translation import translate

    words = ["--threshold", "1", "--fallback-iterations", "4", "--format", "jsonl", SENTENCES[0]]
    assert main(["translate", "--model", folder, "--num-iterations", "1", *words]) == 0
    got = json.loads(capsys.readouterr().out)
    assert got["is_fallback"]
    assert got["translation"] == translate(tiny_model, tiny_tokenizer, SENTENCES[:1], num_iterations=4)[0].text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--threshold", "0.5"], "A second try needs --threshold, and"),
        (["--num-candidates", "3"], "--num-candidates has no effect without --rerank"),
        (["--show-steps", "--format", "jsonl"], "--show-steps shows the passes of one model"),
        (["--input-format", "html"], "--input-format is for --input"),
        (["--fallback-iterations", "2", "--threshold", "2"], "threshold must be between 0 and 1, got 2.0"),
        (["--output", "absent/out.txt"], "There is no folder absent to write out.txt into"),
    ],
)
def test_translate_contradicting_options_are_refused(folder, capsys, words, message):
    assert _run(folder, *words, "a cat .") == 2
    assert f"error: {message}" in capsys.readouterr().err


def test_translate_full_disk_says_so(folder):
    done = subprocess.run(
        [sys.executable, "-m", "dims_hf.cli.main", "translate", "--model", folder, "--output", "/dev/full", "a cat ."],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "error: The disk is full" in done.stderr.splitlines()[-1]


def test_translate_standard_input_is_read_as_a_stream(folder):
    words = [sys.executable, "-m", "dims_hf.cli.main", "translate", "--model", folder]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for sentence in SENTENCES:
            process.stdin.write(sentence + "\n")
            process.stdin.flush()
            assert process.stdout.readline().strip()  # before the next one is sent
        process.stdin.close()
        assert process.wait(60) == 0


def test_translate_document_goes_by_its_suffix(folder, expected, tmp_path: Path):
    (tmp_path / "in.md").write_bytes(f"# {SENTENCES[0]}\r\n\r\n`code` stays\r\n".encode())
    assert _run(folder, "--input", str(tmp_path / "in.md"), "--output", str(tmp_path / "out.md")) == 0
    written = (tmp_path / "out.md").read_bytes().decode()
    assert written.startswith("# ") and "\r\n\r\n`code` " in written and written.endswith("\r\n")
    assert expected[0] in written.replace("\\", "")
    assert _run(folder, "--input", str(tmp_path / "in.md"), "--input-format", "text") == 0
