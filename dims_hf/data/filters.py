# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Which sentence pairs a corpus is better without: impossible lengths, wrong languages, held-out sentences."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from .augmentation import Pair


Words = tuple[str, ...]

REASONS = ("empty", "too_long", "length_ratio", "untranslated", "language", "held_out")
"""Why a pair is left out, in the order they are asked; a pair counts under the first one that holds."""

# Words that are frequent in one language and strange to the other.
_FUNCTION_WORDS = {
    "en": frozenset("the and of to that is it you he she are have this they with not his my".split()),
    "de": frozenset("der die das und ist nicht ich sie er ein eine zu mit dem den wir es auf auch sich".split()),
}

# Up to this many words a ratio of lengths says little: "No." may well be "Auf keinen Fall!".
_RATIO_FROM = 5

# Of four words and more, equal sides are a pair that nobody translated ("Tom Jackson, Boston" is fine).
_TRANSLATED_FROM = 4


def filter_pairs(
    pairs: Iterable[Pair],
    languages: tuple[str, str],
    *,
    max_words: int = 100,
    max_ratio: float = 2.5,
    held_out: Iterable[Pair] = (),
) -> tuple[list[Pair], Counter[str]]:
    """
    Leaves out pairs nobody should learn from.

    Args:
        pairs (`Iterable[Pair]`): source and target.
        languages (`tuple[str, str]`): their languages; "en" and "de" are told apart, others are not looked at.
        max_words (`int`): most blank-separated words of a side.
        max_ratio (`float`): most words of one side per word of the other, where either has more than five.
        held_out (`Iterable[Pair]`): pairs that validate or test; who shares a side with them (case and punctuation
            ignored) is left out.

    Returns:
        `tuple[list[Pair], Counter[str]]`: the pairs that are left, and how many were left out for which of
        [`REASONS`].
    """
    sides = [{comparable(pair[side]) for pair in held_out} for side in (0, 1)]
    kept, counts = [], Counter[str]()
    for pair in pairs:
        reason = _reason(pair, languages, max_words, max_ratio)
        if reason is None and any(comparable(text) in known for text, known in zip(pair, sides, strict=True)):
            reason = "held_out"
        if reason is None:
            kept.append(pair)
        else:
            counts[reason] += 1
    return kept, counts


def _reason(pair: Pair, languages: tuple[str, str], max_words: int, max_ratio: float) -> str | None:
    shorter, longer = sorted(len(side.split()) for side in pair)
    if shorter == 0:
        return "empty"
    if longer > max_words:
        return "too_long"
    if longer > max(_RATIO_FROM, max_ratio * shorter):
        return "length_ratio"
    if shorter >= _TRANSLATED_FROM and pair[0] == pair[1]:
        return "untranslated"
    if any(_is_foreign(side, *order) for side, order in zip(pair, (languages, languages[::-1]), strict=True)):
        return "language"
    return None


def _is_foreign(text: str, language: str, other: str) -> bool:
    """Whether a text has at least two function words of the other language, and more of them than of its own."""
    if language not in _FUNCTION_WORDS or other not in _FUNCTION_WORDS:
        return False
    words = comparable(text)
    own, foreign = (sum(word in _FUNCTION_WORDS[name] for word in words) for name in (language, other))
    return foreign >= 2 and foreign > own


def mend_apostrophes(text: str) -> str:
    """English with its detached apostrophes joined: "the Commission' s" in Europarl is "the Commission's"."""
    return re.sub(r"(?<=\w)(['’]) (?=(?:s|t|re|ve|ll|d|m)\b)", r"\1", text)


def comparable(text: str) -> Words:
    """The words of a text in lower case, without punctuation."""
    return tuple(re.findall(r"\w+", text.lower()))


def near_copies(held_out: Sequence[str], corpus: Iterable[str]) -> list[int]:
    """
    Marks held-out sentences that are within one word (substituted, added or dropped) of a sentence of a corpus; case
    and punctuation are ignored.

    Args:
        held_out (`Sequence[str]`): sentences that validate or test.
        corpus (`Iterable[str]`): sentences to train on; read once.

    Returns:
        `list[int]`: 1 or 0 for each held-out sentence.
    """
    index: dict[object, set[int]] = defaultdict(set)
    for row, text in enumerate(held_out):
        whole, shorter = _variants(text)
        index["whole", whole].add(row)
        for position, rest in enumerate(shorter):
            index["rest", rest].add(row)
            index[position, rest].add(row)
    near: set[int] = set()
    for text in corpus:
        whole, shorter = _variants(text)
        # equal, or the held-out sentence has one word more
        near |= index.get(("whole", whole), set()) | index.get(("rest", whole), set())
        for position, rest in enumerate(shorter):
            # one word less, or another word in the same place
            near |= index.get(("whole", rest), set()) | index.get((position, rest), set())
    return [int(row in near) for row in range(len(held_out))]


def _variants(text: str) -> tuple[Words, list[Words]]:
    """The words of a text, and the same without each one of them."""
    words = comparable(text)
    return words, [words[:position] + words[position + 1 :] for position in range(len(words))]
