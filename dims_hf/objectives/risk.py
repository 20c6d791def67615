# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Minimum risk: a model is taught by what its own translations, drawn at random, are worth.

Shapes: B batch, K translations of a sentence, A frames, N tokens of a translation, R references of M tokens,
V vocabulary.
"""

from __future__ import annotations

import torch

from dims_hf.models.ragged import find_real
from dims_hf.objectives.reduction import Loss, divide_by_items
from dims_hf.objectives.targets import check_positions
from dims_hf.objectives.vocabulary import Vocabulary, as_vocabulary


def minimum_risk_loss(
    log_probs: torch.Tensor | Vocabulary,
    samples: torch.Tensor,
    rewards: torch.Tensor,
    frame_lengths: torch.Tensor,
    *,
    num_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    Sum over sentences of minus the mean reward of their samples, divided by `num_items`.

    Its gradient is that of the expected reward, as estimated by REINFORCE: −1/K · Σ_k (r_k − b_k) ∇ log p(sample k).
    The baseline b_k of a sample is the mean reward of the others, which leaves the estimate unbiased: where all are
    worth the same there is nothing to learn.

    Source: Williams 1992; for models that write all positions at once, Shao et al. 2021 (arXiv 2106.08122), §3.1; the
    baseline, Kool et al. 2019 (Buy 4 REINFORCE samples, get a baseline for free).

    Args:
        log_probs (`torch.Tensor` of shape `(B, A, V)`, or [`Vocabulary`] of shape `(B, A)`): log-probabilities.
        samples (`torch.LongTensor` of shape `(B, A, K)`): ids in each frame of K ≥ 2 samples of these very
            distributions; padding holds anything.
        rewards (`torch.Tensor` of shape `(B, K)`): what each sample is worth; no gradient.
        frame_lengths (`torch.LongTensor` of shape `(B,)`): frames of each sentence, 0 … A.
        num_items (`int`, *optional*): sentences of the whole update; default B.

    Returns:
        [`Loss`] with part `reward`, the mean. Padding has no influence, whatever it holds, and gradient 0.

    Raises:
        ValueError: for shapes that do not fit, lengths out of range, or one sample alone.
    """
    vocabulary = as_vocabulary(log_probs, is_normalized=True)
    check_positions(vocabulary, frame_lengths, "frame_lengths")
    if samples.dim() != 3 or samples.shape[:2] != vocabulary.shape:
        raise ValueError(
            f"samples must be of shape ({', '.join(map(str, vocabulary.shape))}, K), got {tuple(samples.shape)}. Give "
            "one id for each frame."
        )
    batch, num_samples = len(samples), samples.shape[2]
    if num_samples < 2:
        raise ValueError(
            f"samples must be at least 2 for each sentence, got {num_samples}. The others are a baseline."
        )
    if rewards.shape != (batch, num_samples):
        raise ValueError(f"rewards must be of shape ({batch}, {num_samples}), got {tuple(rewards.shape)}.")
    is_frame = find_real(frame_lengths, samples.shape[1])
    # 0 at padding: probability 1, whatever was drawn there
    chosen = _pick_samples(vocabulary, samples, is_frame).sum(dim=1)
    rewards = rewards.detach().to(chosen.dtype)
    # r_k minus the mean of the others
    advantages = (rewards - rewards.mean(dim=1, keepdim=True)) * (num_samples / (num_samples - 1))
    # with the value of the mean reward, and the gradient of the weighted log-probabilities
    weighted = (advantages * chosen).mean(dim=1)
    gained = rewards.mean(dim=1) + (weighted - weighted.detach())
    num_items = batch if num_items is None else num_items
    total = divide_by_items(-gained.sum(), num_items)
    return Loss(total, {"reward": -total.detach()})


