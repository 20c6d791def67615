# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The sentences that every system of a group translates: random ids of one length, or a corpus in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from dims_hf.translation.batching import batches_by_budget


# Ids below are special tokens in every vocabulary here.
FIRST_ORDINARY_ID = 5

BOS, PAD, EOS, UNK, MASK = range(FIRST_ORDINARY_ID)


@dataclass(frozen=True)
class Batch:
    """
    Sources of one call.

    Args:
        rows (`list[list[int]]`): token ids `<s> … </s>`, no padding.
        indices (`list[int]`): which sentences of the corpus they are.
    """

    rows: list[list[int]]
    indices: list[int]


@dataclass(frozen=True)
class Workload:
    """
    What one round of a system consists of.

    Args:
        batches (`list[Batch]`): calls.
        forced_tokens (`int`, *optional*): content tokens every translation must have; `None`: what models produce.
    """

    batches: list[Batch]
    forced_tokens: int | None = None

    @property
    def num_sentences(self) -> int:
        """Sentences of all batches."""
        return sum(len(batch.rows) for batch in self.batches)

    @property
    def mean_source_tokens(self) -> float:
        """Tokens of a source, `<s>` and `</s>` counted."""
        return fmean(len(row) for batch in self.batches for row in batch.rows)

    @property
    def mean_batch_size(self) -> float:
        """Sentences of a batch."""
        return self.num_sentences / len(self.batches)


def random_workload(batch_size: int, length: int, vocab_size: int, seed: int) -> Workload:
    """One batch of random sources of `length` content tokens, to be translated into as many."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(FIRST_ORDINARY_ID, vocab_size, (batch_size, length), generator=generator).tolist()
    return Workload([Batch([[BOS, *row, EOS] for row in ids], list(range(batch_size)))], forced_tokens=length)


def corpus_workload(rows: Sequence[list[int]], *, batch_size: int | None, max_tokens: int) -> Workload:
    """
    Batches of sentences of similar length, longest first, as `translate` makes them.

    Args:
        rows (`Sequence[list[int]]`): encoded sources.
        batch_size (`int`, *optional*): sentences per batch; `None`: as many as `max_tokens` hold.
        max_tokens (`int`): padded tokens of a batch.
    """
    sizes = [len(row) for row in rows]
    if batch_size is None:
        groups = list(batches_by_budget(sizes, max_tokens))
    else:
        order = sorted(range(len(rows)), key=lambda index: -sizes[index])
        groups = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return Workload([Batch([rows[index] for index in group], list(group)) for group in groups])
