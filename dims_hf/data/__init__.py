# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Parallel corpora: reading and checking them, training tokenizers, encoding and batching."""

from .collator import TranslationCollator
from .corpora import corpus_fingerprint, load_corpus, load_sentences
from .encoding import encode_corpus
from .tokenizer import (
    BLANK_TOKEN,
    SPECIAL_TOKENS,
    add_blank,
    check_same_tokenizer,
    save_tokenizer,
    tokenizer_fingerprint,
    train_tokenizer,
)


__all__ = [
    "BLANK_TOKEN",
    "SPECIAL_TOKENS",
    "TranslationCollator",
    "add_blank",
    "check_same_tokenizer",
    "corpus_fingerprint",
    "encode_corpus",
    "load_corpus",
    "load_sentences",
    "save_tokenizer",
    "tokenizer_fingerprint",
    "train_tokenizer",
]
