# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Models that edit: tensor operations, decoding beside a plain loop, independence of the batch, phrases, training."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from dims_hf import NATTrainer, NATTrainingArguments
from dims_hf.methods.base import Run
from dims_hf.methods.insertion import weigh_words
from dims_hf.methods.masks import mix_keys, sample_kept
from dims_hf.models.editing import count_gaps, delete_tokens, limit_counts, open_gaps
from tests.fixtures.training import make_arguments


PAD, MASK = 1, 4
BOTH = ["levenshtein", "insertion"]
for_both = pytest.mark.parametrize("family", BOTH, indirect=True)
for_levenshtein = pytest.mark.parametrize("family", ["levenshtein"], indirect=True)


def test_tokens_are_deleted_and_gaps_opened():
    tokens = torch.tensor([[0, 5, 6, 7, 2], [0, 8, 2, PAD, PAD]])
    is_deleted = torch.tensor([[False, True, False, True, False], [False, False, False, False, False]])
    kept, scores = delete_tokens(is_deleted, (tokens, PAD), (tokens.float(), 0.0))
    assert kept.tolist() == [[0, 6, 2, PAD, PAD], [0, 8, 2, PAD, PAD]]
    assert scores.tolist() == [[0, 6, 2, 0, 0], [0, 8, 2, 1, 1]]  # padding is what it was
    counts = torch.tensor([[2, 0, 0, 0], [0, 1, 0, 0]])
    opened, is_new, lengths = open_gaps(counts, torch.tensor([3, 3]), (kept, PAD))
    assert opened.tolist() == [[0, PAD, PAD, 6, 2], [0, 8, PAD, 2, PAD]]
    assert is_new.tolist() == [[False, True, True, False, False], [False, False, True, False, False]]
    assert lengths.tolist() == [5, 4]
    assert limit_counts(torch.tensor([[2, 3, 1]]), torch.tensor([4])).tolist() == [[2, 2, 0]]
    assert limit_counts(torch.tensor([[2, 3, 1]]), torch.tensor([-1])).tolist() == [[0, 0, 0]]


