# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Callbacks: best checkpoints, a stop when the model's output has become constant, and what resumed runs count on."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

import torch
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import ExportableState

from dims_hf.trainers.checkpoints import BestCheckpoints, checkpoint_folder


logger = logging.getLogger(__name__)


class CollapseError(RuntimeError):
    """
    The model translates (nearly) everything into the same sentence.

    Args:
        message (`str`): what was seen, and what to do.
        step (`int`): updates made by then.
        metrics (`dict[str, float]`, *optional*): those of the last evaluation.
    """

    def __init__(self, message: str, step: int = 0, metrics: dict[str, float] | None = None):
        super().__init__(message)
        self.step, self.metrics = step, dict(metrics or {})


def restore_attributes(callback: ExportableState, state: TrainerState) -> None:
    """Gives a callback the counters it had in the checkpoint a run resumes from; its settings stay this run's."""
    # A callback that the earlier start did not have gets an entry: the trainer looks for one when it saves.
    saved = state.stateful_callbacks.setdefault(type(callback).__name__, {})
    for name, value in saved.get("attributes", {}).items():
        setattr(callback, name, value)


class RunRecord(TrainerCallback, ExportableState):
    """Writes into every checkpoint how long its run has trained, over all starts, and in how many processes."""

    def __init__(self) -> None:
        self.num_processes, self.earlier_seconds = 1, 0.0
        self._start: float | None = None

    @property
    def seconds(self) -> float:
        """Wall time behind the current weights; work that a kill made undone is not in it."""
        return self.earlier_seconds + (0.0 if self._start is None else time.perf_counter() - self._start)

    def state(self) -> dict:
        """What a resumed run needs, and [`last_complete_checkpoint`]."""
        return {"args": {}, "attributes": {"earlier_seconds": self.seconds, "num_processes": self.num_processes}}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        """Starts the clock where the checkpoint stopped it, and finds the best checkpoint so far by its number."""
        restore_attributes(self, state)
        if state.best_global_step:
            place = checkpoint_folder(args.output_dir, state.best_global_step)
            state.best_model_checkpoint = str(place) if place.is_dir() else state.best_model_checkpoint
        self.num_processes, self._start = args.world_size, time.perf_counter()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        """Stops the clock."""
        self.earlier_seconds, self._start = self.seconds, None


class LossRecord(TrainerCallback, ExportableState):
    """Sums the losses of a run's updates over all its starts, for the mean that its summary tells."""

    def __init__(self) -> None:
        self.total = 0.0

    def state(self) -> dict:
        """What a resumed run needs."""
        return {"args": {}, "attributes": {"total": self.total}}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        """Goes on from the checkpoint's sum; a fresh run begins with none."""
        self.total = 0.0
        restore_attributes(self, state)


class WatchGradientScale(TrainerCallback):
    """
    Counts the updates that a gradient scaler (fp16) skips, and stops a run whose every update overflows.

    A scale below fairseq's smallest (`--min-loss-scale`, 1e-4) rounds all but the largest gradients to zero.
    """

    smallest = 1e-4

    def __init__(self, trainer: Trainer):
        self.trainer, self.num_skipped = trainer, 0

    def on_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: torch.optim.Optimizer | None = None,
        **kwargs,
    ) -> None:
        """Looks at the update that was just made, or skipped."""
        if not getattr(optimizer, "step_was_skipped", False):
            return
        self.num_skipped += 1
        scaler = self.trainer.accelerator.scaler  # None: an optimizer that skips for reasons of its own
        scale = math.inf if scaler is None else scaler.get_scale()
        if scale < self.smallest:
            raise FloatingPointError(
                f"The gradients overflow at every scale: update {state.global_step + 1} was skipped like those before "
                f"it, and the scale is down to {scale:g}. Lower learning_rate, set max_grad_norm (e.g. 1.0), or train "
                "in bf16 or fp32; then resume from the last checkpoint."
            )


