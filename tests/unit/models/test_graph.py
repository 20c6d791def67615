# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Graphs of words: numbers by hand, every path of small cases enumerated, autograd through log-sum-exp."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import pytest
import torch

from dims_hf.models.graph import force_words, graph_best_path, graph_nll, passing_probabilities, pick_words


# Four vertices over the words a, b, c.
WORDS = torch.tensor([[0.5, 0.3, 0.2], [0.3, 0.4, 0.3], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8]], dtype=torch.float64)
LINKS = {(0, 1): 9 / 20, (0, 2): 7 / 20, (0, 3): 1 / 5, (1, 2): 3 / 5, (1, 3): 2 / 5, (2, 3): 1.0}
# target -> probability over all paths
PROBABILITIES = {"abc": 141 / 1250, "ac": 2 / 25, "abbc": 81 / 3125, "abbcc": 0.0, "c": 0.0, "": 0.0}


class Batch(NamedTuple):
    """Arguments of the functions under test."""

    words: torch.Tensor
    links: torch.Tensor
    vertex_lengths: torch.LongTensor
    target_lengths: torch.LongTensor

    def row(self, row: int) -> Batch:
        """One sentence, without its padding."""
        vertices, tokens = self.vertex_lengths[row], self.target_lengths[row]
        words = self.words[row : row + 1, :vertices, :tokens]
        lengths = self.vertex_lengths[row : row + 1], self.target_lengths[row : row + 1]
        return Batch(words, self.links[row : row + 1, :vertices, :vertices], *lengths)


def table_links() -> torch.Tensor:
    links = torch.full((4, 4), -math.inf, dtype=torch.float64)
    for (origin, end), probability in LINKS.items():
        links[origin, end] = math.log(probability)
    return links


def table_batch(target: str) -> Batch:
    columns = torch.tensor(["abc".index(word) for word in target], dtype=torch.long)
    words = WORDS[:, columns].log().unsqueeze(0)
    return Batch(words, table_links().unsqueeze(0), torch.tensor([4]), torch.tensor([len(target)]))


def random_batch(
    seed: int, sizes: tuple[int, int, int], *, spread: float = 2.0, closed: float = 0.0, dtype=torch.float64
) -> Batch:
    """Sentences of ragged sizes up to B, A, T; a share of words and links has probability 0; padding is not finite."""
    generator = torch.Generator().manual_seed(seed)
    batch, vertices, tokens = sizes
    words = torch.randn(sizes, generator=generator, dtype=dtype) * spread
    links = torch.randn(batch, vertices, vertices, generator=generator, dtype=dtype) * spread
    words[torch.rand(words.shape, generator=generator) < closed] = -math.inf
    links[torch.rand(links.shape, generator=generator) < closed] = -math.inf
    vertex_lengths = torch.randint(0, vertices + 1, (batch,), generator=generator)
    target_lengths = torch.randint(0, tokens + 1, (batch,), generator=generator)
    for row, (real_vertices, real_tokens) in enumerate(zip(vertex_lengths, target_lengths)):
        words[row, real_vertices:] = math.nan
        words[row, :, real_tokens:] = math.inf
        links[row, real_vertices:] = math.nan
        links[row, :, real_vertices:] = -math.inf
        links[row].masked_fill_(torch.ones(vertices, vertices).tril().bool(), math.nan)
    return Batch(words, links, vertex_lengths, target_lengths)


def full_batch(seed: int, sizes: tuple[int, int, int], *, spread: float, dtype=torch.float64) -> Batch:
    """Sentences without padding; transitions are probabilities."""
    generator = torch.Generator().manual_seed(seed)
    batch, vertices, tokens = sizes
    forward = torch.ones(vertices, vertices).triu(1).bool()
    links = torch.randn(batch, vertices, vertices, generator=generator, dtype=dtype) * spread
    links = links.masked_fill(~forward, -math.inf).log_softmax(-1).nan_to_num(-math.inf, neginf=-math.inf)
    words = torch.randn(sizes, generator=generator, dtype=dtype) * spread - 3
    return Batch(words, links, torch.full((batch,), vertices), torch.full((batch,), tokens))


def enumerate_paths(batch: Batch) -> dict[tuple[int, ...], float]:
    """Vertices -> log-probability of every path of a batch of one."""
    words, links = batch.words[0].tolist(), batch.links[0].tolist()
    vertices, tokens = len(words), batch.target_lengths.item()
    paths = {}
    for path in itertools.combinations(range(vertices), tokens):
        if path and path[0] == 0 and path[-1] == vertices - 1:
            score = sum(words[vertex][token] for token, vertex in enumerate(path))
            paths[path] = score + sum(links[origin][end] for origin, end in itertools.pairwise(path))
    return {path: score for path, score in paths.items() if score > -math.inf}


