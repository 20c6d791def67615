# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Block-wise unmasking as pure functions: tables of the reference, a slow implementation, and no two neighbours."""

from __future__ import annotations

import pytest
import torch

from dims_hf.models.decoding_imputer import collapse_rows, init_block_unmasking, step_block_unmasking
from dims_hf.models.decoding_mask_predict import KEPT, REMASKED, REVEALED, DecodingState


PAD, MASK, BLANK = 1, 4, 5
IDS = {"pad_token_id": PAD, "mask_token_id": MASK}


def decode(
    lengths: list[int], num_iterations: int, *, seed: int = 0, update_all: bool = False, legacy: bool = False
) -> list[DecodingState]:
    """All states of a decoding with random confidences, in which pass s predicts 10 + s everywhere."""
    generator = torch.Generator().manual_seed(seed)
    states = [init_block_unmasking(torch.tensor(lengths), num_iterations=num_iterations, **IDS)]
    while not states[-1].is_finished:
        state = states[-1]
        scores = -torch.rand(state.tokens.shape, generator=generator)
        is_updated = state.is_content if update_all else state.is_masked
        predictions = torch.full_like(state.tokens, 11 + state.num_passes)
        states.append(
            step_block_unmasking(
                state, is_updated, predictions[is_updated], scores[is_updated], mask_token_id=MASK,
                legacy_adjacency=legacy,
            )
        )  # fmt: skip
    return states


def revealed_by(before: DecodingState, after: DecodingState) -> list[list[int]]:
    """Positions of each row that the pass between two states revealed."""
    return [row.nonzero().flatten().tolist() for row in before.is_masked & ~after.is_masked]


# ---- tables ----


def test_template_is_masks_and_padding():
    state = init_block_unmasking(torch.tensor([3, 1, 4]), num_iterations=2, **IDS)
    assert state.tokens.tolist() == [[4, 4, 4, 1], [4, 1, 1, 1], [4, 4, 4, 4]]
    assert torch.equal(state.is_content, state.tokens == MASK) and torch.equal(state.is_masked, state.is_content)
    assert state.scores.abs().sum() == 0 and state.scores.dtype == torch.float32
    assert (state.num_passes, state.num_iterations, state.is_finished) == (0, 2, False)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("length", "num_iterations", "expected"),
    [
        (12, 4, [3, 7, 11]),
        (12, 2, [1, 3, 5, 7, 9, 11]),
        (8, 4, [3, 7]),
        (6, 1, [0, 1, 2, 3, 4, 5]),
        (1, 1, [0]),
        (1, 4, [0]),
    ],
)
def test_first_pass_reveals_the_last_position_of_each_block(length, num_iterations, expected, legacy: bool):
    for seed in range(5):
        states = decode([length], num_iterations, seed=seed, legacy=legacy)
        assert revealed_by(*states[:2]) == [expected]


@pytest.mark.parametrize("legacy", [False, True])
def test_full_blocks_have_one_mask_less_after_every_pass(legacy: bool):
    for update_all in (False, True):
        states = decode([8], 4, update_all=update_all, legacy=legacy)
        assert [int(state.is_masked.sum()) for state in states] == [8, 6, 4, 2, 0]
        assert [state.is_masked[0, :4].sum().item() for state in states] == [4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("length", "num_iterations", "left"),
    [
        (3, 10, [2, 2, 2, 1, 1, 1, 0, 0, 0, 0]),  # short templates: the counts of mask-predict
        (10, 4, [7, 5, 2, 0]),  # 6 + 1, 4 + 1, 2 + 0, 0
        (9, 4, [7, 4, 2, 0]),  # 6 + 1, since the last block of one position waits, 4 + 0, 2, 0
        (5, 2, [3, 0]),
        (7, 3, [5, 2, 0]),
    ],
)
def test_masks_left_follow_the_counts(length: int, num_iterations: int, left: list[int]):
    states = decode([length], num_iterations)
    assert [int(state.is_masked.sum()) for state in states[1:]] == left


def test_partial_block_starts_away_from_the_block_before_it():
    # The reference's rule lets confidence decide inside the partial block, so that 7 and 8 may come together.
    first = {tuple(revealed_by(*decode([10], 4, seed=seed, legacy=True)[:2])[0]) for seed in range(20)}
    assert first == {(3, 7, 8), (3, 7, 9)}
    assert {tuple(revealed_by(*decode([10], 4, seed=seed)[:2])[0]) for seed in range(20)} == {(3, 7, 9)}
    # One position alone has no such choice, and comes with the second pass.
    states = decode([9], 4)
    assert revealed_by(*decode([9], 4, legacy=True)[:2]) == [[3, 7, 8]]
    assert revealed_by(*states[:2]) == [[3, 7]] and 8 in revealed_by(*states[1:3])[0]


def test_states_and_hypotheses_say_what_a_pass_did():
    state = init_block_unmasking(torch.tensor([4, 2]), num_iterations=2, **IDS)
    first = step_block_unmasking(
        state, state.is_masked, torch.tensor([10, 11, 12, 13, 14, 15]), -torch.arange(1.0, 7), mask_token_id=MASK
    )
    assert first.tokens.tolist() == [[4, 11, 4, 13], [4, 15, 1, 1]]
    assert first.hypotheses.tolist() == [[10, 11, 12, 13], [14, 15, 1, 1]]
    assert first.state.tolist() == [[REMASKED, REVEALED, REMASKED, REVEALED], [REMASKED, REVEALED, KEPT, KEPT]]
    assert first.scores.tolist() == [[-1, -2, -3, -4], [-5, -6, 0, 0]]  # forced positions keep their real score
    second = step_block_unmasking(
        first, first.is_masked, torch.tensor([20, 22, 24]), -torch.ones(3), mask_token_id=MASK
    )
    assert second.tokens.tolist() == [[20, 11, 22, 13], [24, 15, 1, 1]]
    assert second.state.tolist() == [[REVEALED, KEPT, REVEALED, KEPT], [REVEALED, KEPT, KEPT, KEPT]]
    assert second.is_finished and not second.is_masked.any()


