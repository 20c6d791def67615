# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Prefix beam search that a language model steers; without torch, so that exported graphs search alike."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from typing import Any


Target = tuple[list[int], float]
"""Token ids and score."""

# Of a prefix: log-probability of its alignments that end in a blank, and of those that end in its last token.
_Sums = tuple[float, float]
_Beam = dict[tuple[int, ...], _Sums]


def search_targets(
    tokens: Sequence[Sequence[int]],
    log_probs: Sequence[Sequence[float]],
    *,
    blank_token_id: int,
    beam_size: int,
    language_model: Callable[[list[int]], float] | None = None,
    language_model_weight: float = 0.0,
    token_bonus: float = 0.0,
) -> list[Target]:
    """
    Targets of one alignment, best first, by log p + α · log p_LM + β · tokens.

    p sums over the alignments that collapse to a target, as in [`prefix_beam_search`](models.alignment). After each
    frame those prefixes ℓ go on whose log p(ℓ) + α · log p_LM(ℓ) + β · |ℓ| is highest; at the end the language model
    also counts `</s>`. With a beam that holds every prefix the scores are exact. A language model without
    `score_prefix` cannot say what a beginning is worth: the search is then that without it, and α and β rank its
    hypotheses once.

    Source: Hannun et al. 2014 (arXiv 1408.2873), algorithm 1, whose language model scores words as they are complete.

    Args:
        tokens (`Sequence[Sequence[int]]`): A rows, the symbols of each frame that are looked at, likeliest first.
        log_probs (`Sequence[Sequence[float]]`): their log-probabilities, in nats. Of a symbol that comes twice, the
            first counts.
        blank_token_id (`int`): the blank.
        beam_size (`int`): hypotheses kept.
        language_model (`Callable`, *optional*): see `language_model` of `generate()`.
        language_model_weight, token_bonus (`float`): α and β, without effect where there is no language model.

    Raises:
        ValueError: the language model gives NaN.
    """
    score_prefix = getattr(language_model, "score_prefix", None)
    prior = Prior(score_prefix, language_model_weight, token_bonus)
    beam: _Beam = {(): (0.0, -math.inf)}
    for ids, scores in zip(tokens, log_probs):
        frame: dict[int, float] = {}
        for token, score in zip(ids, scores):
            frame.setdefault(token, score)
        blank = frame.pop(blank_token_id, -math.inf)
        # Without a language model a beam keeps no more of a prefix's children than its size and those it has already.
        likeliest = list(frame) if prior.is_used else list(frame)[: 2 * beam_size + 1]
        beam = _keep_best(_advance(beam, blank, frame, likeliest), prior, beam_size)
    found = [(list(prefix), log_add(*sums)) for prefix, sums in beam.items()]
    if language_model is None:
        return sorted(found, key=lambda target: -target[1])
    return rescore(found, language_model, weight=language_model_weight, token_bonus=token_bonus)


def rescore(
    found: Sequence[Target], language_model: Callable[[list[int]], float], *, weight: float, token_bonus: float
) -> list[Target]:
    """Whole targets with their log p, ranked by log p + α · log p_LM + β · tokens; `</s>` counts."""
    scored = [(ids, score + weigh(language_model, ids, weight) + token_bonus * len(ids)) for ids, score in found]
    return sorted(scored, key=lambda target: -target[1])


def log_add(first: float, second: float) -> float:
    """log(exp(first) + exp(second)), also of -inf."""
    low, high = (first, second) if first < second else (second, first)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


