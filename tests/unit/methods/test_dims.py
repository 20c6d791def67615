# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Options of distillation beyond the paper: divergence, hidden distance, reveal order, steps ahead, glance masks."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from dims_hf import DiMSConfig, preset_values
from dims_hf.data import TranslationCollator
from dims_hf.distillation import roll_out_teacher
from dims_hf.methods.base import Run
from dims_hf.methods.dims import DiMS
from dims_hf.methods.masks import EVALUATION_STEP, mix_keys, sample_reveal_scores
from dims_hf.objectives import DIVERGENCES, ProjectedVocabulary


@pytest.fixture
def models(toy):
    """A student and a teacher that differ."""
    student, teacher = (copy.deepcopy(toy.model).eval() for _ in range(2))
    for number, model in enumerate((student, teacher)):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    return student, teacher


def prepare(toy, method, rows=range(10), step=0):
    given = TranslationCollator(method.config.pad_token_id)([toy.train[row] for row in rows])
    return method.prepare(given, mix_keys(1, step, given["index"]), step)


def loss_of(toy, models, rows=range(10), step=0, **options):
    student, teacher = models
    method = DiMS(DiMS.Options(length_weight=0.0, **options), student.config, num_updates=100)
    batch = prepare(toy, method, rows, step)
    return method.loss(Run.of(student), batch, method.count(batch), teacher)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_divergence_is_that_between_the_models_labels(toy, models, name):
    student, teacher = models
    loss = loss_of(toy, models, divergence=name, hidden_weight=0.0, teacher_iterations=1, mask_policy="full")
    batch = prepare(toy, DiMS(DiMS.Options(mask_policy="full"), student.config))
    is_masked = batch["labels"] != -100
    inputs = {key: batch[key] for key in batch if "decoder" in key or key in ("input_ids", "attention_mask")}
    ours, theirs = (model(**inputs).logits[is_masked] for model in models)
    expected = DIVERGENCES[name](ours.log_softmax(dim=-1), (theirs / 0.5).log_softmax(dim=-1)).mean()
    torch.testing.assert_close(loss.total, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(loss.parts[name], expected.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("squared", "factor"), [(False, math.sqrt(16)), (True, 16)])
def test_normalised_distance_is_that_per_dimension(toy, models, squared, factor):
    plain, normalised = (
        loss_of(toy, models, hidden_squared=squared, hidden_normalization=name) for name in ("none", "dimension")
    )
    torch.testing.assert_close(normalised.parts["hidden"] * factor, plain.parts["hidden"])
    torch.testing.assert_close(
        (plain.total - normalised.total).detach(), 0.7 * (plain.parts["hidden"] - normalised.parts["hidden"])
    )


def test_random_order_depends_on_the_sentence_alone_and_is_what_the_teacher_reveals_by(toy, models, monkeypatch):
    seen = {}

    def watch(*args, reveal_scores=None, **options):
        seen["scores"] = reveal_scores
        return roll_out_teacher(*args, reveal_scores=reveal_scores, **options)

    monkeypatch.setattr("dims_hf.methods.base.roll_out_teacher", watch)
    loss_of(toy, models)
    assert seen["scores"] is None
    loss_of(toy, models, reveal_order="random")
    whole = seen["scores"]
    assert whole.shape[0] == 10 and (whole < 0).all() and whole.unique().numel() > 30
    loss_of(toy, models, rows=range(3, 4), reveal_order="random")
    assert torch.equal(seen["scores"][0], whole[3, : seen["scores"].shape[1]])


def test_all_random_orders_are_equally_likely():
    is_content = torch.ones(6000, 3, dtype=torch.bool)
    order = sample_reveal_scores(is_content, mix_keys(torch.arange(6000))).argsort(dim=1)
    counts = torch.unique(order, dim=0, return_counts=True)[1]
    assert len(counts) == 6 and (counts - 1000).abs().max() < 150


def test_steps_ahead_are_the_passes_made(toy, models, monkeypatch):
    passes = []
    decoder = models[1].model.decoder
    forward = decoder.forward
    monkeypatch.setattr(decoder, "forward", lambda *args, **kwargs: (passes.append(1), forward(*args, **kwargs))[1])
    loss_of(toy, models, teacher_iterations=6, steps_ahead=2)
    assert len(passes) == 2
    with pytest.raises(ValueError, match="steps_ahead=3 exceeds teacher_iterations=2"):
        DiMS.Options(steps_ahead=3)


def test_glance_masks_hide_what_is_not_shown_and_the_mean_is_over_all_tokens(toy, models, monkeypatch):
    student, _ = models
    options = {"mask_policy": "glance", "glancing_ratio": 1.0, "hidden_weight": 0.0}
    method = DiMS(DiMS.Options(**options), student.config, num_updates=100)
    batch = prepare(toy, method)
    is_content = batch["labels"] != -100
    assert torch.equal(batch["decoder_input_ids"] == student.config.mask_token_id, is_content)
    assert method.count(batch)["tokens"] == int(is_content.sum())
    glanced = method.glance(Run.of(student), batch)
    is_shown = is_content & (glanced["labels"] == -100)
    wrong = method.fill_masks(Run.of(student), batch) != batch["labels"]
    assert torch.equal(is_shown.sum(dim=1), (wrong & is_content).sum(dim=1))
    seen = []
    monkeypatch.setattr(
        "dims_hf.methods.base.roll_out_teacher",
        lambda *args, **kwargs: (seen.append(args[3]), roll_out_teacher(*args, **kwargs))[1],
    )
    loss_of(toy, models, **options)
    assert torch.equal(seen[0], glanced["decoder_input_ids"])
    # validation shows nothing
    assert torch.equal(
        loss_of(toy, models, step=EVALUATION_STEP, **options).total,
        loss_of(toy, models, step=EVALUATION_STEP, mask_policy="full", hidden_weight=0.0).total,
    )


def test_student_that_is_right_is_shown_nothing(toy, models, monkeypatch):
    method = DiMS(DiMS.Options(mask_policy="glance"), models[0].config)
    batch = prepare(toy, method)
    right = batch["labels"][batch["decoder_input_ids"] == method.config.mask_token_id]
    monkeypatch.setattr(ProjectedVocabulary, "predict", lambda *_: right)
    assert torch.equal(method.glance(Run.of(models[0]), batch)["labels"], batch["labels"])


@pytest.mark.parametrize("setting", ["glancing_ratio", "glancing_final_ratio", "glancing_steps"])
def test_settings_of_glances_are_refused_on_other_masks(setting):
    with pytest.raises(ValueError, match=f"{setting} has no effect on uniform masks. Set mask_policy: glance"):
        DiMS.Options(**{setting: 1})


def test_teacher_of_masks_alone_starts_from_full_masks_or_labels_in_one_pass(make_dims_trainer, trained):
    teacher = copy.deepcopy(trained)
    teacher.config.masks_alone = True
    for settings in ({}, {"mask_policy": "glance"}):
        with pytest.raises(ValueError, match="trained on masks alone.*Use mask_policy: full"):
            make_dims_trainer(teacher=teacher, **settings)
    for settings in ({"mask_policy": "full"}, {"teacher_iterations": 1}):
        student = make_dims_trainer(teacher=teacher, **settings).model
        assert not student.config.masks_alone and student.generation_config.num_iterations == 1


def test_rounds_may_halve_the_teachers_passes(make_dims_trainer, monkeypatch, tmp_path):
    trainer = make_dims_trainer(
        rounds=4, teacher_iterations=8, steps_ahead=2, halve_iterations=True, ema_decay=None, max_steps=1
    )
    made, for_round = [], trainer.for_round
    monkeypatch.setattr(
        trainer, "for_round", lambda teacher, args: (made.append(args.teacher_iterations), for_round(teacher, args))[1]
    )
    trainer.train()
    assert made == [8, 4, 2, 2] and trainer.args.teacher_iterations == 8
    with pytest.raises(ValueError, match="halve_iterations has no effect on a single round"):
        DiMSConfig(output_dir=tmp_path, halve_iterations=True)


def test_sdtt_is_a_preset_that_trains(make_dims_trainer):
    values = {**preset_values("sdtt"), "max_steps": 2, "rounds": 2}
    trainer = make_dims_trainer(**values)
    options = trainer.method.options
    assert (options.divergence, options.reveal_order, options.steps_ahead) == ("reverse_kl", "random", 2)
    assert (options.label_mode, options.hidden_weight, options.temperature) == ("frozen", 0.0, 1.0)
    trainer.train()
    assert {entry["round"] for entry in trainer.state.log_history} == {1, 2}
    assert all("reverse_kl" in entry for entry in trainer.state.log_history if "loss" in entry)
