# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Which of a server's languages a text is written in."""

from __future__ import annotations

from collections.abc import Sequence


class LanguageDetector:
    """
    Tells a few languages apart.

    Args:
        codes (`Sequence[str]`): ISO 639-1 codes.

    Raises:
        ValueError: a code that the detector does not know.
    """

    def __init__(self, codes: Sequence[str]) -> None:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        identifier.set_languages(sorted(set(codes)))
        self._identifier = identifier

    def detect(self, text: str) -> list[dict[str, float | str]]:
        """`{"confidence": 0 to 100, "language": code}` of each language, likeliest first, those at 0 left out."""
        ranked = [(code, 100 * float(share)) for code, share in self._identifier.rank(text)]
        kept = [(code, share) for code, share in ranked if share >= 0.05] or ranked[:1]
        return [{"confidence": round(share, 1), "language": code} for code, share in kept]
