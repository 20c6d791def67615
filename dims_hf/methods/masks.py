# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Which tokens training masks: random draws that depend on (seed, step, corpus index) alone, and the masked batch.

Shapes: B batch, S source length, T target length (with `<s>` and `</s>`), A alignment length. Polarity: True =
content, True = masked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TypedDict

import torch

from dims_hf.models import NATConfig
from dims_hf.models.masking import find_content, rank_in_blocks, select_lowest


# Validation masks must not change from one evaluation to the next; no optimiser step has this number.
EVALUATION_STEP = -1

# Constants of the splitmix64 generator, as signed 64-bit integers (torch has no unsigned arithmetic).
_SPLITMIX_INCREMENT = 0x9E3779B97F4A7C15 - (1 << 64)
_SPLITMIX_FACTORS = (0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64))
# One number for each independent draw from a sentence's key.
_COUNT_STREAM, _POSITION_STREAM, _REPLACED_STREAM, _SOURCE_COUNT_STREAM, _SOURCE_POSITION_STREAM = range(1, 6)
# (numbers from 20 on, of draws that some families alone make)
_CONTEXT_STREAM, _KEPT_COUNT_STREAM, _KEPT_POSITION_STREAM, _EVENT_STREAM, _CORRUPTION_STREAM = range(20, 25)
_BLOCK_SIZE_STREAM, _BLOCK_COUNT_STREAM, _BLOCK_POSITION_STREAM, _GLANCE_STREAM = range(6, 10)
_SECOND_MASK_STREAM, _REVEAL_STREAM, _TRANSLATION_STREAM = range(10, 13)

# Blocks of the Imputer are 2, 4, 8 or 16 positions long.
_LARGEST_BLOCK_EXPONENT = 4


def mix_keys(*keys: torch.Tensor | int) -> torch.Tensor:
    """
    One well-mixed 64-bit integer for each combination of integer keys (broadcast), equal on every device.

    Counter-based randomness: the value depends on nothing but the keys, so neither the order of calls, nor the batch,
    nor the number of processes changes it. Source: splitmix64 (Steele et al. 2014).
    """
    state = torch.zeros((), dtype=torch.long)
    for key in keys:
        state = _splitmix(state.to(key.device) + key if isinstance(key, torch.Tensor) else state + key)
    return state


def _splitmix(state: torch.Tensor) -> torch.Tensor:
    state = state + _SPLITMIX_INCREMENT
    for shift, factor in zip((30, 27), _SPLITMIX_FACTORS, strict=True):
        # overflow is meant: arithmetic is modulo 2⁶⁴
        state = (state ^ _logical_shift(state, shift)) * factor
    return state ^ _logical_shift(state, 31)


