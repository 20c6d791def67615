# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Killed at any file operation, a command started again comes to the same result; `training/kill.py` kills more."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.kills import harness
from tests.kills.harness import Plan, Stage
from tests.kills.stages import make_teacher


pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def _write_whole(output_dir: Path) -> None:
    from dims_hf.reports.files import write_text

    write_text("one\n", output_dir / "first.txt")
    write_text("two\n" * 100, output_dir / "second.txt")


def _write_in_place(output_dir: Path) -> None:
    """What nobody should do: the second start believes whatever the first one left."""
    output_dir.mkdir(exist_ok=True)
    for name in ("first.txt", "second.txt"):
        if not (output_dir / name).exists():
            (output_dir / name).write_text("text\n" * 10_000)


def _measured(call: Callable[[Path], Any], folder: Path) -> Stage:
    stage = Stage("planted", call, ("first.txt", "second.txt"))
    harness.measure(stage, folder)
    return stage


def test_whole_files_are_equal_wherever_the_process_dies(tmp_path: Path):
    stage = _measured(_write_whole, tmp_path / "work")
    assert stage.num_operations > 4 and stage.expected["out/second.txt:7"] == "two"
    for operation in range(1, stage.num_operations + 1):
        trial = harness.disturb(stage, tmp_path / "work", Plan("kill", operation))
        assert trial.outcome == "equal" or "also out/." in trial.text, trial
    assert harness.disturb(stage, tmp_path / "work", Plan("kill", 10_000)).outcome == "not disturbed"


def test_a_half_written_file_that_is_believed_is_found(tmp_path: Path):
    stage = _measured(_write_in_place, tmp_path / "work")
    trial = harness.disturb(stage, tmp_path / "work", Plan("cut", 2, 1000))
    assert trial.outcome == "different" and "first.txt" in trial.text


def test_a_full_disk_is_told_in_one_line(tmp_path: Path):
    stage = _measured(_write_whole, tmp_path / "work")
    assert harness.disturb(stage, tmp_path / "work", Plan("full", 3)).outcome == "equal"
    stage = _measured(_swallow, tmp_path / "work")
    assert harness.disturb(stage, tmp_path / "work", Plan("full", 2)).outcome == "unclear"


def _swallow(output_dir: Path) -> None:
    with suppress(OSError):
        _write_whole(output_dir)
    if not (output_dir / "second.txt").exists():
        raise RuntimeError("something went wrong")


def test_what_the_clock_changes_is_not_compared(tmp_path: Path):
    def write(output_dir: Path) -> None:
        output_dir.mkdir(exist_ok=True)
        (output_dir / "first.json").write_text(f'{{"seconds": {time.monotonic_ns()}, "steps": 4}}')

    stage = Stage("planted", write, ("first.json/steps",))
    harness.measure(stage, tmp_path / "work")
    assert stage.expected["out/first.json/steps"] == "4" and "out/first.json/seconds" not in stage.expected


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> tuple[Stage, Path]:
    """The first stage, measured, and its work folder."""
    folder = tmp_path_factory.mktemp("kills")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        stage = make_teacher(folder)
        harness.measure(stage, folder / "work")
        yield stage, folder / "work"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["kill", "cut", "full"])
def test_disturbed_training_started_again_comes_to_the_same_result(teacher: tuple[Stage, Path], kind: str):
    """`training/kill.py` does so many times, with every stage."""
    stage, work = teacher
    trial = harness.disturb(stage, work, harness.draw_plan(stage, Random(kind), kind))
    assert not trial.is_defect and trial.outcome == "equal", trial
