# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Alignments of a target to decoder frames: constrained CTC likelihood, best alignment, collapsing, prefix beams.

Shapes: B batch, A alignment length (frames), T target length (tokens alone, no `<s>` and `</s>`), V vocabulary. States
are numbered 0 … 2T: state 2i is the blank before token i (2T: after the last), 2i + 1 is token i, i = 0 … T − 1.
A path takes one state per frame, starts in state 0 or 1, ends in 2T or 2T − 1, and goes from s to s, s + 1 or, between
two tokens that differ, s + 2. Frames and targets are padded on the right.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .ragged import check_lengths_shape, check_log_probs, find_real, find_wrong_lengths, refuse, working_dtype


# In `force_emits`: any state will do. Elsewhere: there is no state.
FREE_STATE = -1


class Alignment(NamedTuple):
    """
    Best paths of a batch; see [`best_alignment`].

    Args:
        states (`torch.LongTensor` of shape `(B, A)`): state of each frame; -1 at padding and where no path exists.
        tokens (`torch.LongTensor` of shape `(B, A)`): what the state emits: token or blank; blank where it is -1.
        scores (`torch.Tensor` of shape `(B,)`): sum of log-probabilities along the path, -inf where no path exists.
    """

    states: torch.Tensor
    tokens: torch.Tensor
    scores: torch.Tensor


def lengths_from_mask(is_real: torch.Tensor) -> torch.Tensor:
    """
    Number of real positions of each row.

    Args:
        is_real (`torch.Tensor` of shape `(B, L)`): boolean or 0/1 (an `attention_mask`), nonzero = real.

    Returns:
        `torch.LongTensor` of shape `(B,)`.

    Raises:
        ValueError: where a real position follows padding.
    """
    is_real = is_real.bool()
    # one comparison of neighbours finds a real position after padding anywhere
    if (is_real[:, 1:] & ~is_real[:, :-1]).any():
        raise ValueError("the mask has real positions after padding. Alignments need padding on the right.")
    return is_real.sum(dim=1)


def required_frames(targets: torch.Tensor, target_lengths: torch.Tensor) -> torch.Tensor:
    """
    Fewest frames that hold a target: its tokens, and a blank between each two neighbours that are equal.

    Source: Graves et al. 2006, §3.1: without a blank in between, repeated labels collapse to one.

    Args:
        targets (`torch.LongTensor` of shape `(B, T)`): token ids, right-padded with anything.
        target_lengths (`torch.LongTensor` of shape `(B,)`): tokens of each target, 0 … T.

    Returns:
        `torch.LongTensor` of shape `(B,)`. A sentence of fewer frames has no path.
    """
    # each repeat costs one frame more, for the blank that keeps it from collapsing
    return target_lengths + _find_repeats(targets, find_real(target_lengths, targets.shape[1])).sum(dim=1)


