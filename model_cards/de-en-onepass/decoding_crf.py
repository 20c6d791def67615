# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Mask-predict whose passes choose the best sequence of a bigram field instead of the best word of each position.

Shapes: R rows, T positions, M updated positions, C candidates, V vocabulary, D hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import torch

from .crf import crf_choose
from .decoding_constraints import place_phrases
from .decoding_grid import GridState
from .decoding_mask_predict import LengthPredictor, MaskPredict, MaskPredictSettings
from .decoding_strategy import suppress


@dataclass(frozen=True)
class CRFSettings(MaskPredictSettings):
    """
    Settings of `generate()` for models with a bigram field; one pass by default, which the field is made for.

    Args:
        crf_beam_size (`int`, *optional*): candidates of each position; default: the configuration's.
    """

    refused: ClassVar[tuple[str, ...]] = ("do_sample", "repeat_penalty")

    num_iterations: int = 1
    crf_beam_size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crf_beam_size is not None:
            self.check_counts("crf_beam_size")
        if any(getattr(self, name) for name in self.refused):
            raise ValueError(
                "A field looks for the best sequence and knows which neighbours fit. Leave out "
                f"{' and '.join(self.refused)}."
            )


class Candidates(NamedTuple):
    """
    Lists of candidates.

    Args:
        token_ids (`torch.LongTensor` of shape `(R, T, C)`): what may stand at each position.
        emissions (`torch.Tensor` of shape `(R, T, C)`): their log-probabilities; what stands there already has 0, and
            others -inf.
    """

    token_ids: torch.Tensor
    emissions: torch.Tensor


def list_candidates(
    tokens: torch.Tensor, is_updated: torch.Tensor, logits: torch.Tensor, num_candidates: int
) -> Candidates:
    """
    The likeliest tokens of updated positions, and the one token of all others.

    Args:
        tokens (`torch.LongTensor` of shape `(R, T)`): decoder input.
        is_updated (`torch.BoolTensor` of shape `(R, T)`): the M positions that are predicted.
        logits (`torch.Tensor` of shape `(M, V)`): of these; -inf excludes a token.
        num_candidates (`int`): C, at most V.

    Returns:
        [`Candidates`].
    """
    best, ids = logits.topk(min(num_candidates, logits.shape[-1]), dim=-1)
    token_ids = tokens.unsqueeze(2).repeat(1, 1, ids.shape[1])
    emissions = torch.full(token_ids.shape, float("-inf"), dtype=logits.dtype, device=logits.device)
    # what stands there already is the one candidate of its position: the others stay -inf
    emissions[..., 0] = 0.0
    token_ids[is_updated], emissions[is_updated] = ids, best - logits.logsumexp(dim=-1, keepdim=True)
    return Candidates(token_ids, emissions)


def decode_chain(
    candidates: Candidates, transitions: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    The best sequence of each row, and how likely each of its tokens is after the one before it: these add up to the
    sequence's log-probability, normalised over all sequences of candidates.

    Args:
        candidates ([`Candidates`]): of each position.
        transitions (`torch.Tensor` of shape `(R, T - 1, C, C)`): see [`crf_viterbi`].
        lengths (`torch.LongTensor` of shape `(R,)`): positions of each row.

    Returns:
        token ids (R, T) and log-probabilities (R, T).
    """
    places, log_probs = crf_choose(candidates.emissions, transitions, lengths)
    return candidates.token_ids.gather(2, places.unsqueeze(2)).squeeze(2), log_probs


class ChainModel(LengthPredictor, Protocol):
    """A model with a field over neighbours."""

    def crf_head(self, candidate_ids: torch.Tensor, hidden_states: torch.Tensor) -> torch.Tensor:
        """Scores of neighbouring candidates (R, T, C), from decoder states (R, T, D)."""


class ChainMaskPredict(MaskPredict):
    """
    Mask-predict with a bigram field (Sun et al. 2019): each pass predicts its masks together, given what stands there.

    Scores of tokens are conditional on the token before, so that a sentence's score is that of the sequence,
    normalised over the candidates' sequences, and lengths can be compared.
    """

    settings_class = CRFSettings
    settings: CRFSettings
    model: ChainModel

    def step(self, state: GridState) -> GridState:
        inputs, rows = state.inputs, state.inputs.rows
        # of all positions: transitions are made of both neighbours' states, masked or not
        hidden = self.run_decoder(state.tokens[rows], inputs.is_target, inputs.sources)
        projected = self.model.project_vocabulary(hidden[state.is_updated[rows]])
        logits = suppress(projected, self.model.suppressed_token_ids())
        if self.phrases is not None and state.num_passes == 0:
            state, logits = place_phrases(state, logits, self.phrases)
        is_updated = state.is_updated[rows]
        size = self.settings.crf_beam_size or self.config.crf_beam_size
        candidates = list_candidates(state.tokens[rows], is_updated, logits, size)
        transitions = self.model.crf_head(candidates.token_ids, hidden)
        tokens, log_probs = decode_chain(candidates, transitions, inputs.is_target.sum(dim=1))
        return self.write(state, logits, tokens[is_updated], log_probs[is_updated].float())


__all__ = ["CRFSettings", "ChainMaskPredict"]
