# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Hints and ENGINE: what they read of a frozen autoregressive model, and models that will not do."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSeq2SeqLM,
    BartConfig,
    BartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration as T5,
)

from dims_hf import NATTrainer, NATTrainingArguments
from dims_hf.data import TranslationCollator, save_tokenizer, train_tokenizer
from dims_hf.methods.autoregressive import AutoregressiveTeacher
from dims_hf.methods.base import Run
from dims_hf.methods.engine import ENGINE
from dims_hf.methods.hints import Hints
from dims_hf.methods.masks import mix_keys
from tests.fixtures.training import make_arguments


@pytest.fixture
def model(toy):
    model = copy.deepcopy(toy.model).eval()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
    return model


@pytest.fixture
def make(toy, model, autoregressive_folder):
    """A method over the toy model, ready to compute, and a batch."""

    def make_one(kind, **options):
        options = {"length_weight": 0.0, "autoregressive_teacher": str(autoregressive_folder), **options}
        method = kind(kind.Options(**options), model.config)
        method.configure(model)
        given = TranslationCollator(model.config.pad_token_id)([toy.train[row] for row in range(6)])
        return method, method.prepare(given, mix_keys(1, 0, given["index"]), 0)

    return make_one


def loss_of(method, model, batch):
    return method.loss(Run.of(model), batch, method.count(batch))


def student_log_probs(model, batch):
    """Rows of one sentence each: log-probabilities (n, V) at its content, and the positions."""
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    output = model(**inputs, output_hidden_states=True, output_attentions=True)
    return output, [
        output.logits[row, 1 : 1 + int((labels != -100).sum())].log_softmax(dim=-1)
        for row, labels in enumerate(batch["labels"])
    ]


@pytest.mark.parametrize(("reads", "scores"), [("softmax", "softmax"), ("straight_through", "straight_through")])
def test_energy_is_what_the_model_says_of_each_sentence_on_its_own(make, model, autoregressive_folder, reads, scores):
    method, batch = make(ENGINE, input_relaxation=reads, output_relaxation=scores)
    energy = AutoModelForSeq2SeqLM.from_pretrained(autoregressive_folder).eval()
    table, total, count = energy.get_input_embeddings().weight, 0.0, 0
    for row, log_probs in enumerate(student_log_probs(model, batch)[1]):
        probs = log_probs.exp()
        if reads == "straight_through":
            probs = torch.nn.functional.one_hot(probs.argmax(dim=-1), probs.shape[-1]).to(probs.dtype)
        is_source = batch["attention_mask"][row].bool()
        read = torch.cat([table[[energy.config.decoder_start_token_id]], probs @ table]).unsqueeze(0)
        logits = energy(
            input_ids=batch["input_ids"][row, is_source].unsqueeze(0), decoder_inputs_embeds=read, use_cache=False
        ).logits[0].log_softmax(dim=-1)  # fmt: skip
        total = total - (probs * logits[:-1]).sum() - logits[-1, model.config.eos_token_id]
        count += len(logits)
    loss = loss_of(method, model, batch)
    torch.testing.assert_close(loss.total, total / count, rtol=1e-4, atol=1e-5)


def test_gradient_of_the_energy_goes_through_what_was_read_and_never_to_the_frozen_model(make, model):
    method, batch = make(ENGINE)
    loss_of(method, model, batch).total.backward()
    assert model.model.shared.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in method.teacher.model.parameters())
    with_reading = model.model.shared.weight.grad.clone()
    model.zero_grad()
    method.teacher.read = lambda *args: AutoregressiveTeacher.read(method.teacher, *(each.detach() for each in args))
    loss_of(method, model, batch).total.backward()
    assert (model.model.shared.weight.grad - with_reading).abs().max() > 1e-6


def test_cross_entropy_may_stand_beside_the_energy(make, model):
    method, batch = make(ENGINE)
    energy = loss_of(method, model, batch).total.detach()
    both, _ = make(ENGINE, cross_entropy_weight=0.5)
    loss = loss_of(both, model, batch)
    torch.testing.assert_close(loss.total.detach(), energy + 0.5 * loss.parts["token"])


