# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Row functions: compiled within `fusing` alone, equal to what they are elsewhere; what needs a compiler says so."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
import torch

from dims_hf.objectives.fusion import check_compiler, fusible, fusing, is_fusing
from dims_hf.objectives.projection import VocabularyProjection
from dims_hf.objectives.vocabulary import ProjectedVocabulary


NUM_ROWS, VOCAB_SIZE, WIDTH = 70, 300, 8


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Callable]:
    """Functions that were compiled, which here leaves them as they are."""
    found: list[Callable] = []

    def compile_(function: Callable, **options: object) -> Callable:
        found.append(function)
        return function

    monkeypatch.setattr(torch, "compile", compile_)
    return found


def test_functions_are_compiled_within_the_block_alone_and_once(compiled: list[Callable]):
    @fusible
    def double(values: torch.Tensor) -> torch.Tensor:
        return 2 * values

    one = torch.ones(1)
    assert double(one) == 2 and compiled == [] and not is_fusing()
    with fusing():
        assert double(one) == 2 and double(one) == 2 and len(compiled) == 1
        with fusing(False):
            assert not is_fusing()
        assert is_fusing()
    assert not is_fusing() and double.__name__ == "double"


def test_denormal_numbers_are_flushed_within_the_block_alone():
    tiny = torch.tensor([1e-40])
    assert (tiny * 1).item() != 0
    with fusing():
        if torch.set_flush_denormal(True):  # where the processor can
            assert (tiny * 1).item() == 0
            with fusing():
                pass
            assert (tiny * 1).item() == 0, "a block within ended it"
    assert (tiny * 1).item() != 0


def test_a_missing_compiler_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match="needs a C.. compiler, and there is no no-such-compiler on the PATH"):
        check_compiler("cpu")
    monkeypatch.setenv("CXX", "sh")
    check_compiler("cpu")


def losses_of(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Every loss on projected rows, and the gradients of all with respect to states and table."""
    generator = torch.Generator().manual_seed(3)
    states = torch.randn(NUM_ROWS, WIDTH, generator=generator).requires_grad_()
    table = torch.randn(VOCAB_SIZE, WIDTH, generator=generator).requires_grad_()
    teacher_states = torch.randn(NUM_ROWS, WIDTH, generator=generator)
    ids = torch.randint(VOCAB_SIZE, (NUM_ROWS, 5), generator=generator)
    ids[:, 1] = ids[:, 0]  # picked twice
    labels = ids[:, 2].clone()
    labels[::7] = -100
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        student = ProjectedVocabulary(states, VocabularyProjection(table))
        teacher = ProjectedVocabulary(teacher_states, VocabularyProjection(table.detach()))
        smoothed = student.cross_entropy(labels, label_smoothing=0.1)
        divergence = student.kl(teacher, temperature=0.5, labels=labels)
        picked = student.pick(ids, has_mean=True)
        scores, likeliest = student.score(ids, suppressed_ids=[0, 4])
    total = smoothed.summed + divergence.summed + (picked * torch.arange(6)).sum()
    for_states, for_table = torch.autograd.grad(total, (states, table))
    found = {"cross-entropy": smoothed.summed, "correct": smoothed.num_correct, "kl": divergence.summed}
    found |= {"kl correct": divergence.num_correct, "picked": picked, "scores": scores, "likeliest": likeliest}
    return {**found, "gradient of states": for_states, "gradient of table": for_table}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_losses_are_those_that_are_not(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    # three chunks, the last one smaller
    monkeypatch.setattr("dims_hf.objectives.projection._CHUNK_BYTES", {"cpu": 30 * 4 * VOCAB_SIZE})
    monkeypatch.setattr("dims_hf.objectives.projection._MIN_CHUNK_ROWS", 1)
    plain = losses_of(dtype)
    with fusing():
        fused = losses_of(dtype)
    for name, value in plain.items():
        if value.is_floating_point():
            # a rounding to bf16 may fall on the other side
            tolerance = 1e-5 if dtype == torch.float32 or "gradient" not in name else 2e-2
            assert torch.allclose(fused[name], value, rtol=tolerance, atol=tolerance * float(value.abs().max())), name
        else:
            assert torch.equal(fused[name], value), name
