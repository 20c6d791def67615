# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Translations from a directed acyclic graph: greedy, lookahead and Viterbi paths, and beam search, as pure functions.

Shapes: B batch, A vertices, P vertices of a path, N paths of a sentence, V vocabulary, C candidates. A path starts at
vertex 0 and ends at the last one of its sentence; paths are padded on the right with -1. Transitions are
log-probabilities (B, A, A), -inf where there is none: see `graph`.
"""

import math
from typing import NamedTuple

import torch
from torch.nn import functional as F

from .decoding_strategy import LanguageModel
from .graph import scan_maxima, trace_back
from .graph_search import search_graph
from .ragged import find_real


class BestPaths(NamedTuple):
    """
    Paths of a batch, the best of each sentence first.

    Args:
        vertices (`torch.LongTensor` of shape `(B, N, P)`): right-padded with -1; padding alone where there are fewer.
        scores (`torch.Tensor` of shape `(B, N)`): what they were ranked by, -inf where there are fewer.
    """

    vertices: torch.Tensor
    scores: torch.Tensor


def follow_transitions(
    transition_log_probs: torch.Tensor,
    vertex_lengths: torch.Tensor,
    *,
    word_scores: torch.Tensor | None = None,
    word_weight: float = 1.0,
    max_vertices: int | None = None,
) -> torch.Tensor:
    """
    From each vertex to the likeliest next one: argmax_w log E[v, w], or with words, "lookahead",
    argmax_w (log E[v, w] + β · b(w)).

    All successors are found at once, and the vertices on the path by doubling: those that 1, 2, 4, … steps lead to.
    Where nothing is open, the path goes to the last vertex. Without words, only vertices on the path need a word
    afterwards.

    Source: Huang et al. 2022 (DA-Transformer, arXiv 2205.07459), §3.4.

    Args:
        transition_log_probs (`torch.Tensor` of shape `(B, A, A)`): log E.
        vertex_lengths (`torch.LongTensor` of shape `(B,)`): vertices of each sentence, at least 1.
        word_scores (`torch.Tensor` of shape `(B, A)`, *optional*): b, the log-probability of each vertex' best word;
            -inf closes a vertex.
        word_weight (`float`): β.
        max_vertices (`int`, *optional*): most vertices of any graph, for exported code; of a graph of it all paths
            have A columns.

    Returns:
        `torch.LongTensor` of shape `(B, P)`: vertices.
    """
    scores = transition_log_probs
    if word_scores is not None:
        scores = scores + (word_weight * word_scores).unsqueeze(1)
    best, successors = scores.max(dim=2)
    end = vertex_lengths.unsqueeze(1) - 1
    vertex = torch.arange(scores.shape[1], device=scores.device).expand_as(successors)
    successors = torch.where(best > float("-inf"), successors, end)
    # the last vertex leads to itself, so that doubling stands still there; padding is never reached
    successors = torch.where(vertex < end, successors, vertex)
    is_on_path = vertex == 0
    for _ in range((max_vertices or scores.shape[1]).bit_length()):
        # counts, since several vertices may lead to one: what matters is whether any of them is on the path
        arrivals = torch.zeros_like(best).scatter_add(1, successors, is_on_path.to(best.dtype))
        is_on_path = is_on_path | (arrivals > 0)
        # twice the stride: after round k a step goes over 2ᵏ vertices
        successors = successors.gather(1, successors)
    # A path goes to later vertices only, so that sorting puts it in order; what is not on it comes last.
    path = torch.where(is_on_path, vertex, scores.shape[1]).sort(dim=1).values
    path = path.masked_fill(path == scores.shape[1], -1)
    return path if max_vertices is not None else path[:, : int(is_on_path.sum(dim=1).max()) if len(path) else 1]


def find_viterbi_paths(
    transition_log_probs: torch.Tensor,
    vertex_lengths: torch.Tensor,
    *,
    word_scores: torch.Tensor | None = None,
    length_penalty: float = 1.0,
    max_vertices: int | None = None,
    num_paths: int = 1,
) -> BestPaths:
    """
    The best path of each number of vertices k, ranked by score / k^β; the score is the sum of transitions and, with
    words ("joint-Viterbi"), of the words of all its vertices:

        δ_1(v) = b(0) at v = 0, else −∞,   δ_k(w) = max_v (δ_{k−1}(v) + log E[v, w]) + b(w),   δ_k(A − 1) / k^β.

    Scores are negative, hence a larger β favours more vertices. n-best lists cost nothing but their traces; each path
    has another number of vertices.

    Source: Shao et al. 2022 (arXiv 2210.05193), §3. The released code leaves out the last vertex' word, counts inner
    vertices alone and searches up to 2A/λ of them; here all are counted and searched.

    Args:
        transition_log_probs, vertex_lengths, word_scores: as for [`follow_transitions`].
        length_penalty (`float`): β ≥ 0.
        max_vertices (`int`, *optional*): longest path searched; default A. Shorter is faster.
        num_paths (`int`): N, paths returned.

    Returns:
        [`BestPaths`].
    """
    batch, num_vertices, _ = transition_log_probs.shape
    longest = min(max_vertices or num_vertices, num_vertices)
    if word_scores is None:
        word_scores = transition_log_probs.new_zeros(batch, num_vertices)
    words = word_scores.unsqueeze(2).repeat(1, 1, longest)
    # every path begins at vertex 0
    words[:, 1:, 0] = float("-inf")
    # [b, w, v], so that the maximum is over neighbours in memory
    into = transition_log_probs.transpose(1, 2).contiguous()
    scores = scan_maxima(words, into)
    # of each sentence, the column of its own last vertex
    end = (vertex_lengths - 1).expand(longest, 1, -1).transpose(1, 2)
    counts = torch.arange(1, longest + 1, device=end.device)
    ranked = (scores.gather(2, end).squeeze(2) / counts.unsqueeze(1) ** length_penalty).T
    best, order = ranked.topk(min(num_paths, longest), dim=1)
    vertices = torch.stack(
        [_trace_path(scores, into, vertex_lengths, length) for length in counts[order].unbind(dim=1)], dim=1
    )
    vertices = vertices.masked_fill((best == float("-inf")).unsqueeze(2), -1)
    num_missing = num_paths - best.shape[1]
    return BestPaths(F.pad(vertices, (0, 0, 0, num_missing), value=-1), F.pad(best, (0, num_missing), value=-math.inf))


@torch.library.custom_op("dims_hf::graph_choose", mutates_args=())
def graph_choose(
    transition_log_probs: torch.Tensor, vertex_lengths: torch.Tensor, word_scores: torch.Tensor, length_penalty: float
) -> torch.Tensor:
    """
    The best path of [`find_viterbi_paths`], as one operator to exporters, which would unroll its loops.

    Args:
        transition_log_probs, vertex_lengths, word_scores, length_penalty: as there.

    Returns:
        `torch.LongTensor` of shape `(B, A)`: vertices, right-padded with -1.
    """
    paths = find_viterbi_paths(
        transition_log_probs, vertex_lengths, word_scores=word_scores, length_penalty=length_penalty
    )
    return paths.vertices[:, 0].contiguous()


@graph_choose.register_fake
def _(
    transition_log_probs: torch.Tensor, vertex_lengths: torch.Tensor, word_scores: torch.Tensor, length_penalty: float
) -> torch.Tensor:
    return torch.empty_like(word_scores, dtype=torch.long)


def _trace_path(
    scores: torch.Tensor, into: torch.Tensor, vertex_lengths: torch.Tensor, path_lengths: torch.Tensor
) -> torch.Tensor:
    vertices = trace_back(scores, into, vertex_lengths, path_lengths)
    return vertices.masked_fill(~find_real(path_lengths, vertices.shape[1]), -1)


def read_paths(vertices: torch.Tensor, token_ids: torch.Tensor, *, pad_token_id: int) -> torch.Tensor:
    """
    The words along paths.

    Args:
        vertices (`torch.LongTensor` of shape `(B, P)`): a path of each sentence, right-padded with -1.
        token_ids (`torch.LongTensor` of shape `(B, A)`): the word of each vertex.
        pad_token_id (`int`): written at padding.

    Returns:
        `torch.LongTensor` of shape `(B, P)`.
    """
    return token_ids.gather(1, vertices.clamp(min=0)).masked_fill(vertices < 0, pad_token_id)


def score_paths(vertices: torch.Tensor, transition_log_probs: torch.Tensor, word_scores: torch.Tensor) -> torch.Tensor:
    """
    Log-probability that each vertex of a path adds: of going there and of its word.

    Args:
        vertices (`torch.LongTensor` of shape `(B, P)`): a path of each sentence, right-padded with -1.
        transition_log_probs (`torch.Tensor` of shape `(B, A, A)`), word_scores (`torch.Tensor` of shape `(B, A)`): as
            for [`follow_transitions`].

    Returns:
        `torch.Tensor` of shape `(B, P)`, 0 at padding.
    """
    place = vertices.clamp(min=0)
    scores = word_scores.gather(1, place)
    rows = transition_log_probs.gather(1, place[:, :-1, None].expand(-1, -1, transition_log_probs.shape[2]))
    # the first vertex is where every path begins: nothing leads to it
    scores[:, 1:] += rows.gather(2, place[:, 1:, None]).squeeze(2)
    return scores.masked_fill(vertices < 0, 0.0)


def search_beam(
    transition_log_probs: torch.Tensor,
    word_log_probs: torch.Tensor,
    word_ids: torch.Tensor,
    *,
    beam_size: int = 100,
    num_candidates: int = 5,
    length_penalty: float = 1.1,
    word_weight: float = 1.0,
    language_model: LanguageModel | None = None,
    language_model_weight: float = 0.1,
    collapse_repeats: bool = True,
) -> list[tuple[list[int], float]]:
    """
    Translations of one sentence, the best first, by (log P(y) + γ · log P_LM(y)) / |y|^α, where P(y) is the sum over
    the paths that read y: [`search_graph`] of tensors.

    Each vertex sends its prefixes on along its `num_candidates` best pairs of successor and word, by log E +
    β · log P. With all candidates and a beam that holds every prefix the sums are exact (for β = 1).

    Args:
        transition_log_probs (`torch.Tensor` of shape `(A, A)`): log E, without padding.
        word_log_probs (`torch.Tensor` of shape `(A, C)`): log-probabilities of the best words of each vertex; -inf
            closes one.
        word_ids (`torch.LongTensor` of shape `(A, C)`): the words.
        num_candidates (`int`): pairs of successor and word tried from each vertex.
        word_weight (`float`): β.
        language_model ([`LanguageModel`], *optional*): steers the search, see [`search_graph`].
        beam_size, length_penalty, language_model_weight, collapse_repeats: as for [`search_graph`].

    Returns:
        `list[tuple[list[int], float]]`: at most `beam_size` token ids and scores; empty where no path is open.
    """
    weighted, ids = word_weight * word_log_probs, word_ids.tolist()
    pairs = _find_pairs(transition_log_probs, weighted, num_candidates)
    return search_graph(
        list(zip(ids[0], weighted[0].tolist())),
        [[(vertex, ids[vertex][place], score) for vertex, place, score in each] for each in pairs],
        beam_size=beam_size,
        length_penalty=length_penalty,
        language_model=language_model,
        language_model_weight=language_model_weight,
        collapse_repeats=collapse_repeats,
    )


def _find_pairs(
    transitions: torch.Tensor, words: torch.Tensor, num_candidates: int
) -> list[list[tuple[int, int, float]]]:
    """For each vertex its best (successor, place of the word, score)."""
    num_vertices, num_words = words.shape
    scores = (transitions.unsqueeze(2) + words).flatten(1)
    best, order = scores.topk(min(num_candidates, scores.shape[1]), dim=1)
    return [
        [(*divmod(place, num_words), score) for place, score in zip(places, values) if score > -math.inf]
        for places, values in zip(order.tolist(), best.tolist())
    ]
