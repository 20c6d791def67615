# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The work of systems that write alignments, and the text of their translations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dims_hf import CMLMConfig, CMLMForConditionalGeneration, ImputerConfig, ImputerForConditionalGeneration
from dims_hf.benchmark.settings import Size
from dims_hf.benchmark.systems import System
from dims_hf.benchmark.translators import decoded_text
from dims_hf.benchmark.weights import OURS, Weights, make_ours, make_tokenizer
from dims_hf.benchmark.work import Dimensions, count_by_running, count_one_shot
from dims_hf.models import MODELS


SIZES = {
    "d_model": 8,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 8,
    "decoder_ffn_dim": 8,
}


def make_imputer(tokenizer: Any, **fields: Any) -> Weights:
    config = ImputerConfig(vocab_size=len(tokenizer), **SIZES, **fields)
    return Weights("imputer", OURS, lambda: (ImputerForConditionalGeneration(config).eval(), tokenizer), False)


@pytest.mark.parametrize(
    ("fields", "passes", "predicted"),
    [
        ({}, 1, [9]),
        # 4.5 source tokens, two positions each: two blocks of four, and one position that waits for the second pass
        ({}, 4, [9, 7, 4, 2]),
        ({"update_all_positions": True}, 2, [9, 9]),
    ],
)
def test_work_of_an_imputer_follows_its_source_and_the_blocks(
    tiny_tokenizer: Any, fields: dict, passes: int, predicted: list[int]
):
    system = System("torch-fp32", make_imputer(tiny_tokenizer, **fields), num_iterations=passes)
    expected = count_one_shot(system.weights.dimensions, 4.5, 9, batch_size=3, predicted=predicted)
    # however many tokens the alignments collapse to
    assert [system.work(3, 4.5, num_tokens) for num_tokens in (0, 2, 50)] == [expected] * 3


def test_work_of_a_model_that_predicts_lengths_follows_its_target(tiny_tokenizer: Any):
    model = CMLMForConditionalGeneration(CMLMConfig(vocab_size=len(tiny_tokenizer), **SIZES))
    system = System("torch-fp32", Weights("cmlm", OURS, lambda: (model, tiny_tokenizer), False), 2)
    expected = count_one_shot(system.weights.dimensions, 4.5, 8, batch_size=3, predicted=[6, 3])
    assert system.work(3, 4.5, 6.2) == expected


def test_work_of_a_family_without_a_formula_is_counted_by_torch(tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch):
    model = CMLMForConditionalGeneration(CMLMConfig(vocab_size=len(tiny_tokenizer), **SIZES)).eval()
    weights = Weights("cmlm", OURS, lambda: (model, tiny_tokenizer), False)
    by_formula = System("torch-fp32", weights).work(3, 6, 6)
    assert by_formula.source == "formula"
    monkeypatch.setattr("dims_hf.benchmark.weights._FAMILIES_WITH_FORMULA", ())
    counted = {passes: System("torch-fp32", weights, passes).work(3, 6, 6) for passes in (1, 4)}
    assert counted[1].source == "torch.utils.flop_counter"
    assert counted[4].flops > counted[1].flops > 0
    # of three sentences, three times that of one
    assert counted[1].flops == 3 * System("torch-fp32", weights).work(1, 6, 6).flops
    assert counted[1].weights == sum(each.numel() for each in model.parameters() if each.dim() > 1)


@pytest.mark.parametrize(("collapse_repeats", "expected"), [(False, 2), (True, 1)])
def test_repeats_of_an_imputer_stay_unless_it_says_otherwise(
    tiny_tokenizer: Any, collapse_repeats: bool, expected: int
):
    weights = make_imputer(tiny_tokenizer)
    model = weights.make(None)
    model.generation_config.collapse_repeats = collapse_repeats
    weights = replace(weights, load=lambda: (model, tiny_tokenizer))
    word = tiny_tokenizer("cat", add_special_tokens=False)["input_ids"]
    assert len(word) == 1
    assert decoded_text(weights, word * 2).split() == ["cat"] * expected


@pytest.mark.parametrize("family", MODELS)
def test_work_of_every_family_is_that_of_the_translation_that_was_timed(family: str):
    size = Size(d_model=16, layers=1, heads=2, ffn_dim=32, vocab_size=60)
    weights = Weights(family, OURS, lambda: (make_ours(size, 1, family), make_tokenizer(size)), True)
    system = System("torch-fp32", weights)
    short, long = (system.work(2, 9, num_tokens) for num_tokens in (4, 16))
    assert short.flops > 0 and short.weights > 0 and len({short.source, long.source}) == 1
    assert short.source == ("formula" if family in ("cmlm", "cmlmc", "imputer") else "torch.utils.flop_counter")
    # graphs, alignments and edits have the lengths that they come to
    assert (short.flops < long.flops) == weights.predicts_length


def test_attention_is_counted_whichever_kernel_computes_it():
    size = Size(d_model=16, layers=1, heads=2, ffn_dim=32, vocab_size=60)
    model, counted = make_ours(size, 1, "cmlm"), {}
    for kernel in ("eager", "sdpa"):
        model.set_attn_implementation(kernel)
        counted[kernel] = count_by_running(model, 9, batch_size=1, num_tokens=10, num_iterations=1).flops
    assert counted["eager"] == counted["sdpa"]
    # all but what the formula knows that nobody needs: states of ends, and a mask's share of the first layer
    config = model.config
    sizes = (config.encoder_ffn_dim, config.encoder_layers, config.decoder_layers, config.vocab_size)
    least = count_one_shot(Dimensions(config.d_model, *sizes), 9, 12, predicted=[10]).flops
    assert least <= counted["eager"] < 1.2 * least
