# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`AutoregressiveTrainer`: trains a model that translates word by word, to distil corpora with."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import (
    MarianMTModel,
    PreTrainedTokenizerBase,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
)

from dims_hf.data import TranslationCollator
from dims_hf.data.beam_search import BeamTranslator
from dims_hf.evaluation import score
from dims_hf.methods.options import check_ranges, option
from dims_hf.objectives import ProjectedVocabulary, VocabularyProjection
from dims_hf.trainers.config import MOST_PASSES, check_bounds, naming_faults
from dims_hf.trainers.precision import settle_precision
from dims_hf.trainers.token_budget_trainer import TokenBudgetTrainer


if TYPE_CHECKING:
    from datasets import Dataset

_METRICS = ("bleu", "chrf", "loss")


@dataclass
class AutoregressiveTrainingArguments(Seq2SeqTrainingArguments):
    r"""
    Arguments that train an autoregressive model.

    Defaults that differ from transformers': `learning_rate` 1e-3, `adam_beta2` 0.98, `adam_epsilon` 1e-8,
    `weight_decay` 0.01, `max_grad_norm` 1, `warmup_steps` 1000, `lr_scheduler_type` `inverse_sqrt`,
    `label_smoothing_factor` 0.1, `generation_num_beams` 1, `remove_unused_columns` False, `ddp_find_unused_parameters`
    False.

    Args:
        max_tokens_per_batch (`int`): padded tokens of a device batch, the longer of source and target counted.
        attn_implementation (`str`, *optional*): attention backend of the model in training.
        compile_losses (`bool`): compile what the loss does with logits (`torch.compile`): the same numbers, but for
            rounding, in less time; needs a C++ compiler on a CPU, triton on a GPU.
        generation_num_beams (`int`): width of the beam of the validation BLEU.
        early_stopping_patience (`int`, *optional*): stop after so many evaluations without a better metric.
        num_best_checkpoints (`int`): how many checkpoints with the best `metric_for_best_model` (`bleu`, `chrf` or
            `loss`) are averaged at the end; 0 keeps the last weights.
    """

    learning_rate: float = option(1e-3, gt=0, help="Peak learning rate.", advice="Try 1e-3.")
    adam_beta2: float = option(0.98, ge=0, le=1, help="Second Adam decay.")
    adam_epsilon: float = option(1e-8, gt=0, help="Adam epsilon.")
    weight_decay: float = option(0.01, ge=0, le=1, help="Decoupled weight decay.")
    max_grad_norm: float = option(1.0, ge=0, help="Clip gradients to this norm; 0 does not clip.")
    warmup_steps: float = option(1000, ge=0, le=1e9, help="Linear warm-up, in optimiser steps.")
    lr_scheduler_type: str = option("inverse_sqrt", help="A transformers schedule.")
    label_smoothing_factor: float = option(
        0.1, ge=0, le=0.999, help="Smoothing of the token loss, in [0, 1).", advice="Try 0.1."
    )
    remove_unused_columns: bool = option(False, help="Must stay False: pairs come encoded.")
    ddp_find_unused_parameters: bool | None = option(False, help="All parameters are used.")
    generation_num_beams: int = option(1, ge=1, help="Beam of the validation BLEU; 1 is greedy.")
    max_tokens_per_batch: int = option(8192, ge=1, help="Padded tokens per device batch.", advice="Try 4096.")
    attn_implementation: str | None = option(None, help="Attention backend: eager, sdpa, …")
    compile_losses: bool = option(False, help="Compile what losses do with logits; needs a C++ compiler, or triton.")
    early_stopping_patience: int | None = option(
        None, ge=1, help="Evaluations without a better metric before training stops."
    )
    num_best_checkpoints: int = option(5, ge=0, help="Best checkpoints averaged; 0 = none.")

    def __post_init__(self) -> None:
        self.metric_for_best_model = self.metric_for_best_model or "bleu"
        self._check_values()
        self.greater_is_better = self.metric_for_best_model != "loss"
        # transformers asks for this before it lets bf16 train on a CPU; without an accelerator there is no choice.
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        settle_precision(self)
        with naming_faults():
            super().__post_init__()

    def _check_values(self) -> None:
        check_ranges(self)
        check_bounds(self)
        if self.generation_num_beams > MOST_PASSES:
            raise ValueError(f"generation_num_beams must be <= {MOST_PASSES}, got {self.generation_num_beams}.")
        if self.metric_for_best_model not in _METRICS:
            raise ValueError(
                f"metric_for_best_model must be one of {', '.join(_METRICS)}, got {self.metric_for_best_model!r}."
            )
        if self.remove_unused_columns:
            raise ValueError("remove_unused_columns=True would drop the index of every pair. Leave it out.")
        if self.predict_with_generate or self.generation_max_length or self.generation_config:
            raise ValueError(
                "predict_with_generate, generation_max_length and generation_config have no effect: every evaluation "
                "translates, with generation_num_beams. Leave them out."
            )
        if self.early_stopping_patience is not None and self.eval_strategy == "no":
            raise ValueError("early_stopping_patience needs evaluations. Set eval_strategy to steps or epoch.")


