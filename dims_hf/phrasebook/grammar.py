# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The synchronous grammar: draws sources, reads sources back into their slots, and lists every valid target."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

from .english import Pattern, options, render
from .modes import every_choice, pick_below, random_choice
from .rules import RULES, Rule


MIN_WORDS, MAX_WORDS = 6, 14


def _fill(pattern: Pattern, rng: random.Random) -> dict[str, Any] | None:
    slots: dict[str, Any] = {}
    for field in pattern.fields:
        found = options(field, slots, pattern.allowed)
        if not found:
            return None
        slots[field] = found[pick_below(rng, len(found))]
    return slots


def draw_pair(rng: random.Random) -> tuple[str, str]:
    """A random source and one of its valid targets."""
    while True:
        rule = RULES[pick_below(rng, len(RULES))]
        pattern = rule.patterns[pick_below(rng, len(rule.patterns))]
        slots = _fill(pattern, rng)
        if slots is None:
            continue
        source = render(pattern.text, slots)
        if MIN_WORDS <= len(source.split()) <= MAX_WORDS:
            return source, random_choice(partial(rule.german, slots), rng)


def parse(source: str) -> tuple[Rule, Mapping[str, Any]]:
    """The rule and the slots that `source` was made from.

    Raises:
        ValueError: `source` is not a sentence of the grammar.
    """
    for rule in RULES:
        for pattern in rule.patterns:
            slots = pattern.read(source)
            if slots is not None:
                return rule, slots
    raise ValueError(f"{source!r} is not a phrasebook sentence. Take sources from `phrasebook_corpus()`.")


@lru_cache(maxsize=4096)
def targets_with_modes(source: str) -> dict[str, dict[str, int]]:
    """Every valid target of `source` with the choices (mode name -> option) that lead to it."""
    rule, slots = parse(source)
    return dict(every_choice(partial(rule.german, slots)))
