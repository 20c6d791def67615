# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Decoding of arranged sources: one pass, whose length is that of the predicted alignment.

Shapes: B batch, T target length (with `<s>` and `</s>`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import torch

from .decoding_grid import REVEALED, trim_padding
from .decoding_strategy import (
    DecodingRequest,
    DecodingSettings,
    DecodingStep,
    DecodingStrategy,
    EncodedSources,
    NATGenerateOutput,
    TranslationModel,
    choose_tokens,
)
from .masking import collapse_repeats


@dataclass(frozen=True)
class AligNARTSettings(DecodingSettings):
    """Settings of `generate()` for arranged sources: one pass. Repeats are words of their own, and stay."""

    stored: ClassVar[tuple[str, ...]] = ("num_iterations", "collapse_repeats")

    num_iterations: int = 1
    collapse_repeats: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("num_iterations", "length_beam_size"):
            if getattr(self, name) != 1:
                raise ValueError(
                    f"AligNART makes one pass over one alignment, got {name}={getattr(self, name)!r}. Leave it out "
                    "(of an evaluation: --iterations 1)."
                )


@dataclass(frozen=True)
class AlignedState:
    """Sources, and after the pass `tokens` (B, T) and their log-probabilities (B, T; 0 at the ends and at padding)."""

    sources: EncodedSources
    tokens: torch.Tensor | None = None
    log_probs: torch.Tensor | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the pass is done."""
        return self.tokens is not None


class Arranger(TranslationModel, Protocol):
    """A model that aligns before it writes."""

    def arrange(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        """What the decoder reads of encoder states (B, S, D) and the mask of sources: `Arranged`."""


class AlignedDecoding(DecodingStrategy[AlignedState]):
    """The likeliest alignment step by step, then the likeliest word of each of its positions (Song et al. 2021)."""

    settings_class = AligNARTSettings
    model: Arranger
    refused: ClassVar[dict[str, str]] = {
        "target_lengths": "The alignment decides how long a translation gets.",
        "forced_tokens": "Positions come from the alignment.",
        "forced_phrases": "Positions come from the alignment.",
        "language_model": "A language model scores the hypotheses of a beam, which there is none of.",
    }

    def init(self, sources: EncodedSources, request: DecodingRequest) -> AlignedState:
        return AlignedState(sources)

    def step(self, state: AlignedState) -> AlignedState:
        sources, config = state.sources, self.config
        arranged = self.model.arrange(sources.hidden, sources.attention_mask)
        is_target, column = arranged.is_target, torch.arange(arranged.is_target.shape[1], device=sources.hidden.device)
        last = is_target.sum(dim=1, keepdim=True) - 1
        is_word = (column > 0) & (column < last)
        hidden = self.model.model.decoder(
            None,
            is_target,
            encoder_hidden_states=sources.hidden,
            encoder_attention_mask=sources.attention_mask,
            inputs_embeds=arranged.inputs_embeds,
            cross_key_values=sources.cross_key_values,
            output_positions=is_word,
            return_dict=True,
        ).last_hidden_state
        words, log_probs = choose_tokens(
            self.model.project_vocabulary(hidden),
            self.model.suppressed_token_ids(),
            do_sample=self.settings.do_sample,
            temperature=self.settings.temperature,
            generator=self.generator,
        )
        tokens = torch.full(is_target.shape, config.pad_token_id, device=hidden.device)
        tokens[:, 0] = config.bos_token_id
        tokens = tokens.masked_fill(column == last, config.eos_token_id).masked_scatter(is_word, words)
        scores = torch.zeros(is_target.shape, device=hidden.device).masked_scatter(is_word, log_probs)
        return replace(state, tokens=tokens, log_probs=scores)

    def record(self, state: AlignedState) -> DecodingStep:
        assert state.tokens is not None and state.log_probs is not None
        # 0 is the score of what was not predicted: ends and padding
        return DecodingStep(state.tokens, state.log_probs, torch.where(state.log_probs != 0, REVEALED, 0))

    def finish(self, state: AlignedState, history: list[DecodingStep]) -> NATGenerateOutput:
        assert state.tokens is not None and state.log_probs is not None
        pad = self.config.pad_token_id
        sequences = collapse_repeats(state.tokens, pad) if self.settings.collapse_repeats else state.tokens
        return NATGenerateOutput(
            sequences=trim_padding(sequences, pad),
            sequences_scores=state.log_probs.sum(dim=1) / (state.tokens != pad).sum(dim=1),
            token_scores=state.log_probs if self.settings.output_scores else None,
            history=history if self.settings.output_history else None,
        )


__all__ = ["AligNARTSettings", "AlignedDecoding"]
