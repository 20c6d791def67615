# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Distillation of Imputers: masks, blocks and labels, both kinds of loss, defaults, U-DiMS and rounds."""

from __future__ import annotations

import copy
import logging

import pytest
import torch

from dims_hf import DiMSTrainer, dims_loss, imputer_dims_loss, roll_out_teacher
from dims_hf.methods.base import Run
from dims_hf.models.alignment import collapse_alignment


def collate(trainer, rows):
    return trainer.data_collator([trainer.train_dataset[row] for row in rows])


def mean(values):
    return sum(values) / len(values)


def test_defaults_are_a_fixed_teacher_block_masks_and_no_hidden_loss(make_imputer_dims_trainer, make_dims_trainer):
    args = make_imputer_dims_trainer().args
    assert (args.ema_decay, args.hidden_weight, args.mask_policy, args.length_weight) == (None, 0.0, "block", 0.0)
    assert (args.teacher_iterations, args.imputer_labels) == (2, "hard")
    args = make_imputer_dims_trainer(ema_decay=0.9992, hidden_weight=0.7).args
    assert (args.ema_decay, args.hidden_weight) == (0.9992, 0.7)
    args = make_dims_trainer().args
    assert (args.ema_decay, args.hidden_weight, args.mask_policy, args.length_weight) == (0.9992, 0.7, "uniform", 0.1)


@pytest.mark.parametrize(("policy", "sizes"), [("block", {4, 8, 16}), ("full", {2}), ("uniform", None)])
def test_blocks_fit_the_masks_of_each_policy(make_imputer_dims_trainer, policy, sizes):
    trainer = make_imputer_dims_trainer(mask_policy=policy)
    inputs = trainer.mask(collate(trainer, range(40)), 1)
    found = set(inputs["block_sizes"].tolist())
    assert found == (sizes or {inputs["decoder_input_ids"].shape[1] + 1})
    if policy == "full":
        assert torch.equal(inputs["is_masked"], inputs["decoder_attention_mask"])
    assert (inputs["is_masked"].sum(dim=1) >= (2 if policy == "block" else 1)).all()


@pytest.mark.parametrize("policy", ["block", "full", "uniform"])
def test_labels_of_a_sentence_do_not_change_with_the_batch(make_imputer_dims_trainer, trained_imputer, policy):
    trainer = make_imputer_dims_trainer(mask_policy=policy)

    def label(rows):
        inputs = trainer.mask(collate(trainer, rows), 1)
        tokens = trainer.method.reveal(Run.of(trainer.model), inputs, trained_imputer).tokens
        labels = roll_out_teacher(
            trained_imputer,
            inputs["input_ids"],
            inputs["attention_mask"],
            tokens,
            num_iterations=2,
            block_sizes=inputs["block_sizes"],
        )
        frames = inputs["decoder_attention_mask"].sum(dim=1).tolist()
        revealed = labels.partial_tokens[0]
        return [
            (labels.tokens[row, :count].tolist(), revealed[row, :count].tolist()) for row, count in enumerate(frames)
        ]

    assert label(range(24)) == [label([row])[0] for row in range(24)]


def test_teacher_that_writes_blanks_alone_teaches_the_empty_target(make_imputer_dims_trainer, trained_imputer):
    teacher, blank = copy.deepcopy(trained_imputer), trained_imputer.config.blank_token_id
    with torch.no_grad():
        teacher.model.decoder.layers[-1].final_layer_norm.bias[0] = 100.0
        teacher.lm_head.weight[blank, 0] = 100.0
    trainer = make_imputer_dims_trainer(teacher=teacher, mask_policy="full")
    inputs = trainer.mask(collate(trainer, range(4)), 0)
    loss = trainer.objective(trainer.model, inputs)
    loss.total.backward()
    is_frame = inputs["decoder_attention_mask"]
    with torch.no_grad():
        source = (inputs["input_ids"], inputs["attention_mask"])
        logits = trainer.model(*source, inputs["decoder_input_ids"], is_frame).logits
    assert loss.total.item() == pytest.approx(-logits.log_softmax(dim=-1)[is_frame][:, blank].mean().item(), abs=1e-5)


