# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Methods whose model sees masks alone (OAXE, bag of n-grams, AXE, similarity): what they learn from a batch."""

from __future__ import annotations

import copy

import pytest
import torch

from dims_hf import axe_loss, bag_of_ngrams_loss, oaxe_loss
from dims_hf.data import TranslationCollator
from dims_hf.methods.axe import AXE
from dims_hf.methods.bag_of_ngrams import BagOfNgrams
from dims_hf.methods.base import Run
from dims_hf.methods.cmlm import CMLM
from dims_hf.methods.full_masks import pack_content
from dims_hf.methods.masks import EVALUATION_STEP, mix_keys
from dims_hf.methods.oaxe import OAXE
from dims_hf.methods.similarity import Similarity


EMPTY = 3  # `<unk>`: no target of the toy corpus has it


@pytest.fixture
def model(toy):
    model = copy.deepcopy(toy.model).eval()
    model.config.empty_token_id = EMPTY
    with torch.no_grad():  # so that predictions differ from position to position
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
    return model


def prepare(toy, method, rows=range(10), step=0):
    given = TranslationCollator(method.config.pad_token_id)([toy.train[row] for row in rows])
    return method.prepare(given, mix_keys(1, step, given["index"]), step)


def dense(model, batch):
    """Log-probabilities at content positions (B, N, V), targets and lengths, without any packing or projection."""
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        decoder_input_ids=batch["decoder_input_ids"],
        decoder_attention_mask=batch["decoder_attention_mask"],
    ).logits
    lengths = batch["decoder_attention_mask"].sum(dim=1) - 2
    # `<s>` is the first column, and content follows
    width = int(lengths.max())
    return logits.log_softmax(dim=-1)[:, 1 : width + 1], batch["labels"][:, 1 : width + 1].clamp(min=0), lengths


def loss_of(method, model, batch):
    return method.loss(Run.of(model), batch, method.count(batch))


def test_everything_is_masked_and_nothing_else(toy, model):
    for kind in (OAXE, BagOfNgrams, AXE, Similarity):
        batch = prepare(toy, kind(kind.Options(), model.config))
        is_content = batch["labels"] != -100
        assert ((batch["decoder_input_ids"] == model.config.mask_token_id) == is_content).all()
        assert (is_content.sum(dim=1) == batch["decoder_attention_mask"].sum(dim=1) - 2).all()


def test_content_is_packed_in_order_and_holes_are_closed(toy, model):
    labels = torch.tensor([[-100, 7, -100, 9, -100], [-100, 8, 6, 5, -100]])
    states = torch.arange(2 * 5 * 16.0).view(2, 5, 16).requires_grad_()
    content = pack_content(Run.of(model), states, labels)
    assert content.lengths.tolist() == [2, 3]
    assert content.targets[0, :2].tolist() == [7, 9] and content.targets[1].tolist() == [8, 6, 5]
    packed = content.vocabulary.hidden_states
    assert torch.equal(packed[0, :2], states[0, [1, 3]]) and torch.equal(packed[1], states[1, 1:4])
    assert not packed[0, 2].any() and content.is_token.tolist() == [[True, True, False], [True, True, True]]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_oaxe_is_the_reference_form_over_the_models_distributions(toy, model, smoothing):
    method = OAXE(OAXE.Options(truncation=0.02, label_smoothing=smoothing, length_weight=0.0), model.config)
    batch = prepare(toy, method)
    expected = oaxe_loss(*dense(model, batch), truncation=0.02, label_smoothing=smoothing)
    loss = loss_of(method, model, batch)
    torch.testing.assert_close(loss.total, expected.total, rtol=1e-5, atol=1e-6)
    assert 0 < float(loss.parts["kept"]) < 1


