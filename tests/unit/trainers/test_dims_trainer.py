# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`DiMSTrainer` on a toy corpus: the student learns, the teacher follows, and each keeps to its role."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import load_file
from transformers import BartConfig, BartForConditionalGeneration

from dims_hf import DiMSTrainer, dims_loss, length_loss, roll_out_teacher
from dims_hf.trainers.dims_trainer import check_compatible, load_teacher


def entries_of(trainer):
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def test_distillation_lowers_the_loss_and_moves_every_parameter_of_both(make_dims_trainer, trained):
    trainer = make_dims_trainer(max_steps=50, ema_decay=0.99)
    trainer.train()
    losses = [entry["loss"] for entry in entries_of(trainer)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    start = dict(trained.named_parameters())
    for model in (trainer.model, trainer.teacher):
        still = [name for name, value in model.named_parameters() if torch.equal(value, start[name])]
        assert not still


def test_log_has_all_parts_and_their_sum_is_the_loss(make_dims_trainer):
    trainer = make_dims_trainer(max_steps=4, logging_steps=2, hidden_weight=0.4, length_weight=0.3)
    trainer.train()
    for entry in entries_of(trainer):
        assert entry["loss"] == pytest.approx(entry["kl"] + 0.4 * entry["hidden"] + 0.3 * entry["length"], rel=1e-5)
        assert 0 <= entry["accuracy"] <= 1 and entry["target_tokens_per_second"] > 0


def test_first_loss_is_the_objective_of_the_first_update(make_dims_trainer, trained, toy):
    trainer = make_dims_trainer(max_steps=1, teacher_iterations=3)
    trainer.get_train_dataloader()
    rows = next(iter(trainer.train_batch_sampler))
    trainer.train()
    batch = trainer.mask(trainer.data_collator([toy.train[row] for row in rows]), 0)
    inputs = {name: batch[name] for name in batch if name != "labels"}
    labels = roll_out_teacher(
        trained, batch["input_ids"], batch["attention_mask"], batch["decoder_input_ids"], num_iterations=3
    )
    outputs = trained(**inputs, return_length_logits=True, output_hidden_states=True)
    is_masked = batch["labels"] != -100
    loss = dims_loss(
        outputs.logits, labels.logits, outputs.decoder_last_hidden_state, labels.hidden_states, is_masked,
        temperature=0.5, hidden_weight=0.7,
    )  # fmt: skip
    length = length_loss(outputs.length_logits, batch["decoder_attention_mask"].sum(dim=1))
    (entry,) = entries_of(trainer)
    assert entry["kl"] == pytest.approx(loss.parts["kl"].item(), abs=1e-5)
    assert entry["hidden"] == pytest.approx(loss.parts["hidden"].item(), abs=1e-5)
    assert entry["loss"] == pytest.approx((loss.total + 0.1 * length.total).item(), abs=1e-5)


@pytest.mark.parametrize("disable_dropout", [True, False])
def test_student_forward_has_dropout_only_when_asked(make_dims_trainer, disable_dropout):
    trainer = make_dims_trainer(max_steps=2, dropout=0.3, disable_dropout=disable_dropout)
    seen = []
    hook = trainer.model.register_forward_pre_hook(
        lambda model, _: seen.append({module.training for module in model.modules()})
    )
    trainer.train()
    hook.remove()
    assert seen == [{not disable_dropout}] * 2


def test_disabled_dropout_makes_the_rate_irrelevant(make_dims_trainer, largest_difference):
    trainers = [make_dims_trainer(dropout=dropout) for dropout in (0.0, 0.5)]
    active = make_dims_trainer(dropout=0.5, disable_dropout=False)
    for trainer in (*trainers, active):
        trainer.train()
    assert largest_difference(trainers[0].model, trainers[1].model) == 0
    assert largest_difference(trainers[0].model, active.model) > 1e-4


def test_teacher_stays_in_evaluation_mode_without_gradient(make_dims_trainer):
    trainer = make_dims_trainer(max_steps=3, dropout=0.3, disable_dropout=False)
    modes = []
    hook = trainer.teacher.model.decoder.register_forward_pre_hook(
        lambda module, _: modes.append((module.training, torch.is_grad_enabled()))
    )
    trainer.train()
    hook.remove()
    assert modes == [(False, False)] * 6  # three updates of two passes
    assert all(value.grad is None and not value.requires_grad for value in trainer.teacher.parameters())


def test_teacher_is_the_moving_average_of_the_students(make_dims_trainer, trained):
    trainer = make_dims_trainer(max_steps=4, ema_decay=0.9)
    students = []
    hook = trainer.model.register_forward_pre_hook(lambda model, _: students.append(copy.deepcopy(model.state_dict())))
    trainer.train()
    hook.remove()
    expected = {name: value.clone() for name, value in trained.state_dict().items()}
    for student in (*students[1:], trainer.model.state_dict()):  # the student after each update
        expected = {name: 0.9 * value + 0.1 * student[name] for name, value in expected.items()}
    for name, value in trainer.teacher.state_dict().items():
        torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=1e-5)


