# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What looks wrong with a translation, told without a reference. Travels with a model."""

import re
from collections.abc import Sequence


# A pair of words that comes this often in a row, or a word that does, is a loop.
_LOOP = re.compile(r"\b(\w+(?:\W+\w+)?)(?:\W+\1\b){2,}", re.IGNORECASE)
# Share of decoded tokens that equal their left neighbour, before repeats are collapsed.
_MOST_REPEATS = 0.2
# UTF-8 bytes of a translation over those of its source: few pairs of human translations lie outside, in any script.
_LENGTH_RATIOS = (0.4, 2.5)
# Shorter texts say nothing by their length, and names are rightly copied.
_SHORT_BYTES, _SHORT_WORDS = 20, 4
_COPIED_SHARE = 0.8


def find_flags(source: str, text: str, token_ids: Sequence[int] = ()) -> list[str]:
    """
    What looks wrong with a translation, without a reference.

    Args:
        source (`str`): the source text.
        text (`str`): its translation.
        token_ids (`Sequence[int]`): content token ids of the translation, before repeats are collapsed.

    Returns:
        `list[str]`: any of `empty` (nothing was written), `repeats` (a word or token again and again), `length` (far
        shorter or longer than the source), `copied` (mostly words of the source).
    """
    if not text:
        return ["empty"]
    checks = {
        "repeats": _repeats(text, token_ids),
        "length": _has_odd_length(source, text),
        "copied": _is_copied(source, text),
    }
    return [name for name, is_wrong in checks.items() if is_wrong]


def _repeats(text: str, token_ids: Sequence[int]) -> bool:
    repeated = sum(left == right for left, right in zip(token_ids, token_ids[1:], strict=False))
    # at least two repeats: one in a short text may be meant
    return repeated > _MOST_REPEATS * max(5, len(token_ids)) or _LOOP.search(text) is not None


def _has_odd_length(source: str, text: str) -> bool:
    ours, theirs = len(text.encode()), len(source.strip().encode())
    if max(ours, theirs) < _SHORT_BYTES:
        return False
    return not _LENGTH_RATIOS[0] <= ours / max(1, theirs) <= _LENGTH_RATIOS[1]


def _is_copied(source: str, text: str) -> bool:
    given, written = (re.findall(r"\w+", each.lower()) for each in (source, text))
    if len(written) < _SHORT_WORDS:
        return False
    return sum(word in set(given) for word in written) >= _COPIED_SHARE * len(written)


__all__ = ["find_flags"]
