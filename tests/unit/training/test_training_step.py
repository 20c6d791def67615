# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The paths that the training benchmark compares compute the same: losses, gradients and weights after updates."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[3] / "training" / "benchmarks" / "training_step.py"
    spec = importlib.util.spec_from_file_location("training_step", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def setting(benchmark):
    """A tiny model with wide weights, so that predictions differ, and two batches."""
    model = benchmark.make_model("tiny", 61)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model, benchmark.make_batches(61, 128, count=2, config=model.config)


@pytest.mark.parametrize("task", ["cmlm", "dims"])
@pytest.mark.parametrize("num_iterations", [2, 3])
def test_paths_have_the_same_loss_and_gradients(benchmark, setting, monkeypatch, task, num_iterations):
    monkeypatch.setattr(benchmark.SETTINGS, "teacher_iterations", num_iterations)
    if task == "dims":
        monkeypatch.setattr(
            benchmark, "roll_out_teacher", _with_iterations(benchmark.roll_out_teacher, num_iterations)
        )
    model, batches = setting
    for batch in batches:
        results = {}
        for path in benchmark.PATHS:
            trainee = benchmark.Trainee(task, path, model, "fp32")
            if task == "dims":  # a student that differs from its teacher
                with torch.no_grad():
                    trainee.model.model.shared.weight.mul_(1.1)
            loss = trainee.total(batch)
            loss.backward()
            results[path] = loss.detach(), [parameter.grad for parameter in trainee.model.parameters()]
        for path in ("packed", "ours"):
            torch.testing.assert_close(results[path][0], results["naive"][0], atol=1e-5, rtol=1e-5)
            for ours, naive in zip(results[path][1], results["naive"][1], strict=True):
                torch.testing.assert_close(ours, naive, atol=1e-5, rtol=1e-4)


def _with_iterations(roll_out, num_iterations):
    return lambda *inputs, **settings: roll_out(*inputs, **{**settings, "num_iterations": num_iterations})


def test_batches_keep_the_budget_and_mask_every_sentence(benchmark, setting):
    for batch in setting[1]:
        longest = max(batch[name].shape[1] for name in ("input_ids", "decoder_input_ids"))
        assert len(batch["labels"]) * longest <= 128
        assert ((batch["labels"] != -100).sum(dim=1) >= 1).all()


def test_timing_reports_every_path_and_round(benchmark, setting):
    model, batches = setting
    result = benchmark.time_paths("dims", "bf16", batches[:1], model, paths=benchmark.PATHS, repeats=2)
    assert {len(times) for times in result["seconds"].values()} == {2}
    assert result["medians"]["naive"] == 1
