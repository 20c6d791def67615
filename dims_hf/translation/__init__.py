# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Text in, text out: loading models, policies for odd texts, batches by budget, decoding, order restored."""

from typing import TYPE_CHECKING

from dims_hf._lazy import lazy_exports


if TYPE_CHECKING:
    from .confidence import (
        Adaptive as Adaptive,
        quality_flags as quality_flags,
        translate_adaptively as translate_adaptively,
        translation_record as translation_record,
    )
    from .documents import (
        Document as Document,
        read_document as read_document,
        translate_document as translate_document,
    )
    from .language_models import NgramLanguageModel as NgramLanguageModel, spell_tokens as spell_tokens
    from .loading import load_checkpoint as load_checkpoint, load_model as load_model
    from .packing import pack_weights as pack_weights
    from .pipelines import pipeline as pipeline
    from .reranking import Reranker as Reranker
    from .results import Timing as Timing, Translation as Translation
    from .runtimes import RUNTIMES as RUNTIMES, Runtime as Runtime, open_runtime as open_runtime
    from .sentences import (
        translate as translate,
        translate_texts as translate_texts,
        translate_texts_timed as translate_texts_timed,
        translate_timed as translate_timed,
    )


__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "confidence": ("Adaptive", "quality_flags", "translate_adaptively", "translation_record"),
        "documents": ("Document", "read_document", "translate_document"),
        "loading": ("load_checkpoint", "load_model"),
        "language_models": ("NgramLanguageModel", "spell_tokens"),
        "packing": ("pack_weights",),
        "pipelines": ("pipeline",),
        "reranking": ("Reranker",),
        "runtimes": ("RUNTIMES", "Runtime", "open_runtime"),
        "results": ("Timing", "Translation"),
        "sentences": (
            "translate",
            "translate_texts",
            "translate_texts_timed",
            "translate_timed",
        ),
    },
)
