# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""SMART: two independent masks, the model's predictions between them, and a loss over all tokens."""

from __future__ import annotations

import copy

import pytest
import torch

from dims_hf.data import TranslationCollator
from dims_hf.methods.base import Run
from dims_hf.methods.masks import mix_keys
from dims_hf.methods.smart import SMART
from dims_hf.objectives import ProjectedVocabulary


@pytest.fixture
def model(toy):
    return copy.deepcopy(toy.model).eval()


def prepare(toy, method, rows=range(40), step=0):
    given = TranslationCollator(method.config.pad_token_id)([toy.train[row] for row in rows])
    return method.prepare(given, mix_keys(1, step, given["index"]), step)


def test_masks_are_two_independent_draws_and_all_content_is_learnt(toy, model):
    method = SMART(SMART.Options(), model.config)
    batch = prepare(toy, method)
    first, second = batch["decoder_input_ids"] == model.config.mask_token_id, batch["is_remasked"]
    is_content = batch["labels"] != -100
    assert (is_content.sum(dim=1) == batch["decoder_attention_mask"].sum(dim=1) - 2).all()
    for mask in (first, second):
        assert (mask.sum(dim=1) >= 1).all() and not (mask & ~is_content).any()
    assert (first != second).any()
    counts = method.count(batch)
    assert counts["tokens"] == int(is_content.sum()) and counts["masked"] == int(second.sum())


def test_share_of_the_first_mask_may_be_given(toy, model):
    batch = prepare(toy, SMART(SMART.Options(smart_mask_fraction=0.5), model.config))
    content = (batch["labels"] != -100).sum(dim=1)
    assert torch.equal((batch["decoder_input_ids"] == model.config.mask_token_id).sum(dim=1), content // 2)


def test_second_pass_sees_predictions_where_the_first_saw_masks(toy, model, monkeypatch):
    method = SMART(SMART.Options(length_weight=0.0), model.config)
    batch, seen, mask = prepare(toy, method), [], model.config.mask_token_id
    monkeypatch.setattr(ProjectedVocabulary, "predict", lambda self, *_: torch.full(self.shape, 9))
    forward = method.forward
    monkeypatch.setattr(
        method, "forward", lambda run, given: (seen.append(given["decoder_input_ids"]), forward(run, given))[1]
    )
    loss = method.loss(Run.of(model), batch, method.count(batch))
    first, second = seen
    assert torch.equal(first, batch["decoder_input_ids"])
    is_filled = (first == mask) & ~batch["is_remasked"]
    assert is_filled.any() and (second[is_filled] == 9).all()
    assert torch.equal(second == mask, batch["is_remasked"])
    kept = (first != mask) & ~batch["is_remasked"]
    assert torch.equal(second[kept], first[kept])
    # label-smoothed cross-entropy of every content token of that second pass
    logits = model(**{**{k: batch[k] for k in ("input_ids", "attention_mask", "decoder_attention_mask")},
                      "decoder_input_ids": second}).logits  # fmt: skip
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), label_smoothing=0.1)
    torch.testing.assert_close(loss.total, expected)


def test_model_that_corrects_itself_predicts_every_position_in_each_pass(toy, model):
    SMART(SMART.Options(), model.config).configure(model)
    assert model.config.update_all_positions and not model.config.masks_alone
    assert model.generation_config.num_iterations > 1
