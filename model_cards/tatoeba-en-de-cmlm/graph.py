# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Directed acyclic graphs of words: likelihood of a target over all paths, its best path, and passing probabilities.

Shapes: B batch, A vertices, T target length (`<s>` and `</s>` counted). A path starts at vertex 0, ends at the last
vertex of its sentence and goes to a later vertex each time; its i-th vertex emits the i-th token. Vertices and targets
are padded on the right. Only what a path can meet is read: transitions to later vertices within the sentence, and the
words of vertices that leave room for the tokens before and after; all else may be NaN or infinite.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from .ragged import check_lengths_shape, check_log_probs, find_real, find_wrong_lengths, refuse, working_dtype


# Each step of the recursion multiplies weights exp(x) by a matrix, in double precision, whose range is exp(±708). What
# is further than this below the highest weight of its vector or row, -inf included, is raised to it. Hence nothing
# vanishes, no weight needs a mask, ...
_LOWEST_WEIGHT = -350.0
# ... a sum below this may be too large, and a sum above it is right to A · exp(-50).
_LOWEST_SUM = -300.0
# Posterior probability that may go through sums below it; a sentence with more is computed again in log space.
_DOUBTFUL_MASS = 1e-12


def graph_nll(
    word_log_probs: torch.Tensor,
    transition_log_probs: torch.Tensor,
    vertex_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
) -> torch.Tensor:
    """
    −log Σ_{0 = a_1 < … < a_T = A − 1} P(y_1 | a_1) · Π_{i ≥ 2} E[a_{i−1}, a_i] · P(y_i | a_i), not divided by T.

    Forward variables, with log P and log E in nats:

        α_1(v) = log P(y_1 | v) at v = 0, else −∞,
        α_i(w) = log P(y_i | w) + log Σ_{v < w} exp(α_{i−1}(v) + log E[v, w]),
        NLL = −α_T(A − 1),
        ∂NLL / ∂ log P(y_i | v) = −γ_i(v) = −exp(α_i(v) + β_i(v) + NLL),
        ∂NLL / ∂ log E[v, w] = −Σ_i exp(α_i(v) + log E[v, w] + log P(y_{i+1} | w) + β_{i+1}(w) + NLL),

    with β the same recursion from the end. Steps and the sum over i in the last line are matrix multiplications in
    double precision; α and β are kept instead of a tape, and what is kept for the gradients is as large as they are. A
    sentence whose numbers are too far apart for that is found and computed again in log space.

    Source: Huang et al. 2022 (DA-Transformer, arXiv 2205.07459), eq. 3–6.

    Args:
        word_log_probs (`torch.Tensor` of shape `(B, A, T)`): [b, v, i] is the log-probability, in nats, of the i-th
            token of the target at vertex v.
        transition_log_probs (`torch.Tensor` of shape `(B, A, A)`): [b, v, w] is that of going from vertex v to w. Only
            w > v within the sentence is read; -inf closes a transition.
        vertex_lengths (`torch.LongTensor` of shape `(B,)`): vertices of each sentence, 0 … A.
        target_lengths (`torch.LongTensor` of shape `(B,)`): tokens of each target, 0 … T.

    Returns:
        `torch.Tensor` of shape `(B,)`: one NLL per sentence, in nats, in single precision or better. A sentence
        without a path (more tokens than vertices, no token, one token and several vertices, probability 0) has +inf
        and gradient 0.

    Raises:
        ValueError: for shapes that do not fit or lengths out of range.
    """
    _check_inputs(word_log_probs, transition_log_probs, vertex_lengths, target_lengths)
    return -_LogLikelihood.apply(word_log_probs, transition_log_probs, vertex_lengths, target_lengths)


