# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`NATTrainer`: trains a teacher on partially masked targets, with translation quality at every evaluation."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dims_hf.data import TranslationCollator
from dims_hf.distillation.adapters import check_adapter, is_adapted, network_of
from dims_hf.evaluation import score
from dims_hf.methods.base import Batch, Items, Run
from dims_hf.methods.masks import EVALUATION_STEP, mix_keys
from dims_hf.objectives import Loss
from dims_hf.trainers.callbacks import DetectCollapse
from dims_hf.trainers.config import REFERENCE_SCHEDULE, NATTrainingArguments
from dims_hf.trainers.schedules import FairseqInverseSqrt
from dims_hf.trainers.token_budget_trainer import TokenBudgetTrainer
from dims_hf.translation import translate


@dataclass
class Work:
    """
    What the updates since the last log took, of one process or of all together.

    Args:
        num_target_tokens (`float`): target tokens, `<s>` and `</s>` counted.
        num_tokens, num_positions (`float`): tokens of both sides, and the padded grids they were computed in.
        seconds_waited (`float`): time spent on fetching batches while nothing was computed.
    """

    num_target_tokens: float = 0.0
    num_tokens: float = 0.0
    num_positions: float = 0.0
    seconds_waited: float = 0.0

    def report(self, seconds: float, num_processes: int) -> dict[str, float]:
        """Speed and waste of `num_processes` over that time; both shares in [0, 1]."""
        return {
            "target_tokens_per_second": self.num_target_tokens / seconds,
            "padding_share": 1 - self.num_tokens / max(self.num_positions, 1),
            "data_wait_share": self.seconds_waited / (seconds * num_processes),
        }