def plain_nll(batch: Batch) -> torch.Tensor:
    """The recursion as a loop of log-sum-exp, for autograd; sentences of one length."""
    scores = torch.full_like(batch.words[:, :, 0], -1e30)
    scores = scores.index_fill(1, torch.tensor([0]), 0.0) + batch.words[:, :, 0]
    links = batch.links.masked_fill(batch.links == -math.inf, -1e30)
    for token in range(1, batch.words.shape[2]):
        scores = (scores.unsqueeze(2) + links).logsumexp(dim=1) + batch.words[:, :, token]
    return -scores[:, -1]


def gradients(function, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    words, links = batch.words.clone().requires_grad_(), batch.links.clone().requires_grad_()
    value = function(batch._replace(words=words, links=links))
    return value.detach(), *torch.autograd.grad(value.sum(), (words, links))


@pytest.mark.parametrize(("target", "probability"), PROBABILITIES.items())
def test_nll_of_the_table(target: str, probability: float):
    expected = -math.log(probability) if probability else math.inf
    assert graph_nll(*table_batch(target)).item() == pytest.approx(expected, abs=1e-12)


def test_best_path_and_posteriors_of_the_table():
    batch = table_batch("abc")
    assert graph_best_path(*batch).tolist() == [[0, 2, 3]]
    value, words, links = gradients(lambda batch: graph_nll(*batch), batch)
    assert value.item() == pytest.approx(2.1821389399, abs=1e-10)
    expected = torch.zeros(4, 3, dtype=torch.float64)
    expected[[0, 1, 2, 3], [0, 1, 1, 2]] = torch.tensor([1, 12 / 47, 35 / 47, 1], dtype=torch.float64)
    torch.testing.assert_close(-words[0], expected)
    expected = torch.zeros(4, 4, dtype=torch.float64)
    expected[[0, 0, 1, 2], [1, 2, 3, 3]] = torch.tensor([12, 35, 12, 35], dtype=torch.float64) / 47
    torch.testing.assert_close(-links[0], expected)


def test_forced_word_closes_the_other_paths():
    batch = table_batch("abc")
    batch.words[0, :, 1] = -math.inf
    batch.words[0, 1, 1] = 0.0
    assert graph_nll(*batch).item() == pytest.approx(2.6310891600, abs=1e-10)
    assert graph_best_path(*batch).tolist() == [[0, 1, 3]]


def test_forced_words_are_those_of_the_shown_vertices_alone():
    batch = table_batch("abc")
    forced = force_words(batch.words, torch.tensor([[-1, 1, -1, -1]]))
    assert forced[0, :, 1].tolist() == [-math.inf, 0.0, -math.inf, -math.inf]
    assert torch.equal(forced[..., [0, 2]], batch.words[..., [0, 2]])
    assert graph_nll(forced, *batch[1:]).item() == pytest.approx(2.6310891600, abs=1e-10)
    assert torch.equal(force_words(batch.words, torch.full((1, 4), -1)), batch.words)


def test_picked_words_are_those_of_a_log_softmax():
    logits = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[5, 1, 5], [2, -100, 99]])
    picked = pick_words(logits, targets, torch.tensor([3, 1]))
    log_probs = logits.log_softmax(-1)
    torch.testing.assert_close(picked[0], log_probs[0][:, [5, 1, 5]])
    torch.testing.assert_close(picked[1, :, 0], log_probs[1, :, 2])
    assert pick_words(logits.bfloat16(), targets, torch.tensor([3, 1])).dtype == torch.float32


def test_probabilities_of_all_targets_sum_to_one():
    targets = itertools.chain.from_iterable(itertools.product("abc", repeat=length) for length in range(1, 5))
    assert sum(math.exp(-graph_nll(*table_batch("".join(target))).item()) for target in targets) == pytest.approx(1.0)


def test_passing_probabilities_of_the_table_give_the_expected_length():
    links = torch.nn.functional.pad(table_links(), (0, 2, 0, 2), value=math.nan).unsqueeze(0).requires_grad_()
    passing = passing_probabilities(links, torch.tensor([4]))
    torch.testing.assert_close(passing[0], torch.tensor([1, 0.45, 0.62, 1, 0, 0], dtype=torch.float64))
    assert passing.sum().item() == pytest.approx(3.07)
    gradient = torch.autograd.grad(passing[0, 2], links)[0]
    # π(2) = E[0, 2] + E[0, 1] · E[1, 2]
    assert gradient[0, 0, 1].item() == pytest.approx(0.27) and gradient[0, 0, 2].item() == pytest.approx(0.35)
    assert gradient.isfinite().all() and (gradient[0, 4:] == 0).all()


