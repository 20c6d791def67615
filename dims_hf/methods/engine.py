# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""ENGINE: a one-pass model that writes what a frozen autoregressive model finds likely."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dims_hf.methods.autoregressive import AutoregressiveOptions, FromAutoregressive
from dims_hf.methods.base import Batch, Items, Run, Sourced
from dims_hf.methods.full_masks import Content, pack_content
from dims_hf.methods.options import option
from dims_hf.objectives import RELAXATIONS, Loss, cmlm_loss, engine_loss, expected_embeddings


_ENGINE_RECIPE = "released ENGINE code, inf_energy_loss.py and scripts"


@dataclass(frozen=True)
class ENGINEOptions(AutoregressiveOptions):
    """Settings of ENGINE training."""

    input_relaxation: str = option(
        "softmax",
        choices=tuple(RELAXATIONS),
        help="What the autoregressive model reads: softmax, expected embeddings; straight_through, those of tokens.",
    )
    output_relaxation: str = option(
        "softmax",
        choices=tuple(RELAXATIONS),
        help="What it scores: softmax, distributions; straight_through, the likeliest tokens.",
    )
    cross_entropy_weight: float = option(
        0.0,
        ge=0,
        le=float("inf"),
        help="Weight α of the cross-entropy beside the energy.",
        advice="The released scripts use 0.",
    )


class ENGINE(FromAutoregressive):
    """
    Energy of what the model writes from masks alone, by a frozen autoregressive model, + α · cross-entropy.

    A fine-tuning stage of a trained CMLM, with a small learning rate: the energy is low for some degenerate outputs.
    Lengths are those of the targets, `</s>` is scored at their end.

    Source: Tu et al. 2020 (arXiv 2005.00850), §3; both operators are the softmax in the released scripts.
    """

    paper = "Tu et al. 2020 (ENGINE, arXiv 2005.00850)"
    families = ("cmlm",)
    Options = ENGINEOptions
    published = {
        "engine_teacher": {
            "method": Sourced("engine", _ENGINE_RECIPE),
            "input_relaxation": Sourced("softmax", _ENGINE_RECIPE),
            "output_relaxation": Sourced("softmax", _ENGINE_RECIPE),
            "cross_entropy_weight": Sourced(0.0, _ENGINE_RECIPE),
            "learning_rate": Sourced(1e-6, _ENGINE_RECIPE),
            "dropout": Sourced(0.1, _ENGINE_RECIPE),
            "adam_beta1": Sourced(0.9, _ENGINE_RECIPE),
            "adam_beta2": Sourced(0.999, _ENGINE_RECIPE),
            "max_tokens_per_batch": Sourced(1024, _ENGINE_RECIPE),
            "gradient_accumulation_steps": Sourced(8, _ENGINE_RECIPE),
        }
    }

    def loss(self, run: Run, batch: Batch, items: Items) -> Loss:
        """Energy, token and length loss of one batch."""
        outputs, is_masked = self.forward(run, batch)
        hidden_states, labels = outputs.decoder_last_hidden_state, batch["labels"]
        with run.autocast():
            loss = self.energy(pack_content(run, hidden_states, labels), batch, items)
            if self.options.cross_entropy_weight:
                token = cmlm_loss(
                    run.vocabulary(hidden_states[is_masked]),
                    labels[is_masked],
                    label_smoothing=0.0,
                    num_items=items["tokens"],
                )
                total = loss.total + self.options.cross_entropy_weight * token.total
                loss = Loss(total, {**loss.parts, "token": token.parts["token"]})
        return self.add_length_loss(loss, outputs.length_logits, batch, items)

    def energy(self, content: Content, batch: Batch, items: Items) -> Loss:
        """−log P of what the model writes, and of `</s>` after it."""
        teacher = self.read_teacher(batch["input_ids"].device)
        table = teacher.embedding
        written = expected_embeddings(content.vocabulary, table, relaxation=self.options.input_relaxation)
        start = table[teacher.start_id].expand(len(written), 1, -1).to(written.dtype)
        states = teacher.read(batch["input_ids"], batch["attention_mask"], torch.cat([start, written], dim=1))
        return engine_loss(
            content.vocabulary,
            teacher.vocabulary(states.last_hidden_state),
            content.lengths,
            eos_token_id=self.config.eos_token_id,
            relaxation=self.options.output_relaxation,
            # `</s>` of each sentence counts as a token
            num_items=items["tokens"] + items["sentences"],
        )
