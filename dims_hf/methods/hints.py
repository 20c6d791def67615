# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Hints: a one-pass model whose states and attention follow those of an autoregressive model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from dims_hf.methods.autoregressive import AutoregressiveOptions, FromAutoregressive
from dims_hf.methods.base import Batch, Items, Run, Sourced
from dims_hf.methods.options import option
from dims_hf.models.modeling_translation import NATForConditionalGeneration
from dims_hf.objectives import Loss, attention_hint_loss, hidden_hint_loss


_HINTS = "Li et al. 2019 (arXiv 1909.06708), experiments"


@dataclass(frozen=True)
class HintsOptions(AutoregressiveOptions):
    """Settings of training with hints."""

    hidden_hint_weight: float = option(
        5.0, ge=0, le=float("inf"), help="Weight λ of the hint from hidden states.", advice="Try 5."
    )
    attention_hint_weight: float = option(
        1.0, ge=0, le=float("inf"), help="Weight μ of the hint from attention to the source.", advice="Try 1."
    )
    student_threshold: float = option(
        0.5, ge=-1, le=1, help="Cosine from which two states of the model are too much alike."
    )
    teacher_threshold: float = option(
        0.5, ge=-1, le=1, help="Cosine up to which the autoregressive model's states differ."
    )
    label_smoothing: float = option(
        0.1, ge=0, le=0.999, help="Smoothing of the token loss, in [0, 1).", advice="The papers use 0.1."
    )


class Hints(FromAutoregressive):
    """
    Cross-entropy from masks alone + λ · hint from hidden states + μ · hint from word alignments.

    Where two states of the model are alike and those of the autoregressive model are not, they are driven apart; its
    attention to the source is taken over. Its state that predicts a token stands beside the model's state at that
    token. Both need the same numbers of decoder layers and heads, and eager attention, whose weights can be seen.

    Source: Li et al. 2019 (arXiv 1909.06708), §3: the paper's losses, not those of the released code, in which the
    teacher's states are the student's.
    """

    paper = "Li et al. 2019 (hints, arXiv 1909.06708)"
    families = ("cmlm",)
    has_accuracy = True
    items = ("tokens", "sentences", "state_pairs")
    attention = "eager"
    Options = HintsOptions
    published = {
        "hints_teacher": {
            "method": Sourced("hints", _HINTS),
            "attn_implementation": Sourced("eager", "ours: other backends do not give attention weights"),
            "hidden_hint_weight": Sourced(5.0, f"{_HINTS}: λ (from a summary, not checked against the paper)"),
            "attention_hint_weight": Sourced(1.0, f"{_HINTS}: μ (from a summary, not checked against the paper)"),
        }
    }

    def configure(self, model: NATForConditionalGeneration) -> None:
        """As [`FromAutoregressive`]; compares layers, heads and attention of both models."""
        super().configure(model)
        assert self.teacher is not None
        for name in ("decoder_layers", "decoder_attention_heads"):
            ours, theirs = getattr(model.config, name), getattr(self.teacher.model.config, name)
            if ours != theirs:
                raise ValueError(
                    f"Hints compare layer with layer and head with head, and {name} is {ours} here, {theirs} in the "
                    "autoregressive model. Give both the same."
                )
        if model.config._attn_implementation != self.attention:
            raise ValueError(
                f"Hints need attention weights, which {model.config._attn_implementation} does not give. Set "
                "attn_implementation: eager."
            )

    def count(self, batch: Batch) -> dict[str, int]:
        """Tokens, sentences, and pairs of tokens of one sentence."""
        lengths = (batch["labels"] != -100).sum(dim=1)
        return {**super().count(batch), "state_pairs": int((lengths * (lengths - 1) // 2).sum())}

    def loss(self, run: Run, batch: Batch, items: Items) -> Loss:
        """Token, hint and length loss of one batch."""
        outputs, is_masked = self.forward(run, batch, output_hidden_states=True, output_attentions=True)
        token = self.token_loss(run, batch, outputs.decoder_last_hidden_state, is_masked, items)
        with run.autocast():
            hidden, attention = self.hints(outputs, batch, items)
        total = (
            token.total
            + self.options.hidden_hint_weight * hidden.total
            + self.options.attention_hint_weight * attention.total
        )
        parts = {**token.parts, **hidden.parts, **attention.parts}
        return self.add_length_loss(Loss(total, parts), outputs.length_logits, batch, items)

    def hints(self, outputs: Any, batch: Batch, items: Items) -> tuple[Loss, Loss]:
        """The hint from hidden states and the one from attention to the source, each before its weight."""
        theirs = self.read_targets(batch)
        # the state that has read `<s>` … y_{t−1} predicts y_t
        is_content = (batch["labels"] != -100)[:, 1:]
        # without the embeddings, and without `<s>`: the teacher's states are one place to the left
        ours = torch.stack(outputs.decoder_hidden_states[1:])[:, :, 1:]
        hidden = hidden_hint_loss(
            ours,
            torch.stack(theirs.hidden_states[1:]),
            is_content,
            student_threshold=self.options.student_threshold,
            teacher_threshold=self.options.teacher_threshold,
            num_items=items["state_pairs"] * len(ours),
        )
        attentions = torch.stack(outputs.cross_attentions)[:, :, :, 1:]
        attention = attention_hint_loss(
            attentions,
            torch.stack(theirs.cross_attentions),
            is_content,
            num_items=items["tokens"] * len(attentions) * attentions.shape[2],
        )
        return hidden, attention

    @torch.no_grad()
    def read_targets(self, batch: Batch) -> Any:
        """What the autoregressive model makes of the targets, `<s>` … but their last tokens."""
        teacher = self.read_teacher(batch["input_ids"].device)
        labels, tokens = batch["labels"], batch["decoder_input_ids"]
        # a target token that is the mask itself, which imported models may have, stays one
        targets = torch.where(labels != -100, labels, tokens)[:, :-1].clone()
        targets[:, 0] = teacher.start_id
        return teacher.read(
            batch["input_ids"],
            batch["attention_mask"],
            targets,
            output_hidden_states=True,
            output_attentions=True,
        )
