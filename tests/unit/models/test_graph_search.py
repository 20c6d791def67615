# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Beam search in a graph that a language model steers: against all paths, a plain search, and by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
import torch

from dims_hf import DATConfig, DATForConditionalGeneration
from dims_hf.models.graph_search import search_graph
from tests.fixtures.language_models import Bigrams, search_graph_steered


Graph = tuple[list[tuple[int, float]], list[list[tuple[int, int, float]]]]
LM = {"language_model_weight": 0.7}


def draw(seed: int, num_vertices: int = 5, num_words: int = 3) -> Graph:
    """Words 10 for the first vertex and 11 for the last, and all of a few words between; rows are distributions."""
    generator = torch.Generator().manual_seed(seed)
    words = (2 * torch.randn(num_vertices, num_words, generator=generator, dtype=torch.float64)).log_softmax(1)
    links = 2 * torch.randn(num_vertices, num_vertices, generator=generator, dtype=torch.float64)
    links = links.masked_fill(torch.ones_like(links).tril().bool(), -math.inf).log_softmax(1)
    last, steps = num_vertices - 1, []
    for vertex in range(num_vertices):
        pairs = [(end, word) for end in range(vertex + 1, last) for word in range(num_words)]
        step = [(end, word, (links[vertex, end] + words[end, word]).item()) for end, word in pairs]
        steps.append([*step, (last, 11, links[vertex, last].item())] if vertex < last else [])
    return [(10, 0.0)], steps


def sum_over_paths(graph: Graph, collapse: bool) -> dict[tuple[int, ...], float]:
    """Log-probability of all that the paths read, each path by itself."""
    first, steps = graph
    sums: dict[tuple[int, ...], float] = {}

    def go(vertex: int, words: tuple[int, ...], score: float) -> None:
        if vertex == len(steps) - 1:
            read = tuple(word for word, _ in itertools.groupby(words)) if collapse else words
            sums[read] = sums.get(read, 0.0) + math.exp(score)
        for end, word, step in steps[vertex]:
            go(end, (*words, word), score + step)

    for word, score in first:
        go(0, (word,), score)
    return {read: math.log(total) for read, total in sums.items()}


@pytest.mark.parametrize("collapse", [True, False])
@pytest.mark.parametrize(("weight", "length_penalty"), [(0.7, 1.0), (0.0, 1.3), (2.0, 0.0)])
def test_beam_that_holds_everything_gives_the_score_of_every_reading(
    collapse: bool, weight: float, length_penalty: float
):
    for seed in range(4):
        graph, language_model = draw(seed), Bigrams(seed)
        expected = {
            read: (score + weight * language_model(read[1:-1])) / len(read) ** length_penalty
            for read, score in sum_over_paths(graph, collapse).items()
        }
        found = search_graph(
            *graph,
            beam_size=10_000,
            length_penalty=length_penalty,
            language_model=language_model,
            language_model_weight=weight,
            collapse_repeats=collapse,
        )
        assert {tuple(ids): score for ids, score in found} == pytest.approx(expected)
        assert [score for _, score in found] == pytest.approx(sorted(expected.values(), reverse=True))


@pytest.mark.parametrize("beam_size", [1, 2, 3, 8])
@pytest.mark.parametrize("collapse", [True, False])
def test_narrow_beam_keeps_what_both_models_like_at_every_vertex(beam_size: int, collapse: bool):
    differs = 0
    for seed in range(12):
        graph, language_model = draw(seed, num_vertices=7), Bigrams(seed)
        options = {"beam_size": beam_size, "length_penalty": 1.1, "collapse_repeats": collapse, **LM}
        expected = search_graph_steered(*graph, beam_size, language_model, 0.7, 1.1, collapse)
        found = search_graph(*graph, language_model=language_model, **options)
        assert [ids for ids, _ in found] == [ids for ids, _ in expected]
        assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-9)
        ranked = search_graph(*graph, language_model=lambda ids, model=language_model: model(ids), **options)
        differs += found != ranked
    assert differs


class Grammar:
    """Words 1 and 2, in this order, are certain, everything else hopeless; the end may come at any time."""

    def score_prefix(self, ids: Sequence[int]) -> float:
        return 0.0 if list(ids) == [1, 2][: len(ids)] else -20.0

    __call__ = score_prefix


