# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`training/equal_time.py`: updates that fit into a time, what a second call still does, and its table."""

from __future__ import annotations

import json
import runpy
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """`main` with a training that takes 0.5 s and 0.01 s an update (0.02 s of recipe `slow`), and what it trained."""
    main = runpy.run_path(str(Path(__file__).parents[3] / "training/equal_time.py"))["main"]
    clock = {"now": 0.0}

    def train(words: Sequence[str]) -> None:
        options = dict(zip(words[1::2], words[2::2], strict=True))
        updates, folder = int(options["--max_steps"]), Path(options["--output_dir"])
        if main.dies_at == len(main.trained):
            (folder / "checkpoint-50").mkdir(parents=True)
            main.dies_at = None
            raise KeyboardInterrupt
        main.trained.append((words[0], updates))
        clock["now"] += 0.5 + updates * (0.02 if words[0] == "slow" else 0.01)
        folder.mkdir(parents=True, exist_ok=True)
        summary = {"metrics": {"final_bleu_1": float(updates), "final_runtime": 1.0}, "training_loss": 2.0}
        (folder / "training_summary.json").write_text(json.dumps(summary))

    main.trained, main.dies_at = [], None
    monkeypatch.setitem(main.__globals__, "train_teacher", train)
    monkeypatch.setattr(time, "process_time", lambda: clock["now"])
    return main


def test_recipes_have_the_same_time(script: Callable, tmp_path: Path):
    script(["quick", "slow", "--minutes", "0.1", "--output", str(tmp_path), "--seed", "3"])
    assert script.trained == [("quick", 5), ("quick", 25), ("quick", 600), ("slow", 5), ("slow", 25), ("slow", 300)]
    report = json.loads((tmp_path / "equal_time.json").read_text())
    assert [run["processor_seconds"] for run in report["runs"]] == pytest.approx([6, 6])
    assert {"command", "git_commit", "hardware"} <= set(report["provenance"])
    header, _, *rows = (tmp_path / "equal_time.md").read_text().strip().splitlines()
    assert header == "| recipe | updates | s per update | processor minutes | bleu_1 |"
    assert rows == ["| quick | 600 | 0.01 | 0.1 | 600.00 |", "| slow | 300 | 0.02 | 0.1 | 300.00 |"]


def test_interrupted_comparison_goes_on(script: Callable, tmp_path: Path):
    words = ["quick", "slow", "--minutes", "0.1", "--output", str(tmp_path)]
    script.dies_at = 5  # in the last run
    with pytest.raises(KeyboardInterrupt):
        script(words)
    assert len(json.loads((tmp_path / "equal_time.json").read_text())["runs"]) == 1
    script(words)
    assert script.trained[5:] == [("slow", 300)]
    runs = json.loads((tmp_path / "equal_time.json").read_text())["runs"]
    assert [run["updates"] for run in runs] == [600, 300]
    assert (
        runs[1]["processor_seconds"] is None
        and "| slow | 300 | 0.02 | – |" in (tmp_path / "equal_time.md").read_text()
    )


def test_other_settings_in_the_same_folder_are_refused(script: Callable, tmp_path: Path):
    words = ["quick", "--minutes", "0.1", "--output", str(tmp_path)]
    script(words)
    with pytest.raises(ValueError, match="Choose another --output"):
        script([*words, "--seed", "3"])


def test_recipes_of_one_name_are_refused(script: Callable, tmp_path: Path):
    with pytest.raises(ValueError, match="Recipes need different file names, got ctc, ctc"):
        script(["a/ctc.yaml", "b/ctc.yaml", "--minutes", "0.1", "--output", str(tmp_path)])
    assert script.trained == []
