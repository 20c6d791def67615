# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What is compared with one another, and on which sentences: groups, corpora, workloads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dims_hf.benchmark.settings import BULK, MAX_BATCH, SIZES, TEXT, BenchmarkSettings
from dims_hf.benchmark.weights import Weights
from dims_hf.benchmark.workloads import Batch, Workload, corpus_workload, random_workload
from dims_hf.data import corpus_fingerprint, load_corpus
from dims_hf.reports.provenance import public_name
from dims_hf.translation.sentences import encode_sources


@dataclass(frozen=True)
class Group:
    """What is compared with one another: a device, its threads, a batch and a length (`None`: that of a corpus)."""

    device: str
    threads: int
    batch: int | str
    length: int | None

    @property
    def is_of_texts(self) -> bool:
        """Whether tokenizers take part."""
        return self.batch in (TEXT, BULK)

    @property
    def key(self) -> str:
        """In the file of results."""
        length = "corpus" if self.length is None else f"length {self.length}"
        return f"{self.device}, threads {self.threads}, batch {self.batch}, {length}"


@dataclass(frozen=True)
class Corpus:
    """Sentences for trained models."""

    task: dict[str, Any]
    sources: list[str]
    references: list[str]


def make_groups(settings: BenchmarkSettings) -> list[Group]:
    """Groups in the order of measurement: the middle length first, small batches first."""
    lengths: Sequence[int | None] = [None]
    if not settings.models:
        middle = settings.middle_length
        lengths = [middle, *(length for length in settings.lengths if length != middle)]
    return [
        Group(device, threads, batch, length)
        for device, threads in settings.places()
        for length in lengths
        for batch in settings.batches
    ]


def load_sentences(settings: BenchmarkSettings) -> Corpus | None:
    """The corpus of trained models; none for random ones."""
    if not settings.models:
        return None
    limits = {settings.split: settings.max_examples}
    corpus = load_corpus(
        settings.data, settings.source_lang, settings.target_lang, splits=(settings.split,), max_examples=limits
    )[settings.split]
    task = {
        "data": public_name(settings.data),
        "source_lang": settings.source_lang,
        "target_lang": settings.target_lang,
        "split": settings.split,
        "num_sentences": len(corpus),
        "fingerprint": corpus_fingerprint(corpus),
    }
    return Corpus(task, list(corpus["source"]), list(corpus["target"]))


def make_workload(group: Group, weights: Weights, settings: BenchmarkSettings, corpus: Corpus | None) -> Workload:
    """What a model translates in a group: the same for all, but for the tokenizer of trained ones."""
    if corpus is None:
        size = settings.batch_size(group.batch, group.length)
        return random_workload(size, group.length, SIZES[settings.size].vocab_size, settings.seed)
    rows = weights.share("rows", lambda: encode_sources(weights, weights.tokenizer, corpus.sources))
    if group.batch == BULK:
        return Workload([Batch(rows, list(range(len(rows))))])
    batch_size = None if group.batch == MAX_BATCH else settings.batch_size(group.batch, 1)
    return corpus_workload(rows, batch_size=batch_size, max_tokens=settings.max_tokens)
