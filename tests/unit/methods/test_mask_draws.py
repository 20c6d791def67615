# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Draws of training masks: M(y) uniform and free of everything but its key; blocks, glances, corrections."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from dims_hf.methods.masks import (
    MASK_POLICIES,
    mask_everything,
    mix_keys,
    sample_block_mask,
    sample_block_sizes,
    sample_fraction,
    sample_glanced,
    sample_source_mask,
    sample_uniform_mask,
)


def content_rows(num_content: int, count: int) -> torch.BoolTensor:
    """`count` rows `<s>` N content tokens `</s>`."""
    row = [False, *[True] * num_content, False]
    return torch.tensor(row).expand(count, -1)


def chi_square(counts: list[int], expected: list[float]) -> float:
    return sum((count - mean) ** 2 / mean for count, mean in zip(counts, expected, strict=True))


def test_mix_keys_keeps_its_values_across_versions():
    # Masks of resumed trainings, and of the tests above all, rest on these numbers.
    assert mix_keys(torch.arange(5)).tolist() == [
        -2152535657050944081,
        -7995527694508729151,
        -7541218347953203506,
        2092789425003139053,
        7958955049054603978,
    ]
    assert mix_keys(7, torch.arange(3)).tolist() == [-5137267319001854395, 2875738036014693257, -2317588740234443029]
    assert mix_keys(3, 5, 7).item() == 8551505245461102957


def test_mix_keys_equals_splitmix64():
    def splitmix64(state: int) -> int:
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        return state ^ (state >> 31)

    for first, second in [(0, 0), (1, 2), (2, 1), (2**40, 17), (2**62, 3)]:
        assert mix_keys(first, second).item() % 2**64 == splitmix64((splitmix64(first) + second) % 2**64)
    assert splitmix64(0) == 0xE220A8397B1DCDAF  # first output of the published generator with seed 0


def test_mix_keys_broadcasts_and_tells_the_order_of_keys():
    grid = mix_keys(3, torch.arange(4).unsqueeze(1), torch.arange(5))
    assert grid.shape == (4, 5)
    assert grid[2, 4] == mix_keys(3, 2, 4) and grid[2, 4] != mix_keys(3, 4, 2)
    assert grid.unique().numel() == 20


def test_sample_uniform_mask_keeps_its_masks_across_versions():
    masks = sample_uniform_mask(content_rows(8, 8), torch.arange(8)).long()
    assert ["".join(map(str, row[1:-1])) for row in masks.tolist()] == [
        "11111111",
        "01000111",
        "11111001",
        "11011110",
        "11111111",
        "00100011",
        "00110101",
        "01000001",
    ]