def test_axe_is_the_reference_form_and_lengths_leave_room_for_empty_tokens(toy, model):
    method = AXE(AXE.Options(skip_penalty=3.0, length_weight=0.0), model.config)
    batch = prepare(toy, method)
    log_probs, targets, lengths = dense(model, batch)
    expected = axe_loss(log_probs, targets, lengths, lengths, empty_token_id=EMPTY, skip_penalty=3.0)
    torch.testing.assert_close(loss_of(method, model, batch).total, expected.total, rtol=1e-5, atol=1e-6)
    # six tokens and half as many again are nine, with `<s>` and `</s>` eleven
    stretched = AXE(AXE.Options(length_factor=1.5), model.config)
    batch = prepare(toy, stretched, rows=[next(i for i, row in enumerate(toy.train) if len(row["labels"]) == 8)])
    certain = torch.full((1, 25), -40.0)
    certain[0, 11] = 40.0
    token = loss_of(method, model, batch)
    assert float(stretched.add_length_loss(token, certain, batch, {"sentences": 1}).parts["length"]) == 0


def test_model_without_an_empty_token_is_refused(toy):
    with pytest.raises(ValueError, match="no empty token.*method: axe"):
        AXE(AXE.Options(), toy.model.config)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_bag_of_ngrams_is_the_reference_form(toy, model, size):
    method = BagOfNgrams(BagOfNgrams.Options(ngram_size=size, length_weight=0.0), model.config)
    batch = prepare(toy, method)
    expected = bag_of_ngrams_loss(*dense(model, batch), n=size)
    loss = loss_of(method, model, batch)
    torch.testing.assert_close(loss.total, expected.total, rtol=1e-5, atol=1e-7)
    assert float(loss.total) < 0


def test_joint_loss_mixes_cross_entropy_and_ngrams_and_begins_with_three_times_the_weight(toy, model):
    options = BagOfNgrams.Options(cross_entropy_weight=0.1, cross_entropy_steps=30, length_weight=0.0)
    assert [options.weight(step) for step in (0, 29, 30, EVALUATION_STEP)] == pytest.approx([0.3, 0.3, 0.1, 0.1])
    method, alone = BagOfNgrams(options, model.config), BagOfNgrams(BagOfNgrams.Options(), model.config)
    cmlm = CMLM(CMLM.Options(mask_policy="full", label_smoothing=0.0), model.config)
    for step, weight in ((0, 0.3), (30, 0.1)):
        batch = prepare(toy, method, step=step)
        token, ngrams = loss_of(cmlm, model, batch).parts["token"], loss_of(alone, model, batch).parts["ngrams"]
        torch.testing.assert_close(loss_of(method, model, batch).total, weight * token + (1 - weight) * ngrams)
    with pytest.raises(ValueError, match="cross_entropy_steps has no effect without"):
        BagOfNgrams.Options(cross_entropy_steps=5)


def test_similarity_is_added_to_the_cross_entropy_and_the_table_gets_no_gradient_from_it(toy, model):
    base = CMLM(CMLM.Options(mask_policy="full", length_weight=0.0), model.config)
    method = Similarity(Similarity.Options(similarity_weight=2.0, length_weight=0.0), model.config)
    batch = prepare(toy, method)
    loss, token = loss_of(method, model, batch), loss_of(base, model, batch)
    torch.testing.assert_close(loss.total.detach(), token.total.detach() + 2 * loss.parts["similarity"])
    states = model(**{k: v for k, v in batch.items() if k != "labels"}, output_hidden_states=True)
    hidden, is_token = states.decoder_last_hidden_state, batch["labels"] != -100
    embeddings = model.get_input_embeddings().weight[batch["labels"].clamp(min=0)]
    pairs = [
        1 + torch.cosine_similarity(hidden[b, t], hidden[b, t + 1], dim=0)
        * (1 - torch.cosine_similarity(embeddings[b, t], embeddings[b, t + 1], dim=0))
        for b in range(len(hidden)) for t in range(hidden.shape[1] - 1) if is_token[b, t] and is_token[b, t + 1]
    ]  # fmt: skip
    assert method.count(batch)["pairs"] == len(pairs)
    torch.testing.assert_close(loss.parts["similarity"], torch.stack(pairs).mean().detach())


def test_only_models_for_several_passes_are_left_open_to_partly_shown_targets(toy, model):
    for kind, is_one_pass in ((OAXE, True), (AXE, True), (BagOfNgrams, True), (Similarity, True), (CMLM, False)):
        model.generation_config.num_iterations = 10
        kind(kind.Options(), model.config).configure(model)
        assert model.config.masks_alone is is_one_pass
        assert (model.generation_config.num_iterations == 1) is is_one_pass
