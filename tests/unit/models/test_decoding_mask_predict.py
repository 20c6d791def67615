# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Mask-predict as pure functions: templates, length candidates, ranking, token choice, and single steps by hand."""

from __future__ import annotations

import pytest
import torch

from dims_hf.models.decoding_mask_predict import KEPT, REMASKED, REVEALED, init_mask_predict, step_mask_predict
from dims_hf.models.generation_nat import choose_tokens, length_candidates, rank_candidates


# The reference's ids: the mask is `<unk>`.
IDS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "mask_token_id": 3}
MASK = 3


def start(lengths: list[int], num_iterations: int):
    return init_mask_predict(torch.tensor(lengths), num_iterations=num_iterations, **IDS)


def step(state, updated: list[list[int]], tokens: list[int], log_probs: list[float]):
    is_updated = torch.tensor(updated, dtype=torch.bool)
    return step_mask_predict(
        state, is_updated, torch.tensor(tokens), torch.tensor(log_probs), mask_token_id=IDS["mask_token_id"]
    )


def test_templates_of_a_length_beam_follow_the_table():
    state = start([3, 4, 5], 2)
    assert state.tokens.tolist() == [[0, 3, 2, 1, 1], [0, 3, 3, 2, 1], [0, 3, 3, 3, 2]]
    assert state.is_content.sum(dim=1).tolist() == [1, 2, 3]
    assert state.is_masked.tolist() == state.is_content.tolist()
    assert state.scores.abs().sum() == 0 and state.scores.dtype == torch.float32
    assert (state.num_passes, state.num_iterations, state.is_finished) == (0, 2, False)


def test_template_of_length_two_has_no_content():
    assert start([2, 3], 1).tokens.tolist() == [[0, 2, 1], [0, 3, 2]]


@pytest.mark.parametrize(
    ("predicted", "num_candidates", "expected"),
    [
        (8, 1, [8]),
        (8, 2, [7, 8]),
        (8, 3, [7, 8, 9]),
        (8, 4, [6, 7, 8, 9]),
        (8, 5, [6, 7, 8, 9, 10]),
        (3, 5, [2, 2, 3, 4, 5]),
        (2, 3, [2, 2, 3]),
        (4, 3, [3, 4, 5]),
        (0, 1, [2]),
    ],
)
def test_length_candidates_follow_the_table(predicted: int, num_candidates: int, expected: list[int]):
    assert length_candidates(torch.tensor([predicted]), num_candidates).tolist() == [expected]


def test_length_candidates_stay_below_the_longest():
    assert length_candidates(torch.tensor([9, 3]), 5, longest=10).tolist() == [[7, 8, 9, 10, 10], [2, 2, 3, 4, 5]]


def test_rank_candidates_orders_by_score_and_prefers_the_shorter_of_equals():
    scores = torch.tensor([-2.0, -1.0, -1.0, -3.0, -0.5, -0.5, -0.5, -0.7])  # ascending in length per sentence
    assert rank_candidates(scores, 4).tolist() == [[1, 2, 0, 3], [4, 5, 6, 7]]
    assert rank_candidates(scores, 1).tolist() == [[row] for row in range(8)]
    many = torch.zeros(200)  # enough for an unstable sort to show
    assert rank_candidates(many, 100).tolist() == [list(range(100)), list(range(100, 200))]


def test_step_reveals_the_most_confident_and_masks_the_rest_again():
    state = step(start([5], 3), [[0, 1, 1, 1, 0]], [7, 8, 9], [-0.5, -2.0, -1.0])  # 2 of 3 stay masked
    assert state.tokens.tolist() == [[0, 7, MASK, MASK, 2]]
    assert state.hypotheses.tolist() == [[0, 7, 8, 9, 2]]
    assert state.scores.tolist() == [[0.0, -0.5, -2.0, -1.0, 0.0]]
    assert state.state.tolist() == [[KEPT, REVEALED, REMASKED, REMASKED, KEPT]]
    assert state.is_masked.tolist() == [[False, False, True, True, False]]
    assert state.num_passes == 1


