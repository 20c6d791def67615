# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Multiplying with oneDNN: the same values and gradients as torch's own, and nothing left behind."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dims_hf.objectives import multiplication
from dims_hf.objectives.multiplication import OneDNNLinear, add_product, multiply, multiplying_with_onednn


pytestmark = pytest.mark.skipif(not multiplication.can_multiply_with_onednn(), reason="this torch has no oneDNN")


@pytest.fixture(autouse=True)
def _small_ones_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(multiplication, "_MIN_WORK", 1)


def _make_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(24, 40), nn.ReLU(), nn.Linear(40, 8, bias=False))


@pytest.mark.parametrize("shape", [(7, 24), (3, 5, 24), (1, 24), (0, 24), (24,)])
def test_values_and_gradients_are_those_of_torch(shape: tuple[int, ...]):
    plain, changed = _make_network(), _make_network()
    first, second = (torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2))
    expected = plain(first)
    expected.square().sum().backward()
    with multiplying_with_onednn(changed, is_on=True):
        found = changed(second)
        found.square().sum().backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(second.grad, first.grad)
    for mine, theirs in zip(changed.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_layers_are_what_they_were_afterwards():
    model = _make_network()
    with pytest.raises(KeyError), multiplying_with_onednn(model, model, is_on=True):
        assert type(model[0]) is OneDNNLinear
        raise KeyError
    assert type(model[0]) is nn.Linear
    with multiplying_with_onednn(model, is_on=False):
        assert type(model[0]) is nn.Linear


def test_only_fp32_outside_of_autocast_goes_to_onednn(monkeypatch: pytest.MonkeyPatch):
    calls = []
    original = multiplication._multiply
    monkeypatch.setattr(multiplication, "_multiply", lambda *args: (calls.append(args), original(*args))[1])
    model, rows = _make_network(), torch.ones(2, 24)
    double = copy.deepcopy(model).double()
    with multiplying_with_onednn(model, double, is_on=True):
        double(rows.double())
        multiply(rows.double(), torch.ones(24, 3).double())
        multiply(rows, torch.ones(24, 0))
        with torch.autocast("cpu", torch.bfloat16):
            model(rows)
        assert not calls
        torch.testing.assert_close(multiply(rows, torch.ones(24, 3)), torch.full((2, 3), 24.0))
    assert len(calls) == 1
    multiply(rows, torch.ones(24, 3))
    assert len(calls) == 1


def test_frozen_weights_get_no_gradient():
    model, rows = _make_network(), torch.ones(2, 24, requires_grad=True)
    model[0].requires_grad_(False)
    with multiplying_with_onednn(model, is_on=True):
        model(rows).sum().backward()
    assert rows.grad is not None and model[0].weight.grad is None and model[2].weight.grad is not None


def test_small_multiplications_stay(monkeypatch: pytest.MonkeyPatch):
    calls = []
    monkeypatch.setattr(multiplication, "_multiply", lambda *args: calls.append(args))
    monkeypatch.setattr(multiplication, "_MIN_WORK", 2 * 24 * 3 + 1)
    with multiplying_with_onednn():
        assert multiply(torch.ones(2, 24), torch.ones(24, 3)).shape == (2, 3) and not calls
        multiply(torch.ones(3, 24), torch.ones(24, 3))
    assert len(calls) == 1


@pytest.mark.parametrize("is_on", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_product_is_added_in_the_precision_of_the_sum(is_on: bool, dtype: torch.dtype):
    total = torch.full((3, 5), 0.125)
    with multiplying_with_onednn(is_on=is_on):
        add_product(total, torch.ones(3, 24, dtype=dtype), torch.ones(24, 5, dtype=dtype))
    assert total.dtype == torch.float32 and torch.equal(total, torch.full((3, 5), 24.125))
