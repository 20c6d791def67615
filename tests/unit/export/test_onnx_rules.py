# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Decoding rules of the translator, in numpy: the same as those of `generate()`, on random numbers and on models."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from dims_hf import CMLMConfig, CMLMForConditionalGeneration, ImputerConfig, ImputerForConditionalGeneration
from dims_hf.export import OnnxTranslator, write_graphs
from dims_hf.export.onnx_rules import Alternatives, best_places, penalize_repeats, search_prefixes
from dims_hf.models.decoding_constraints import best_places as torch_places
from dims_hf.models.decoding_ctc import search_row
from dims_hf.models.decoding_rules import penalize_repeats as torch_penalize
from dims_hf.models.prefix_search import rescore
from tests.fixtures.language_models import Bigrams


pytest.importorskip("onnxruntime", reason="needs the onnx extra")
pytest.importorskip("onnx", reason="needs the onnx extra")

SIZES = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "max_position_embeddings": 40,
    "vocab_size": 30,
}


def _draw(seed: int, rows: int = 6, width: int = 9, size: int = 5) -> tuple[Alternatives, np.ndarray]:
    """Alternatives of a vocabulary so small that repeats abound, and the content."""
    generator = np.random.default_rng(seed)
    is_content = np.arange(width) < generator.integers(1, width + 1, rows)[:, None]
    found = Alternatives(generator.integers(0, size, (rows, width)), 3)
    found.update(is_content, generator.normal(size=(is_content.sum(), size)).astype(np.float32))
    return found, is_content


@pytest.mark.parametrize("penalty", [0.0, 0.3, 1.0, math.inf])
@pytest.mark.parametrize("seed", range(3))
def test_penalty_of_repeats_is_that_of_torch(penalty: float, seed: int):
    found, is_content = _draw(seed)
    is_forced = ~is_content & (np.random.default_rng(seed).random(is_content.shape) < 0.5)
    parts = (found.tokens, found.log_probs, is_content)
    for forced in (None, is_forced):
        expected, _ = torch_penalize(
            *map(torch.from_numpy, parts), penalty, is_forced=None if forced is None else torch.from_numpy(forced)
        )
        assert penalize_repeats(found, is_content, penalty, forced).tolist() == expected.tolist()


def test_alternatives_are_the_likeliest_tokens_and_what_is_missing_is_impossible():
    found = Alternatives(np.array([[7, 8]]), 3)
    logits = np.log(np.array([[0.5, 0.2, 0.3]], np.float32))
    found.update(np.array([[True, False]]), logits, np.array([40, 50, 60]))
    assert found.tokens.tolist() == [[[40, 60, 50], [8, 8, 8]]]
    np.testing.assert_allclose(np.exp(found.log_probs), [[[0.5, 0.3, 0.2], [1, 0, 0]]], rtol=1e-6)
    found.update(np.array([[False, True]]), logits[:, :2])
    assert np.isneginf(found.log_probs[0, 1, 2])


@pytest.mark.parametrize("beam", [1, 2, 5, 200])
def test_prefix_beam_is_that_of_torch(beam: int):
    generator = torch.Generator().manual_seed(beam)
    log_probs, tokens = (
        torch.randn(9, 16, generator=generator).mul(0.5).log_softmax(dim=-1).sort(dim=-1, descending=True)
    )
    for count in (3, 16):
        part = tokens[:, :count].contiguous(), log_probs[:, :count].contiguous()
        expected = search_row(*part, blank_token_id=2, beam_size=beam)
        found = search_prefixes(*(each.numpy() for each in part), blank_token_id=2, beam_size=beam)
        assert [ids for ids, _ in found] == [ids for ids, _ in expected]
        np.testing.assert_allclose([score for _, score in found], [score for _, score in expected], atol=1e-6)


def test_prefix_beam_of_two_frames_by_hand():
    # symbols: blank 0, a 1; p = .6/.4 and .5/.5. "a": .6·.5 + .4·.5 + .4·.5; "": .6·.5
    log_probs = np.log(np.array([[0.6, 0.4], [0.5, 0.5]]))
    found = search_prefixes(np.array([[0, 1], [0, 1]]), log_probs, blank_token_id=0, beam_size=4)
    assert [ids for ids, _ in found] == [[1], []]
    np.testing.assert_allclose([math.exp(score) for _, score in found], [0.7, 0.3])
    again = rescore(found, lambda ids: -5.0 * len(ids), weight=1.0, token_bonus=0.5)
    assert [ids for ids, _ in again] == [[], [1]]


