# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Training of models that write alignments: what is masked, revealed and forced, the losses, what does not fit."""

from __future__ import annotations

import copy
import logging

import pytest
import torch

from dims_hf import imputer_loss
from dims_hf.methods.alignments import keep_content
from dims_hf.methods.base import Run
from dims_hf.methods.masks import EVALUATION_STEP
from dims_hf.models.alignment import best_alignment


def entries_of(trainer):
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def collate(trainer, rows):
    return trainer.data_collator([trainer.train_dataset[row] for row in rows])


def first_batch(trainer, step=0):
    trainer.get_train_dataloader()
    return trainer.mask(collate(trainer, next(iter(trainer.train_batch_sampler))), step)


def make_unfit(trainer, count):
    """Gives so many pairs of the trainer's data a target that is too long for its source."""
    rows = trainer.train_dataset.to_list()
    for row in rows[:count]:
        row["labels"] = [0, *[9, 8] * len(row["input_ids"]), 9, 2]
    return type(trainer.train_dataset).from_list(rows)


# ---- inputs ----


def test_template_has_two_masks_per_source_token_and_targets_have_no_specials(make_imputer_trainer):
    trainer = make_imputer_trainer()
    batch = collate(trainer, range(20))
    inputs = trainer.mask(batch, 3)
    lengths = 2 * batch["attention_mask"].sum(dim=1)
    assert torch.equal(inputs["decoder_attention_mask"].sum(dim=1), lengths)
    assert torch.equal((inputs["decoder_input_ids"] == 4).sum(dim=1), lengths)
    assert (inputs["decoder_input_ids"][~inputs["decoder_attention_mask"]] == 1).all()
    template, mask = trainer.model.make_template(batch["attention_mask"])
    assert torch.equal(template, inputs["decoder_input_ids"]) and torch.equal(mask, inputs["decoder_attention_mask"])
    for row, labels in enumerate(batch["labels"]):
        assert inputs["labels"][row][inputs["labels"][row] != -100].tolist() == labels[labels > 4].tolist()


def test_content_of_labels_is_moved_together():
    labels = torch.tensor([[0, 5, 2, 6, 2, -100], [0, 2, -100, -100, -100, -100]])
    assert keep_content(labels, (0, 2, -100)).tolist() == [[5, 6] + [-100] * 4, [-100] * 6]


@pytest.mark.parametrize("policy", ["block", "uniform", "full"])
def test_masks_depend_on_seed_step_and_index_but_not_on_the_batch(make_imputer_trainer, policy):
    trainer = make_imputer_trainer(mask_policy=policy)

    def drawn(rows, step=3):
        inputs = trainer.mask(collate(trainer, rows), step)
        pairs = zip(inputs["is_masked"], inputs["decoder_attention_mask"], strict=True)
        masks = [mask[is_frame].tolist() for mask, is_frame in pairs]
        return dict(zip(rows, masks, strict=True))

    whole = drawn(range(30))
    assert {**drawn(range(20, 30)), **drawn(range(19, -1, -1))} == whole
    torch.manual_seed(5)  # the global generator plays no part
    assert drawn(range(30)) == whole
    assert (drawn(range(30), step=4) == whole) is (policy == "full")
    assert all(any(mask) for mask in whole.values())


def test_first_updates_are_pure_ctc_as_long_as_asked(make_imputer_trainer):
    trainer = make_imputer_trainer(ctc_steps=2)
    is_full = []
    for step in (0, 1, 2, EVALUATION_STEP):
        inputs = trainer.mask(collate(trainer, range(30)), step)
        is_full.append(torch.equal(inputs["is_masked"], inputs["decoder_attention_mask"]))
    assert is_full == [True, True, False, False]


@pytest.mark.parametrize(("objective", "passes"), [("imputer", 8), ("ctc", 1), ("ctc_glancing", 1)])
def test_models_are_saved_with_the_passes_they_are_trained_for(make_imputer_trainer, objective, passes):
    assert make_imputer_trainer(objective=objective).model.generation_config.num_iterations == passes


