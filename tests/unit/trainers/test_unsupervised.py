# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""U-DiMS: the current teacher's translations are the targets, and the corpus's are never looked at."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset

from dims_hf import DiMSConfig, DiMSTrainer, synthesize_targets


@pytest.fixture
def make_unsupervised(make_dims_trainer):
    def make(train=None, **settings):
        trainer = make_dims_trainer(unsupervised=True, **settings)
        if train is not None:
            trainer.train_dataset = train
        return trainer

    return make


def without_targets(dataset):
    return dataset.remove_columns("labels")


def test_training_without_targets_equals_training_with_useless_ones(
    make_unsupervised, toy, training_log, largest_difference
):
    # as long as the sources, so that the batches are the same
    useless = Dataset.from_list([{**row, "labels": row["input_ids"]} for row in toy.train])
    first, second = make_unsupervised(without_targets(toy.train)), make_unsupervised(useless, folder="second")
    for trainer in (first, second):
        trainer.train()
    assert training_log(first) == training_log(second)
    assert largest_difference(first.model, second.model) == 0


def test_masked_batch_is_made_of_the_current_teachers_translations(make_unsupervised, toy):
    trainer = make_unsupervised(synthetic_iterations=3, synthetic_length_beam_size=2)
    batch = trainer.data_collator([toy.train[row] for row in range(8)])
    masked = trainer.mask(dict(batch), 0)
    expected = synthesize_targets(
        trainer.teacher, batch["input_ids"], batch["attention_mask"], num_iterations=3, length_beam_size=2
    )
    is_masked = masked["labels"] != -100
    assert torch.equal(masked["decoder_attention_mask"], expected != -100)
    filled = torch.where(is_masked, masked["labels"], masked["decoder_input_ids"])
    assert torch.equal(filled[expected != -100], expected[expected != -100])


def test_length_target_is_the_synthetic_length(make_unsupervised, toy):
    trainer = make_unsupervised()
    batch = trainer.data_collator([toy.train[row] for row in range(8)])
    expected = synthesize_targets(trainer.teacher, batch["input_ids"], batch["attention_mask"])
    masked = trainer.mask(batch, 0)
    assert masked["decoder_attention_mask"].sum(dim=1).tolist() == expected.ne(-100).sum(dim=1).tolist()


def test_targets_change_as_the_teacher_moves(make_unsupervised, toy):
    trainer = make_unsupervised(max_steps=40, ema_decay=0.5, learning_rate=1e-2)
    batch = trainer.data_collator([toy.train[row] for row in range(20)])
    before = trainer.with_synthetic_targets(dict(batch))["labels"]
    trainer.train()
    after = trainer.with_synthetic_targets(dict(batch))["labels"]
    assert before.shape != after.shape or not torch.equal(before, after)


def test_validation_loss_is_still_that_of_the_references(make_unsupervised, make_dims_trainer):
    supervised = make_dims_trainer(folder="supervised", evaluates=True)
    assert make_unsupervised(evaluates=True).evaluate()["eval_loss"] == supervised.evaluate()["eval_loss"]


def test_accumulation_changes_nothing(make_unsupervised, toy, largest_difference):
    sources = without_targets(toy.train)
    whole = make_unsupervised(sources, max_tokens_per_batch=512)
    parts = make_unsupervised(sources, folder="parts", max_tokens_per_batch=128, gradient_accumulation_steps=4)
    for trainer in (whole, parts):
        trainer.train()
    assert largest_difference(whole.model, parts.model, up_to_rounding=True) < 1e-5


def test_resumed_run_equals_an_uninterrupted_one(make_unsupervised, toy, largest_difference):
    settings = {"save_strategy": "steps", "save_steps": 3, "ema_decay": 0.9}
    whole = make_unsupervised(without_targets(toy.train), **settings)
    whole.train()
    resumed = make_unsupervised(without_targets(toy.train), **settings)
    resumed.train(resume_from_checkpoint=f"{resumed.args.output_dir}/checkpoint-3")
    assert largest_difference(whole.model, resumed.model) == 0
    assert largest_difference(whole.teacher, resumed.teacher) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"synthetic_iterations": 4}, "synthetic_iterations has no effect without unsupervised"),
        ({"synthetic_collapse_repeats": True}, "synthetic_collapse_repeats has no effect"),
        ({"unsupervised": True, "synthetic_iterations": 0}, "synthetic_iterations must be >= 1"),
        ({"rounds": 0}, r"rounds must lie in \[1, 1000\], got 0"),
    ],
)
def test_bad_setting_is_refused(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        DiMSConfig(output_dir=tmp_path, **settings)


def test_sources_alone_without_unsupervised_are_refused(make_dims_trainer, toy, tmp_path):
    trainer = make_dims_trainer()
    with pytest.raises(ValueError, match="unsupervised"):
        DiMSTrainer(trainer.model, args=trainer.args, train_dataset=without_targets(toy.train))
