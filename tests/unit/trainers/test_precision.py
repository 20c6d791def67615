# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Recipes with bf16 run on CPUs that cannot multiply in bf16."""

from __future__ import annotations

import logging

import pytest

from dims_hf.trainers import precision
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