def test_unmasked_frames_show_and_force_the_best_alignment_of_the_model_without_dropout(make_imputer_trainer):
    trainer = make_imputer_trainer(dropout=0.5)
    inputs = trainer.mask(collate(trainer, range(20)), 0)
    trainer.model.train()
    revealed = trainer.method.reveal(Run.of(trainer.model), inputs)
    assert all(module.training for module in trainer.model.modules())
    model, targets = copy.deepcopy(trainer.model).eval(), trainer.method.targets_of(inputs)
    with torch.no_grad():
        logits = model(inputs["input_ids"], inputs["attention_mask"]).logits
    blank = model.config.blank_token_id
    alignment = best_alignment(logits.log_softmax(dim=-1), *targets, blank_token_id=blank)
    is_masked, is_frame = inputs["is_masked"], inputs["decoder_attention_mask"]
    shown = is_frame & ~is_masked
    assert shown.any() and (alignment.tokens[shown] == blank).any() and (alignment.tokens[shown] != blank).any()
    assert torch.equal(revealed.tokens[shown], alignment.tokens[shown])
    assert torch.equal(revealed.force_emits[shown], alignment.states[shown])
    assert (revealed.tokens[is_masked] == 4).all() and (revealed.force_emits[~shown] == -1).all()


def test_target_without_alignment_reveals_nothing(make_imputer_trainer):
    trainer = make_imputer_trainer()
    trainer.train_dataset = make_unfit(trainer, 2)
    inputs = trainer.mask(collate(trainer, range(4)), 0)
    revealed = trainer.method.reveal(Run.of(trainer.model), inputs)
    assert (revealed.force_emits[:2] == -1).all() and (revealed.force_emits[2:] >= 0).any()
    assert torch.equal(revealed.tokens[:2], inputs["decoder_input_ids"][:2])


# ---- loss ----


def test_first_loss_is_the_objective_of_the_first_update(make_imputer_trainer):
    trainer = make_imputer_trainer(max_steps=1)
    model, inputs = copy.deepcopy(trainer.model).eval(), first_batch(trainer)
    trainer.train()
    revealed = trainer.method.reveal(Run.of(model), inputs)
    with torch.no_grad():
        logits = model(
            inputs["input_ids"], inputs["attention_mask"], revealed.tokens, inputs["decoder_attention_mask"]
        ).logits
    loss = imputer_loss(
        logits, *trainer.method.targets_of(inputs), blank_token_id=model.config.blank_token_id,
        force_emits=revealed.force_emits,
    )  # fmt: skip
    (entry,) = entries_of(trainer)
    assert entry["loss"] == entry["ctc"] == pytest.approx(loss.total.item(), abs=1e-5)
    assert entry["skipped"] == 0 and "length" not in entry and "token" not in entry


def test_ctc_loss_is_that_of_torch_over_all_frames(make_imputer_trainer):
    trainer = make_imputer_trainer(max_steps=1, objective="ctc")
    model, inputs = copy.deepcopy(trainer.model).eval(), first_batch(trainer)
    trainer.train()
    targets = trainer.method.targets_of(inputs)
    with torch.no_grad():
        log_probs = model(inputs["input_ids"], inputs["attention_mask"]).logits.log_softmax(dim=-1)
    nll = torch.nn.functional.ctc_loss(
        log_probs.transpose(0, 1), *targets, blank=model.config.blank_token_id, reduction="sum"
    )
    expected = nll / inputs["decoder_attention_mask"].sum()
    assert entries_of(trainer)[0]["loss"] == pytest.approx(expected.item(), abs=1e-5)


