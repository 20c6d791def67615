# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What a training method is: `Method` for teachers, `Distillation` for students, and the `Run` they compute in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import torch

from dims_hf.distillation import TeacherRollout, roll_out_teacher
from dims_hf.distillation.adapters import network_of
from dims_hf.distillation.rollout import LABEL_MODES
from dims_hf.methods.masks import sample_reveal_scores
from dims_hf.methods.options import check_ranges, option
from dims_hf.models import NATConfig
from dims_hf.models.modeling_translation import NATForConditionalGeneration
from dims_hf.objectives import Loss, ProjectedVocabulary


if TYPE_CHECKING:
    from accelerate import Accelerator
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

# name -> how many there are in an optimiser update, over all its batches and processes
Items = Mapping[str, torch.Tensor | int]

# What [`Method.prepare`] makes of a batch; its keys are the method's own.
Batch = Any


class Sourced(NamedTuple):
    """A value and where it was published."""

    value: Any
    source: str


@dataclass(frozen=True)
class Run:
    """
    Where a loss is computed: hides what the model is wrapped in, its precision and its last layer.

    Args:
        model (`torch.nn.Module`): model in training, possibly wrapped.
        network (`NATForConditionalGeneration`): the same, unwrapped; an adapter's layers are in it.
        autocast (`Callable`): makes the context in which matrix multiplications have the run's precision.
    """

    model: torch.nn.Module
    network: NATForConditionalGeneration
    autocast: Callable[[], AbstractContextManager] = nullcontext

    @classmethod
    def of(cls, model: torch.nn.Module, accelerator: Accelerator | None = None) -> Run:
        """That of a model under an accelerator; without one, in the model's own precision."""
        if accelerator is None:
            return cls(model, cast("NATForConditionalGeneration", network_of(model)))
        network = cast("NATForConditionalGeneration", network_of(accelerator.unwrap_model(model)))
        return cls(model, network, accelerator.autocast)

    def vocabulary(
        self, hidden_states: torch.Tensor, model: NATForConditionalGeneration | None = None
    ) -> ProjectedVocabulary:
        """What the model in training, or another one, makes of its last decoder states, chunk by chunk."""
        return ProjectedVocabulary.of(self.network if model is None else model, hidden_states)


@dataclass(frozen=True)
class MethodOptions:
    """Settings of one method; a subclass adds fields made by [`option`]."""

    def __post_init__(self) -> None:
        check_ranges(self)


class Method:
    """
    A way to train a teacher: what it masks and samples, counts and computes.

    Attributes:
        paper (`str`): who published it, and where.
        families (`tuple[str, ...]`): model types it trains; a family whose default it is need not stand here.
        one_pass (`bool`): whether it leaves a model that decodes in one pass, with nothing to refine.
        masks_alone (`bool`): whether targets that are partly shown are foreign to the model it leaves, so that it can
            teach from full masks alone.
        empty_token (`bool`): whether it needs a token that stands for nothing (`config.empty_token_id`).
        uses_references (`bool`): whether it looks at several targets of a source (`references` of a batch).
        has_accuracy (`bool`): whether its loss reports one.
        items (`tuple[str, ...]`): names of what its means are over.
        Options (`type`): frozen dataclass of its own settings, with help, ranges and defaults.
        published (`Mapping`): name of a preset -> setting -> value and source.

    Args:
        options (`Options`): of the class's own kind.
        config ([`NATConfig`]): of the model in training.
        num_updates (`int`): length of the run in optimiser updates; -1 where epochs count.
    """

    # `loss(run, batch, items)` of a prepared batch, given its means' denominators in the whole optimiser update by the
    # names in `items`. Those who distil ask for a teacher too: see [`Distillation.loss`].
    loss: Callable[..., Loss]

    paper: ClassVar[str] = ""
    families: ClassVar[tuple[str, ...]] = ()
    one_pass: ClassVar[bool] = False
    masks_alone: ClassVar[bool] = False
    empty_token: ClassVar[bool] = False
    uses_references: ClassVar[bool] = False
    has_accuracy: ClassVar[bool] = True
    items: ClassVar[tuple[str, ...]] = ("tokens", "sentences")
    Options: ClassVar[type[MethodOptions]] = MethodOptions
    published: ClassVar[Mapping[str, Mapping[str, Sourced]]] = {}

    def __init__(self, options: Any, config: NATConfig, *, num_updates: int = -1):
        self.options, self.config, self.num_updates = options, config, num_updates

    def configure(self, model: NATForConditionalGeneration) -> None:
        """
        Writes into a model's configuration, once before training, what the method makes of it.

        Args:
            model (`NATForConditionalGeneration`): the model in training.

        Raises:
            ValueError: for a model whose layers cannot give what the loss needs.
        """
        if self.one_pass:
            model.generation_config.num_iterations = 1  # type: ignore[attr-defined]  # a setting of ours
        # written in either case: a model that goes on with another method may lose the flag
        model.config.masks_alone = self.masks_alone

    def check(self, dataset: Dataset) -> None:
        """
        Looks at encoded training pairs before hours are spent on them; nothing to refuse here.

        Raises:
            ValueError: for a corpus that the method cannot learn from.
        """

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """
        Looks at the tokenizer of the training pairs; nothing to refuse here.

        Raises:
            ValueError: for one that another model, which the method learns from, does not share.
        """

    def prepare(self, batch: dict[str, torch.Tensor], keys: torch.Tensor, step: int) -> Batch:
        """
        The batch as the model sees it at an optimiser step.

        Args:
            batch (`dict`): from [`TranslationCollator`]: `input_ids`, `attention_mask`, `labels` and `index`.
            keys (`torch.LongTensor` of shape `(B,)`): randomness of each sentence, which follows from (mask_seed,
                step, corpus index) alone; all draws come from it.
            step (`int`): updates done, or `EVALUATION_STEP`.
        """
        raise NotImplementedError

    def count(self, batch: Batch) -> dict[str, int]:
        """What the loss's means are over, for each of `items`; known before any forward pass."""
        raise NotImplementedError

    def num_target_tokens(self, batch: Batch) -> int:
        """Target tokens of a prepared batch, `<s>` and `</s>` counted."""
        return int(batch["decoder_attention_mask"].sum())


