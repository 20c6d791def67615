# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Tensor operations on masked targets: which positions are content, which to mask, how many, and collapsing repeats.

Shapes: B batch, T target length (with `<s>` and `</s>`). Polarity: True = content, True = masked.
"""

from fractions import Fraction

import torch


# Constants of the splitmix64 generator, as signed 64-bit integers (torch has no unsigned arithmetic).
_SPLITMIX_INCREMENT = 0x9E3779B97F4A7C15 - (1 << 64)
_SPLITMIX_FACTORS = (0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64))
# One number for each independent draw from a sentence's key.
_COUNT_STREAM, _POSITION_STREAM, _REPLACED_STREAM, _SOURCE_COUNT_STREAM, _SOURCE_POSITION_STREAM = range(1, 6)
_BLOCK_SIZE_STREAM, _BLOCK_COUNT_STREAM, _BLOCK_POSITION_STREAM, _GLANCE_STREAM = range(6, 10)

# Blocks of the Imputer are 2, 4, 8 or 16 positions long.
_LARGEST_BLOCK_EXPONENT = 4


def find_content(token_ids: torch.LongTensor, special_token_ids: tuple[int, ...]) -> torch.BoolTensor:
    """
    Positions that hold sentence content: everything but `<s>`, `</s>` and padding.

    Args:
        token_ids (`torch.LongTensor` of shape `(B, T)`): targets; masks count as content.
        special_token_ids (`tuple[int, ...]`): ids that are never content.

    Returns:
        `torch.BoolTensor` of shape `(B, T)`.
    """
    is_content = torch.ones_like(token_ids, dtype=torch.bool)
    for special in special_token_ids:
        is_content &= token_ids != special
    return is_content


def remaining_masks(num_content: torch.LongTensor, num_passes: int, num_iterations: int) -> torch.LongTensor:
    """
    Masks left after `num_passes` of `num_iterations` passes: ⌊N (S − s) / S⌋, in exact integers.

    Source: linear schedule of Mask-Predict (Ghazvininejad et al. 2019, §3) as the reference counts it.

    Args:
        num_content (`torch.LongTensor` of shape `(B,)`): content tokens N of each sentence.
        num_passes (`int`): passes done, 1 … num_iterations.
        num_iterations (`int`): passes in all.
    """
    return num_content * (num_iterations - num_passes) // num_iterations


def remaining_teacher_masks(num_masked: torch.LongTensor, num_passes: int, num_iterations: int) -> torch.LongTensor:
    """
    Masks left after `num_passes` teacher passes over a partially masked reference: ⌈u (n − s) / n⌉.

    Source: §3.1 of Norouzi et al. 2023: after step s, ⌊s·u/n⌋ of the u masked tokens are revealed.

    Args:
        num_masked (`torch.LongTensor` of shape `(B,)`): tokens u masked in the reference.
        num_passes (`int`): passes done, 1 … num_iterations.
        num_iterations (`int`): teacher passes n in all.
    """
    return num_masked - num_masked * num_passes // num_iterations


def select_lowest(
    scores: torch.Tensor, is_eligible: torch.BoolTensor, num_selected: torch.LongTensor
) -> torch.BoolTensor:
    """
    The `num_selected` eligible positions with the lowest scores of each row; ties go to the leftmost.

    Args:
        scores (`torch.Tensor` of shape `(B, T)`): floating point or integer.
        is_eligible (`torch.BoolTensor` of shape `(B, T)`): positions that may be selected.
        num_selected (`torch.LongTensor` of shape `(B,)`): at most the row's number of eligible positions is taken.

    Returns:
        `torch.BoolTensor` of shape `(B, T)`.
    """
    highest = float("inf") if scores.is_floating_point() else torch.iinfo(scores.dtype).max
    order = scores.masked_fill(~is_eligible, highest).argsort(dim=1, stable=True)
    rank = torch.arange(order.shape[1], device=order.device).expand_as(order)
    ranks = torch.empty_like(order).scatter_(1, order, rank)
    return (ranks < num_selected.unsqueeze(1)) & is_eligible


def mix_keys(*keys: torch.Tensor | int) -> torch.LongTensor:
    """
    One well-mixed 64-bit integer for each combination of integer keys (broadcast), equal on every device.

    Counter-based randomness: the value depends on nothing but the keys, so neither the order of calls, nor the batch,
    nor the number of processes changes it. Source: splitmix64 (Steele et al. 2014).
    """
    state = torch.zeros((), dtype=torch.long)
    for key in keys:
        state = _splitmix(state.to(key.device) + key if isinstance(key, torch.Tensor) else state + key)
    return state


def _splitmix(state: torch.LongTensor) -> torch.LongTensor:
    state = state + _SPLITMIX_INCREMENT
    for shift, factor in zip((30, 27), _SPLITMIX_FACTORS, strict=True):
        state = (state ^ _logical_shift(state, shift)) * factor
    return state ^ _logical_shift(state, 31)


def _logical_shift(state: torch.LongTensor, bits: int) -> torch.LongTensor:
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def sample_uniform_mask(is_content: torch.BoolTensor, keys: torch.LongTensor) -> torch.BoolTensor:
    """
    Masks m content positions of each row, m uniform on {1, …, N}; never zero, never a special token.

    Source: M(y) of Ghazvininejad et al. 2019 and "Uniform" of Norouzi et al. 2023, drawn in integers.

    Args:
        is_content (`torch.BoolTensor` of shape `(B, T)`): positions that may be masked.
        keys (`torch.LongTensor` of shape `(B,)`): one random key per sentence (see [`mix_keys`]); the same key and the
            same content give the same mask whatever the padding, the row or the batch.

    Returns:
        `torch.BoolTensor` of shape `(B, T)`; a row without content stays unmasked.
    """
    num_content = is_content.sum(dim=1)
    num_masked = mix_keys(keys, _COUNT_STREAM).remainder(num_content.clamp(min=1)) + 1
    return _choose_randomly(is_content, keys, num_masked, _POSITION_STREAM)


def _choose_randomly(
    is_eligible: torch.BoolTensor, keys: torch.LongTensor, num_chosen: torch.LongTensor, stream: int
) -> torch.BoolTensor:
    """`num_chosen` (B,) of each row's eligible positions (B, T), all choices equally likely."""
    # Numbering the eligible positions, not the columns, makes the draw independent of padding.
    position = is_eligible.long().cumsum(dim=1)
    noise = mix_keys(keys.unsqueeze(1), stream, position)
    return select_lowest(noise, is_eligible, num_chosen)


