# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Word alignments of a corpus: IBM Model 1 with a preference for the diagonal, in both directions, by EM.

Shapes: S source tokens, N target tokens; ids may be words or pieces of words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


# Unlikely pairs of the corpus keep at least this, and so do pairs that were never seen.
_FLOOR = 1e-7
_NULL = -1

Rows = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Lexicon:
    """
    Translation probabilities t(target | source) of pairs that were seen together; the null word is source -1.

    Args:
        keys (`np.ndarray` of shape `(P,)`): (source + 1) · size + target, ascending.
        probs (`np.ndarray` of shape `(P,)`): t.
        size (`int`): above every id.
    """

    keys: np.ndarray
    probs: np.ndarray
    size: int

    def look_up(self, sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """t of each target (N,) given each source (S,): (N, S)."""
        keys = (sources[None, :] + 1) * self.size + targets[:, None]
        # where the key would stand; beyond the end there is nothing to compare with
        place = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return np.where(self.keys[place] == keys, self.probs[place], _FLOOR).clip(min=_FLOOR)


def learn_lexicon(
    source_rows: Rows, target_rows: Rows, *, num_iterations: int = 5, tension: float = 4.0, max_links: int = 20_000_000
) -> Lexicon:
    """
    IBM Model 1 by expectation maximisation: p(t | s sentence) = Σ_s δ(s, t) · t(target | source), where δ prefers the
    diagonal as fast_align does, and a null word generates what nothing else does.

    Source: Brown et al. 1993 (Model 1); Dyer et al. 2013 for δ ∝ exp(−tension · |i / N − j / S|).

    Args:
        source_rows, target_rows (`Sequence[Sequence[int]]`): sentence pairs, without special tokens.
        num_iterations (`int`): of EM.
        tension (`float`): 0 is plain Model 1.
        max_links (`int`): possible links looked at; sentences beyond are left out.

    Raises:
        ValueError: for a corpus without a pair of sentences.
    """
    size = 1 + max((max(row, default=0) for rows in (source_rows, target_rows) for row in rows), default=0)
    keys, priors, owners, num_targets, num_links = [], [], [], 0, 0
    for source, target in zip(source_rows, target_rows):
        if not len(source) or not len(target):
            continue
        num_links += len(target) * (len(source) + 1)
        if num_links > max_links:
            break
        words = np.concatenate([[_NULL], np.asarray(source)])
        keys.append(((words[None, :] + 1) * size + np.asarray(target)[:, None]).ravel())
        priors.append(diagonal_prior(len(source), len(target), tension).ravel())
        owners.append(np.repeat(np.arange(num_targets, num_targets + len(target)), len(words)))
        num_targets += len(target)
    if not keys:
        raise ValueError("There is no pair of sentences to align. Give a corpus with words on both sides.")
    pairs, place = np.unique(np.concatenate(keys), return_inverse=True)
    prior, owner, source_of = np.concatenate(priors), np.concatenate(owners), pairs // size
    # equal at first: any constant gives the same first step
    probs = np.full(len(pairs), 1.0 / size)
    for _ in range(num_iterations):
        weights = prior * probs[place]
        # E-step: each target token is shared among the source tokens of its sentence
        weights /= np.bincount(owner, weights, num_targets)[owner]
        counts = np.bincount(place, weights, len(pairs))
        # M-step: the shares of each source word sum to 1
        probs = counts / np.bincount(source_of, counts)[source_of]
    return Lexicon(pairs, probs, size)


def diagonal_prior(num_sources: int, num_targets: int, tension: float, null_share: float = 0.08) -> np.ndarray:
    """δ (N, S + 1) of each target token: the null word first, `null_share`, then source tokens by the diagonal."""
    # middles of tokens, so that the diagonal is the same from both ends
    rows = (np.arange(num_targets) + 0.5)[:, None] / num_targets
    columns = (np.arange(num_sources) + 0.5)[None, :] / num_sources
    weights = np.exp(-tension * np.abs(rows - columns))
    weights *= (1 - null_share) / weights.sum(axis=1, keepdims=True)
    return np.concatenate([np.full((num_targets, 1), null_share), weights], axis=1)


class WordAligner:
    """
    Alignments by both directions of [`learn_lexicon`], intersected and grown.

    Args:
        source_rows, target_rows (`Sequence[Sequence[int]]`): the corpus that the lexicons are learnt from.
        num_iterations, tension: as for [`learn_lexicon`].
    """

    def __init__(self, source_rows: Rows, target_rows: Rows, *, num_iterations: int = 5, tension: float = 4.0) -> None:
        self.tension = tension
        self.forward, self.backward = (
            learn_lexicon(*rows, num_iterations=num_iterations, tension=tension)
            for rows in ((source_rows, target_rows), (target_rows, source_rows))
        )

    def align(self, source: Sequence[int], target: Sequence[int]) -> np.ndarray:
        """
        Links (N, S) of a sentence pair, True where aligned; words of either side may have none.

        Where each target's best source and each source's best target agree, they are linked; then links of either
        direction next to one that is there, as long as one of their words has none (grow-diag of Koehn et al. 2003).
        """
        if not len(source) or not len(target):
            return np.zeros((len(target), len(source)), dtype=bool)
        given, wanted = np.asarray(source), np.asarray(target)
        to_source = self._best(self.forward, given, wanted)
        to_target = self._best(self.backward, wanted, given).T
        return grow_links(to_source & to_target, to_source | to_target)

    def _best(self, lexicon: Lexicon, given: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """(wanted, given): True at the likeliest word of each wanted one, none where the null word is likelier."""
        words = np.concatenate([[_NULL], given])
        scores = lexicon.look_up(words, wanted) * diagonal_prior(len(given), len(wanted), self.tension)
        best = scores.argmax(axis=1)
        return best[:, None] == np.arange(1, len(words))[None, :]


def grow_links(links: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """
    Adds candidates next to a link (diagonals too) whose row or column has none yet, until none is left to add.

    Args:
        links, candidates (`np.ndarray` of shape `(N, S)`): True where aligned, and where that is possible.
    """
    links, changed = links.copy(), True
    while changed:
        changed = False
        near = np.zeros((links.shape[0] + 2, links.shape[1] + 2), dtype=bool)
        for down in range(3):
            for right in range(3):
                near[down : down + links.shape[0], right : right + links.shape[1]] |= links
        for row, column in zip(*np.nonzero(candidates & ~links & near[1:-1, 1:-1])):
            if not links[row].any() or not links[:, column].any():
                links[row, column] = changed = True
    return links
