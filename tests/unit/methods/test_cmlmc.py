# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Training of CMLMC teachers and students: what is masked and replaced, the three passes, the loss they give."""

from __future__ import annotations

import copy

import pytest
import torch

from dims_hf import DiMSTrainer, roll_out_teacher
from dims_hf.methods import base
from dims_hf.methods.masks import EVALUATION_STEP


def entries_of(trainer):
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def first_batch(trainer, step=0):
    trainer.get_train_dataloader()
    rows = next(iter(trainer.train_batch_sampler))
    return trainer.mask(trainer.data_collator([trainer.train_dataset[row] for row in rows]), step)


def collate(trainer, rows):
    return trainer.data_collator([trainer.train_dataset[row] for row in rows])


# ---- inputs ----


@pytest.mark.parametrize("step", [0, 7, EVALUATION_STEP])
def test_masked_batch_replaces_revealed_content_and_masks_source_content(make_cmlmc_trainer, step):
    trainer = make_cmlmc_trainer()
    batch = collate(trainer, range(60))
    masked = trainer.mask(batch, step)
    is_content = batch["labels"] >= 5
    is_masked = masked["decoder_input_ids"] == 4
    is_replaced = masked["correction_labels"] != -100
    assert not (is_replaced & is_masked).any() and not (is_replaced & ~is_content).any()
    num_revealed = (is_content & ~is_masked).sum(dim=1)
    assert is_replaced.sum(dim=1).tolist() == [3 * int(n) // 10 for n in num_revealed]
    assert is_replaced.sum() > 10
    assert torch.equal(masked["correction_labels"][is_replaced], batch["labels"][is_replaced])
    is_source = masked["source_labels"] != -100
    num_source = (batch["input_ids"] >= 5).sum(dim=1)
    assert (is_source.sum(dim=1) >= 1).all() and (is_source.sum(dim=1) <= 1 + (num_source - 1) // 10).all()
    assert (batch["input_ids"][is_source] >= 5).all()
    assert (masked["input_ids"][is_source] == 4).all()
    assert torch.equal(masked["source_labels"][is_source], batch["input_ids"][is_source])
    assert torch.equal(masked["input_ids"][~is_source], batch["input_ids"][~is_source])


def test_draws_depend_on_step_and_index_but_not_on_the_batch(make_cmlmc_trainer):
    trainer = make_cmlmc_trainer()

    def drawn(rows, step=3):
        masked = trainer.mask(collate(trainer, rows), step)
        labels = [
            [row[row != -100].tolist() for row in masked[name]] for name in ("correction_labels", "source_labels")
        ]
        return dict(zip(rows, zip(*labels, strict=True), strict=True))

    whole = drawn(range(30))
    assert {**drawn(range(20, 30)), **drawn(range(19, -1, -1))} == whole
    torch.manual_seed(5)  # the global generator plays no part
    assert drawn(range(30)) == whole != drawn(range(30), step=4)


def test_mask_id_in_source_or_target_gives_no_loss_and_is_not_replaced(make_cmlmc_trainer):
    trainer = make_cmlmc_trainer(replace_fraction=1.0, encoder_mask_fraction=1.0)
    trainer.model.config.mask_token_id = 3  # as in imported models
    row = {"index": 0, "input_ids": [0, 3, 3, 2], "labels": [0, 3, 9, 3, 8, 3, 2]}
    masked = trainer.mask(trainer.data_collator([row]), 0)
    assert (masked["source_labels"] == -100).all()
    has_label = (masked["labels"] != -100) | (masked["correction_labels"] != -100)
    assert has_label.tolist() == [[False, False, True, False, True, False, False]]


def test_fractions_of_zero_switch_correction_and_source_masking_off(make_cmlmc_trainer):
    trainer = make_cmlmc_trainer(replace_fraction=0.0, encoder_mask_fraction=0.0, max_steps=2)
    items = trainer.method.count(first_batch(trainer))
    assert items["replaced"] == items["source_tokens"] == 0 < items["tokens"]
    trainer.train()
    assert all(entry["corrected"] == entry["encoder"] == 0 for entry in entries_of(trainer))


# ---- loss ----


@torch.no_grad()
def expected_parts(model, batch, reduction):
    """The loss of one batch sentence by sentence, through `forward` alone."""
    nll = {"masked": [], "corrected": [], "encoder": []}

    def add(name, logits, labels):
        kept = labels != -100
        smoothed = torch.nn.functional.cross_entropy(logits[kept], labels[kept], label_smoothing=0.1, reduction="none")
        nll[name] += smoothed.tolist()

    for row in range(len(batch["labels"])):
        length, is_source = int(batch["decoder_attention_mask"][row].sum()), batch["attention_mask"][row] == 1
        source, target = batch["input_ids"][row : row + 1, is_source], batch["decoder_input_ids"][row, :length]
        outputs = model(source, decoder_input_ids=target[None])
        add("masked", outputs.logits[0], batch["labels"][row, :length])
        states = outputs.encoder_last_hidden_state[0]
        add("encoder", states @ model.model.shared.weight.T, batch["source_labels"][row, is_source])
        from_masks = torch.tensor([0] + [4] * (length - 2) + [2])
        logits = model(source, decoder_input_ids=from_masks[None]).logits[0]
        logits[:, [0, 1, 2, 4]] = -torch.inf  # never predicted in decoding either
        labels = batch["correction_labels"][row, :length]
        replaced = torch.where(labels != -100, logits.argmax(dim=-1), target)
        add("corrected", model(source, decoder_input_ids=replaced[None]).logits[0], labels)
    means = {name: sum(values) / len(values) for name, values in nll.items()}
    both = nll["masked"] + nll["corrected"]
    joint, average = sum(both) / len(both), (means["masked"] + means["corrected"]) / 2
    return {**means, "token": joint if reduction == "joint" else average}


@pytest.mark.parametrize("reduction", ["joint", "average"])
def test_first_loss_is_the_objective_sentence_by_sentence(make_cmlmc_trainer, reduction):
    settings = {} if reduction == "joint" else {"correction_reduction": reduction}
    trainer = make_cmlmc_trainer(max_steps=1, encoder_loss_weight=0.5, **settings)
    model = copy.deepcopy(trainer.model).eval()
    batch = first_batch(trainer)
    trainer.train()
    (entry,) = entries_of(trainer)
    expected = expected_parts(model, batch, reduction)
    assert {name: entry[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    assert entry["loss"] == pytest.approx(entry["token"] + 0.5 * entry["encoder"] + 0.1 * entry["length"], rel=1e-5)


def test_three_decoder_passes_share_one_encoding_and_the_middle_one_has_no_gradient(make_cmlmc_trainer):
    trainer = make_cmlmc_trainer(max_steps=1)
    batch, seen, encodings = first_batch(trainer), [], []
    decoder, encoder = trainer.model.get_decoder(), trainer.model.get_encoder()
    decoder.register_forward_pre_hook(lambda _, arguments: seen.append((arguments[0], torch.is_grad_enabled())))
    encoder.register_forward_pre_hook(lambda *_: encodings.append(1))
    trainer.train()
    assert len(encodings) == 1
    (noisy, _), (from_masks, _), (replaced, _) = seen
    assert [has_gradient for _, has_gradient in seen] == [True, False, True]
    is_content, is_replaced = noisy >= 4, batch["correction_labels"] != -100
    assert torch.equal(noisy, batch["decoder_input_ids"])
    assert (from_masks[is_content] == 4).all() and torch.equal(from_masks[~is_content], noisy[~is_content])
    assert torch.equal(replaced[~is_replaced], noisy[~is_replaced]) and (replaced[is_replaced] >= 5).all()


def test_evaluation_loss_has_the_parts_of_training_and_repeats(make_cmlmc_trainer):
    trainer = make_cmlmc_trainer(evaluates=True, eval_iterations=[1, 3])
    metrics = trainer.evaluate()
    expected = metrics["eval_token"] + 0.01 * metrics["eval_encoder"] + 0.1 * metrics["eval_length"]
    assert metrics["eval_loss"] == pytest.approx(expected, rel=1e-6)
    assert metrics["eval_corrected"] > 0 and metrics["eval_masked"] > 0
    assert trainer.evaluate()["eval_loss"] == metrics["eval_loss"]


def test_training_lowers_all_parts_and_moves_every_parameter(make_cmlmc_trainer):
    trainer = make_cmlmc_trainer(max_steps=80, learning_rate=5e-3, encoder_loss_weight=1.0)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    entries = entries_of(trainer)
    for name in ("masked", "corrected", "encoder"):
        assert sum(entry[name] for entry in entries[-8:]) < 0.85 * sum(entry[name] for entry in entries[:8]), name
    still = [name for name, value in trainer.model.named_parameters() if torch.equal(value, before[name])]
    assert not still


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("correction_reduction", "average"),
        ("replace_fraction", 0.5),
        ("encoder_mask_fraction", 0.2),
        ("encoder_loss_weight", 0.1),
    ],
)
def test_options_of_cmlmc_are_refused_where_they_have_no_effect(
    make_teacher_trainer, make_dims_trainer, option, value
):
    for make in (make_teacher_trainer, make_dims_trainer):
        with pytest.raises(ValueError, match=f"{option}={value!r} has no effect here: it belongs .* cmlmc teachers"):
            make(**{option: value})


# ---- distillation ----


@pytest.fixture
def cmlmc_student_trainer(make_dims_trainer, toy):
    """A `DiMSTrainer` of a CMLMC student and teacher; keyword arguments of `make_dims_trainer`."""

    def make(**settings):
        example = make_dims_trainer(**settings)
        data = {"train_dataset": toy.train, "eval_dataset": toy.valid, "eval_corpus": toy.valid_text}
        student = copy.deepcopy(toy.models["cmlmc"])
        return DiMSTrainer(student, None, example.args, processing_class=toy.tokenizer, **data)

    return make


def test_cmlmc_student_learns_the_last_pass_of_its_teacher_on_whole_sources(cmlmc_student_trainer, monkeypatch, toy):
    calls = []

    def spy(teacher, input_ids, attention_mask, masked_ids, **settings):
        labels = roll_out_teacher(teacher, input_ids, attention_mask, masked_ids, **settings)
        last = roll_out_teacher(teacher, input_ids, attention_mask, masked_ids, **{**settings, "label_mode": "last"})
        calls.append((torch.equal(labels.logits, last.logits), bool((input_ids == 4).any())))
        return labels

    monkeypatch.setattr(base, "roll_out_teacher", spy)
    trainer = cmlmc_student_trainer(max_steps=30, teacher_iterations=3, ema_decay=None, learning_rate=3e-3)
    trainer.train()
    assert len(calls) == 30 and set(calls) == {(True, False)}
    losses = [entry["loss"] for entry in entries_of(trainer)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert "encoder" not in entries_of(trainer)[0]


def test_cmlmc_student_and_its_average_save_load_and_decode_in_one_pass(cmlmc_student_trainer, toy, tmp_path):
    trainer = cmlmc_student_trainer(max_steps=2, ema_decay=0.9, save_strategy="steps", save_steps=2)
    trainer.train()
    for folder in ("run/checkpoint-2", "run/checkpoint-2/ema_teacher"):
        model = type(trainer.model).from_pretrained(tmp_path / folder)
        assert model.config.update_all_positions and not model.config.scale_embedding
        assert model.config.model_type == "cmlmc"
    student = type(trainer.model).from_pretrained(tmp_path / "run" / "checkpoint-2")
    calls = []
    student.get_decoder().register_forward_hook(lambda *_: calls.append(1))
    assert student.generate(**toy.tokenizer(["one two"], return_tensors="pt")).shape[0] == 1
    assert len(calls) == 1
    assert trainer.evaluate(num_iterations=1)["eval_bleu_1"] >= 0
