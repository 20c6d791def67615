# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What every training method promises, for each family that it trains; a new one is tested by being in the table."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM

from dims_hf import MODELS, DiMSConfig, DiMSTrainer, NATTrainer, NATTrainingArguments
from dims_hf.methods.base import Distillation, Method, Run
from dims_hf.methods.masks import EVALUATION_STEP, mix_keys
from dims_hf.methods.registry import DEFAULT_METHODS, METHODS, find_method, trains
from tests.fixtures.training import make_arguments, set_dropout


PAIRS = [(name, family) for name in METHODS for family in MODELS if trains(name, family)]

every_pair = pytest.mark.parametrize(("name", "family"), PAIRS, ids=[f"{name}-{family}" for name, family in PAIRS])


@pytest.fixture
def make(toy: SimpleNamespace, tmp_path: Path, autoregressive_folder: Path) -> Callable[..., NATTrainer]:
    """A trainer of a method over a family, from the same weights every time; keyword arguments are settings."""

    def make_one(name: str, family: str, folder: str = "run", dropout: float = 0.0, **settings: Any) -> NATTrainer:
        distils = issubclass(find_method(name), Distillation)
        if "autoregressive_teacher" in {declared.name for declared in fields(find_method(name).Options)}:
            own = {"autoregressive_teacher": str(autoregressive_folder), "attn_implementation": "eager"}
            settings = {**own, **settings}
        args = make_arguments(
            DiMSConfig if distils else NATTrainingArguments, tmp_path / folder, method=name, **settings
        )
        model = copy.deepcopy(toy.models[family])
        set_dropout(model, dropout)
        if find_method(name).empty_token:
            model.config.empty_token_id = model.config.unk_token_id  # no target of the toy corpus has it
        trainer = DiMSTrainer if distils else NATTrainer
        return trainer(model, args=args, train_dataset=toy.train, processing_class=toy.tokenizer)

    return make_one


def _batch(trainer: NATTrainer, rows: range) -> dict[str, torch.Tensor]:
    return trainer.data_collator([trainer.train_dataset[row] for row in rows])


def _loss(trainer: NATTrainer, batch: Any, items: Any = None) -> Any:
    run, items = Run.of(trainer.model), trainer.method.count(batch) if items is None else items
    if isinstance(trainer.method, Distillation):
        return trainer.method.loss(run, batch, items, trainer.teacher)
    return trainer.method.loss(run, batch, items)


def test_every_family_has_a_method_for_teachers_and_one_for_students_unless_it_says_so():
    for family in MODELS:
        kinds = {issubclass(find_method(name), Distillation) for name, trained in PAIRS if trained == family}
        assert kinds == ({False, True} if DEFAULT_METHODS[family][1] else {False}), family


@every_pair
def test_method_declares_what_it_is(name: str, family: str):
    method = find_method(name)
    assert issubclass(method, Method) and method.paper and method.items and family in MODELS
    assert method.__doc__ and "Source:" in method.__doc__
    method.Options()  # defaults are possible values
    for declared in fields(method.Options):
        assert declared.metadata["help"], declared.name
    for preset in method.published.values():
        assert all(sourced.source for sourced in preset.values())


@every_pair
def test_items_are_counted_before_any_forward_pass_and_add_up_over_batches(make, name: str, family: str):
    trainer = make(name, family)
    parts = [trainer.mask(_batch(trainer, rows), 3) for rows in (range(0, 7), range(7, 20))]
    whole = trainer.mask(_batch(trainer, range(20)), 3)
    counts = [trainer.method.count(part) for part in (*parts, whole)]
    assert all(set(count) == set(trainer.method.items) for count in counts)
    assert all(isinstance(value, int) for count in counts for value in count.values())
    assert {item: counts[0][item] + counts[1][item] for item in counts[0]} == counts[2]
    assert trainer.method.num_target_tokens(whole) > 0


@every_pair
def test_what_is_masked_depends_on_seed_step_and_sentence_alone(make, name: str, family: str):
    trainer = make(name, family)
    whole, alone = (trainer.mask(_batch(trainer, rows), 5) for rows in (range(12), range(4, 5)))
    for key, value in alone.items():
        other = whole[key][4:5][tuple(slice(size) for size in value.shape)]
        assert torch.equal(value, other), key
    keys = mix_keys(trainer.args.mask_seed, EVALUATION_STEP, torch.arange(12))
    first, again = (trainer.method.prepare(_batch(trainer, range(12)), keys, EVALUATION_STEP) for _ in range(2))
    assert all(torch.equal(first[key], again[key]) for key in first)