def test_skipped_targets_are_counted_and_change_nothing_else(make_imputer_trainer):
    trainer = make_imputer_trainer()
    trainer.train_dataset = make_unfit(trainer, 2)
    both, fitting = (trainer.mask(collate(trainer, rows), 0) for rows in (range(6), range(2, 6)))
    losses = [trainer.objective(trainer.model.eval(), inputs) for inputs in (both, fitting)]
    assert losses[0].total.item() == pytest.approx(losses[1].total.item(), rel=1e-5)
    assert [loss.parts["skipped"].item() for loss in losses] == [pytest.approx(2 / 6), 0]
    unfit = trainer.objective(trainer.model, trainer.mask(collate(trainer, range(2)), 0)).total
    unfit.backward()
    assert unfit.item() == 0 and all(value.grad.eq(0).all() for value in trainer.model.parameters())


def test_corpus_is_warned_of_skipped_pairs_and_refused_where_most_do_not_fit(make_imputer_trainer, caplog):
    trainer = make_imputer_trainer()
    with caplog.at_level(logging.WARNING):
        trainer.check_corpus(trainer.train_dataset)
        assert not caplog.records
        trainer.check_corpus(make_unfit(trainer, 9))
    assert "9 of 90 targets (10.00 %) need more than 2 frames per source token" in caplog.text
    with pytest.raises(ValueError, match=r"60 of 90 targets .* Train a model with a larger upsample_ratio"):
        trainer.check_corpus(make_unfit(trainer, 60))


def test_training_lowers_the_loss_and_moves_every_parameter(make_imputer_trainer):
    trainer = make_imputer_trainer(max_steps=80, learning_rate=5e-3, dropout=0.1, ctc_steps=20)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    losses = [entry["loss"] for entry in entries_of(trainer)[20:]]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert not [name for name, value in trainer.model.named_parameters() if torch.equal(value, before[name])]


def test_evaluation_repeats_and_translates(make_imputer_trainer):
    trainer = make_imputer_trainer(evaluates=True, eval_iterations=[1, 3], dropout=0.5)
    metrics = trainer.evaluate()
    assert {"eval_loss", "eval_ctc", "eval_skipped", "eval_bleu_1", "eval_bleu_3"} <= metrics.keys()
    assert trainer.evaluate()["eval_loss"] == metrics["eval_loss"] == metrics["eval_ctc"]


# ---- glancing ----


def test_glancing_ratio_falls_linearly_and_is_zero_in_validation(make_glancing_trainer):
    options = make_glancing_trainer(glancing_steps=100).method.options
    expected = [0.5, 0.4, 0.3, 0.3, 0.0]
    assert [options.ratio(step, -1) for step in (0, 50, 100, 900, EVALUATION_STEP)] == pytest.approx(expected)
    trainer = make_glancing_trainer(max_steps=10, glancing_ratio=1.0, glancing_final_ratio=0.0)
    assert trainer.mask(collate(trainer, range(3)), 5)["glancing_ratio"].tolist() == [0.5] * 3


def test_glancing_shows_a_share_of_the_wrong_frames_and_forces_none(make_glancing_trainer):
    trainer = make_glancing_trainer(glancing_ratio=0.4, glancing_final_ratio=0.4)
    inputs = trainer.mask(collate(trainer, range(20)), 5)
    revealed = trainer.method.reveal(Run.of(trainer.model), inputs)
    alignment, _ = trainer.method.align(Run.of(trainer.model), inputs)
    with torch.no_grad():
        logits = copy.deepcopy(trainer.model).eval()(inputs["input_ids"], inputs["attention_mask"]).logits
    logits[..., [0, 1, 2, 4]] = -torch.inf  # never predicted in decoding either
    predictions = logits.argmax(dim=-1)
    assert revealed.force_emits is None
    shown = (revealed.tokens != 4) & inputs["decoder_attention_mask"]
    wrong = ((predictions != alignment.tokens) & inputs["decoder_attention_mask"]).sum(dim=1)
    assert shown.sum(dim=1).tolist() == [int(0.4 * count + 1e-6) for count in wrong.tolist()]
    assert torch.equal(revealed.tokens[shown], alignment.tokens[shown]) and shown.any()
    assert trainer.method.count(inputs)["frames"] == int(inputs["decoder_attention_mask"].sum())
    full = trainer.mask(collate(trainer, range(20)), EVALUATION_STEP)
    assert torch.equal(trainer.method.reveal(Run.of(trainer.model), full).tokens, full["decoder_input_ids"])


