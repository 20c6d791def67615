# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""DisCo: who sees whom, contexts in training, easy-first decoding, and a teacher's passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch

from dims_hf import roll_out_teacher
from dims_hf.methods.masks import mix_keys, sample_contexts
from dims_hf.models.masking import rank_by_score, see_surer


pytestmark = pytest.mark.parametrize("family", ["disco"], indirect=True)

PAD, MASK = 1, 4
SOURCE = torch.tensor([[0, 7, 8, 9, 2]])


def test_ranks_and_visibility_are_the_hand_values(make_model: Callable):
    probs = torch.tensor([[0.0, 0.9, 0.4, 0.7, 0.4, 0.0]])
    is_content = torch.tensor([[False, True, True, True, True, False]])
    ranks = rank_by_score(probs.log(), is_content)
    assert ranks.tolist() == [[-1, 0, 2, 1, 3, -1]]
    seen = see_surer(ranks)[0, 1:5, 1:5].long()
    assert seen.tolist() == [[0, 0, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0], [1, 1, 1, 0]]
    assert see_surer(ranks)[0, 1:5, [0, 5]].all()  # the ends are seen by all


def test_contexts_have_uniform_sizes_and_never_the_position_itself(make_model: Callable):
    is_content = torch.tensor([[False, True, True, True, True, False, False]]).expand(4000, -1)
    contexts = sample_contexts(is_content, mix_keys(1, torch.arange(4000)))
    inner = contexts[:, 1:5, 1:5]
    assert not contexts[:, [0, 5, 6]].any() and not contexts[:, :, [0, 5, 6]].any()
    assert not inner.diagonal(dim1=1, dim2=2).any()
    sizes = Counter(inner.sum(2).flatten().tolist())
    assert set(sizes) == {0, 1, 2, 3} and all(abs(count / 16000 - 0.25) < 0.02 for count in sizes.values())
    assert abs(inner[:, 0, 1].float().mean().item() - 0.5) < 0.03
    assert not torch.equal(inner[:, 0, 2], inner[:, 1, 2])  # each position draws for itself


def test_a_token_never_reaches_its_own_prediction(make_model: Callable):
    model = make_model()
    target = torch.tensor([[0, 9, 11, 6, 13, 2]])
    logits = model(SOURCE, decoder_input_ids=target).logits
    for position in range(1, 5):
        changed = target.clone()
        changed[0, position] = 17
        other = model(SOURCE, decoder_input_ids=changed).logits
        assert torch.equal(other[0, position], logits[0, position])
        assert not torch.equal(other, logits)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_only_what_is_visible_matters(make_model: Callable, attention: str):
    model = make_model(attn_implementation=attention)
    target = torch.tensor([[0, 9, 11, 6, 13, 2]])
    visibility = torch.zeros(1, 6, 6, dtype=torch.bool)
    visibility[0, 1, 3] = visibility[0, 2, 4] = True
    logits = model(SOURCE, decoder_input_ids=target, visibility=visibility).logits
    hidden = target.clone()
    hidden[0, [2, 4]] = 17
    other = model(SOURCE, decoder_input_ids=hidden, visibility=visibility).logits
    assert torch.equal(other[0, [0, 1, 3, 4]], logits[0, [0, 1, 3, 4]])
    assert not torch.equal(other[0, 2], logits[0, 2])
    masks = torch.tensor([[0, MASK, 11, MASK, MASK, 2]])
    shown = torch.zeros(1, 6, 6, dtype=torch.bool)
    shown[:, :, 2] = True
    torch.testing.assert_close(
        model(SOURCE, decoder_input_ids=masks).logits[:, [1, 3, 4]],
        model(SOURCE, decoder_input_ids=target, visibility=shown).logits[:, [1, 3, 4]],
    )


def test_attentions_agree_and_padding_has_no_influence(make_model: Callable):
    targets = torch.tensor([[0, 9, MASK, 6, 2, PAD, PAD], [0, MASK, 11, 6, MASK, 8, 2]])
    sources = SOURCE.expand(2, -1)
    eager, sdpa = (
        make_model(attn_implementation=name)(sources, decoder_input_ids=targets) for name in ("eager", "sdpa")
    )
    torch.testing.assert_close(eager.logits, sdpa.logits, atol=2e-5, rtol=1e-5)
    alone = make_model()(SOURCE, decoder_input_ids=targets[:1, :5]).logits
    torch.testing.assert_close(sdpa.logits[:1, :5], alone, atol=2e-5, rtol=1e-5)
    empty = torch.cat([targets[:1], torch.full((1, 7), PAD)])
    assert make_model()(sources, decoder_input_ids=empty).logits.isfinite().all()


