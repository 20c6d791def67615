# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A resumed run is the uninterrupted one, to the last bit: losses, weights, teacher, evaluations, stopping point."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch.nn.modules.module import _IncompatibleKeys

from dims_hf.trainers.checkpoints import last_complete_checkpoint
from dims_hf.trainers.token_budget_trainer import TokenBudgetTrainer


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


SAVING = {"max_steps": 6, "save_strategy": "steps", "save_steps": 2}


@pytest.mark.parametrize(("kind", "logging_steps"), [("teacher", 1), ("dims", 4)])
def test_mean_loss_of_a_resumed_run_is_that_of_all_its_updates(request, tmp_path, kind, logging_steps):
    make_trainer = request.getfixturevalue(f"make_{kind}_trainer")
    settings = {**SAVING, **ACCUMULATION, "logging_steps": logging_steps}
    whole = make_trainer(folder="whole", **settings)
    expected = whole.train()
    resumed = make_trainer(folder="resumed", **settings)
    output = resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    assert output.training_loss == expected.training_loss == output.metrics["train_loss"]
    assert resumed.state.log_history[-1]["train_loss"] == expected.training_loss
    if logging_steps == 1:
        losses = [entry["loss"] for entry in whole.state.log_history if "loss" in entry]
        assert expected.training_loss == pytest.approx(sum(losses) / 6, abs=1e-3)  # the log rounds
        assert abs(sum(losses[4:]) / 2 - expected.training_loss) > 1e-2  # what the updates since then alone would say
    # a finished run, started again, has no update to tell of but those before
    again = make_trainer(folder="again", **settings)
    assert again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-6")) is not None
    assert again.state.log_history[-1]["train_loss"] == expected.training_loss


def test_run_whose_last_checkpoint_was_cut_goes_on_from_the_one_before(
    make_dims_trainer, tmp_path, caplog, largest_difference
):
    whole = make_dims_trainer(folder="run", **SAVING)
    whole.train()
    path = tmp_path / "run" / "checkpoint-6" / "optimizer.pt"
    path.write_bytes(path.read_bytes()[:100])
    caplog.clear()
    resumed = make_dims_trainer(folder="run", **SAVING)
    resumed.train(resume_from_checkpoint=True)
    assert "checkpoint-6 cannot be resumed from: optimizer.pt has 100 bytes" in caplog.text
    assert "Going back to checkpoint-4." in caplog.text
    assert largest_difference(resumed.model, whole.model) == 0
    assert last_complete_checkpoint(tmp_path / "run") == str(tmp_path / "run" / "checkpoint-6")


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "ema_teacher/model.safetensors"])
def test_checkpoint_that_lacks_a_part_is_not_resumed_from(make_dims_trainer, tmp_path, name):
    make_dims_trainer(folder="run", max_steps=2, save_strategy="steps", save_steps=2).train()
    checkpoint = tmp_path / "run" / "checkpoint-2"
    (checkpoint / name).unlink()
    with pytest.raises(ValueError, match=f"{checkpoint} cannot be resumed from: {name} .*missing"):
        make_dims_trainer(folder="run", max_steps=4).train(resume_from_checkpoint=str(checkpoint))
    with pytest.raises(ValueError, match="has no checkpoint to go on from. checkpoint-2 cannot be resumed from"):
        make_dims_trainer(folder="run", max_steps=4).train(resume_from_checkpoint=True)


def test_checkpoint_of_weights_alone_is_refused_by_its_cause(make_teacher_trainer, tmp_path):
    make_teacher_trainer(max_steps=2, save_strategy="steps", save_steps=2, save_only_model=True).train()
    with pytest.raises(ValueError, match="optimizer.pt .* is missing; it was written with save_only_model"):
        make_teacher_trainer(max_steps=4).train(resume_from_checkpoint=True)


def test_resuming_where_there_is_nothing_is_refused(make_teacher_trainer, tmp_path):
    with pytest.raises(ValueError, match="has no checkpoint. Leave out resume_from_checkpoint"):
        make_teacher_trainer().train(resume_from_checkpoint=True)
    with pytest.raises(ValueError, match="There is no checkpoint .*checkpoint-7. Correct"):
        make_teacher_trainer().train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-7"))


@pytest.fixture
def told_by_transformers(caplog) -> Iterator[pytest.LogCaptureFixture]:
    """What transformers logs too, whose loggers hand nothing on to the root."""
    logging.getLogger("transformers").addHandler(caplog.handler)
    with caplog.at_level("WARNING"):
        yield caplog
    logging.getLogger("transformers").removeHandler(caplog.handler)