def constrained_ctc_nll(
    log_probs: torch.Tensor,
    targets: torch.Tensor,
    frame_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    *,
    blank_token_id: int,
    force_emits: torch.Tensor | None = None,
    zero_infinity: bool = False,
) -> torch.Tensor:
    """
    −log Σ_{paths} Π_t p_t(token of the path's state at t), over the paths that agree with `force_emits`.

    Without forced frames this is the CTC loss; with the known frames forced it is the loss of the Imputer. Forward
    variables α_t(s) in log space, in at least single precision:

        α_t(s) = log p_t(s) + log Σ_{s' → s} exp α_{t−1}(s'),      log p_t(s) = −∞ where frame t is forced elsewhere,
        NLL = −log(exp α_A(2T) + exp α_A(2T − 1)),
        ∂NLL / ∂ log p_t(v) = −Σ_{s emits v} γ_t(s),      γ_t(s) ∝ exp(α_t(s) + β_t(s)),      Σ_s γ_t(s) = 1,

    with β the same recursion from the end. This is the exact derivative for any input; `F.ctc_loss` adds p_t(v) to it,
    which gives the same gradient behind a log-softmax. Time and memory are linear in A.

    Source: Graves et al. 2006, eq. 6–16 (CTC); Chan et al. 2020 (Imputer) and Saharia et al. 2020 (Imputer for
    translation): the marginal over the alignments compatible with the frames already revealed.

    Args:
        log_probs (`torch.Tensor` of shape `(B, A, V)`): log-probabilities in nats, of any floating type.
        targets (`torch.LongTensor` of shape `(B, T)`): token ids without blanks, right-padded with anything.
        frame_lengths (`torch.LongTensor` of shape `(B,)`): frames of each sentence, 0 … A.
        target_lengths (`torch.LongTensor` of shape `(B,)`): tokens of each target, 0 … T.
        blank_token_id (`int`): id of the blank.
        force_emits (`torch.LongTensor` of shape `(B, A)`, *optional*): the state the path must be in at each frame,
            any negative number = free. Padded frames are not read.
        zero_infinity (`bool`): give 0 instead of +inf for a sentence without a path.

    Returns:
        `torch.Tensor` of shape `(B,)`: one NLL per sentence, in nats, in single precision or better. A sentence
        without a path (too few frames, contradicting forced frames, probability 0) has +inf, or 0 with
        `zero_infinity`, and gradient 0 in both cases.

    Raises:
        ValueError: for shapes that do not fit, lengths, ids or states out of range, or a target with a blank in it.
    """
    _check_inputs(log_probs, targets, frame_lengths, target_lengths, blank_token_id, force_emits)
    lattice = _build_lattice(log_probs, targets, frame_lengths, target_lengths, blank_token_id, force_emits)
    nll = -_LogLikelihood.apply(*lattice, frame_lengths, target_lengths)
    # after the function, whose backward pass then meets a gradient of exactly 0 for these sentences
    return nll.masked_fill(nll == float("inf"), 0.0) if zero_infinity else nll


@torch.no_grad()
def best_alignment(
    log_probs: torch.Tensor,
    targets: torch.Tensor,
    frame_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    *,
    blank_token_id: int,
    force_emits: torch.Tensor | None = None,
) -> Alignment:
    """
    The path of highest probability (Viterbi): [`constrained_ctc_nll`]'s recursion with max in place of log Σ exp.

    Among equally good predecessors of a state, s is preferred to s − 1, and s − 1 to s − 2; among equally good ends,
    2T − 1 is preferred to 2T (the reference's rules).

    Source: Graves et al. 2006, §3.2 (maximum over paths); Saharia et al. 2020 (best alignment as the Imputer's input).

    Args:
        log_probs, targets, frame_lengths, target_lengths, blank_token_id, force_emits:
            as for [`constrained_ctc_nll`].

    Returns:
        [`Alignment`]; its `states`, where kept, are the `force_emits` of that path. A sentence without a path has
        `scores` -inf and no states: compare [`required_frames`] with its frames to know beforehand.

    Raises:
        ValueError: as [`constrained_ctc_nll`].
    """
    _check_inputs(log_probs, targets, frame_lengths, target_lengths, blank_token_id, force_emits)
    emissions, is_closed, is_repeat = _build_lattice(
        log_probs, targets, frame_lengths, target_lengths, blank_token_id, force_emits
    )
    scores = _scan(emissions.masked_fill_(is_closed, float("-inf")), is_repeat, torch.maximum)
    end_token, end_blank = _end_scores(scores, frame_lengths, target_lengths)
    # >= and not >: of equal ends the reference takes the token
    end_states = 2 * target_lengths - (end_token >= end_blank).long()
    states = _trace_back(_find_moves(scores, is_repeat), end_states, frame_lengths)
    best = torch.maximum(end_token, end_blank)
    is_real = find_real(frame_lengths, log_probs.shape[1]) & (best > float("-inf")).unsqueeze(1)
    states = states.masked_fill(~is_real, FREE_STATE)
    return Alignment(states, _emitted_tokens(states, targets, blank_token_id), best)


class PathLabels(NamedTuple):
    """
    A vocabulary of a target's own: what its paths can emit. See [`find_path_labels`].

    Args:
        ids (`torch.LongTensor` of shape `(B, T + 1)`): the target's tokens in their order, blanks for its padding, and
            the blank.
        targets (`torch.LongTensor` of shape `(B, T)`): the target in columns of `ids`, equal tokens in the same one.
        blank (`int`): the blank's column, T.
    """

    ids: torch.Tensor
    targets: torch.Tensor
    blank: int