def test_step_may_mask_a_token_again_that_was_revealed_before():
    state = step(start([5], 3), [[0, 1, 1, 1, 0]], [7, 8, 9], [-0.5, -2.0, -1.0])
    state = step(state, [[0, 0, 1, 1, 0]], [10, 11], [-0.1, -0.2])  # 1 stays masked: now the first token is weakest
    assert state.tokens.tolist() == [[0, MASK, 10, 11, 2]]
    assert state.state.tolist() == [[KEPT, REMASKED, REVEALED, REVEALED, KEPT]]
    state = step(state, [[0, 1, 0, 0, 0]], [12], [-5.0])
    assert state.tokens.tolist() == state.hypotheses.tolist() == [[0, 12, 10, 11, 2]]
    assert state.state.tolist() == [[KEPT, REVEALED, KEPT, KEPT, KEPT]]
    assert state.is_finished


def test_step_that_updates_everything_overwrites_revealed_tokens():
    state = step(start([4], 2), [[0, 1, 1, 0]], [7, 8], [-1.0, -2.0])
    assert state.tokens.tolist() == [[0, 7, MASK, 2]]
    state = step(state, [[0, 1, 1, 0]], [9, 10], [-3.0, -4.0])
    assert state.tokens.tolist() == [[0, 9, 10, 2]]
    assert state.state.tolist() == [[KEPT, REVEALED, REVEALED, KEPT]]


def test_step_counts_each_row_by_its_own_length():
    state = start([2, 3, 6], 2)
    state = step(state, state.is_content.int().tolist(), [5, 6, 7, 8, 9], [-1.0, -1.0, -2.0, -3.0, -4.0])
    assert state.is_masked.sum(dim=1).tolist() == [0, 0, 2]
    assert state.tokens.tolist() == [[0, 2, 1, 1, 1, 1], [0, 5, 2, 1, 1, 1], [0, 6, 7, MASK, MASK, 2]]


def test_step_never_masks_specials_whose_score_is_the_lowest():
    # Scores of `<s>`, `</s>` and padding are 0, log-probabilities of certain tokens too.
    state = step(start([4, 5], 2), [[0, 1, 1, 0, 0], [0, 1, 1, 1, 0]], [5, 6, 7, 8, 9], [0.0] * 5)
    assert not (state.is_masked & ~state.is_content).any()
    assert state.is_masked.sum(dim=1).tolist() == [1, 1]


def test_choose_tokens_by_hand():
    logits = torch.tensor([[1.0, 3.0, 2.0], [0.0, 0.0, 1.0]])
    tokens, log_probs = choose_tokens(logits, [])
    assert tokens.tolist() == [1, 2]
    assert torch.allclose(log_probs, torch.tensor([-0.407606, -0.551445]), atol=1e-6)


def test_choose_tokens_gives_suppressed_ids_no_probability():
    logits = torch.tensor([[1.0, 3.0, 2.0], [0.0, 0.0, 1.0]])
    tokens, log_probs = choose_tokens(logits, [1])
    assert tokens.tolist() == [2, 2]
    expected = torch.tensor([[1.0, 2.0], [0.0, 1.0]]).log_softmax(dim=-1)[:, 1]
    assert torch.allclose(log_probs, expected, atol=1e-6)
    assert logits[0, 1] == 3.0  # the caller's logits are left alone


def test_choose_tokens_reports_fp32_log_probabilities_of_half_precision_logits():
    logits = torch.randn(6, 30, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    _, log_probs = choose_tokens(logits, [0])
    assert log_probs.dtype == torch.float32
    assert torch.allclose(log_probs, choose_tokens(logits.float(), [0])[1])


def test_choose_tokens_samples_from_the_tempered_distribution():
    logits = torch.tensor([0.0, 1.0, 2.0, 5.0]).expand(20_000, -1)
    generator = torch.Generator().manual_seed(0)
    tokens, log_probs = choose_tokens(logits, [3], do_sample=True, temperature=2.0, generator=generator)
    shares = tokens.bincount(minlength=4) / len(tokens)
    expected = torch.tensor([0.0, 0.5, 1.0]).softmax(dim=-1)
    assert shares[3] == 0
    assert torch.allclose(shares[:3], expected, atol=0.015)
    # The score is the model's own probability, not that of the temperature.
    assert torch.allclose(log_probs, torch.tensor([0.0, 1.0, 2.0]).log_softmax(dim=-1)[tokens], atol=1e-6)


def test_choose_tokens_of_nothing_is_nothing():
    for do_sample in (False, True):
        tokens, log_probs = choose_tokens(torch.zeros(0, 7), [4], do_sample=do_sample)
        assert tokens.shape == log_probs.shape == (0,)
