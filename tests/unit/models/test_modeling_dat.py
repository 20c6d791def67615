# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What a DA-Transformer has that others have not: graphs, their loss, and searches in them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch

from dims_hf.models.graph import passing_probabilities


pytestmark = pytest.mark.parametrize("family", ["dat"], indirect=True)

PAD, MASK = 1, 4
SOURCE = torch.tensor([[0, 7, 8, 9, 2], [0, 7, 2, 1, 1]])
LABELS = torch.tensor([[0, 7, 13, 13, 2], [0, 6, 2, -100, -100]])
SEARCHES = ("greedy", "lookahead", "viterbi", "joint_viterbi", "beam")
N_BEST = ("viterbi", "joint_viterbi", "beam")


@pytest.fixture
def make_dat(make_model: Callable) -> Callable:
    """A model of three vertices per source token whose graphs and words vary from vertex to vertex."""

    @torch.no_grad()
    def make(**fields):
        model = make_model(**{"upsample_ratio": 3, "link_heads": 4, "initializer_range": 0.2, **fields})
        model.model.decoder.embed_positions.weight.mul_(6)
        model.links.positions.weight.mul_(8)
        return model

    return make


def test_template_is_masks_between_the_ends(make_dat: Callable):
    ids, mask = make_dat().make_template(SOURCE.ne(PAD))
    assert ids.tolist() == [[0, *[MASK] * 13, 2], [0, *[MASK] * 7, 2, *[PAD] * 6]]
    assert torch.equal(mask, ids != PAD)
    shortest, _ = make_dat(upsample_ratio=1).make_template(torch.tensor([[1, 0]]))
    assert shortest.tolist() == [[0, 2]]


def test_graph_larger_than_the_position_table_is_refused_with_the_fix(make_dat: Callable):
    model = make_dat(max_position_embeddings=15)
    assert model.config.max_source_length == 5
    message = r"Row 1 has 6 source tokens and a graph of 18 vertices \(upsample_ratio=3\), .* of 15\. Split"
    source = torch.tensor([[0, 9, 2, 1, 1, 1], [0, 9, 9, 9, 9, 2]])
    for call in (model, model.generate):
        with pytest.raises(ValueError, match=message):
            call(source)


@pytest.mark.parametrize(
    ("field", "message"),
    [({"upsample_ratio": 0}, "upsample_ratio must be >= 1"), ({"link_heads": 3}, "not divisible by link_heads=3")],
)
def test_impossible_configurations_are_refused(make_config: Callable, field: dict, message: str):
    with pytest.raises(ValueError, match=message):
        make_config(**field)


def test_transitions_equal_a_plain_implementation(make_dat: Callable):
    model = make_dat().double()
    outputs = model(SOURCE, output_hidden_states=True)
    assert outputs.transition_log_probs.shape == (2, 15, 15)
    links, heads = model.links, model.config.link_heads
    for row, length in enumerate((15, 9)):
        hidden = outputs.decoder_last_hidden_state[row, :length]
        states = torch.cat([hidden, links.positions.weight[2 : 2 + length]], dim=1)
        queries, keys = links.query(states).view(length, heads, -1), links.key(states).view(length, heads, -1)
        gates = links.gate(states).softmax(-1)
        for vertex, later in itertools.product(range(length), repeat=2):
            found = outputs.transition_log_probs[row, vertex, later].item()
            if later <= vertex:
                assert found == -math.inf
                continue
            scores = torch.einsum("kd,wkd->kw", queries[vertex], keys[vertex + 1 :]) / keys.shape[2] ** 0.5
            expected = (gates[vertex].unsqueeze(1) * scores.softmax(1)).sum(0)[later - vertex - 1]
            assert found == pytest.approx(expected.log().item(), abs=1e-6)
        assert (outputs.transition_log_probs[row, :, length:] == -math.inf).all()


def enumerate_nll(logits: torch.Tensor, transitions: torch.Tensor, target: list[int]) -> torch.Tensor:
    words, scores = logits.log_softmax(-1)[:, target], []
    for middle in itertools.combinations(range(1, len(words) - 1), len(target) - 2):
        path = (0, *middle, len(words) - 1)
        steps = [transitions[origin, end] for origin, end in itertools.pairwise(path)]
        scores.append(sum(steps) + sum(words[vertex, token] for token, vertex in enumerate(path)))
    return -torch.stack(scores).logsumexp(0)


