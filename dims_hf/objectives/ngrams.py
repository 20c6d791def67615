# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Matching n-grams: of models that write one token per position (bag of n-grams), and of CTC models (NMLA).

Both compare the n-grams a model is expected to write with those of the target, in whatever place:
match = Σ_g min(expected count of g, count of g in the target), over the distinct n-grams of the target.

Shapes: B batch, N target tokens, L positions, A frames, G n-grams of a target (N − n + 1), V vocabulary.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from dims_hf.models.ragged import find_real
from dims_hf.objectives.reduction import Loss, divide_by_items
from dims_hf.objectives.targets import check_positions, check_targets
from dims_hf.objectives.vocabulary import Vocabulary, as_vocabulary, pick_positions


def bag_of_ngrams_loss(
    log_probs: torch.Tensor | Vocabulary,
    targets: torch.Tensor,
    target_lengths: torch.Tensor,
    *,
    n: int = 2,
    num_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    Sum over sentences of −match / (N − n + 1), divided by `num_items`. Positions being independent, the expected count
    of an n-gram g is Σ_t Π_k p_{t+k}(g_k).

    Where a model expects more of an n-gram than there are, the gradient stops: repeating it gains nothing.

    Source: Shao et al. 2020 (arXiv 1911.09320), Eq. 12–16: up to an affine map, the L1 distance of both bags.

    Args:
        log_probs (`torch.Tensor` of shape `(B, N, V)`, or [`Vocabulary`] of shape `(B, N)`): log-probabilities at as
            many positions as tokens.
        targets (`torch.LongTensor` of shape `(B, N)`): tokens alone, right-padded with anything.
        target_lengths (`torch.LongTensor` of shape `(B,)`): tokens of each target, 0 … N.
        n (`int`): at least 1; the paper uses 2.
        num_items (`int`, *optional*): sentences of the whole update; default B.

    Returns:
        [`Loss`] with part `ngrams`, in [−1, 0]. Sentences of fewer than n tokens give 0 and count in B. Padding has no
        influence, whatever it holds, and gradient 0.

    Raises:
        ValueError: for shapes that do not fit, ids or lengths out of range, or n < 1.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"n must be a whole number >= 1, got {n}. The paper uses 2.")
    vocabulary = as_vocabulary(log_probs, is_normalized=True)
    is_token = check_targets(vocabulary, targets, target_lengths)
    if vocabulary.shape != targets.shape:
        raise ValueError(
            f"log_probs have positions {tuple(vocabulary.shape)}, targets {tuple(targets.shape)}. N-gram bags need "
            "one position for each token."
        )
    tokens = targets.masked_fill(~is_token, 0)
    # 0 at padding again: `pick_positions` leaves log-probability 0, probability 1
    probs = pick_positions(vocabulary, tokens, is_token).exp().masked_fill(~is_token.unsqueeze(2), 0.0)
    num_ngrams = max(targets.shape[1] - n + 1, 0)
    # products over positions t and the target's n-grams i, both shifted by k
    expected = probs.new_ones(len(targets), num_ngrams, num_ngrams)
    for shift in range(n if num_ngrams else 0):
        expected = expected * probs[:, shift : shift + num_ngrams, shift : shift + num_ngrams]
    match, sizes = match_references(expected.sum(dim=1, keepdim=True), tokens.unsqueeze(1), target_lengths[:, None], n)
    total = divide_by_items(-(match / sizes.clamp(min=1)).sum(), len(targets) if num_items is None else num_items)
    return Loss(total, {"ngrams": total.detach()})


