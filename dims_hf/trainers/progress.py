# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What a person sees of a training: step, total and time left, and its curves as a figure in the output folder."""

from __future__ import annotations

import gc
import logging
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from dims_hf.reports.figures import plot_training


if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

logger = logging.getLogger(__name__)

CURVES = "training_curves.png"
"""Name of the figure in the output folder."""

# Between two drawings of a run. One takes as long as several small evaluations.
_SECONDS_BETWEEN = 60.0

# What a line shows of a log entry, in this order; the rest is in `training_summary.json`.
_SHOWN = ("loss", "eval_loss", "learning_rate", "grad_norm")


def show_progress(trainer: Trainer) -> None:
    """Puts [`ShowProgress`] and [`DrawCurves`] in the place of the bar and the lines of transformers."""
    for theirs in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(theirs)
    is_bar = not trainer.args.disable_tqdm and sys.stderr.isatty()
    trainer.add_callback(ShowProgress(is_bar=is_bar))
    trainer.add_callback(DrawCurves())


class ShowProgress(TrainerCallback):
    """
    Step, total and time left, on the main process.

    Args:
        is_bar (`bool`): a bar that moves, by rich, as for a terminal; else a line at every log. Without rich, lines.
    """

    def __init__(self, *, is_bar: bool) -> None:
        self.is_bar, self._start, self._first = is_bar, time.monotonic(), 0
        self._bar: Progress | None = None
        self._task: TaskID  # in the bar

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        """Time left is told by the updates of this start; a resumed run's earlier ones took theirs elsewhere."""
        self._start, self._first = time.monotonic(), state.global_step
        if not state.is_world_process_zero or not self.is_bar:
            return
        try:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
        except ModuleNotFoundError:
            self.is_bar = False
            return
        parts = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[shown]}"))
        self._bar = Progress(TextColumn("update"), *parts, console=Console(stderr=True))
        self._task = self._bar.add_task("train", total=state.max_steps, completed=state.global_step, shown="")
        self._bar.start()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.update(self._task, completed=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs,
    ) -> None:
        """Shows the values that were logged."""
        if not state.is_world_process_zero or not logs:
            return
        shown = describe_logs(logs)
        if self._bar is not None:
            self._bar.update(self._task, shown=shown)
        elif shown:
            sys.stderr.write(f"update {state.global_step}/{state.max_steps}, {self._time_left(state)}: {shown}\n")
            sys.stderr.flush()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        """Leaves the bar as it is."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _time_left(self, state: TrainerState) -> str:
        done = state.global_step - self._first
        if done <= 0:
            return "time left unknown"
        # clocks may be set while a run goes on; the monotonic one is not
        seconds = (time.monotonic() - self._start) / done * max(0, state.max_steps - state.global_step)
        return f"{describe_seconds(seconds)} left"


class DrawCurves(TrainerCallback):
    """Draws loss and validation scores into the output folder: after evaluations, once a minute, and at the end."""

    def __init__(self) -> None:
        self._last = -math.inf  # seconds of the monotonic clock

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        """Draws what is known by now."""
        is_due = time.monotonic() - self._last >= _SECONDS_BETWEEN
        if state.is_world_process_zero and state.global_step and is_due:
            self._draw(args, state)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        """Draws all of it."""
        if state.is_world_process_zero:
            self._draw(args, state)

    def _draw(self, args: TrainingArguments, state: TrainerState) -> None:
        if args.output_dir is None:
            return
        self._last = time.monotonic()
        try:
            plot_training(state.log_history, Path(args.output_dir) / CURVES)
        except ModuleNotFoundError:
            logger.debug("No curves without matplotlib: pip install 'dims-hf[plot]'.")
        except ValueError:  # nothing logged yet
            return
        # A figure is held by cycles, and its pixels are some megabytes: Python would keep a dozen of them for long.
        gc.collect()


def describe_logs(logs: Mapping[str, Any]) -> str:
    """
    A log entry in a line: the loss and what else tells how training goes, scores of an evaluation.

    ```python
    >>> describe_logs({"loss": 3.21456, "learning_rate": 0.0005, "epoch": 1.0, "padding_share": 0.1})
    'loss 3.215, learning_rate 0.0005'
    >>> describe_logs({"eval_loss": 2.0, "eval_bleu_1": 30.25, "eval_runtime": 3.0})
    'eval_loss 2, eval_bleu_1 30.25'

    ```"""
    names = [name for name in _SHOWN if name in logs]
    names += [name for name in logs if "bleu" in name or "chrf" in name]
    return ", ".join(f"{name} {logs[name]:.4g}" for name in names if isinstance(logs[name], (int, float)))


def describe_seconds(seconds: float) -> str:
    """
    A duration to read.

    ```python
    >>> describe_seconds(75), describe_seconds(3.2), describe_seconds(7300)
    ('1 min 15 s', '3 s', '2 h 01 min')

    ```"""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
