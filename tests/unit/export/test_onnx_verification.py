# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Verification of exports: translations that only rounding tells apart are near ties, everything else is a fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dims_hf import CMLMConfig, CMLMForConditionalGeneration
from dims_hf.export import OnnxTranslator, export_onnx, onnx_decoding


pytest.importorskip("onnxruntime", reason="needs the onnx extra")
pytest.importorskip("onnx", reason="needs the onnx extra")


def _make_model(tokenizer, **settings: float) -> CMLMForConditionalGeneration:
    sizes: dict[str, Any] = {
        f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in _SIZES.items()
    }
    config = CMLMConfig(
        vocab_size=len(tokenizer), d_model=32, max_position_embeddings=64, max_target_length=32, **sizes
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CMLMForConditionalGeneration(config).eval()
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    return model


_SIDES = ("encoder", "decoder")
_SIZES = {"layers": 2, "attention_heads": 4, "ffn_dim": 48}
_FIRST, _SECOND = 36, 40


@pytest.fixture
def tied_model(tiny_tokenizer) -> CMLMForConditionalGeneration:
    """Predicts `_FIRST` now and then, and `_SECOND` at exactly the same score."""
    model = _make_model(tiny_tokenizer)
    with torch.no_grad():
        model.model.shared.weight[_SECOND] = model.model.shared.weight[_FIRST]
    return model


def _take_second(monkeypatch: pytest.MonkeyPatch, second: int, score: float = 0.0) -> list[int]:
    """Makes translators write `second` where `_FIRST` stands alone in a sequence; the number of times, in a list."""
    generate, changed = OnnxTranslator.generate, [0]

    def other(self: OnnxTranslator, *batch: np.ndarray, **options: Any) -> tuple[np.ndarray, np.ndarray]:
        sequences, scores = generate(self, *batch, **options)
        is_lone = ((sequences == _FIRST).sum(axis=1) == 1)[:, None]
        changed[0] += int(is_lone.sum())
        return np.where((sequences == _FIRST) & is_lone, second, sequences), scores + score * is_lone[:, 0]

    monkeypatch.setattr(OnnxTranslator, "generate", other)
    return changed


def test_translation_of_the_same_score_is_a_near_tie(tied_model, tiny_tokenizer, tmp_path, monkeypatch):
    changed = _take_second(monkeypatch, _SECOND)
    verified = export_onnx(tied_model, tiny_tokenizer, tmp_path / "out", num_iterations=1)["verification"]
    assert changed[0] >= verified["num_near_ties"] > 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"tokens) but {verified['num_near_ties']}, where rounding decides" in card


@pytest.mark.parametrize(
    ("second", "score"),
    [
        (_SECOND + 1, 0.0),  # another token, at another score
        (_SECOND, 1e-3),  # the same token, said to be worth more
    ],
)
def test_translation_of_another_score_is_a_fault(
    tied_model, tiny_tokenizer, tmp_path, monkeypatch, second: int, score: float
):
    assert _take_second(monkeypatch, second, score) == [0]
    with pytest.raises(ValueError, match=r"do not give PyTorch's tokens: .*, and rounding does not explain it\."):
        export_onnx(tied_model, tiny_tokenizer, tmp_path / "out", num_iterations=1)
    assert not (tmp_path / "out").exists()


def _penalize_more(penalize: Callable) -> Callable:
    return lambda found, is_content, penalty, is_forced=None: penalize(found, is_content, 1.05 * penalty, is_forced)


def test_rule_that_is_slightly_wrong_is_a_fault(tiny_tokenizer, tmp_path: Path, monkeypatch):
    model = _make_model(tiny_tokenizer, repeat_penalty=0.012, length_beam_size=3)
    monkeypatch.setattr(onnx_decoding, "penalize_repeats", _penalize_more(onnx_decoding.penalize_repeats))
    with pytest.raises(ValueError, match="rounding does not explain it"):
        export_onnx(model, tiny_tokenizer, tmp_path / "wrong", num_iterations=1)


@pytest.mark.parametrize("penalty", [0.012, 1.0])
def test_fresh_model_with_all_rules_gives_the_same_tokens(tiny_tokenizer, tmp_path: Path, penalty: float):
    """Of a fresh model many paths score nearly the same: the search must not lose what tells them apart."""
    model = _make_model(tiny_tokenizer, repeat_penalty=penalty, length_beam_size=3)
    verified = export_onnx(model, tiny_tokenizer, tmp_path / "out", num_iterations=1)["verification"]
    assert verified["num_near_ties"] == 0 and verified["largest_score_difference"] < 1e-5
