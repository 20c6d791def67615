# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Millions of sentences: shards that survive kills, processes, and translators for Ray Data and `datasets.map`."""

from typing import TYPE_CHECKING

from dims_hf._lazy import lazy_exports


if TYPE_CHECKING:
    from .batches import BatchTranslator as BatchTranslator, translate_ray_dataset as translate_ray_dataset
    from .corpus import CorpusSettings as CorpusSettings, translate_corpus as translate_corpus
    from .report import CorpusReport as CorpusReport


__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "batches": ("BatchTranslator", "translate_ray_dataset"),
        "corpus": ("CorpusSettings", "translate_corpus"),
        "report": ("CorpusReport",),
    },
)
