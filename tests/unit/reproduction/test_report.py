# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Verdicts, tables, figures and the report, from runs with known numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dims_hf.reproduction import EXPERIMENTS, Runner
from dims_hf.reproduction.claims import verdict
from dims_hf.reproduction.command import run_experiments
from dims_hf.reproduction.plan import find_experiments
from dims_hf.reproduction.report import read_notes, write_report
from dims_hf.reproduction.tables import scores, spread


@pytest.mark.parametrize(
    ("differences", "text"),
    [
        ({"1": 2.0, "2": 2.2, "3": 2.1}, "holds in 3 of 3 seeds by 2.1 ± 0.1 BLEU"),
        ({"1": 2.0}, "holds in 1 of 1 seed by 2.0 BLEU"),
        ({"1": 2.0, "2": -1.0}, "holds in 1 of 2 seeds; on average +0.5 ± 2.1 BLEU"),
        ({"1": -1.0, "2": 0.0}, "does not hold: in 0 of 2 seeds, -0.5 ± 0.7 BLEU"),
        ({}, "not measured"),
    ],
)
def test_verdict_says_in_how_many_seeds_and_by_how_much(differences: dict[str, float], text: str):
    assert verdict("a claim", differences, "BLEU")["text"] == text


@pytest.mark.parametrize(
    ("values", "text"), [([], ""), ([None], ""), ([1.25], "1.2"), ([1.0, None, 3.0], "2.0 (1.0–3.0)")]
)
def test_spread_is_mean_and_range(values: list, text: str):
    assert spread(values) == text


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("template") / "out"


@pytest.fixture
def reproduced(make_runner: Callable[..., Runner], tmp_path: Path, template: Path) -> Path:
    """A folder with all experiments, of each test's own: made once, then copied."""
    if not template.exists():
        runner = make_runner()
        runner.train.collapses = lambda run: run.settings.get("ema_decay") == 0.9
        assert run_experiments(find_experiments(None), runner) == 0
        shutil.copytree(tmp_path / "out", template)
    elif not (tmp_path / "out").exists():
        shutil.copytree(template, tmp_path / "out")
    return tmp_path / "out"


def document(folder: Path, name: str) -> dict:
    return json.loads((folder / "results" / f"{name}.json").read_text())


def test_every_experiment_has_document_verdicts_and_its_figure(reproduced: Path):
    pytest.importorskip("matplotlib")
    report = (reproduced / "report.md").read_text()
    for name in find_experiments(None):
        found, experiment = document(reproduced, name), EXPERIMENTS[name]
        assert found["status"] == "run" and found["verdicts"], name
        assert (reproduced / "results" / f"{name}.png").is_file() == (experiment.figure is not None)
        assert f"## {name}\n" in report and experiment.claim in report
        assert all(each["text"] in report for each in found["verdicts"])
    assert report.count("Not run: not asked for") == len(EXPERIMENTS) - len(find_experiments(None)) == 1


def test_quality_curve_verdicts_are_those_of_the_known_numbers(reproduced: Path):
    texts = {each["claim"]: each["text"] for each in document(reproduced, "fig3")["verdicts"]}
    # teacher 31 at one pass and 40 at ten, student 40 at one and at ten
    assert texts["one pass of the student is better than one of its teacher (BLEU)"] == (
        "holds in 2 of 2 seeds by 9.0 ± 0.0 BLEU"
    )
    assert texts["one pass of the student has part of what 10 passes of the teacher gain (BLEU)"] == (
        "holds in 2 of 2 seeds by 100.0 ± 0.0 % of that gain"
    )
    assert texts["the student's lead is larger at 1 pass than at 10 (BLEU)"] == (
        "holds in 2 of 2 seeds by 9.0 ± 0.0 BLEU"
    )


def test_scores_table_has_a_row_for_each_number_of_passes(reproduced: Path):
    header, rows = scores(document(reproduced, "fig3"))
    assert header[:4] == ["system", "passes", "BLEU", "valid outputs, %"]
    assert [row[:3] for row in rows[:2]] == [
        ["teacher", "1", "31.5 (31.0–32.0)"],
        ["teacher", "2", "32.5 (32.0–33.0)"],
    ]


def test_table_of_alignments_has_families_passes_and_times(reproduced: Path):
    header, rows = EXPERIMENTS["table2"].table(document(reproduced, "table2"))
    assert header[-1] == "ms per sentence"
    assert [row[:2] for row in rows][2:6] == [["Imputer teacher", passes] for passes in ("1", "2", "4", "8")]
    assert [row[-1].split()[0] for row in rows][2:6] == ["2.0", "4.0", "8.0", "16.0"]
    verdicts = {each["claim"]: each["differences"] for each in document(reproduced, "table2")["verdicts"]}
    assert verdicts["one pass of the Imputer's student is better than one of its teacher (BLEU)"] == {"1": 9, "2": 9}
    assert "masking all helps the Imputer's student (BLEU)" in verdicts


def test_report_names_the_commit_of_the_trainings(reproduced: Path):
    assert "; trained at `0123abc`." in (reproduced / "report.md").read_text()


def test_rounds_count_their_updates_one_after_the_other(reproduced: Path):
    rounds = document(reproduced, "fig4")["systems"]["rounds"]["1"]
    assert [point["step"] for point in rounds["validation"]] == [250, 500, 750, 1000, 1250, 1500]
    assert rounds["rounds"] == [{"round": 1, "bleu": 43.0}, {"round": 2, "bleu": 44.0}, {"round": 3, "bleu": 45.0}]


def test_costs_and_buckets_and_lengths_are_compared(reproduced: Path):
    costs = [each["text"] for each in document(reproduced, "fig9")["verdicts"]]
    assert costs[:2] == ["holds in 2 of 2 seeds by 88.9 ± 0.0 % less", "holds in 2 of 2 seeds by 80.0 ± 0.0 % less"]
    assert document(reproduced, "fig5")["verdicts"][-1]["text"] == "holds in 2 of 2 seeds by 2.0 ± 0.0 BLEU"
    assert document(reproduced, "fig6")["verdicts"][0]["text"] == "holds in 2 of 2 seeds by 20.0 ± 0.0 points"


def test_collapsed_run_is_shown_as_one(reproduced: Path):
    report = (reproduced / "report.md").read_text()
    assert "| μ = 0.9 | 1.0 (1.0–1.0) | 1.0 (1.0–1.0) |  | 2 of 2 |" in report


def test_notes_stay_when_the_report_is_written_again(reproduced: Path, tmp_path: Path):
    notes = tmp_path / "notes.yaml"
    notes.write_text("fig3: The curves meet at ten passes.\n")
    report = write_report(reproduced, read_notes(notes)).read_text()
    assert report.count("The curves meet at ten passes.") == 1
    assert report.index("## fig3") < report.index("The curves meet") < report.index("## fig4")


@pytest.mark.parametrize(("text", "message"), [("fig33: a", "note on 'fig33'"), ("- a", "must map"), ("a: [", "YAML")])
def test_bad_notes_are_refused(text: str, message: str, tmp_path: Path):
    path = tmp_path / "notes.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_notes(path)