def test_corpus_is_warned_of_wholly_masked_references_and_never_refused(make_imputer_dims_trainer, toy, caplog):
    pairs = toy.train.to_list()
    for pair in pairs[:60]:
        pair["labels"] = [0, *[9, 8] * len(pair["input_ids"]), 9, 2]
    unfit = type(toy.train).from_list(pairs)
    with caplog.at_level(logging.WARNING):
        make_imputer_dims_trainer(unsupervised=True).check_corpus(unfit)
        assert not caplog.records
        make_imputer_dims_trainer().check_corpus(unfit)
    assert "60 of 90 targets (66.67 %) need more than 2 frames" in caplog.text
    assert "they are masked wholly" in caplog.text


def test_reference_that_does_not_fit_is_masked_wholly_and_not_skipped(make_imputer_dims_trainer):
    trainer = make_imputer_dims_trainer()
    rows = [dict(row) for row in trainer.train_dataset.select(range(3))]
    rows[0]["labels"] = [0, *[9, 8] * len(rows[0]["input_ids"]), 9, 2]
    inputs = trainer.mask(trainer.data_collator(rows), 0)
    assert torch.equal(inputs["is_masked"][0], inputs["decoder_attention_mask"][0])
    items = trainer.method.count(inputs)
    assert items["frames"] == int(inputs["decoder_attention_mask"].sum())
    loss = trainer.objective(trainer.model, inputs)
    assert torch.isfinite(loss.total) and "skipped" not in loss.parts


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_first_loss_is_the_objective_of_the_first_update(make_imputer_dims_trainer, trained_imputer, labels):
    trainer = make_imputer_dims_trainer(max_steps=1, teacher_iterations=3, imputer_labels=labels, hidden_weight=0.4)
    trainer.get_train_dataloader()
    inputs = trainer.mask(collate(trainer, next(iter(trainer.train_batch_sampler))), 0)
    trainer.train()
    revealed = trainer.method.reveal(Run.of(trainer.model), inputs, trained_imputer)
    source = (inputs["input_ids"], inputs["attention_mask"])
    rolled = roll_out_teacher(
        trained_imputer, *source, revealed.tokens, num_iterations=3, block_sizes=inputs["block_sizes"]
    )
    is_masked, is_frame = inputs["is_masked"], inputs["decoder_attention_mask"]
    with torch.no_grad():
        outputs = trained_imputer(*source, revealed.tokens, is_frame, output_hidden_states=True)
    hidden = (outputs.decoder_last_hidden_state, rolled.hidden_states, is_masked)
    if labels == "soft":
        loss = dims_loss(outputs.logits, rolled.logits, *hidden, hidden_weight=0.4)
    else:
        ids, lengths = trained_imputer.config, is_frame.sum(dim=1)
        targets, target_lengths = collapse_alignment(
            rolled.tokens, lengths, blank_token_id=ids.blank_token_id, pad_token_id=1
        )
        loss = imputer_dims_loss(
            outputs.logits, targets, lengths, target_lengths, *hidden, blank_token_id=ids.blank_token_id,
            hidden_weight=0.4,
        )  # fmt: skip
    (entry,) = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert entry["loss"] == pytest.approx(loss.total.item(), abs=1e-5)
    assert {name: entry[name] for name in loss.parts} == pytest.approx(
        {name: part.item() for name, part in loss.parts.items()}, abs=1e-5
    )
    assert entry["hidden"] > 0 and "length" not in entry


@pytest.mark.parametrize(
    "settings", [{}, {"imputer_labels": "soft"}, {"ema_decay": 0.9, "hidden_weight": 0.1}, {"mask_policy": "full"}]
)
def test_distillation_lowers_the_loss_and_only_an_average_moves_the_teacher(
    make_imputer_dims_trainer, trained_imputer, largest_difference, settings
):
    trainer = make_imputer_dims_trainer(max_steps=30, learning_rate=3e-3, **settings)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert mean(losses[-6:]) < 0.9 * mean(losses[:6])
    assert largest_difference(trainer.model, trained_imputer) > 0
    assert (largest_difference(trainer.teacher, trained_imputer) > 0) is ("ema_decay" in settings)
    assert trainer.model.generation_config.num_iterations == 1


