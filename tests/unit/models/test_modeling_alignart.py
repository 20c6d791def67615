# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""AligNART: an alignment in three steps, the aligner of words, one pass whatever the batch, learning."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dims_hf import NATTrainer, NATTrainingArguments, translate
from dims_hf.data.word_alignment import WordAligner, diagonal_prior, grow_links, learn_lexicon
from dims_hf.models.links import assign_greedily, copy_tokens, join_copies, split_links
from tests.fixtures.training import make_arguments


PAD = 1
# t0-s1, t1-s0, t2-{s0, s2}, t3-s2
LINKS = torch.tensor([[0, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]]).bool()


def test_steps_of_an_alignment_are_the_hand_values_and_multiply_to_it():
    padded = torch.zeros(2, 5, 4, dtype=torch.bool)
    padded[0, :4, :3] = LINKS
    padded[1, 0, 3] = True
    steps = split_links(padded)
    assert steps.copies.tolist() == [[2, 1, 2, 0], [0, 0, 0, 1]] and steps.lengths.tolist() == [5, 1]
    assert steps.order.tolist() == [[2, 0, 1, 3, 4], [0, 0, 0, 0, 0]]
    assert steps.is_joined[0].long().tolist() == [0, 0, 0, 1, 0] and not steps.is_joined[1].any()
    token, number, lengths = copy_tokens(steps.copies)
    assert token[0].tolist() == [0, 0, 1, 2, 2] and number[0].tolist() == [0, 1, 0, 0, 1]
    assert lengths.tolist() == [5, 1] and token[1, 0] == 3
    # G · P · D: what places read, joined, is the alignment with each row over its number of links
    sources = torch.eye(4).expand(2, 4, 4)
    placed = sources.gather(1, token.gather(1, steps.order).unsqueeze(2).expand(-1, -1, 4))
    means, num_words = join_copies(placed, steps.is_joined, steps.lengths)
    assert num_words.tolist() == [4, 1]
    torch.testing.assert_close(means[0, :4, :3], LINKS / LINKS.sum(1, keepdim=True))
    assert means[1, 0].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_random_alignments_are_put_together_again(seed: int):
    generator = torch.Generator().manual_seed(seed)
    links = torch.rand(3, 5, 4, generator=generator) < 0.4
    links[:, :, 0] |= ~links.any(2)
    links[0, 3:] = False
    steps = split_links(links)
    token, _, lengths = copy_tokens(steps.copies)
    placed = torch.eye(4).expand(3, 4, 4).gather(1, token.gather(1, steps.order).unsqueeze(2).expand(-1, -1, 4))
    means, num_words = join_copies(placed, steps.is_joined, lengths)
    for row, count in enumerate(num_words.tolist()):
        assert count == (3 if row == 0 else 5)
        assert torch.equal(means[row, :count] > 0, links[row, :count])


def test_every_copy_gets_one_place():
    scores = torch.tensor(
        [[[1.0, 5.0, 0.0], [0.0, 9.0, 1.0], [9.0, 9.0, 9.0]], [[0.0, 1.0, 7.0], [0.0, 1.0, 9.0], [0.0] * 3]]
    )
    assert assign_greedily(scores, torch.tensor([3, 2])).tolist() == [[1, 2, 0], [1, 0, 0]]


def test_dictionary_is_learnt_by_expectation_maximisation():
    # The house / the book / a book: "das" goes with "the", "Buch" with "book".
    source, target = [[1, 2], [1, 3], [4, 3]], [[11, 12], [11, 13], [14, 13]]
    lexicon = learn_lexicon(source, target, num_iterations=20, tension=0.0)
    table = lexicon.look_up(np.array([1, 2, 3, 4]), np.array([11, 12, 13, 14]))
    assert (table.argmax(axis=1) == np.arange(4)).all() and table.max() <= 1
    one = learn_lexicon(source, target, num_iterations=1, tension=0.0)
    # after one step, by hand: "the" occurs with 11 twice and with 12 and 13 once, each sharing alike
    assert one.look_up(np.array([1]), np.array([11, 12, 13]))[:, 0] == pytest.approx([0.5, 0.25, 0.25])
    with pytest.raises(ValueError, match="no pair of sentences"):
        learn_lexicon([[]], [[1]])


