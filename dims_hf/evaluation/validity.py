# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Valid, mixture or wrong: the exact check of corpora that know all their targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence


# (source, hypothesis) -> "valid", "mixture" (of several valid targets) or "wrong".
Judge = Callable[[str, str], str]
VERDICTS = ("valid", "mixture", "wrong")


def verdict_shares(sources: Sequence[str], hypotheses: Sequence[str], judge: Judge) -> dict[str, float]:
    """Share of every verdict.

    Args:
        sources (`Sequence[str]`): source sentences.
        hypotheses (`Sequence[str]`): one translation per source.
        judge (`Callable[[str, str], str]`): says "valid", "mixture" or "wrong" of a source and its translation.

    Returns:
        `dict[str, float]`: `valid`, `mixture`, `wrong` (0 to 1, summing to 1).

    Raises:
        ValueError: no sentences, counts that differ, or a verdict the judge should not know.
    """
    if not len(sources) or len(sources) != len(hypotheses):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(sources)} sources. Give one of each, at least one.")
    counts = Counter(judge(source, hypothesis) for source, hypothesis in zip(sources, hypotheses, strict=True))
    unknown = set(counts) - set(VERDICTS)
    if unknown:
        raise ValueError(f"The judge said {sorted(unknown)}. A judge says one of {', '.join(VERDICTS)}.")
    return {verdict: counts[verdict] / len(sources) for verdict in VERDICTS}
