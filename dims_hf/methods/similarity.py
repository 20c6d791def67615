# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Similarity regularisation: a one-pass CMLM whose neighbouring states differ where the target's tokens do."""

from __future__ import annotations

from dataclasses import dataclass

from dims_hf.methods.base import Batch, Items, Run, Sourced
from dims_hf.methods.full_masks import FullMaskOptions, FullMasks
from dims_hf.methods.options import option
from dims_hf.objectives import Loss, cmlm_loss, similarity_loss


_SECTION_4 = "Wang et al. 2019 (arXiv 1902.10245), experimental settings"


@dataclass(frozen=True)
class SimilarityOptions(FullMaskOptions):
    """Settings of training with similarity regularisation."""

    similarity_weight: float = option(
        2.0, ge=0, le=float("inf"), help="Weight α of the similarity term.", advice="The paper uses 2."
    )
    label_smoothing: float = option(
        0.1, ge=0, le=0.999, help="Smoothing of the token loss, in [0, 1).", advice="The papers use 0.1."
    )


class Similarity(FullMasks):
    """
    Cross-entropy from masks alone + α · similarity of neighbouring states, weighted by how unlike their tokens are.

    Against repeated tokens. The paper's other term, the reconstruction of the source by a second decoder, is not here.

    Source: Wang et al. 2019 (arXiv 1902.10245), §3.2.
    """

    paper = "Wang et al. 2019 (NAT-REG, arXiv 1902.10245), in parts"
    families = ("cmlm", "cmlmc")
    has_accuracy = True
    items = ("tokens", "sentences", "pairs")
    Options = SimilarityOptions
    published = {
        "similarity_teacher": {
            "method": Sourced("similarity", _SECTION_4),
            "similarity_weight": Sourced(2.0, _SECTION_4),
        }
    }

    def count(self, batch: Batch) -> dict[str, int]:
        """Tokens, sentences, and pairs of neighbouring tokens."""
        is_token = batch["labels"] != -100
        return {**super().count(batch), "pairs": int((is_token[:, 1:] & is_token[:, :-1]).sum())}

    def loss(self, run: Run, batch: Batch, items: Items) -> Loss:
        """Token, similarity and length loss of one batch."""
        outputs, is_masked = self.forward(run, batch)
        hidden_states, labels = outputs.decoder_last_hidden_state, batch["labels"]
        is_token = labels != -100
        with run.autocast():
            token = cmlm_loss(
                run.vocabulary(hidden_states[is_masked]),
                labels[is_masked],
                label_smoothing=self.options.label_smoothing,
                num_items=items["tokens"],
            )
            # The table gets no gradient from here.
            embeddings = run.network.lm_head.weight.detach()[labels.masked_fill(~is_token, 0)]
            similar = similarity_loss(hidden_states, embeddings, is_token, num_items=items["pairs"])
        total = token.total + self.options.similarity_weight * similar.total
        return self.add_length_loss(Loss(total, {**token.parts, **similar.parts}), outputs.length_logits, batch, items)
