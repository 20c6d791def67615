# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A resumed run is the uninterrupted one, to the last bit: losses, weights, teacher, evaluations, stopping point."""

from __future__ import annotations

import pytest
import torch


ACCUMULATION = {"max_tokens_per_batch": 128, "gradient_accumulation_steps": 2, "dropout": 0.2}
REFERENCE_SCHEDULE = {"lr_scheduler_type": "fairseq_inverse_sqrt", "warmup_steps": 2}
FIXED_SIZE = {"max_tokens_per_batch": None, "per_device_train_batch_size": 16}


def train_in_two(make, tmp_path, stop_after, **settings):
    """Trains until `stop_after`, then resumes in a fresh trainer (as a new process would) with other random state."""
    first = make(folder="split", **settings)
    first.args.max_steps = stop_after
    first.train()
    torch.manual_seed(12345)
    second = make(folder="split", **settings)
    torch.rand(7)
    second.train(resume_from_checkpoint=str(tmp_path / "split" / f"checkpoint-{stop_after}"))
    return second


# An epoch has five or six updates: a resume within an epoch, at its end, and in the second one.
@pytest.mark.parametrize(
    ("kind", "stop_after", "settings"),
    [
        ("teacher", 3, {"dropout": 0.2}),
        ("teacher", 5, {"dropout": 0.2}),
        ("teacher", 7, ACCUMULATION),
        ("teacher", 3, REFERENCE_SCHEDULE),
        ("cmlmc", 7, ACCUMULATION),
        ("imputer", 3, {"dropout": 0.2, "ctc_steps": 4}),
        ("glancing", 7, ACCUMULATION),
        ("imputer_dims", 5, {"ema_decay": 0.9, "hidden_weight": 0.5}),
        ("dims", 5, {}),
        ("dims", 3, {"dropout": 0.2, "disable_dropout": False}),
        ("dims", 7, {**ACCUMULATION, "disable_dropout": False}),
        ("dims", 6, FIXED_SIZE),
    ],
)
def test_resumed_run_equals_the_uninterrupted_one(
    request, tmp_path, training_log, largest_difference, kind, stop_after, settings
):
    make_trainer = request.getfixturevalue(f"make_{kind}_trainer")
    settings = {"max_steps": 9, "save_strategy": "steps", "save_steps": stop_after, **settings}
    whole = make_trainer(folder="whole", **settings)
    whole.train()
    assert whole.train_batch_sampler.num_updates in (5, 6)
    resumed = train_in_two(make_trainer, tmp_path, stop_after, **settings)
    assert training_log(resumed) == training_log(whole)
    assert resumed.state.global_step == 9
    assert largest_difference(resumed.model, whole.model) == 0
    if hasattr(whole, "teacher"):
        assert largest_difference(resumed.teacher, whole.teacher) == 0
        assert largest_difference(resumed.teacher, resumed.model) > 0


def test_resumed_run_evaluates_and_averages_like_the_uninterrupted_one(
    make_dims_trainer, tmp_path, largest_difference
):
    settings = {
        "max_steps": 8, "save_strategy": "steps", "save_steps": 4, "evaluates": True, "eval_strategy": "steps",
        "eval_steps": 2, "num_best_checkpoints": 2, "metric_for_best_model": "loss",
    }  # fmt: skip
    whole = make_dims_trainer(folder="whole", **settings)
    whole.train()
    resumed = train_in_two(make_dims_trainer, tmp_path, 4, **settings)
    assert evaluations_of(resumed) == evaluations_of(whole)
    records = [
        [(record["step"], record["metric"]) for record in trainer.average_best_checkpoints()]
        for trainer in (resumed, whole)
    ]
    assert records[0] == records[1] and len(records[0]) == 2
    assert largest_difference(resumed.model, whole.model) == 0


def evaluations_of(trainer):
    entries = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    return [{name: value for name, value in entry.items() if name != "eval_runtime"} for entry in entries]


def test_first_log_after_a_resume_covers_the_updates_since_then(make_dims_trainer, tmp_path):
    settings = {"max_steps": 8, "save_strategy": "steps", "save_steps": 4, "logging_steps": 2}
    resumed = train_in_two(make_dims_trainer, tmp_path, 4, **settings)
    entry = next(entry for entry in resumed.state.log_history if entry["step"] == 6)
    assert entry["loss"] == pytest.approx(entry["kl"] + 0.7 * entry["hidden"] + 0.1 * entry["length"], rel=1e-5)


def test_a_finished_run_that_is_started_again_makes_no_further_step(make_trainer, tmp_path, largest_difference):
    settings = {"max_steps": 7, "save_strategy": "steps", "save_steps": 7}
    first = make_trainer(folder="run", **settings)
    first.train()
    again = make_trainer(folder="run", **settings)
    again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-7"))
    assert again.state.global_step == 7
    assert largest_difference(first.model, again.model) == 0
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-7"]


def test_early_stopping_goes_on_counting_after_a_resume(make_teacher_trainer, tmp_path, monkeypatch):
    settings = {
        "max_steps": 20, "evaluates": True, "eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps",
        "save_steps": 1, "early_stopping_patience": 3, "num_best_checkpoints": 0,
    }  # fmt: skip
    scores = {1: 5.0, 2: 4.0, 3: 3.0, 4: 2.0}  # not better for the third time at step 4

    def make():
        trainer = make_teacher_trainer(folder="run", **settings)
        monkeypatch.setattr(
            trainer, "_evaluate_translation",
            lambda *_: {"distinct_translations": 1.0, "bleu_1": scores.get(trainer.state.global_step, 9.0)},
        )  # fmt: skip
        return trainer

    make().train()
    resumed = make()
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3"))
    assert resumed.state.global_step == 4
    stopped = make()
    stopped.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-4"))
    assert stopped.state.global_step == 4


def test_collapse_count_goes_on_after_a_resume(make_dims_trainer, tmp_path, monkeypatch):
    from dims_hf.trainers import CollapseError

    settings = {
        "max_steps": 9, "evaluates": True, "eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps",
        "save_steps": 1, "collapse_patience": 3, "num_best_checkpoints": 0,
    }  # fmt: skip
    for resume_from, match in ((None, "at step 3"), (2, "at step 3")):
        trainer = make_dims_trainer(folder="run", **settings)
        monkeypatch.setattr(
            trainer, "_evaluate_translation", lambda *_: {"distinct_translations": 0.01, "bleu_1": 1.0}
        )
        checkpoint = resume_from and str(tmp_path / "run" / f"checkpoint-{resume_from}")
        with pytest.raises(CollapseError, match=match):
            trainer.train(resume_from_checkpoint=checkpoint)


def test_checkpoint_without_a_teacher_is_refused_with_the_fix(make_dims_trainer, tmp_path):
    make_dims_trainer(max_steps=2, save_strategy="steps", save_steps=2, ema_decay=None).train()
    trainer = make_dims_trainer(max_steps=4)
    with pytest.raises(ValueError, match="has no ema_teacher folder, so the teacher cannot be resumed"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))


def test_fixed_teacher_needs_no_copy_in_the_checkpoint(make_dims_trainer, tmp_path, trained, largest_difference):
    settings = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3, "ema_decay": None}
    whole = make_dims_trainer(folder="whole", **settings)
    whole.train()
    resumed = train_in_two(make_dims_trainer, tmp_path, 3, **settings)
    assert not (tmp_path / "split" / "checkpoint-3" / "ema_teacher").exists()
    assert largest_difference(resumed.teacher, trained) == 0
    assert largest_difference(resumed.model, whole.model) == 0
