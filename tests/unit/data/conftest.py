# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A small bilingual text and one tokenizer of each kind, trained once for all tests of this folder."""

from __future__ import annotations

import itertools

import pytest

from dims_hf.data import train_tokenizer


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    """A few hundred English and German sentences with umlauts, quotes, digits and punctuation."""
    english = [f"{who} {what} the {thing}." for who, what, thing in itertools.product(
        ("Tom", "Mary", "My neighbour", "Nobody"),
        ("doesn't like", "bought", "has seen", "painted"),
        ("old house", "garden", "little dog", "red car", "22 letters", "$1,000 watch"),
    )]  # fmt: skip
    german = [f"{wer} {was} „{ding}“ nicht!" for wer, was, ding in itertools.product(
        ("Tom", "Maria", "Mein Nachbar", "Größenwahn"),
        ("mag", "kaufte", "sieht", "übermalt"),
        ("das alte Haus", "den Garten", "die Hündin", "das rote Auto", "2000 Briefe", "die Uhr"),
    )]  # fmt: skip
    return english + german


@pytest.fixture(scope="session", params=["bpe", "unigram"])
def tokenizer(request, sentences):
    """A tokenizer with byte fallback, of each kind."""
    return train_tokenizer(sentences, 500, kind=request.param, byte_fallback=True)


@pytest.fixture(scope="session")
def bpe(sentences):
    """A BPE tokenizer without byte tokens."""
    return train_tokenizer(sentences, 200, max_length=32)