# ---- slow implementations: one row, plain Python ----


def choose_masks_slowly(
    scores: list[float], masked: set[int], num_passes: int, size: int, *, legacy: bool
) -> set[int]:
    """Masked positions of one unpadded row after a pass."""
    left = set()
    for start in range(0, len(scores), size):
        block = list(range(start, min(start + size, len(scores))))
        num_left = len(block) * (size - num_passes) // size
        if legacy:
            candidates = [position for position in block if position != start + size - 1]
        else:
            candidates = [position for position in block if position in masked]
            if num_passes == 1 and len(block) == 1 and start > 0 and size > 1:
                num_left = 1
            elif num_passes == 1 and block[-1] in candidates:
                candidates.remove(block[-1])
        left |= set(sorted(candidates, key=lambda position: (scores[position], position))[:num_left])
    return left


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("update_all", [False, True])
@pytest.mark.parametrize("num_iterations", [1, 2, 3, 4, 7, 20])
def test_batches_equal_the_slow_implementation(num_iterations: int, update_all: bool, legacy: bool):
    lengths = [1, 2, 3, 5, 8, 9, 10, 13, 16]
    for seed in range(4):
        states = decode(lengths, num_iterations, seed=seed, update_all=update_all, legacy=legacy)
        for row, length in enumerate(lengths):
            masked = set(range(length))
            for state in states[1:]:
                scores = state.scores[row, :length].tolist()
                masked = choose_masks_slowly(scores, masked, state.num_passes, num_iterations, legacy=legacy)
                assert set(state.is_masked[row].nonzero().flatten().tolist()) == masked
                assert (state.tokens[row, length:] == PAD).all()


# ---- properties ----


@pytest.mark.parametrize("update_all", [False, True])
@pytest.mark.parametrize("num_iterations", range(2, 11))
def test_neighbours_are_never_revealed_together_and_all_is_revealed_in_time(num_iterations: int, update_all: bool):
    lengths = list(range(1, 41))
    for seed in range(3):
        states = decode(lengths, num_iterations, seed=seed, update_all=update_all)
        assert len(states) == num_iterations + 1 and not states[-1].is_masked.any()
        for before, after in zip(states, states[1:], strict=False):
            revealed = before.is_masked & ~after.is_masked
            assert not (revealed[:, 1:] & revealed[:, :-1]).any()
            assert not (after.is_masked & ~before.is_masked).any()  # what is revealed stays so
            assert torch.equal(after.tokens == MASK, after.is_masked)
        # A row with a full block needs every pass.
        is_long = torch.tensor(lengths) >= num_iterations
        assert states[-2].is_masked[is_long].any(dim=1).all()


def test_the_reference_reveals_neighbours_together_at_times():
    together = 0
    for num_iterations in (2, 4, 8):
        for seed in range(10):
            states = decode([10, 13, 15, 17], num_iterations, seed=seed, legacy=True)
            for before, after in zip(states, states[1:], strict=False):
                revealed = before.is_masked & ~after.is_masked
                together += int((revealed[:, 1:] & revealed[:, :-1]).any(dim=1).sum())
    assert together > 50


def test_row_does_not_depend_on_the_width_of_its_batch():
    scores = -torch.rand(9, generator=torch.Generator().manual_seed(0))
    for legacy in (False, True):
        chosen = []
        for lengths in ([9], [9, 30]):
            state = init_block_unmasking(torch.tensor(lengths), num_iterations=4, **IDS)
            num_others = int(state.is_masked.sum()) - 9
            values = torch.cat([scores, -torch.ones(num_others)])
            after = step_block_unmasking(
                state, state.is_masked, torch.full_like(values, 7).long(), values, mask_token_id=MASK,
                legacy_adjacency=legacy,
            )  # fmt: skip
            chosen.append(after.tokens[0, :9].tolist())
        assert chosen[0] == chosen[1]


# ---- collapse ----


def collapse(rows: list[list[int]], lengths: list[int]) -> list[list[int]]:
    ids = {"blank_token_id": BLANK, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": PAD}
    return collapse_rows(torch.tensor(rows), torch.tensor(lengths), **ids).tolist()


def test_alignments_collapse_to_framed_targets():
    rows = [
        [5, 7, 7, 5, 7, 8, 8, 5, 5, 9],  # the reference's example
        [5, 5, 5, 5, 5, 5, 5, 5, 5, 5],
        [7, 8, 9, 7, 8, 9, 7, 8, 9, 7],
        [7, 7, 5, 1, 1, 1, 1, 1, 1, 1],
        [6, 6, 6, 6, 6, 6, 6, 6, 6, 6],
    ]
    assert collapse(rows, [10, 10, 10, 3, 10]) == [
        [0, 7, 7, 8, 9, 2, 1, 1, 1, 1, 1, 1],
        [0, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        [0, 7, 8, 9, 7, 8, 9, 7, 8, 9, 7, 2],
        [0, 7, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        [0, 6, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    ]


def test_padding_an_imported_model_predicts_is_a_token_and_not_the_end():
    assert collapse([[7, 1, 1, 8]], [4]) == [[0, 7, 1, 8, 2, 1]]
