# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Parallel corpora: reading and checking them, training tokenizers, encoding and batching."""

from typing import TYPE_CHECKING

from dims_hf._lazy import lazy_exports


if TYPE_CHECKING:
    from .collator import TranslationCollator as TranslationCollator
    from .corpora import (
        corpus_fingerprint as corpus_fingerprint,
        load_corpus as load_corpus,
        load_sentences as load_sentences,
    )
    from .encoding import encode_corpus as encode_corpus
    from .tokenizer import (
        BLANK_TOKEN as BLANK_TOKEN,
        SPECIAL_TOKENS as SPECIAL_TOKENS,
        add_blank as add_blank,
        check_same_tokenizer as check_same_tokenizer,
        save_tokenizer as save_tokenizer,
        tokenizer_fingerprint as tokenizer_fingerprint,
        train_tokenizer as train_tokenizer,
    )
    from .trimming import join_tokenizers as join_tokenizers, trim_tokenizer as trim_tokenizer


__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "collator": ("TranslationCollator",),
        "corpora": ("corpus_fingerprint", "load_corpus", "load_sentences"),
        "encoding": ("encode_corpus",),
        "trimming": ("join_tokenizers", "trim_tokenizer"),
        "tokenizer": (
            "BLANK_TOKEN",
            "SPECIAL_TOKENS",
            "add_blank",
            "check_same_tokenizer",
            "save_tokenizer",
            "tokenizer_fingerprint",
            "train_tokenizer",
        ),
    },
)