def test_prior_prefers_the_diagonal_and_sums_to_one():
    prior = diagonal_prior(3, 3, 4.0)
    assert prior.sum(axis=1) == pytest.approx([1, 1, 1]) and (prior[:, 1:].argmax(axis=1) == np.arange(3)).all()
    assert diagonal_prior(3, 2, 0.0)[:, 1:] == pytest.approx(np.full((2, 3), 0.92 / 3))


def test_links_grow_from_the_intersection_to_their_neighbours():
    links = np.array([[1, 0, 0], [0, 0, 0], [0, 0, 0]], dtype=bool)
    candidates = np.array([[1, 1, 0], [0, 0, 0], [0, 0, 1]], dtype=bool)
    assert grow_links(links, candidates).tolist() == [[True, True, False], [False] * 3, [False] * 3]


@pytest.mark.parametrize("family", ["alignart"], indirect=True)
def test_translations_do_not_depend_on_batch_or_padding(make_model: Callable, make_sources: Callable, pad: Callable):
    model, sources = make_model(max_copies=2, initializer_range=0.3).double(), make_sources(3, 6)
    options = {"return_dict_in_generate": True, "output_scores": True}
    together = model.generate(pad(sources, side="left"), **options)
    assert len({int((row != PAD).sum()) for row in together.sequences}) > 1
    for row, source in enumerate(sources):
        alone = model.generate(source[None], **options)
        width = alone.sequences.shape[1]
        assert torch.equal(together.sequences[row, :width], alone.sequences[0])
        assert (together.sequences[row, width:] == PAD).all()
        torch.testing.assert_close(together.sequences_scores[row], alone.sequences_scores[0])
    for settings in ({"num_iterations": 2}, {"length_beam_size": 2}, {"target_lengths": torch.tensor([3] * 6)}):
        with pytest.raises(ValueError, match="AligNART makes one pass|The alignment decides"):
            model.generate(pad(sources), **settings)


@pytest.mark.parametrize("family", ["alignart"], indirect=True)
def test_every_weight_is_learnt_from_links(make_model: Callable):
    model = make_model(max_copies=3)
    links = torch.zeros(1, 4, 5, dtype=torch.bool)
    links[0, :, 1:4] = LINKS
    labels = torch.tensor([[-100, 9, 11, 6, 13, -100]])
    source = torch.tensor([[0, 7, 8, 9, 2]])
    outputs = model(source, links=links, labels=labels)
    steps = split_links(links)
    copies = -outputs.copy_logits.log_softmax(-1).gather(2, steps.copies.unsqueeze(2)).mean()
    order = -outputs.order_logits.log_softmax(-1).gather(2, steps.order.unsqueeze(2)).mean()
    joints = torch.nn.functional.softplus(torch.where(steps.is_joined, -outputs.join_logits, outputs.join_logits))[
        0, 1:
    ].mean()
    words = -outputs.logits.log_softmax(-1)[0, 1:5].gather(1, labels[0, 1:5, None]).mean()
    torch.testing.assert_close(outputs.loss, words + 0.5 * (copies + order + joints))
    outputs.loss.backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_toy_language_is_aligned_word_by_word_and_translated(toy: SimpleNamespace, tmp_path):
    args = make_arguments(NATTrainingArguments, tmp_path, max_steps=120, learning_rate=5e-3, logging_steps=20)
    torch.manual_seed(0)
    model = copy.deepcopy(toy.models["alignart"])
    trainer = NATTrainer(model, args, train_dataset=toy.train, processing_class=toy.tokenizer)
    batch = trainer.mask(trainer.data_collator([trainer.train_dataset[row] for row in range(10)]), 0)
    assert torch.equal(batch["links"].any(2).sum(1), batch["decoder_attention_mask"].sum(1) - 2)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < 0.7 * losses[0]
    texts = [each.text for each in translate(model.eval(), toy.tokenizer, list(toy.valid_text["source"]))]
    found = sum(len(set(a.split()) & set(b.split())) for a, b in zip(texts, toy.valid_text["target"]))
    assert found > 10, texts


def test_aligner_links_the_words_of_a_small_dictionary():
    generator = np.random.default_rng(0)
    source = [generator.integers(0, 12, generator.integers(2, 7)).tolist() for _ in range(200)]
    target = [[word + 20 for word in row[::-1]] for row in source]  # the other way round
    aligner = WordAligner(source, target, tension=0.0, num_iterations=8)
    links = aligner.align([3, 5, 7], [27, 25, 23])
    assert links.tolist() == [[False, False, True], [False, True, False], [True, False, False]]
    assert aligner.align([], [21]).shape == (1, 0)
