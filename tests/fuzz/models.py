# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Tiny models to damage, the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

TINY_TEXTS = (
    "the small dog sees the old cat .",
    "a cat sleeps in the house today .",
    "der kleine Hund sieht die alte Katze .",
    "eine Katze schläft heute im Haus .",
)

SIZES = {
    "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 48,
}  # fmt: skip


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A BPE tokenizer over four sentences."""
    from dims_hf.data import train_tokenizer

    return train_tokenizer(TINY_TEXTS, vocab_size=120, max_length=48)


def make_model(family: str, vocab_size: int) -> PreTrainedModel:
    """A model of a family with random weights."""
    from dims_hf import MODELS

    fields = {"max_target_length": 32} if MODELS[family][0]().predicts_length else {"blank_token_id": 5}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = MODELS[family][0](vocab_size=vocab_size, initializer_range=0.4, **SIZES, **fields)
        return MODELS[family][2](config).eval()


def save_checkpoint(family: str, folder: Path) -> Path:
    """A checkpoint with its tokenizer."""
    from dims_hf.data import save_tokenizer

    tokenizer = make_tokenizer()
    make_model(family, len(tokenizer)).save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    return folder