@pytest.mark.parametrize("closed", [0.0, 0.25])
@pytest.mark.parametrize("spread", [1.0, 20.0, 400.0])
def test_nll_best_path_and_gradients_agree_with_enumeration(spread: float, closed: float):
    for seed in range(12):
        batch = random_batch(seed, (6, 7, 6), spread=spread, closed=closed)
        value, words, links = gradients(lambda batch: graph_nll(*batch), batch)
        best = graph_best_path(*batch)
        for row in range(6):
            paths = enumerate_paths(batch.row(row))
            tokens = batch.target_lengths[row].item()
            gamma, xi = torch.zeros_like(words[row]), torch.zeros_like(links[row])
            if not paths:
                assert value[row].item() == math.inf and best[row].tolist() == [-1] * 6
            else:
                scores = torch.tensor(list(paths.values()), dtype=torch.float64)
                assert value[row].item() == pytest.approx(-scores.logsumexp(0).item(), rel=1e-12)
                assert best[row].tolist() == [*max(paths, key=paths.get), *[-1] * (6 - tokens)]
                for path, share in zip(paths, scores.softmax(0)):
                    gamma[list(path), range(tokens)] += share
                    xi[list(path[:-1]), list(path[1:])] += share
            torch.testing.assert_close(-words[row], gamma, rtol=0, atol=1e-10)
            torch.testing.assert_close(-links[row], xi, rtol=0, atol=1e-10)
    assert (words[batch.words.isnan() | batch.words.isinf()] == 0).all()
    assert (links[batch.links.isnan() | batch.links.isinf()] == 0).all()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("spread", [0.5, 3.0, 20.0])
def test_nll_and_gradients_agree_with_autograd(spread: float, dtype: torch.dtype, tolerance: float):
    batch = full_batch(0, (4, 40, 12), spread=spread)
    expected = gradients(plain_nll, batch)
    own = Batch(batch.words.to(dtype), batch.links.to(dtype), *batch[2:])
    found = gradients(lambda batch: graph_nll(*batch), own)
    assert {values.dtype for values in found} == {dtype}
    torch.testing.assert_close(found[0].double(), expected[0], rtol=tolerance, atol=0)
    if dtype == torch.float64 or spread < 20:  # rounded scores have another posterior
        for gradient, right in zip(found[1:], expected[1:]):
            torch.testing.assert_close(gradient.double(), right.nan_to_num(), rtol=0, atol=10 * tolerance)


def test_gradients_pass_the_numeric_check():
    batch = full_batch(1, (2, 6, 4), spread=1.0)
    links = batch.links.clamp(min=-50)
    arguments = batch.words.requires_grad_(), links.requires_grad_()
    lengths = torch.tensor([6, 5]), torch.tensor([4, 3])
    assert torch.autograd.gradcheck(lambda words, links: graph_nll(words, links, *lengths), arguments)


@pytest.mark.parametrize("spread", [40.0, 120.0])
def test_numbers_far_apart_are_computed_in_log_space(spread: float, monkeypatch: pytest.MonkeyPatch):
    from dims_hf.models import graph

    batch = full_batch(2, (16, 60, 15), spread=spread)
    found = gradients(lambda batch: graph_nll(*batch), batch)
    rows = []
    exact = graph._add_posteriors
    monkeypatch.setattr(graph, "_add_posteriors", lambda part: rows.append(len(part.word_log_probs)) or exact(part))
    monkeypatch.setattr(graph, "_DOUBTFUL_MASS", -1.0)
    expected = gradients(lambda batch: graph_nll(*batch), batch)
    assert rows == [16]
    for values, right in zip(found, expected):
        torch.testing.assert_close(values, right, rtol=1e-10, atol=1e-10)


def test_doubtful_sentences_alone_are_computed_again(monkeypatch: pytest.MonkeyPatch):
    from dims_hf.models import graph

    # The best words lead to a vertex from where every way on is 500 nats less likely than those that are lost.
    batch = full_batch(3, (2, 5, 4), spread=1.0)
    batch.words[1, 1, 1] = -800.0
    batch.words[1, 2:, 1] = 0.0
    batch.links[1, 2, 3] = batch.links[1, 3, 4] = -2000.0
    rows = []
    exact = graph._add_posteriors
    monkeypatch.setattr(graph, "_add_posteriors", lambda part: rows.append(part.word_log_probs) or exact(part))
    found = graph_nll(*batch)
    assert len(rows) == 1 and torch.equal(rows[0], batch.words[1:])
    torch.testing.assert_close(found, plain_nll(batch), rtol=1e-12, atol=0)


