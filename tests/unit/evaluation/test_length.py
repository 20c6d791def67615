# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Length accuracies by hand, and the lengths a model predicts."""

from __future__ import annotations

import pytest
import torch

from dims_hf.evaluation import (
    equal_length_buckets,
    length_accuracy,
    length_buckets,
    length_top_k_accuracy,
    predict_lengths,
    reference_lengths,
)


def test_length_accuracy_known_errors_by_hand():
    # errors 0, +1, -1, +2, -3
    assert length_accuracy([5, 6, 4, 7, 2], [5, 5, 5, 5, 5]) == {
        "length_accuracy": 1 / 5,
        "length_within_1": 3 / 5,
        "length_within_2": 4 / 5,
        "length_bias": pytest.approx(-1 / 5),
    }


def test_length_top_k_accuracy_known_ranks_by_hand():
    ranked = [[5, 6, 7, 4, 8], [6, 5, 7, 4, 8], [9, 8, 7, 6, 5], [1, 2, 3, 4, 6]]
    assert length_top_k_accuracy(ranked, [5, 5, 5, 5]) == {
        "length_top_1": 1 / 4,
        "length_top_3": 2 / 4,
        "length_top_5": 3 / 4,
    }


@pytest.mark.parametrize(("predicted", "references"), [([], []), ([1], [1, 2])])
def test_length_accuracy_unequal_counts_are_refused(predicted, references):
    with pytest.raises(ValueError, match="Give one of each, at least one"):
        length_accuracy(predicted, references)


def test_length_top_k_accuracy_too_few_lengths_are_refused_with_the_row():
    with pytest.raises(ValueError, match=r"ranked\[1\] has 2 lengths for k = 3"):
        length_top_k_accuracy([[1, 2, 3], [1, 2]], [1, 1], ks=(1, 3))


def test_reference_lengths_leave_out_the_special_tokens(word_tokenizer):
    assert reference_lengths(word_tokenizer, ["a cat .", "", "the dog"]) == [3, 0, 2]
    assert reference_lengths(word_tokenizer, []) == []


def test_predict_lengths_classes_count_the_specials(tiny_model, tiny_tokenizer, sources, monkeypatch):
    def predict(hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(hidden), 32)
        rows = torch.arange(len(hidden))
        # class = number of source tokens, `<s>` and `</s>` counted; next best are classes 9 and 1
        logits[:, 1], logits[:, 9] = 1.0, 2.0
        logits[rows, attention_mask.sum(1)] = 3.0
        return logits

    monkeypatch.setattr(tiny_model, "predict_length", predict)
    expected = reference_lengths(tiny_tokenizer, sources)
    for budget in (1, 4096):
        ranked = predict_lengths(tiny_model, tiny_tokenizer, sources, top_k=3, max_tokens_per_batch=budget)
        assert [lengths[0] for lengths in ranked] == expected
        assert all(lengths[1:] == [7, 0] for lengths, length in zip(ranked, expected, strict=True) if length != 7)


def test_predict_lengths_first_is_the_length_generate_writes(tiny_model, tiny_tokenizer, sources):
    from dims_hf.translation import translate

    ranked = predict_lengths(tiny_model, tiny_tokenizer, sources)
    translations = translate(tiny_model, tiny_tokenizer, sources, num_iterations=1, length_beam_size=1)
    longest = tiny_model.config.max_target_length - 1 - 2
    assert [min(max(lengths[0], 0), longest) for lengths in ranked] == [len(got.raw_token_ids) for got in translations]


def test_length_buckets_hold_every_sentence_once_and_empty_ones_are_left_out():
    assert length_buckets([3, 9, 4, 30], [4, 8, 12]) == [
        (1, 4, [True, False, True, False]),
        (9, 12, [False, True, False, False]),
        (13, None, [False, False, False, True]),
    ]
    assert length_buckets([1, 2], []) == [(1, None, [True, True])]
    assert length_buckets([0, 2], [1])[0] == (0, 1, [True, False])  # an empty reference


def test_equal_length_buckets_sizes_differ_by_one_at_most_and_ranges_touch():
    lengths = [7, 3, 3, 9, 3, 12, 5]
    buckets = equal_length_buckets(lengths, 3)
    assert [(low, high, sum(flags)) for low, high, flags in buckets] == [(3, 3, 2), (3, 5, 2), (7, 12, 3)]
    assert [sum(column) for column in zip(*(flags for _, _, flags in buckets), strict=True)] == [1] * 7
    assert buckets[0][2] == [False, True, True, False, False, False, False]
    assert len(equal_length_buckets([4, 2])) == 2 and equal_length_buckets([]) == []
    with pytest.raises(ValueError, match="Ask for at least 1"):
        equal_length_buckets([1], 0)


@pytest.mark.parametrize("edges", [[8, 8], [8, 4], [-1]])
def test_length_buckets_edges_that_do_not_rise_are_refused(edges: list[int]):
    with pytest.raises(ValueError, match="Length edges must rise"):
        length_buckets([1], edges)
