# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What the methods share whose model sees masks alone and whose loss compares whole sentences, not positions.

Shapes: B batch, T target length (with `<s>` and `</s>`), N target tokens (without), D hidden, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from dims_hf.methods.alignments import keep_content
from dims_hf.methods.base import Batch, Items, MethodOptions, Run
from dims_hf.methods.masked_targets import MaskedTargets
from dims_hf.methods.masks import MaskedBatch, mask_batch
from dims_hf.methods.options import option
from dims_hf.models.ragged import find_real
from dims_hf.objectives import Loss, ProjectedVocabulary


@dataclass(frozen=True)
class FullMaskOptions(MethodOptions):
    """Settings of a method that masks everything and trains a length predictor."""

    length_weight: float = option(
        0.1, ge=0, le=float("inf"), help="Weight of the length loss.", advice="The reference uses 0.1."
    )


class Content(NamedTuple):
    """
    A batch as losses over sentences take it: `vocabulary` (B, N), and `targets` (B, N) with `lengths` (B,), one
    position for each token.
    """

    vocabulary: ProjectedVocabulary
    targets: torch.Tensor
    lengths: torch.Tensor

    @property
    def is_token(self) -> torch.Tensor:
        """Which of the positions (B, N) are real."""
        return find_real(self.lengths, self.targets.shape[1])


class FullMasks(MaskedTargets):
    """Methods whose model sees masks alone; a subclass compares what it writes with the targets."""

    one_pass = True
    masks_alone = True
    has_accuracy = False

    def prepare(self, batch: dict[str, torch.Tensor], keys: torch.Tensor, step: int) -> MaskedBatch:
        """Fully masked targets."""
        return mask_batch(batch, self.config, policy="full", keys=keys)

    def loss(self, run: Run, batch: Batch, items: Items) -> Loss:
        """The method's loss and the length loss of one batch."""
        outputs, _ = self.forward(run, batch)
        with run.autocast():
            token = self.compare(pack_content(run, outputs.decoder_last_hidden_state, batch["labels"]), items)
        return self.add_length_loss(token, outputs.length_logits, batch, items)

    def compare(self, content: Content, items: Items) -> Loss:
        """Loss of what the model writes at all positions of the targets."""
        raise NotImplementedError


def pack_content(run: Run, hidden_states: torch.Tensor, labels: torch.Tensor) -> Content:
    """
    States at labelled positions, moved together to the left like their labels.

    Args:
        run ([`Run`]): whose vocabulary it is.
        hidden_states (`torch.Tensor` of shape `(B, T, D)`): last decoder layer's output.
        labels (`torch.Tensor` of shape `(B, T)`): target ids, -100 where no loss is wanted.
    """
    is_labelled = labels != -100
    lengths = is_labelled.sum(dim=1)
    # one transfer from the device: the packed rows are as wide as the longest
    width = int(lengths.max())
    is_real = find_real(lengths, width)
    rows = hidden_states[is_labelled]
    # boolean indexing is row-major in both places, so that order stays
    packed = rows.new_zeros(*is_real.shape, rows.shape[-1]).index_put((is_real,), rows)
    return Content(run.vocabulary(packed), keep_content(labels, (-100,))[:, :width], lengths)
