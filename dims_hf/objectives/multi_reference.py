# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""CTC with several references for each source (DDRS): first all of them, then the one that the model is nearest to.

Shapes: B batch, K references, A frames, T target tokens, V vocabulary.
"""

from __future__ import annotations

import torch

from dims_hf.models.alignment import constrained_ctc_nll, find_path_labels
from dims_hf.models.ragged import find_real
from dims_hf.objectives.reduction import Loss
from dims_hf.objectives.targets import check_positions
from dims_hf.objectives.vocabulary import Vocabulary, as_vocabulary, pick_positions


def multi_reference_loss(
    logits: torch.Tensor | Vocabulary,
    targets: torch.Tensor,
    frame_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    *,
    blank_token_id: int,
    progress: float,
    turning_point: float = 2 / 3,
    num_items: torch.Tensor | int | None = None,
    num_sentence_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    CTC loss of several references, annealed by [`anneal_references`]. One decoder pass serves them all.

    Source: Shao et al. 2022 (arXiv 2205.14333, DDRS), §4.

    Args:
        logits (`torch.Tensor` of shape `(B, A, V)`, or [`Vocabulary`] of shape `(B, A)`): one row per frame; padded
            frames are not read.
        targets (`torch.LongTensor` of shape `(B, K, T)`): references, right-padded with anything.
        frame_lengths (`torch.LongTensor` of shape `(B,)`): frames of each sentence, 0 … A.
        target_lengths (`torch.LongTensor` of shape `(B, K)`): tokens of each reference; one of 0 tokens is none.
        blank_token_id (`int`): id of the blank.
        progress, turning_point, num_items, num_sentence_items: as [`anneal_references`].

    Returns:
        [`Loss`] with parts `ctc` (the loss) and `skipped` (number of references that no alignment fits).

    Raises:
        ValueError: as [`constrained_ctc_nll`], or for a progress outside [0, 1].
    """
    vocabulary = as_vocabulary(logits)
    check_positions(vocabulary, frame_lengths, "frame_lengths")
    if targets.dim() != 3 or len(targets) != vocabulary.shape[0] or target_lengths.shape != targets.shape[:2]:
        raise ValueError(
            f"targets must be of shape ({vocabulary.shape[0]}, K, T) and target_lengths (B, K), got "
            f"{tuple(targets.shape)} and {tuple(target_lengths.shape)}. Pad sentences with empty references."
        )
    batch, num_references, _ = targets.shape
    labels = find_path_labels(
        targets.flatten(0, 1),
        target_lengths.flatten(),
        blank_token_id=blank_token_id,
        vocab_size=vocabulary.vocab_size,
    )
    is_frame = find_real(frame_lengths, vocabulary.shape[1])
    # one pass over the vocabulary for all K references
    picked = pick_positions(vocabulary, labels.ids.view(batch, -1), is_frame)
    nll = constrained_ctc_nll(
        picked.unflatten(2, (num_references, -1)).transpose(1, 2).flatten(0, 1),
        labels.targets,
        frame_lengths.repeat_interleave(num_references),
        target_lengths.flatten(),
        blank_token_id=labels.blank,
    ).view(batch, num_references)
    skipped = (nll.detach() == torch.inf) & (target_lengths > 0)
    total = anneal_references(
        nll,
        target_lengths,
        progress=progress,
        turning_point=turning_point,
        num_items=num_items,
        num_sentence_items=num_sentence_items,
    )
    return Loss(total, {"ctc": total.detach(), "skipped": skipped.sum().to(total.dtype)})


def anneal_references(
    nll: torch.Tensor,
    target_lengths: torch.Tensor,
    *,
    progress: float,
    turning_point: float = 2 / 3,
    num_items: torch.Tensor | int | None = None,
    num_sentence_items: torch.Tensor | int | None = None,
) -> torch.Tensor:
    """
    From the sum over references to the likeliest one, by way of their joint likelihood. With τ the progress and λ the
    turning point,

        SUM = Σ_bk ℓ_bk / Σ_bk |y_bk|,    MID = −Σ_b log Σ_k exp(−ℓ_bk) / (Σ_bk |y_bk| / K),
        MIN = Σ_b min_k ℓ_bk / Σ_b |y_bk*|,

    the loss goes from SUM to MID in 0 ≤ τ ≤ λ and from MID to MIN in λ ≤ τ ≤ 1, linearly.

    Source: Shao et al. 2022 (arXiv 2205.14333, DDRS), §4.2; λ = 2/3.

    Args:
        nll (`torch.Tensor` of shape `(B, K)`): ℓ, negative log-likelihoods; +inf where a reference does not fit.
        target_lengths (`torch.LongTensor` of shape `(B, K)`): |y|; 0 where there is no reference.
        progress (`float`): τ in [0, 1].
        turning_point (`float`): λ in (0, 1).
        num_items (`int`, *optional*): Σ |y| over all references of the whole update, for SUM.
        num_sentence_items (`int`, *optional*): tokens of the whole update when each sentence counts once, for MID and
            MIN, whose own lengths are known only after the forward pass; default the K-th part of `num_items`.

    Returns:
        `torch.Tensor`: the loss. References without a likelihood add nothing; none at all gives 0 with a gradient.

    Raises:
        ValueError: for a progress or turning point out of range.
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"progress must be in [0, 1], got {progress}. It is the share of updates that are done.")
    if not 0 < turning_point < 1:
        raise ValueError(f"turning_point must be between 0 and 1, got {turning_point}. The paper uses 2/3.")
    is_usable = (target_lengths > 0) & (nll.detach() < torch.inf)
    # what does not fit has no likelihood, and its tokens do not count
    lengths = target_lengths * is_usable
    tokens = lengths.sum() if num_items is None else num_items
    # each sentence counts with the mean length of its references
    mean_lengths = lengths.sum(dim=1) / is_usable.sum(dim=1).clamp(min=1)
    mean_tokens: torch.Tensor | float
    if num_sentence_items is not None:
        mean_tokens = num_sentence_items
    else:
        mean_tokens = mean_lengths.sum() if num_items is None else num_items / nll.shape[1]
    has_reference = is_usable.any(dim=1)
    kept = nll.masked_fill(~is_usable, 0.0)
    # the rows of sentences without a reference are left out before the logarithm
    likely = -nll.masked_fill(~is_usable, torch.inf)[has_reference]
    if progress < turning_point:
        share = progress / turning_point
        first = _divide(kept.sum(), tokens)
        return (1 - share) * first + share * _divide(-likely.logsumexp(dim=1).sum(), mean_tokens)
    share = (progress - turning_point) / (1 - turning_point)
    middle = _divide(-likely.logsumexp(dim=1).sum(), mean_tokens)
    # the gradient goes to one reference alone
    best = likely.max(dim=1)
    chosen = lengths[has_reference].gather(1, best.indices.unsqueeze(1)).sum()
    has_items = num_items is not None or num_sentence_items is not None
    return (1 - share) * middle + share * _divide(-best.values.sum(), mean_tokens if has_items else chosen)


def _divide(summed: torch.Tensor, count: torch.Tensor | float) -> torch.Tensor:
    """0 where there is nothing to count, and a fraction of a token is no reason to count one."""
    count = torch.as_tensor(count, device=summed.device, dtype=summed.dtype)
    return summed / torch.where(count > 0, count, 1.0)
