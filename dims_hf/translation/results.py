# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What a translation is, and what it cost."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Translation:
    """One translated text, with what the diagnostics need beside it.

    Args:
        text (`str`): the detokenised translation.
        raw_text (`str`): the same before repeats were collapsed (equal to `text` with `collapse_repeats=False`).
        token_ids (`tuple[int, ...]`): content token ids behind `text`, without `<s>`, `</s>` and padding.
        raw_token_ids (`tuple[int, ...]`): content token ids behind `raw_text`.
        score (`float`): sum of log-probabilities / (N+2), taken before repeats are collapsed; over all pieces of a
            source that was split; 0 of an empty translation.
        num_pieces (`int`): pieces that the source was translated in; 0 where it was left out.
        left_out (`str`, *optional*): "blank" or "long" where a policy left the source out.
        is_fallback (`bool`): whether it was made by more passes or another model, the first being unsure.
    """

    text: str
    raw_text: str
    token_ids: tuple[int, ...]
    raw_token_ids: tuple[int, ...]
    score: float
    num_pieces: int = 1
    left_out: str | None = None
    is_fallback: bool = False

    @property
    def confidence(self) -> float:
        """Geometric mean of the token probabilities, between 0 and 1."""
        return min(1.0, math.exp(self.score))


@dataclass(frozen=True)
class Timing:
    """What a `translate_timed` call cost: wall time inside `generate` only, tokenisation excluded.

    Args:
        seconds (`float`): wall-clock seconds, accelerator synchronised.
        num_sentences (`int`): sentences translated.
        num_batches (`int`): calls of `generate`.
    """

    seconds: float
    num_sentences: int
    num_batches: int

    @property
    def milliseconds_per_sentence(self) -> float:
        """Batch throughput seen from one sentence, in ms; not the latency of a sentence translated alone."""
        return 1000.0 * self.seconds / max(1, self.num_sentences)

    @property
    def sentences_per_batch(self) -> float:
        """Mean number of sentences per `generate` call."""
        return self.num_sentences / max(1, self.num_batches)
