# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Padding by hand-written tensors."""

from __future__ import annotations

import pickle

import pytest
import torch

from dims_hf.data import TranslationCollator


FEATURES = [
    {"index": 7, "input_ids": [0, 11, 12, 2], "labels": [0, 21, 2]},
    {"index": 3, "input_ids": [0, 13, 2], "labels": [0, 22, 23, 24, 2]},
]


def test_collator_pads_right_and_keeps_the_order():
    batch = TranslationCollator(pad_token_id=1)(FEATURES)
    expected = {
        "input_ids": [[0, 11, 12, 2], [0, 13, 2, 1]],
        "attention_mask": [[1, 1, 1, 1], [1, 1, 1, 0]],
        "labels": [[0, 21, 2, -100, -100], [0, 22, 23, 24, 2]],
        "index": [7, 3],
    }
    assert {name: tensor.tolist() for name, tensor in batch.items()} == expected
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_collator_mask_follows_lengths_not_the_pad_id():
    batch = TranslationCollator(pad_token_id=12)(FEATURES)
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert batch["input_ids"].tolist()[1] == [0, 13, 2, 12]


def test_collator_one_pair_needs_no_padding():
    batch = TranslationCollator(1)([FEATURES[1]])
    assert batch["labels"].tolist() == [[0, 22, 23, 24, 2]]
    assert batch["attention_mask"].all()


def test_collator_no_pairs_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        TranslationCollator(1)([])


def test_collator_can_be_sent_to_a_worker_process():
    assert pickle.loads(pickle.dumps(TranslationCollator(1))) == TranslationCollator(1)


def test_collator_sources_alone_have_no_labels():
    sources = [{name: row[name] for name in ("index", "input_ids")} for row in FEATURES]
    batch = TranslationCollator(pad_token_id=1)(sources)
    assert sorted(batch) == ["attention_mask", "index", "input_ids"]
    assert torch.equal(batch["input_ids"], TranslationCollator(pad_token_id=1)(FEATURES)["input_ids"])


def test_collator_pads_several_targets_of_a_source():
    rows = [{**FEATURES[0], "references": [[0, 5, 2], [0, 6, 7, 2]]}, {**FEATURES[1], "references": [[0, 8, 2]]}]
    batch = TranslationCollator(pad_token_id=1)(rows)
    assert batch["references"].tolist() == [
        [[0, 5, 2, -100], [0, 6, 7, 2]],
        [[0, 8, 2, -100], [-100, -100, -100, -100]],
    ]
    assert torch.equal(batch["labels"], TranslationCollator(pad_token_id=1)(FEATURES)["labels"])
