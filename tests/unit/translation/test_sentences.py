# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Order, batches, repeats and refusals of `translate`."""

from __future__ import annotations

import random

import pytest
import torch

from dims_hf.translation import translate, translate_timed
from dims_hf.translation.batching import batches_by_budget
from dims_hf.translation.sentences import collapse
from dims_hf.translation.torch_runtime import evaluation_mode


@pytest.mark.parametrize(
    ("token_ids", "expected"),
    [((), ()), ((7,), (7,)), ((7, 7), (7,)), ((7, 7, 7, 8, 7), (7, 8, 7)), ((7, 8, 9), (7, 8, 9))],
)
def test_collapse_known_rows_keeps_one_of_each_run(token_ids, expected):
    assert collapse(token_ids) == expected


@pytest.mark.parametrize(
    ("sizes", "budget", "expected"),
    [
        ([], 10, []),
        ([3, 9, 4, 5], 10, [[1], [3, 2], [0]]),  # 9 alone; 5 and 4 in rows of 5; 3
        ([50, 1], 10, [[0], [1]]),  # longer than the budget: alone
        ([2, 2, 2, 2, 2], 4, [[0, 1], [2, 3], [4]]),
    ],
)
def test_batches_by_budget_known_sizes_fill_the_budget(sizes, budget, expected):
    assert list(batches_by_budget(sizes, budget)) == expected


def test_batches_by_budget_random_sizes_cover_each_row_once_within_the_budget():
    generator = random.Random(0)
    sizes = [generator.randint(1, 40) for _ in range(200)]
    batches = list(batches_by_budget(sizes, 100))
    assert sorted(index for batch in batches for index in batch) == list(range(200))
    assert all(len(batch) * max(sizes[index] for index in batch) <= 100 for batch in batches)


def test_batches_by_budget_zero_budget_is_refused():
    with pytest.raises(ValueError, match=r"max_tokens_per_batch must be >= 1, got 0\."):
        list(batches_by_budget([1], 0))


def test_translate_sources_of_many_lengths_come_back_in_order(echo_model, word_tokenizer, sources):
    translations = translate(echo_model, word_tokenizer, sources, max_tokens_per_batch=12)
    assert [translation.text for translation in translations] == sources
    assert len(echo_model.calls) > 2


@pytest.mark.parametrize("budget", [1, 13, 40, 4096])
def test_translate_any_budget_and_order_gives_the_same_sentences(echo_model, word_tokenizer, sources, budget):
    expected = dict(zip(sources, translate(echo_model, word_tokenizer, sources), strict=True))
    shuffled = random.Random(budget).sample(sources, len(sources))
    for source, got in zip(
        shuffled, translate(echo_model, word_tokenizer, shuffled, max_tokens_per_batch=budget), strict=True
    ):
        assert got == expected[source]


@pytest.mark.parametrize("collapse_repeats", [True, False])
def test_translate_repeat_in_the_output_is_collapsed_only_when_asked(
    echo_model, word_tokenizer, sources, collapse_repeats
):
    source = sources[0]
    content = tuple(word_tokenizer(source)["input_ids"][1:-1])
    (got,) = translate(echo_model, word_tokenizer, [source], collapse_repeats=collapse_repeats)
    assert got.raw_token_ids == (content[0], *content)
    assert got.raw_text == "the " + source
    assert got.token_ids == (content if collapse_repeats else got.raw_token_ids)
    assert got.text == (source if collapse_repeats else got.raw_text)
    assert got.score == pytest.approx(-(sum(content) + content[0] + 2) / (len(content) + 3))


def test_translate_settings_reach_generate_and_none_does_not(echo_model, word_tokenizer, sources):
    translate(echo_model, word_tokenizer, sources[:1], num_iterations=3, length_beam_size=None)
    assert (echo_model.calls[0]["num_iterations"], echo_model.calls[0]["length_beam_size"]) == (3, 1)
    with pytest.raises(TypeError, match="no_such_option"):
        translate(echo_model, word_tokenizer, sources[:1], no_such_option=1)


def test_translate_length_candidates_count_in_the_budget(echo_model, word_tokenizer):
    for beam, rows in ((1, 4), (2, 2)):
        translate(echo_model, word_tokenizer, ["a cat"] * 4, length_beam_size=beam, max_tokens_per_batch=16)
        assert echo_model.calls[-1]["shape"] == (rows, 4)