def test_unsupervised_targets_are_the_teachers_collapsed_translations(make_imputer_dims_trainer, toy):
    trainer = make_imputer_dims_trainer(unsupervised=True, max_steps=3)
    batch = collate(trainer, range(8))
    inputs = trainer.mask(dict(batch), 0)
    translations = trainer.teacher.generate(batch["input_ids"], batch["attention_mask"], num_iterations=2)
    for row, translation in enumerate(translations):
        kept = inputs["labels"][row][inputs["labels"][row] != -100]
        assert kept.tolist() == translation[translation > 4].tolist()
    trainer.train_dataset = toy.train.remove_columns("labels")
    trainer.train()
    assert trainer.state.global_step == 3


def test_rounds_go_on_from_the_student(make_imputer_dims_trainer, trained_imputer, largest_difference):
    trainer = make_imputer_dims_trainer(rounds=2, max_steps=2)
    trainer.train()
    assert trainer.state.global_step == 4 and largest_difference(trainer.model, trained_imputer) > 0


def test_teacher_of_another_family_or_ratio_is_refused(make_imputer_dims_trainer, trained_imputer, toy):
    with pytest.raises(ValueError, match="Student and teacher differ in vocab_size"):
        make_imputer_dims_trainer(teacher=toy.model)
    teacher = copy.deepcopy(trained_imputer)
    teacher.config.upsample_ratio = 3
    with pytest.raises(ValueError, match="Student and teacher differ in upsample_ratio: 2 and 3"):
        make_imputer_dims_trainer(teacher=teacher)
    assert DiMSTrainer


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"imputer_labels": "some"}, "imputer_labels must be one of hard, soft, got 'some'"),
        ({"ctc_steps": 4}, "ctc_steps=4 has no effect here: it belongs to the training of imputer teachers"),
        ({"objective": "ctc"}, "method=ctc trains teachers. For students, use one of dims, dims_imputer"),
        ({"length_weight": 0.1}, "length_weight does not apply to Imputers"),
        ({"temperature": 0.5}, "temperature has no effect on hard labels"),
        ({"student_temperature": 2.0}, "student_temperature has no effect on hard labels"),
    ],
)
def test_settings_without_effect_or_sense_are_refused(make_imputer_dims_trainer, settings, message):
    with pytest.raises(ValueError, match=message):
        make_imputer_dims_trainer(**settings)


def test_labels_of_imputers_are_refused_for_other_families(make_dims_trainer):
    with pytest.raises(
        ValueError,
        match="imputer_labels='soft' has no effect here: it belongs to the training of dims_imputer students",
    ):
        make_dims_trainer(imputer_labels="soft")


def test_divergence_belongs_to_soft_labels():
    from dims_hf.methods.dims_imputer import DiMSImputer

    with pytest.raises(ValueError, match="divergence has no effect on hard labels"):
        DiMSImputer.Options(divergence="jeffreys")
    assert DiMSImputer.Options(divergence="jeffreys", imputer_labels="soft").divergence == "jeffreys"


@pytest.mark.parametrize("mask_policy", ["block", "full"])
def test_options_of_distillation_train_an_imputer(make_imputer_dims_trainer, mask_policy):
    trainer = make_imputer_dims_trainer(
        mask_policy=mask_policy, imputer_labels="soft", divergence="total_variation", reveal_order="random",
        teacher_iterations=4, steps_ahead=2, hidden_weight=0.5, hidden_normalization="dimension", max_steps=2,
    )  # fmt: skip
    trainer.train()
    (first, second) = (entry for entry in trainer.state.log_history if "loss" in entry)
    assert 0 <= first["total_variation"] <= 1 and first["hidden"] > 0 and second["loss"] > 0