def decode_plainly(model, source: torch.Tensor, length: int, num_iterations: int) -> list[int]:
    tokens = torch.tensor([[0, *[MASK] * length, 2]])
    closed = model.suppressed_token_ids()
    visibility, words = None, tokens
    for _ in range(num_iterations):
        options = {} if visibility is None else {"visibility": visibility}
        scores = (
            model(source, decoder_input_ids=words, **options).logits[0].index_fill(1, torch.tensor(closed), -torch.inf)
        )
        best, chosen = scores.log_softmax(-1).max(-1)
        words = tokens.clone()
        words[0, 1:-1] = chosen[1:-1]
        if visibility is None:
            order = best[1:-1].argsort(descending=True, stable=True).tolist()
            visibility = torch.zeros(1, length + 2, length + 2, dtype=torch.bool)
            for rank, position in enumerate(order):
                visibility[0, position + 1, [other + 1 for other in order[:rank]]] = True
    return words[0].tolist()


@pytest.mark.parametrize("num_iterations", [1, 2, 5])
def test_easy_first_equals_a_plain_loop_and_does_not_depend_on_the_batch(
    make_translator: Callable, make_sources: Callable, pad: Callable, num_iterations: int
):
    model = make_translator().double()
    sources = make_sources(5, 5)
    lengths = torch.tensor([3, 6, 2, 1, 5])
    tokens = model.generate(
        pad(sources, side="left"), target_lengths=lengths, num_iterations=num_iterations, collapse_repeats=False
    )
    for row, (source, length) in enumerate(zip(sources, lengths.tolist())):
        assert tokens[row, : length + 2].tolist() == decode_plainly(model, source[None], length, num_iterations)


def test_a_sentence_that_repeats_itself_is_not_computed_again(make_translator: Callable, make_sources, pad):
    model, seen = make_translator().double(), []
    sources = pad(make_sources(2, 6))
    output = model.generate(
        sources, num_iterations=40, output_history=True, return_dict_in_generate=True, callback=seen.append
    )
    assert len(output.history) == 40 and len(seen) < 40 and seen[-1].is_settled
    tokens = [step.token_ids for step in output.history]
    assert torch.equal(tokens[-1], tokens[len(seen) - 1]) and not torch.equal(tokens[0], tokens[-1])


def test_teacher_starts_from_what_is_not_open_and_labels_are_the_last_pass(make_model: Callable):
    model = make_model()
    target = torch.tensor([[0, MASK, 11, MASK, MASK, 2]])
    mask = SOURCE.ne(PAD)
    once = roll_out_teacher(model, SOURCE, mask, target, num_iterations=1)
    with torch.no_grad():
        outputs = model(SOURCE, decoder_input_ids=target, output_hidden_states=True)
    torch.testing.assert_close(once.hidden_states, outputs.decoder_last_hidden_state[target == MASK])
    twice = roll_out_teacher(model, SOURCE, mask, target, num_iterations=2)
    words = once.tokens
    assert torch.equal(twice.history[0], words)
    log_probs = outputs.logits[0].index_fill(1, torch.tensor([0, 1, 2, 4]), -torch.inf).log_softmax(1).amax(1)
    order = sorted((1, 3, 4), key=lambda position: -log_probs[position].item())
    visibility = torch.zeros(1, 6, 6, dtype=torch.bool)
    visibility[0, :, 2] = True
    for rank, position in enumerate(order):
        visibility[0, position, order[:rank]] = True
    with torch.no_grad():
        second = model(SOURCE, decoder_input_ids=words, visibility=visibility, output_hidden_states=True)
    torch.testing.assert_close(twice.hidden_states, second.decoder_last_hidden_state[target == MASK])
    filled = torch.tensor([[0, 9, 11, 6, 13, 2]])
    explicit = roll_out_teacher(model, SOURCE, mask, filled, num_iterations=2, is_open=target == MASK)
    torch.testing.assert_close(explicit.hidden_states, twice.hidden_states)
    assert torch.equal(explicit.tokens, twice.tokens)
    with pytest.raises(ValueError, match="label_mode='frozen' does not exist here"):
        roll_out_teacher(model, SOURCE, mask, target, label_mode="frozen")