def test_translate_target_lengths_follow_their_sentences(echo_model, word_tokenizer, sources):
    lengths = [7, 2, 7, 5, 4, 5]
    translate(echo_model, word_tokenizer, sources, target_lengths=lengths, max_tokens_per_batch=1)
    got = [call["target_lengths"] for call in echo_model.calls]
    by_size = sorted(range(6), key=lambda row: -max(len(word_tokenizer(sources[row])["input_ids"]), lengths[row] + 2))
    assert got == [[lengths[row]] for row in by_size]


def test_translate_training_mode_is_restored_and_generate_runs_without_it(echo_model, word_tokenizer, sources):
    echo_model.frozen = torch.nn.Dropout().eval()
    echo_model.training = True
    translate(echo_model, word_tokenizer, sources)
    assert not echo_model.calls[0]["training"] and echo_model.calls[0]["inference"]
    assert echo_model.training and not echo_model.frozen.training


def test_evaluation_mode_error_inside_restores_training_mode(echo_model):
    echo_model.train()
    with pytest.raises(RuntimeError), evaluation_mode(echo_model):
        raise RuntimeError
    assert echo_model.training


def test_translate_timed_counts_sentences_and_batches(echo_model, word_tokenizer, sources):
    _, timing = translate_timed(echo_model, word_tokenizer, sources, max_tokens_per_batch=1)
    assert (timing.num_sentences, timing.num_batches, timing.sentences_per_batch) == (6, 6, 1.0)
    assert timing.milliseconds_per_sentence == pytest.approx(1000 * timing.seconds / 6)
    assert timing.seconds > 0


def test_translate_no_sources_gives_no_translations(echo_model, word_tokenizer):
    assert translate(echo_model, word_tokenizer, []) == []
    assert echo_model.calls == []


@pytest.mark.parametrize("blank", ["", "  \t", "\u200b", "\ufeff\u00ad"])
def test_translate_blank_source_stays_empty_or_is_refused_with_its_row(echo_model, word_tokenizer, blank):
    got = translate(echo_model, word_tokenizer, ["a cat", blank, "a dog"])
    assert [(each.text, each.left_out) for each in got] == [("a cat", None), ("", "blank"), ("a dog", None)]
    with pytest.raises(ValueError, match=r"sources\[1\] is blank: "):
        translate(echo_model, word_tokenizer, ["a cat", blank], on_blank="error")


def test_translate_nothing_but_blanks_needs_no_model(echo_model, word_tokenizer):
    assert [each.text for each in translate(echo_model, word_tokenizer, ["", " "])] == ["", ""]
    assert echo_model.calls == []


def test_translate_policies_for_overlong_sources(echo_model, word_tokenizer):
    echo_model.config.max_position_embeddings = 5
    long = "a cat . a dog . a cat"  # 8 words, 10 tokens
    texts = {}
    for policy in ("truncate", "split", "skip"):
        first, got, last = translate(echo_model, word_tokenizer, ["a dog", long, "a cat"], on_long=policy)
        assert (first.text, last.text) == ("a dog", "a cat")
        texts[policy] = got
    assert (texts["truncate"].text, texts["truncate"].num_pieces) == ("a cat .", 1)
    assert (texts["split"].text, texts["split"].num_pieces) == (long, 3)
    assert (texts["skip"].text, texts["skip"].left_out, texts["skip"].num_pieces) == ("", "long", 0)


def test_translate_split_score_is_that_of_all_tokens(echo_model, word_tokenizer):
    echo_model.config.max_position_embeddings = 5
    whole = translate(echo_model, word_tokenizer, ["a cat . a dog"], on_long="split")[0]
    parts = translate(echo_model, word_tokenizer, ["a cat .", "a dog"])
    sizes = [len(part.raw_token_ids) + 2 for part in parts]
    assert whole.score == pytest.approx(sum(n * part.score for n, part in zip(sizes, parts)) / sum(sizes))
    with pytest.raises(ValueError, match="target_lengths has one length for all its pieces"):
        translate(echo_model, word_tokenizer, ["a cat . a dog"], on_long="split", target_lengths=[4])


@pytest.mark.parametrize(("policy", "value"), [("on_blank", "drop"), ("on_long", "wrap")])
def test_translate_unknown_policy_is_refused(echo_model, word_tokenizer, policy, value):
    with pytest.raises(ValueError, match=f"{policy} must be one of .*, got '{value}'"):
        translate(echo_model, word_tokenizer, ["a cat"], **{policy: value})


