# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Token-budget batches: budget, coverage, order, and that splitting an update changes nothing."""

from __future__ import annotations

import pytest
import torch

from dims_hf.trainers import TokenBudgetBatchSampler


def random_lengths(count, seed=0, longest=30):
    return torch.randint(3, longest + 1, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def updates_of(lengths, *, accumulation_steps=1, num_processes=1, epoch=0, **options):
    """What all processes together see: one list of micro-batches per optimiser update, in order."""
    shares = []
    for process_index in range(num_processes):
        sampler = TokenBudgetBatchSampler(
            lengths, accumulation_steps=accumulation_steps, num_processes=num_processes, process_index=process_index,
            **options,
        )  # fmt: skip
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler) == sampler.num_updates * accumulation_steps
        shares.append(batches)
    starts = range(0, len(shares[0]), accumulation_steps)
    return [[batch for share in shares for batch in share[start : start + accumulation_steps]] for start in starts]


SPLITS = [(1, 1, 8), (2, 1, 4), (8, 1, 1), (1, 2, 4), (1, 4, 2), (2, 4, 1)]  # accumulation, processes, share of budget


@pytest.mark.parametrize("count", [1, 7, 8, 100, 203])
@pytest.mark.parametrize(("accumulation_steps", "num_processes", "share"), SPLITS)
def test_no_batch_exceeds_the_budget_and_every_sentence_is_seen(count, accumulation_steps, num_processes, share):
    lengths = random_lengths(count)
    max_tokens = 32 * share
    updates = updates_of(
        lengths, max_tokens=max_tokens, accumulation_steps=accumulation_steps, num_processes=num_processes
    )
    for batch in (batch for update in updates for batch in update):
        assert batch and max(lengths[row] for row in batch) * len(batch) <= max_tokens
    assert {row for update in updates for batch in update for row in batch} == set(range(count))


@pytest.mark.parametrize("count", [9, 64, 203])
@pytest.mark.parametrize("epoch", [0, 3])
@pytest.mark.parametrize("total", [256, 150])  # 150: 8 of the longest (30) do not fit into one update
def test_updates_are_the_same_however_they_are_split(count, epoch, total):
    lengths = random_lengths(count)
    splits = [split for split in SPLITS if total // (split[0] * split[1]) >= 30]
    assert len(splits) >= 4
    results = []
    for accumulation_steps, num_processes, _ in splits:
        updates = updates_of(
            lengths,
            max_tokens=total // (accumulation_steps * num_processes),
            accumulation_steps=accumulation_steps,
            num_processes=num_processes,
            epoch=epoch,
        )
        results.append([sorted(row for batch in update for row in batch) for update in updates])
    assert all(result == results[0] for result in results)


def test_fixed_batch_size_gives_the_same_updates_however_they_are_split():
    lengths = random_lengths(50)
    results = [
        [sorted(sum(update, [])) for update in updates_of(lengths, max_tokens=None, **split)]
        for split in (
            {"batch_size": 8},
            {"batch_size": 2, "accumulation_steps": 4},
            {"batch_size": 4, "num_processes": 2},
        )
    ]
    assert results[0] == results[1] == results[2]


def test_parts_of_an_update_differ_by_one_sentence_at_most():
    for update in updates_of(random_lengths(203), max_tokens=60, accumulation_steps=2, num_processes=3):
        sizes = [len(batch) for batch in update]
        assert max(sizes) - min(sizes) <= 1


def test_sentences_are_seen_once_except_where_the_last_update_borrows():
    lengths = [10] * 16 + [12] * 3
    updates = updates_of(lengths, max_tokens=96)
    rows = sorted(sum((batch for update in updates for batch in update), []))
    # 8, 8, and the 3 long ones with 5 of the second update, so that up to 8 processes have one each.
    assert len(rows) == 24 and set(rows) == set(range(19))
    assert sorted(len(update[0]) for update in updates) == [8, 8, 8]


def test_batches_hold_sentences_of_similar_length():
    lengths = random_lengths(400)
    for (batch,) in updates_of(lengths, max_tokens=256):
        assert max(lengths[row] for row in batch) - min(lengths[row] for row in batch) <= 3


def test_same_seed_gives_the_same_batches_and_another_seed_or_epoch_others():
    lengths = random_lengths(200)
    first = updates_of(lengths, max_tokens=64, seed=1)
    assert updates_of(lengths, max_tokens=64, seed=1) == first
    assert updates_of(lengths, max_tokens=64, seed=2) != first
    later = updates_of(lengths, max_tokens=64, seed=1, epoch=1)
    assert later != first
    # The order of the updates changes too, not only who meets whom among equal lengths.
    assert [max(lengths[row] for row in batch) for (batch,) in later] != [
        max(lengths[row] for row in batch) for (batch,) in first
    ]


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_sentences_than_processes_are_repeated(count):
    (update,) = updates_of([5] * count, max_tokens=50, accumulation_steps=2, num_processes=2)
    assert [len(batch) for batch in update] == [1, 1, 1, 1]
    assert {row for batch in update for row in batch} == set(range(count))


def test_fixed_batch_size_deals_that_many_sentences():
    updates = updates_of(random_lengths(50), max_tokens=None, batch_size=4, accumulation_steps=2)
    assert [len(batch) for update in updates for batch in update].count(4) >= 12
    assert max(len(batch) for update in updates for batch in update) == 4


def test_padding_share_is_the_hand_value():
    # Two updates of eight: 8·4 = 32 positions for 8·4 tokens, 8·8 = 64 for 8·7 + 1·1.
    lengths = [4] * 8 + [6] * 4 + [8] * 4
    assert TokenBudgetBatchSampler(lengths, max_tokens=64).padding_share == pytest.approx(1 - (32 + 56) / 96)
    # In two parts, each has its own longest sentence: still two 6s and two 8s of four.
    split = TokenBudgetBatchSampler(lengths, max_tokens=32, accumulation_steps=2)
    assert split.padding_share == pytest.approx(1 - (32 + 56) / 96)


def test_padding_share_without_padding_is_zero():
    assert TokenBudgetBatchSampler([5] * 19, max_tokens=40).padding_share == 0


def test_a_sentence_longer_than_the_budget_is_refused_by_number():
    with pytest.raises(ValueError, match="Sentence 2 has 40 tokens, more than max_tokens_per_batch=39. Raise"):
        TokenBudgetBatchSampler([3, 39, 40, 5], max_tokens=39)


def test_an_empty_corpus_is_refused():
    with pytest.raises(ValueError, match="The training corpus is empty"):
        TokenBudgetBatchSampler([], max_tokens=100)
