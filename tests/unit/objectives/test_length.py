# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Length classes and their cross-entropy."""

from __future__ import annotations

import math

import pytest
import torch

from dims_hf import length_loss
from dims_hf.objectives import length_classes


def test_length_classes_count_bos_and_eos():
    mask = torch.tensor([[1] * 8, [1] * 6 + [0] * 2])
    assert length_classes(mask, 256).tolist() == [8, 6]


def test_length_classes_of_a_long_target_is_the_last_class():
    assert length_classes(torch.ones(1, 300), 256).tolist() == [255]


def test_length_loss_of_uniform_logits_is_the_logarithm_of_the_classes():
    loss = length_loss(torch.zeros(3, 256), torch.tensor([0, 8, 255]))
    assert loss.total.item() == pytest.approx(math.log(256), abs=1e-5)
    assert loss.parts["length"].item() == pytest.approx(math.log(256), abs=1e-5)


def test_length_loss_divides_by_num_items():
    logits, lengths = torch.randn(3, 10), torch.tensor([1, 2, 3])
    mean = length_loss(logits, lengths).total.item()
    assert length_loss(logits, lengths, num_items=torch.tensor(12)).total.item() == pytest.approx(mean / 4)


def test_length_loss_of_bf16_logits_is_computed_in_fp32():
    logits, lengths = torch.randn(3, 10).mul(5).bfloat16(), torch.tensor([1, 2, 3])
    assert torch.equal(length_loss(logits, lengths).total, length_loss(logits.float(), lengths).total)