def test_loss_sums_all_paths_over_the_tokens_of_targets(make_dat: Callable):
    model = make_dat()
    outputs = model(SOURCE, labels=LABELS)
    graphs = [(outputs.logits[row, :length], outputs.transition_log_probs[row]) for row, length in ((0, 15), (1, 9))]
    total = enumerate_nll(*graphs[0], LABELS[0].tolist()) + enumerate_nll(*graphs[1], LABELS[1, :3].tolist())
    torch.testing.assert_close(outputs.loss, total / 8)
    torch.testing.assert_close(model(SOURCE, labels=LABELS, num_items_in_batch=5).loss, total / 5)
    plain = torch.autograd.grad(total / 8, model.links.query.weight, retain_graph=True)[0]
    torch.testing.assert_close(torch.autograd.grad(outputs.loss, model.links.query.weight)[0], plain)


def test_every_weight_is_learnt_and_targets_without_a_path_add_nothing(make_dat: Callable):
    model = make_dat(upsample_ratio=1)
    alone = model(SOURCE[:1], labels=LABELS[:1]).loss
    both = model(SOURCE, labels=torch.tensor([LABELS[0].tolist(), [0, 6, 7, 8, 2]]))  # five tokens, three vertices
    torch.testing.assert_close(both.loss, alone)
    both.loss.backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_paths_must_pass_shown_vertices_whose_words_are_not_learnt(make_dat: Callable):
    model = make_dat()
    force_emits = torch.full((2, 15), -1)
    force_emits[0, 6] = 2
    outputs = model(SOURCE, labels=LABELS, force_emits=force_emits)
    words = outputs.logits[0].log_softmax(-1)[:, LABELS[0]]
    scores = []
    for middle in itertools.combinations(range(1, 14), 3):
        if middle[1] == 6:
            path = (0, *middle, 14)
            steps = sum(outputs.transition_log_probs[0, origin, end] for origin, end in itertools.pairwise(path))
            scores.append(steps + sum(words[vertex, token] for token, vertex in enumerate(path) if vertex != 6))
    second = enumerate_nll(outputs.logits[1, :9], outputs.transition_log_probs[1], [0, 6, 2])
    torch.testing.assert_close(outputs.loss, (second - torch.stack(scores).logsumexp(0)) / 8)


@pytest.mark.parametrize("search", SEARCHES)
def test_translations_do_not_depend_on_batch_or_padding(make_dat: Callable, search: str):
    model = make_dat()
    settings = {"graph_search": search, "num_return_sequences": 3 if search in N_BEST else 1}
    settings["return_dict_in_generate"] = True
    together = model.generate(SOURCE, **settings)
    left = model.generate(torch.tensor([[0, 7, 8, 9, 2], [1, 1, 0, 7, 2]]), **settings)
    assert torch.equal(left.sequences, together.sequences)
    for row, source in enumerate((SOURCE[:1], SOURCE[1:, :3])):
        alone = model.generate(source, **settings)
        count = settings["num_return_sequences"]
        rows = slice(row * count, (row + 1) * count)
        width = alone.sequences.shape[1]
        assert torch.equal(together.sequences[rows, :width], alone.sequences)
        assert (together.sequences[rows, width:] == PAD).all()
        torch.testing.assert_close(together.sequences_scores[rows], alone.sequences_scores)


@pytest.mark.parametrize("search", SEARCHES)
def test_translations_are_sentences_without_special_tokens_inside(make_dat: Callable, search: str):
    sequences = make_dat().generate(SOURCE, graph_search=search, path_length_penalty=3.0)
    assert sequences.shape[1] > 2
    for row in sequences.tolist():
        inner = [token for token in row if token != PAD]
        assert inner[0] == 0 and inner[-1] == 2
        assert not {0, PAD, 2, MASK} & set(inner[1:-1])
        assert all(left != right for left, right in itertools.pairwise(inner))


