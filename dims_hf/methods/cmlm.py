# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What a CMLM teacher is trained on: masked tokens. Other families add to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from dims_hf.methods.masking import MaskedBatch, mask_batch
from dims_hf.models import NATConfig
from dims_hf.models.modeling_nat import NATSeq2SeqLMOutput
from dims_hf.objectives import Loss, ProjectedVocabulary, cmlm_loss


if TYPE_CHECKING:
    from accelerate import Accelerator
    from datasets import Dataset

    from dims_hf.trainers.config import NATTrainingArguments

# name -> how many there are in an optimiser update, over all its batches and processes
Items = Mapping[str, torch.Tensor | int]


class CMLMTeacherLoss:
    """
    Inputs, items and token loss of a teacher that learns to fill masks.

    Args:
        args ([`NATTrainingArguments`]): settings of the run.
        config ([`NATConfig`]): of the model.
        accelerator (`Accelerator`): unwraps the model and knows its precision.
    """

    # Settings of [`NATTrainingArguments`] that only some families use, and this one does.
    options: tuple[str, ...] = ()
    # Defaults of this family that differ from those of the settings' classes.
    defaults: Mapping[str, Any] = {}
    mask_policies: tuple[str, ...] = ("uniform", "full")
    item_names: tuple[str, ...] = ("tokens", "sentences")

    def __init__(self, args: NATTrainingArguments, config: NATConfig, accelerator: Accelerator):
        self.args, self.config, self.accelerator = args, config, accelerator

    @classmethod
    def check_options(cls, args: NATTrainingArguments) -> None:
        """Refuses settings that the family cannot train with."""
        if args.mask_policy not in cls.mask_policies:
            raise ValueError(
                f"mask_policy={args.mask_policy} is for Imputers. Use one of {', '.join(cls.mask_policies)} here."
            )

    @property
    def is_for_one_pass(self) -> bool:
        """Whether what is learnt is to decode in one pass, with nothing to refine."""
        return False

    def check_corpus(self, dataset: Dataset) -> None:
        """Refuses encoded training pairs that the family cannot learn from; here there are none."""

    def mask(self, batch: dict[str, torch.Tensor], step: int) -> MaskedBatch:
        """The batch as the model sees it at an optimiser step."""
        return mask_batch(batch, self.config, policy=self.args.mask_policy, seed=self.args.mask_seed, step=step)

    def count_tokens(self, inputs: MaskedBatch) -> int:
        """Target tokens, `<s>` and `</s>` counted."""
        return int(inputs["decoder_attention_mask"].sum())

    def count_items(self, inputs: MaskedBatch) -> dict[str, int]:
        """What the loss's means are over, for each of `item_names`."""
        return {"tokens": int((inputs["labels"] != -100).sum()), "sentences": inputs["labels"].shape[0]}

    def __call__(self, model: torch.nn.Module, inputs: MaskedBatch, items: Items) -> tuple[Loss, torch.Tensor]:
        """
        Token loss of one batch, and the logits of the length predictor.

        Args:
            model: possibly wrapped.
            inputs ([`MaskedBatch`]): from [`mask`].
            items (`Items`): denominators.
        """
        outputs, is_masked = forward_masked(model, inputs, self.config.mask_token_id)
        with self.accelerator.autocast():
            loss = cmlm_loss(
                self.vocabulary(model, outputs.decoder_last_hidden_state[is_masked]),
                inputs["labels"][is_masked],
                label_smoothing=self.args.label_smoothing,
                num_items=items["tokens"],
            )
        return loss, outputs.length_logits

    def vocabulary(self, model: torch.nn.Module, hidden_states: torch.Tensor) -> ProjectedVocabulary:
        """What a model, possibly wrapped, makes of its last decoder states."""
        return ProjectedVocabulary.of(self.accelerator.unwrap_model(model), hidden_states)


def forward_masked(
    model: torch.nn.Module, inputs: MaskedBatch, mask_token_id: int
) -> tuple[NATSeq2SeqLMOutput, torch.BoolTensor]:
    """Forward pass without any logits, for losses over a [`ProjectedVocabulary`], and the mask (B, T)."""
    is_masked = inputs["decoder_input_ids"] == mask_token_id
    outputs = model(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        decoder_input_ids=inputs["decoder_input_ids"],
        decoder_attention_mask=inputs["decoder_attention_mask"],
        logits_positions=torch.zeros_like(is_masked),
        return_length_logits=True,
    )
    return outputs, is_masked