def test_hints_compare_the_states_that_predict_and_stand_at_the_same_token(make, model, autoregressive_folder):
    thresholds = {"student_threshold": 0.2, "teacher_threshold": 0.9}
    method, batch = make(Hints, **thresholds)
    teacher = AutoModelForSeq2SeqLM.from_pretrained(autoregressive_folder, attn_implementation="eager").eval()
    output, _ = student_log_probs(model, batch)
    hidden, attention, pairs, positions = 0.0, 0.0, 0, 0
    for row, labels in enumerate(batch["labels"]):
        tokens = labels[labels != -100]
        source = batch["input_ids"][row, batch["attention_mask"][row].bool()]
        theirs = teacher(
            input_ids=source.unsqueeze(0), decoder_input_ids=torch.tensor([[0, *tokens[:-1]]]),
            output_hidden_states=True, output_attentions=True,
        )  # fmt: skip
        ours_states, their_states = (
            output.decoder_hidden_states[1][row, 1 : 1 + len(tokens)],
            theirs.decoder_hidden_states[1][0],
        )
        for s in range(len(tokens)):
            for t in range(s + 1, len(tokens)):
                pairs += 1
                alike = torch.cosine_similarity(ours_states[s], ours_states[t], dim=0)
                if alike >= 0.2 and torch.cosine_similarity(their_states[s], their_states[t], dim=0) <= 0.9:
                    hidden = hidden - torch.log(1 - alike)
        mine = output.cross_attentions[0][row, :, 1 : 1 + len(tokens), : len(source)]
        p = theirs.cross_attentions[0][0]
        attention = attention + (p * (p.log() - mine.log())).sum()
        positions += p.shape[0] * p.shape[1]
    loss = loss_of(method, model, batch)
    assert method.count(batch)["state_pairs"] == pairs and bool(hidden > 0)
    torch.testing.assert_close(loss.parts["hidden_hint"], hidden.detach() / pairs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss.parts["attention_hint"], attention.detach() / positions, rtol=1e-4, atol=1e-5)
    expected = loss.parts["token"] + 5 * loss.parts["hidden_hint"] + loss.parts["attention_hint"]
    torch.testing.assert_close(loss.total.detach(), expected)


def test_embeddings_of_other_architectures_are_scaled_as_theirs(toy):
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    for scale in (True, False):
        config = BartConfig(
            vocab_size=30, scale_embedding=scale, encoder_attention_heads=2, decoder_attention_heads=2,
            max_position_embeddings=30, **sizes,
        )  # fmt: skip
        teacher = AutoregressiveTeacher(BartForConditionalGeneration(config))
        ids = torch.tensor([[2, 5, 6, 7]])
        direct, embedded = (
            teacher.read(ids, torch.ones_like(ids), prefix).last_hidden_state
            for prefix in (ids, teacher.embedding[ids])
        )
        torch.testing.assert_close(direct, embedded)


def test_models_that_will_not_do_are_refused(toy, model, make, tmp_path, autoregressive_folder):
    with pytest.raises(ValueError, match="autoregressive_teacher is missing.*train_autoregressive"):
        make(ENGINE, autoregressive_teacher=None)
    with pytest.raises(ValueError, match="is no model that could be loaded"):
        make(ENGINE, autoregressive_teacher=str(tmp_path))
    toy.model.save_pretrained(tmp_path / "cmlm")
    with pytest.raises(ValueError, match="is not autoregressive"):
        make(ENGINE, autoregressive_teacher=str(tmp_path / "cmlm"))
    small = T5Config(
        vocab_size=model.config.vocab_size, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2,
        decoder_start_token_id=0, bos_token_id=0, pad_token_id=1, eos_token_id=2,
    )  # fmt: skip
    T5(small).save_pretrained(tmp_path / "t5")
    with pytest.raises(ValueError, match="T5ForConditionalGeneration computes its logits in another way"):
        make(ENGINE, autoregressive_teacher=str(tmp_path / "t5"))
    model.config.decoder_layers = 2
    with pytest.raises(ValueError, match="decoder_layers is 2 here, 1 in the autoregressive model"):
        make(Hints)
    model.config.decoder_layers = 1
    model.set_attn_implementation("sdpa")
    with pytest.raises(ValueError, match="Set attn_implementation: eager"):
        make(Hints)


def test_other_tokenizer_is_refused_before_training(toy, tmp_path, autoregressive_folder):
    other = train_tokenizer(["zwei drei vier", "two three four"], vocab_size=60, max_length=24)
    folder = tmp_path / "other"
    AutoModelForSeq2SeqLM.from_pretrained(autoregressive_folder).save_pretrained(folder)
    save_tokenizer(other, folder)
    args = make_arguments(NATTrainingArguments, tmp_path / "run", method="engine", autoregressive_teacher=str(folder))
    with pytest.raises(ValueError, match="does not match the teacher's"):
        NATTrainer(copy.deepcopy(toy.model), args, train_dataset=toy.train, processing_class=toy.tokenizer)


@pytest.mark.parametrize(("fault", "words"), [("nan", "hold NaN or infinite"), ("missing", "lacks the weights")])
def test_autoregressive_model_with_spoilt_weights_is_refused(toy, autoregressive_folder, tmp_path, fault, words):
    folder = Path(shutil.copytree(autoregressive_folder, tmp_path / "copy"))
    weights, name = load_file(folder / "model.safetensors"), "model.encoder.layers.0.fc1.weight"
    spoilt = weights.pop(name)
    if fault == "nan":
        weights[name] = torch.full_like(spoilt, torch.nan)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"{words}.*fc1.weight|fc1.weight {words}"):
        AutoregressiveTeacher.load(str(folder), toy.model.config)