@torch.no_grad()
def graph_best_path(
    word_log_probs: torch.Tensor,
    transition_log_probs: torch.Tensor,
    vertex_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
) -> torch.Tensor:
    """
    The path of highest probability (Viterbi): [`graph_nll`]'s recursion with max in place of log Σ exp.

    Among equally good predecessors of a vertex, the first is taken.

    Source: Huang et al. 2022, §3.3 (glancing on the assigned vertices).

    Args:
        word_log_probs, transition_log_probs, vertex_lengths, target_lengths: as for [`graph_nll`].

    Returns:
        `torch.LongTensor` of shape `(B, T)`: vertex of each token; -1 at padding and where no path exists.

    Raises:
        ValueError: as [`graph_nll`].
    """
    _check_inputs(word_log_probs, transition_log_probs, vertex_lengths, target_lengths)
    graph = _Graph(word_log_probs, transition_log_probs, vertex_lengths, target_lengths)
    batch, _, num_tokens = word_log_probs.shape
    if word_log_probs.numel() == 0:
        return torch.full((batch, num_tokens), -1, device=vertex_lengths.device)
    links, _ = graph.read_links(graph.dtype)
    into = links.transpose(1, 2).contiguous()  # [b, w, v], so that the maximum is over neighbours in memory
    scores = scan_maxima(graph.read_words(graph.dtype), into)
    vertices = trace_back(scores, into, vertex_lengths, target_lengths)
    has_path = _pick_end(scores, vertex_lengths, target_lengths) > float("-inf")
    return vertices.masked_fill(~(find_real(target_lengths, num_tokens) & has_path.unsqueeze(1)), -1)


def passing_probabilities(
    transition_log_probs: torch.Tensor, vertex_lengths: torch.Tensor, *, max_vertices: int | None = None
) -> torch.Tensor:
    """
    Probability that a path drawn from the transitions alone passes each vertex: π(0) = 1, π(w) = Σ_v π(v) · E[v, w].

    Solution of the triangular system (I − E)ᵀ π = e_0; differentiable. The sum is the expected number of vertices on a
    path.

    Source: Ma et al. 2023 (FA-DAT, arXiv 2303.06662), §3.2.

    Args:
        transition_log_probs, vertex_lengths: as for [`graph_nll`].
        max_vertices (`int`, *optional*): most vertices of any graph, for exported code, which has no triangular
            systems: π = e_0ᵀ (I + E) (I + E²) (I + E⁴) … there.

    Returns:
        `torch.Tensor` of shape `(B, A)`, in single precision or better; 0 at padding.

    Raises:
        ValueError: as [`graph_nll`].
    """
    check_log_probs("transition_log_probs", transition_log_probs, "(B, A, A)")
    num_vertices = transition_log_probs.shape[1]
    if max_vertices is None:
        check_lengths_shape("vertex_lengths", vertex_lengths, len(transition_log_probs))
        refuse({_vertex_message(num_vertices): find_wrong_lengths(vertex_lengths, num_vertices)})
    links = transition_log_probs.to(working_dtype(transition_log_probs.dtype))
    links = links.masked_fill(~find_open_links(vertex_lengths, num_vertices), float("-inf")).exp()
    start = torch.zeros_like(links[:, :, :1])
    start[:, :1, 0] = (vertex_lengths > 0).unsqueeze(1).to(start.dtype)
    if max_vertices is not None:
        passing = start.transpose(1, 2)
        for _ in range(max_vertices.bit_length()):
            passing, links = passing + passing @ links, links @ links
        return passing.squeeze(1)
    # the diagonal is taken as 1
    return torch.linalg.solve_triangular(-links.transpose(1, 2), start, upper=False, unitriangular=True).squeeze(2)


def find_open_links(vertex_lengths: torch.Tensor, num_vertices: int) -> torch.Tensor:
    """
    Which transitions a graph can have: those to a later vertex of the same sentence.

    Args:
        vertex_lengths (`torch.LongTensor` of shape `(B,)`): vertices of each sentence.
        num_vertices (`int`): A, padded number of vertices.

    Returns:
        `torch.BoolTensor` of shape `(B, A, A)`: True where [b, v, w] goes from v to a later vertex w.
    """
    forward = torch.ones(num_vertices, num_vertices, dtype=torch.bool, device=vertex_lengths.device).triu_(1)
    return forward & find_real(vertex_lengths, num_vertices).unsqueeze(1)


