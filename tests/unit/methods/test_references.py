# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""CTC with n-gram matching and with several targets of a source: the reference forms, over what a batch holds."""

from __future__ import annotations

import copy
import logging

import pytest
import torch

from dims_hf import ctc_ngram_loss, multi_reference_loss
from dims_hf.data import TranslationCollator
from dims_hf.methods.base import Run
from dims_hf.methods.ctc import CTC
from dims_hf.methods.ctc_ngrams import CTCNgrams
from dims_hf.methods.masks import EVALUATION_STEP, mix_keys
from dims_hf.methods.multi_reference import MultiReference
from dims_hf.methods.references import pack_references


@pytest.fixture
def model(toy):
    model = copy.deepcopy(toy.models["imputer"]).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
    return model


def features(toy, several: bool):
    """Rows of the corpus; with several targets, some have that of the next rows as well."""
    rows = [toy.train[row] for row in range(9)]
    if several:
        for place, row in enumerate(rows):
            row["references"] = [rows[(place + k) % 9]["labels"] for k in range(1 + place % 3)]
    return rows


def prepare(toy, method, several=False, step=0):
    given = TranslationCollator(method.config.pad_token_id)(features(toy, several))
    return method.prepare(given, mix_keys(1, step, given["index"]), step)


def loss_of(method, model, batch):
    return method.loss(Run.of(model), batch, method.count(batch))


def dense(model, batch):
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        decoder_input_ids=batch["decoder_input_ids"],
        decoder_attention_mask=batch["decoder_attention_mask"],
    ).logits
    return logits.log_softmax(dim=-1), batch["decoder_attention_mask"].sum(dim=1)


def test_targets_are_packed_to_as_many_as_asked_for():
    references = torch.tensor([[[0, 7, 8, 2], [0, 9, 2, -100]], [[0, 6, 2, -100], [-100] * 4]])
    batch = {"references": references, "labels": references[:, 0]}
    assert pack_references(batch, (0, 2, -100), 3).tolist() == [
        [[7, 8, -100, -100], [9, -100, -100, -100], [-100] * 4],
        [[6, -100, -100, -100], [-100] * 4, [-100] * 4],
    ]
    del batch["references"]
    assert pack_references(batch, (0, 2, -100), 1).tolist() == [[[7, 8, -100, -100]], [[6, -100, -100, -100]]]


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("size", [1, 2])
def test_ngram_matching_is_the_reference_form(toy, model, several, size):
    method = CTCNgrams(CTCNgrams.Options(ngram_size=size, num_references=3 if several else 1), model.config)
    batch = prepare(toy, method, several)
    log_probs, frames = dense(model, batch)
    is_token = batch["references"] != -100
    targets, lengths = batch["references"].clamp(min=0), is_token.sum(dim=2)
    if not several:
        targets, lengths = targets[:, 0], lengths[:, 0]
    expected = ctc_ngram_loss(log_probs, targets, frames, lengths, blank_token_id=method.config.blank_token_id, n=size)
    loss = loss_of(method, model, batch)
    torch.testing.assert_close(loss.total, expected.total, rtol=1e-4, atol=1e-6)
    assert -1 < float(loss.total.detach()) < 0


def test_weight_adds_the_ctc_loss(toy, model):
    alone, ctc = CTCNgrams(CTCNgrams.Options(), model.config), CTC(CTC.Options(), model.config)
    both = CTCNgrams(CTCNgrams.Options(ctc_weight=0.3), model.config)
    batch = prepare(toy, both)
    losses = [loss_of(method, model, batch).total.detach() for method in (alone, ctc, both)]
    torch.testing.assert_close(losses[2], losses[0] + 0.3 * losses[1])


def test_shares_of_the_training_are_linear_and_validation_learns_the_likeliest():
    options = MultiReference.Options(annealing_steps=300)
    assert [options.progress(step, -1) for step in (0, 150, 300, 500, EVALUATION_STEP)] == [0, 0.5, 1, 1, 1]
    assert MultiReference.Options().progress(5, 10) == 0.5


@pytest.mark.parametrize("step", [0, 40, 80, 100])
def test_several_targets_are_the_reference_form(toy, model, step):
    method = MultiReference(MultiReference.Options(annealing_steps=100), model.config)
    batch = prepare(toy, method, several=True, step=step)
    log_probs, frames = dense(model, batch)
    is_token = batch["references"] != -100
    expected = multi_reference_loss(
        log_probs,
        batch["references"].clamp(min=0),
        frames,
        is_token.sum(dim=2),
        blank_token_id=method.config.blank_token_id,
        progress=step / 100,
        num_items=int(is_token.sum()),
        num_sentence_items=int(is_token[:, 0].sum()),
    )
    torch.testing.assert_close(loss_of(method, model, batch).total, expected.total, rtol=1e-4, atol=1e-6)


def test_denominators_do_not_depend_on_how_many_targets_the_batch_mates_have(toy, model):
    method = MultiReference(MultiReference.Options(annealing_steps=100), model.config)
    rows, collator = features(toy, several=True), TranslationCollator(model.config.pad_token_id)
    parts = []
    for chosen in (rows[:1], rows[1:], rows):  # the first has one target alone
        given = collator(chosen)
        parts.append(method.prepare(given, mix_keys(1, 80, given["index"]), 80))
    items = method.count(parts[2])
    losses = [method.loss(Run.of(model), part, items).total.detach() for part in parts]
    torch.testing.assert_close(losses[0] + losses[1], losses[2])


def test_one_target_is_ctc_per_token(toy, model):
    method, ctc = MultiReference(MultiReference.Options(), model.config), CTC(CTC.Options(), model.config)
    batch = prepare(toy, method, step=EVALUATION_STEP)
    counts = method.count(batch)
    assert counts["tokens"] == counts["reference_tokens"]
    per_frame = loss_of(ctc, model, batch).total.detach() * ctc.count(batch)["frames"]
    torch.testing.assert_close(loss_of(method, model, batch).total.detach(), per_frame / counts["tokens"])


def test_corpus_without_several_targets_is_named(toy, model, caplog):
    with caplog.at_level(logging.WARNING, logger="dims_hf"):
        MultiReference(MultiReference.Options(), model.config).check(toy.train)
    assert "No source of the training pairs has several targets" in caplog.text
