# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The embedded corpus: a seeded English-German grammar whose sentences have many valid translations, all known."""

from __future__ import annotations

from .corpus import PHRASEBOOK_LANGUAGES, phrasebook_corpus
from .judge import judge, valid_targets


__all__ = ["PHRASEBOOK_LANGUAGES", "judge", "phrasebook_corpus", "valid_targets"]
