# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A tiny checkpoint on disk, and sentences that it translates differently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.teachers import make_sources


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Path:
    """A CMLM with large random weights."""
    import torch

    from dims_hf import CMLMConfig, CMLMForConditionalGeneration
    from dims_hf.data import save_tokenizer

    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = CMLMConfig(
        vocab_size=len(tiny_tokenizer), max_position_embeddings=48, max_target_length=16, **sizes, **heads
    )
    model = CMLMForConditionalGeneration(config).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.normal_(std=0.8, generator=generator)
    folder = tmp_path_factory.mktemp("bulk") / "tiny"
    model.save_pretrained(folder)
    save_tokenizer(tiny_tokenizer, folder)
    return folder


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    """Thirty sources, one of them blank."""
    found = make_sources(30)
    found[17] = " "
    return found


@pytest.fixture(scope="session")
def expected(tiny_folder: Path, sentences: list[str]) -> list[str]:
    """What `translate` makes of them."""
    from dims_hf import load_model, translate

    return [each.text for each in translate(*load_model(tiny_folder, "cpu"), sentences)]


@pytest.fixture
def text_file(tmp_path: Path, sentences: list[str]) -> Path:
    """The sources, a line each."""
    path = tmp_path / "in.en"
    path.write_text("".join(f"{text}\n" for text in sentences), encoding="utf-8")
    return path