class Prior:
    """
    α · log p_LM(ℓ) + β · |ℓ| of prefixes, each asked for once; 0 where nothing steers.

    Args:
        score_prefix (`Callable`, *optional*): log p_LM of what a target begins with.
        weight, token_bonus (`float`): α and β.
    """

    def __init__(self, score_prefix: Callable[[list[int]], float] | None, weight: float, token_bonus: float) -> None:
        self.is_used = score_prefix is not None
        self._score_prefix: Any = score_prefix
        self._weight, self._bonus = weight, token_bonus if self.is_used else 0.0
        self._known: dict[tuple[int, ...], float] = {(): 0.0}

    def bound(self, prefix: tuple[int, ...]) -> float:
        """At least `value`, for nothing: what `prefix` without its last token, which was in the beam, is worth."""
        if not self.is_used:
            return 0.0
        known = self._known.get(prefix)
        return (self._known[prefix[:-1]] if known is None else known) + self._bonus * len(prefix)

    def value(self, prefix: tuple[int, ...]) -> float:
        """What `prefix` is worth beside its probability."""
        if self.is_used and prefix not in self._known:
            self._known[prefix] = weigh(self._score_prefix, list(prefix), self._weight)
        return self.bound(prefix)


def weigh(score: Callable[[list[int]], float], token_ids: list[int], weight: float) -> float:
    """
    α · log p_LM, where 0 · inf is 0.

    Raises:
        ValueError: the language model gives NaN.
    """
    value = weight * float(score(token_ids)) if weight else 0.0
    if math.isnan(value):
        raise ValueError(f"The language model gives NaN for {token_ids}. It has to give a log-probability.")
    return value


def _advance(beam: _Beam, blank: float, frame: dict[int, float], likeliest: list[int]) -> _Beam:
    """All prefixes after one more frame, from log-probabilities of the blank and of tokens."""
    grown: dict[tuple[int, ...], list[float]] = {}

    def add(prefix: tuple[int, ...], place: int, score: float) -> None:
        sums = grown.setdefault(prefix, [-math.inf, -math.inf])
        sums[place] = log_add(sums[place], score)

    # Children that the beam has already may come by any token.
    known: dict[tuple[int, ...], set[int]] = {}
    for prefix in filter(None, beam):
        known.setdefault(prefix[:-1], set()).add(prefix[-1])
    for prefix, (with_blank, with_token) in beam.items():
        both, last = log_add(with_blank, with_token), prefix[-1] if prefix else None
        add(prefix, 0, both + blank)
        if last in frame:
            add(prefix, 1, with_token + frame[last])
        for token in {*likeliest, *(known.get(prefix, set()) & frame.keys())}:
            add((*prefix, token), 1, (with_blank if token == last else both) + frame[token])
    return {prefix: (sums[0], sums[1]) for prefix, sums in grown.items() if max(sums) > -math.inf}


def _keep_best(grown: _Beam, prior: Prior, beam_size: int) -> _Beam:
    """The best prefixes by their probability and the prior."""
    bounds = [(log_add(*sums) + prior.bound(prefix), prefix) for prefix, sums in grown.items()]
    kept = take_best(bounds, lambda prefix: log_add(*grown[prefix]) + prior.value(prefix), beam_size)
    return {prefix: grown[prefix] for prefix in kept}


def take_best(
    bounds: Sequence[tuple[float, tuple[int, ...]]], value: Callable[[tuple[int, ...]], float], count: int
) -> list[tuple[int, ...]]:
    """
    The `count` prefixes of the highest value, best first, without those of value -inf. No value is asked for that
    could not be among them any more.

    Args:
        bounds (`Sequence[tuple[float, tuple[int, ...]]]`): at least the value of each prefix, and the prefix; of equal
            values the earlier one is better.
        value (`Callable[[tuple[int, ...]], float]`): what a prefix is worth.
        count (`int`): most prefixes.
    """
    kept: list[tuple[float, int, tuple[int, ...]]] = []  # a heap, the worst first; of equals the later is worse
    for place, (bound, prefix) in enumerate(sorted(bounds, key=lambda item: -item[0])):
        if len(kept) == count and bound <= kept[0][0]:
            break
        worth = value(prefix)
        if worth > -math.inf:
            (heapq.heappush if len(kept) < count else heapq.heappushpop)(kept, (worth, -place, prefix))
    return [prefix for _, _, prefix in sorted(kept, reverse=True)]


__all__ = ["Prior", "Target", "log_add", "rescore", "search_targets", "take_best", "weigh"]