def sample_fraction(is_eligible: torch.BoolTensor, keys: torch.LongTensor, fraction: float) -> torch.BoolTensor:
    """
    Chooses ⌊fraction · r⌋ of the r eligible positions of each row, all choices equally likely.

    Source: the tokens that CMLMC training replaces by predictions (fraction 0.3).

    Args:
        is_eligible (`torch.BoolTensor` of shape `(B, T)`): positions to choose from.
        keys (`torch.LongTensor` of shape `(B,)`): one random key per sentence (see [`mix_keys`]).
        fraction (`float`): in [0, 1]; its decimal digits count, so that 0.3 of 10 is 3.

    Returns:
        `torch.BoolTensor` of shape `(B, T)`.
    """
    exact = Fraction(str(fraction))
    num_chosen = is_eligible.sum(dim=1) * exact.numerator // exact.denominator
    return _choose_randomly(is_eligible, keys, num_chosen, _REPLACED_STREAM)


def sample_source_mask(is_content: torch.BoolTensor, keys: torch.LongTensor, fraction: float) -> torch.BoolTensor:
    """
    Masks 1 + ⌊fraction · N · U⌋ of the N content positions of each source, U uniform on [0, 1), drawn in integers.

    Source: encoder masking of JM-NAT (Guo et al. 2020), as the reference implementation of CMLMC counts it.

    Args:
        is_content (`torch.BoolTensor` of shape `(B, S)`): positions that may be masked.
        keys (`torch.LongTensor` of shape `(B,)`): one random key per sentence (see [`mix_keys`]).
        fraction (`float`): in [0, 1]; 0 masks nothing.

    Returns:
        `torch.BoolTensor` of shape `(B, S)`; a row without content stays unmasked.
    """
    exact = Fraction(str(fraction))
    # With fraction p/q, ⌊p·N·U / q⌋ has the distribution of ⌊j / q⌋ for j uniform on {0, …, p·N − 1}.
    num_values = (is_content.sum(dim=1) * exact.numerator).clamp(min=1)
    extra = mix_keys(keys, _SOURCE_COUNT_STREAM).remainder(num_values) // exact.denominator
    num_masked = (1 + extra) * (exact.numerator > 0)
    return _choose_randomly(is_content, keys, num_masked, _SOURCE_POSITION_STREAM)


def rank_in_blocks(
    scores: torch.Tensor, is_eligible: torch.BoolTensor, block_sizes: torch.LongTensor
) -> torch.LongTensor:
    """
    Rank of each position's score within its block, the lowest having rank 0; ties go to the leftmost.

    Args:
        scores (`torch.Tensor` of shape `(B, A)`): floating point or integer.
        is_eligible (`torch.BoolTensor` of shape `(B, A)`): positions that are ranked; the others come after them.
        block_sizes (`torch.LongTensor` of shape `(B,)`): positions of each row's blocks, the first of which starts at
            column 0; rows are padded on the right.

    Returns:
        `torch.LongTensor` of shape `(B, A)`: a rank below the number of eligible positions of the block at each of
            them.
    """
    highest = float("inf") if scores.is_floating_point() else torch.iinfo(scores.dtype).max
    block = find_blocks(scores.shape[1], block_sizes)
    order = scores.masked_fill(~is_eligible, highest).argsort(dim=1, stable=True)
    # Sorted by block in the end, and by score inside of it.
    order = order.gather(1, block.gather(1, order).argsort(dim=1, stable=True))
    rank = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, rank) - block * block_sizes.unsqueeze(1)


