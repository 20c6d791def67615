# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""
Decoding rules that need no graph: repeats, length candidates, prefix beams, tokens and phrases that must be there.

Shapes: R rows (K candidates of each of B sentences), T positions, M predicted positions, V vocabulary, C likeliest
tokens of a position, A frames of an alignment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dims_hf.models.graph_search import search_graph
from dims_hf.models.phrase_places import find_places
from dims_hf.models.prefix_search import search_targets


# Where `forced_tokens` leaves a position free.
FREE = -100

# Tokens of each position that the rule on repeats chooses from, and that a prefix beam looks at.
NUM_TOKENS_OF_REPEATS, NUM_TOKENS_OF_BEAMS = 3, 40

# The best order of phrases is looked for among all their subsets.
_MOST_PHRASES = 8


class Alternatives:
    """
    The C likeliest tokens of each position as it was last predicted, most likely first.

    Args:
        tokens (`np.ndarray` of shape `(R, T)`): what stands there before anything is predicted, for sure.
        count (`int`): C.
    """

    def __init__(self, tokens: np.ndarray, count: int) -> None:
        self.tokens = np.repeat(tokens[:, :, None], count, axis=2)
        self.log_probs = np.full(self.tokens.shape, -np.inf, np.float32)
        self.log_probs[:, :, 0] = 0

    def settle(self, rows: np.ndarray, tokens: np.ndarray) -> None:
        """Makes what stands in some rows (R',) certain: tokens (R', T)."""
        self.tokens[rows] = tokens[:, :, None]
        self.log_probs[rows] = np.where(np.arange(self.tokens.shape[2]) == 0, 0, -np.inf)

    def update(self, is_updated: np.ndarray, logits: np.ndarray, ids: np.ndarray | None = None) -> None:
        """
        New ones from logits (M, V) of the updated positions (R, T), in row-major order; `ids` (V,) name their columns
        where these are not the vocabulary's own.
        """
        count = min(self.tokens.shape[2], logits.shape[1])
        columns = np.argpartition(-logits, count - 1, axis=1)[:, :count]
        best = np.take_along_axis(logits, columns, axis=1)
        order = np.lexsort((columns, -best), axis=1)
        columns, best = (np.take_along_axis(part, order, axis=1) for part in (columns, best))
        # What a small vocabulary leaves open is impossible.
        missing = ((0, 0), (0, self.tokens.shape[2] - count))
        self.tokens[is_updated] = np.pad(columns if ids is None else ids[columns], missing)
        self.log_probs[is_updated] = np.pad(best - log_sum_exp(logits), missing, constant_values=-np.inf)


