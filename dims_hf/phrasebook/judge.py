# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Tells a valid translation from a mixture of several valid ones and from everything else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from .grammar import targets_with_modes


Verdict = Literal["valid", "mixture", "wrong"]
_TOKEN = re.compile(r"[\w-]+|[^\w\s]")


def valid_targets(source: str) -> frozenset[str]:
    """Every valid German translation of `source`; they differ in the grammar's choices alone.

    Raises:
        ValueError: `source` is not a sentence of the grammar.
    """
    return frozenset(targets_with_modes(source))


def _tokens(text: str) -> tuple[str, ...]:
    return tuple(_TOKEN.findall(text))


@lru_cache(maxsize=1024)
def _target_tokens(source: str) -> tuple[tuple[str, ...], ...]:
    return tuple(_tokens(target) for target in targets_with_modes(source))


def _is_subsequence(part: Sequence[str], whole: Iterable[str]) -> bool:
    rest = iter(whole)
    return all(token in rest for token in part)


def _contradicts_order(first: str, second: str, targets: Iterable[Sequence[str]]) -> bool:
    """Whether some target has both tokens but none has `first` anywhere before `second`."""
    together = [target for target in targets if first in target and second in target]
    return bool(together) and first != second and not any(_is_subsequence((first, second), t) for t in together)


def judge(source: str, hypothesis: str) -> Verdict:
    """Classifies a translation of a phrasebook sentence.

    Both sides are cut into words and marks, so that white space, also before a mark, does not count. Then

    - "valid": the hypothesis is one of `valid_targets(source)`;
    - "mixture": it is not, but pieces of different valid targets put together explain it: (1) each of its tokens
      occurs in some valid target; (2) each token that all valid targets share occurs in it; (3) no two neighbouring
      tokens stand in an order that every valid target with both of them contradicts; (4) it is more than one valid
      target with tokens left out;
    - "wrong": anything else, such as foreign words, missing content, or one target's words in disorder.

    Raises:
        ValueError: `source` is not a sentence of the grammar.
    """
    targets = _target_tokens(source)
    tokens = _tokens(hypothesis)
    if tokens in targets:
        return "valid"
    explained = set(tokens) <= set().union(*targets) and set(tokens) >= set.intersection(*map(set, targets))
    if not explained or any(_is_subsequence(tokens, target) for target in targets):
        return "wrong"
    disorder = any(_contradicts_order(first, second, targets) for first, second in pairwise(tokens))
    return "wrong" if disorder else "mixture"