def test_places_of_phrases_are_those_of_torch():
    generator = torch.Generator().manual_seed(1)
    for phrases in ([[3]], [[1, 2], [4]], [[0], [1], [2, 2]], []):
        logits = torch.randn(5, 6, generator=generator)
        assert best_places(logits.numpy(), phrases) == torch_places(logits.log_softmax(dim=-1), phrases)


def _make_model(kind: type, config: Any, **fields: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = kind(config(initializer_range=0.2, **{**SIZES, **fields})).eval()
    with torch.no_grad():
        model.get_decoder().embed_positions.weight.mul_(2)
        if model.config.predicts_length:
            model.length_head.weight.mul_(0.3)
    return model


def _make_batch() -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([4, 9, 6])
    is_token = torch.arange(9) < lengths.unsqueeze(1)
    ids = torch.randint(6, 30, is_token.shape, generator=torch.Generator().manual_seed(5))
    return ids.masked_fill(~is_token, 1), is_token.long()


def _compare(model: Any, translator: OnnxTranslator, num_iterations: int, **options: Any) -> list[list[int]]:
    """The same sequences and scores from both, which are returned."""
    batch = _make_batch()
    expected = model.generate(
        *batch, num_iterations=num_iterations, collapse_repeats=False, return_dict_in_generate=True, **options
    )
    sequences, scores = translator.generate(*(part.numpy() for part in batch), **options)
    assert sequences.tolist() == expected.sequences.tolist(), options
    np.testing.assert_allclose(scores, expected.sequences_scores.numpy(), atol=1e-4)
    return sequences.tolist()


@pytest.mark.parametrize("num_iterations", [1, 3])
@pytest.mark.parametrize("update_all", [False, True])
def test_rules_of_a_length_predicting_model_are_those_of_generate(tmp_path, num_iterations: int, update_all: bool):
    model = _make_model(
        CMLMForConditionalGeneration, CMLMConfig, max_target_length=20, update_all_positions=update_all
    )
    write_graphs(model, tmp_path, num_iterations=num_iterations)
    translator = OnnxTranslator(tmp_path, threads=1)
    outputs = [
        _compare(model, translator, num_iterations, **options)
        for options in (
            {},
            {"repeat_penalty": 0.2},
            {"repeat_penalty": math.inf},
            {"length_beam_size": 4},
            {"length_beam_size": 4, "length_score_weight": 2.0},
            {"length_beam_size": 4, "num_return_sequences": 3, "repeat_penalty": 0.5, "length_score_weight": 0.3},
        )
    ]
    # else a rule that is not followed would not be seen
    assert len({str(output) for output in outputs}) == len(outputs)
    for row in outputs[2]:
        content = [token for token in row if token != 1]
        assert all(left != right for left, right in zip(content, content[1:]))


def test_rules_in_the_generation_config_are_followed_when_nothing_is_said(tmp_path):
    model = _make_model(CMLMForConditionalGeneration, CMLMConfig, max_target_length=20)
    model.generation_config.update(repeat_penalty=math.inf, length_beam_size=3, length_score_weight=0.5)
    described = write_graphs(model, tmp_path, num_iterations=1)
    assert described["settings"]["repeat_penalty"] == "inf"
    _compare(model, OnnxTranslator(tmp_path, threads=1), 1)


def test_what_is_forced_is_forced_pass_by_pass_and_refused_in_one_graph(tmp_path):
    model = _make_model(CMLMForConditionalGeneration, CMLMConfig, max_target_length=20)
    write_graphs(model, tmp_path / "passes", num_iterations=3)
    write_graphs(model, tmp_path / "one", num_iterations=1)
    translator, one = (OnnxTranslator(tmp_path / name, threads=1) for name in ("passes", "one"))
    tokens = torch.full((3, 5), -100)
    tokens[0, 2], tokens[1, 1:4] = 9, torch.tensor([11, 11, 12])
    phrases = [[[9, 9]], [], [[11], [12, 13]]]
    for options in ({"forced_tokens": tokens}, {"forced_phrases": phrases}):
        given = {"target_lengths": torch.tensor([6, 7, 8])}
        for more in ({}, {"repeat_penalty": 1.0}, {"length_beam_size": 3}, given):
            rows = _compare(model, translator, 3, **options, **more)
            assert "9" in str(rows[0])
        with pytest.raises(ValueError, match="nothing can be forced.*--graph traced"):
            one.generate(*(part.numpy() for part in _make_batch()), **options)
    for options, message in (
        ({"forced_phrases": phrases[:2]}, "2 entries for 3 sentences"),
        ({"forced_phrases": [[[]], [], []]}, r"forced_phrases\[0\] has 1 phrases, 1 of them empty"),
        ({"forced_phrases": [[[2]], [], []]}, "The id 2 cannot be forced"),
        ({"forced_phrases": [[[9] * 30], [], []]}, "sentence 0 needs 30 content tokens, there is room for 17"),
        ({"forced_tokens": tokens[:2]}, r"of shape \(3, length\)"),
        ({"forced_tokens": tokens, "forced_phrases": phrases}, "exclude each other"),
    ):
        with pytest.raises(ValueError, match=message):
            translator.generate(*(part.numpy() for part in _make_batch()), **options)


@pytest.mark.parametrize("num_iterations", [1, 3])
def test_prefix_beam_of_an_imputer_is_that_of_generate(tmp_path, num_iterations: int):
    model = _make_model(ImputerForConditionalGeneration, ImputerConfig)
    write_graphs(model, tmp_path, num_iterations=num_iterations)
    translator = OnnxTranslator(tmp_path, threads=1)
    greedy = _compare(model, translator, num_iterations)
    beam = _compare(model, translator, num_iterations, prefix_beam_size=6)
    _compare(model, translator, num_iterations, prefix_beam_size=6, num_return_sequences=4)
    liked = _compare(model, translator, num_iterations, prefix_beam_size=6, language_model=lambda ids: 9.0 * sum(ids))
    steering = {"language_model": Bigrams(12), "language_model_weight": 0.8, "token_bonus": 0.4}
    steered = _compare(model, translator, num_iterations, prefix_beam_size=6, **steering)
    assert greedy != beam != liked and steered not in (beam, liked)
    _compare(model, translator, num_iterations, prefix_beam_size=6, num_return_sequences=4, **steering)
    batch = [part.numpy() for part in _make_batch()]
    for options, message in (
        ({"num_return_sequences": 2}, "prefix_beam_size=1. Raise"),
        ({"language_model": len}, "Give prefix_beam_size"),
        ({"prefix_beam_size": 2, "token_bonus": -1}, "token_bonus must be a number >= 0, got -1"),
        ({"repeat_penalty": 1.0}, "decoded without repeat_penalty"),
        ({"forced_phrases": [[[9]]] * 3}, "not those of a translation"),
    ):
        with pytest.raises(ValueError, match=message):
            translator.generate(*batch, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repeat_penalty": -1}, "repeat_penalty must be a number >= 0, got -1"),
        ({"repeat_penalty": math.nan}, "repeat_penalty must be a number >= 0, got nan"),
        ({"length_score_weight": math.inf}, "length_score_weight must be a number >= 0, got inf"),
        ({"prefix_beam_size": 4}, "decoded without prefix_beam_size"),
        ({"num_return_sequences": 2}, "exceeds length_beam_size=1"),
        ({"length_beam_size": 2.0}, "length_beam_size must be an integer >= 1, got 2.0"),
    ],
)
def test_impossible_rules_are_refused_in_one_line(tmp_path, options: dict, message: str):
    write_graphs(_make_model(CMLMForConditionalGeneration, CMLMConfig), tmp_path, num_iterations=1)
    with pytest.raises(ValueError, match=message) as refused:
        OnnxTranslator(tmp_path, threads=1).generate(*(part.numpy() for part in _make_batch()), **options)
    assert "\n" not in str(refused.value)