def test_search_is_steered_where_ranking_its_end_comes_too_late():
    graph: Graph = (
        [(10, 0.0)],
        [
            [(1, 0, math.log(0.6)), (1, 1, math.log(0.4))],
            [(2, 3, math.log(0.7)), (2, 2, math.log(0.3))],
            [(3, 11, 0.0)],
            [],
        ],
    )
    options = {"beam_size": 2, "length_penalty": 0.0, "language_model_weight": 1.0}
    (best, score), *_ = search_graph(*graph, language_model=Grammar(), **options)
    assert best == [10, 1, 2, 11] and score == pytest.approx(math.log(0.4 * 0.3))
    # without it a beam of two ends without what the grammar wants
    ranked = search_graph(*graph, language_model=lambda ids: Grammar()(ids), **options)
    assert [10, 1, 2, 11] not in [ids for ids, _ in ranked]
    assert {tuple(ids) for ids, _ in ranked} == {tuple(ids) for ids, _ in search_graph(*graph, **options)}


def test_language_model_is_asked_once_for_a_prefix_and_for_few_of_them():
    graph, language_model = draw(1, num_vertices=20, num_words=12), Bigrams(3)
    search_graph(*graph, beam_size=4, language_model=language_model, **LM)
    assert len(language_model.asked) == len(set(language_model.asked))
    assert len(language_model.asked) < sum(map(len, graph[1])) * 4 / 3


def test_what_a_language_model_excludes_is_left_out_and_nan_is_refused():
    class Without:
        def score_prefix(self, ids: Sequence[int]) -> float:
            return -math.inf if 2 in ids else 0.0

        __call__ = score_prefix

    found = search_graph(*draw(2), beam_size=50, language_model=Without(), language_model_weight=1.0)
    assert found and all(2 not in ids and score > -math.inf for ids, score in found)
    with pytest.raises(ValueError, match=r"gives NaN for \["):
        search_graph(*draw(2), beam_size=5, language_model=lambda ids: math.nan, language_model_weight=1.0)


@pytest.fixture(scope="module")
def dat() -> DATForConditionalGeneration:
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "link_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = DATConfig(vocab_size=20, upsample_ratio=3, initializer_range=0.5, **sizes, **heads)
        return DATForConditionalGeneration(config).eval()


def test_generate_searches_with_the_language_model_whatever_the_batch(dat: DATForConditionalGeneration):
    sources, language_model = torch.tensor([[0, 7, 8, 9, 2], [0, 12, 2, 1, 1]]), Bigrams(5)
    settings = {
        "graph_search": "beam", "beam_size": 5, "num_return_sequences": 3, "path_length_penalty": 3.0,
        "return_dict_in_generate": True, "min_passing_probability": 0.0, **LM,
    }  # fmt: skip
    found = dat.generate(sources, language_model=language_model, **settings)
    ranked = dat.generate(sources, language_model=lambda ids: language_model(ids), **settings)
    assert found.sequences.tolist() != ranked.sequences.tolist()
    with torch.no_grad():
        outputs = dat(sources)
    for row, length in enumerate((15, 9)):
        logits = outputs.logits[row, :length].clone()
        logits[:, dat.suppressed_token_ids()] = -math.inf
        words = logits.log_softmax(1)
        words[[0, -1]] = -math.inf
        words[0, 0] = words[-1, 2] = 0.0
        links = outputs.transition_log_probs[row, :length, :length]
        steps = []
        for vertex in range(length):
            best, order = (links[vertex].unsqueeze(1) + words).flatten().topk(5)
            pairs = zip(order.tolist(), best.tolist(), strict=True)
            steps.append([(place // 20, place % 20, score) for place, score in pairs if score > -math.inf])
        expected = search_graph_steered([(0, 0.0)], steps, 5, language_model, 0.7, 3.0, True)[:3]
        rows = slice(3 * row, 3 * row + 3)
        assert [ids[ids != 1].tolist() for ids in found.sequences[rows]] == [ids for ids, _ in expected]
        assert found.sequences_scores[rows].tolist() == pytest.approx([score for _, score in expected], abs=1e-5)
        source = sources[row : row + 1, : (sources[row] != 1).sum()]
        alone = dat.generate(source, language_model=language_model, **settings).sequences
        assert [ids[ids != 1].tolist() for ids in alone] == [ids for ids, _ in expected]
