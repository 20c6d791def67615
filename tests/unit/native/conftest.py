# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The native library, compiled once per session from the sources under test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dims_hf import MODELS
from dims_hf.native import build as building, library


@pytest.fixture(scope="session")
def native_library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The library, which all native tests load."""
    try:
        path = building.build(tmp_path_factory.mktemp("native") / building.LIBRARY_NAME)
    except building.BuildError as error:
        pytest.skip(f"needs the native library: {error}")
    former = os.environ.get(library.LIBRARY_VARIABLE)
    os.environ[library.LIBRARY_VARIABLE] = str(path)
    yield path
    if former is None:
        del os.environ[library.LIBRARY_VARIABLE]
    else:
        os.environ[library.LIBRARY_VARIABLE] = former


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
