# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`TokenBudgetTrainer`: what all our trainers share: token-budget batches, exact resuming, best checkpoints."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from transformers import (
    PreTrainedModel,
    SchedulerType,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    get_scheduler,
)
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from dims_hf.trainers.batching import TokenBudgetBatchSampler
from dims_hf.trainers.callbacks import KeepBestCheckpoints, RunRecord, StopEarly
from dims_hf.trainers.checkpoints import BestCheckpoints, last_complete_checkpoint
from dims_hf.trainers.schedules import Shape, fit_shape
from dims_hf.translation.batching import batches_by_budget


logger = logging.getLogger(__name__)

# On a CPU, products in bf16 are compiled for their shape and kept: 1024 of them by default, which is a gigabyte when
# batches differ in shape. Fewer cost no time. Both caches are set up, once, by the first such product of a process.
_PRIMITIVE_CACHES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "64"}


class FollowProgress(TrainerCallback):
    """Tells the trainer where a run starts, a resumed one too, and its batch sampler which epoch does."""

    def __init__(self, trainer: TokenBudgetTrainer):
        self.trainer = trainer

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        """Reports count from here on; a run that was resumed after its last step does not make another one."""
        self.trainer.start_report()
        if state.global_step >= state.max_steps:
            control.should_training_stop = True

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        """The epoch follows from the updates done, so that a resumed run shuffles like an uninterrupted one."""
        sampler = self.trainer.train_batch_sampler
        sampler.set_epoch(state.global_step // sampler.num_updates)


class TokenBudgetTrainer(Trainer):
    """
    Trainer whose batches hold a budget of tokens, each process drawing its own share.

    Args:
        model (`PreTrainedModel`): any.
        args (`TrainingArguments`): with `max_tokens_per_batch`, `attn_implementation`, `num_best_checkpoints` and
            `early_stopping_patience`.
        kwargs: as [`Trainer`].

    Raises:
        ValueError: if one process would train on several GPUs.
    """

    def __init__(self, model: PreTrainedModel, args: TrainingArguments, **kwargs):
        if args.n_gpu > 1:
            raise ValueError(
                f"One process sees {args.n_gpu} GPUs, and batches and losses need a process for each. Start with "
                "`accelerate launch`, or make one GPU visible (CUDA_VISIBLE_DEVICES=0)."
            )
        if args.attn_implementation is not None:
            model.set_attn_implementation(args.attn_implementation)
        if args.use_cpu and args.bf16:
            limit_primitive_caches(os.environ)
        self.run_record = RunRecord()
        self.train_batch_sampler: TokenBudgetBatchSampler | None = None
        self.best_checkpoints = BestCheckpoints(
            f"{args.output_dir}/best", args.num_best_checkpoints, greater_is_better=args.greater_is_better
        )
        super().__init__(model, args, **kwargs)
        self.add_callback(FollowProgress(self))
        self.add_callback(self.run_record)
        if self.eval_dataset is not None:
            self.add_callback(KeepBestCheckpoints(self.best_checkpoints))
        if args.early_stopping_patience is not None:
            self.add_callback(StopEarly(args.early_stopping_patience))

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """A link where the checkpoint goes is removed: what it points to is somebody else's."""
        place = Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        if self.args.should_save and place.is_symlink():
            logger.warning("%s was a link and is replaced; what it pointed to is left alone.", place)
            place.unlink()
        super()._save_checkpoint(*args, **kwargs)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, torch.Tensor] | None = None) -> None:
        """The arguments are saved with the model, without the token that uploads it."""
        token, self.args.hub_token = self.args.hub_token, None
        try:
            super()._save(output_dir, state_dict)
        finally:
            self.args.hub_token = token

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """As transformers'; warm-up and decay that do not fit in the run are shortened alike, and it says so."""
        settings = dict(self.args.lr_scheduler_kwargs or {})
        shape = Shape(self.args.get_warmup_steps(num_training_steps), settings.get("num_decay_steps"))
        fitted = fit_shape(shape, num_training_steps)
        decays = (
            "num_training_steps"
            in inspect.signature(TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(self.args.lr_scheduler_type)]).parameters
        )
        if self.lr_scheduler is not None or fitted == shape or not decays:
            return super().create_scheduler(num_training_steps, optimizer)
        if fitted.decay_steps is not None:
            settings["num_decay_steps"] = fitted.decay_steps
        logger.warning(
            "warmup_steps=%d%s do not fit in a run of %d updates: warm-up takes %d%s.",
            shape.warmup_steps,
            "" if shape.decay_steps is None else f" and num_decay_steps={shape.decay_steps}",
            num_training_steps,
            fitted.warmup_steps,
            "" if fitted.decay_steps is None else f", the decay {fitted.decay_steps}",
        )
        self.lr_scheduler = get_scheduler(
            self.args.lr_scheduler_type,
            optimizer=self.optimizer if optimizer is None else optimizer,
            num_warmup_steps=fitted.warmup_steps,
            num_training_steps=num_training_steps,
            scheduler_specific_kwargs=settings,
        )
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def start_report(self) -> None:
        """Called where a run starts, a resumed one too; reports count from here on."""

    def get_train_dataloader(self) -> DataLoader:
        """Batches of [`TokenBudgetBatchSampler`]; each process draws its own share, so accelerate shards nothing."""
        if self.train_dataset is None:
            raise ValueError("Training needs a train_dataset. Pass encode_corpus(...) of the training split.")
        args = self.args
        self.train_batch_sampler = TokenBudgetBatchSampler(
            pair_lengths(self.train_dataset),
            max_tokens=args.max_tokens_per_batch,
            batch_size=args.per_device_train_batch_size,
            seed=args.data_seed if args.data_seed is not None else args.seed,
            accumulation_steps=args.gradient_accumulation_steps,
            num_processes=args.world_size,
            process_index=args.process_index,
        )
        return DataLoader(
            self.train_dataset,
            batch_sampler=self.train_batch_sampler,
            collate_fn=self.data_collator,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory and torch.cuda.is_available(),
            persistent_workers=args.dataloader_persistent_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
        )

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list[dict], torch.Tensor | int | None]:
        """An update's batches; none where the run that is resumed was at its end."""
        if self.control.should_training_stop:
            return [], None
        return super().get_batch_samples(epoch_iterator, num_batches, device)

    def _evaluation_batches(self, dataset: Dataset) -> list[list[int]]:
        """Rows of the batches; a sentence longer than the budget is a batch of its own."""
        budget, size = self.args.max_tokens_per_batch, self.args.per_device_eval_batch_size
        if budget is not None:
            return list(batches_by_budget(pair_lengths(dataset), budget))
        rows = list(range(len(dataset)))
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def _gather_texts(self, texts: list[str]) -> list[str]:
        """Interleaves the processes' translations back into corpus order."""
        shares = self._gather(texts)
        gathered = [""] * sum(len(share) for share in shares)
        for process_index, share in enumerate(shares):
            gathered[process_index :: len(shares)] = share
        return gathered

    def _gather(self, share: Any) -> list[Any]:
        """What each process has, in their order, on every process."""
        if self.args.world_size == 1:
            return [share]
        shares = [None] * self.args.world_size
        torch.distributed.all_gather_object(shares, share)
        return shares

    def find_checkpoint(self) -> str | bool | None:
        """The last complete checkpoint of the output folder, to resume from."""
        return last_complete_checkpoint(self.args.output_dir)

    def average_best_checkpoints(self) -> list[dict]:
        """Sets the model to the average of its best checkpoints, on every process; returns their records."""
        self.accelerator.wait_for_everyone()
        records = self.best_checkpoints.load_average(self.accelerator.unwrap_model(self.model))
        if not records and self.args.num_best_checkpoints and self.args.should_log:
            logger.warning(
                "No best checkpoints to average; the last weights stay. Set eval_strategy to steps or epoch, and "
                "eval_steps below the length of the run, to keep some."
            )
        return records


def limit_primitive_caches(environment: MutableMapping[str, str]) -> None:
    """Bounds the memory of training in bf16 on a CPU, unless the environment says otherwise already."""
    for name, capacity in _PRIMITIVE_CACHES.items():
        environment.setdefault(name, capacity)


def pair_lengths(dataset: Dataset) -> list[int]:
    """Tokens of each pair, the longer side counted: what a padded batch costs. Sources alone count as they are."""
    sides = [list(dataset[name]) for name in ("input_ids", "labels") if name in dataset.column_names]
    return [max(map(len, pair)) for pair in zip(*sides, strict=True)]