def _logical_shift(state: torch.Tensor, bits: int) -> torch.Tensor:
    # `>>` copies the sign; the mask clears it
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def sample_uniform_mask(is_content: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
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
    # `remainder` has the sign of the divisor, so that negative keys are no trouble; its bias is below 2⁻⁵⁰
    num_masked = mix_keys(keys, _COUNT_STREAM).remainder(num_content.clamp(min=1)) + 1
    return _choose_randomly(is_content, keys, num_masked, _POSITION_STREAM)


def _choose_randomly(
    is_eligible: torch.Tensor, keys: torch.Tensor, num_chosen: torch.Tensor, stream: int
) -> torch.Tensor:
    """`num_chosen` (B,) of each row's eligible positions (B, T), all choices equally likely."""
    # Numbering the eligible positions, not the columns, makes the draw independent of padding.
    position = is_eligible.long().cumsum(dim=1)
    noise = mix_keys(keys.unsqueeze(1), stream, position)
    return select_lowest(noise, is_eligible, num_chosen)


def draw_events(keys: torch.Tensor, probability: float, step: int) -> torch.Tensor:
    """Whether something happens to each sentence (B,) at a pass of an update, with this probability."""
    # in integers: equal on every device
    thousandths = mix_keys(keys, _EVENT_STREAM, step).remainder(1_000_000)
    return thousandths < round(probability * 1_000_000)


def corrupt_tokens(
    tokens: torch.Tensor,
    is_content: torch.Tensor,
    keys: torch.Tensor,
    *,
    rate: float,
    step: int,
    vocab_size: int,
    closed_ids: Sequence[int] = (),
) -> torch.Tensor:
    """
    Corrupts ⌊rate · N⌋ of the N content tokens of each row, each in one of three equally likely ways: it is written
    over the next one, replaced by a random word, or swapped with the next one; from left to right, and never across
    `<s>`, `</s>` or padding.

    Source: Lee et al. 2018 (arXiv 1802.06901), §4.2 (denoising).

    Args:
        tokens (`torch.LongTensor` of shape `(B, T)`): targets, padded on the right.
        is_content (`torch.BoolTensor` of shape `(B, T)`): positions that may change.
        keys (`torch.LongTensor` of shape `(B,)`): one random key per sentence (see [`mix_keys`]).
        rate (`float`): in [0, 1].
        step (`int`): number of the draw: another one, other places.
        vocab_size (`int`): ids below are words ...
        closed_ids (`Sequence[int]`): ... except these.

    Returns:
        `torch.LongTensor` of shape `(B, T)`.
    """
    keys = mix_keys(keys, _CORRUPTION_STREAM, step)
    # the decimal that was written: 0.3 in binary is below 3/10, and 10 times it would round down
    exact = Fraction(str(rate))
    num_chosen = is_content.sum(dim=1) * exact.numerator // exact.denominator
    is_chosen = _choose_randomly(is_content, keys, num_chosen, _POSITION_STREAM)
    position = is_content.long().cumsum(dim=1)
    way = mix_keys(keys.unsqueeze(1), _COUNT_STREAM, position).remainder(3)
    words = torch.tensor([each for each in range(vocab_size) if each not in closed_ids], device=tokens.device)
    random = words[mix_keys(keys.unsqueeze(1), _CORRUPTION_STREAM, position).remainder(len(words))]
    # random words first; then copies and swaps, which see what is left of them
    columns = list(torch.where(is_chosen & (way == 1), random, tokens).unbind(dim=1))
    for here in range(len(columns) - 1):
        may = is_chosen[:, here] & is_content[:, here + 1]
        left, right = columns[here], columns[here + 1]
        is_swapped, is_copied = may & (way[:, here] == 2), may & (way[:, here] == 0)
        columns[here] = torch.where(is_swapped, right, left)
        columns[here + 1] = torch.where(is_swapped | is_copied, left, right)
    return torch.stack(columns, dim=1)


def sample_kept(is_content: torch.Tensor, keys: torch.Tensor, *, keeps_all: bool = False) -> torch.Tensor:
    """
    Keeps k of the N content positions of each row, k uniform on {0, …, N − 1}, or to N with `keeps_all`; all choices
    equally likely.

    Source: `random_delete` of fairseq (Levenshtein Transformer); Stern et al. 2019 (arXiv 1902.03249), §4.1.

    Args:
        is_content (`torch.BoolTensor` of shape `(B, T)`): positions that may be left out.
        keys (`torch.LongTensor` of shape `(B,)`): one random key per sentence (see [`mix_keys`]).
        keeps_all (`bool`): all may stay.

    Returns:
        `torch.BoolTensor` of shape `(B, T)`.
    """
    # k is drawn from 0 … N − 1, or from 0 … N
    num_values = is_content.sum(dim=1).clamp(min=1) + int(keeps_all)
    num_kept = mix_keys(keys, _KEPT_COUNT_STREAM).remainder(num_values)
    return _choose_randomly(is_content, keys, num_kept, _KEPT_POSITION_STREAM)


def sample_contexts(is_content: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """
    A random context of each content position: k of the N − 1 other ones, k uniform on {0, …, N − 1}, all choices
    equally likely, independently for each position.

    Source: training of DisCo (Kasai et al. 2020, arXiv 2001.05136), §2.3.

    Args:
        is_content (`torch.BoolTensor` of shape `(B, T)`): content, padded on the right.
        keys (`torch.LongTensor` of shape `(B,)`): one random key per sentence (see [`mix_keys`]).

    Returns:
        `torch.BoolTensor` of shape `(B, T, T)`: [b, i, j] where i's context has j; never i itself.
    """
    position = is_content.long().cumsum(dim=1)
    own_keys = mix_keys(keys.unsqueeze(1), _CONTEXT_STREAM, position)
    others = is_content.unsqueeze(1) & is_content.unsqueeze(2)
    others &= ~torch.eye(is_content.shape[1], dtype=torch.bool, device=keys.device)
    num_seen = mix_keys(own_keys, _COUNT_STREAM).remainder(is_content.sum(dim=1, keepdim=True).clamp(min=1))
    noise = mix_keys(own_keys.unsqueeze(2), _POSITION_STREAM, position.unsqueeze(1))
    # every position of every sentence is a row of its own
    seen = select_lowest(noise.flatten(0, 1), others.flatten(0, 1), num_seen.flatten())
    return seen.view_as(others)


def sample_fraction(is_eligible: torch.Tensor, keys: torch.Tensor, fraction: float) -> torch.Tensor:
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


def sample_source_mask(is_content: torch.Tensor, keys: torch.Tensor, fraction: float) -> torch.Tensor:
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


def second_keys(keys: torch.Tensor) -> torch.Tensor:
    """Keys (B,) of a second mask that is independent of the first."""
    return mix_keys(keys, _SECOND_MASK_STREAM)


def sample_reveal_scores(is_content: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """
    A random order in which a teacher reveals its predictions: scores (B, T), below 0 as log-probabilities are.

    Args:
        is_content (`torch.BoolTensor` of shape `(B, T)`): positions that have an order.
        keys (`torch.LongTensor` of shape `(B,)`): one random key per sentence (see [`mix_keys`]).
    """
    return _to_unit(mix_keys(keys.unsqueeze(1), _REVEAL_STREAM, is_content.long().cumsum(dim=1))) - 1


def _to_unit(noise: torch.Tensor) -> torch.Tensor:
    """Uniform numbers in [0, 1) of well-mixed integers: 24 bits are whole numbers in fp32."""
    return (noise & (2**24 - 1)).float() / 2**24


def sample_uniforms(is_content: torch.Tensor, keys: torch.Tensor, count: int) -> torch.Tensor:
    """
    `count` uniform numbers for each position, in [0, 1): (B, T, count), multiples of 2⁻²⁴.

    Args:
        is_content (`torch.BoolTensor` of shape `(B, T)`): positions that are numbered; padding changes nothing.
        keys (`torch.LongTensor` of shape `(B,)`): one random key per sentence (see [`mix_keys`]).
        count (`int`): numbers of a position.
    """
    position, draw = is_content.long().cumsum(dim=1), torch.arange(count, device=keys.device)
    noise = mix_keys(keys.view(-1, 1, 1), _TRANSLATION_STREAM, position.unsqueeze(2), draw)
    return _to_unit(noise)


def sample_block_sizes(keys: torch.Tensor, *, fewest: int = 1) -> torch.Tensor:
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


def sample_block_mask(is_content: torch.Tensor, keys: torch.Tensor, *, fewest: int = 1) -> torch.Tensor:
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
    # one number for all blocks of a sentence
    num_masked = smallest + mix_keys(keys, _BLOCK_COUNT_STREAM).remainder(block_sizes - smallest + 1)
    position = torch.arange(is_content.shape[1], device=keys.device)
    # columns will do here: alignments are padded on the right only
    noise = mix_keys(keys.unsqueeze(1), _BLOCK_POSITION_STREAM, position)
    return (rank_in_blocks(noise, is_content, block_sizes) < num_masked.unsqueeze(1)) & is_content


def sample_glanced(is_content: torch.Tensor, keys: torch.Tensor, num_revealed: torch.Tensor) -> torch.Tensor:
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


def read_ratio(ratios: torch.Tensor) -> float:
    """
    The decimal that a batch's ratios (B,), all of them equal, were given as: 0.7, not its nearest fp32 number, of
    which 90 times would be less than 63.
    """
    return float(str(ratios.max().cpu().numpy()))


def mask_everything(is_content: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Masks all content positions ("full" policy); `keys` are taken so that policies share one signature."""
    return is_content.clone()


# name of `mask_policy` -> function (is_content (B, T), keys (B,)) -> is_masked (B, T)
MASK_POLICIES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "uniform": sample_uniform_mask,
    "full": mask_everything,
    "block": sample_block_mask,
}


def special_ids(config: NATConfig) -> tuple[int, int, int]:
    """Ids that are never content: `<s>`, `</s>` and padding."""
    return config.bos_token_id, config.eos_token_id, config.pad_token_id


class MaskedBatch(TypedDict):
    """
    Inputs of one training step. B batch, S source length, T target length.

    `input_ids` (B, S), `attention_mask` (B, S), `decoder_input_ids` (B, T; target with masks),
    `decoder_attention_mask` (B, T), `labels` (B, T; target ids where masked, else -100).
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    decoder_input_ids: torch.Tensor
    decoder_attention_mask: torch.Tensor
    labels: torch.Tensor


def mask_batch(batch: dict[str, torch.Tensor], config: NATConfig, *, policy: str, keys: torch.Tensor) -> MaskedBatch:
    """
    Masks each target by the policy.

    Args:
        batch (`dict`): from [`TranslationCollator`]: `input_ids`, `attention_mask` and `labels` (whole targets, padded
            with -100).
        config ([`NATConfig`]): names the special tokens.
        policy (`str`): key of `MASK_POLICIES`.
        keys (`torch.LongTensor` of shape `(B,)`): randomness of each sentence, from [`mix_keys`].

    Returns:
        [`MaskedBatch`]. A reference token that happens to be the mask id (`<unk>` in imported models) is masked but
        gives no loss.
    """
    is_token = batch["labels"] != -100
    targets = batch["labels"].masked_fill(~is_token, config.pad_token_id)
    is_content = find_content(targets, special_ids(config)) & is_token
    is_masked = MASK_POLICIES[policy](is_content, keys)
    is_mask_id = targets == config.mask_token_id
    return MaskedBatch(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        decoder_input_ids=targets.masked_fill(is_masked, config.mask_token_id),
        # from the labels: a padding id inside a target is a token
        decoder_attention_mask=is_token,
        # the model never predicts its mask id, so that such a token cannot be learnt
        labels=targets.masked_fill(~is_masked | is_mask_id, -100),
    )