def find_blocks(width: int, block_sizes: torch.LongTensor) -> torch.LongTensor:
    """Number of the block that each of `width` columns is in, blocks of `block_sizes` (B,): (B, width)."""
    return torch.arange(width, device=block_sizes.device) // block_sizes.unsqueeze(1)


def sample_block_sizes(keys: torch.LongTensor, *, fewest: int = 1) -> torch.LongTensor:
    """
    Block size 2^k of each sentence, k uniform on {fewest, …, 4} ({4} where `fewest` is more).

    Source: the Imputer's masks as the reference implementation of Norouzi et al. 2023 draws them, `fewest` being 1 in
    training and the teacher's iterations in distillation. The reference draws one k for a batch; here every sentence
    has its own, which depends on nothing but its key, so that batches and accumulation change nothing.

    Args:
        keys (`torch.LongTensor` of shape `(B,)`): one random key per sentence (see [`mix_keys`]).
        fewest (`int`): smallest exponent.

    Returns:
        `torch.LongTensor` of shape `(B,)`.
    """
    fewest = min(fewest, _LARGEST_BLOCK_EXPONENT)
    exponent = fewest + mix_keys(keys, _BLOCK_SIZE_STREAM).remainder(_LARGEST_BLOCK_EXPONENT + 1 - fewest)
    return 2**exponent


def sample_block_mask(is_content: torch.BoolTensor, keys: torch.LongTensor, *, fewest: int = 1) -> torch.BoolTensor:
    """
    Masks c positions of every block of an alignment, c uniform on {fewest, …, b}, b from [`sample_block_sizes`].

    A last block with fewer than c positions is masked wholly. Source: as [`sample_block_sizes`].

    Args:
        is_content (`torch.BoolTensor` of shape `(B, A)`): real positions, padded on the right.
        keys (`torch.LongTensor` of shape `(B,)`): one random key per sentence; the same key and length give the same
            mask whatever the padding, the row or the batch.
        fewest (`int`): smallest exponent of b and smallest c (b where that is less).

    Returns:
        `torch.BoolTensor` of shape `(B, A)`.
    """
    block_sizes = sample_block_sizes(keys, fewest=fewest)
    smallest = block_sizes.clamp(max=fewest)
    num_masked = smallest + mix_keys(keys, _BLOCK_COUNT_STREAM).remainder(block_sizes - smallest + 1)
    position = torch.arange(is_content.shape[1], device=keys.device)
    noise = mix_keys(keys.unsqueeze(1), _BLOCK_POSITION_STREAM, position)
    return (rank_in_blocks(noise, is_content, block_sizes) < num_masked.unsqueeze(1)) & is_content


def sample_glanced(
    is_content: torch.BoolTensor, keys: torch.LongTensor, num_revealed: torch.LongTensor
) -> torch.BoolTensor:
    """
    Chooses `num_revealed` (B,) content positions of each row, all choices equally likely.

    Source: glancing sampling, Qian et al. 2021 (GLAT), §3.1.

    Args:
        is_content (`torch.BoolTensor` of shape `(B, A)`): positions to choose from.
        keys (`torch.LongTensor` of shape `(B,)`): one random key per sentence (see [`mix_keys`]).
        num_revealed (`torch.LongTensor` of shape `(B,)`): how many.

    Returns:
        `torch.BoolTensor` of shape `(B, A)`.
    """
    return _choose_randomly(is_content, keys, num_revealed, _GLANCE_STREAM)


def mask_everything(is_content: torch.BoolTensor, keys: torch.LongTensor) -> torch.BoolTensor:
    """Masks all content positions ("full" policy); `keys` are taken so that policies share one signature."""
    return is_content.clone()


def collapse_repeats(
    token_ids: torch.LongTensor, pad_token_id: int, is_forced: torch.BoolTensor | None = None
) -> torch.LongTensor:
    """
    Drops every token that equals its right neighbour (keeps the last of each run) and closes the gaps.

    Source: the reference's deduplication, applied to its scores always; here an option.

    Args:
        token_ids (`torch.LongTensor` of shape `(B, T)`): sequences, right-padded.
        pad_token_id (`int`): fills the freed positions at the end.
        is_forced (`torch.BoolTensor` of shape `(B, T)`, *optional*): two neighbours that are both forced both stay.

    Returns:
        `torch.LongTensor` of shape `(B, T)`, still right-padded.
    """
    keep = torch.ones_like(token_ids, dtype=torch.bool)
    keep[:, :-1] = token_ids[:, :-1] != token_ids[:, 1:]
    if is_forced is not None:
        keep[:, :-1] |= is_forced[:, :-1] & is_forced[:, 1:]
    order = (~keep).long().argsort(dim=1, stable=True)
    return token_ids.masked_fill(~keep, pad_token_id).gather(1, order)


# name of `mask_policy` -> function (is_content (B, T), keys (B,)) -> is_masked (B, T)
MASK_POLICIES = {"uniform": sample_uniform_mask, "full": mask_everything, "block": sample_block_mask}