def gleu(
    hypotheses: torch.Tensor,
    hypothesis_lengths: torch.Tensor,
    references: torch.Tensor,
    reference_lengths: torch.Tensor,
    *,
    n: int = 4,
) -> torch.Tensor:
    """
    GLEU of translations: matching n-grams of 1 … n tokens, clipped as in BLEU, over the larger of both numbers.

    Unlike BLEU it makes sense for one sentence. With several references a translation is worth what the best of them
    gives.

    Source: Wu et al. 2016 (arXiv 1609.08144), §4.3; the best of several references Shao et al. 2022 (arXiv
    2205.14333, DDRS), §4.4.

    Args:
        hypotheses (`torch.LongTensor` of shape `(B, K, N)`): right-padded with anything.
        hypothesis_lengths (`torch.LongTensor` of shape `(B, K)`): 0 … N.
        references (`torch.LongTensor` of shape `(B, R, M)`): right-padded with anything.
        reference_lengths (`torch.LongTensor` of shape `(B, R)`): 0 … M; references of no tokens are left out.
        n (`int`): longest n-grams, at least 1.

    Returns:
        `torch.Tensor` of shape `(B, K)`, in fp32, 0 … 1. Two empty sentences are 0.

    Raises:
        ValueError: for shapes that do not fit, lengths out of range, no references, or n < 1.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"n must be a whole number >= 1, got {n}. GLEU uses 4.")
    for name, tokens, lengths in (
        ("hypothes", hypotheses, hypothesis_lengths),
        ("referenc", references, reference_lengths),
    ):
        if tokens.dim() != 3 or lengths.shape != tokens.shape[:2] or not tokens.shape[1]:
            raise ValueError(
                f"{name}es must be of shape (B, K, N) with K >= 1 and lengths (B, K), got {tuple(tokens.shape)} and "
                f"{tuple(lengths.shape)}."
            )
        if bool(((lengths < 0) | (lengths > tokens.shape[2])).any()):
            raise ValueError(f"Lengths of {name}es must be in 0 … {tokens.shape[2]}. Count their tokens.")
    is_token = find_real(hypothesis_lengths.flatten(), hypotheses.shape[2]).view(hypotheses.shape)
    # which places of a translation have the n-gram that begins at another
    own = _equal_tokens(hypotheses, is_token, hypotheses, is_token)
    counts = [_equal_ngrams(own, size).sum(dim=3) for size in range(1, n + 1)]
    scores = []
    for tokens, lengths in zip(references.unbind(1), reference_lengths.unbind(1), strict=True):
        is_reference = find_real(lengths, references.shape[2]).unsqueeze(1)
        other = _equal_tokens(hypotheses, is_token, tokens.unsqueeze(1), is_reference)
        match = torch.zeros_like(hypothesis_lengths, dtype=torch.float32)
        for size, written in enumerate(counts, start=1):
            # both counts at each place of a translation; every place of an n-gram adds its share
            found = _equal_ngrams(other, size).sum(dim=3)
            match = match + (torch.minimum(written, found) / written.clamp(min=1)).sum(dim=2)
        totals = torch.maximum(_count_ngrams(hypothesis_lengths, n), _count_ngrams(lengths, n).unsqueeze(1))
        scores.append((match / totals.clamp(min=1)).masked_fill((lengths == 0).unsqueeze(1), 0.0))
    return torch.stack(scores).amax(dim=0)


def _pick_samples(vocabulary: Vocabulary, samples: torch.Tensor, is_frame: torch.Tensor) -> torch.Tensor:
    """Log-probabilities (B, A, K) of each frame's own ids (B, A, K); 0 at padding, which is not read."""
    picked = vocabulary.select(is_frame).pick(samples[is_frame])
    return picked.new_zeros(samples.shape).index_put((is_frame,), picked)


def _equal_tokens(
    left: torch.Tensor, is_left: torch.Tensor, right: torch.Tensor, is_right: torch.Tensor
) -> torch.Tensor:
    """Whether tokens (B, K, N) and (B, K or 1, M) are equal: (B, K, N, M); padding equals nothing."""
    is_equal = left.unsqueeze(3) == right.unsqueeze(2)
    return is_equal & is_left.unsqueeze(3) & is_right.unsqueeze(2)


def _equal_ngrams(is_equal: torch.Tensor, size: int) -> torch.Tensor:
    """Whether the n-grams of `size` tokens that begin at two places are equal: smaller by size − 1."""
    rows, columns = (max(length - size + 1, 0) for length in is_equal.shape[2:])
    result = is_equal[:, :, :rows, :columns]
    for shift in range(1, size):
        result = result & is_equal[:, :, shift : shift + rows, shift : shift + columns]
    return result


def _count_ngrams(lengths: torch.Tensor, n: int) -> torch.Tensor:
    """Number of n-grams of 1 … n tokens in sentences of these lengths."""
    total = torch.zeros_like(lengths)
    for size in range(1, n + 1):
        total = total + (lengths - size + 1).clamp(min=0)
    return total
