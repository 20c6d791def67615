# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Distillation in rounds: the student of one is the teacher of the next."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from torch.utils.data import DataLoader
from transformers import PreTrainedModel, TrainerState
from transformers.trainer_utils import TrainOutput

from dims_hf._files import read_json
from dims_hf._output import remove_folder
from dims_hf.reports.files import write_text
from dims_hf.trainers.checkpoints import load_weights


if TYPE_CHECKING:
    from dims_hf.trainers.checkpoints import BestCheckpoints
    from dims_hf.trainers.nat_trainer import NATTrainer

logger = logging.getLogger(__name__)

ROUND_RECORD = "round.json"


class TrainsInRounds(Protocol):
    """What a trainer needs for rounds: settings, models, and a way to make the trainer of one round."""

    args: Any
    model: PreTrainedModel
    state: TrainerState
    run_record: Any
    best_checkpoints: BestCheckpoints

    @property
    def teacher(self) -> PreTrainedModel:
        """The first round's teacher."""
        ...

    def for_round(self, teacher: PreTrainedModel, args: Any) -> NATTrainer:
        """A trainer of the same student on the same data, with another teacher and settings."""
        ...

    def get_train_dataloader(self) -> DataLoader:
        """Batches in training."""
        ...


def distill_in_rounds(trainer: TrainsInRounds, *, resume: bool) -> TrainOutput:
    """
    Distils `trainer.args.rounds` times in a row; each round is a whole run in `output_dir/round-K`.

    A round ends with the average of its best checkpoints, in `trainer.model`, which then teaches the next. Its record
    `round.json` has its validation metrics; a killed run goes on inside the round it was in.

    Source: iterative distillation without a moving average, §4.6.2 and Fig. 4 of Norouzi et al. 2023 (arXiv
    2206.02999).

    Args:
        trainer ([`TrainsInRounds`]): settings, data, the student and the first teacher; the student is
            trained in place.
        resume (`bool`): go on from what the output folder has; else start anew.

    Returns:
        `TrainOutput`: updates over all rounds, mean training loss, and the last round's metrics.
    """
    log: list[dict[str, Any]] = []
    teacher, records = trainer.teacher, []
    for number in range(1, trainer.args.rounds + 1):
        folder = round_folder(trainer.args.output_dir, number)
        if not resume and trainer.args.should_save:
            remove_folder(folder)
        record = read_round(folder) if resume else None
        if record is None:
            logger.info("Round %d of %d.", number, trainer.args.rounds)
            record = _train_round(trainer, teacher, number, resume=resume)
        else:
            load_weights(trainer.model, folder)
            trainer.best_checkpoints = trainer.best_checkpoints.of_run(folder)
        records.append(record)
        log.extend({"round": number, **entry} for entry in record.pop("log"))
        # the student, by reference: the next round copies it before it trains
        teacher = trainer.model
    return _summarize(trainer, records, log)


def round_folder(output_dir: str | Path, number: int) -> Path:
    """Folder of a round, counted from 1."""
    return Path(output_dir) / f"round-{number}"


def read_round(folder: Path) -> dict | None:
    """Record of a finished round, or `None`."""
    path = folder / ROUND_RECORD
    advice = "Delete it: the round then goes on from its last checkpoint."
    return read_json(path, advice) if path.is_file() else None


def _train_round(trainer: TrainsInRounds, teacher: PreTrainedModel, number: int, *, resume: bool) -> dict:
    """One round: a trainer of its own over the same data, with fresh optimiser, schedule and masks."""
    folder = round_folder(trainer.args.output_dir, number)
    args = copy.copy(trainer.args)
    args.output_dir, args.rounds = str(folder), 1
    if args.halve_iterations:
        # halved once per round before this one, never below the steps that are made
        args.teacher_iterations = max(args.teacher_iterations >> (number - 1), args.steps_ahead or 1)
    # Other masks and another order in every round.
    args.mask_seed = trainer.args.mask_seed + number - 1
    args.data_seed = (args.seed if args.data_seed is None else args.data_seed) + number - 1
    current = trainer.for_round(teacher, args)
    output = current.train(resume_from_checkpoint=current.find_checkpoint() if resume else None)
    averaged = current.average_best_checkpoints()
    metrics = current.evaluate(metric_key_prefix="round") if current.eval_dataset is not None else {}
    record = {
        "round": number,
        "steps": current.state.global_step,
        "epochs": current.state.epoch,
        "training_loss": output.training_loss,
        "seconds": current.run_record.seconds,
        "averaged_steps": [each["step"] for each in averaged],
        "metrics": metrics,
        "log": current.state.log_history,
    }
    current.save_model()
    # The record says that the round is over, so it is written last.
    if args.should_save:
        write_text(json.dumps(record, indent=1, default=str), folder / ROUND_RECORD)
    current.accelerator.wait_for_everyone()
    # two optimisers at a time would be twice the memory
    current.accelerator.free_memory()
    trainer.best_checkpoints = current.best_checkpoints
    return record


def _summarize(trainer: TrainsInRounds, records: list[dict], log: list[dict]) -> TrainOutput:
    """Leaves the trainer as one long run would: counters, log, time and batches over all rounds."""
    steps = sum(record["steps"] for record in records)
    trainer.state.global_step, trainer.state.log_history = steps, log
    trainer.state.epoch = sum(record["epochs"] for record in records)
    trainer.run_record.earlier_seconds = sum(record["seconds"] for record in records)
    trainer.get_train_dataloader()
    # weighed by updates, as one long run would average
    loss = sum(record["training_loss"] * record["steps"] for record in records) / max(steps, 1)
    return TrainOutput(steps, loss, records[-1]["metrics"])