def test_glancing_does_not_depend_on_the_split_into_micro_batches(make_glancing_trainer, largest_difference):
    trainers = []
    for budget, accumulation in ((256, 1), (32, 8)):
        trainer = make_glancing_trainer(max_tokens_per_batch=budget, gradient_accumulation_steps=accumulation)
        trainer.train()
        trainers.append(trainer)
    # Rounding noise in gradients near zero, which Adam's first steps blow up, is all that is left.
    assert largest_difference(*(trainer.model for trainer in trainers), up_to_rounding=True) < 1e-5
    first, second = ([entry["loss"] for entry in entries_of(trainer)] for trainer in trainers)
    assert first == pytest.approx(second, abs=1e-6)


# ---- settings ----


def test_settings_left_out_get_the_familys_defaults_and_given_ones_stay(make_imputer_trainer, make_teacher_trainer):
    args = make_imputer_trainer().args
    assert (args.mask_policy, args.label_smoothing, args.length_weight) == ("block", 0, 0)
    assert make_imputer_trainer(mask_policy="uniform").args.mask_policy == "uniform"
    args = make_teacher_trainer().args
    assert (args.mask_policy, args.label_smoothing, args.length_weight) == ("uniform", 0.1, 0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_smoothing": 0.1}, "label_smoothing does not apply to Imputers"),
        ({"length_weight": 0.1}, "length_weight does not apply to Imputers"),
        ({"metric_for_best_model": "accuracy"}, "method=imputer has no accuracy"),
        (
            {"objective": "ctc", "ctc_steps": 5},
            "ctc_steps=5 has no effect here: it belongs to the training of imputer",
        ),
        ({"objective": "ctc", "mask_policy": "block"}, "mask_policy='block' has no effect here: it belongs to"),
        ({"glancing_ratio": 0.4}, "glancing_ratio=0.4 has no effect here: it belongs to .* ctc_glancing"),
        ({"objective": "hungarian"}, "method must be one of .*imputer, ctc, ctc_glancing.*, got 'hungarian'"),
        (
            {"method": "cmlm"},
            "method=cmlm does not train models of type imputer. Use one of imputer, ctc, ctc_glancing",
        ),
        ({"method": "dims"}, "method=dims trains students. For teachers, use one of cmlm, .*cmlmc, imputer"),
        ({"ctc_steps": -1}, "ctc_steps must be >= 0"),
        ({"glancing_final_ratio": 1.5}, r"glancing_final_ratio must lie in \[0, 1\]"),
        ({"glancing_steps": 0}, "glancing_steps must be >= 1"),
        ({"correction_reduction": "average"}, "it belongs to the training of cmlmc teachers"),
    ],
)
def test_settings_without_effect_or_sense_are_refused(make_imputer_trainer, settings, message):
    with pytest.raises(ValueError, match=message):
        make_imputer_trainer(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "ctc"}, "method=ctc (does not train models of type cmlm|trains teachers)"),
        ({"ctc_steps": 3}, "ctc_steps=3 has no effect here"),
        ({"glancing_ratio": 0.1}, "glancing_ratio(=0.1)? has no effect (here|on uniform masks)"),
        ({"mask_policy": "block"}, "mask_policy must be one of uniform, full(, glance)?, got 'block'"),
    ],
)
def test_settings_of_imputers_are_refused_for_other_families(
    make_teacher_trainer, make_dims_trainer, settings, message
):
    for make in (make_teacher_trainer, make_dims_trainer):
        with pytest.raises(ValueError, match=message):
            make(**settings)
