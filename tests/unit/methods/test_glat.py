# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""GLAT: what is shown, what is learnt, and its schedule."""

from __future__ import annotations

import copy

import pytest
import torch

from dims_hf.methods.base import Run
from dims_hf.methods.cmlm import CMLM
from dims_hf.methods.glat import GLAT
from dims_hf.methods.masks import EVALUATION_STEP, mix_keys
from dims_hf.objectives import count_glances


@pytest.mark.parametrize(
    ("ratio", "wrong", "shown"),
    [(0.5, [0, 1, 2, 3, 5, 7, 10], [0, 0, 1, 1, 2, 3, 5]), (0.3, [0, 1, 2, 3, 5, 7, 10], [0, 0, 0, 0, 1, 2, 3])],
)
def test_number_of_shown_tokens_by_hand(ratio, wrong, shown):
    assert count_glances(torch.tensor(wrong), ratio).tolist() == shown


def test_share_falls_linearly_and_validation_shows_nothing():
    options = GLAT.Options(glancing_steps=300_000)
    steps = (0, 75_000, 150_000, 300_000, 400_000)
    assert [options.ratio(step, -1) for step in steps] == pytest.approx([0.5, 0.45, 0.4, 0.3, 0.3])
    assert options.ratio(EVALUATION_STEP, -1) == 0


@pytest.fixture
def model(toy):
    return copy.deepcopy(toy.model).eval()


def _batch(toy, config, method, step=0, rows=range(12)):
    from dims_hf.data import TranslationCollator

    given = TranslationCollator(config.pad_token_id)([toy.train[row] for row in rows])
    return method.prepare(given, mix_keys(1, step, given["index"]), step)


def test_shown_tokens_are_gold_content_and_leave_the_loss(toy, model):
    method = GLAT(GLAT.Options(glancing_ratio=1.0), model.config, num_updates=100)
    batch = _batch(toy, model.config, method)
    glanced = method.glance(Run.of(model), batch)
    is_shown = glanced["decoder_input_ids"] != batch["decoder_input_ids"]
    assert is_shown.any() and not (is_shown & (batch["decoder_input_ids"] != model.config.mask_token_id)).any()
    assert torch.equal(glanced["decoder_input_ids"][is_shown], batch["labels"][is_shown])
    assert (glanced["labels"][is_shown] == -100).all()
    assert torch.equal(glanced["labels"][~is_shown], batch["labels"][~is_shown])


def test_a_model_that_is_right_sees_nothing(toy, model, monkeypatch):
    from dims_hf.objectives import ProjectedVocabulary

    method = GLAT(GLAT.Options(), model.config)
    batch = _batch(toy, model.config, method)
    right = batch["labels"][batch["decoder_input_ids"] == model.config.mask_token_id]
    monkeypatch.setattr(ProjectedVocabulary, "predict", lambda *_: right)
    assert torch.equal(method.glance(Run.of(model), batch)["decoder_input_ids"], batch["decoder_input_ids"])


def test_without_glances_it_is_a_cmlm_with_full_masks(toy, model):
    glat = GLAT(GLAT.Options(glancing_ratio=0.0, glancing_final_ratio=0.0), model.config)
    cmlm = CMLM(CMLM.Options(mask_policy="full"), model.config)
    losses = []
    for method in (glat, cmlm):
        batch = _batch(toy, model.config, method)
        losses.append(method.loss(Run.of(model), batch, method.count(batch)).total)
    assert torch.equal(*losses)


def test_what_is_shown_does_not_depend_on_the_batch(toy, model):
    method = GLAT(GLAT.Options(glancing_ratio=0.7), model.config)
    run = Run.of(model)
    whole = method.glance(run, _batch(toy, model.config, method))
    alone = method.glance(run, _batch(toy, model.config, method, rows=range(3, 4)))
    width = alone["decoder_input_ids"].shape[1]
    assert torch.equal(whole["decoder_input_ids"][3:4, :width], alone["decoder_input_ids"])
