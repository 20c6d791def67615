# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Operations and weights counted by hand, and the limits that follow."""

from __future__ import annotations

import pytest
import torch

from dims_hf.benchmark.work import (
    Dimensions,
    Phase,
    Work,
    count_autoregressive,
    count_one_shot,
    predicted_alignment_positions,
    predicted_positions,
)
from dims_hf.models.decoding_imputer import init_block_unmasking, step_block_unmasking


BASE = Dimensions(d_model=512, ffn_dim=2048, encoder_layers=6, decoder_layers=6, vocab_size=32000)
# one of everything: 4 + 6 encoder, 2 cross, 6 + 6 decoder, 3 vocabulary weights
UNIT = Dimensions(d_model=1, ffn_dim=3, encoder_layers=1, decoder_layers=1, vocab_size=3)


def test_weights_of_the_base_size_are_60_4_million():
    assert BASE.encoder_weights == 6 * (4 * 512 * 512 + 2 * 512 * 2048) == 18_874_368
    assert BASE.cross_weights + BASE.decoder_weights == 25_165_824
    assert BASE.vocabulary_weights == 16_384_000
    assert BASE.weights == 60_424_192


def test_one_pass_of_the_base_size_at_20_tokens_is_2_43_gflop_and_reads_each_weight_once():
    work = count_one_shot(BASE, 20, 20)
    encoder = 2 * 20 * 18_874_368 + 6 * 4 * 20 * 20 * 512
    decoder = 2 * 20 * 25_165_824 + 6 * 2 * 4 * 20 * 20 * 512
    assert (encoder, decoder, 2 * 20 * 16_384_000) == (759_889_920, 1_016_463_360, 655_360_000)
    assert work.flops == encoder + decoder + 655_360_000
    assert work.flops / 1e9 == pytest.approx(2.43, abs=0.005)
    assert work.weights == BASE.weights


def test_one_pass_at_batch_32_is_32_times_the_operations_but_for_shared_ones_and_no_more_weights():
    # 77.8 G without sharing; self-attention of the first layer and its queries for 31 of 32 targets: 1.65 G
    shared = 31 * (2 * 20 * 5 * 512 * 512 + 4 * 20 * 20 * 512)
    flops = count_one_shot(BASE, 20, 20, batch_size=32).flops
    assert flops == 32 * count_one_shot(BASE, 20, 20).flops - shared
    assert (flops + shared) / 1e9 == pytest.approx(77.8, abs=0.05)
    assert count_one_shot(BASE, 20, 20, batch_size=32).weights == BASE.weights


def test_count_one_shot_two_passes_and_two_candidates_by_hand():
    # encoder: 2·2·10 + 4·4 = 56; cross once: 2·2·2 = 8; a pass for a candidate: 2·3·12 + 4·3·(3 + 2) = 132, less
    # 2·10 + 4·(3 + 2) = 40 for each position that is not predicted
    work = count_one_shot(UNIT, 2, 3, predicted=[1, 2], num_candidates=2)
    first, second = 2 * (132 - 2 * 40) + 2 * 2 * 1 * 3 + 8, 2 * (132 - 40) + 2 * 2 * 2 * 3
    assert work.phases == (Phase(56, 10), Phase(first, 17), Phase(second, 15))


def test_correction_adds_a_self_attention_and_the_projection_that_joins_positions():
    corrected = Dimensions(d_model=1, ffn_dim=3, encoder_layers=1, decoder_layers=1, vocab_size=3, has_correction=True)
    assert (corrected.encoder_weights, corrected.decoder_weights) == (10 + 2, 12 + 4 + 2)
    # encoder: 2·2·12 + 4·4; decoder: 2·3·18 + 4·3·(3 + 3/2 + 2), with cross 8 and vocabulary 2·3·3
    assert corrected.shared_weights == 2 * 4 + 1 + 2
    assert count_one_shot(corrected, 2, 3).phases == (Phase(64, 12), Phase(108 + 78 + 8 + 18, 18 + 2 + 3))


def test_dimensions_count_the_feed_forward_of_either_side():
    narrow = Dimensions(d_model=1, ffn_dim=3, encoder_layers=1, decoder_layers=1, vocab_size=3, decoder_ffn_dim=1)
    assert (narrow.encoder_weights, narrow.decoder_weights, narrow.last_layer_weights) == (10, 8, 6)


def test_count_autoregressive_two_steps_and_two_beams_by_hand():
    # a step: 2·12 + 4·(t + 2) + 2·3 = 30 + 4·(t + 2)
    work = count_autoregressive(UNIT, 2, 2, num_beams=2)
    assert work.phases == (Phase(56, 10), Phase(8, 2), Phase(2 * 42, 15), Phase(2 * 46, 15))


def test_autoregressive_reads_decoder_and_vocabulary_once_per_token():
    work = count_autoregressive(BASE, 20, 20)
    assert work.weights == 18_874_368 + 3_145_728 + 20 * (22_020_096 + 16_384_000)


@pytest.mark.parametrize(
    ("tokens", "passes", "all_positions", "expected"),
    [
        (20, 1, False, [20]),
        (20, 4, False, [20, 15, 10, 5]),
        (5, 2, False, [5, 2]),
        (2, 4, False, [2, 1, 1]),
        (1, 10, False, [1]),
        (3, 3, True, [3, 3, 3]),
    ],
)
def test_predicted_positions(tokens: int, passes: int, all_positions: bool, expected: list[int]):
    assert predicted_positions(tokens, passes, all_positions=all_positions) == expected


@pytest.mark.parametrize(
    ("positions", "passes", "all_positions", "expected"),
    [
        (6, 1, False, [6]),
        (12, 4, False, [12, 9, 6, 3]),
        # the last block: 2, 1, 1, 0
        (10, 4, False, [10, 7, 5, 2]),
        # the last block of one position waits: 1, 1, 0, 0
        (9, 4, False, [9, 7, 4, 2]),
        (5, 2, False, [5, 3]),
        (3, 10, False, [3, 2, 2, 2, 1, 1, 1]),
        (1, 4, False, [1]),
        (9, 3, True, [9, 9, 9]),
    ],
)
def test_predicted_alignment_positions(positions: int, passes: int, all_positions: bool, expected: list[int]):
    assert predicted_alignment_positions(positions, passes, all_positions=all_positions) == expected


@pytest.mark.parametrize("passes", range(1, 12))
def test_predicted_alignment_positions_are_those_that_decoding_predicts(passes: int):
    for positions in range(1, 25):
        state, counted = (
            init_block_unmasking(torch.tensor([positions]), num_iterations=passes, pad_token_id=1, mask_token_id=4),
            [],
        )
        while not state.is_finished and state.is_masked.any():
            counted.append(int(state.is_masked.sum()))
            scores = -torch.arange(1.0, counted[-1] + 1)
            state = step_block_unmasking(state, state.is_masked, scores.long(), scores, mask_token_id=4)
        assert predicted_alignment_positions(positions, passes) == counted


@pytest.mark.parametrize(("precision", "seconds"), [("fp32", 40 + 100), ("bf16", 20 + 100), ("int8", 10 + 100)])
def test_limit_takes_the_longer_of_memory_and_arithmetic_in_each_phase(precision: str, seconds: float):
    # the first phase waits for memory (10 weights at 1 byte per second), the second for arithmetic
    work = Work((Phase(1, 10), Phase(100, 1)))
    assert work.limit(precision, rate=1.0, bandwidth=1.0) == seconds