def test_translate_takes_tuples_generators_and_columns(echo_model, word_tokenizer):
    datasets = pytest.importorskip("datasets")
    column = datasets.Dataset.from_dict({"en": ["a cat", "a dog"]})["en"]
    for sources in (("a cat", "a dog"), iter(["a cat", "a dog"]), column):
        assert [each.text for each in translate(echo_model, word_tokenizer, sources)] == ["a cat", "a dog"]


@pytest.mark.parametrize("bad", [None, 3, b"a cat", "a \ud800 cat"])
def test_translate_what_is_no_text_is_refused_with_its_row(echo_model, word_tokenizer, bad):
    with pytest.raises(ValueError, match=r"sources\[1\] "):
        translate(echo_model, word_tokenizer, ["a cat", bad])


def test_translate_one_string_is_refused(echo_model, word_tokenizer):
    with pytest.raises(ValueError, match="one string. Pass a list"):
        translate(echo_model, word_tokenizer, "a cat")


def test_translate_source_longer_than_the_position_table_is_refused_with_its_row(echo_model, word_tokenizer):
    echo_model.config.max_position_embeddings = 4
    assert translate(echo_model, word_tokenizer, ["a cat"])[0].text == "a cat"
    with pytest.raises(ValueError, match=r"sources\[1\] has 5 tokens, the model takes at most 4"):
        translate(echo_model, word_tokenizer, ["a cat", "a cat ."])


def test_translate_wrong_number_of_target_lengths_is_refused(echo_model, word_tokenizer):
    with pytest.raises(ValueError, match="target_lengths has 1 entries for 2 sources"):
        translate(echo_model, word_tokenizer, ["a cat", "a dog"], target_lengths=[2])


@pytest.mark.parametrize("budget", [12, 4096])
def test_translate_real_model_gives_the_same_whatever_the_batch(tiny_model, tiny_tokenizer, sources, budget):
    alone = [translate(tiny_model, tiny_tokenizer, [source], num_iterations=3)[0] for source in sources]
    together = translate(tiny_model, tiny_tokenizer, sources, num_iterations=3, max_tokens_per_batch=budget)
    assert [got.raw_token_ids for got in together] == [want.raw_token_ids for want in alone]
    assert [got.score for got in together] == pytest.approx([want.score for want in alone], abs=1e-5)


def test_translate_real_model_writes_the_lengths_it_is_given(tiny_model, tiny_tokenizer, sources):
    lengths = [3, 9, 1, 4, 2, 5]
    translations = translate(tiny_model, tiny_tokenizer, sources, target_lengths=lengths, num_iterations=2)
    assert [len(translation.raw_token_ids) for translation in translations] == lengths


def test_translate_with_an_imputer_gives_its_own_output_and_reads_half_as_much(tiny_imputer, tiny_tokenizer, sources):
    translations = translate(tiny_imputer, tiny_tokenizer, sources, num_iterations=4, max_tokens_per_batch=30)
    for source, translation in zip(sources, translations, strict=True):
        ids = tiny_imputer.generate(**tiny_tokenizer(source, return_tensors="pt"), num_iterations=4)[0]
        assert [0, *translation.token_ids, 2] == ids.tolist() and translation.raw_token_ids == translation.token_ids
        assert translation.text == tiny_tokenizer.decode(ids, skip_special_tokens=True).strip()
    with pytest.raises(ValueError, match=r"sources\[0\] has \d+ tokens, the model takes at most 32"):
        translate(tiny_imputer, tiny_tokenizer, ["a cat " * 20])
    with pytest.raises(ValueError, match="Leave out target_lengths"):
        translate(tiny_imputer, tiny_tokenizer, ["a cat"], target_lengths=[2])
    with pytest.raises(ValueError, match="Leave length_beam_size out"):
        translate(tiny_imputer, tiny_tokenizer, ["a cat"], length_beam_size=3)


def test_translate_an_empty_result_is_an_empty_text(tiny_imputer, tiny_tokenizer):
    tiny_imputer.suppressed_token_ids = lambda: [id for id in range(len(tiny_tokenizer)) if id != 5]  # the blank
    (translation,) = translate(tiny_imputer, tiny_tokenizer, ["a cat"], num_iterations=2)
    assert (translation.text, translation.token_ids, translation.score) == ("", (), 0.0)


def test_translate_collapses_repeats_where_the_model_does(echo_model, word_tokenizer, sources):
    assert translate(echo_model, word_tokenizer, sources)[0].text == sources[0]
    kept = translate(echo_model, word_tokenizer, sources, collapse_repeats=False)[0]
    assert kept.text == kept.raw_text != sources[0]
