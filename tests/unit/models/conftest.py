# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Small random models whose predictions vary from position to position, and random padded batches."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from dims_hf import MODELS, CMLMConfig, CMLMForConditionalGeneration
from dims_hf.models.modeling_nat import masked_mean


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
    "upsample_ratio": 2,
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Modules that list `FAMILIES` run each of their model tests for all of them; others run with CMLM."""
    chosen = any("family" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "family" in metafunc.fixturenames and hasattr(metafunc.module, "FAMILIES") and not chosen:
        metafunc.parametrize("family", metafunc.module.FAMILIES, indirect=True)


@pytest.fixture
def family(request: pytest.FixtureRequest) -> str:
    """Key of `MODELS`."""
    return getattr(request, "param", "cmlm")


@pytest.fixture
def make_config(family: str) -> Callable[..., CMLMConfig]:
    """Configuration of a tiny model whose sides differ in every size; keyword arguments override fields."""
    known = MODELS[family][0].__dataclass_fields__
    sizes = {name: value for name, value in SIZES.items() if name in known}
    return lambda **fields: MODELS[family][0](**{**sizes, **fields})


@pytest.fixture
def make_model(family: str, make_config: Callable[..., CMLMConfig]) -> Callable[..., CMLMForConditionalGeneration]:
    """A tiny model in evaluation mode, the same weights for the same seed, drawn wide so that errors would show."""

    def make(seed: int = 0, *, attn_implementation: str = "sdpa", **fields: object) -> CMLMForConditionalGeneration:
        config = make_config(**{"initializer_range": 0.4, **fields})
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return MODELS[family][2]._from_config(config, attn_implementation=attn_implementation).eval()

    return make


@pytest.fixture
def make_translator(
    make_model: Callable[..., CMLMForConditionalGeneration],
    make_sources: Callable[..., list[torch.LongTensor]],
    pad: Callable[..., torch.LongTensor],
) -> Callable[..., CMLMForConditionalGeneration]:
    """
    `make_model`, with predictions that change from position to position and from pass to pass, and predicted lengths
    that vary between sentences, around 8: fresh models repeat one token and one length.
    """

    @torch.no_grad()
    def make(seed: int = 0, **fields: object) -> CMLMForConditionalGeneration:
        model = make_model(seed, **{"initializer_range": 0.2, **fields})
        for stack in (model.get_encoder(), model.get_decoder()):
            stack.embed_positions.weight.mul_(6)
        if not model.config.predicts_length:
            return model
        # The states' dimensions then add up to 1: a constant that the predictor, without bias, can use.
        model.get_encoder().layers[-1].final_layer_norm.bias.fill_(1 / model.config.d_model)
        sources = pad(make_sources(seed, 50))
        means = masked_mean(model.get_encoder()(sources).last_hidden_state, sources.ne(1))
        direction = torch.randn(means.shape[1], generator=torch.Generator().manual_seed(seed))
        direction = direction * 2 / (means @ direction).std()
        direction = direction + 8 - (means @ direction).mean()
        # logit(c) = 2·c·w·x − c² is largest at the class nearest to w·x.
        classes = torch.arange(model.config.max_target_length).unsqueeze(1)
        model.length_head.weight.copy_(2 * classes * direction - classes.square())
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
