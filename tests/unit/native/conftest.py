# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Models whose native translations are told apart."""

from __future__ import annotations

import pytest
import torch

from dims_hf import MODELS


@pytest.fixture(scope="session")
def make_model(tiny_tokenizer):
    """A small model of a family with large random weights, which write different tokens at different positions."""

    def make(family: str, **fields):
        sizes = {"d_model": 32, "encoder_layers": 3, "decoder_layers": 2, "encoder_ffn_dim": 40, "decoder_ffn_dim": 56}
        heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 4, "max_position_embeddings": 64}
        if family != "imputer":
            heads["max_target_length"] = 24
        else:
            heads["blank_token_id"] = 5
        config = MODELS[family][0](
            vocab_size=len(tiny_tokenizer), initializer_range=0.3, **{**sizes, **heads, **fields}
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return MODELS[family][2](config).eval()

    return make
