# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Directed acyclic graphs of words: likelihood of a target over all paths, its best path, and passing probabilities.

Shapes: B batch, A vertices, T target length (`<s>` and `</s>` counted). A path starts at vertex 0, ends at the last
vertex of its sentence and goes to a later vertex each time; its i-th vertex emits the i-th token. Vertices and targets
are padded on the right. Only what a path can meet is read: transitions to later vertices within the sentence, and the
words of vertices that leave room for the tokens before and after; all else may be NaN or infinite.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from .ragged import check_lengths_shape, check_log_probs, find_real, find_wrong_lengths, in_fp32, refuse, working_dtype


# A sum over vertices is a matrix multiplication of scores, relative to the highest of their token, by probabilities of
# transitions, in double precision, whose range is exp(±708). Scores and probabilities below this, 0 included, are
# raised to it. Hence nothing vanishes, ...
_LOWEST_LOG_WEIGHT = -350.0
_LOWEST_WEIGHT = math.exp(_LOWEST_LOG_WEIGHT)
# ... a sum below this may be too large, and a sum above it is right to A · exp(-50).
_LOWEST_SUM = math.exp(-300.0)
# Posterior probability that may go through sums below it, or be missing from a token's posteriors; a sentence with
# more is computed again in log space, ...
_DOUBTFUL_MASS = 1e-12
_MISSING_MASS = 1e-9
# ... as is one whose words and ways to them are further apart than these, so that products leave the range.
_LOWEST_PEAK = math.exp(-345.0)
_HIGHEST_LOG_SCALE = 600.0
# As many sentences are computed at once as have their transitions in a core's own cache: each token reads all of them.
_CACHE_BYTES = 2 << 20


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
    # a traced path exists even where there is none to trace: it is blanked out below
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
    # exp(−inf) = 0 closes a transition; masking after exp would leave NaN gradients where it overflows
    links = links.masked_fill(~find_open_links(vertex_lengths, num_vertices), float("-inf")).exp()
    start = torch.zeros_like(links[:, :, :1])
    start[:, :1, 0] = (vertex_lengths > 0).unsqueeze(1).to(start.dtype)
    if max_vertices is not None:
        passing = start.transpose(1, 2)
        for _ in range(max_vertices.bit_length()):
            # after k rounds all walks of fewer than 2ᵏ steps are counted; a path has fewer than A
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
    # padding may be -100, which `gather` refuses; what it picks there is not read
    columns = targets.masked_fill(~find_real(target_lengths, targets.shape[1]), 0)
    logits = in_fp32(logits)
    picked = logits.gather(2, columns.unsqueeze(1).expand(-1, logits.shape[1], -1))
    # log-softmax of T columns only, which needs the normaliser alone of the other V − T
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
    # [b, 0, i]: some vertex shows token i
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

    def select(self, rows: torch.Tensor | slice) -> "_Graph":
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
    tokens_after = target_lengths.view(-1, 1, 1) - 1 - token
    vertices_after = vertex_lengths.view(-1, 1, 1) - 1 - vertex
    # the first token is at the first vertex and only there, the last one at the last
    is_open = (vertex >= token) & ((token == 0) == (vertex == 0)) & (tokens_after >= 0)
    return is_open & (vertices_after >= tokens_after) & ((tokens_after == 0) == (vertices_after == 0))


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
            # -inf + -inf stays -inf, never NaN: nothing is subtracted in this recursion
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
        # looked up again instead of stored: A² numbers per token would be kept for one row of them
        came_from = (scores[position] + into[row, vertex]).argmax(dim=1)
        # positions at and beyond the last token repeat the last vertex
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
        is_doubtful: True where a number left the range or too much of the probability may be wrong, (B,).
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
        log_likelihood, words, links = _compute_posteriors(graph)
        ctx.dtypes = graph.word_log_probs.dtype, graph.transition_log_probs.dtype
        ctx.save_for_backward(words, links, log_likelihood)
        return log_likelihood.to(graph.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        words, links, log_likelihood = ctx.saved_tensors
        # Not 0 · grad_output, which is NaN where what was made of a likelihood of -inf has an infinite gradient.
        scale = grad_output.masked_fill(log_likelihood == float("-inf"), 0.0).view(-1, 1, 1)
        return (words * scale).to(ctx.dtypes[0]), (links * scale).to(ctx.dtypes[1]), None, None


def _compute_posteriors(graph: _Graph) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-likelihoods (B,) in double precision, γ (B, A, T) and ξ (B, A, A) in that of results."""
    log_likelihood = torch.full_like(graph.vertex_lengths, float("-inf"), dtype=torch.double)
    words = torch.zeros_like(graph.word_log_probs, dtype=graph.dtype)
    links = torch.zeros_like(graph.transition_log_probs, dtype=graph.dtype)
    for rows, part in _split(graph):
        found = _multiply_posteriors(part)
        doubtful = found.is_doubtful.nonzero().squeeze(1)
        if len(doubtful):
            for place, value in zip(found, _add_posteriors(part.select(doubtful))):
                place[doubtful] = value
        num_vertices, num_tokens = part.word_log_probs.shape[1:]
        log_likelihood[rows] = found.log_likelihood
        words[rows, :num_vertices, :num_tokens] = found.words
        links[rows, :num_vertices, :num_vertices] = found.links
    return log_likelihood, words, links


def _split(graph: _Graph) -> Iterator[tuple[slice, _Graph]]:
    """Groups of neighbouring sentences; on the CPU, where it costs no waiting, without the padding that they share."""
    batch, num_vertices, num_tokens = graph.word_log_probs.shape
    on_cpu = graph.word_log_probs.device.type == "cpu"
    # 8 bytes: transitions are in double precision
    most = max(1, _CACHE_BYTES // max(8 * num_vertices**2, 1)) if on_cpu else max(batch, 1)
    # rounded up
    num_groups = -(-batch // most)
    for group in range(num_groups):
        rows = slice(group * batch // num_groups, (group + 1) * batch // num_groups)
        words, links, *lengths = graph.select(rows)
        if on_cpu:
            num_vertices, num_tokens = (int(each.max()) for each in lengths)
        if num_vertices and num_tokens:
            part = words[:, :num_vertices, :num_tokens], links[:, :num_vertices, :num_vertices]
            yield rows, _Graph(*part, *lengths)


def _multiply_posteriors(graph: _Graph) -> _Posteriors:
    """Steps and the sum over tokens are matrix multiplications of probabilities."""
    weights, (words, tops) = _weigh_links(graph), _weigh_words(graph)
    num_tokens, batch, _ = words.shape
    position = torch.arange(num_tokens, device=words.device).unsqueeze(1)
    is_real = position < graph.target_lengths
    # Images of padding may be anything: all that is made of them is multiplied by 0.
    mirror = (graph.target_lengths - 1 - position).clamp(min=0), torch.arange(batch, device=words.device)
    # both directions as rows of one scan: twice the rows in half of the steps
    sums, peaks = _scan_sums(torch.cat([words, words[mirror]], dim=1), weights)
    # log of what sums have to be multiplied with
    steps = torch.cat([tops, tops[mirror]], dim=1) + peaks.log()
    # exclusive sums: what came before a token, not its own step
    scales = torch.nn.functional.pad(steps.cumsum(dim=0)[:-1], (0, 0, 1, 0))
    ahead, back, scales_ahead, scales_back = (
        each for part in (sums, scales) for each in (part[:, :batch], part[:, batch:][mirror])
    )

    last = (graph.target_lengths - 1).clamp(min=0).unsqueeze(0)
    ends = steps[:, :batch].cumsum(dim=0).gather(0, last).squeeze(0)
    log_likelihood = ends.masked_fill((graph.vertex_lengths == 0) | (graph.target_lengths == 0), float("-inf"))
    scales_ahead = scales_ahead + tops - _zero_infinity(log_likelihood)
    scales_ahead = scales_ahead.masked_fill_(~is_real, float("-inf"))
    # before words are multiplied in: the bound is one of sums alone
    is_low = torch.minimum(ahead, back) < _LOWEST_SUM
    ahead = ahead * words
    log_scales = scales_ahead + scales_back
    gamma = (ahead * back).mul_(log_scales.exp().unsqueeze(2))
    # padding has no say in whether a sentence is doubtful
    lowest_peaks = torch.minimum(*peaks.split(batch, dim=1)).masked_fill_(~is_real, 1.0)
    # written as the negation of what is right, so that NaN, for which no comparison holds, is doubtful too
    is_doubtful = ~(
        ((gamma.sum(dim=2) - is_real.double()).abs() <= _MISSING_MASS)
        & ((gamma * is_low).sum(dim=2) <= _DOUBTFUL_MASS)
        & (lowest_peaks >= _LOWEST_PEAK)
        & (log_scales <= _HIGHEST_LOG_SCALE)
    ).all(dim=0)
    # ξ / E = Σ_i α_i(v) · P(y_{i+1} | w) · β_{i+1}(w); both sides take half of the scale, which could leave the range.
    halves = (scales_ahead[:-1] + scales_back[1:] + tops[1:]).masked_fill_(~is_real[1:], float("-inf"))
    halves = halves.div_(2).exp_().unsqueeze(2)
    left, right = ahead[:-1].mul_(halves), back.mul_(words)[1:].mul_(halves)
    passages = torch.bmm(left.permute(1, 2, 0), right.transpose(0, 1))
    # what was raised is 0 again, and so is what is not read
    passages.mul_(weights.sub_(_LOWEST_WEIGHT).clamp_(min=0.0))
    return _Posteriors(log_likelihood, gamma.permute(1, 2, 0), passages, is_doubtful)


def _weigh_links(graph: _Graph) -> torch.Tensor:
    """Probabilities (B, A, A) of transitions, none below the lowest; 0 where none is read."""
    links = graph.transition_log_probs
    # Not exp of -inf, which takes six times as long.
    weights = links.to(torch.double, copy=True).clamp_(min=_LOWEST_LOG_WEIGHT).exp_().triu_(1)
    is_padding = ~find_real(graph.vertex_lengths, links.shape[1])
    return weights.masked_fill_(is_padding.unsqueeze(1), 0.0) if bool(is_padding.any()) else weights


def _weigh_words(graph: _Graph) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities (T, B, A) of words over the highest of each token, and its logarithm (T, B)."""
    words = graph.read_words(torch.double).permute(2, 0, 1).contiguous()
    tops = _zero_infinity(words.amax(dim=2, keepdim=True))
    lowest = 2 * _LOWEST_LOG_WEIGHT
    # less the lowest weight again: a word that cannot be there weighs exactly 0
    return words.sub_(tops).clamp_(min=lowest).exp_().sub_(math.exp(lowest)), tops.squeeze(2)


def _scan_sums(words: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    The recursion of probabilities, from both ends at once.

    Args:
        words (`torch.Tensor` of shape `(T, 2B, A)`): probabilities of words, over the highest of each token; the
            second half of the rows has the tokens from the last to the first.
        weights (`torch.Tensor` of shape `(B, A, A)`): probabilities of transitions; that half takes them backwards.

    Returns:
        probabilities (T, 2B, A) of the ways to each vertex, over the highest one to the token before with its word, 1
        at the first token; and the highest (T, 2B) of their products with those of words.
    """
    half = len(weights)
    sums, scores = torch.empty_like(words), torch.empty_like(words[0])
    peaks = words.new_empty(*words.shape[:2], 1)
    sums[0] = 1.0
    rows = scores.unsqueeze(1)
    ahead, back = rows[:half], rows[half:]
    to_ahead, to_back = (part.unsqueeze(2).unbind() for part in (sums[:, :half], sums[:, half:]))
    backwards = weights.transpose(1, 2)
    for position, (sum_, word, peak) in enumerate(zip(sums.unbind(), words.unbind(), peaks.unbind())):
        if position:
            # of the token before
            torch.div(scores, peaks[position - 1].clamp(min=_LOWEST_PEAK), out=scores).clamp_(min=_LOWEST_WEIGHT)
            torch.bmm(ahead, weights, out=to_ahead[position])
            torch.bmm(back, backwards, out=to_back[position])
        # `rows` and its halves are views of `scores`: the next step reads what is written here
        torch.mul(sum_, word, out=scores)
        torch.amax(scores, dim=1, keepdim=True, out=peak)
    return sums, peaks.squeeze(2)


def _add_posteriors(graph: _Graph) -> _Posteriors:
    """As [`_multiply_posteriors`] in log space, for numbers of any size: (B, A, A) exponentials for each token."""
    words, (links, _) = graph.read_words(torch.double), graph.read_links(torch.double)
    emissions = words.permute(2, 0, 1)
    batch = emissions.shape[1]
    position = torch.arange(len(emissions), device=words.device).unsqueeze(1)
    # Images of padding may be anything: what is -inf in `emissions` stays so.
    mirror = (graph.target_lengths - 1 - position).clamp(min=0), torch.arange(batch, device=words.device)
    scores = [torch.cat([emissions[0], emissions[mirror][0]])]
    for emission in torch.cat([emissions, emissions[mirror]], dim=1)[1:]:
        ahead, back = scores[-1].chunk(2)
        sums = (ahead.unsqueeze(2) + links).logsumexp(dim=1), (back.unsqueeze(1) + links).logsumexp(dim=2)
        scores.append(torch.cat(sums) + emission)
    alpha, beta = torch.stack(scores).chunk(2, dim=1)
    beta = beta[mirror]
    # α and β both hold the emission; -inf − -inf would be NaN
    joint = torch.where(emissions == float("-inf"), emissions, alpha + beta - emissions)
    log_likelihood = _pick_end(alpha, graph.vertex_lengths, graph.target_lengths)
    total = _zero_infinity(log_likelihood).view(-1, 1, 1)
    passages = torch.zeros_like(links)
    for before, after in zip(alpha[:-1], beta[1:]):
        # token by token: all T at once would be T times (B, A, A)
        passages += (before.unsqueeze(2) + links + after.unsqueeze(1) - total).exp_()
    gamma = (joint.permute(1, 2, 0) - total).exp_()
    return _Posteriors(log_likelihood, gamma, passages, log_likelihood.new_zeros(batch, dtype=torch.bool))


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