def test_teacher_moves_once_per_update_whatever_the_accumulation(make_dims_trainer, largest_difference):
    trainers = []
    for budget, accumulation in ((256, 1), (64, 4)):
        trainer = make_dims_trainer(
            ema_decay=0.5, max_tokens_per_batch=budget, gradient_accumulation_steps=accumulation
        )
        trainer.train()
        trainers.append(trainer)
    assert largest_difference(*(trainer.teacher for trainer in trainers), up_to_rounding=True) <= 1e-6


def test_teacher_does_not_follow_an_update_that_the_scaler_skipped(make_dims_trainer, monkeypatch, trained):
    from accelerate.optimizer import AcceleratedOptimizer

    monkeypatch.setattr(AcceleratedOptimizer, "step_was_skipped", True)
    trainer = make_dims_trainer(max_steps=2, ema_decay=0.5)
    trainer.train()
    start = dict(trained.named_parameters())
    assert all(torch.equal(value, start[name]) for name, value in trainer.teacher.named_parameters())


@pytest.mark.parametrize("ema_decay", [None, 1.0])
def test_fixed_teacher_does_not_move(make_dims_trainer, trained, largest_difference, ema_decay):
    trainer = make_dims_trainer(ema_decay=ema_decay)
    trainer.train()
    assert largest_difference(trainer.teacher, trained) == 0
    assert largest_difference(trainer.model, trained) > 0


def test_teacher_is_neither_in_the_optimiser_nor_in_the_saved_student(make_dims_trainer, tmp_path):
    trainer = make_dims_trainer(max_steps=2, save_strategy="steps", save_steps=2)
    trainer.train()
    optimised = {value.data_ptr() for group in trainer.optimizer.param_groups for value in group["params"]}
    assert optimised == {value.data_ptr() for value in trainer.model.parameters()}
    saved = load_file(tmp_path / "run" / "checkpoint-2" / "model.safetensors")
    assert len(saved) == len(list(trainer.model.parameters()))
    teacher = load_file(tmp_path / "run" / "checkpoint-2" / "ema_teacher" / "model.safetensors")
    assert all(torch.equal(value, dict(trainer.teacher.named_parameters())[name]) for name, value in teacher.items())


def test_training_leaves_the_given_teacher_alone(make_dims_trainer, trained):
    teacher = copy.deepcopy(trained)
    make_dims_trainer(teacher=teacher, ema_decay=0.5).train()
    start = dict(trained.named_parameters())
    assert all(torch.equal(value, start[name]) for name, value in teacher.named_parameters())


def test_student_decodes_in_one_pass_and_its_teacher_as_before(make_dims_trainer, trained, tmp_path):
    trained = copy.deepcopy(trained)
    trained.generation_config.num_iterations = 4
    example = make_dims_trainer()
    trainer = DiMSTrainer(trained, None, example.args, train_dataset=example.train_dataset)
    trainer.save_model(tmp_path / "student")
    assert type(trained).from_pretrained(tmp_path / "student").generation_config.num_iterations == 1
    assert trainer.teacher.generation_config.num_iterations == 4