class NATTrainer(TokenBudgetTrainer):
    """
    Trainer of non-autoregressive translation models.

    Losses are divided by the number of masked tokens (of sentences, for the length loss) of the whole optimiser update
    over all processes, so that neither gradient accumulation nor the number of processes changes the result; a
    sentence's mask depends on (seed, step, corpus index) alone, so that resuming is exact.

    Args:
        model (`PreTrainedModel`): translation model of this package.
        args ([`NATTrainingArguments`]): settings.
        train_dataset, eval_dataset (`Dataset`): encoded pairs from [`encode_corpus`]: `index`, `input_ids`, `labels`.
        processing_class (`PreTrainedTokenizerBase`): tokenizer of both languages.
        eval_corpus (`Dataset`, *optional*): text pairs (`source`, `target`) that validation BLEU is computed on;
            default: `eval_dataset`, decoded.
        target_lang (`str`, *optional*): language of the targets, by which BLEU's tokenizer is chosen in validation;
            default: by their script.
        kwargs: as [`Trainer`].

    Raises:
        ValueError: if one process would train on several GPUs, or for settings of another method.
    """

    # Tells Trainer that `compute_loss` already divides by the items of the whole update.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: PreTrainedModel,
        args: NATTrainingArguments,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        eval_corpus: Dataset | None = None,
        target_lang: str | None = None,
        **kwargs,
    ):
        check_trainer_arguments(model, kwargs)
        check_settings(args, NATTrainingArguments)
        check_encoded(train_dataset)
        choice = args.choose(model.config.model_type)
        args = args.settled(choice)
        train_dataset, eval_dataset = as_dataset(train_dataset), as_dataset(eval_dataset)
        if eval_dataset is not None and processing_class is None:
            raise ValueError("Evaluation translates, for which it needs a tokenizer. Pass processing_class.")
        self.eval_corpus, self.target_lang = eval_corpus, target_lang
        self._part_sums: dict[str, torch.Tensor | float] = defaultdict(float)
        self._work, self._num_updates_logged, self._log_time = Work(), 0, time.perf_counter()
        super().__init__(
            model,
            args,
            data_collator=kwargs.pop("data_collator", None) or TranslationCollator(model.config.pad_token_id),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            **kwargs,
        )
        self.method = choice.method(choice.options, model.config, num_updates=args.max_steps)
        self.method.configure(model)
        if processing_class is not None:
            self.method.check_tokenizer(processing_class)
        if train_dataset is not None:
            self.check_corpus(train_dataset)
        if eval_dataset is not None:
            self.add_callback(
                DetectCollapse(
                    args.collapse_patience, has_been_varied=self.starts_trained, measure_start=self.measure_start
                )
            )

    def check_corpus(self, dataset: Dataset) -> None:
        """Refuses training pairs that the method cannot learn from, before hours are spent."""
        self.method.check(dataset)

    @property
    def starts_trained(self) -> bool:
        """Whether the model is trained already when this trainer gets it."""
        return False

    def measure_start(self) -> float | None:
        """Share of distinct translations of what the model starts from, where it is known before any update."""
        return None

    # ---- data ----

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list[Batch], torch.Tensor | None]:
        """Fetches an update's batches, masks them, and counts what their losses are means over, in all processes."""
        start = time.perf_counter()
        # transformers counts labels, which is not what our means are over
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._work.seconds_waited += time.perf_counter() - start
        if not batches:
            return [], None
        masked = [self.mask(batch, self.state.global_step) for batch in batches]
        for batch in masked:
            self._work.num_target_tokens += self.method.num_target_tokens(batch)
            for mask in (batch["attention_mask"], batch["decoder_attention_mask"]):
                self._work.num_tokens += int(mask.ne(0).sum())
                self._work.num_positions += mask.numel()
        return masked, self.count_items(masked, device)

    def count_items(self, batches: list[Batch], device: torch.device) -> torch.LongTensor:
        """How many items of each kind (`method.items`) the batches of all processes have together."""
        counts = torch.zeros(len(self.method.items), dtype=torch.long)
        for batch in batches:
            items = self.method.count(batch)
            counts += torch.tensor([items[name] for name in self.method.items])
        counts = counts.to(device)
        # counted before any forward pass, so that every micro-batch knows the denominator of the update
        return self.accelerator.reduce(counts) if self.args.world_size > 1 else counts

    def mask(self, batch: dict[str, torch.Tensor], step: int) -> Batch:
        """The batch as the model sees it at an optimiser step; draws follow from (mask_seed, step, index) alone."""
        return self.method.prepare(batch, mix_keys(self.args.mask_seed, step, batch["index"]), step)

    # ---- loss ----

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, dict]:
        """The objective on one masked batch, divided by the items of the whole update."""
        normalizes_update = self.args.loss_normalization == "update" and num_items_in_batch is not None
        items = self._named_items(num_items_in_batch) if normalizes_update else None
        loss = self.objective(model, inputs, items)
        if normalizes_update:
            # Data-parallel gradients are averaged; ours are shares of one sum.
            total, share = loss.total * self.accelerator.num_processes, 1
        else:
            # the reference's mean per micro-batch
            share = 1 / self.current_gradient_accumulation_steps
            total, share = loss.total * share, share / self.accelerator.num_processes
        for name, part in loss.parts.items():
            self._part_sums[name] = self._part_sums[name] + part * share
        return (total, {"loss": total}) if return_outputs else total

    def _named_items(self, counts: torch.LongTensor) -> Items:
        return dict(zip(self.method.items, counts, strict=True))

    def objective(self, model: torch.nn.Module, inputs: Batch, items: Items | None = None) -> Loss:
        """
        The method's loss on one masked batch.

        Args:
            model: possibly wrapped.
            inputs (`dict`): from [`mask`].
            items (`Items`, *optional*): denominators of the update, by name; default: this batch's.
        """
        items = self.method.count(inputs) if items is None else items
        return self.method.loss(Run.of(model, self.accelerator), inputs, items)

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The reference's schedule, or any of transformers'."""
        if self.args.lr_scheduler_type != REFERENCE_SCHEDULE:
            return super().create_scheduler(num_training_steps, optimizer)
        if self.lr_scheduler is None:
            fitted = self.fit_schedule(num_training_steps, falls_to_end=False)
            self.lr_scheduler = FairseqInverseSqrt(optimizer or self.optimizer, fitted.warmup_steps)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def predict(self, *args: Any, **kwargs: Any) -> None:
        """Refused: evaluation translates instead of collecting logits."""
        raise ValueError("predict is not supported. Use dims_hf.translate for texts, or evaluate for scores.")

    # ---- reporting ----

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the loss parts (means over the updates since the last log) and the speed."""
        if "loss" in logs and "learning_rate" in logs:
            logs.update(self._training_report())
        super().log(logs, start_time)

    def start_report(self) -> None:
        """Forgets what was summed up for the log; the next report covers the updates from here on."""
        self._part_sums.clear()
        self._work, self._num_updates_logged = Work(), self.state.global_step
        self._log_time = time.perf_counter()

    def _training_report(self) -> dict[str, float]:
        num_updates = max(self.state.global_step - self._num_updates_logged, 1)
        names = sorted(self._part_sums)
        # in one tensor: one reduction over the processes, one transfer from the device
        values = torch.stack([torch.as_tensor(self._part_sums[name]).float() for name in names])
        values = torch.cat([values, torch.tensor(astuple(self._work), device=values.device)])
        if self.args.world_size > 1:
            values = self.accelerator.reduce(values.to(self.args.device))
        values, seconds = values.tolist(), time.perf_counter() - self._log_time
        parts, work = values[: len(names)], Work(*values[len(names) :])
        self.start_report()
        report = {name: part / num_updates for name, part in zip(names, parts, strict=True)}
        return {**report, **work.report(seconds, self.args.world_size)}

    # ---- evaluation ----

    def evaluate(
        self,
        eval_dataset: Dataset | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
        *,
        num_iterations: int | list[int] | None = None,
    ) -> dict[str, float]:
        """
        Validation loss (fixed masks) and BLEU/chrF of translations after the asked numbers of decoder passes.

        Args:
            eval_dataset (`Dataset` or `dict[str, Dataset]`, *optional*): encoded pairs; default the trainer's.
            ignore_keys: as [`Trainer`]; nothing to ignore here.
            metric_key_prefix (`str`): prefix of the metrics' names.
            num_iterations (`int` or `list[int]`, *optional*): decoder passes; default `args.eval_iterations`.

        Returns:
            `dict[str, float]`: `eval_loss`, its parts, `eval_bleu_K`, `eval_chrf_K` for K passes, and
            `eval_distinct_translations` (share of distinct translations among distinct sources at the first K).
        """
        start = time.perf_counter()
        dataset = self.eval_dataset if eval_dataset is None else as_dataset(eval_dataset)
        if not dataset:
            raise ValueError("Evaluation needs an eval_dataset. Pass encode_corpus(...) of the validation split.")
        corpus = self.eval_corpus if eval_dataset is None else None
        iterations = self.args.eval_iterations if num_iterations is None else num_iterations
        iterations = [iterations] if isinstance(iterations, int) else iterations
        training_time = time.perf_counter() - self._log_time
        metrics = self._measure(dataset, corpus, iterations)
        metrics["runtime"] = round(time.perf_counter() - start, 2)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        # Time spent here is not training time.
        self._log_time = time.perf_counter() - training_time
        return metrics

    def _measure(
        self, dataset: Dataset | dict[str, Dataset], corpus: Dataset | None, iterations: list[int]
    ) -> dict[str, float]:
        """Loss and scores; of several named sets, each one's and, without a name, the mean over them."""
        if not isinstance(dataset, dict):
            return {**self._evaluate_loss(dataset), **self._evaluate_translation(dataset, corpus, iterations)}
        measured = {name: self._measure(each, None, iterations) for name, each in dataset.items()}
        means = {
            metric: sum(each[metric] for each in measured.values()) / len(measured)
            for metric in next(iter(measured.values()))
        }
        named = {f"{name}_{metric}": value for name, each in measured.items() for metric, value in each.items()}
        return {**means, **named}

    @torch.no_grad()
    def _evaluate_loss(self, dataset: Dataset) -> dict[str, float]:
        """Loss and parts over the data, every sentence once; every process computes its share of the batches."""
        model = network_of(self.accelerator.unwrap_model(self.model))
        was_training = model.training
        model.eval()
        share = self._evaluation_batches(dataset)[self.args.process_index :: self.args.world_size]
        # the same masks at every evaluation: losses of a run can be compared
        batches = [self.mask(self.data_collator([dataset[row] for row in rows]), EVALUATION_STEP) for rows in share]
        items = self._named_items(self.count_items(batches, self.args.device))
        parts = []
        for batch in batches:
            with self.accelerator.autocast():
                loss = self.objective(model, self._prepare_inputs(batch), items)
            parts.append({name: float(part) for name, part in {"loss": loss.total, **loss.parts}.items()})
        model.train(was_training)
        return add_up([part for share in self._gather(parts) for part in share])

    def _evaluate_translation(
        self, dataset: Dataset, corpus: Dataset | None, iterations: list[int]
    ) -> dict[str, float]:
        """BLEU and chrF at each number of passes; every process translates its share."""
        sources, references = self._texts(dataset, corpus)
        model = network_of(self.accelerator.unwrap_model(self.model))
        was_training = model.training
        model.eval()
        metrics: dict[str, float] = {}
        for num_iterations in iterations:
            # every n-th sentence, so that all processes get long and short ones
            share = slice(self.args.process_index, None, self.args.world_size)
            texts = [
                translation.text
                for translation in translate(
                    model,
                    self.processing_class,
                    sources[share],
                    num_iterations=num_iterations,
                    length_beam_size=self.args.eval_length_beam_size,
                )
            ]
            hypotheses = self._gather_texts(texts)
            scores = score(hypotheses, references, target_lang=self.target_lang)
            metrics[f"bleu_{num_iterations}"] = round(scores["bleu"], 3)
            metrics[f"chrf_{num_iterations}"] = round(scores["chrf"], 3)
            if num_iterations == iterations[0]:
                metrics["distinct_translations"] = len(set(hypotheses)) / len(set(sources))
        model.train(was_training)
        return metrics

    def _texts(self, dataset: Dataset, corpus: Dataset | None) -> tuple[list[str], list[str]]:
        if corpus is not None:
            return list(corpus["source"]), list(corpus["target"])
        decode = self.processing_class.batch_decode
        return tuple(decode(list(dataset[name]), skip_special_tokens=True) for name in ("input_ids", "labels"))