@every_pair
def test_losses_of_parts_add_up_to_the_loss_of_the_whole(make, name: str, family: str):
    trainer = make(name, family)
    trainer.model.eval()
    parts = [trainer.mask(_batch(trainer, rows), 2) for rows in (range(0, 5), range(5, 16))]
    whole = trainer.mask(_batch(trainer, range(16)), 2)
    items = trainer.method.count(whole)
    total = _loss(trainer, whole, items).total
    assert bool(torch.isfinite(total)) and float(total.detach()) != 0  # what matches is rewarded: below 0
    summed = sum(_loss(trainer, part, items).total for part in parts)
    torch.testing.assert_close(summed, total, rtol=2e-5, atol=1e-6)


@every_pair
def test_nothing_to_learn_is_exactly_zero_with_a_gradient(make, name: str, family: str):
    if not MODELS[family][0]().predicts_length and issubclass(find_method(name), Distillation):
        pytest.skip("the teacher writes something for every source")
    weightless = (
        {"length_weight": 0.0} if "length_weight" in {f.name for f in fields(find_method(name).Options)} else {}
    )
    trainer = make(name, family, **weightless, **({"encoder_loss_weight": 0.0} if name == "cmlmc" else {}))
    batch, ids = _batch(trainer, range(3)), trainer.model.config
    if name == "ctc_ngrams":  # learns what no alignment fits, too: a target of one token has no bigram
        batch["labels"] = torch.tensor([[ids.bos_token_id, 7, ids.eos_token_id]]).expand(3, -1)
    elif (
        hasattr(ids, "upsample_ratio") and name != "minimum_risk"
    ):  # targets that no alignment of these sources is long enough for
        batch["labels"] = torch.full((3, 90), 7)
    else:  # sentences without a word
        batch["labels"] = torch.tensor([[ids.bos_token_id, ids.eos_token_id]]).expand(3, -1)
    loss = _loss(trainer, trainer.mask(batch, 0))
    # the end of an empty sentence has an energy, too, which nothing can change
    assert float(loss.total.detach()) == 0 or name == "engine"
    loss.total.backward()
    gradients = [each.grad for each in trainer.model.parameters() if each.grad is not None]
    assert gradients and not any(bool(gradient.any()) for gradient in gradients)


@every_pair
def test_accumulated_updates_are_those_of_large_batches(make, largest_difference, name: str, family: str):
    whole = make(name, family, "whole", max_steps=2, max_tokens_per_batch=256)
    split = make(name, family, "split", max_steps=2, max_tokens_per_batch=32, gradient_accumulation_steps=8)
    whole.train()
    split.train()
    # two updates of Adam at 2e-3 move a weight by 4e-3; rounding of a tiny gradient is a part of that
    assert largest_difference(whole.model, split.model, up_to_rounding=True) < 2e-4


@every_pair
def test_resumed_run_is_the_uninterrupted_one(make, tmp_path, largest_difference, name: str, family: str):
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "dropout": 0.2}
    whole = make(name, family, "whole", **settings)
    whole.train()
    # what a run that was killed after its second update had left
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "parts" / "checkpoint-2")
    torch.manual_seed(77)
    second = make(name, family, "parts", **settings)
    second.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-2"))
    assert largest_difference(second.model, whole.model) == 0
    if isinstance(whole, DiMSTrainer):
        assert largest_difference(second.teacher, whole.teacher) == 0


@every_pair
def test_saved_model_is_the_trained_one_and_knows_its_passes(make, tmp_path, largest_difference, name, family):
    trainer = make(name, family, max_steps=1)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "saved", dtype=torch.float32)
    assert type(loaded) is type(trainer.model)
    assert largest_difference(loaded, trainer.model) == 0
    is_one_pass = find_method(name).one_pass or isinstance(trainer, DiMSTrainer)
    assert (loaded.generation_config.num_iterations == 1) is is_one_pass


@every_pair
def test_settings_of_other_methods_are_refused_by_name(make, name: str, family: str):
    own = {declared.name for declared in fields(find_method(name).Options)}
    foreign = {
        declared.name: declared.default
        for other in METHODS
        for declared in fields(find_method(other).Options)
        if declared.name not in own
    }
    refused = 0
    for setting, default in foreign.items():
        value = (default or 0) + 1 if isinstance(default, int | float | None) and default is not True else "x"
        with pytest.raises((ValueError, TypeError), match=setting):
            make(name, family, **{setting: value})
        refused += 1
    assert refused or len(METHODS) == 1
