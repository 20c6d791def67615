# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Rounds of distillation: each from the student of the last, resumable between and inside rounds."""

from __future__ import annotations

import copy
import json
import shutil

import pytest
import torch
from transformers import TrainerCallback

from dims_hf import DiMSTrainer
from dims_hf.trainers.rounds import ROUND_RECORD, read_round, round_folder


SETTINGS = {
    "max_steps": 4,
    "ema_decay": None,
    "save_strategy": "steps",
    "save_steps": 2,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "evaluates": True,
    "num_best_checkpoints": 2,
}


class StopInRound(TrainerCallback):
    """Stands for a kill: raises at a step of a round."""

    def __init__(self, number, step):
        self.number, self.step = number, step

    def on_step_end(self, args, state, control, **kwargs):
        if args.output_dir.endswith(f"round-{self.number}") and state.global_step == self.step:
            raise KeyboardInterrupt


def weights_of(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.fixture(scope="module")
def whole(make_dims_trainer_in, tmp_path_factory):
    """An uninterrupted run of two rounds."""
    trainer = make_dims_trainer_in(tmp_path_factory.mktemp("rounds"), rounds=2, **SETTINGS)
    trainer.train()
    return trainer


@pytest.fixture
def finished(whole, tmp_path):
    """A copy of that run's folder, where `make_dims_trainer` finds it."""
    shutil.copytree(whole.args.output_dir, tmp_path / "run")
    return tmp_path / "run"


def test_rounds_that_were_all_done_have_the_averages_they_had(whole, finished, make_dims_trainer):
    def steps(trainer):
        return [record["step"] for record in trainer.average_best_checkpoints()]

    # killed before the summary was written: every round has its record
    again = make_dims_trainer(rounds=2, **SETTINGS)
    again.train(resume_from_checkpoint=True)
    weights = weights_of(again.model)
    assert steps(again) == steps(whole) and len(steps(whole)) == 2
    assert_same_weights(weights, weights_of(whole.model))
    assert_same_weights(weights, weights_of(again.model))


def test_two_rounds_equal_two_runs_in_a_row(whole, make_dims_trainer):
    first = make_dims_trainer(folder="first", **SETTINGS)
    first.train()
    first.average_best_checkpoints()
    second = make_dims_trainer(
        folder="second", teacher=copy.deepcopy(first.model), mask_seed=4, data_seed=4, **SETTINGS
    )
    second.model.load_state_dict(first.model.state_dict())
    second.train()
    second.average_best_checkpoints()
    assert_same_weights(weights_of(whole.model), weights_of(second.model))


def test_every_round_is_early_stopped_and_reported_by_itself(make_dims_trainer):
    trainer = make_dims_trainer(
        rounds=2, early_stopping_patience=1, **{**SETTINGS, "max_steps": 20, "learning_rate": 1e-9}
    )
    output = trainer.train()
    records = [read_round(round_folder(trainer.args.output_dir, number)) for number in (1, 2)]
    # At this learning rate the second evaluation is no better than the first.
    assert [record["steps"] for record in records] == [4, 4]
    assert output.global_step == trainer.state.global_step == 8
    assert all("round_bleu_1" in record["metrics"] for record in records)
    assert {entry["round"] for entry in trainer.state.log_history} == {1, 2}


def test_run_killed_inside_its_rounds_ends_as_an_uninterrupted_one(whole, make_dims_trainer):
    """At the first round's end, before the second one's first checkpoint, and after it, every time started again."""
    for is_first, (number, step) in zip((True, False, False), ((1, 3), (2, 1), (2, 3))):
        killed = make_dims_trainer(rounds=2, **SETTINGS)
        killed._extras["callbacks"] = [StopInRound(number, step)]
        with pytest.raises(KeyboardInterrupt):
            killed.train(resume_from_checkpoint=None if is_first else True)
    resumed = make_dims_trainer(rounds=2, **SETTINGS)
    assert resumed.find_checkpoint()
    resumed.train(resume_from_checkpoint=True)
    assert_same_weights(weights_of(whole.model), weights_of(resumed.model))
    assert resumed.state.global_step == 8


def test_finished_rounds_are_not_trained_again_and_more_can_follow(finished, make_dims_trainer, tmp_path):
    make_dims_trainer(folder="other", rounds=1, **SETTINGS)  # rounds=1 writes no round folder
    assert not make_dims_trainer(folder="other", rounds=2, **SETTINGS).find_checkpoint()
    path = round_folder(finished, 1) / "round.json"
    written = path.stat().st_mtime_ns
    more = make_dims_trainer(rounds=3, **SETTINGS)
    more.train(resume_from_checkpoint=True)
    assert path.stat().st_mtime_ns == written
    assert json.loads((round_folder(finished, 3) / "round.json").read_text())["steps"] == 4


def test_fresh_start_forgets_the_rounds_of_the_folder(whole, finished, make_dims_trainer):
    path = round_folder(finished, 1) / "round.json"
    written = path.stat().st_mtime_ns
    again = make_dims_trainer(rounds=2, **SETTINGS)
    again.train()
    assert path.stat().st_mtime_ns > written
    assert_same_weights(weights_of(whole.model), weights_of(again.model))


def test_checkpoint_of_one_round_is_refused_by_its_path(make_dims_trainer, tmp_path):
    trainer = make_dims_trainer(rounds=2)
    with pytest.raises(ValueError, match="pass True"):
        trainer.train(resume_from_checkpoint=str(tmp_path))


def test_optimizer_of_the_callers_is_refused(make_dims_trainer, toy):
    trainer = make_dims_trainer(rounds=2)
    optimizer = torch.optim.SGD(trainer.model.parameters(), lr=1e-3)
    with pytest.raises(ValueError, match="Every round makes an optimizer"):
        DiMSTrainer(trainer.model, args=trainer.args, train_dataset=toy.train, optimizers=(optimizer, None))


def test_damaged_record_of_a_round_is_named(tmp_path):
    assert read_round(tmp_path) is None
    (tmp_path / ROUND_RECORD).write_text('{"step": ')
    with pytest.raises(ValueError, match=f"{ROUND_RECORD} is damaged: .* Delete it: the round then goes on"):
        read_round(tmp_path)
