# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Augmentations of sentence pairs: neighbours joined, case changed, numbers varied, names as placeholders.

Each is a pure function of pairs `(source, target)` and a random generator; none changes the pairs it is given.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence


Pair = tuple[str, str]

PLACEHOLDERS = "◰◱◲◳◴◵◶◷"
"""Stand for what must be copied letter by letter (URLs, e-mail addresses, names); each is one token of its own."""

_URL = r"(?:https?://|www\.)[^\s<>\"»«]*[^\s<>\"»«.,;:!?)\]'’]"
_EMAIL = r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
_DOMAIN = r"\b(?:[a-z0-9-]+\.)+(?:com|org|net|de|eu|io|gov|edu|uk|at|ch|info)\b(?:/[^\s<>\"]*[^\s<>\"».,;:!?)\]'’])?"

COPIED = re.compile(f"{_URL}|{_EMAIL}|{_DOMAIN}")
"""What is copied, not translated: URLs, e-mail addresses, host names."""

_NUMBER = re.compile(r"\d+")
_NAME = re.compile(r"\b[A-ZÄÖÜ][a-zäöüß]{2,}\b")


def concatenate_neighbours(
    pairs: Sequence[Pair], share: float, rng: random.Random, *, most: int = 3, max_words: int = 60
) -> Iterator[Pair]:
    """
    Two to `most` pairs in a row as one, so that a model also sees several sentences at a time.

    Args:
        pairs (`Sequence[Pair]`): in the order of their document.
        share (`float`): how many to make, as a share of `pairs`.
        rng (`random.Random`): chooses where and how many.
        most (`int`): sentences of the longest.
        max_words (`int`): longer results (on either side) are left out.
    """
    for _ in range(round(share * len(pairs))):
        count = rng.randint(2, most)
        start = rng.randrange(max(1, len(pairs) - count + 1))
        joined = tuple(" ".join(side) for side in zip(*pairs[start : start + count], strict=True))
        if max(len(side.split()) for side in joined) <= max_words:
            yield joined


def change_case(pairs: Iterable[Pair], share: float, rng: random.Random) -> Iterator[Pair]:
    """A copy of about `share` of the pairs, half of them in CAPITALS, half in lower case, both sides alike."""
    for source, target in pairs:
        if rng.random() < share:
            change = rng.choice((str.upper, str.lower))
            yield change(source), change(target)


def vary_numbers(pairs: Iterable[Pair], share: float, rng: random.Random) -> Iterator[Pair]:
    """
    Copies of pairs whose numbers agree on both sides, with other numbers of as many digits in their place; a pair with
    numbers gives `share` copies on average (a share above 1 makes several).
    """
    for source, target in pairs:
        numbers = _NUMBER.findall(source)
        if not numbers or sorted(numbers) != sorted(_NUMBER.findall(target)):
            continue
        for _ in range(_draw_count(share, rng)):
            table = {number: _random_number(len(number), rng) for number in numbers}
            yield tuple(_NUMBER.sub(lambda match, table=table: table[match[0]], side) for side in (source, target))


def mask_names(pairs: Iterable[Pair], share: float, rng: random.Random) -> Iterator[Pair]:
    """
    Copies of about `share` of the pairs in which words with a capital that stand once on both sides (names, mostly)
    are placeholders: a model learns from them where what a placeholder stands for belongs.
    """
    for source, target in pairs:
        if rng.random() >= share:
            continue
        shared = [
            word
            for word in dict.fromkeys(_NAME.findall(source))
            if source.count(word) == 1 and target.count(word) == 1 and not source.startswith(word + " ")
        ]
        if shared:
            signs = rng.sample(PLACEHOLDERS, min(len(shared), len(PLACEHOLDERS)))
            yield replace_words(source, shared, signs), replace_words(target, shared, signs)


def replace_words(text: str, words: Sequence[str], signs: Sequence[str]) -> str:
    """`text` with each of `words` replaced by its sign; words beyond the signs stay."""
    for word, sign in zip(words, signs, strict=False):
        text = text.replace(word, sign)
    return text


def is_plausible(pair: Pair, *, max_ratio: float = 2.5, max_words: int = 100) -> bool:
    """Whether both sides have words, neither is much longer (from five words on), and neither too long."""
    lengths = [len(side.split()) for side in pair]
    if min(lengths) == 0 or max(lengths) > max_words:
        return False
    return max(lengths) <= 5 or max(lengths) <= max_ratio * min(lengths)


def _draw_count(share: float, rng: random.Random) -> int:
    return int(share) + (rng.random() < share - int(share))


def _random_number(num_digits: int, rng: random.Random) -> str:
    """A number of so many digits that does not start with a zero."""
    return str(rng.randint(10 ** (num_digits - 1), 10**num_digits - 1)) if num_digits > 1 else str(rng.randint(2, 9))