def test_teacher_may_be_a_folder(make_dims_trainer, trained, tmp_path, largest_difference):
    trained.save_pretrained(tmp_path / "teacher")
    for teacher in (str(tmp_path / "teacher"), tmp_path / "teacher"):
        trainer = make_dims_trainer(teacher=teacher)
        assert largest_difference(trainer.teacher, trained) == 0
        assert trainer.teacher is not trainer.model


def test_reference_token_that_is_the_mask_id_has_no_label(make_dims_trainer):
    trainer = make_dims_trainer()
    batch = trainer.mask(trainer.data_collator([trainer.train_dataset[row] for row in range(8)]), 0)
    poisoned = dict(batch, labels=batch["labels"].clone())
    first = torch.nonzero(batch["labels"] != -100)[0]
    poisoned["labels"][tuple(first)] = -100
    loss = trainer.objective(trainer.model, poisoned)
    count = int((batch["labels"] != -100).sum())
    whole = trainer.objective(trainer.model, batch)
    assert loss.parts["kl"] != whole.parts["kl"]
    # Without a mean, the dropped token is missing and nothing else changes.
    one = {"tokens": 1, "sentences": 1}
    summed = [trainer.objective(trainer.model, each, one).parts["kl"] for each in (poisoned, batch)]
    assert summed[0] < summed[1] and summed[1].item() / count == pytest.approx(whole.parts["kl"].item(), rel=1e-5)


@pytest.mark.parametrize("path", ["./missing/teacher", "/missing/teacher", "missing", "runs/teacher"])
def test_teacher_path_that_does_not_exist_is_refused_with_the_fix(make_dims_trainer, path):
    with pytest.raises(ValueError, match=f"The teacher path '{path}' does not exist.*train_teacher.py"):
        make_dims_trainer(teacher=path)


def test_teacher_in_the_home_folder_is_found(trained, tmp_path, monkeypatch, largest_difference):
    monkeypatch.setenv("HOME", str(tmp_path))
    trained.save_pretrained(tmp_path / "teacher")
    assert largest_difference(load_teacher("~/teacher"), trained) == 0


@pytest.mark.parametrize("field", ["vocab_size", "d_model"])
def test_incompatible_teacher_is_refused_by_the_first_difference(trained, field):
    config = copy.deepcopy(trained.config)
    setattr(config, field, getattr(config, field) + 2)
    teacher = type(trained)(config)
    with pytest.raises(
        ValueError, match=f"Student and teacher differ in {field}: .*Start the student from the teacher"
    ):
        check_compatible(trained, teacher)


def test_teacher_of_another_family_is_refused(trained, tmp_path, toy, make_dims_trainer):
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    bart = BartForConditionalGeneration(
        BartConfig(vocab_size=len(toy.tokenizer), encoder_attention_heads=2, decoder_attention_heads=2,
                   max_position_embeddings=8, **sizes)
    )  # fmt: skip
    with pytest.raises(ValueError, match="is no non-autoregressive model of this package"):
        make_dims_trainer(teacher=bart)
    assert DiMSTrainer


def test_constant_teacher_is_named_before_the_first_update(toy, make_dims_trainer, caplog):
    teacher = copy.deepcopy(toy.model)
    with torch.no_grad():  # one token everywhere
        teacher.model.decoder.layers[-1].final_layer_norm.bias[0] = 100.0
        teacher.lm_head.weight[9, 0] = 100.0
    trainer = make_dims_trainer(start=teacher, evaluates=True, eval_strategy="steps", eval_steps=1, max_steps=3)
    trainer.train()  # does not stop: the student is no worse than its teacher
    assert "of the teacher's own translations differ, before any update: the trouble is the teacher" in caplog.text
