# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Paths of a graph: numbers by hand, every path enumerated on small graphs."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from dims_hf.models.decoding_dat import (
    find_viterbi_paths,
    follow_transitions,
    read_paths,
    score_paths,
    search_beam,
)


# Four vertices over the words a, b, c, as in the tests of the likelihood.
WORDS = torch.tensor([[0.5, 0.3, 0.2], [0.3, 0.4, 0.3], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8]], dtype=torch.float64).log()
LINKS = {(0, 1): 9 / 20, (0, 2): 7 / 20, (0, 3): 1 / 5, (1, 2): 3 / 5, (1, 3): 2 / 5, (2, 3): 1.0}
LENGTH = torch.tensor([4])
# length penalty -> best joint path
JOINT_PATHS = {0.0: [0, 2, 3], 1.0: [0, 2, 3], 2.0: [0, 1, 2, 3]}


def table_links() -> torch.Tensor:
    links = torch.full((1, 4, 4), -math.inf, dtype=torch.float64)
    for (origin, end), probability in LINKS.items():
        links[0, origin, end] = math.log(probability)
    return links


def random_graphs(seed: int, batch: int, vertices: int) -> tuple[torch.Tensor, torch.Tensor, torch.LongTensor]:
    """Ragged transitions, words' scores and numbers of vertices."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, vertices + 1, (batch,), generator=generator)
    links = torch.randn(batch, vertices, vertices, generator=generator, dtype=torch.float64) * 2
    for row, length in enumerate(lengths.tolist()):
        links[row, :, length:] = -math.inf
    links = links.masked_fill(torch.ones(vertices, vertices).tril().bool(), -math.inf)
    links = links.log_softmax(-1).nan_to_num(-math.inf, neginf=-math.inf)
    return links, -3 * torch.rand(batch, vertices, generator=generator, dtype=torch.float64), lengths


def enumerate_paths(links: torch.Tensor, words: torch.Tensor, length: int) -> dict[tuple[int, ...], float]:
    """Every path of one graph -> sum of its transitions and words."""
    inner = range(1, length - 1)
    middles = itertools.chain.from_iterable(itertools.combinations(inner, size) for size in range(length - 1))
    paths = [(0, *middle, length - 1) for middle in middles] if length > 1 else [(0,)]
    return {
        path: sum(words[vertex].item() for vertex in path)
        + sum(links[origin, end].item() for origin, end in itertools.pairwise(path))
        for path in paths
    }


def without_padding(path: torch.LongTensor) -> tuple[int, ...]:
    return tuple(vertex for vertex in path.tolist() if vertex >= 0)


def test_greedy_and_lookahead_of_the_table():
    words, ids = WORDS.max(dim=1)
    greedy = follow_transitions(table_links(), LENGTH)
    lookahead = follow_transitions(table_links(), LENGTH, word_scores=words.unsqueeze(0))
    assert greedy.tolist() == [[0, 1, 2, 3]] and lookahead.tolist() == [[0, 2, 3]]
    assert read_paths(greedy, ids.unsqueeze(0), pad_token_id=9).tolist() == [[0, 1, 1, 2]]
    assert read_paths(lookahead, ids.unsqueeze(0), pad_token_id=9).tolist() == [[0, 1, 2]]
    scores = score_paths(lookahead, table_links(), words.unsqueeze(0))
    expected = torch.tensor([[0.5, 7 / 20 * 0.6, 0.8]], dtype=torch.float64).log()
    torch.testing.assert_close(scores, expected)


@pytest.mark.parametrize(("length_penalty", "expected"), JOINT_PATHS.items())
def test_joint_viterbi_of_the_table(length_penalty: float, expected: list[int]):
    words = WORDS.amax(dim=1).unsqueeze(0)
    best = find_viterbi_paths(table_links(), LENGTH, word_scores=words, length_penalty=length_penalty, num_paths=4)
    assert without_padding(best.vertices[0, 0]) == tuple(expected)
    by_length = {2: 2 / 25, 3: 21 / 250, 4: 81 / 3125}  # (0, 1, 3) is worse than (0, 2, 3)
    ranked = sorted((math.log(value) / count**length_penalty for count, value in by_length.items()), reverse=True)
    assert best.scores[0].tolist() == pytest.approx([*ranked, -math.inf])
    assert best.vertices[0, 3].tolist() == [-1] * 4


@pytest.mark.parametrize("has_words", [True, False])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.5])
def test_viterbi_of_every_length_agrees_with_enumeration(length_penalty: float, has_words: bool):
    links, words, lengths = random_graphs(0, 12, 7)
    words = words if has_words else torch.zeros_like(words)
    best = find_viterbi_paths(
        links, lengths, word_scores=words if has_words else None, length_penalty=length_penalty, num_paths=7
    )
    for row, length in enumerate(lengths.tolist()):
        paths = enumerate_paths(links[row], words[row], length)
        of_length = {len(path): path for path in sorted(paths, key=paths.get)}
        expected = sorted(of_length.values(), key=lambda path: -paths[path] / len(path) ** length_penalty)
        found = [without_padding(path) for path in best.vertices[row]]
        assert found[: len(expected)] == expected and set(found[len(expected) :]) <= {()}
        scores = [paths[path] / len(path) ** length_penalty for path in expected]
        assert best.scores[row, : len(expected)].tolist() == pytest.approx(scores)


def test_longest_path_can_be_limited():
    words = WORDS.amax(dim=1).unsqueeze(0)
    best = find_viterbi_paths(table_links(), LENGTH, word_scores=words, length_penalty=2.0, max_vertices=3)
    assert best.vertices.tolist() == [[[0, 2, 3]]]


def test_paths_do_not_depend_on_other_sentences():
    links, words, lengths = random_graphs(1, 9, 8)
    together = follow_transitions(links, lengths, word_scores=words, word_weight=0.7)
    for row, length in enumerate(lengths.tolist()):
        alone = (links[row : row + 1, :length, :length], lengths[row : row + 1])
        path = follow_transitions(*alone, word_scores=words[row : row + 1, :length], word_weight=0.7)
        assert without_padding(together[row]) == without_padding(path[0])
        scores = score_paths(together, links, words)[row]
        assert scores.sum().item() == pytest.approx(
            enumerate_paths(links[row], words[row], length)[without_padding(path[0])]
        )
        assert (scores[len(without_padding(path[0])) :] == 0).all()


def test_closed_vertices_are_not_visited_and_dead_ends_go_to_the_last_vertex():
    words = torch.zeros(1, 4, dtype=torch.float64)
    words[0, 1] = -math.inf
    assert follow_transitions(table_links(), LENGTH, word_scores=words).tolist() == [[0, 2, 3]]
    links = table_links()
    links[0, 2] = -math.inf
    assert follow_transitions(links, LENGTH, word_scores=words).tolist() == [[0, 2, 3]]
    assert find_viterbi_paths(links, LENGTH, word_scores=words).vertices.tolist() == [[[0, 3, -1, -1]]]


def sum_over_paths(collapse: bool) -> dict[tuple[int, ...], float]:
    """What the paths of the table read -> log-probability."""
    sums: dict[tuple[int, ...], float] = {}
    for path in enumerate_paths(table_links()[0], torch.zeros(4), 4):
        for words in itertools.product(range(3), repeat=len(path)):
            tokens = tuple(word for word, _ in itertools.groupby(words)) if collapse else words
            score = sum(WORDS[vertex, word].item() for vertex, word in zip(path, words))
            score += sum(math.log(LINKS[step]) for step in itertools.pairwise(path))
            sums[tokens] = sums.get(tokens, 0.0) + math.exp(score)
    return {tokens: math.log(value) for tokens, value in sums.items()}


@pytest.mark.parametrize("collapse", [True, False])
def test_beam_that_holds_everything_sums_over_paths(collapse: bool):
    found = search_beam(
        table_links()[0],
        WORDS,
        torch.arange(3).expand(4, 3),
        beam_size=1000,
        num_candidates=99,
        length_penalty=0.0,
        collapse_repeats=collapse,
    )
    expected = sum_over_paths(collapse)
    assert {tuple(ids): score for ids, score in found} == pytest.approx(expected)
    assert [score for _, score in found] == pytest.approx(sorted(expected.values(), reverse=True))
    assert sum(math.exp(score) for _, score in found) == pytest.approx(1.0)


def test_beam_with_language_model_ranks_by_both_over_the_length():
    def prefer_short(ids: list[int]) -> float:
        return -0.5 * len(ids) - 0.1 * sum(ids)

    found = search_beam(
        table_links()[0],
        WORDS,
        torch.arange(3).expand(4, 3),
        beam_size=1000,
        num_candidates=99,
        length_penalty=1.1,
        language_model=prefer_short,
        language_model_weight=0.3,
    )
    expected = {}
    for tokens, log_prob in sum_over_paths(True).items():
        expected[tokens] = (log_prob + 0.3 * prefer_short(list(tokens[1:-1]))) / len(tokens) ** 1.1
    assert {tuple(ids): score for ids, score in found} == pytest.approx(expected)
    assert tuple(found[0][0]) == max(expected, key=expected.get)


def test_narrow_beam_follows_the_best_prefixes():
    best_words, ids = WORDS.max(dim=1, keepdim=True)
    found = search_beam(table_links()[0], best_words, ids, beam_size=1, num_candidates=1, length_penalty=0.0)
    assert found == [([0, 1, 2], pytest.approx(math.log(0.5 * 7 / 20 * 0.6 * 0.8)))]


def test_beam_without_an_open_path_is_empty():
    assert search_beam(torch.full((2, 2), -math.inf), torch.zeros(2, 1), torch.zeros(2, 1).long()) == []
