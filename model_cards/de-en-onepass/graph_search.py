# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Beam search in a graph of words, which a language model steers; without torch, so that exports search alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .prefix_search import Prior, Target, log_add, take_best, weigh


# Ids that a path reads from the first vertex on -> log-probability of all paths that read them.
_Readings = dict[tuple[int, ...], float]


def search_graph(
    first: Sequence[tuple[int, float]],
    steps: Sequence[Sequence[tuple[int, int, float]]],
    *,
    beam_size: int,
    length_penalty: float = 1.0,
    language_model: Callable[[list[int]], float] | None = None,
    language_model_weight: float = 0.0,
    collapse_repeats: bool = True,
) -> list[Target]:
    """
    What the paths of a graph read, the best first, by (log P(y) + γ · log P_LM(y)) / |y|^α, where P(y) is the sum over
    the paths that read y.

    Vertices are visited from the first to the last; each keeps the `beam_size` prefixes with the highest such score,
    of what they read so far, and sends them on. Paths that read the same meet in one prefix. Whole sentences at the
    last vertex are scored with the end that the language model counts. With all steps and a beam that holds every
    prefix the scores are exact. A language model without `score_prefix` cannot say what a beginning is worth: the
    search is then that without it, and γ ranks its hypotheses once.

    Source: Huang et al. 2022 (DA-Transformer, arXiv 2205.07459), §3.4 (beam search with an n-gram language model, as
    its code counts).

    Args:
        first (`Sequence[tuple[int, float]]`): words of the first vertex and their scores, in nats.
        steps (`Sequence[Sequence[tuple[int, int, float]]]`): for each vertex, where it may lead to: a later vertex,
            the word that is read there, and the score of both, in nats.
        beam_size (`int`): prefixes kept at each vertex.
        length_penalty (`float`): α; |y| counts the tokens read, those of the first and the last vertex included.
        language_model (`Callable`, *optional*): see `language_model` of `generate()`; it is given ids without those of
            the first and the last vertex.
        language_model_weight (`float`): γ.
        collapse_repeats (`bool`): a word equal to the one before it on the path is read once.

    Returns:
        `list[Target]`: at most `beam_size` ids, those of the first and the last vertex included, and scores; empty
        where no path is open.

    Raises:
        ValueError: the language model gives NaN.
    """
    prior = Prior(getattr(language_model, "score_prefix", None), language_model_weight, 0.0)
    beams: list[_Readings] = [{} for _ in steps]
    for token, score in first:
        if score > -math.inf:
            beams[0][token,] = score
    # steps go to later vertices only: a beam is complete when its vertex is visited
    for vertex, outgoing in enumerate(steps[:-1]):
        for read in _best_readings(beams[vertex], beam_size, length_penalty, prior, slice(1, None)):
            log_prob = beams[vertex][read]
            for successor, token, score in outgoing:
                # prefixes are what is read, not paths: those that read the same meet here
                grown = read if collapse_repeats and token == read[-1] else (*read, token)
                beams[successor][grown] = log_add(beams[successor].get(grown, -math.inf), log_prob + score)
    found = []
    for read in _best_readings(beams[-1], beam_size, length_penalty, prior, slice(1, -1)):
        worth = 0.0 if language_model is None else weigh(language_model, list(read[1:-1]), language_model_weight)
        found.append((list(read), (beams[-1][read] + worth) / len(read) ** length_penalty))
    return sorted(found, key=lambda target: -target[1])


def _best_readings(
    beam: _Readings, beam_size: int, length_penalty: float, prior: Prior, content: slice
) -> list[tuple[int, ...]]:
    """The best prefixes, by (log P + what the prior says of their content) / length^α."""
    sizes = {read: len(read) ** length_penalty for read in beam}
    bounds = [((score + prior.bound(read[content])) / sizes[read], read) for read, score in beam.items()]
    return take_best(bounds, lambda read: (beam[read] + prior.value(read[content])) / sizes[read], beam_size)


__all__ = ["search_graph"]