def find_path_labels(
    targets: torch.Tensor, target_lengths: torch.Tensor, *, blank_token_id: int, vocab_size: int
) -> PathLabels:
    """
    What is left of the vocabulary for the paths of each target: [`constrained_ctc_nll`] and [`best_alignment`] of
    log-probabilities (B, A, T + 1) at `ids`, with `targets` and `blank` of the result, are those of (B, A, V). Only
    `tokens` of an alignment are then columns of `ids`.

    Args:
        targets, target_lengths, blank_token_id: as for [`constrained_ctc_nll`].
        vocab_size (`int`): V.

    Raises:
        ValueError: for shapes that do not fit, lengths or ids out of range, or a target with a blank in it.
    """
    batch = len(target_lengths)
    _check_target_shape(targets, batch)
    check_lengths_shape("target_lengths", target_lengths, batch)
    _check_blank(blank_token_id, vocab_size)
    is_token = find_real(target_lengths, targets.shape[1])
    refuse(_find_wrong_targets(targets, target_lengths, is_token, blank_token_id, vocab_size))
    tokens = targets.masked_fill(~is_token, blank_token_id)
    ids = F.pad(tokens, (0, 1), value=blank_token_id)
    # the first column with the same token: equal neighbours stay recognisable
    columns = (tokens.unsqueeze(2) == ids.unsqueeze(1)).int().argmax(dim=2)
    return PathLabels(ids, columns, targets.shape[1])


