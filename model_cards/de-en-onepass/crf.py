# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Linear-chain conditional random fields over a list of candidates at each position: likelihood and best sequence.

Shapes: B batch, T length, C candidates. A sequence takes one candidate at each position; its score is the sum of their
emissions and of the transitions between neighbours. Positions are padded on the right; padding may hold anything.
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from .ragged import check_lengths_shape, check_log_probs, find_real, find_wrong_lengths, refuse, working_dtype


def crf_nll(
    emissions: torch.Tensor,
    transitions: torch.Tensor,
    target_candidates: torch.Tensor,
    lengths: torch.Tensor,
) -> torch.Tensor:
    """
    −log p(y) = log Z − Σ_t s_t(y_t) − Σ_t M_t[y_t, y_{t+1}], with Z the sum of exp(score) over all sequences.

    Forward variables α_1(j) = s_1(j), α_{t+1}(j) = s_{t+1}(j) + log Σ_i exp(α_t(i) + M_t[i, j]) give log Z =
    log Σ_j exp α_N(j); with β likewise from the end, gradients are marginals less what the target takes,

        ∂NLL / ∂s_t(j) = p(y_t = j) − [j is the target],   ∂NLL / ∂M_t[i, j] = p(y_t = i, y_{t+1} = j) − [i, j are].

    A constant added to a position's emissions or to a step's transitions changes nothing. Not divided by the length.

    Source: Lafferty et al. 2001; Sun et al. 2019 (NART-CRF, arXiv 1910.11555), eq. 3–7.

    Args:
        emissions (`torch.Tensor` of shape `(B, T, C)`): s_t, in nats, normalised or not; -inf closes a candidate.
        transitions (`torch.Tensor` of shape `(B, T − 1, C, C)`): [b, t, i, j] is M_t of candidate i at position t and
            candidate j at t + 1, in nats; -inf closes a transition.
        target_candidates (`torch.LongTensor` of shape `(B, T)`): places of the target in the lists of candidates (not
            token ids), right-padded with anything.
        lengths (`torch.LongTensor` of shape `(B,)`): positions of each sentence, 0 … T.

    Returns:
        `torch.Tensor` of shape `(B,)`: one NLL per sentence, in nats, in single precision or better. A target of
        probability 0 has +inf and gradient 0; a sentence without positions has 0.

    Raises:
        ValueError: for shapes that do not fit, or lengths or candidates out of range.
    """
    _check_chain(emissions, transitions, lengths)
    _check_target(target_candidates, lengths, *emissions.shape[:3])
    return _NegativeLogLikelihood.apply(emissions, transitions, target_candidates, lengths)


