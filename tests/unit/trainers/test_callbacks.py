# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Collapse, early stopping and best checkpoints: what they count, and that a resumed run goes on counting."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from transformers import TrainerControl, TrainerState

from dims_hf.trainers import CollapseError
from dims_hf.trainers.callbacks import DetectCollapse, KeepBestCheckpoints, RunRecord, StopEarly


ARGS = SimpleNamespace(metric_for_best_model="bleu_1", greater_is_better=True, load_best_model_at_end=False)


def evaluate(callback, *shares, state=None):
    for share in shares:
        metrics = {} if share is None else {"eval_distinct_translations": share}
        callback.on_evaluate(ARGS, state or SimpleNamespace(global_step=7), None, metrics=metrics)


def resumed(callback, fresh):
    """A fresh callback after a resume from a checkpoint that holds the state of another."""
    state = TrainerState(stateful_callbacks={type(callback).__name__: callback.state()})
    control = TrainerControl()
    fresh.on_train_begin(ARGS, state, control)
    return fresh, control


def test_constant_output_stops_a_trained_model_after_patience_evaluations():
    callback = DetectCollapse(patience=2, has_been_varied=True)
    evaluate(callback, 0.05)
    with pytest.raises(CollapseError, match="at step 7 only 5.0 % .* 2 evaluations in a row. Raise ema_decay"):
        evaluate(callback, 0.05)


def test_varied_output_in_between_starts_the_count_again():
    evaluate(DetectCollapse(patience=2, has_been_varied=True), 0.05, 0.8, 0.05, None, 0.9, 0.05)


def test_model_from_scratch_may_be_constant_until_it_was_varied():
    callback = DetectCollapse(patience=2)
    evaluate(callback, 0.0, 0.0, 0.0, 0.5, 0.05)
    with pytest.raises(CollapseError):
        evaluate(callback, 0.05)


def test_training_time_adds_up_over_starts_without_the_time_between(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("dims_hf.trainers.callbacks.time.perf_counter", lambda: clock.now)
    args = SimpleNamespace(world_size=2)
    first, second = RunRecord(), RunRecord()
    first.on_train_begin(args, TrainerState(stateful_callbacks=[first]), None)
    clock.now += 30
    state = TrainerState(stateful_callbacks={"RunRecord": first.state()})
    clock.now += 50  # then killed
    second.on_train_begin(args, state, None)
    clock.now += 7
    assert second.seconds == 37
    second.on_train_end(args, state, None)
    clock.now += 1000
    assert second.state()["attributes"] == {"earlier_seconds": 37, "num_processes": 2}


def test_callback_that_the_earlier_start_lacked_has_a_place_in_the_state():
    state = TrainerState(stateful_callbacks={})
    StopEarly(3).on_train_begin(ARGS, state, TrainerControl())
    assert state.stateful_callbacks == {"StopEarly": {}}


def test_collapse_count_survives_a_resume_with_new_patience():
    callback = DetectCollapse(patience=2)
    evaluate(callback, 0.9, 0.05)
    again, _ = resumed(callback, DetectCollapse(patience=2))
    with pytest.raises(CollapseError):
        evaluate(again, 0.05)
    patient, _ = resumed(callback, DetectCollapse(patience=3))
    evaluate(patient, 0.05)


def test_early_stopping_count_survives_a_resume_with_new_patience():
    callback = StopEarly(3)
    callback.early_stopping_patience_counter = 2
    again, control = resumed(callback, StopEarly(3))
    assert again.early_stopping_patience_counter == 2 and not control.should_training_stop
    stopped, control = resumed(callback, StopEarly(2))
    assert control.should_training_stop
    # One more evaluation that is no better than the best.
    control = TrainerControl()
    again.on_evaluate(ARGS, SimpleNamespace(best_metric=20.0), control, metrics={"eval_bleu_1": 19.0})
    assert control.should_training_stop


def test_evaluation_of_the_final_model_stops_nothing_and_warns_of_nothing(caplog: pytest.LogCaptureFixture):
    callback, control = StopEarly(1), TrainerControl()
    with caplog.at_level("WARNING"):
        callback.on_evaluate(ARGS, SimpleNamespace(best_metric=20.0), control, metrics={"final_bleu_1": 1.0})
    assert not control.should_training_stop and not caplog.records


def test_best_checkpoints_are_offered_after_evaluations_on_the_main_process():
    offers = []
    checkpoints = SimpleNamespace(offer=lambda *offer: offers.append(offer), forget_after=lambda step: None)
    callback = KeepBestCheckpoints(checkpoints)

    def on_evaluate(metrics, step=3, main=True):
        state = SimpleNamespace(is_world_process_zero=main, global_step=step)
        callback.on_evaluate(ARGS, state, None, model="model", metrics=metrics)

    on_evaluate({"eval_bleu_1": 5.0})
    on_evaluate({"eval_bleu_1": 5.0}, main=False)
    on_evaluate({"eval_bleu_1": 5.0}, step=0)  # before training
    on_evaluate({"final_bleu_1": 5.0})  # an evaluation the user asked for
    assert offers == [("model", 3, 5.0)]