def test_no_word_of_tied_weights_that_are_missing(make_teacher_trainer, tmp_path, told_by_transformers, monkeypatch):
    make_teacher_trainer(folder="run", **SAVING).train()
    checkpoint = str(tmp_path / "run" / "checkpoint-4")
    make_teacher_trainer(folder="run", **SAVING).train(resume_from_checkpoint=checkpoint)
    assert "missing keys" not in told_by_transformers.text
    # transformers alone would say it here
    monkeypatch.delattr(TokenBudgetTrainer, "_issue_warnings_after_load")
    make_teacher_trainer(folder="run", **SAVING).train(resume_from_checkpoint=checkpoint)
    assert "missing keys" in told_by_transformers.text


def test_weights_that_are_missing_are_still_told(make_teacher_trainer, told_by_transformers):
    result = _IncompatibleKeys(["lm_head.weight", "model.encoder.layers.0.fc1.weight"], [])
    make_teacher_trainer()._issue_warnings_after_load(result)
    assert "fc1.weight" in told_by_transformers.text and "lm_head" not in told_by_transformers.text


def test_training_rotates_by_number_whatever_the_clock_says(make_teacher_trainer, tmp_path, monkeypatch):
    trainer = make_teacher_trainer(max_steps=5, save_strategy="steps", save_steps=1, save_total_limit=2)
    save, clock = trainer._save_checkpoint, [2e9]

    def save_and_set_the_clock_back(*args, **kwargs):
        save(*args, **kwargs)
        clock[0] -= 1000
        os.utime(tmp_path / "run" / f"checkpoint-{trainer.state.global_step}", (clock[0], clock[0]))

    monkeypatch.setattr(trainer, "_save_checkpoint", save_and_set_the_clock_back)
    trainer.train()
    assert sorted(path.name for path in (tmp_path / "run").glob("*checkpoint-*")) == ["checkpoint-4", "checkpoint-5"]


@pytest.mark.parametrize("writer", ["_save_optimizer_and_scheduler", "_save_rng_state", "_save_state"])
def test_checkpoint_has_its_name_when_all_of_it_is_there(make_dims_trainer, tmp_path, monkeypatch, writer):
    """A kill while one is written leaves those before, and debris that the next start removes."""
    trainer = make_dims_trainer(folder="run", **SAVING)
    write = getattr(trainer, writer)

    def stop_in_the_second(*args):
        if trainer.state.global_step == 4:
            raise KeyboardInterrupt
        write(*args)

    monkeypatch.setattr(trainer, writer, stop_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".checkpoint-4", "checkpoint-2"]
    make_dims_trainer(folder="run", **{**SAVING, "max_steps": 4}).train(resume_from_checkpoint=True)
    assert sorted(path.name for path in (tmp_path / "run").glob("*checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]


def test_full_disk_leaves_no_half_checkpoint(make_teacher_trainer, tmp_path, monkeypatch):
    trainer = make_teacher_trainer(**SAVING)
    save = torch.save

    def fill_the_disk(value, path, *args, **kwargs):
        if trainer.state.global_step == 4 and "optimizer" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save(value, path, *args, **kwargs)

    monkeypatch.setattr(torch, "save", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        trainer.train()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["checkpoint-2"]


def test_two_trainings_do_not_share_a_folder(make_teacher_trainer, tmp_path, repository):
    (tmp_path / "run").mkdir()
    program = (
        f"import sys; sys.path.insert(0, {str(repository)!r})\nfrom dims_hf._output import holding\n"
        f"with holding({str(tmp_path / 'run')!r}):\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"is in use by process {process.pid} on "):
            make_teacher_trainer(max_steps=1).train()
    finally:
        process.communicate()
    make_teacher_trainer(max_steps=1).train()


def test_best_checkpoint_is_told_by_its_number_and_found_again(make_teacher_trainer, tmp_path, caplog):
    settings = {
        **SAVING, "evaluates": True, "eval_strategy": "steps", "eval_steps": 2, "metric_for_best_model": "loss",
        "num_best_checkpoints": 0,
    }  # fmt: skip
    make_teacher_trainer(folder="run", **settings).train()
    states = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("run/*/trainer_state.json")}
    assert {each["best_model_checkpoint"] for each in states.values()} == {None}
    (tmp_path / "run").rename(tmp_path / "moved")
    resumed = make_teacher_trainer(folder="moved", **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "moved" / "checkpoint-6"))
    best = states["checkpoint-6"]["best_global_step"]
    assert resumed.state.best_model_checkpoint == str(tmp_path / "moved" / f"checkpoint-{best}")
    assert "does not exist" not in caplog.text