def test_lookahead_reads_its_path(make_dat: Callable):
    model = make_dat()
    outputs = model(SOURCE)
    found = model.generate(
        SOURCE, min_passing_probability=0.0, collapse_repeats=False, output_scores=True, return_dict_in_generate=True
    )
    for row, length in enumerate((15, 9)):
        logits = outputs.logits[row].detach().clone()
        logits[:, [0, PAD, 2, MASK]] = -math.inf
        best, words = logits.log_softmax(-1).max(-1)
        best[0] = best[length - 1] = 0.0
        vertex, tokens, scores = 0, [0], [0.0]
        while vertex < length - 1:
            ahead = outputs.transition_log_probs[row, vertex, :length] + best[:length]
            vertex = int(ahead.argmax())
            tokens.append(2 if vertex == length - 1 else words[vertex].item())
            scores.append(ahead[vertex].item())
        assert found.sequences[row, : len(tokens)].tolist() == tokens
        assert found.token_scores[row, : len(tokens)].tolist() == pytest.approx(scores, abs=1e-5)
        assert found.sequences_scores[row].item() == pytest.approx(sum(scores) / len(scores), abs=1e-5)


def test_only_vertices_that_the_search_needs_are_projected(make_dat: Callable, monkeypatch: pytest.MonkeyPatch):
    model = make_dat()
    rows = []
    project = model.project_vocabulary
    monkeypatch.setattr(model, "project_vocabulary", lambda states: rows.append(len(states)) or project(states))
    paths = model.generate(SOURCE, graph_search="greedy", collapse_repeats=False)
    assert rows.pop() == (paths != PAD).sum() - 4  # the ends are certain
    transitions = model(SOURCE).transition_log_probs
    rows.clear()
    passing = passing_probabilities(transitions, torch.tensor([15, 9]))
    for threshold in (0.0, 0.1, 0.3):
        model.generate(SOURCE, min_passing_probability=threshold)
        assert rows.pop() == ((passing > 0) & (passing >= threshold)).sum() - 4
    assert not rows


def test_n_best_lists_are_distinct_paths_the_best_first(make_dat: Callable):
    model = make_dat()
    found = model.generate(
        SOURCE, graph_search="joint_viterbi", num_return_sequences=20, collapse_repeats=False,
        min_passing_probability=0.0, return_dict_in_generate=True,
    )  # fmt: skip
    assert found.sequences.shape[0] == 40
    lengths = (found.sequences != PAD).sum(1).view(2, 20)
    scores = found.sequences_scores.view(2, 20)
    for row, vertices in enumerate((15, 9)):
        count = vertices - 1  # a path for every number of vertices from 2 on
        assert sorted(lengths[row, :count].tolist()) == list(range(2, vertices + 1))
        assert scores[row, :count].tolist() == sorted(scores[row, :count].tolist(), reverse=True)
        assert (scores[row, count:] == -math.inf).all() and (lengths[row, count:] == 2).all()


def test_language_model_ranks_the_beam_again(make_dat: Callable):
    model, settings = make_dat(), {"graph_search": "beam", "path_length_penalty": 2.0}
    first, second = model.generate(SOURCE[:1], num_return_sequences=2, **settings)
    unwanted = [token for token in first[1:].tolist() if token not in (PAD, 2)]
    asked = []

    def refuse_first(ids: list[int]) -> float:
        asked.append(ids)
        return -1000.0 * (ids == unwanted)

    found = model.generate(SOURCE[:1], language_model=refuse_first, **settings)
    assert found[0].tolist() == second[second != PAD].tolist() and unwanted in asked
    assert not any({0, 2} & set(ids) for ids in asked)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_iterations": 4}, "makes one pass"),
        ({"length_beam_size": 3}, "makes one pass"),
        ({"graph_search": "sampling"}, "graph_search='sampling' is not one of greedy, lookahead"),
        ({"num_return_sequences": 2}, "lookahead follows one path"),
        ({"graph_search": "beam", "beam_size": 2, "num_return_sequences": 3}, "exceeds beam_size=2"),
        ({"graph_search": "beam", "output_scores": True}, "A beam sums over paths"),
        ({"beam_size": 0}, "beam_size must be an integer >= 1"),
        ({"min_passing_probability": 1.5}, r"is not in \[0, 1\]"),
        ({"word_weight": 0.0}, "word_weight must be > 0"),
        ({"language_model": print}, "takes part in a beam alone"),
        ({"do_sample": True}, "searched, not sampled"),
        ({"target_lengths": torch.tensor([3, 3])}, "does not fix lengths"),
    ],
)
def test_impossible_settings_are_refused_with_the_fix(make_dat: Callable, settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        make_dat().generate(SOURCE, **settings)
