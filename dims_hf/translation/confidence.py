# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""How sure a translation is, what looks wrong with it, and adaptive decoding: an unsure one is made again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dims_hf.models.limits import MOST_STEPS
from dims_hf.models.quality_flags import find_flags

from .results import Translation
from .runtimes import Runtime
from .sentences import translate_texts


@dataclass(frozen=True)
class Adaptive:
    """
    When a translation is made again, and how.

    Args:
        threshold (`float`): confidence, between 0 and 1, below which it is; 0: only where something looks wrong.
        num_iterations (`int`, *optional*): decoder passes of the second try.
        fallback ([`Runtime`], *optional*): another model for the second try, instead of more passes.

    Raises:
        ValueError: a threshold outside 0 to 1, not one way of trying again, or no number of passes.
    """

    threshold: float
    num_iterations: int | None = None
    fallback: Runtime | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be between 0 and 1, got {self.threshold}. It is a mean probability.")
        if (self.num_iterations is None) == (self.fallback is None):
            raise ValueError("Unsure translations need one way to be made again: num_iterations or a fallback model.")
        if self.num_iterations is not None and not 1 <= self.num_iterations <= MOST_STEPS:
            raise ValueError(
                f"Passes of the second try must be between 1 and {MOST_STEPS}, got {self.num_iterations}. Try 4."
            )

    def is_unsure(self, source: str, translation: Translation) -> bool:
        """Whether a translation is to be made again."""
        if translation.left_out is not None:
            return False
        return translation.confidence < self.threshold or bool(quality_flags(source, translation))


def quality_flags(source: str, translation: Translation) -> list[str]:
    """
    What looks wrong with a translation, without a reference.

    Args:
        source (`str`): the source text.
        translation ([`Translation`]): its translation.

    Returns:
        `list[str]`: any of `empty` (nothing was written), `repeats` (a word or token again and again), `length` (far
        shorter or longer than the source), `copied` (mostly words of the source); empty for one left out on purpose.
    """
    if translation.left_out is not None:
        return []
    return find_flags(source, translation.text, translation.raw_token_ids)


def translate_adaptively(
    runtime: Runtime, sources: Sequence[str], adaptive: Adaptive, **options: Any
) -> list[Translation]:
    """
    Translates all sources, and those whose translation is unsure or looks wrong once more.

    Args:
        runtime ([`Runtime`]): the model of the first try.
        sources (`Sequence[str]`): source texts.
        adaptive ([`Adaptive`]): when and how to try again.
        options (`Any`): as for [`translate_texts`].

    Returns:
        `list[Translation]`: one per source; the second tries have `is_fallback` set.
    """
    sources = list(sources)
    translations = translate_texts(runtime, sources, **options)
    rows = [row for row, each in enumerate(translations) if adaptive.is_unsure(sources[row], each)]
    if not rows:
        return translations
    name = options.pop("name", "sources[{}]".format)
    if adaptive.fallback is not None:
        # decoding settings are those of the first model, and mean nothing to another
        kept = ("max_tokens_per_batch", "on_blank", "on_long", "progress")
        second = {key: value for key, value in options.items() if key in kept}
    else:
        second = {**options, "num_iterations": adaptive.num_iterations}
    # errors name the row of all sources, not of the second try
    again = translate_texts(
        adaptive.fallback or runtime, [sources[row] for row in rows], name=lambda index: name(rows[index]), **second
    )
    for row, translation in zip(rows, again, strict=True):
        translations[row] = replace(translation, is_fallback=True)
    return translations


def translation_record(source: str, translation: Translation) -> dict[str, Any]:
    """
    A translation with its source as JSON lines have them.

    Args:
        source (`str`): the source text.
        translation ([`Translation`]): its translation.

    Returns:
        `dict[str, Any]`: `source`, `translation`, `score`, `confidence` (`None` where the source was left out),
        `flags`, `pieces`, `left_out`, `is_fallback`.
    """
    return {
        "source": source,
        "translation": translation.text,
        "score": round(translation.score, 6),
        "confidence": round(translation.confidence, 6) if translation.left_out is None else None,
        "flags": quality_flags(source, translation),
        "pieces": translation.num_pieces,
        "left_out": translation.left_out,
        "is_fallback": translation.is_fallback,
    }
