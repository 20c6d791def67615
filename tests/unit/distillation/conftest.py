# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Tiny models whose predictions differ from position to position."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from dims_hf import CMLMConfig, CMLMForConditionalGeneration


@pytest.fixture(scope="session")
def make_model() -> Callable[..., CMLMForConditionalGeneration]:
    """A tiny CMLM in evaluation mode with wide random weights; the same for the same seed."""

    def make(seed: int = 0, **fields: object) -> CMLMForConditionalGeneration:
        sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
        settings = {
            "vocab_size": 20,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "dropout": 0.0,
            "max_position_embeddings": 30,
            "max_target_length": 24,
            "initializer_range": 0.4,
            **sizes,
            **fields,
        }
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return CMLMForConditionalGeneration(CMLMConfig(**settings)).eval()

    return make


@pytest.fixture(scope="session")
def model(make_model: Callable[..., CMLMForConditionalGeneration]) -> CMLMForConditionalGeneration:
    """One such model, for tests that only read it."""
    return make_model()