def pick_words(logits: torch.Tensor, targets: torch.Tensor, target_lengths: torch.Tensor) -> torch.Tensor:
    """
    Log-probabilities of the target's tokens at each vertex, for [`graph_nll`]. No log-softmax of (B, A, V) is made.

    Args:
        logits (`torch.Tensor` of shape `(B, A, V)`): of any floating type.
        targets (`torch.LongTensor` of shape `(B, T)`): token ids, right-padded with anything.
        target_lengths (`torch.LongTensor` of shape `(B,)`): tokens of each target.

    Returns:
        `torch.Tensor` of shape `(B, A, T)`, in single precision or better.
    """
    columns = targets.masked_fill(~find_real(target_lengths, targets.shape[1]), 0)
    logits = logits.to(working_dtype(logits.dtype))
    picked = logits.gather(2, columns.unsqueeze(1).expand(-1, logits.shape[1], -1))
    return picked - logits.logsumexp(dim=2, keepdim=True)


def force_words(word_log_probs: torch.Tensor, force_emits: torch.Tensor) -> torch.Tensor:
    """
    Words of a graph some of whose vertices show a token of the target: paths must pass such a vertex at that token,
    and the token is not learnt there: its log-probability becomes 0, and -inf at every other vertex.

    Source: the glancing of Huang et al. 2022, as its code forces what is shown.

    Args:
        word_log_probs (`torch.Tensor` of shape `(B, A, T)`): as for [`graph_nll`].
        force_emits (`torch.LongTensor` of shape `(B, A)`): index of the target's token that a vertex shows, any
            negative number where none.

    Returns:
        `torch.Tensor` of shape `(B, A, T)`.
    """
    token = torch.arange(word_log_probs.shape[2], device=word_log_probs.device)
    is_shown_here = force_emits.unsqueeze(2) == token
    is_shown = is_shown_here.any(dim=1, keepdim=True)
    return word_log_probs.masked_fill(is_shown & ~is_shown_here, float("-inf")).masked_fill(is_shown_here, 0.0)


# ---------------------------------------------------------------------------------------------------------------------
# What is read.