@dataclass(frozen=True)
class DistillationOptions(MethodOptions):
    """Settings of every distillation; defaults are Table 8 of Norouzi et al. 2023 (arXiv 2206.02999)."""

    teacher_iterations: int = option(
        2, ge=1, most=1000, help="Teacher passes n (Table 8).", advice="The paper uses 2."
    )
    ema_decay: float | None = option(
        0.9992,
        ge=0,
        le=1,
        help="Momentum of the teacher; none = fixed teacher.",
        advice="The paper uses 0.9992; none keeps the teacher fixed.",
    )
    hidden_weight: float = option(
        0.7, ge=0, le=float("inf"), help="Weight λ of the hidden-state loss (Table 8).", advice="The paper uses 0.7."
    )
    hidden_squared: bool = option(False, help="Squared hidden-state distance.")
    label_mode: str = option("auto", choices=LABEL_MODES, help=f"One of {', '.join(LABEL_MODES)}.")


class Distillation(Method):
    """A way to train a student on what a teacher writes; its loss cannot be called without one."""

    Options: ClassVar[type[MethodOptions]] = DistillationOptions

    def loss(self, run: Run, batch: Batch, items: Items, teacher: NATForConditionalGeneration) -> Loss:
        """
        Loss of one prepared batch.

        Args:
            run ([`Run`]): where it is computed; its model is the student.
            batch (`dict`): from [`prepare`].
            items (`Items`): denominators of the whole optimiser update, by the names in `items`.
            teacher (`NATForConditionalGeneration`): in evaluation mode.
        """
        raise NotImplementedError

    @property
    def decoding_passes(self) -> int:
        """In how many passes the teacher's own translations are made."""
        return self.options.teacher_iterations

    def roll_out(
        self, run: Run, batch: Batch, teacher: NATForConditionalGeneration, tokens: torch.Tensor, **options: Any
    ) -> TeacherRollout:
        """The teacher's passes over partially masked `tokens` (B, T), in the run's precision."""
        if self.options.reveal_order == "random":
            is_masked = tokens == self.config.mask_token_id
            # from the keys, so that the order does not depend on the batch
            options["reveal_scores"] = sample_reveal_scores(is_masked, batch["keys"])
        with run.autocast():
            return roll_out_teacher(
                teacher,
                batch["input_ids"],
                batch["attention_mask"],
                tokens,
                num_iterations=self.options.teacher_iterations,
                steps_ahead=self.options.steps_ahead,
                label_mode=self.options.label_mode,
                **options,
            )
