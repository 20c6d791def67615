# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""CMLM with a bigram field: transitions, candidates, the best sequence of a pass, independence of the batch."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch

from dims_hf.models.crf import crf_marginals
from dims_hf.models.decoding_crf import decode_chain, list_candidates
from dims_hf.objectives import crf_loss
from tests.unit.models.test_crf import EMISSIONS, TRANSITIONS, table_chain


pytestmark = pytest.mark.parametrize("family", ["cmlm_crf"], indirect=True)

PAD, MASK = 1, 4


def test_marginals_of_the_table(make_model: Callable):
    nodes, edges = crf_marginals(*table_chain(), torch.tensor([3]))
    assert nodes[0, 1].tolist() == pytest.approx([7 / 40, 11 / 80, 3 / 8, 5 / 16])
    torch.testing.assert_close(edges.sum(3)[0, 0], nodes[0, 0])
    torch.testing.assert_close(edges.sum(2)[0], nodes[0, 1:])


def test_scores_of_the_best_sequence_are_its_log_probability(make_model: Callable):
    words = torch.tensor([[[0, 1, 2, 3]] * 3])
    emissions, transitions = table_chain()
    from dims_hf.models.decoding_crf import Candidates

    tokens, log_probs = decode_chain(Candidates(words, emissions), transitions, torch.tensor([3]))
    assert tokens.tolist() == [[1, 2, 0]]
    assert log_probs.sum().item() == pytest.approx(torch.tensor(24 / 320).log().item())


@pytest.mark.parametrize(
    ("target", "count", "expected"), [([1, 2, 0], 4, 2.5902671655), ([3, 3, 3], 4, 4.382027), ([3, 3, 3], 2, 2.847812)]
)
def test_loss_with_the_target_forced_among_the_candidates(make_model: Callable, target, count, expected):
    logits = EMISSIONS.log()[None]

    def make_transitions(candidates: torch.Tensor) -> torch.Tensor:
        return TRANSITIONS[candidates[:, :-1].unsqueeze(3), candidates[:, 1:].unsqueeze(2)].log()

    given = torch.tensor([target]), torch.ones(1, 3, dtype=torch.bool), torch.tensor([3])
    loss = crf_loss(logits, *given, make_transitions, num_candidates=count, num_items=1)
    assert loss.total.item() == pytest.approx(expected, abs=1e-6)
    shown = crf_loss(
        logits, given[0], torch.tensor([[False, True, False]]), given[2], make_transitions, num_candidates=4
    )
    middle = [EMISSIONS[1, j] * TRANSITIONS[target[0], j] * TRANSITIONS[j, target[2]] for j in range(4)]
    assert shown.total.item() == pytest.approx(-torch.log(middle[target[1]] / sum(middle)).item())


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_pass_finds_the_best_sequence_of_all(make_model: Callable, dynamic: bool):
    model = make_model(crf_rank=3, crf_dynamic=dynamic, crf_beam_size=20, vocab_size=9)
    source = torch.tensor([[0, 7, 8, 6, 2]])
    output = model.generate(source, target_lengths=torch.tensor([3]), return_dict_in_generate=True,
                            collapse_repeats=False)  # fmt: skip
    template = torch.tensor([[0, MASK, MASK, MASK, 2]])
    with torch.no_grad():
        outputs = model(source, decoder_input_ids=template, output_hidden_states=True)
        everything = torch.arange(9).expand(1, 5, 9)
        transitions = model.crf_head(everything, outputs.decoder_last_hidden_state)[0]
    closed = [0, 1, 2, 4]
    emissions = outputs.logits[0].index_fill(1, torch.tensor(closed), -torch.inf).log_softmax(1)
    scores = {}
    for words in itertools.product([word for word in range(9) if word not in closed], repeat=3):
        row = (0, *words, 2)
        steps = sum(transitions[t, a, b] for t, (a, b) in enumerate(itertools.pairwise(row)))
        scores[row] = float(steps + sum(emissions[t + 1, word] for t, word in enumerate(words)))
    best = max(scores, key=scores.get)
    assert tuple(output.sequences[0].tolist()) == best
    total = torch.tensor(list(scores.values())).logsumexp(0).item()
    assert output.sequences_scores.item() == pytest.approx((scores[best] - total) / 5, abs=1e-5)


def test_positions_that_are_not_predicted_have_one_candidate(make_model: Callable):
    tokens = torch.tensor([[0, MASK, 7, 2]])
    is_updated = tokens == MASK
    found = list_candidates(tokens, is_updated, torch.tensor([[1.0, 3.0, 2.0]]), 5)
    assert found.token_ids[0, 1].tolist() == [1, 2, 0] and found.token_ids[0, :, 0].tolist() == [0, 1, 7, 2]
    assert found.emissions[0, 2].tolist() == [0, -torch.inf, -torch.inf]


def test_translations_do_not_depend_on_batch_or_padding(make_translator: Callable, make_sources, pad):
    model = make_translator(crf_beam_size=6)
    sources = make_sources(3, 6)
    for settings in ({}, {"num_iterations": 3, "length_beam_size": 2}):
        together = model.generate(pad(sources, side="left"), return_dict_in_generate=True, **settings)
        assert not (together.sequences == MASK).any()
        for row, source in enumerate(sources):
            alone = model.generate(source[None], return_dict_in_generate=True, **settings)
            width = alone.sequences.shape[1]
            assert torch.equal(together.sequences[row, :width], alone.sequences[0])
            torch.testing.assert_close(together.sequences_scores[row], alone.sequences_scores[0], atol=1e-5, rtol=1e-5)


def test_settings_that_choose_tokens_one_by_one_are_refused(make_model: Callable):
    for settings in ({"do_sample": True}, {"repeat_penalty": 1.0}):
        with pytest.raises(ValueError, match="A field looks for the best sequence"):
            make_model().generate(torch.tensor([[0, 7, 2]]), **settings)


def test_forced_tokens_stay(make_model: Callable):
    forced = torch.tensor([[-100, -100, 9, -100, -100]])
    tokens = make_model().generate(
        torch.tensor([[0, 7, 8, 2]]), forced_tokens=forced, target_lengths=torch.tensor([3]), collapse_repeats=False
    )
    assert tokens[0, 2] == 9
