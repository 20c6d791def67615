# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Masked batches: what a mask depends on, and what gives a loss."""

from __future__ import annotations

import pytest
import torch

from dims_hf import CMLMConfig
from dims_hf.data import TranslationCollator
from dims_hf.methods.masks import EVALUATION_STEP, mask_batch, mix_keys


CONFIG = CMLMConfig(
    vocab_size=40, d_model=8, encoder_attention_heads=2, decoder_attention_heads=2, max_position_embeddings=40
)
COLLATE = TranslationCollator(pad_token_id=1)


def make_rows(count=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for index in range(count):
        source, target = (
            [0, *torch.randint(5, 40, (size,), generator=generator).tolist(), 2] for size in (3 + index, 1 + 2 * index)
        )
        rows.append({"index": 100 + index, "input_ids": source, "labels": target})
    return rows


def mask(batch, config=CONFIG, *, policy, seed, step):
    return mask_batch(batch, config, policy=policy, keys=mix_keys(seed, step, batch["index"]))


def masks_by_index(batch, **options):
    options = {"policy": "uniform", "seed": 1, "step": 5, **options}
    masked = mask(batch, **options)
    lengths = masked["decoder_attention_mask"].sum(dim=1).tolist()
    return {
        int(index): row[:length].tolist()
        for index, row, length in zip(batch["index"], masked["decoder_input_ids"], lengths, strict=True)
    }


def test_mask_depends_on_seed_step_and_index_alone():
    rows = make_rows()
    whole = masks_by_index(COLLATE(rows))
    assert masks_by_index(COLLATE(rows)) == whole
    assert masks_by_index(COLLATE(rows[::-1])) == whole
    halves = {**masks_by_index(COLLATE(rows[:3])), **masks_by_index(COLLATE(rows[3:]))}
    assert halves == whole
    torch.manual_seed(99)  # the global generator plays no part
    assert masks_by_index(COLLATE(rows)) == whole


@pytest.mark.parametrize("options", [{"seed": 2}, {"step": 6}, {"step": EVALUATION_STEP}])
def test_mask_changes_with_seed_and_step(options):
    rows = make_rows()
    assert masks_by_index(COLLATE(rows), **options) != masks_by_index(COLLATE(rows))


def test_mask_changes_with_the_index():
    rows = [{**make_rows()[-1], "index": index} for index in range(6)]
    assert len(set(map(tuple, masks_by_index(COLLATE(rows)).values()))) > 1


def test_masked_batch_has_labels_at_masks_and_references_elsewhere():
    batch = COLLATE(make_rows())
    masked = mask(batch, policy="uniform", seed=1, step=5)
    is_masked = masked["decoder_input_ids"] == CONFIG.mask_token_id
    is_token = batch["labels"] != -100
    assert torch.equal(masked["labels"], batch["labels"].masked_fill(~is_masked, -100))
    assert torch.equal(masked["decoder_input_ids"][~is_masked & is_token], batch["labels"][~is_masked & is_token])
    assert (masked["decoder_input_ids"][~is_token] == CONFIG.pad_token_id).all()
    assert torch.equal(masked["decoder_attention_mask"], is_token)
    assert torch.equal(masked["input_ids"], batch["input_ids"])
    # At least one mask in each sentence, none on <s>, </s> or padding.
    assert (is_masked.sum(dim=1) >= 1).all()
    assert not (is_masked & ((batch["labels"] < 5) | ~is_token)).any()


def test_full_policy_masks_all_content():
    batch = COLLATE(make_rows())
    masked = mask(batch, policy="full", seed=1, step=5)
    num_content = (batch["labels"] >= 5).sum(dim=1)
    assert torch.equal((masked["decoder_input_ids"] == CONFIG.mask_token_id).sum(dim=1), num_content)


def test_uniform_policy_draws_every_count_equally_often():
    row = {"index": 7, "input_ids": [0, 5, 2], "labels": [0, 10, 11, 12, 13, 14, 2]}
    counts = [sum(token == 4 for token in masks_by_index(COLLATE([row]), step=step)[7]) for step in range(1000)]
    for count in range(1, 6):
        assert 150 < counts.count(count) < 250
    assert set(counts) == {1, 2, 3, 4, 5}


def test_reference_token_that_is_the_mask_id_gives_no_loss():
    # Imported checkpoints: <unk> is the mask.
    config = CMLMConfig(
        vocab_size=40, d_model=8, encoder_attention_heads=2, decoder_attention_heads=2, mask_token_id=3
    )
    batch = COLLATE([{"index": 0, "input_ids": [0, 5, 2], "labels": [0, 10, 3, 12, 3, 2]}])
    masked = mask(batch, config, policy="full", seed=1, step=0)
    assert masked["decoder_input_ids"].tolist() == [[0, 3, 3, 3, 3, 2]]
    assert masked["labels"].tolist() == [[-100, 10, -100, 12, -100, -100]]
