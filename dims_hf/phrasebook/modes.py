# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Free choices of a translation: made once per target and kept wherever the same choice shows again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar


Option = TypeVar("Option")

# Weights of options that are not equally likely: a phrasebook is polite more often than familiar (du, ihr, Sie), and
# a German sentence more often starts with its subject or main clause.
_WEIGHTS = {"address": (1, 1, 2), "order": (3, 2, 2)}


def pick_below(rng: random.Random, count: int) -> int:
    """A whole number in [0, count); rests on `random()` alone, whose sequence Python promises never to change."""
    return int(rng.random() * count)


class Modes:
    """Answers `choose(name, options)`: the first time through `decide(name, count)`, then as before."""

    def __init__(self, decide: Callable[[str, int], int]) -> None:
        self._decide = decide
        self.chosen: dict[str, int] = {}

    def choose(self, name: str, options: Sequence[Option]) -> Option:
        """The option that this target takes for the choice called `name`; a single option is no choice."""
        if len(options) == 1:
            return options[0]
        if name not in self.chosen:
            self.chosen[name] = self._decide(name, len(options))
        return options[self.chosen[name]]


def every_choice(build: Callable[[Modes], str]) -> Iterator[tuple[str, dict[str, int]]]:
    """Runs `build` once for every combination of choices and yields its text with the choices made."""
    script: list[list[int]] = []
    while True:
        position = -1

        def decide(name: str, count: int) -> int:
            nonlocal position
            position += 1
            if position == len(script):
                script.append([0, count])
            return script[position][0]

        modes = Modes(decide)
        text = build(modes)
        yield text, modes.chosen
        while script and script[-1][0] + 1 == script[-1][1]:
            script.pop()
        if not script:
            return
        script[-1][0] += 1


def random_choice(build: Callable[[Modes], str], rng: random.Random) -> str:
    """Runs `build` once, every choice drawn independently: by `_WEIGHTS` where they name it, else uniformly."""

    def decide(name: str, count: int) -> int:
        if name not in _WEIGHTS:
            return pick_below(rng, count)
        weights = _WEIGHTS[name][:count]
        ticket = pick_below(rng, sum(weights))
        return next(option for option in range(count) if ticket < sum(weights[: option + 1]))

    return build(Modes(decide))