@torch.no_grad()
def crf_viterbi(emissions: torch.Tensor, transitions: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """
    The sequence of highest score: the recursion of [`crf_nll`] with max in place of log Σ exp.

    Among equally good candidates the first is taken, from the last position on.

    Args:
        emissions, transitions, lengths: as for [`crf_nll`].

    Returns:
        `torch.LongTensor` of shape `(B, T)`: the candidate of each position, 0 at padding.

    Raises:
        ValueError: for shapes that do not fit or lengths out of range.
    """
    _check_chain(emissions, transitions, lengths)
    batch, width, _ = emissions.shape
    best = torch.zeros(batch, width, dtype=torch.long, device=emissions.device)
    if best.numel() == 0:
        return best
    row = torch.arange(batch, device=emissions.device)
    steps, origins = _close_padding(transitions, lengths - 1), []
    scores = emissions[:, 0]
    # A padded step goes from each candidate to itself, so that every sentence ends at the last position.
    for position in range(1, width):
        # `max` names the first of equal maxima, the rule of the docstring
        entered, origin = (scores.unsqueeze(2) + steps[:, position - 1]).max(dim=1)
        is_real = (position < lengths).unsqueeze(1)
        scores = torch.where(is_real, entered + emissions[:, position], scores)
        origins.append(torch.where(is_real, origin, torch.arange(origin.shape[1], device=origin.device)))
    # of every sentence, since padded steps carried its best score to the end
    best[:, -1] = scores.argmax(dim=1)
    for position in range(width - 2, -1, -1):
        best[:, position] = origins[position][row, best[:, position + 1]]
    return best.masked_fill(~find_real(lengths, width), 0)


@torch.no_grad()
def crf_marginals(
    emissions: torch.Tensor, transitions: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Probabilities of candidates and of neighbouring candidates under exp(score) / Z.

    Args:
        emissions, transitions, lengths: as for [`crf_nll`].

    Returns:
        p(y_t = j) (B, T, C) and p(y_t = i, y_{t+1} = j) (B, T − 1, C, C), 0 at padding, in single precision or better.

    Raises:
        ValueError: for shapes that do not fit or lengths out of range.
    """
    _check_chain(emissions, transitions, lengths)
    dtype = working_dtype(torch.promote_types(emissions.dtype, transitions.dtype))
    emissions = _remove_peaks(_close_padding(emissions.to(dtype), lengths), dims=(2,))
    transitions = _remove_peaks(_close_padding(transitions.to(dtype), lengths - 1), dims=(2, 3))
    nodes, edges, _ = _find_marginals(emissions, transitions, lengths)
    return nodes, edges


@torch.library.custom_op("dims_hf::crf_choose", mutates_args=())
def crf_choose(
    emissions: torch.Tensor, transitions: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    The best sequence, and how likely each of its candidates is after the one before it: these add up to the sequence's
    log-probability, normalised over all sequences of candidates.

    One operator to compilers and exporters, which would unroll its loops.

    Args:
        emissions, transitions, lengths: as for [`crf_nll`].

    Returns:
        `torch.LongTensor` (B, T) of [`crf_viterbi`], and log-probabilities (B, T), not defined at padding.

    Raises:
        ValueError: for shapes that do not fit or lengths out of range.
    """
    places = crf_viterbi(emissions, transitions, lengths)
    nodes, edges = crf_marginals(emissions, transitions, lengths)
    tiny = torch.finfo(nodes.dtype).tiny
    at_place = nodes.gather(2, places.unsqueeze(2)).squeeze(2).clamp(min=tiny).log()
    rows = edges.gather(2, places[:, :-1, None, None].expand(-1, -1, 1, edges.shape[3])).squeeze(2)
    pairs = rows.gather(2, places[:, 1:, None]).squeeze(2).clamp(min=tiny).log()
    # log p(y_1), then log p(y_t, y_{t−1}) − log p(y_{t−1}); rounding may lift a certain candidate above 0
    return places, torch.cat([at_place[:, :1], pairs - at_place[:, :-1]], dim=1).clamp(max=0.0)


@crf_choose.register_fake
def _(emissions: torch.Tensor, transitions: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    dtype = working_dtype(torch.promote_types(emissions.dtype, transitions.dtype))
    shape = emissions.shape[:2]
    return emissions.new_empty(shape, dtype=torch.long), emissions.new_empty(shape, dtype=dtype)


class _NegativeLogLikelihood(torch.autograd.Function):
    """NLL (B,) of targets; the gradients are marginals less the target, from α and β instead of a tape."""

    @staticmethod
    def forward(
        ctx: Any,
        emissions: torch.Tensor,
        transitions: torch.Tensor,
        target_candidates: torch.Tensor,
        lengths: torch.Tensor,
    ) -> torch.Tensor:
        ctx.dtypes = emissions.dtype, transitions.dtype
        dtype = working_dtype(torch.promote_types(emissions.dtype, transitions.dtype))
        is_real = find_real(lengths, emissions.shape[1])
        emissions = _remove_peaks(_close_padding(emissions.to(dtype), lengths), dims=(2,))
        transitions = _remove_peaks(_close_padding(transitions.to(dtype), lengths - 1), dims=(2, 3))
        target = target_candidates.masked_fill(~is_real, 0)
        nodes, edges, log_partition = _find_marginals(emissions, transitions, lengths)
        score = _score_target(emissions, transitions, target, lengths)
        # log Z is -inf too where no sequence is possible, and the difference would be NaN
        nll = torch.where(score == float("-inf"), float("inf"), log_partition - score)
        _subtract_target(nodes, edges, target, is_real)
        ctx.save_for_backward(nodes, edges, nll)
        return nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        nodes, edges, nll = ctx.saved_tensors
        is_possible = nll != float("inf")
        # Zeros, not 0 · something: the marginals of a sentence without any sequence are NaN.
        nodes = torch.where(is_possible.view(-1, 1, 1), nodes * grad_output.view(-1, 1, 1), 0.0)
        edges = torch.where(is_possible.view(-1, 1, 1, 1), edges * grad_output.view(-1, 1, 1, 1), 0.0)
        return nodes.to(ctx.dtypes[0]), edges.to(ctx.dtypes[1]), None, None


def _close_padding(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Values (B, L, …), 0 at padding."""
    is_real = find_real(lengths, values.shape[1])
    return values.masked_fill(~is_real.view(*is_real.shape, *[1] * (values.dim() - 2)), 0.0)


def _remove_peaks(values: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    """Values less their maximum over `dims`: sums stay small, and rounding errors with them."""
    if 0 in values.shape:
        return values
    peaks = values.amax(dim=dims, keepdim=True)
    return values - peaks.masked_fill(peaks == float("-inf"), 0.0)


def _find_marginals(
    emissions: torch.Tensor, transitions: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Marginals of candidates (B, T, C) and of neighbours (B, T − 1, C, C), 0 at padding, and log Z (B,)."""
    if emissions.shape[1] == 0:
        return torch.zeros_like(emissions), torch.zeros_like(transitions), emissions.new_zeros(len(emissions))
    num_steps = transitions.shape[1]
    is_real = find_real(lengths, num_steps + 1)
    alpha, beta = [emissions[:, 0]], [torch.zeros_like(emissions[:, 0])]
    # At padding, α stays what it was at the end and β what it is there.
    for step in range(num_steps):
        entered = (alpha[-1].unsqueeze(2) + transitions[:, step]).logsumexp(dim=1) + emissions[:, step + 1]
        alpha.append(torch.where(is_real[:, step + 1, None], entered, alpha[-1]))
    for step in range(num_steps - 1, -1, -1):
        left = ((beta[-1] + emissions[:, step + 1]).unsqueeze(1) + transitions[:, step]).logsumexp(dim=2)
        beta.append(torch.where(is_real[:, step + 1, None], left, beta[-1]))
    forward, backward = torch.stack(alpha, dim=1), torch.stack(beta[::-1], dim=1)
    # a sentence without positions has one sequence, the empty one, of score 0
    log_partition = alpha[-1].logsumexp(dim=1).masked_fill(lengths == 0, 0.0)
    # A step's own transition and both ends; normalised by log Z.
    ahead = (backward + emissions)[:, 1:].unsqueeze(2) - log_partition.view(-1, 1, 1, 1)
    edges = (forward[:, :-1].unsqueeze(3) + transitions + ahead).exp_()
    nodes = (forward + backward - log_partition.view(-1, 1, 1)).exp_()
    return _close_padding(nodes, lengths), _close_padding(edges, lengths - 1), log_partition


def _score_target(
    emissions: torch.Tensor, transitions: torch.Tensor, target: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """(B,): score of the target; padding counts 0 in both."""
    score = emissions.gather(2, target.unsqueeze(2)).squeeze(2).sum(dim=1)
    rows = transitions.gather(2, target[:, :-1, None, None].expand(-1, -1, 1, transitions.shape[3]))
    return score + rows.squeeze(2).gather(2, target[:, 1:].unsqueeze(2)).squeeze(2).sum(dim=1)


def _subtract_target(nodes: torch.Tensor, edges: torch.Tensor, target: torch.Tensor, is_real: torch.Tensor) -> None:
    """Subtracts 1 in place at what the target takes."""
    sentence, position = is_real.nonzero(as_tuple=True)
    nodes[sentence, position, target[sentence, position]] -= 1
    sentence, position = is_real[:, 1:].nonzero(as_tuple=True)
    edges[sentence, position, target[sentence, position], target[sentence, position + 1]] -= 1


def _check_chain(emissions: torch.Tensor, transitions: torch.Tensor, lengths: torch.Tensor) -> None:
    check_log_probs("emissions", emissions, "(B, T, C)")
    check_log_probs("transitions", transitions, "(B, T − 1, C, C)")
    batch, width, num_candidates = emissions.shape
    if num_candidates == 0:
        raise ValueError("emissions hold no candidates. Give at least one per position.")
    expected = (batch, max(width - 1, 0), num_candidates, num_candidates)
    if transitions.shape != expected:
        raise ValueError(
            f"transitions must be of shape {expected}, got {tuple(transitions.shape)}. "
            "Give one matrix for each two neighbouring positions."
        )
    check_lengths_shape("lengths", lengths, batch)
    message = f"lengths must be in 0 … {width}. Count the positions of emissions."
    refuse({message: find_wrong_lengths(lengths, width)})


def _check_target(
    target_candidates: torch.Tensor, lengths: torch.Tensor, batch: int, width: int, num_candidates: int
) -> None:
    if target_candidates.shape != (batch, width):
        raise ValueError(
            f"target_candidates must be of shape ({batch}, {width}), got {tuple(target_candidates.shape)}. "
            "Give one per position."
        )
    is_wrong = (target_candidates < 0) | (target_candidates >= num_candidates)
    message = (
        f"target_candidates must be in 0 … {num_candidates - 1}: places in the lists of candidates, not token ids. "
        "Put the target's tokens among the candidates."
    )
    refuse({message: is_wrong & find_real(lengths, width)})