def ctc_ngram_loss(
    log_probs: torch.Tensor | Vocabulary,
    targets: torch.Tensor,
    frame_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    *,
    blank_token_id: int,
    n: int = 2,
    num_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    Sum over sentences of −F1 of expected n-grams over all CTC paths, divided by `num_items`:

        F1 = 2 · match / ((N − n + 1) + (E[length] − n + 1)).

    Unlike CTC it does not ask for a monotone alignment, and a target that does not fit its frames still teaches
    something. Expected counts are exact, and linear in A (see [`expected_bigrams`]).

    Source: Shao and Feng 2022 (arXiv 2210.03953, NMLA), with the quotient of each sentence: the released code takes
    one over padded lengths for a whole batch.

    Args:
        log_probs (`torch.Tensor` of shape `(B, A, V)`, or [`Vocabulary`] of shape `(B, A)`): log-probabilities.
        targets (`torch.LongTensor` of shape `(B, N)`): tokens alone, right-padded with anything. Or `(B, K, N)`, K
            references of each sentence: their counts and lengths are averaged (Shao et al. 2022, DDRS, §4.3); one of
            fewer than n tokens is left out.
        frame_lengths (`torch.LongTensor` of shape `(B,)`): frames of each sentence, 0 … A.
        target_lengths (`torch.LongTensor` of shape `(B,)`, or `(B, K)`): tokens of each target, 0 … N.
        blank_token_id (`int`): id of the blank.
        n (`int`): 1 or 2 (the paper's).
        num_items (`int`, *optional*): sentences of the whole update; default B.

    Returns:
        [`Loss`] with part `ngrams`. Sentences in which nothing can match (fewer than n tokens or frames) give 0 and
        count in B. Padding has no influence, whatever it holds, and gradient 0.

    Raises:
        ValueError: for shapes that do not fit, ids or lengths out of range, a blank in a target, or another n.
    """
    if isinstance(n, bool) or n not in (1, 2):
        raise ValueError(f"n must be 1 or 2, got {n}. Longer n-grams of all CTC paths have no closed form here.")
    vocabulary = as_vocabulary(log_probs, is_normalized=True)
    check_positions(vocabulary, frame_lengths, "frame_lengths")
    targets, target_lengths = _as_references(targets, target_lengths)
    is_token = torch.stack(
        [
            check_targets(vocabulary, tokens, lengths, blank_token_id=blank_token_id)
            for tokens, lengths in zip(targets.unbind(1), target_lengths.unbind(1), strict=True)
        ],
        dim=1,
    )
    is_frame = find_real(frame_lengths, vocabulary.shape[1])
    tokens = targets.masked_fill(~is_token, blank_token_id)
    # all references' tokens, and the blank as the last column
    ids = F.pad(tokens.flatten(1), (0, 1), value=blank_token_id)
    probs = pick_positions(vocabulary, ids, is_frame).exp().masked_fill(~is_frame.unsqueeze(2), 0.0)
    token_probs, blank_probs = probs[..., :-1].unflatten(2, tokens.shape[1:]), probs[..., -1]
    if n == 1:
        expected = expected_unigrams(token_probs)
    else:
        expected = expected_bigrams(token_probs, blank_probs, tokens[..., 1:] == tokens[..., :-1])
    match, num_ngrams = match_references(expected, tokens, target_lengths, n)
    length = expected_length(vocabulary, blank_probs, is_frame, blank_token_id)
    can_match = (num_ngrams > 0) & (frame_lengths >= n)
    # Where there is a match, the denominator is at least as large. All blanks, both are 0.
    denominator = (num_ngrams + (length - n + 1)).clamp(min=1e-6)
    f1 = 2 * match / denominator.masked_fill(~can_match, 1.0)
    total = divide_by_items(-f1.masked_fill(~can_match, 0.0).sum(), len(targets) if num_items is None else num_items)
    return Loss(total, {"ngrams": total.detach()})


def _as_references(targets: torch.Tensor, target_lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets (B, K, N) and lengths (B, K)."""
    if targets.dim() == 2 and target_lengths.dim() == 1:
        return targets.unsqueeze(1), target_lengths.unsqueeze(1)
    if targets.dim() != 3 or target_lengths.dim() != 2 or targets.shape[1] != target_lengths.shape[1]:
        raise ValueError(
            "targets must be of shape (B, N) with target_lengths (B,), or (B, K, N) with (B, K), got "
            f"{tuple(targets.shape)} and {tuple(target_lengths.shape)}. Pad them on the right."
        )
    return targets, target_lengths


def match_references(
    expected: torch.Tensor, targets: torch.Tensor, target_lengths: torch.Tensor, n: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Σ over the distinct n-grams of all references of min(expected count, mean count in a reference).

    Args:
        expected (`torch.Tensor` of shape `(B, K, G)`): expected count of the n-gram at each place of each reference.
        targets (`torch.LongTensor` of shape `(B, K, N)`).
        target_lengths (`torch.LongTensor` of shape `(B, K)`): references of fewer than n tokens are left out.
        n (`int`).

    Returns:
        `torch.Tensor` of shape `(B,)`, and the mean number of n-grams in a reference, of shape `(B,)`.
    """
    width = expected.shape[2]
    sizes = (target_lengths - n + 1).clamp(min=0)
    num_references = (sizes > 0).sum(dim=1).clamp(min=1)
    is_ngram = (torch.arange(width, device=targets.device) < sizes.unsqueeze(2)).flatten(1)
    # across references too: an n-gram of several is one
    is_equal = is_ngram.unsqueeze(2) & is_ngram.unsqueeze(1)
    for shift in range(n if width else 0):
        tokens = targets[..., shift : shift + width].flatten(1)
        is_equal = is_equal & (tokens.unsqueeze(2) == tokens.unsqueeze(1))
    places = is_equal.sum(dim=2).clamp(min=1).to(expected.dtype)
    counts, expected = places / num_references.unsqueeze(1), expected.flatten(1)
    # each of the places of an n-gram adds its share
    # `where` instead of `minimum`, which would split the gradient between equals
    shares = torch.where(expected > counts, counts, expected) / places
    return shares.masked_fill(~is_ngram, 0.0).sum(dim=1), (sizes.sum(dim=1) / num_references).to(expected.dtype)


def expected_unigrams(token_probs: torch.Tensor) -> torch.Tensor:
    """
    Expected count of a token over all CTC paths: p_1 + Σ_{t ≥ 2} p_t (1 − p_{t−1}), a run counting once.

    Args:
        token_probs (`torch.Tensor` of shape `(B, A, …)`): probabilities of tokens in each frame, 0 at padding.

    Returns:
        `torch.Tensor` of shape `(B, …)`.
    """
    # a run begins where the frame before is something else
    starts = token_probs[:, 1:] * (1 - token_probs[:, :-1])
    return token_probs[:, :1].sum(dim=1) + starts.sum(dim=1)


def expected_bigrams(token_probs: torch.Tensor, blank_probs: torch.Tensor, is_repeat: torch.Tensor) -> torch.Tensor:
    """
    Expected count over all CTC paths of each pair of neighbours u, v in a target, in one pass over the frames:

        C = Σ_t S_t p_t(v),    S_{t+1} = b_t S_t + p_t(u),    S_1 = 0,

    S_t being the probability that u is the last token before frame t and has just ended there. Of two equal tokens,
    the one before in time must have a blank after it: b_{t−1} S_{t−1} in place of S_t.

    Source: Shao and Feng 2022, Eq. 15, without its A × A matrix of products of blanks.

    Args:
        token_probs (`torch.Tensor` of shape `(B, A, …, N)`): probabilities of a target's tokens in each frame.
        blank_probs (`torch.Tensor` of shape `(B, A)`): those of the blank.
        is_repeat (`torch.BoolTensor` of shape `(B, …, N − 1)`): True where u = v.

    Returns:
        `torch.Tensor` of shape `(B, …, N − 1)`.
    """
    first, second = token_probs[..., :-1], token_probs[..., 1:]
    ended = counts = torch.zeros_like(is_repeat, dtype=first.dtype)
    blanks = blank_probs.view(*blank_probs.shape, *[1] * (first.dim() - 2))
    kept = ended
    for first_prob, second_prob, blank_prob in zip(first.unbind(1), second.unbind(1), blanks.unbind(1), strict=True):
        counts = counts + torch.where(is_repeat, kept, ended) * second_prob
        kept = blank_prob * ended
        # in this order: the frame's own u ends only after its pairs have been counted
        ended = kept + first_prob
    return counts


def expected_length(
    vocabulary: Vocabulary, blank_probs: torch.Tensor, is_frame: torch.Tensor, blank_token_id: int
) -> torch.Tensor:
    """
    Expected number of tokens over all CTC paths: Σ_t (1 − b_t) − Σ_{t ≥ 2} Σ_{w ≠ blank} p_t(w) p_{t−1}(w).

    The last sum is the only part of these losses that needs whole distributions.

    Args:
        vocabulary ([`Vocabulary`]): of shape (B, A); padded frames are not read.
        blank_probs (`torch.Tensor` of shape `(B, A)`): probabilities of the blank.
        is_frame (`torch.BoolTensor` of shape `(B, A)`): True = frame.
        blank_token_id (`int`).

    Returns:
        `torch.Tensor` of shape `(B,)`.
    """

    def overlap(log_probs: torch.Tensor) -> torch.Tensor:
        probs = log_probs.exp().index_fill(1, torch.tensor([blank_token_id], device=log_probs.device), 0.0)
        return (probs[1:] * probs[:-1]).sum(dim=1)

    overlaps = vocabulary.select(is_frame).map_neighbors(overlap)
    sentence = torch.arange(len(is_frame), device=is_frame.device).unsqueeze(1).expand_as(is_frame)[is_frame]
    # a sentence's last frame and the next one's first are no neighbours
    is_within = sentence[1:] == sentence[:-1]
    repeated = blank_probs.new_zeros(len(is_frame)).index_add(
        0, sentence[1:][is_within], overlaps[is_within].to(blank_probs.dtype)
    )
    return (is_frame.to(blank_probs.dtype) - blank_probs).sum(dim=1) - repeated