def add_up(shares: Iterable[dict[str, float]]) -> dict[str, float]:
    """Sum of each entry over all shares."""
    sums: dict[str, float] = defaultdict(float)
    for share in shares:
        for name, value in share.items():
            sums[name] += value
    return dict(sums)


def check_trainer_arguments(model: object, options: Mapping[str, object]) -> None:
    """
    Refuses arguments of transformers' `Trainer` that these trainers would ignore, and models that they cannot train.

    Raises:
        ValueError: naming the first of them, and what to use instead.
    """
    if model is None or options.get("model_init") is not None:
        raise ValueError("model_init is not supported: a run starts from one model. Pass model.")
    if is_adapted(model):
        check_adapter(model)
    for name in ("compute_metrics", "compute_loss_func", "preprocess_logits_for_metrics"):
        if options.get(name) is not None:
            raise ValueError(
                f"{name} would never be called: the loss is the method's, and evaluation translates. Leave it out; "
                "override evaluate() to measure something else."
            )


def check_settings(args: object, kind: type) -> None:
    """
    Refuses settings of another trainer, which have nothing to choose a method by.

    Raises:
        ValueError: naming the kind that is needed.
    """
    if not isinstance(args, kind):
        given = "none" if args is None else type(args).__name__
        raise ValueError(
            f"args must be {kind.__name__}, got {given}. Pass args=dims_hf.{kind.__name__}(output_dir=…)."
        )


