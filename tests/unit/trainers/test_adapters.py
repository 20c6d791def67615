# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Students with a LoRA adapter: what is trained, averaged, saved and resumed is the adapter, and nothing else."""

from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import load_file

from dims_hf.distillation.adapters import network_of, trained_parameters


peft = pytest.importorskip("peft")

LINEAR = ["q_proj", "v_proj", "fc1"]
SAVING = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3, "ema_decay": 0.9}


@pytest.fixture
def make_student(trained):
    """The trained toy model with an adapter, the same every time."""

    def make(task_type=None, **settings):
        torch.manual_seed(7)
        config = peft.LoraConfig(**{"task_type": task_type, "r": 4, "target_modules": LINEAR, **settings})
        return peft.get_peft_model(copy.deepcopy(trained), config)

    return make


def difference(first, second):
    pairs = {name: (value, second[name]) for name, value in first.items()}
    return max((left.detach() - right.detach()).abs().max().item() for left, right in pairs.values())


@pytest.mark.parametrize("task_type", ["SEQ_2_SEQ_LM", None])
def test_adapter_is_trained_and_averaged_and_the_rest_stays(
    make_dims_trainer, make_student, toy, trained, tmp_path, task_type
):
    student = make_student(task_type)
    start = {name: value.detach().clone() for name, value in network_of(student).named_parameters()}
    trainer = make_dims_trainer(start=student, max_steps=1, ema_decay=0.75, weight_decay=0.0)
    assert trainer.teacher is not network_of(trainer.model)
    trainer.train()
    weights, teacher = dict(network_of(trainer.model).named_parameters()), dict(trainer.teacher.named_parameters())
    adapter = trained_parameters(trainer.model)
    assert adapter and all("lora_" in name for name in adapter)
    moved = [name for name in weights if not torch.equal(weights[name], start[name])]
    # B starts at zero, so in the first update only it has a gradient
    assert moved and all("lora_B" in name for name in moved)
    for name, value in weights.items():
        torch.testing.assert_close(teacher[name], 0.75 * start[name] + 0.25 * value.detach(), rtol=0, atol=1e-7)


def test_resumed_adapter_and_its_average_are_those_of_the_uninterrupted_run(
    make_dims_trainer, make_student, tmp_path, training_log
):
    whole = make_dims_trainer(folder="whole", start=make_student(), **SAVING)
    whole.train()
    checkpoint = tmp_path / "whole" / "checkpoint-3"
    assert not (checkpoint / "model.safetensors").exists()
    assert all("lora_" in name for name in load_file(checkpoint / "ema_teacher" / "adapter.safetensors"))
    resumed = make_dims_trainer(folder="resumed", start=make_student(), **SAVING)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert training_log(resumed) == training_log(whole)
    ours, theirs = (dict(network_of(each.model).named_parameters()) for each in (resumed, whole))
    assert difference(ours, theirs) == 0
    assert difference(*(dict(each.teacher.named_parameters()) for each in (resumed, whole))) == 0
    assert difference(trained_parameters(resumed.model), dict(resumed.teacher.named_parameters())) > 0


def test_saved_adapter_merges_into_the_model_that_was_trained(make_dims_trainer, make_student, trained, tmp_path, toy):
    settings = {"evaluates": True, "eval_strategy": "steps", "eval_steps": 2, "num_best_checkpoints": 2}
    trainer = make_dims_trainer(start=make_student(), max_steps=4, **settings)
    trainer.train()
    assert len(trainer.average_best_checkpoints()) == 2
    trainer.save_model()
    merged = peft.PeftModel.from_pretrained(copy.deepcopy(trained), tmp_path / "run").merge_and_unload()
    rows = [toy.train[row] for row in range(4)]
    batch = trainer.data_collator(rows)
    inputs = {"input_ids": batch["input_ids"], "decoder_input_ids": batch["labels"].clamp(min=1)}
    with torch.no_grad():
        ours, theirs, start = (each.eval()(**inputs).logits for each in (trainer.model, merged, trained))
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4)
    assert (ours - start).abs().max() > 1e-2


def test_teacher_alone_is_trained_through_its_adapter(make_teacher_trainer, make_student, toy, monkeypatch):
    student = make_student()
    monkeypatch.setitem(toy.models, "cmlm", student)
    before = {name: value.detach().clone() for name, value in network_of(student).named_parameters()}
    trainer = make_teacher_trainer(max_steps=2)
    trainer.train()
    after = dict(network_of(trainer.model).named_parameters())
    assert {name for name in after if not torch.equal(after[name], before[name])} <= set(trained_parameters(student))


@pytest.mark.parametrize(
    ("settings", "student", "message"),
    [
        ({"teacher": "plain"}, {}, "The student has an adapter and the teacher none, .* Leave out teacher"),
        ({"rounds": 2}, {}, "Rounds train whole students. Set rounds to 1, or merge the adapter first"),
        ({}, {"target_modules": ["lm_head"]}, "An adapter on lm_head would have no effect"),
        ({}, {"modules_to_save": ["lm_head"]}, "An adapter on lm_head would have no effect"),
        ({}, {"inference_mode": True}, "The adapter is frozen. Load it with is_trainable=True"),
    ],
)
def test_adapter_that_cannot_be_trained_is_refused(
    make_dims_trainer, make_student, trained, settings, student, message
):
    settings = {name: trained if value == "plain" else value for name, value in settings.items()}
    with pytest.raises(ValueError, match=message):
        make_dims_trainer(start=make_student(**student), **settings)


def test_fixed_teacher_needs_no_adapter(make_dims_trainer, make_student, trained):
    trainer = make_dims_trainer(start=make_student(), teacher=trained, ema_decay=None, max_steps=1)
    trainer.train()
    assert difference(dict(trainer.teacher.named_parameters()), dict(trained.named_parameters())) == 0