class StopEarly(EarlyStoppingCallback):
    """Stops after `early_stopping_patience` evaluations without a better metric, resumed or not."""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        """Takes its count up again; a run that had stopped stays stopped."""
        restore_attributes(self, state)
        if self.early_stopping_patience_counter >= self.early_stopping_patience:
            control.should_training_stop = True

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **kwargs,
    ) -> None:
        """Counts evaluations of the training; that of the final model has names of its own, and stops nothing."""
        if any(name.startswith("eval_") for name in metrics):
            super().on_evaluate(args, state, control, metrics, **kwargs)


class KeepBestCheckpoints(TrainerCallback):
    """Offers the model to [`BestCheckpoints`] after every evaluation, on the main process."""

    def __init__(self, checkpoints: BestCheckpoints):
        self.checkpoints = checkpoints

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        """A resumed run will make later checkpoints again; a fresh run in a used folder starts with none."""
        if state.is_world_process_zero:
            self.checkpoints.forget_after(state.global_step)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: PreTrainedModel | None = None,
        metrics: dict[str, float] | None = None,
        **kwargs,
    ) -> None:
        """Keeps the model when its metric is among the best."""
        name = args.metric_for_best_model
        metric = (metrics or {}).get(name if name.startswith("eval_") else f"eval_{name}")
        # step 0 is the model as it came, which no training has made
        if metric is not None and state.is_world_process_zero and state.global_step > 0:
            self.checkpoints.offer(model, state.global_step, metric)


class DetectCollapse(TrainerCallback, ExportableState):
    """
    Stops training when evaluations in a row give nearly constant translations.

    A model trained from scratch is constant at first; it counts as collapsed only once its output was varied before.

    Args:
        patience (`int`): constant evaluations in a row that are tolerated before the stop.
        threshold (`float`): share of distinct translations among distinct sources below which output is constant.
        has_been_varied (`bool`): whether the model is known to be trained already (a student).
        measure_start (`Callable`, *optional*): the share before any update, of what the model starts from (a student's
            teacher), or `None`; where it is constant already, training cannot be what made it so.
    """

    def __init__(
        self,
        patience: int = 2,
        threshold: float = 0.1,
        has_been_varied: bool = False,
        measure_start: Callable[[], float | None] | None = None,
    ):
        self.patience, self.threshold, self.has_been_varied = patience, threshold, has_been_varied
        self.measure_start = measure_start
        self.num_constant = 0

    def state(self) -> dict:
        """What a resumed run needs."""
        return {
            "args": {"patience": self.patience, "threshold": self.threshold},
            "attributes": {"has_been_varied": self.has_been_varied, "num_constant": self.num_constant},
        }

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        """Takes its counts up again; a fresh run looks at what it starts from."""
        restore_attributes(self, state)
        share = self.measure_start() if self.measure_start is not None and state.global_step == 0 else None
        if share is not None and share < self.threshold:
            self.has_been_varied = False
            logger.warning(
                "Only %.1f %% of the teacher's own translations differ, before any update: the trouble is the "
                "teacher, which its student will learn. Train the teacher for longer.",
                100 * share,
            )

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs,
    ) -> None:
        """Counts constant evaluations and raises [`CollapseError`] when there are too many."""
        share = (metrics or {}).get("eval_distinct_translations")
        if share is None:
            return
        # varied output once is what makes constant output later a collapse
        if share >= self.threshold:
            self.has_been_varied, self.num_constant = True, 0
            return
        self.num_constant += 1
        if self.has_been_varied and self.num_constant >= self.patience:
            raise CollapseError(
                f"Training collapsed: at step {state.global_step} only {100 * share:.1f} % of the translations "
                f"differ, for {self.num_constant} evaluations in a row. Raise ema_decay (values of 0.9 and below "
                "collapse), lower learning_rate, and resume from an earlier checkpoint.",
                state.global_step,
                metrics,
            )