def check_encoded(rows: Any) -> None:
    """
    Refuses a corpus of texts.

    Raises:
        ValueError: saying how it is encoded.
    """
    names = list(getattr(rows, "column_names", None) or [])
    if names and "input_ids" not in names:
        raise ValueError(
            f"train_dataset has the columns {', '.join(names)}, and no input_ids. Encode it: "
            "dims_hf.encode_corpus(corpus, tokenizer)."
        )


def as_dataset(rows: Any) -> Any:
    """
    Encoded pairs as a `datasets.Dataset`: from one, from a list of dicts, or from a data set of torch with a length.

    A dict of several stays one of named data sets.

    Raises:
        ValueError: for data without a length, whose batches could not be resumed.
    """
    if rows is None or hasattr(rows, "column_names") and hasattr(rows, "__len__"):
        return rows
    if isinstance(rows, dict):
        return {name: as_dataset(each) for name, each in rows.items()}
    if not hasattr(rows, "__len__"):
        raise ValueError(
            f"{type(rows).__name__} has no length: batches of equal size and resuming need one. Pass "
            "encode_corpus(...), or list(...) of what it yields."
        )
    from datasets import Dataset as Rows

    return Rows.from_list([{name: _plain(value) for name, value in rows[row].items()} for row in range(len(rows))])


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, torch.Tensor) else value
