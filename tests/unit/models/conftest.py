# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Small random models whose predictions vary from position to position, and random padded batches."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from dims_hf import CMLMConfig, CMLMForConditionalGeneration


SIZES = {
    "vocab_size": 20,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 28,
    "dropout": 0.0,
    "max_position_embeddings": 30,
    "max_target_length": 16,
}


@pytest.fixture
def make_config() -> Callable[..., CMLMConfig]:
    """Configuration of a tiny model whose sides differ in every size; keyword arguments override fields."""
    return lambda **fields: CMLMConfig(**{**SIZES, **fields})


@pytest.fixture
def make_model(make_config: Callable[..., CMLMConfig]) -> Callable[..., CMLMForConditionalGeneration]:
    """
    A tiny model in evaluation mode, the same weights for the same seed.

    Weights are drawn wide (0.4), so that a freshly initialised model prefers different tokens at different positions.
    """

    def make(seed: int = 0, *, attn_implementation: str = "sdpa", **fields: object) -> CMLMForConditionalGeneration:
        config = make_config(**{"initializer_range": 0.4, **fields})
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return CMLMForConditionalGeneration._from_config(config, attn_implementation=attn_implementation).eval()

    return make


@pytest.fixture
def make_translator(make_model: Callable[..., CMLMForConditionalGeneration]) -> Callable[..., torch.nn.Module]:
    """`make_model`, with a length predictor whose answers differ between sentences (fresh ones give one answer)."""

    @torch.no_grad()
    def make(seed: int = 0, **fields: object) -> CMLMForConditionalGeneration:
        model = make_model(seed, **fields)
        width, num_classes = model.config.d_model, model.config.max_target_length
        # The states then average 1 over their dimensions, which gives the bias-free predictor a constant to use:
        # logit(c) = 2·c·w·x − c² is largest at the class nearest to w·x.
        model.get_encoder().layers[-1].final_layer_norm.bias.fill_(1.0)
        direction = torch.randn(width, generator=torch.Generator().manual_seed(seed))
        classes = torch.arange(num_classes).unsqueeze(1)
        weights = 2 * classes * (7.0 / width + 0.8 * direction) - classes.square() / width
        model.length_head.weight.copy_(weights)
        return model

    return make


@pytest.fixture
def make_sources() -> Callable[..., list[torch.LongTensor]]:
    """`count` random unpadded sources `<s> … </s>` of various lengths."""

    def make(seed: int, count: int, *, vocab_size: int = SIZES["vocab_size"], longest: int = 9) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.randint(1, longest + 1, (count,), generator=generator).tolist()
        content = [torch.randint(5, vocab_size, (length,), generator=generator) for length in lengths]
        return [torch.cat([torch.tensor([0]), ids, torch.tensor([2])]) for ids in content]

    return make


@pytest.fixture
def pad() -> Callable[..., torch.LongTensor]:
    """Rows of ids as one (B, width) tensor, padded with 1 on the chosen side."""

    def pad_rows(rows: list[torch.Tensor], *, side: str = "right", width: int | None = None) -> torch.LongTensor:
        width = max(len(row) for row in rows) if width is None else width
        padding = [torch.ones(width - len(row), dtype=torch.long) for row in rows]
        pairs = zip(rows, padding, strict=True)
        return torch.stack([torch.cat([row, fill] if side == "right" else [fill, row]) for row, fill in pairs])

    return pad_rows
