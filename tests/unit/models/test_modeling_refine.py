# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Iterative refinement: passes read everything, corruption of targets, a teacher's passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch

from dims_hf import roll_out_teacher
from dims_hf.methods.masks import corrupt_tokens, draw_events, mix_keys


pytestmark = pytest.mark.parametrize("family", ["refine"], indirect=True)

PAD, MASK = 1, 4
CLOSED = [0, 1, 2, 4]


def refine_plainly(model, source: torch.Tensor, length: int, num_iterations: int) -> list[int]:
    tokens = torch.tensor([[0, *[MASK] * length, 2]])
    for _ in range(num_iterations):
        logits = (
            model(source[None], decoder_input_ids=tokens).logits[0].index_fill(1, torch.tensor(CLOSED), -torch.inf)
        )
        tokens = tokens.clone()
        tokens[0, 1:-1] = logits.argmax(1)[1:-1]
    return tokens[0].tolist()


@pytest.mark.parametrize("num_iterations", [1, 3])
def test_passes_equal_a_plain_loop_and_do_not_depend_on_the_batch(make_translator, make_sources, pad, num_iterations):
    model = make_translator().double()
    sources, lengths = make_sources(4, 5), torch.tensor([3, 6, 1, 4, 5])
    tokens = model.generate(
        pad(sources, side="left"), target_lengths=lengths, num_iterations=num_iterations, collapse_repeats=False
    )
    for row, (source, length) in enumerate(zip(sources, lengths.tolist())):
        assert tokens[row, : length + 2].tolist() == refine_plainly(model, source, length, num_iterations)


def test_targets_are_corrupted_in_three_ways_within_their_content(make_model: Callable):
    tokens = torch.tensor([[0, 5, 6, 7, 8, 9, 10, 2, PAD]]).expand(3000, -1)
    is_content = (tokens != 0) & (tokens != 2) & (tokens != PAD)
    keys = mix_keys(3, torch.arange(3000))
    options = {"vocab_size": 20, "closed_ids": CLOSED}
    once = corrupt_tokens(tokens, is_content, keys, rate=0.34, step=0, **options)  # two of six
    assert torch.equal(once[:, [0, 7, 8]], tokens[:, [0, 7, 8]])
    assert not torch.isin(once[:, 1:7], torch.tensor(CLOSED)).any()
    changed = (once != tokens).sum(1)
    assert int(changed.max()) <= 4 and float(changed.float().mean()) > 1
    kinds = Counter()
    single = corrupt_tokens(tokens, is_content, keys, rate=0.17, step=1, **options)  # one of six
    for before, after in zip(tokens.tolist(), single.tolist()):
        places = [place for place in range(9) if before[place] != after[place]]
        if len(places) == 2:
            kinds["swap"] += after[places[0]] == before[places[1]] and after[places[1]] == before[places[0]]
        elif len(places) == 1:
            kinds["repeat" if after[places[0]] == before[places[0] - 1] else "word"] += 1
    # the last word has no next one; a random word is its own in one of sixteen cases
    assert kinds["swap"] == pytest.approx(3000 * 5 / 18, rel=0.15)
    assert kinds["repeat"] == pytest.approx(3000 * (5 / 18 + 1 / 48), rel=0.15)
    assert kinds["word"] == pytest.approx(3000 * (1 / 3) * 14 / 16, rel=0.15)
    assert torch.equal(corrupt_tokens(tokens, is_content, keys, rate=0.0, step=0, **options), tokens)
    assert float(draw_events(keys, 0.25, 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert not torch.equal(draw_events(keys, 0.5, 0), draw_events(keys, 0.5, 1))


def test_teacher_reads_its_whole_last_prediction(make_model: Callable):
    model, source = make_model(), torch.tensor([[0, 7, 8, 9, 2]])
    target = torch.tensor([[0, MASK, 11, MASK, 2]])
    labels = roll_out_teacher(model, source, source.ne(PAD), target, num_iterations=2)
    first = roll_out_teacher(model, source, source.ne(PAD), target, num_iterations=1).tokens
    with torch.no_grad():
        again = model(source, decoder_input_ids=first, output_hidden_states=True)
    torch.testing.assert_close(labels.hidden_states, again.decoder_last_hidden_state[target == MASK])