def log_sum_exp(logits: np.ndarray) -> np.ndarray:
    """log Σ exp of each row (M, V): (M, 1)."""
    top = logits.max(axis=1, keepdims=True)
    return top + np.log(np.exp(logits - top).sum(axis=1, keepdims=True))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities (M, V) of logits (M, V)."""
    return logits - log_sum_exp(logits)


def penalize_repeats(
    found: Alternatives, is_content: np.ndarray, repeat_penalty: float, is_forced: np.ndarray | None = None
) -> np.ndarray:
    """
    Tokens (R, T) with the highest Σ log p − ρ · (equal neighbours), by a Viterbi search over the alternatives.

    Args:
        found ([`Alternatives`]): of all positions; outside of the content, the first is the result.
        is_content (`np.ndarray` of shape `(R, T)`): positions to choose for.
        repeat_penalty (`float`): ρ, at least 0; infinity forbids equal neighbours.
        is_forced (`np.ndarray` of shape `(R, T)`, *optional*): positions whose token is fixed, and a neighbour; two of
            them may be equal.
    """
    is_forced = np.zeros_like(is_content) if is_forced is None else is_forced
    tokens, is_inside = found.tokens, is_content | is_forced
    certain = np.where(np.arange(tokens.shape[2]) == 0, 0, -np.inf)
    log_probs = np.where(is_content[:, :, None], found.log_probs, certain)
    is_pair = is_inside[:, 1:] & is_inside[:, :-1] & ~(is_forced[:, 1:] & is_forced[:, :-1])
    is_same = (tokens[:, :-1, :, None] == tokens[:, 1:, None, :]) & is_pair[:, :, None, None]
    penalties = np.where(is_same, repeat_penalty, 0.0)
    total, origins = log_probs[:, 0], []
    for position in range(1, tokens.shape[1]):
        scores = total[:, :, None] - penalties[:, position - 1]
        origins.append(scores.argmax(axis=1))
        total = scores.max(axis=1) + log_probs[:, position]
    choices = [total.argmax(axis=1)[:, None]]
    for origin in reversed(origins):
        choices.append(np.take_along_axis(origin, choices[-1], axis=1))
    chosen = np.stack(choices[::-1], axis=1)
    return np.take_along_axis(tokens, chosen, axis=2)[:, :, 0]


def best_rows(scores: np.ndarray, num_candidates: int, num_best: int) -> np.ndarray:
    """
    Rows (B · n,) of the best candidates of each sentence, best first; ties go to the shorter one.

    Args:
        scores (`np.ndarray` of shape `(R,)`): candidates of a sentence side by side, ascending in length.
        num_candidates, num_best (`int`): K and n.
    """
    order = np.argsort(-scores.reshape(-1, num_candidates), axis=1, kind="stable")[:, :num_best]
    return (order + np.arange(len(order))[:, None] * num_candidates).reshape(-1)


def collapse(row: np.ndarray, is_forced: np.ndarray | None = None) -> np.ndarray:
    """Drops every token that equals its right neighbour, unless both are forced."""
    is_kept = np.append(row[:-1] != row[1:], True)
    if is_forced is not None:
        is_kept[:-1] |= is_forced[:-1] & is_forced[1:]
    return row[is_kept]


# ---- prefix beams ------------------------------------------------------------------------------------------------


def search_prefixes(
    tokens: np.ndarray,
    log_probs: np.ndarray,
    *,
    blank_token_id: int,
    beam_size: int,
    language_model: Callable[[list[int]], float] | None = None,
    language_model_weight: float = 0.0,
    token_bonus: float = 0.0,
) -> list[tuple[list[int], float]]:
    """[`search_targets`] of arrays (A, C): symbols of each frame that are looked at, best first."""
    return search_targets(
        tokens.tolist(),
        log_probs.astype(np.float64).tolist(),
        blank_token_id=blank_token_id,
        beam_size=beam_size,
        language_model=language_model,
        language_model_weight=language_model_weight,
        token_bonus=token_bonus,
    )


def search_words(
    transitions: np.ndarray,
    words: np.ndarray,
    word_ids: np.ndarray,
    *,
    num_candidates: int,
    word_weight: float,
    **options: Any,
) -> list[tuple[list[int], float]]:
    """
    [`search_graph`] of arrays: log-probabilities of transitions (A, A) and of the best words of each vertex (A, C),
    and their ids (A, C); the arguments are those of [`search_beam`](models.decoding_dat).
    """
    weighted, ids = np.float32(word_weight) * words, word_ids.tolist()
    scores = (transitions[:, :, None] + weighted).reshape(len(words), -1)
    # stable: of equal pairs the first
    places = np.argsort(-scores, axis=1, kind="stable")[:, :num_candidates]
    best = np.take_along_axis(scores, places, axis=1)
    steps = [
        [
            (place // words.shape[1], ids[place // words.shape[1]][place % words.shape[1]], score)
            for place, score in zip(*pair)
            if score > -np.inf
        ]
        for pair in zip(places.tolist(), best.tolist())
    ]
    return search_graph(list(zip(ids[0], weighted[0].tolist())), steps, **options)


# ---- tokens and phrases ------------------------------------------------------------------------------------------


def check_phrases(phrases: Sequence[Sequence[Sequence[int]]], num_sentences: int) -> list[list[list[int]]]:
    """
    Phrases of each sentence as lists of ids.

    Raises:
        ValueError: another number of sentences, too many phrases, or an empty one.
    """
    if len(phrases) != num_sentences:
        raise ValueError(
            f"forced_phrases has {len(phrases)} entries for {num_sentences} sentences. Give every sentence a list of "
            "phrases, which may be empty."
        )
    sentences = [[list(map(int, phrase)) for phrase in each] for each in phrases]
    for number, each in enumerate(sentences):
        if len(each) > _MOST_PHRASES or not all(each):
            raise ValueError(
                f"forced_phrases[{number}] has {len(each)} phrases, {sum(not phrase for phrase in each)} of them "
                f"empty. Give at most {_MOST_PHRASES}, each with at least one token."
            )
    return sentences


def best_places(logits: np.ndarray, phrases: Sequence[Sequence[int]]) -> list[int]:
    """
    Start of each phrase, so that they do not overlap and lose least: Σ (log p(its token) − log p(likeliest token)).

    Args:
        logits (`np.ndarray` of shape `(N, V)`): of the content positions.
        phrases (`Sequence[Sequence[int]]`): ids; together at most N tokens.
    """
    # A token of probability 0 is still possible; only the order of places matters.
    losses = np.maximum(logits - logits.max(axis=1, keepdims=True), -1e4)
    gains = [_gains(losses, phrase) for phrase in phrases]
    return find_places(gains, list(map(len, phrases)), len(losses))


def _gains(losses: np.ndarray, phrase: Sequence[int]) -> list[float]:
    """Σ over the phrase's tokens of what each loses, for every start that leaves room."""
    count = max(0, len(losses) - len(phrase) + 1)
    columns = [losses[offset : offset + count, token] for offset, token in enumerate(phrase)]
    return np.sum(columns, axis=0, dtype=np.float32).tolist()
