# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf reproduce` from end to end, with real processes, on a slice of the phrasebook and a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dims_hf.cli.main import main


TINY = (
    "{d_model: 16, encoder_layers: 1, decoder_layers: 1, attention_heads: 2, ffn_dim: 16, vocab_size: 150, "
    "eval_steps: 2250}"
)
RARELY = "{eval_steps: 250, save_steps: 250}"
WORDS = (
    "--seeds 1 --max_train_examples 300 --max_valid_examples 8 --max_test_examples 12 --max_teacher_steps 20 "
    "--max_student_steps 10 --iterations 1 2 --tokens_per_update 512"
).split()


@pytest.mark.slow
def test_reproduce_a_tiny_study_and_again_from_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "out"
    sizes = ["--teacher_settings", TINY, "--student_settings", RARELY, *WORDS]
    words = ["reproduce", *sizes, "--only", "fig3", "fig5", "table6", "--output_dir", str(out)]
    assert main(words) == 0, capsys.readouterr().out
    assert capsys.readouterr().out.count("done in") == 2
    document = json.loads((out / "results" / "fig3.json").read_text())
    student = document["systems"]["student"]["1"]
    assert student["updates"] == 10 and set(student["records"]) == {"1", "2"}
    assert student["records"]["1"]["length_buckets"] and document["task"]["num_sentences"] == 12
    report = (out / "report.md").read_text()
    assert "![Quality against decoder passes" in report and "one pass of the student is better" in report

    summaries = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*summary.json")}
    assert len(summaries) == 2
    assert main(words) == 0
    assert capsys.readouterr().out.count("there already") == 2
    assert {path: path.stat().st_mtime_ns for path in summaries} == summaries