def test_padding_and_other_sentences_change_nothing():
    batch = random_batch(5, (24, 14, 7))
    value, words, links = gradients(lambda batch: graph_nll(*batch), batch)
    best = graph_best_path(*batch)
    for row in range(24):
        alone = batch.row(row)
        vertices, tokens = alone.words.shape[1:]
        alone_value, alone_words, alone_links = gradients(lambda batch: graph_nll(*batch), alone)
        torch.testing.assert_close(value[row : row + 1], alone_value, rtol=1e-13, atol=0)
        torch.testing.assert_close(words[row, :vertices, :tokens], alone_words[0], rtol=0, atol=1e-13)
        torch.testing.assert_close(links[row, :vertices, :vertices], alone_links[0], rtol=0, atol=1e-13)
        assert best[row, :tokens].tolist() == graph_best_path(*alone)[0].tolist()


def test_impossible_sentences_have_no_gradient_and_leave_the_others_alone():
    batch = full_batch(6, (4, 5, 3), spread=1.0)
    batch.words[0, :, 1] = -math.inf
    lengths = torch.tensor([5, 2, 5, 5]), torch.tensor([3, 3, 1, 3])
    words, links = batch.words.requires_grad_(), batch.links.requires_grad_()
    value = graph_nll(words, links, *lengths)
    assert value[:3].tolist() == [math.inf] * 3 and value[3].isfinite()
    # an infinite loss that is squared has an infinite gradient: still none here
    for gradient in torch.autograd.grad((value**2).sum(), (words, links)):
        assert (gradient[:3] == 0).all() and (gradient[3] != 0).any() and gradient.isfinite().all()


def test_not_a_number_is_passed_on_to_the_sentence_that_has_it():
    batch = full_batch(7, (3, 5, 3), spread=1.0)
    batch.words[1, 2, 1] = math.nan
    assert graph_nll(*batch).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize(("vertices", "tokens", "expected"), [(1, 1, 0.5), (0, 0, math.inf), (0, 2, math.inf)])
def test_shortest_graphs(vertices: int, tokens: int, expected: float):
    words = torch.full((1, vertices, tokens), -0.5).requires_grad_()
    batch = Batch(words, torch.zeros(1, vertices, vertices), torch.tensor([vertices]), torch.tensor([tokens]))
    value = graph_nll(*batch)
    value.sum().backward()
    assert value.item() == expected
    assert graph_best_path(*batch).tolist() == [[0]] if vertices else [[-1] * tokens]


def test_empty_batch_gives_empty_results():
    batch = Batch(torch.zeros(0, 4, 3), torch.zeros(0, 4, 4), torch.zeros(0).long(), torch.zeros(0).long())
    assert graph_nll(*batch).shape == (0,) and graph_best_path(*batch).shape == (0, 3)


def test_half_precision_is_added_in_single_precision():
    batch = full_batch(8, (2, 20, 8), spread=1.0, dtype=torch.float32)
    half = batch._replace(words=batch.words.bfloat16(), links=batch.links.bfloat16())
    value, words, links = gradients(lambda batch: graph_nll(*batch), half)
    assert value.dtype == torch.float32 and words.dtype == links.dtype == torch.bfloat16
    torch.testing.assert_close(value, graph_nll(half.words.float(), half.links.float(), *half[2:]))


@pytest.mark.parametrize("function", [graph_nll, graph_best_path])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": torch.zeros(5, 3)}, r"word_log_probs must be floating point of shape \(B, A, T\)"),
        ({"words": torch.zeros(1, 5, 3).long()}, "floating point"),
        ({"links": torch.zeros(5, 5)}, r"transition_log_probs must be floating point of shape \(B, A, A\)"),
        ({"links": torch.zeros(1, 5, 4)}, r"transition_log_probs must be of shape \(1, 5, 5\)"),
        ({"vertex_lengths": torch.tensor([6])}, r"vertex_lengths must be in 0 … 5"),
        ({"vertex_lengths": torch.tensor(5)}, r"vertex_lengths must be of shape \(1,\)"),
        ({"target_lengths": torch.tensor([-1])}, r"target_lengths must be in 0 … 3"),
        ({"target_lengths": torch.tensor([2, 2])}, r"target_lengths must be of shape \(1,\)"),
    ],
)
def test_bad_arguments_are_refused_by_name(function, change: dict, message: str):
    batch = Batch(torch.zeros(1, 5, 3), torch.zeros(1, 5, 5), torch.tensor([5]), torch.tensor([3]))
    with pytest.raises(ValueError, match=message):
        function(*batch._replace(**change))


def test_passing_probabilities_refuse_wrong_lengths():
    with pytest.raises(ValueError, match=r"vertex_lengths must be in 0 … 4"):
        passing_probabilities(torch.zeros(1, 4, 4), torch.tensor([5]))