def test_missing_tokens_are_counted_in_the_gaps_of_what_stays():
    is_token = torch.tensor([[True] * 6, [True, True, True, False, False, False]])
    is_kept = torch.tensor([[True, False, True, False, False, True], [True, False, True, False, False, False]])
    counts, gap = count_gaps(is_kept, is_token)
    assert counts.tolist() == [[1, 2, 0, 0, 0], [1, 0, 0, 0, 0]]
    assert gap[0].tolist() == [0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize(
    ("length", "expected"), [(3, [0.211942, 0.576117, 0.211942]), (4, [0.134471, 0.365529, 0.365529, 0.134471])]
)
def test_middle_words_weigh_most(length: int, expected: list[float]):
    counts = torch.tensor([length, 0])
    weights = weigh_words(counts, torch.arange(5), 1.0)
    assert weights[0, :length].tolist() == pytest.approx(expected, abs=1e-6)
    assert not weights[0, length:].any() and not weights[1].any()
    assert weigh_words(counts, torch.arange(5), None)[0, :length].tolist() == pytest.approx([1 / length] * length)


@pytest.mark.parametrize("keeps_all", [False, True])
def test_number_of_tokens_that_stay_is_uniform(keeps_all: bool):
    is_content = torch.tensor([[False, True, True, True, False]]).expand(3000, -1)
    kept = sample_kept(is_content, mix_keys(5, torch.arange(3000)), keeps_all=keeps_all)
    assert not kept[:, [0, 4]].any()
    numbers = kept.sum(1).bincount(minlength=4).tolist()
    sizes = 4 if keeps_all else 3
    assert all(abs(number / 3000 - 1 / sizes) < 0.03 for number in numbers[:sizes]) and sum(numbers[sizes:]) == 0


@torch.no_grad()
def edit_plainly(model, source: torch.Tensor, num_iterations: int, limit: int) -> list[int]:
    """One sentence, one step at a time."""
    closed = [0, 2, MASK] + ([1] if model.config.model_type == "levenshtein" else [])
    row = [0, 2]

    def look(tokens: list[int], **options):
        return model(source[None], decoder_input_ids=torch.tensor([tokens]), **options)

    for iteration in range(num_iterations):
        before = list(row)
        if model.config.model_type == "insertion":
            logits = look(row).logits[0].index_fill(1, torch.tensor(closed), -torch.inf)
            words, grown = logits.argmax(1).tolist(), [row[0]]
            room = limit - len(row)
            for word, token in zip(words, row[1:]):
                if word != PAD and room > 0:
                    grown.append(word)
                    room -= 1
                grown.append(token)
            row = grown
        else:
            if iteration:
                flags = look(row, return_edit_logits=True).deletion_logits[0].argmax(1).tolist()
                row = [0, *(token for token, flag in zip(row[1:-1], flags[1:-1]) if not flag), 2]
            counts = look(row, return_edit_logits=True).insertion_logits[0].argmax(1).tolist()
            grown, room = [0], limit - len(row)
            for count, token in zip(counts, row[1:]):
                count = min(count, room)
                room -= count
                grown += [MASK] * count + [token]
            logits = look(grown).logits[0].index_fill(1, torch.tensor(closed), -torch.inf)
            row = [int(best) if token == MASK else token for token, best in zip(grown, logits.argmax(1))]
        if row == before:
            break
    return row


@for_both
def test_decoding_equals_a_plain_loop_and_does_not_depend_on_the_batch(
    make_translator: Callable, make_sources: Callable, pad: Callable, family: str
):
    options = {"max_insertions": 3} if family == "levenshtein" else {}
    for seed in range(3):
        model = make_translator(seed, **options).double()
        sources = make_sources(seed, 6)
        settings = {"num_iterations": 4, "max_length_ratio": 2.0, "empty_gap_penalty": 0.0}
        together = model.generate(
            pad(sources, side="left"), return_dict_in_generate=True, output_history=True, **settings
        )
        assert not (together.sequences == MASK).any() and len(together.history) == 4
        for row, source in enumerate(sources):
            expected = edit_plainly(model, source, 4, 2 * len(source))
            tokens = together.sequences[row]
            assert tokens[tokens != PAD].tolist() == expected
            alone = model.generate(source[None], return_dict_in_generate=True, **settings)
            torch.testing.assert_close(together.sequences_scores[row], alone.sequences_scores[0])


@for_both
def test_given_phrases_stay_whole(make_translator: Callable, family: str):
    model = make_translator(1, **({"max_insertions": 3} if family == "levenshtein" else {}))
    source = torch.tensor([[0, 7, 8, 9, 2], [0, 6, 2, PAD, PAD]])
    tokens = model.generate(source, forced_phrases=[[[11, 12, 13], [17]], []], empty_gap_penalty=1.0)
    row = [int(token) for token in tokens[0]]
    place = row.index(11)
    assert row[place : place + 3] == [11, 12, 13] and 17 in row[place + 3 :]


@for_both
def test_a_larger_penalty_of_nothing_gives_longer_translations(make_translator: Callable, make_sources, pad, family):
    model = make_translator(2, **({"max_insertions": 4} if family == "levenshtein" else {}))
    sources = pad(make_sources(0, 8))
    with torch.no_grad():  # every count, and every word, is as likely as nothing
        for weight in (model.insertion_head if family == "levenshtein" else model.gap_projection).parameters():
            weight.zero_()
    assert model.generate(sources).tolist() == [[0, 2]] * 8
    assert (model.generate(sources, empty_gap_penalty=1.0, num_iterations=3) != PAD).sum(1).min() > 2
    for settings, message in (
        ({"length_beam_size": 2}, "Edits decide how long"),
        ({"target_lengths": torch.tensor([3] * 8)}, "Edits decide"),
        ({"max_tokens": 0}, "max_tokens must be an integer >= 1"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            model.generate(sources, **settings)


@for_levenshtein
def test_loss_is_the_sum_of_the_means_of_its_labels(make_model: Callable, family: str):
    model, target = make_model(max_insertions=3), torch.tensor([[0, 9, MASK, 2]])
    labels = {
        "labels": torch.tensor([[-100, -100, 8, -100]]), "deletion_labels": torch.tensor([[-100, 1, 0, -100]]),
        "insertion_labels": torch.tensor([[0, 2, 3]]),
    }  # fmt: skip
    source = torch.tensor([[0, 7, 2]])
    outputs = model(source, decoder_input_ids=target, **labels)
    words = -outputs.logits.log_softmax(-1)[0, 2, 8]
    deletions = -outputs.deletion_logits.log_softmax(-1)[0, [1, 2], [1, 0]].mean()
    insertions = -outputs.insertion_logits.log_softmax(-1)[0, [0, 1, 2], [0, 2, 3]].mean()
    torch.testing.assert_close(outputs.loss, words + deletions + insertions)
    outputs.loss.backward()
    assert all(weight.grad is not None for weight in model.parameters())


@pytest.mark.parametrize("family", BOTH)
def test_training_labels_are_those_of_the_target(family: str, toy: SimpleNamespace, tmp_path):
    args = make_arguments(NATTrainingArguments, tmp_path)
    trainer = NATTrainer(
        copy.deepcopy(toy.models[family]), args, train_dataset=toy.train, processing_class=toy.tokenizer
    )
    batch = trainer.mask(trainer.data_collator([trainer.train_dataset[row] for row in range(12)]), 3)
    method = trainer.method
    targets, is_kept = batch["decoder_input_ids"], batch["is_kept"]
    if family == "insertion":
        rows = [row[kept].tolist() for row, kept in zip(targets, is_kept)]
        is_gap = torch.zeros(len(rows), targets.shape[1] - 1, dtype=torch.bool)
        for row, tokens in enumerate(rows):
            is_gap[row, : len(tokens) - 1] = True
        words, weights = method.find_words(batch, is_gap)
        torch.testing.assert_close(weights.sum(1), torch.ones(len(words)))
        index = 0
        for row, tokens in enumerate(rows):
            full, rebuilt = targets[row][targets[row] != PAD].tolist(), [tokens[0]]
            for token in tokens[1:]:
                rebuilt += [word for word in words[index].tolist() if word != PAD] + [token]
                index += 1
            assert rebuilt == full
        assert index == len(words) and method.count(batch) == {"targets": len(rows)}
        return
    filled = targets.clone()
    filled[0, 1] = 20 if int(targets[0, 1]) != 20 else 21
    labels = method.find_deletions(filled, targets, batch["decoder_attention_mask"])
    assert labels[0, 1] == 1 and int((labels == 1).sum()) == 1
    assert ((labels == -100) == ((targets == 0) | (targets == 2) | (targets == PAD))).all()


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 20])
def test_a_perfect_tree_takes_the_logarithm_of_the_length_in_passes(length: int):
    spans, passes = [length], 0
    while spans:  # each gap gets its middle word
        spans = [part for span in spans for part in ((span - 1) // 2, span - 1 - (span - 1) // 2) if part]
        passes += 1
    assert passes == math.floor(math.log2(length)) + 1


def test_insertion_loss_is_a_mean_over_the_gaps_of_each_target(toy: SimpleNamespace, tmp_path):
    args = make_arguments(NATTrainingArguments, tmp_path)
    model = copy.deepcopy(toy.models["insertion"])
    trainer = NATTrainer(model, args, train_dataset=toy.train, processing_class=toy.tokenizer)
    method = trainer.method

    def loss_of(rows: list[int]) -> torch.Tensor:
        batch = trainer.mask(trainer.data_collator([trainer.train_dataset[row] for row in rows]), 3)
        with torch.no_grad():
            return method.loss(Run.of(model.eval()), batch, method.count(batch)).total

    rows = list(range(6))
    alone = torch.stack([loss_of([row]) for row in rows])
    torch.testing.assert_close(loss_of(rows), alone.mean())
    # by hand: the log-probability of each gap's words with their weights, over the gaps of the target
    batch = trainer.mask(trainer.data_collator([trainer.train_dataset[rows[0]]]), 3)
    target, kept = batch["decoder_input_ids"][0], batch["is_kept"][0]
    with torch.no_grad():
        log_probs = model(batch["input_ids"], decoder_input_ids=target[kept][None]).logits[0].log_softmax(-1)
    is_gap = torch.arange(len(target) - 1)[None] < kept.sum() - 1
    words, weights = method.find_words(batch, is_gap)
    expected = -(log_probs[:-1].gather(1, words) * weights).sum(1).mean()
    torch.testing.assert_close(alone[0], expected)
