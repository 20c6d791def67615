# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What everyone sees at once in a translation, without a reference: lost numbers and addresses, stumps, stammering."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from dims_hf.models.copied_text import ADDRESS


# Digits with what may stand between them: 1,250.00 = 1.250,00; 14:35 = 14.35; 3/4 and 3-4 are numbers of their own.
_NUMBER = re.compile(r"\d+(?:[.,:'’]\d+)*")

# Of what is written: the fewest and the most words of a translation, per word of its source.
_SHORTEST, _LONGEST = 0.5, 2.0

_SEVERAL = 3


@dataclass(frozen=True)
class EverydayReport:
    """
    How translations keep what must be kept; made by [`check_everyday`].

    Args:
        num_inputs (`int`): sources.
        digits_kept, addresses_kept (`float`): share of the sources' digits in numbers that come back whole, and of
            their URLs, e-mail addresses and host names that come back letter by letter, in [0, 1]; 1 without any.
        num_short, num_long (`int`): translations with less than half, or more than twice, the words of their source.
        num_stammering (`int`): translations with a token three times in a row.
        faults (`tuple[tuple[int, str], ...]`): row and what is wrong with it, in order.
    """

    num_inputs: int
    digits_kept: float
    addresses_kept: float
    num_short: int
    num_long: int
    num_stammering: int
    faults: tuple[tuple[int, str], ...]

    @property
    def is_good(self) -> bool:
        """Whether at least 95 % of the digits and all addresses are kept, and no length or repetition is wrong."""
        wrong = self.num_short + self.num_long + self.num_stammering
        return self.digits_kept >= 0.95 and self.addresses_kept == 1 and wrong == 0


def check_everyday(
    sources: Sequence[str], translations: Sequence[str], tokens: Sequence[Sequence[Hashable]] | None = None
) -> EverydayReport:
    """
    Compares translations with their sources.

    Args:
        sources, translations (`Sequence[str]`): as many of each.
        tokens (`Sequence[Sequence[Hashable]]`, *optional*): ids of each translation, to look for repetition in;
            default: its words.

    Returns:
        [`EverydayReport`].

    Raises:
        ValueError: if there are no sources, or not as many translations (or tokens).
    """
    tokens = [text.split() for text in translations] if tokens is None else tokens
    if not sources or not len(sources) == len(translations) == len(tokens):
        raise ValueError(
            f"{len(sources)} sources, {len(translations)} translations, tokens of {len(tokens)}. Pass as many of "
            "each, at least one."
        )
    faults: list[tuple[int, str]] = []
    counts: Counter[str] = Counter()
    for row, (source, translation, ids) in enumerate(zip(sources, translations, tokens, strict=True)):
        for kind, find in _KEPT.items():
            wanted = Counter(find(source))
            lost = wanted - Counter(find(translation))
            counts[kind] += _size(kind, wanted)
            counts[f"lost {kind}"] += _size(kind, lost)
            faults += [(row, f"lost {item}") for item in lost.elements()]
        for name in _length_faults(source, translation) + (["stammering"] if repeats(ids) else []):
            counts[name] += 1
            faults.append((row, name))
    kept = {kind: 1 - counts[f"lost {kind}"] / max(1, counts[kind]) for kind in _KEPT}
    return EverydayReport(
        num_inputs=len(sources),
        digits_kept=kept["digits"],
        addresses_kept=kept["addresses"],
        num_short=counts["short"],
        num_long=counts["long"],
        num_stammering=counts["stammering"],
        faults=tuple(faults),
    )


def numbers(text: str) -> list[str]:
    """The digits of every number in a text, without separators, in order; those in addresses are none."""
    return [re.sub(r"\D", "", number) for number in _NUMBER.findall(ADDRESS.sub(" ", text))]


def find_addresses(text: str) -> list[str]:
    """URLs, e-mail addresses, host names and @names of a text, in order."""
    return [match[0] for match in ADDRESS.finditer(text)]


def repeats(tokens: Sequence[Hashable], count: int = _SEVERAL) -> bool:
    """Whether a token stands `count` times in a row."""
    return any(len(set(tokens[start : start + count])) == 1 for start in range(len(tokens) - count + 1))


def _size(kind: str, items: Counter[str]) -> int:
    """Digits of numbers, or how many addresses."""
    return sum(count * (len(item) if kind == "digits" else 1) for item, count in items.items())


def _length_faults(source: str, translation: str) -> list[str]:
    ratio = len(translation.split()) / max(1, len(source.split()))
    return ["short"] if ratio < _SHORTEST else ["long"] if ratio > _LONGEST else []


_KEPT = {"digits": numbers, "addresses": find_addresses}
