# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Mask-predict decoding: length candidates, a state, and one step that reveals and re-masks.

Shapes: B batch, K length candidates, R = B·K rows, T target length (with `<s>` and `</s>`), M updated positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch

from .configuration_nat import LengthPredictionConfig
from .decoding_constraints import apply_forced_tokens, check_phrases, fewest_positions, place_phrases
from .decoding_grid import (
    KEPT,
    REMASKED,
    REVEALED,
    AnyState,
    DecodingState,
    GridState,
    GridStrategy,
    apply_pass,
    start_decoding,
    trim_padding,
)
from .decoding_rules import NUM_BEST, penalize_repeats
from .decoding_strategy import (
    DecodingRequest,
    DecodingSettings,
    DecodingStep,
    EncodedSources,
    NATGenerateOutput,
    TranslationModel,
)
from .masking import drop_tokens, remaining_masks, select_lowest


@dataclass(frozen=True)
class MaskPredictSettings(DecodingSettings):
    """
    Settings of `generate()` for models that predict a length.

    Args:
        length_score_weight (`float`): w; a candidate's score is its mean log-probability plus w times the
            log-probability of its length. 0 is the reference.
        repeat_penalty (`float`): ρ, see `penalize_repeats`. 0 is the reference, infinity forbids equal neighbours.
    """

    stored: ClassVar[tuple[str, ...]] = (*DecodingSettings.stored, "length_score_weight", "repeat_penalty")

    length_score_weight: float = 0.0
    repeat_penalty: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_weights("length_score_weight")
        self.check_weights("repeat_penalty", infinite=True)
        if self.do_sample and self.repeat_penalty:
            raise ValueError(
                f"repeat_penalty={self.repeat_penalty} looks for the likeliest tokens, do_sample=True does not. Use "
                "repeat_penalty=0 with samples."
            )


def length_candidates(
    predicted_lengths: torch.Tensor, length_beam_size: int, *, shortest: int = 2, longest: int | None = None
) -> torch.Tensor:
    """
    K contiguous lengths around the predicted one: ℓ − ⌊K/2⌋ … ℓ − ⌊K/2⌋ + K − 1, clamped (duplicates possible).

    Source: the reference implementation's length beam; not a top-k of the length predictor.

    Args:
        predicted_lengths (`torch.LongTensor` of shape `(B,)`): tokens with `<s>` and `</s>`.
        length_beam_size (`int`): K.
        shortest, longest (`int`): clamps, `<s>` and `</s>` counted.

    Returns:
        `torch.LongTensor` of shape `(B, K)`, ascending.
    """
    offsets = torch.arange(length_beam_size, device=predicted_lengths.device) - length_beam_size // 2
    return (predicted_lengths.unsqueeze(1) + offsets).clamp(min=shortest, max=longest)


def init_mask_predict(
    lengths: torch.Tensor,
    *,
    num_iterations: int,
    bos_token_id: int,
    eos_token_id: int,
    pad_token_id: int,
    mask_token_id: int,
) -> DecodingState:
    """
    Fully masked templates `<s> mask … mask </s> pad …`.

    Args:
        lengths (`torch.LongTensor` of shape `(R,)`): target tokens with `<s>` and `</s>`, each at least 2.
        num_iterations (`int`): decoder passes to plan for.
        bos_token_id, eos_token_id, pad_token_id, mask_token_id (`int`): ids of the template's tokens.
    """
    column = torch.arange(lengths.max().item(), device=lengths.device).unsqueeze(0)
    # lengths count `<s>` and `</s>`: column of `</s>`
    last = lengths.unsqueeze(1) - 1
    tokens = torch.full((lengths.shape[0], column.shape[1]), pad_token_id, device=lengths.device)
    is_content = (column > 0) & (column < last)
    tokens = tokens.masked_fill(is_content, mask_token_id)
    tokens = tokens.masked_fill(column == last, eos_token_id).masked_fill(column == 0, bos_token_id)
    return start_decoding(tokens, is_content, num_iterations)


def step_mask_predict(
    state: AnyState,
    is_updated: torch.Tensor,
    predictions: torch.Tensor,
    log_probs: torch.Tensor,
    *,
    mask_token_id: int,
) -> AnyState:
    """
    Writes the predictions of one pass, then re-masks the least confident ⌊N (S − s) / S⌋ content positions.

    Source: Ghazvininejad et al. 2019, §3 (Mask-Predict).

    Args:
        state ([`DecodingState`]): before the pass.
        is_updated (`torch.BoolTensor` of shape `(R, T)`): positions the pass predicted (M in all).
        predictions (`torch.LongTensor` of shape `(M,)`): predicted tokens, row-major.
        log_probs (`torch.FloatTensor` of shape `(M,)`): their log-probabilities.
        mask_token_id (`int`): written where a position is masked again.
    """

    def select_masks(scores: torch.Tensor, num_passes: int) -> torch.Tensor:
        num_left = remaining_masks(state.is_content.sum(dim=1), num_passes, state.num_iterations)
        return select_lowest(scores, state.is_content, num_left)

    return apply_pass(state, is_updated, predictions, log_probs, select_masks, mask_token_id=mask_token_id)