def collapse_alignment(
    token_ids: torch.Tensor, frame_lengths: torch.Tensor, *, blank_token_id: int, pad_token_id: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    The target that an alignment stands for: one token of each run of equal tokens, then no blanks.

    Source: the map 𝓑 of Graves et al. 2006, §3.1.

    Args:
        token_ids (`torch.LongTensor` of shape `(B, A)`): tokens and blanks, right-padded with anything.
        frame_lengths (`torch.LongTensor` of shape `(B,)`): frames of each sentence, 0 … A.
        blank_token_id (`int`): id of the blank.
        pad_token_id (`int`): fills the freed positions at the end.

    Returns:
        `torch.LongTensor` of shape `(B, A)`, right-padded, and the number of tokens of each row, of shape `(B,)`.
    """
    is_kept = find_real(frame_lengths, token_ids.shape[1]) & (token_ids != blank_token_id)
    # neighbours are compared before blanks go: a blank between two equal tokens keeps both
    is_kept[:, 1:] &= token_ids[:, 1:] != token_ids[:, :-1]
    # False sorts before True, and a stable sort keeps the order of what stays
    order = (~is_kept).long().argsort(dim=1, stable=True)
    return token_ids.masked_fill(~is_kept, pad_token_id).gather(1, order), is_kept.sum(dim=1)


@torch.no_grad()
def prefix_beam_search(
    log_probs: torch.Tensor, *, blank_token_id: int, beam_size: int
) -> list[tuple[list[int], float]]:
    """
    Targets of highest probability, summed over the alignments that collapse to them, of one sentence.

    A prefix ℓ has the probabilities P_b of its alignments that end in a blank and P_nb of those that end in its last
    token. At each frame it stays itself by the blank or its last token again, or grows by a token:

        P_b'(ℓ) = p(blank) · (P_b(ℓ) + P_nb(ℓ)),     P_nb'(ℓ) = p(last of ℓ) · P_nb(ℓ) + what grows to ℓ,
        P_nb'(ℓ v) = p(v) · (P_b(ℓ) + P_nb(ℓ)),      or p(v) · P_b(ℓ) where v is the last token of ℓ;

    the `beam_size` prefixes of highest P_b + P_nb go on. All tokens take part; there is no bonus for length. With a
    beam that holds every prefix the probabilities are exact.

    Source: Graves et al. 2006, §3.2; Hannun et al. 2014 (arXiv 1408.2873), algorithm 1, without language model.

    Args:
        log_probs (`torch.Tensor` of shape `(A, V)`): log-probabilities of the frames, in nats.
        blank_token_id (`int`): id of the blank.
        beam_size (`int`): K, prefixes kept after each frame, at least 1.

    Returns:
        `list[tuple[list[int], float]]`: at most K pairs of token ids and log-probability, the best first; prefixes of
        probability 0 are left out. Without frames `[([], 0.0)]`.

    Raises:
        ValueError: for a wrong shape, a blank outside the vocabulary, a beam below 1 or log-probabilities of NaN.
    """
    _check_beam(log_probs, blank_token_id, beam_size)
    # a prefix is a sum over thousands of alignments: rounding in single precision may reorder close hypotheses
    frames = log_probs.double()
    # Exact: of a prefix's K best new children, the better ones of the same frame are at most K that are in the beam
    # already and its last token, which adds less. No token beyond these can be among the K best.
    tokens = frames.index_fill(1, torch.tensor([blank_token_id], device=frames.device), float("-inf"))
    tokens = tokens.topk(min(2 * beam_size + 1, frames.shape[1])).indices
    beam = _PrefixBeam(beam_size)
    for frame, candidates in zip(frames.cpu(), tokens.cpu()):
        beam.advance(frame, candidates, blank_token_id)
    return beam.list_best()


def _find_repeats(targets: torch.Tensor, is_token: torch.Tensor) -> torch.Tensor:
    """(B, T): True at a token that equals its left neighbour."""
    is_repeat = torch.zeros_like(is_token)
    is_repeat[:, 1:] = (targets[:, 1:] == targets[:, :-1]) & is_token[:, 1:]
    return is_repeat


def _emitted_tokens(states: torch.Tensor, targets: torch.Tensor, blank_token_id: int) -> torch.Tensor:
    """(B, A) states -> (B, A) tokens; blank where there is no state."""
    labels = targets.new_full((targets.shape[0], 2 * targets.shape[1] + 1), blank_token_id)
    # blanks at even states, tokens at odd ones
    labels[:, 1::2] = targets
    return labels.gather(1, states.clamp(min=0))  # state 0 is a blank


# ---------------------------------------------------------------------------------------------------------------------
# The lattice. Inside, frames come first and the batch last, so that a step over all states and sentences works on
# contiguous memory, and the states are in the order [T tokens, T + 1 blanks]: a blank has two predecessors and a token
# shares one sum with it, hence two operations on half of the states instead of three on all of them.


class _Lattice(NamedTuple):
    """Log-probabilities (A, 2T + 1, B), where no path may be (A, 2T + 1, B), and repeated tokens (T, B)."""

    emissions: torch.Tensor
    is_closed: torch.Tensor
    is_repeat: torch.Tensor


def _build_lattice(
    log_probs: torch.Tensor,
    targets: torch.Tensor,
    frame_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    blank_token_id: int,
    force_emits: torch.Tensor | None,
) -> _Lattice:
    num_frames, num_tokens = log_probs.shape[1], targets.shape[1]
    is_token = find_real(target_lengths, num_tokens)
    # Padding may be anything, -100 included. One gather, since the gradient of each is as large as `log_probs`.
    labels = F.pad(targets.masked_fill(~is_token, blank_token_id), (0, 1), value=blank_token_id)
    picked = log_probs.gather(2, labels.unsqueeze(1).expand(-1, num_frames, -1)).permute(1, 2, 0)
    picked = picked.to(working_dtype(log_probs.dtype))
    tokens, blank = picked.split([num_tokens, 1], dim=1)
    return _Lattice(
        torch.cat([tokens, blank.expand(-1, num_tokens + 1, -1)], dim=1),
        _find_closed_states(is_token, frame_lengths, num_frames, force_emits),
        _find_repeats(targets, is_token).T.contiguous(),
    )


def _find_closed_states(
    is_token: torch.Tensor,
    frame_lengths: torch.Tensor,
    num_frames: int,
    force_emits: torch.Tensor | None,
) -> torch.Tensor:
    """(A, 2T + 1, B): True where the frame or the state is padding or the frame is forced to another state."""
    never = is_token.new_zeros((len(is_token), 1))
    is_padding = torch.cat([~is_token, never, ~is_token], dim=1).T  # token i and the blank after it are real together
    is_closed = is_padding | ~find_real(frame_lengths, num_frames).T.unsqueeze(1)
    if force_emits is None:
        return is_closed
    state = torch.arange(2 * is_token.shape[1] + 1, device=is_token.device)
    # numbers of the states in the lattice's own order: tokens first
    state = torch.cat([state[1::2], state[0::2]]).unsqueeze(1)
    forced = force_emits.T.unsqueeze(1)
    return is_closed | ((forced >= 0) & (forced != state))


def _scan(emissions: torch.Tensor, is_repeat: torch.Tensor, combine: Callable[..., torch.Tensor]) -> torch.Tensor:
    """
    The recursion over frames: scores (A + 1, 2T + 2, B) of all ways into each state, joined by `combine`.

    Row 0 of the states stands before the first blank: there a path is before the first frame (index 0) and nowhere
    later, which makes the first frame, empty targets and sentences without frames cases like any other.
    """
    num_frames, num_states, num_rows = emissions.shape
    num_tokens = num_states // 2
    scores = emissions.new_full((num_frames + 1, num_states + 1, num_rows), float("-inf"))
    scores[0, 0] = 0.0
    before = scores[:, : num_tokens + 1].unbind()  # the token left of each blank
    tokens = scores[:, 1 : num_tokens + 1].unbind()
    blanks = scores[:, num_tokens + 1 :].unbind()
    left_blanks = scores[:, num_tokens + 1 : 2 * num_tokens + 1].unbind()  # the blank left of each token
    states = scores[:, 1:].unbind()
    entered = emissions.new_empty((num_tokens, num_rows))
    for frame, emission in enumerate(emissions.unbind()):
        combine(blanks[frame], before[frame], out=blanks[frame + 1])
        # A token is entered from where its left blank is entered or kept; after an equal token, from the blank alone.
        torch.where(is_repeat, left_blanks[frame], left_blanks[frame + 1], out=entered)
        combine(tokens[frame], entered, out=tokens[frame + 1])
        states[frame + 1].add_(emission)
    return scores


def _end_scores(
    scores: torch.Tensor, frame_lengths: torch.Tensor, target_lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores (B,) of the paths that end in the last token (2T − 1) and in the last blank (2T)."""
    row = torch.arange(len(frame_lengths), device=scores.device)
    num_tokens = scores.shape[1] // 2 - 1
    return scores[frame_lengths, target_lengths, row], scores[frame_lengths, num_tokens + 1 + target_lengths, row]


class _LogLikelihood(torch.autograd.Function):
    """
    Log-likelihood (B,) of lattices; the gradient is the posterior of each state, from α and β instead of a tape.

    β is α of the mirrored lattice (last frame and last state first), so that both run in the same steps, as 2B rows.
    """

    @staticmethod
    def forward(
        ctx: Any,
        emissions: torch.Tensor,
        is_closed: torch.Tensor,
        is_repeat: torch.Tensor,
        frame_lengths: torch.Tensor,
        target_lengths: torch.Tensor,
    ) -> torch.Tensor:
        emissions = emissions.masked_fill(is_closed, float("-inf"))
        # Taking out each frame's highest log-probability keeps α small, and rounding errors with it.
        peaks = emissions.amax(dim=1, keepdim=True)
        peaks.masked_fill_(peaks == float("-inf"), 0.0)
        # the copy of `masked_fill` above is ours, so that in place is safe
        emissions -= peaks
        rows, repeats, mirror = emissions, is_repeat, None
        # without a gradient, half of the work: α alone gives the likelihood
        if ctx.needs_input_grad[0]:
            mirror = _mirror_index(emissions, frame_lengths, target_lengths)
            rows = torch.cat([emissions, emissions.take(mirror)], dim=2)
            repeats = torch.cat([is_repeat, _mirror_repeats(is_repeat, target_lengths)], dim=1)
        scores = _scan(rows, repeats, torch.logaddexp)
        del rows
        log_likelihood = torch.logaddexp(*_end_scores(scores, frame_lengths, target_lengths))
        if mirror is not None:
            is_possible = log_likelihood != float("-inf")
            ctx.save_for_backward(_state_posteriors(scores, emissions, mirror, is_possible), is_possible)
        # every path passes every frame once, so that all peaks go back into every likelihood
        return log_likelihood + peaks.sum(dim=(0, 1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        posteriors, is_possible = ctx.saved_tensors
        # Not 0 · grad_output, which is NaN where what was made of a likelihood of -inf has an infinite gradient.
        return posteriors * grad_output.masked_fill(~is_possible, 0.0), None, None, None, None


def _state_posteriors(
    scores: torch.Tensor, emissions: torch.Tensor, mirror: torch.Tensor, is_possible: torch.Tensor
) -> torch.Tensor:
    """γ (A, 2T + 1, B) from the scores of the lattices and their mirror images (A + 1, 2T + 2, 2B)."""
    num_rows = emissions.shape[2]
    is_closed = emissions == float("-inf")
    # α and β both hold the frame's own log-probability: taken from one of them first, so that the sum cannot overflow.
    # the mirror of the mirrored scan puts β at the places of α
    gamma = scores[1:, 1:, num_rows:].take(mirror)
    gamma -= emissions
    gamma += scores[1:, 1:, :num_rows]
    # Normalised per frame, not by the likelihood: the rounding errors that the states of a frame share cancel.
    gamma = gamma.masked_fill_(is_closed, float("-inf")).softmax(dim=1)
    return gamma.masked_fill_(is_closed | ~is_possible, 0.0)


def _mirror_index(emissions: torch.Tensor, frame_lengths: torch.Tensor, target_lengths: torch.Tensor) -> torch.Tensor:
    """
    Where in the flattened (A, 2T + 1, B) each entry's mirror image is.

    The images of padding are anything: they come after all that is real, and no path leads back from there.
    """
    num_frames, num_states, num_rows = emissions.shape
    num_tokens = num_states // 2
    position = torch.arange(max(num_frames, num_tokens + 1), device=emissions.device).unsqueeze(1)
    frames = (frame_lengths - 1 - position[:num_frames]).clamp(min=0)
    tokens = (target_lengths - 1 - position[:num_tokens]).clamp(min=0)
    # there is one blank more than tokens: the image of blank 0 is blank T
    blanks = (target_lengths - position[: num_tokens + 1]).clamp(min=0) + num_tokens
    states = torch.cat([tokens, blanks])
    return (frames.unsqueeze(1) * num_states + states) * num_rows + torch.arange(num_rows, device=emissions.device)


def _mirror_repeats(is_repeat: torch.Tensor, target_lengths: torch.Tensor) -> torch.Tensor:
    """(T, B): `is_repeat` of the targets read from the right."""
    num_tokens = len(is_repeat)
    position = torch.arange(num_tokens, device=is_repeat.device).unsqueeze(1)
    # tokens i − 1 and i stand at T − i and T − 1 − i from the right: there the former is the later one, with the flag
    index = target_lengths - position
    return is_repeat.gather(0, index.clamp(0, max(num_tokens - 1, 0))) & (position > 0) & (index > 0)


def _find_moves(scores: torch.Tensor, is_repeat: torch.Tensor) -> torch.Tensor:
    """(A, 2T + 1, B), states in their own order: how many states the best path into a state came up, 0, 1 or 2."""
    num_tokens = len(is_repeat)
    before, tokens, blanks = (
        scores[:-1, : num_tokens + 1],
        scores[:-1, 1 : num_tokens + 1],
        scores[:-1, num_tokens + 1 :],
    )
    left_blanks = blanks[:, :-1]
    # between equal tokens a path must pass the blank
    left_tokens = before[:, :-1].masked_fill(is_repeat, float("-inf"))
    moves = torch.zeros_like(scores[1:, 1:], dtype=torch.int8)
    # < leaves a tie with the state itself, the reference's preference
    moves[:, 0::2] = blanks < before
    # >= prefers the nearer state in a tie
    moves[:, 1::2] = torch.where(left_blanks >= left_tokens, 1, 2)
    moves[:, 1::2].masked_fill_(tokens >= torch.maximum(left_blanks, left_tokens), 0)
    return moves


def _trace_back(moves: torch.Tensor, end_states: torch.Tensor, frame_lengths: torch.Tensor) -> torch.Tensor:
    """(B, A) states of the paths that end in `end_states`; padded frames hold anything."""
    states = end_states.new_empty((len(moves), len(end_states)))
    state = end_states
    for frame in range(len(moves) - 1, -1, -1):
        states[frame] = state
        move = moves[frame].gather(0, state.clamp(min=0).unsqueeze(0)).squeeze(0)
        # in padding the path waits at its end
        state = torch.where(frame < frame_lengths, state - move, state)
    return states.T


# ---------------------------------------------------------------------------------------------------------------------
# Prefix beam search.


class _PrefixBeam:
    """
    The K best prefixes. A prefix is a number in a tree of prefixes, so that equal prefixes are one however they arise.
    """

    def __init__(self, beam_size: int):
        self.beam_size = beam_size
        self._parents = [(-1, -1)]  # prefix -> (prefix without its last token, last token)
        self._children: dict[tuple[int, int], int] = {}
        self._prefixes = [0]
        self._blank = torch.zeros(1, dtype=torch.double)
        self._token = torch.full((1,), float("-inf"), dtype=torch.double)

    def advance(self, frame: torch.Tensor, candidates: torch.Tensor, blank_token_id: int) -> None:
        """One frame (V,): prefixes stay or grow by one of `candidates`, and the best go on."""
        parents, last = torch.tensor([self._parents[prefix] for prefix in self._prefixes]).unbind(dim=1)
        # P_b + P_nb of each prefix
        total = torch.logaddexp(self._blank, self._token)
        # the blank may follow either ending and changes nothing of the prefix
        blank = total + frame[blank_token_id]
        # its last token again collapses into it; the empty prefix (last = −1) has none
        token = torch.where(last >= 0, self._token + frame[last.clamp(min=0)], float("-inf"))
        is_repeat = candidates == last.unsqueeze(1)
        # the same token grows a prefix only from behind a blank, else it would collapse
        grown = torch.where(is_repeat, self._blank.unsqueeze(1), total.unsqueeze(1)) + frame[candidates]
        grown.masked_fill_(candidates == blank_token_id, float("-inf"))
        # What grows to a prefix of the beam is added there, from whatever token, and is no prefix of its own.
        prefixes = torch.tensor(self._prefixes)
        is_parent = parents.unsqueeze(1) == prefixes  # [j, k]: prefix k is prefix j without its last token
        # [j, k]: j's last token repeats k's, so that only the paths of k that end in a blank grow to j
        from_blank = last.unsqueeze(1) == last
        source = torch.where(from_blank, self._blank, total).masked_fill(~is_parent, float("-inf"))
        # at most one prefix of the beam is the parent: the maximum picks it out of -inf
        token = torch.logaddexp(token, source.amax(dim=1) + frame[last.clamp(min=0)])
        is_known = (is_parent.unsqueeze(2) & (last.view(-1, 1, 1) == candidates)).any(dim=0)
        self._keep_best(blank, token, grown.masked_fill_(is_known, float("-inf")), candidates)

    def _keep_best(
        self, blank: torch.Tensor, token: torch.Tensor, grown: torch.Tensor, candidates: torch.Tensor
    ) -> None:
        scores = torch.cat([torch.logaddexp(blank, token), grown.flatten()])
        best, order = scores.topk(min(self.beam_size, len(scores)))
        order = order[best > float("-inf")]
        impossible = torch.full_like(grown.flatten(), float("-inf"))
        # a prefix that has just grown ends in its token, never in a blank
        self._blank = torch.cat([blank, impossible])[order]
        self._token = torch.cat([token, grown.flatten()])[order]
        self._prefixes = [self._find_prefix(place, candidates) for place in order.tolist()]

    def _find_prefix(self, place: int, candidates: torch.Tensor) -> int:
        """The prefix at a place of the scores: the beam's own first, then those grown from each."""
        if place < len(self._prefixes):
            return self._prefixes[place]
        row, column = divmod(place - len(self._prefixes), len(candidates))
        # numbered by (parent, token): however it arises again, it is the same prefix
        branch = self._prefixes[row], int(candidates[column])
        if branch not in self._children:
            self._children[branch] = len(self._parents)
            self._parents.append(branch)
        return self._children[branch]

    def list_best(self) -> list[tuple[list[int], float]]:
        """Token ids and log-probability, the best first."""
        scores = torch.logaddexp(self._blank, self._token).tolist()
        return [(self._spell(prefix), score) for prefix, score in zip(self._prefixes, scores)]

    def _spell(self, prefix: int) -> list[int]:
        tokens = []
        # 0 is the empty prefix, the root
        while prefix:
            prefix, token = self._parents[prefix]
            tokens.append(token)
        return tokens[::-1]


# ---------------------------------------------------------------------------------------------------------------------
# Arguments.


def _check_inputs(
    log_probs: torch.Tensor,
    targets: torch.Tensor,
    frame_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    blank_token_id: int,
    force_emits: torch.Tensor | None,
) -> None:
    _check_shapes(log_probs, targets, frame_lengths, target_lengths, force_emits)
    num_frames, vocab_size = log_probs.shape[1:]
    _check_blank(blank_token_id, vocab_size)
    is_token = find_real(target_lengths, targets.shape[1])
    wrong = {
        f"frame_lengths must be in 0 … {num_frames}. Count the frames of log_probs.": (
            find_wrong_lengths(frame_lengths, num_frames)
        ),
        **_find_wrong_targets(targets, target_lengths, is_token, blank_token_id, vocab_size),
    }
    if force_emits is not None:
        # states 0 … 2T of a sentence's own target, not of the padded width
        is_wrong = (force_emits > 2 * target_lengths.unsqueeze(1)) & find_real(frame_lengths, num_frames)
        wrong["force_emits names states above 2 · target_lengths. Take the states of the same target."] = is_wrong
    refuse(wrong)


def _find_wrong_targets(
    targets: torch.Tensor,
    target_lengths: torch.Tensor,
    is_token: torch.Tensor,
    blank_token_id: int,
    vocab_size: int,
) -> dict[str, torch.Tensor]:
    """Message to where it is true, for what must not be in a target."""
    return {
        f"target_lengths must be in 0 … {targets.shape[1]}. Count the tokens of targets.": (
            find_wrong_lengths(target_lengths, targets.shape[1])
        ),
        f"targets must be in 0 … {vocab_size - 1}. Leave padding to target_lengths.": (
            ((targets < 0) | (targets >= vocab_size)) & is_token
        ),
        f"targets hold the blank {blank_token_id}. Collapse alignments before using them as targets.": (
            (targets == blank_token_id) & is_token
        ),
    }


def _check_shapes(
    log_probs: torch.Tensor,
    targets: torch.Tensor,
    frame_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    force_emits: torch.Tensor | None,
) -> None:
    check_log_probs("log_probs", log_probs, "(B, A, V)")
    batch, num_frames, _ = log_probs.shape
    _check_target_shape(targets, batch)
    check_lengths_shape("frame_lengths", frame_lengths, batch)
    check_lengths_shape("target_lengths", target_lengths, batch)
    if force_emits is not None and force_emits.shape != (batch, num_frames):
        raise ValueError(
            f"force_emits must be of shape ({batch}, {num_frames}), got {tuple(force_emits.shape)}. "
            "Give one state per frame, -1 where it is free."
        )


def _check_target_shape(targets: torch.Tensor, batch: int) -> None:
    if targets.dim() != 2 or len(targets) != batch:
        raise ValueError(f"targets must be of shape ({batch}, T), got {tuple(targets.shape)}. Pad them on the right.")


def _check_blank(blank_token_id: int, vocab_size: int) -> None:
    if not 0 <= blank_token_id < vocab_size:
        raise ValueError(
            f"blank_token_id {blank_token_id} is not in the vocabulary of {vocab_size}. Widen the output by the blank."
        )


def _check_beam(log_probs: torch.Tensor, blank_token_id: int, beam_size: int) -> None:
    if log_probs.dim() != 2 or not log_probs.is_floating_point():
        raise ValueError(
            f"log_probs must be floating point of shape (A, V), got {log_probs.dtype} {tuple(log_probs.shape)}. "
            "Pass one sentence at a time, without its padding."
        )
    _check_blank(blank_token_id, log_probs.shape[1])
    if beam_size < 1:
        raise ValueError(f"beam_size must be at least 1, got {beam_size}. Use 1 to keep the best prefix alone.")
    if log_probs.isnan().any():
        raise ValueError("log_probs hold NaN. Cut off padding, and check the model's output.")