@pytest.mark.parametrize("num_content", [1, 2, 5, 9])
def test_sample_uniform_mask_draws_the_count_uniformly(num_content: int):
    count = 20_000
    # The keys a trainer uses: (seed, step, corpus index).
    keys = mix_keys(11, torch.arange(count) // 100, torch.arange(count) % 100)
    num_masked = sample_uniform_mask(content_rows(num_content, count), keys).sum(dim=1)
    counts = [(num_masked == m).sum().item() for m in range(1, num_content + 1)]
    assert sum(counts) == count  # never 0, never more than N
    # 99.9 % quantiles of chi-square with 1, 4 and 8 degrees of freedom
    bound = {1: 1e-9, 2: 10.83, 5: 18.47, 9: 26.12}[num_content]
    assert chi_square(counts, [count / num_content] * num_content) < bound


def test_sample_uniform_mask_draws_every_set_of_a_size_alike():
    count, num_content = 40_000, 4
    masks = sample_uniform_mask(content_rows(num_content, count), mix_keys(5, torch.arange(count)))[:, 1:-1]
    codes = (masks.long() * 2 ** torch.arange(num_content)).sum(dim=1).bincount(minlength=16)
    assert codes[0] == 0
    expected = [count / num_content / math.comb(num_content, code.bit_count()) for code in range(1, 16)]
    assert chi_square(codes[1:].tolist(), expected) < 36.12  # 99.9 % quantile, 14 degrees of freedom


def test_sample_uniform_mask_spares_specials_and_padding():
    is_content = torch.rand(500, 12, generator=torch.Generator().manual_seed(0)) < 0.5
    is_content[0] = False
    masks = sample_uniform_mask(is_content, torch.arange(500))
    assert not (masks & ~is_content).any()
    assert (masks.any(dim=1) == is_content.any(dim=1)).all()


def test_sample_uniform_mask_of_one_token_always_masks_it():
    masks = sample_uniform_mask(content_rows(1, 1000), torch.arange(1000))
    assert masks.tolist() == [[False, True, False]] * 1000


def test_sample_uniform_mask_ignores_padding_order_and_batch():
    num_content = [1, 4, 7, 7, 2]
    keys = mix_keys(1, 2, torch.tensor([10, 3, 99, 4, 5]))
    alone = [sample_uniform_mask(content_rows(n, 1), keys[i : i + 1])[0, 1:-1] for i, n in enumerate(num_content)]
    for left, order in itertools.product((0, 1, 5), ([0, 1, 2, 3, 4], [4, 2, 0, 1, 3])):
        is_content = torch.zeros(5, 16, dtype=torch.bool)
        for row, i in enumerate(order):
            is_content[row, left + 1 : left + 1 + num_content[i]] = True
        masks = sample_uniform_mask(is_content, keys[order])
        for row, i in enumerate(order):
            assert masks[row][is_content[row]].tolist() == alone[i].tolist()


def test_sample_uniform_mask_differs_between_keys():
    masks = sample_uniform_mask(content_rows(20, 200), mix_keys(0, torch.arange(200)))
    assert len({tuple(row) for row in masks.tolist()}) > 180


def test_mask_everything_masks_all_content_and_returns_a_new_tensor():
    is_content = content_rows(3, 2).clone()
    masks = mask_everything(is_content, torch.arange(2))
    masks[:] = False
    assert is_content.any()
    assert mask_everything(is_content, torch.arange(2)).tolist() == is_content.tolist()


def test_mask_policies_share_one_signature():
    for policy in MASK_POLICIES.values():
        assert policy(content_rows(4, 3), torch.arange(3)).shape == (3, 6)


def frames(lengths: list[int]) -> torch.BoolTensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)


def find_key(size: int, count: int) -> torch.LongTensor:
    """A key (1,) that draws blocks of `size` with `count` masks in each full one."""
    keys = torch.arange(4000)
    masks = sample_block_mask(torch.ones(4000, size, dtype=torch.bool), keys)
    return keys[(sample_block_sizes(keys) == size) & (masks.sum(dim=1) == count)][:1]


@pytest.mark.parametrize(
    ("size", "count", "length", "per_block"), [(4, 2, 10, [2, 2, 2]), (4, 3, 6, [3, 2]), (2, 1, 7, [1, 1, 1, 1])]
)
def test_sample_block_mask_counts_per_block_are_the_table(size, count, length, per_block):
    mask = sample_block_mask(frames([length]), find_key(size, count))[0]
    assert [int(block.sum()) for block in mask.split(size)] == per_block


def test_sample_block_mask_draws_sizes_and_counts_uniformly():
    keys = torch.arange(8000)
    sizes = sample_block_sizes(keys)
    counts = sample_block_mask(torch.ones(8000, 16, dtype=torch.bool), keys)
    for size in (2, 4, 8, 16):
        first = counts[sizes == size][:, :size].sum(dim=1)
        assert 1800 < len(first) < 2200
        shares = torch.bincount(first, minlength=size + 1)[1:] / len(first)
        assert (shares - 1 / size).abs().max() < 0.04


def test_sample_block_mask_leaves_room_for_the_teachers_iterations():
    keys = torch.arange(500)
    assert set(sample_block_sizes(keys, fewest=3).tolist()) == {8, 16}
    assert set(sample_block_sizes(keys, fewest=9).tolist()) == {16}
    masks = sample_block_mask(torch.ones(500, 16, dtype=torch.bool), keys, fewest=3)
    assert masks[:, :8].sum(dim=1).min() <= 3 and masks.sum(dim=1).min() >= 3


