# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Dropout from random words: its share, scale, gradient, seeds and precision."""

import pytest
import torch
from torch import nn

from dims_hf.models.dropout import apply_dropout


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.999])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_share_and_scale(p, dtype):
    torch.manual_seed(0)
    states = apply_dropout(torch.ones(501, 1003, dtype=dtype), p, training=True)
    assert states.dtype == dtype
    # 5 standard deviations of a share of half a million draws
    assert (states == 0).double().mean().item() == pytest.approx(p, abs=5 * (p * (1 - p) / states.numel()) ** 0.5)
    kept = states[states != 0].unique()
    assert kept.tolist() == pytest.approx([1 / (1 - p)], rel=max(1e-2 if p == 0.999 else 2e-5, torch.finfo(dtype).eps))


def test_elements_are_independent_of_their_neighbours_and_rows():
    torch.manual_seed(0)
    dropped = apply_dropout(torch.ones(400, 1000), 0.3, training=True) == 0
    for shift in (1, 2, 3, 4, 1000):
        both = (dropped.flatten()[shift:] & dropped.flatten()[:-shift]).double().mean().item()
        assert both == pytest.approx(0.09, abs=0.003)


def test_gradient_is_that_of_what_was_kept():
    torch.manual_seed(0)
    states = torch.randn(7, 11, requires_grad=True)
    kept = apply_dropout(states, 0.4, training=True)
    kept.sum().backward()
    assert torch.equal(states.grad != 0, kept != 0)
    torch.testing.assert_close(kept, states * states.grad)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3, 7), (0, 4)])
def test_any_shape(shape):
    assert apply_dropout(torch.ones(shape), 0.5, training=True).shape == shape


def test_the_seed_decides():
    states = torch.ones(100, 3)
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(apply_dropout(states, 0.5, training=True))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize(("p", "training"), [(0.0, True), (0.3, False), (1e-9, True)])
def test_nothing_is_dropped(p, training):
    states = torch.randn(50, 3)
    torch.testing.assert_close(apply_dropout(states, p, training), states)


def test_everything_is_dropped():
    assert not apply_dropout(torch.ones(50), 1.0, training=True).any()


def test_a_transposed_input_and_its_copy_lose_the_same_elements():
    states = torch.randn(6, 9).T
    runs = []
    for given in (states, states.contiguous()):
        torch.manual_seed(3)
        runs.append(apply_dropout(given, 0.5, training=True))
    assert torch.equal(*runs)


def test_layers_use_it(monkeypatch):
    from dims_hf import CMLMConfig, CMLMForConditionalGeneration

    def refuse(*args, **kwargs):
        raise AssertionError("torch's own dropout ran")

    config = CMLMConfig(
        vocab_size=20, d_model=8, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=8, decoder_ffn_dim=8,
        encoder_attention_heads=2, decoder_attention_heads=2, dropout=0.5, attention_dropout=0.5,
        activation_dropout=0.5, attn_implementation="eager",
    )  # fmt: skip
    model = CMLMForConditionalGeneration(config).train()
    monkeypatch.setattr(nn.functional, "dropout", refuse)
    source = torch.tensor([[0, 7, 8, 2]])
    first, second = (model(source, decoder_input_ids=source).logits for _ in range(2))
    assert not torch.equal(first, second)