class LengthPredictor(TranslationModel, Protocol):
    """A model that predicts how long a translation is."""

    def predict_length(self, encoder_hidden_states: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits (B, max_target_length) of encoder states (B, S, D)."""


class MaskPredict(GridStrategy):
    """
    Mask-predict with length candidates (Ghazvininejad et al. 2019).

    Tokens and phrases that the caller forces are no content: they are never predicted, masked or counted.
    """

    settings_class = MaskPredictSettings
    settings: MaskPredictSettings
    config: LengthPredictionConfig
    model: LengthPredictor
    refused: ClassVar[dict[str, str]] = {
        "language_model": "A language model scores the hypotheses of a prefix beam, which models with a blank have."
    }

    def init(self, sources: EncodedSources, request: DecodingRequest) -> GridState:
        self.num_best = NUM_BEST if self.settings.repeat_penalty else 1
        self.phrases = check_phrases(request, sources.num_sentences, self.config)
        return super().init(sources, request)

    def candidate_lengths(
        self, sources: EncodedSources, request: DecodingRequest
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Lengths to decode, `<s>` and `</s>` counted, and w·log p(length)."""
        fewest = fewest_positions(request, sources.num_sentences, self.config, sources.hidden.device)
        if request.target_lengths is not None:
            return self._given_lengths(sources, request.target_lengths, fewest), None
        # class c is c tokens, so that the highest class is one below their number
        longest = min(self.config.max_position_embeddings, self.config.max_target_length - 1)
        if fewest is not None and int(fewest.max()) > longest:
            raise ValueError(
                f"The forced tokens of sentence {int(fewest.argmax())} need {int(fewest.max())} positions, the model "
                f"predicts at most {longest}. Force fewer, or give target_lengths."
            )
        logits = self.model.predict_length(sources.hidden, sources.attention_mask)
        # The reference may decode the empty sentence, and rank it first: nothing has the best possible score, 0.
        shortest = 3 if self.config.suppress_special_tokens else 2
        lengths = length_candidates(
            logits.argmax(dim=-1), self.settings.length_beam_size, shortest=shortest, longest=longest
        )
        if fewest is not None:
            lengths = torch.maximum(lengths, fewest.unsqueeze(1))
        weight = self.settings.length_score_weight
        # of the length that is decoded: clamped candidates have the probability of what they were clamped to
        return lengths, weight * logits.float().log_softmax(dim=-1).gather(1, lengths) if weight else None

    def _given_lengths(
        self, sources: EncodedSources, given: torch.Tensor | Sequence[int], fewest: torch.Tensor | None
    ) -> torch.Tensor:
        """The caller's lengths, once they are known to be possible: (B, 1)."""
        longest = self.config.max_position_embeddings
        if self.settings.length_beam_size > 1:
            raise ValueError("target_lengths fix the length. Use length_beam_size=1 with them, or leave them out.")
        target_lengths = torch.as_tensor(given, device=sources.hidden.device)
        if target_lengths.shape != (sources.num_sentences,) or target_lengths.is_floating_point():
            raise ValueError(
                f"target_lengths must hold one integer per sentence ({sources.num_sentences}), got shape "
                f"{tuple(target_lengths.shape)} of {target_lengths.dtype}."
            )
        if torch.compiler.is_compiling():
            # An exported graph has no place for the checks of values below.
            return target_lengths.unsqueeze(1) + 2
        if int(target_lengths.min()) < 1 or int(target_lengths.max()) + 2 > longest:
            raise ValueError(
                f"target_lengths must be between 1 and {longest - 2} content tokens, got "
                f"{int(target_lengths.min())} to {int(target_lengths.max())}."
            )
        # the model counts `<s>` and `</s>`, callers do not
        lengths = target_lengths.long() + 2
        if fewest is not None and bool((lengths < fewest).any()):
            row = int((lengths < fewest).long().argmax())
            raise ValueError(
                f"target_lengths[{row}]={int(target_lengths[row])} cannot hold what is forced, which needs "
                f"{int(fewest[row]) - 2} content tokens. Raise it, or force less."
            )
        return lengths.unsqueeze(1)

    def make_templates(self, lengths: torch.Tensor, request: DecodingRequest) -> DecodingState:
        config = self.config
        state = init_mask_predict(
            lengths,
            num_iterations=self.settings.num_iterations,
            bos_token_id=config.bos_token_id,
            eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
            mask_token_id=config.mask_token_id,
        )
        return state if request.forced_tokens is None else apply_forced_tokens(state, request.forced_tokens)

    def step(self, state: GridState) -> GridState:
        logits = self.compute_logits(state)
        # later passes find the phrases in place, as context
        if self.phrases is not None and state.num_passes == 0:
            state, logits = place_phrases(state, logits, self.phrases)
        return self.advance(state, logits)

    def reveal(
        self,
        state: GridState,
        is_updated: torch.Tensor,
        predictions: torch.Tensor,
        log_probs: torch.Tensor,
    ) -> GridState:
        return step_mask_predict(state, is_updated, predictions, log_probs, mask_token_id=self.config.mask_token_id)

    def finish(self, state: GridState, history: list[DecodingStep]) -> NATGenerateOutput:
        """
        Drops empty tokens once repeats are collapsed: what they keep apart is no repeat. Without collapsing, the
        sequences are what was written, empty tokens included.
        """
        output, pad, empty = super().finish(state, history), self.config.pad_token_id, self.config.empty_token_id
        if empty is not None and self.settings.collapse_repeats:
            # after collapsing, not before: an empty token between two equal ones keeps both
            output.sequences = trim_padding(drop_tokens(output.sequences, empty, pad), pad)
        return output

    def settle(self, state: GridState) -> tuple[torch.Tensor, torch.Tensor]:
        if state.best is None:
            return super().settle(state)
        return penalize_repeats(
            state.best.tokens,
            state.best.log_probs,
            state.is_content,
            self.settings.repeat_penalty,
            is_forced=state.is_forced,
        )


__all__ = [
    "KEPT",
    "REMASKED",
    "REVEALED",
    "DecodingState",
    "MaskPredict",
    "MaskPredictSettings",
    "init_mask_predict",
    "length_candidates",
    "step_mask_predict",
]