def test_sample_block_mask_depends_on_key_and_length_alone():
    lengths = [3, 16, 21, 40, 1]
    keys = mix_keys(7, torch.arange(5))
    together = sample_block_mask(frames(lengths), keys)
    for row, length in enumerate(lengths):
        alone = sample_block_mask(frames([length]), keys[row : row + 1])
        assert together[row, :length].tolist() == alone[0].tolist()
        assert not together[row, length:].any() and alone.any()


def test_sample_glanced_reveals_as_many_as_asked_anywhere():
    masks = sample_glanced(frames([6] * 600), torch.arange(600), torch.full((600,), 2))
    assert (masks.sum(dim=1) == 2).all()
    assert ((masks.float().mean(dim=0) - 1 / 3).abs() < 0.07).all()
    assert sample_glanced(frames([6, 3]), torch.arange(2), torch.tensor([0, 9])).sum(dim=1).tolist() == [0, 3]


SOURCE_MASK_SHARES = {9: [1.0], 10: [1.0], 20: [0.5, 0.5], 25: [0.4, 0.4, 0.2], 40: [0.25] * 4, 1: [1.0]}


@pytest.mark.parametrize("num_content", SOURCE_MASK_SHARES)
def test_source_masks_number_one_plus_a_tenth_of_the_tokens_times_a_uniform(num_content: int):
    shares, count = SOURCE_MASK_SHARES[num_content], 4000
    is_content = content_rows(num_content, count)
    is_masked = sample_source_mask(is_content, torch.arange(count), 0.1)
    assert not (is_masked & ~is_content).any()
    numbers = is_masked.sum(dim=1).bincount(minlength=len(shares) + 1).tolist()
    assert numbers[0] == 0 and len(numbers) == len(shares) + 1
    for number, share in zip(numbers[1:], shares, strict=True):
        assert abs(number / count - share) < 4 * math.sqrt(share * (1 - share) / count) + 1e-9
    # every position equally often
    per_position = is_masked.sum(dim=0)[1:-1].float()
    mean = per_position.mean().item()
    assert (per_position - mean).abs().max() < 5 * math.sqrt(mean)


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, {0}), (1.0, set(range(1, 7)))])
def test_source_masks_of_extreme_fractions(fraction: float, expected: set[int]):
    numbers = sample_source_mask(content_rows(6, 500), torch.arange(500), fraction).sum(dim=1)
    assert set(numbers.tolist()) == expected
    assert not sample_source_mask(content_rows(0, 5), torch.arange(5), fraction).any()


@pytest.mark.parametrize(
    ("num_revealed", "expected"),
    [(0, 0), (3, 0), (4, 1), (7, 2), (10, 3), (13, 3), (14, 4), (20, 6), (27, 8), (40, 12)],
)
def test_replaced_tokens_are_three_tenths_rounded_down(num_revealed: int, expected: int):
    is_revealed = content_rows(num_revealed, 50)
    is_replaced = sample_fraction(is_revealed, torch.arange(50), 0.3)
    assert is_replaced.sum(dim=1).tolist() == [expected] * 50
    assert not (is_replaced & ~is_revealed).any()


@pytest.mark.parametrize("sample", [sample_fraction, sample_source_mask])
def test_draws_depend_on_the_key_and_not_on_padding(sample):
    narrow, keys = content_rows(30, 40), torch.arange(40)
    wide = torch.nn.functional.pad(narrow, (7, 5))
    chosen = sample(narrow, keys, 0.3)
    assert torch.equal(sample(wide, keys, 0.3)[:, 7:-5], chosen)
    assert torch.equal(sample(narrow.flip(0), keys.flip(0), 0.3).flip(0), chosen)
    assert not torch.equal(sample(narrow, keys + 1000, 0.3), chosen)


def test_draws_of_one_key_are_independent():
    # Otherwise the tokens that are masked first would always, or never, be the ones that are replaced.
    is_content, keys = content_rows(10, 4000), torch.arange(4000)
    masked, replaced = sample_uniform_mask(is_content, keys), sample_fraction(is_content, keys, 0.3)
    both = (masked & replaced)[:, 1:-1].float().mean().item()
    assert both == pytest.approx(0.55 * 0.3, abs=0.01)