class _Graph(NamedTuple):
    """Arguments of [`graph_nll`]."""

    word_log_probs: torch.Tensor
    transition_log_probs: torch.Tensor
    vertex_lengths: torch.Tensor
    target_lengths: torch.Tensor

    @property
    def dtype(self) -> torch.dtype:
        """That of results."""
        return working_dtype(torch.promote_types(self.word_log_probs.dtype, self.transition_log_probs.dtype))

    def select(self, rows: torch.Tensor) -> "_Graph":
        """Some of the sentences."""
        return _Graph(*(argument[rows] for argument in self))

    def read_words(self, dtype: torch.dtype) -> torch.Tensor:
        """A copy (B, A, T), -inf where no path can be."""
        is_open = _find_open_words(self.vertex_lengths, self.target_lengths, *self.word_log_probs.shape[1:])
        return _close(self.word_log_probs, is_open, dtype)

    def read_links(self, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """A copy (B, A, A), -inf where no path can be, and where it is not."""
        links = self.transition_log_probs
        is_open = find_open_links(self.vertex_lengths, links.shape[1]) & (links != float("-inf"))
        return _close(links, is_open, dtype), is_open


def _close(values: torch.Tensor, is_open: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.empty_like(values, dtype=dtype).copy_(values).masked_fill_(~is_open, float("-inf"))


def _find_open_words(
    vertex_lengths: torch.Tensor, target_lengths: torch.Tensor, num_vertices: int, num_tokens: int
) -> torch.Tensor:
    """(B, A, T): True where token i can be at vertex v: there are enough vertices before and after it."""
    vertex = torch.arange(num_vertices, device=vertex_lengths.device).view(1, -1, 1)
    token = torch.arange(num_tokens, device=vertex_lengths.device).view(1, 1, -1)
    vertices_after = vertex_lengths.view(-1, 1, 1) - 1 - vertex
    tokens_after = target_lengths.view(-1, 1, 1) - 1 - token
    has_room = (vertex >= token) & (vertices_after >= tokens_after) & (tokens_after >= 0)
    # the first token is at the first vertex and only there, the last one at the last
    return has_room & ((token == 0) == (vertex == 0)) & ((tokens_after == 0) == (vertices_after == 0))


def _pick_end(scores: torch.Tensor, vertex_lengths: torch.Tensor, target_lengths: torch.Tensor) -> torch.Tensor:
    """(B,): of scores (T, B, A), those of the last token at the last vertex; -inf where there is none."""
    is_empty = (vertex_lengths == 0) | (target_lengths == 0)
    if 0 in scores.shape:
        return scores.new_full((len(vertex_lengths),), float("-inf"))
    row = torch.arange(len(vertex_lengths), device=scores.device)
    ends = scores[(target_lengths - 1).clamp(min=0), row, (vertex_lengths - 1).clamp(min=0)]
    return ends.masked_fill(is_empty, float("-inf"))


def scan_maxima(words: torch.Tensor, into: torch.Tensor) -> torch.Tensor:
    """
    Scores of the best way to each vertex at each token; the recursion of [`graph_best_path`].

    Args:
        words (`torch.Tensor` of shape `(B, A, T)`): score of token i at vertex v; -inf where it cannot be.
        into (`torch.Tensor` of shape `(B, A, A)`): [b, w, v] is the score of going **to** w from v; -inf where closed.

    Returns:
        `torch.Tensor` of shape `(T, B, A)`.
    """
    emissions = words.permute(2, 0, 1)
    scores = torch.empty_like(emissions, memory_format=torch.contiguous_format)
    for position, emission in enumerate(emissions.unbind()):
        if position == 0:
            scores[0] = emission
        else:
            torch.add((scores[position - 1].unsqueeze(1) + into).amax(dim=2), emission, out=scores[position])
    return scores


def trace_back(
    scores: torch.Tensor, into: torch.Tensor, vertex_lengths: torch.Tensor, target_lengths: torch.Tensor
) -> torch.Tensor:
    """
    The best paths to the last vertices, from [`scan_maxima`].

    Args:
        scores (`torch.Tensor` of shape `(T, B, A)`), into (`torch.Tensor` of shape `(B, A, A)`): of [`scan_maxima`].
        vertex_lengths (`torch.LongTensor` of shape `(B,)`): vertices of each sentence, at least 1.
        target_lengths (`torch.LongTensor` of shape `(B,)`): vertices of its path, at least 1.

    Returns:
        `torch.LongTensor` of shape `(B, T)`: the last vertex at padding.
    """
    row = torch.arange(len(vertex_lengths), device=scores.device)
    vertex = (vertex_lengths - 1).clamp(min=0)
    vertices = [vertex]
    for position in range(len(scores) - 2, -1, -1):
        came_from = (scores[position] + into[row, vertex]).argmax(dim=1)
        vertex = torch.where(position < target_lengths - 1, came_from, vertex)
        vertices.append(vertex)
    return torch.stack(vertices[::-1], dim=1)


# ---------------------------------------------------------------------------------------------------------------------
# The likelihood. Inside, all is in double precision and tokens come first, so that each step is one (B, A) block.


class _Posteriors(NamedTuple):
    """
    What a batch gives.

    Args:
        log_likelihood: of the target over all paths, (B,).
        words: γ, the probability that a path passes the vertex at the token, (B, A, T).
        links: ξ, the expected number of times that a path takes the transition, (B, A, A).
        is_doubtful: True where too much of the probability went through sums that may be too large, (B,).
    """

    log_likelihood: torch.Tensor
    words: torch.Tensor
    links: torch.Tensor
    is_doubtful: torch.Tensor


class _LogLikelihood(torch.autograd.Function):
    """Log-likelihood (B,) of graphs; gradients are posteriors of words and links, from α and β instead of a tape."""

    @staticmethod
    def forward(ctx: Any, *arguments: torch.Tensor) -> torch.Tensor:
        graph = _Graph(*arguments)
        found = _compute_posteriors(graph) if graph.word_log_probs.numel() else _empty_posteriors(graph)
        ctx.dtypes = graph.word_log_probs.dtype, graph.transition_log_probs.dtype
        ctx.save_for_backward(found.words.to(graph.dtype), found.links.to(graph.dtype), found.log_likelihood)
        return found.log_likelihood.to(graph.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        words, links, log_likelihood = ctx.saved_tensors
        # Not 0 · grad_output, which is NaN where what was made of a likelihood of -inf has an infinite gradient.
        scale = grad_output.masked_fill(log_likelihood == float("-inf"), 0.0).view(-1, 1, 1)
        return (words * scale).to(ctx.dtypes[0]), (links * scale).to(ctx.dtypes[1]), None, None


def _empty_posteriors(graph: _Graph) -> _Posteriors:
    """Of batches without sentences, vertices or tokens: no path at all."""
    none = torch.full_like(graph.vertex_lengths, float("-inf"), dtype=torch.double)
    words, links = torch.zeros_like(graph.word_log_probs), torch.zeros_like(graph.transition_log_probs)
    return _Posteriors(none, words, links, none.isnan())


def _compute_posteriors(graph: _Graph) -> _Posteriors:
    """By matrix multiplications; in log space for the sentences where these are in doubt."""
    found = _multiply_posteriors(graph)
    rows = found.is_doubtful.nonzero().squeeze(1)
    if len(rows):
        for place, value in zip(found, _add_posteriors(graph.select(rows))):
            place[rows] = value
    return found


def _multiply_posteriors(graph: _Graph) -> _Posteriors:
    """Steps and the sum over tokens are matrix multiplications."""
    weights, is_link = graph.read_links(torch.double)
    # Every vertex of a path but the last is left once: the highest weight of its row belongs to its words as well.
    peaks = _zero_infinity(weights.amax(dim=2, keepdim=True))
    weights = _to_weights(weights.sub_(peaks))
    scores = _scan_both(
        graph.read_words(torch.double).add_(peaks),
        graph.target_lengths,
        lambda previous: _multiply(previous, weights),
    )
    log_likelihood = _pick_end(scores.alpha, graph.vertex_lengths, graph.target_lengths)
    total = _zero_infinity(log_likelihood).view(-1, 1)
    gamma = (scores.joint - total).exp_()
    doubtful_mass = gamma.masked_fill(scores.sums >= _LOWEST_SUM, 0.0).sum(dim=(0, 2))
    passages = _multiply_passages(scores.alpha[:-1], scores.beta[1:], total).mul_(weights)
    return _Posteriors(
        log_likelihood,
        gamma.permute(1, 2, 0),
        torch.where(is_link, passages, 0.0),
        doubtful_mass > _DOUBTFUL_MASS,
    )


def _multiply_passages(alpha: torch.Tensor, beta: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    """(B, A, A): Σ_i exp(α_i(v) + β_{i+1}(w) − log p) from α and β of neighbouring tokens."""
    # Each factor over its maximum, which both share again. Only where sums are below the lowest is the limit reached.
    tops = [_zero_infinity(scores.amax(dim=2, keepdim=True)) for scores in (alpha, beta)]
    shift = (tops[0] + tops[1] - total).clamp_(max=20 - 2 * _LOWEST_SUM).div_(2)
    left, right = ((scores - (top - shift)).exp_() for scores, top in zip((alpha, beta), tops))
    return torch.bmm(left.permute(1, 2, 0), right.transpose(0, 1))


def _add_posteriors(graph: _Graph) -> _Posteriors:
    """As [`_multiply_posteriors`] in log space, for numbers of any size: (B, A, A) exponentials for each token."""
    words, (links, _) = graph.read_words(torch.double), graph.read_links(torch.double)

    def advance(scores: torch.Tensor) -> torch.Tensor:
        ahead, back = scores.chunk(2)
        return torch.cat([(ahead.unsqueeze(2) + links).logsumexp(dim=1), (back.unsqueeze(1) + links).logsumexp(dim=2)])

    alpha, beta, joint, _ = _scan_both(words, graph.target_lengths, advance)
    log_likelihood = _pick_end(alpha, graph.vertex_lengths, graph.target_lengths)
    total = _zero_infinity(log_likelihood).view(-1, 1, 1)
    passages = torch.zeros_like(links)
    for before, after in zip(alpha[:-1], beta[1:]):
        passages += (before.unsqueeze(2) + links + after.unsqueeze(1) - total).exp_()
    gamma = (joint.permute(1, 2, 0) - total).exp_()
    return _Posteriors(log_likelihood, gamma, passages, log_likelihood.new_zeros(len(total), dtype=torch.bool))


class _Scores(NamedTuple):
    """
    Scores (T, B, A) of all ways through a graph.

    Args:
        alpha: of the ways from the first token to each, words of both counted.
        beta: of the ways from each to the last token, likewise.
        joint: of all paths that pass, -inf where none can.
        sums: the lower one of the two sums of ways to there, in nats relative to the highest score beside it.
    """

    alpha: torch.Tensor
    beta: torch.Tensor
    joint: torch.Tensor
    sums: torch.Tensor


def _scan_both(
    words: torch.Tensor, target_lengths: torch.Tensor, advance: Callable[[torch.Tensor], torch.Tensor]
) -> _Scores:
    """
    The recursion from both ends at once, as 2B rows: the second half reads the tokens from the last to the first.

    `advance` takes scores (2B, A) at one token to log-sums (2B, A) at the next; its second half goes links backwards.
    """
    emissions = words.permute(2, 0, 1)
    num_rows = emissions.shape[1]
    position = torch.arange(len(emissions), device=words.device).unsqueeze(1)
    # Images of padding may be anything: what is -inf in `emissions` stays so in `joint`.
    mirror = (target_lengths - 1 - position).clamp(min=0), torch.arange(num_rows, device=words.device)
    rows = torch.cat([emissions, emissions[mirror]], dim=1)
    scores = torch.empty_like(rows)
    scores[0] = rows[0]
    each = scores.unbind()
    for previous, here, row in zip(each, each[1:], rows.unbind()[1:]):
        torch.add(advance(previous), row, out=here)
    alpha, beta = scores[:, :num_rows], scores[:, num_rows:][mirror]
    joint = torch.where(emissions == float("-inf"), emissions, alpha + beta - emissions)
    ahead, back = _relative_sums(scores, rows).split(num_rows, dim=1)
    return _Scores(alpha, beta, joint, torch.minimum(ahead, back[mirror]))


def _multiply(scores: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(2B, A): log Σ_v exp(scores[v]) · weights[v, w], in the second half log Σ_w weights[v, w] · exp(scores[w])."""
    top = _zero_infinity(scores.amax(dim=1, keepdim=True))
    ahead, back = _to_weights(scores - top).unsqueeze(1).chunk(2)
    sums = torch.cat([torch.bmm(ahead, weights), torch.bmm(back, weights.transpose(1, 2))]).squeeze(1)
    return sums.log_().add_(top)


def _to_weights(logs: torch.Tensor) -> torch.Tensor:
    """exp in place, of nothing lower than the lowest weight."""
    return logs.clamp_(min=_LOWEST_WEIGHT).exp_()


def _relative_sums(scores: torch.Tensor, emissions: torch.Tensor) -> torch.Tensor:
    """(T, 2B, A): what each step added up, relative to the highest score before it; 0 at the start."""
    sums = torch.zeros_like(scores)
    torch.sub(scores[1:], emissions[1:], out=sums[1:])
    sums[1:] -= _zero_infinity(scores[:-1].amax(dim=2, keepdim=True))
    return sums


def _zero_infinity(values: torch.Tensor) -> torch.Tensor:
    """0 in place of -inf, which cannot be subtracted."""
    return values.nan_to_num(nan=float("nan"), posinf=float("inf"), neginf=0.0)


# ---------------------------------------------------------------------------------------------------------------------
# Arguments.


def _check_inputs(
    word_log_probs: torch.Tensor,
    transition_log_probs: torch.Tensor,
    vertex_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
) -> None:
    check_log_probs("word_log_probs", word_log_probs, "(B, A, T)")
    check_log_probs("transition_log_probs", transition_log_probs, "(B, A, A)")
    batch, num_vertices, num_tokens = word_log_probs.shape
    if transition_log_probs.shape != (batch, num_vertices, num_vertices):
        raise ValueError(
            f"transition_log_probs must be of shape ({batch}, {num_vertices}, {num_vertices}), got "
            f"{tuple(transition_log_probs.shape)}. Give one row for each vertex of word_log_probs."
        )
    check_lengths_shape("vertex_lengths", vertex_lengths, batch)
    check_lengths_shape("target_lengths", target_lengths, batch)
    refuse(
        {
            _vertex_message(num_vertices): find_wrong_lengths(vertex_lengths, num_vertices),
            f"target_lengths must be in 0 … {num_tokens}. Count the tokens of word_log_probs.": (
                find_wrong_lengths(target_lengths, num_tokens)
            ),
        }
    )


def _vertex_message(num_vertices: int) -> str:
    return f"vertex_lengths must be in 0 … {num_vertices}. Count the vertices of each sentence."
