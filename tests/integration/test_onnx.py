# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf export`: the pipeline, the translator and the shipped file in a process without torch say the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import pipeline

from dims_hf.cli.main import main
from dims_hf.export import OnnxTranslator


pytest.importorskip("onnxruntime", reason="needs the onnx extra")
pytest.importorskip("onnx", reason="needs the onnx extra")

TEXTS = ["the small dog sees the old cat .", "a cat", "der Hund schläft heute im Haus .", "the house today", "a dog ."]

LISTED = ["--source-lang", "en", "--target-lang", "de", "--shortlist"]

# Runs the file it is given as a program, where neither torch, nor transformers, nor this package can be found.
_WITHOUT_TORCH = """
import runpy, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "dims_hf", "onnx"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
for name in ("torch", "transformers", "dims_hf"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{name} can be imported, so this process would prove nothing")
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _run_shipped_file(folder: Path, text: str, *words: str) -> subprocess.CompletedProcess:
    file = folder / "onnx_translator.py"
    return subprocess.run(
        [sys.executable, "-I", "-c", _WITHOUT_TORCH, str(file), str(folder), *words],
        input=text.encode(),
        capture_output=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("family", "num_iterations"),
    [("tiny", 1), ("tiny", 4), ("tiny_cmlmc", 1), ("tiny_cmlmc", 4), ("tiny_imputer", 1), ("tiny_imputer", 4)],
)
def test_pipeline_translator_and_shipped_file_agree(
    request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture, family: str, num_iterations: int
):
    checkpoint: SimpleNamespace = request.getfixturevalue(family)
    out = tmp_path / "exported"
    words = ["export", str(checkpoint.folder), "--to", "onnx", "--output_dir", str(out), "--debug"]
    assert main([*words[:-1], "--num_iterations", str(num_iterations), "--debug"]) == 0
    assert "as PyTorch" in capsys.readouterr().out
    translator = OnnxTranslator(out, threads=1)
    translate = pipeline("translation", model=checkpoint.model, tokenizer=checkpoint.tokenizer)
    results = []
    for beam in (1, 3) if translator.predicts_length else (1,):
        options = {"num_iterations": num_iterations, "length_beam_size": beam}
        expected = [entry["translation_text"] for entry in translate(TEXTS, **options)]
        for batch_tokens in (1, 4096):
            assert translator.translate(TEXTS, length_beam_size=beam, batch_tokens=batch_tokens) == expected
        done = _run_shipped_file(
            out, "\n".join([TEXTS[0], "", "  ", *TEXTS[1:]]), "--length-beam-size", str(beam), "--threads", "1"
        )
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        lines = [" ".join(text.split()) for text in expected]
        assert done.stdout.decode().split("\n") == [lines[0], "", "", *lines[1:], ""]
        results.append(tuple(expected))
    assert len(set(results[0])) > 2


def test_int8_export_with_a_corpus_says_what_it_costs(
    tiny: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    rows = [{"translation": {"en": text, "de": text}} for text in TEXTS]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    words = ["export", str(tiny.folder), "--int8", "--num-iterations", "1", "--data", str(tmp_path)]
    assert main([*words, "--source-lang", "en", "--target-lang", "de", "--debug"]) == 0
    (folder,) = tmp_path.glob("*-onnx-int8")
    said = capsys.readouterr().out
    assert "int8 agrees on" in said and "BLEU fp32" in said
    described = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    scores = described["quality"]["bleu"]
    assert described["quality"]["bleu_change"] == scores["int8"] - scores["fp32"]
    assert described["precision"] == "int8"
    assert f"fp32 {scores['fp32']:.2f}" in (folder / "README.md").read_text(encoding="utf-8")
    assert _run_shipped_file(folder, "a cat\n").returncode == 0
    assert main([*words[:3], "--num-iterations", "1"]) == 2
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize("num_iterations", [1, 3])
def test_export_with_a_shortlist_translates_on_its_own_with_and_without_it(
    tiny: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture, num_iterations: int
):
    for language in ("en", "de"):
        (tmp_path / f"train.{language}").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    out = tmp_path / "out"
    words = ["export", str(tiny.folder), "--num-iterations", str(num_iterations), "--output-dir", str(out)]
    words += ["--shortlist", str(tmp_path), "--source-lang", "en", "--target-lang", "de"]
    assert main([*words, "--shortlist-per-token", "2", "--shortlist_frequent", "3", "--debug"]) == 0
    assert "shortlist of" in capsys.readouterr().out
    exact = pipeline("translation", model=tiny.model, tokenizer=tiny.tokenizer)(TEXTS, num_iterations=num_iterations)
    expected = [" ".join(entry["translation_text"].split()) for entry in exact]
    shortened = [" ".join(text.split()) for text in OnnxTranslator(out, threads=1).translate(TEXTS)]
    assert shortened != expected
    for option, lines in (([], shortened), (["--no-shortlist"], expected)):
        done = _run_shipped_file(out, "\n".join(TEXTS), "--threads", "1", *option)
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        assert done.stdout.decode().split("\n") == [*lines, ""]


def test_shipped_file_says_in_one_line_what_is_wrong(tiny: SimpleNamespace, tmp_path: Path):
    out = tmp_path / "out"
    assert main(["export", str(tiny.folder), "--num-iterations", "1", "--output-dir", str(out), "--debug"]) == 0
    done = _run_shipped_file(out, "a cat\n", "--num-iterations", "3")
    assert done.returncode == 2
    assert done.stderr.decode().startswith("error: This export decodes in one pass")
    assert done.stdout == b""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "phrasebook"], "--data needs its languages"),
        (["--verify-data", "nowhere.txt"], "nowhere.txt does not exist"),
        (["--to", "tflite"], "invalid choice"),
        (["--to", "tflite", "--shortlist", "phrasebook"], "invalid choice"),
        (["--shortlist", "phrasebook"], "--shortlist needs its languages"),
        ([*LISTED, "no/such/corpus"], "There is no file or folder 'no/such/corpus'"),
        ([*LISTED, "phrasebook", "--shortlist-per-token", "0"], "per_token >= 1, got 0"),
        ([*LISTED, "phrasebook", "--shortlist-frequent", "-1"], "frequent >= 0, got -1"),
    ],
)
def test_export_command_that_cannot_be_followed_is_refused(
    tiny: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture, words: list[str], message: str
):
    assert main(["export", str(tiny.folder), "--output-dir", str(tmp_path / "out"), *words]) == 2
    # before it, progress of loading may stand
    said = capsys.readouterr().err.partition("error: ")[2]
    assert message in said and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