@dataclass(frozen=True)
class AutoregressiveCollator(TranslationCollator):
    """
    Batches for a decoder that starts with `<s>`: it reads `<s> a b` and is to write `a b </s>`.

    Returns:
        `dict[str, Tensor]`: `input_ids`, `attention_mask` (B,S), `decoder_input_ids`, `labels` (B,T−1).
    """

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Collates one batch; `features` need `index`, `input_ids` and `labels`."""
        batch = super().__call__(features)
        targets = batch.pop("labels")  # (B,T), <s> … </s>, then -100
        del batch["index"]
        batch["decoder_input_ids"] = targets[:, :-1].masked_fill(targets[:, :-1] == -100, self.pad_token_id)
        # one to the left of what is read: each prefix has the next token as its label
        batch["labels"] = targets[:, 1:].contiguous()
        return batch


class AutoregressiveTrainer(TokenBudgetTrainer, Seq2SeqTrainer):
    """
    transformers' trainer with token-budget batches, and BLEU of translations at every evaluation.

    Args:
        model (`MarianMTModel`): from [`make_autoregressive_model`].
        args ([`AutoregressiveTrainingArguments`]): settings.
        train_dataset, eval_dataset (`Dataset`): encoded pairs from [`encode_corpus`].
        eval_corpus (`Dataset`): text pairs (`source`, `target`) that validation BLEU is computed on.
        target_lang (`str`, *optional*): language of the targets, by which BLEU's tokenizer is chosen; default: by
            their script.
        processing_class (`PreTrainedTokenizerBase`): tokenizer of both languages.

    Raises:
        ValueError: if one process would train on several GPUs.
    """

    def __init__(
        self,
        model: MarianMTModel,
        args: AutoregressiveTrainingArguments,
        *,
        train_dataset: Dataset,
        eval_dataset: Dataset,
        eval_corpus: Dataset,
        processing_class: PreTrainedTokenizerBase,
        target_lang: str | None = None,
    ):
        self.eval_corpus, self.target_lang = eval_corpus, target_lang
        super().__init__(
            model,
            args,
            data_collator=AutoregressiveCollator(model.config.pad_token_id),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
        )
        self.model_accepts_loss_kwargs = True  # the loss is divided by the target tokens of the whole update

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """
        Label-smoothed cross-entropy, divided by the target tokens of the whole update.

        The logits of a batch are the largest tensor by far: they are made chunk by chunk, inside the loss.

        Args:
            model (`nn.Module`): possibly wrapped.
            inputs (`dict[str, Tensor]`): from [`AutoregressiveCollator`].
            return_outputs (`bool`): not supported; evaluations translate.
            num_items_in_batch (`Tensor` or `int`, *optional*): divisor; default: this batch's target tokens.
        """
        if return_outputs:
            raise ValueError("return_outputs=True is not supported: logits of a batch are never kept. Leave it out.")
        labels = inputs["labels"]
        translator = self.accelerator.unwrap_model(model)
        projection = VocabularyProjection(translator.lm_head.weight)
        with _hidden_states_for_logits(translator):
            hidden_states = model(**{name: inputs[name] for name in inputs if name != "labels"}).logits
        is_target = labels != -100
        vocabulary = ProjectedVocabulary(hidden_states, projection).select(is_target)
        sums = vocabulary.cross_entropy(labels[is_target], label_smoothing=self.args.label_smoothing_factor)
        return sums.summed / (is_target.sum() if num_items_in_batch is None else num_items_in_batch)

    def evaluate(
        self,
        eval_dataset: Dataset | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
        **gen_kwargs: Any,
    ) -> dict[str, float]:
        """
        Validation loss, and BLEU and chrF of the translations of `eval_corpus`.

        Args:
            eval_dataset (`Dataset`, *optional*): encoded pairs the loss is computed on; default the trainer's.
            ignore_keys, gen_kwargs: as [`Seq2SeqTrainer`]; no use here.
            metric_key_prefix (`str`): prefix of the metrics' names.
        """
        start = time.perf_counter()
        model = self.accelerator.unwrap_model(self.model)
        was_training = model.training
        model.eval()
        metrics = {"loss": self._evaluate_loss(model, eval_dataset or self.eval_dataset), **self._translate(model)}
        model.train(was_training)
        metrics["runtime"] = round(time.perf_counter() - start, 2)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    @torch.no_grad()
    def _evaluate_loss(self, model: nn.Module, dataset: Dataset) -> float:
        """Loss per target token; every process computes its share of the batches."""
        total, num_tokens = 0.0, 0
        for rows in self._evaluation_batches(dataset)[self.args.process_index :: self.args.world_size]:
            batch = self._prepare_inputs(self.data_collator([dataset[row] for row in rows]))
            with self.accelerator.autocast():
                # sums, so that batches of different sizes count by their tokens
                total += float(self.compute_loss(model, batch, num_items_in_batch=1))
            num_tokens += int((batch["labels"] != -100).sum())
        totals, counts = zip(*self._gather((total, num_tokens)))
        return sum(totals) / sum(counts)

    def _translate(self, model: nn.Module) -> dict[str, float]:
        """BLEU and chrF; every process translates its share."""
        translator = BeamTranslator(model, self.processing_class, num_beams=self.args.generation_num_beams)
        sources = list(self.eval_corpus["source"])[self.args.process_index :: self.args.world_size]
        hypotheses = self._gather_texts([row.text or "" for row in translator(sources)])
        scores = score(hypotheses, list(self.eval_corpus["target"]), target_lang=self.target_lang)
        return {name: round(scores[name], 3) for name in ("bleu", "chrf")}


@contextmanager
def _hidden_states_for_logits(model: MarianMTModel) -> Iterator[None]:
    """Lets a forward pass, which a wrapper of several processes has to see, return hidden states as its `logits`."""
    lm_head, bias = model.lm_head, model.final_logits_bias
    # broadcast over the states: adding 0 changes nothing
    model.lm_head, model.final_logits_bias = nn.Identity(), bias.new_zeros(1)
    try:
        yield
    finally:
        model.lm_head, model.final_logits_bias = lm_head, bias
