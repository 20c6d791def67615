# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The program behind a run: a collapse is written down, an error is one line."""

from __future__ import annotations

import errno
import json
from importlib import import_module
from pathlib import Path

import pytest

from dims_hf import _commands
from dims_hf.recipes import runs as training_runs
from dims_hf.reproduction import worker
from dims_hf.reproduction.running import Outcome
from dims_hf.reproduction.study import Run
from dims_hf.trainers import CollapseError


def test_worker_when_training_collapses_writes_the_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def collapse(argv: list[str]) -> None:
        raise CollapseError("constant output", 40, {"eval_bleu_1": 0.5, "eval_distinct_translations": 0.01})

    monkeypatch.setattr(training_runs, "distill", collapse)
    state = tmp_path / "checkpoint-30" / "trainer_state.json"
    state.parent.mkdir()
    state.write_text(json.dumps({"log_history": [{"step": 30, "eval_bleu_1": 20.0}]}))
    assert worker.main(["student", str(tmp_path / "recipe.yaml")]) == 0
    outcome = Outcome(Run("student", "student"), tmp_path)
    assert outcome.is_finished and outcome.collapsed["step"] == 40
    assert [(entry["step"], entry["eval_bleu_1"]) for entry in outcome.log()] == [(30, 20.0), (40, 0.5)]


def test_every_kind_of_run_has_its_command():
    for module, function in worker._COMMANDS.values():
        assert callable(getattr(import_module(module), function))


def test_worker_error_is_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "recipe.yaml").write_text("{}")
    assert worker.main(["teacher", str(tmp_path / "recipe.yaml")]) == 2
    assert capsys.readouterr().err.startswith("error: No value for data, source_lang, target_lang. ")


def test_worker_that_finds_the_disk_full_ends_with_a_status_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    def fill(argv: list[str]) -> None:
        raise RuntimeError("writing failed") from OSError(errno.ENOSPC, "No space left on device", "model.safetensors")

    monkeypatch.setattr(training_runs, "distill", fill)
    monkeypatch.setattr(_commands, "_forget_output", lambda: None)  # it closes what pytest reads
    assert worker.main(["student", str(tmp_path / "recipe.yaml")]) == worker.FULL
    assert capsys.readouterr().err.startswith("error: The disk is full")
