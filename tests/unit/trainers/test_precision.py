# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The precision of a run: bf16 on CPUs that cannot multiply in it, and models from runs in another one."""

from __future__ import annotations

import logging

import pytest
import torch

from dims_hf import NATTrainer
from dims_hf.objectives.multiplication import OneDNNLinear
from dims_hf.trainers import precision, token_budget_trainer
from dims_hf.trainers.autoregressive import AutoregressiveTrainingArguments
from dims_hf.trainers.config import DiMSConfig, NATTrainingArguments


@pytest.mark.parametrize("kind", [NATTrainingArguments, DiMSConfig, AutoregressiveTrainingArguments])
@pytest.mark.parametrize("has_products", [True, False])
def test_bf16_means_fp32_where_a_cpu_cannot_multiply_it(kind, has_products, monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: has_products)
    with caplog.at_level(logging.WARNING):
        args = kind(output_dir=tmp_path, bf16=True, use_cpu=True)
    assert args.bf16 is has_products
    assert ("This CPU has no bf16 products" in caplog.text) is not has_products


def test_fp32_stays_fp32_without_a_word(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: False)
    assert not DiMSConfig(output_dir=tmp_path, use_cpu=True).bf16
    assert "bf16" not in caplog.text


def test_this_cpu_is_asked():
    assert precision.multiplies_bf16() in (True, False)


def test_model_trained_in_one_precision_is_trained_in_another(make_teacher_trainer, toy, monkeypatch):
    """accelerate prepares a model once; what it was prepared for must not outlive the run."""
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: True)
    first = make_teacher_trainer(folder="fp32", max_steps=1)
    first.train()
    seen = []
    first.model.model.decoder.layers[0].fc1.register_forward_hook(lambda *call: seen.append(call[2].dtype))
    for folder, bf16, dtype in (("bf16", True, torch.bfloat16), ("again", False, torch.float32)):
        args = NATTrainingArguments(
            output_dir=first.args.output_dir + folder, max_steps=1, bf16=bf16, report_to="none", save_strategy="no"
        )
        NATTrainer(first.model, args, train_dataset=toy.train, processing_class=toy.tokenizer).train()
        assert set(seen) == {dtype}, folder
        seen.clear()


def test_fp32_goes_to_onednn_on_other_processors_with_avx_512(monkeypatch):
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(precision, "can_multiply_with_onednn", lambda: True)
    for name, capability, expected in (
        ("Intel(R) Xeon(R) Processor", "AVX512", False),
        ("AMD EPYC", "AVX2", False),
        ("AMD EPYC", "AVX512", True),
    ):
        monkeypatch.setattr(precision, "processor_name", lambda name=name: name)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda capability=capability: capability)
        precision.is_faster_with_onednn.cache_clear()
        assert precision.is_faster_with_onednn() is expected
    precision.is_faster_with_onednn.cache_clear()


@pytest.mark.parametrize("is_faster", [True, False])
def test_layers_of_student_and_teacher_multiply_with_onednn_while_they_train(
    is_faster, make_dims_trainer, monkeypatch
):
    monkeypatch.setattr(token_budget_trainer, "is_faster_with_onednn", lambda: is_faster)
    trainer, kinds = make_dims_trainer(max_steps=1), []
    objective = trainer.objective

    def observe(*args):
        kinds.extend(type(each.model.decoder.layers[0].fc1) for each in (trainer.model, trainer.teacher))
        return objective(*args)

    monkeypatch.setattr(trainer, "objective", observe)
    trainer.train()
    assert kinds == [OneDNNLinear if is_faster else torch.nn.Linear] * 2
    assert type(trainer.model.model.decoder.layers[0].fc1) is torch.nn.Linear
