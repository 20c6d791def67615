# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`training/equal_time.py`: updates that fit into a time, stages, what a second call still does, and its table."""

from __future__ import annotations

import json
import runpy
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest


ROOT = Path(__file__).parents[3]
QUICK, SLOW, NGRAMS, DIMS = (f"phrasebook_{name}" for name in ("teacher", "fullynat_teacher", "nmla_teacher", "dims"))
SCORES = {
    "num_parameters": 1_000_000,
    "num_sentences": 2,
    "bleu": 31.25,
    "brevity_penalty": 0.95,
    "chrf": 50.0,
    "bleu_before_collapse": 30.0,
}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """`main` with a training that takes 0.5 s and 0.01 s an update (0.02 s of FullyNAT), and what it trained."""
    main = runpy.run_path(str(ROOT / "training/equal_time.py"))["main"]
    clock = {"now": 0.0}

    def train(words: Sequence[str]) -> None:
        options = dict(zip(words[1::2], words[2::2], strict=True))
        updates, folder = int(options["--max_steps"]), Path(options["--output_dir"])
        if main.dies_at == len(main.trained):
            (folder / "checkpoint-50").mkdir(parents=True)
            main.dies_at = None
            raise KeyboardInterrupt
        main.trained.append((words[0], updates))
        main.options.append(options)
        clock["now"] += 0.5 + updates * (0.02 if words[0] == SLOW else 0.01)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "training_summary.json").write_text(json.dumps({"training_loss": 2.0}))

    main.trained, main.options, main.dies_at = [], [], None
    monkeypatch.setitem(main.__globals__, "train_teacher", train)
    monkeypatch.setitem(main.__globals__, "distill", train)
    monkeypatch.setitem(main.__globals__, "evaluate", lambda folder, settings: SCORES)
    monkeypatch.setattr(time, "process_time", lambda: clock["now"])
    return main


def _study(folder: Path, systems: dict[str, Any], **others: Any) -> list[str]:
    """Words of a command over a study of these systems."""
    study = {"minutes": 0.1, "settings": {"data": "phrasebook"}, "systems": systems, **others}
    (folder / "study.yaml").write_text(json.dumps(study))  # which is YAML as well
    return [str(folder / "study.yaml"), "--output", str(folder / "out")]


def test_systems_have_the_same_time(script: Callable, tmp_path: Path):
    words = _study(tmp_path, {"quick": [QUICK], "slow": [SLOW]})
    script([*words, "--seed", "3"])
    assert script.trained == [(QUICK, 5), (QUICK, 25), (QUICK, 600), (SLOW, 5), (SLOW, 25), (SLOW, 300)]
    assert {options["--seed"] for options in script.options} == {"3"}
    report = json.loads((tmp_path / "out/equal_time.json").read_text())
    assert [system["stages"][0]["processor_seconds"] for system in report["systems"]] == pytest.approx([6, 6])
    assert {"command", "git_commit", "hardware"} <= set(report["provenance"])
    header, _, *rows = (tmp_path / "out/equal_time.md").read_text().strip().splitlines()
    assert header.startswith("| system | updates | processor minutes | million parameters | BLEU | brevity penalty |")
    scores = "0.1 | 1.0 | 31.25 | 0.950 | 50.00 | 30.00 |"
    assert rows == [f"| quick | 600 | {scores}", f"| slow | 300 | {scores}"]


def test_stages_share_the_time_and_begin_with_the_one_before(script: Callable, tmp_path: Path):
    stages = [SLOW, {"recipe": NGRAMS, "ngram_size": 1}]
    words = _study(
        tmp_path, {"a + b": stages, "c": [QUICK, DIMS]}, first_stage={"init": "start"}, last_stage_share=0.5
    )
    script(words)
    assert script.trained[2::3] == [(SLOW, 150), (NGRAMS, 300), (QUICK, 300), (DIMS, 300)]
    first, second, third, fourth = script.options[2::3]
    assert first["--init"] == third["--init"] == "start" and "--ngram_size" not in first
    assert second["--init"] == str(tmp_path / f"out/a-b/1-{SLOW}") and second["--ngram_size"] == "1"
    # a student is told its teacher
    assert fourth["--teacher"] == str(tmp_path / f"out/c/1-{QUICK}") and "--init" not in fourth
    assert "| a + b | 150 + 300 | 0.1 |" in (tmp_path / "out/equal_time.md").read_text()


def test_interrupted_comparison_goes_on(script: Callable, tmp_path: Path):
    words = _study(tmp_path, {"quick": [QUICK], "slow": [SLOW]})
    script.dies_at = 5  # in the last run
    with pytest.raises(KeyboardInterrupt):
        script(words)
    assert len(json.loads((tmp_path / "out/equal_time.json").read_text())["systems"]) == 1
    script(words)
    assert script.trained[5:] == [(SLOW, 300)]
    systems = json.loads((tmp_path / "out/equal_time.json").read_text())["systems"]
    assert [system["stages"][0]["updates"] for system in systems] == [600, 300]
    assert systems[1]["stages"][0]["processor_seconds"] is None
    assert "| slow | 300 | – |" in (tmp_path / "out/equal_time.md").read_text()


def test_other_settings_in_the_same_folder_are_refused(script: Callable, tmp_path: Path):
    words = _study(tmp_path, {"quick": [QUICK]})
    script(words)
    with pytest.raises(ValueError, match="Choose another --output"):
        script([*words, "--seed", "3"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"systems": {"a": ["no_such_recipe"]}}, "no_such_recipe"),
        ({"minutes": 0}, "minutes must be above 0"),
        ({"last_stage_share": 1.0}, "last_stage_share between 0 and 1"),
        ({"hours": 1}, "may have evaluation, first_stage, last_stage_share, minutes, settings, systems"),
    ],
)
def test_bad_studies_are_refused_before_any_training(
    script: Callable, tmp_path: Path, change: dict[str, Any], message: str
):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        script(_study(tmp_path, **{"systems": {"quick": [QUICK]}, **change}))
    with pytest.raises(ValueError, match="It has quick"):
        script([*_study(tmp_path, {"quick": [QUICK]}), "--systems", "slow"])
    assert script.trained == []


def test_shipped_studies_are_read():
    read_study = runpy.run_path(str(ROOT / "training/equal_time.py"))["read_study"]
    for path in (ROOT / "training/studies").glob("*.yaml"):
        for system in read_study(path, None, {}).values():
            assert system.stages[0].settings["data"].startswith("data/")
            assert system.evaluation["max_valid_examples"] == 2000
