# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Beam search with a teacher: translations, limits, languages, alternatives, and what is refused."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import M2M100Config, M2M100ForConditionalGeneration, MarianConfig, MarianMTModel, NllbTokenizer

from dims_hf.data.beam_search import (
    Alternative,
    BeamTranslator,
    Sampling,
    TranslatedRow,
    model_fingerprint,
    one_line,
    set_languages,
)
from tests.fixtures.teachers import make_sources


@pytest.fixture(scope="module")
def translator(random_marian: MarianMTModel, tiny_tokenizer: Any) -> BeamTranslator:
    return BeamTranslator(random_marian, tiny_tokenizer, num_beams=3, max_tokens_per_batch=200)


def test_translations_equal_those_of_generate_on_every_sentence_alone(
    random_marian: MarianMTModel, tiny_tokenizer: Any
):
    # In one batch, with a source so long that translations may fill the 64 positions.
    sources = [*make_sources(30), "the dog sees an old cat in this house today"]
    rows = BeamTranslator(random_marian, tiny_tokenizer, num_beams=3)(sources)
    complete = [index for index, row in enumerate(rows) if row.is_complete]
    assert 5 < len(complete) < 25
    assert len({rows[index].text for index in complete}) > 3
    for index in complete:
        inputs = tiny_tokenizer(sources[index], return_tensors="pt")
        (ids,) = random_marian.generate(**inputs, num_beams=3, length_penalty=1.0, max_length=64).tolist()
        assert ids[0] == 0 and ids[-1] == 2
        assert rows[index].text == tiny_tokenizer.decode(ids, skip_special_tokens=True).strip()
        assert rows[index].target_tokens == len(ids) - 2
        assert rows[index].source_tokens == inputs["input_ids"].shape[1] - 2
    assert all(row.target_tokens >= 62 for row in rows if not row.is_complete)


def test_translation_of_no_token_is_complete_and_empty(random_marian: MarianMTModel, tiny_tokenizer: Any):
    ending = copy.deepcopy(random_marian)
    ending.final_logits_bias[0, 2] = 1e4
    (row,) = BeamTranslator(ending, tiny_tokenizer, num_beams=2)(["the dog"])
    assert (row.text, row.target_tokens, row.is_complete) == ("", 0, True)


def test_batches_stay_within_the_budget_with_every_beam_counted(translator: BeamTranslator):
    sizes = dict(enumerate([3, 9, 4, 4, 90, 5, 3]))
    batches = list(translator._batches(sizes))
    assert sorted(row for batch in batches for row in batch) == list(range(7))
    assert batches[0] == [4]  # alone: 3 · 90 is more than 200
    assert batches[1] == [1, 5, 2, 3, 0, 6]  # 3 · 9 · 6 = 162, ties in the order of rows
    assert [len(batch) for batch in batches] == [1, 6]


def test_source_longer_than_the_teacher_takes_is_left_untranslated(translator: BeamTranslator):
    sources = ["the dog", "the dog " * 60, "an old cat"]
    seen = []
    rows = translator(sources, seen.append)
    assert [row.text is None for row in rows] == [False, True, False]
    assert rows[1].source_tokens > 62 and not rows[1].is_complete
    assert sum(seen) == 3
    assert translator.first_too_long(sources) == 1
    assert translator.first_too_long(sources[:1]) is None


def test_source_prefix_is_part_of_every_source(
    random_marian: MarianMTModel, tiny_tokenizer: Any, translator: BeamTranslator
):
    prefixed = BeamTranslator(
        random_marian, tiny_tokenizer, num_beams=3, max_tokens_per_batch=200, source_prefix="the cat "
    )
    assert prefixed(["sees the dog"]) == translator(["the cat sees the dog"])


class NoEnd:
    """A tokenizer that lacks one special token."""

    def __init__(self, name: str):
        self.eos_token_id = self.pad_token_id = 1
        setattr(self, f"{name}_token_id", None)


@pytest.mark.parametrize("name", ["eos", "pad"])
def test_tokenizer_without_a_needed_token_is_refused(name: str, random_marian: MarianMTModel):
    with pytest.raises(ValueError, match=f"The teacher's tokenizer has no {name}_token, .*use another teacher"):
        BeamTranslator(random_marian, NoEnd(name))


def test_model_that_cannot_translate_is_refused(tiny_model: Any, random_marian: MarianMTModel, tiny_tokenizer: Any):
    without_generate = torch.nn.Linear(1, 1)
    without_generate.config = MarianConfig()
    with pytest.raises(ValueError, match="Linear cannot generate translations. Use an autoregressive"):
        BeamTranslator(without_generate, tiny_tokenizer)
    with pytest.raises(
        ValueError, match="CMLMForConditionalGeneration is not autoregressive.*train_autoregressive.py"
    ):
        BeamTranslator(tiny_model, tiny_tokenizer)
    endless = copy.deepcopy(random_marian)
    endless.generation_config.eos_token_id = None
    with pytest.raises(ValueError, match="has no eos_token_id, so no translation would ever end"):
        BeamTranslator(endless, tiny_tokenizer)


@pytest.mark.parametrize("name", ["num_beams", "num_hypotheses", "max_tokens_per_batch"])
def test_number_below_one_is_refused(name: str, random_marian: MarianMTModel, tiny_tokenizer: Any):
    with pytest.raises(ValueError, match=f"{name} must be >= 1, got 0"):
        BeamTranslator(random_marian, tiny_tokenizer, **{name: 0})


def test_settings_change_with_weights_and_search_and_are_json(random_marian: MarianMTModel, tiny_tokenizer: Any):
    def settings(teacher: MarianMTModel = random_marian, **options: Any) -> dict[str, Any]:
        return BeamTranslator(teacher, tiny_tokenizer, **options).settings()

    first = settings()
    assert json.loads(json.dumps(first)) == first == settings()
    assert (first["num_beams"], first["suppress_tokens"], first["dtype"]) == (5, [0, 1, 3, 4], "float32")
    assert first["runtime"] == "torch"
    changed = copy.deepcopy(random_marian)
    with torch.no_grad():
        changed.model.shared.weight[7, 3] += 1e-6
    differing = [
        {key for key, value in other.items() if first[key] != value}
        for other in (settings(changed), settings(num_beams=4), settings(length_penalty=0.6))
    ]
    assert differing == [{"model_fingerprint"}, {"num_beams"}, {"length_penalty"}]
    assert model_fingerprint(random_marian) != model_fingerprint(copy.deepcopy(random_marian).half())


def test_translating_leaves_the_settings_alone(translator: BeamTranslator):
    before = translator.settings()
    translator(["the dog"])
    assert translator.settings() == before


def test_alternatives_are_the_next_best_of_the_same_search(random_marian: MarianMTModel, tiny_tokenizer: Any):
    sources = make_sources(12)
    best = BeamTranslator(random_marian, tiny_tokenizer, num_beams=3)(sources)
    rows = BeamTranslator(random_marian, tiny_tokenizer, num_beams=3, num_hypotheses=3)(sources)
    assert [replace(row, alternatives=()) for row in rows] == best
    assert all(len(row.alternatives) == 2 for row in rows)
    index = next(index for index, row in enumerate(rows) if all(each.is_complete for each in row.alternatives))
    inputs = tiny_tokenizer(sources[index], return_tensors="pt")
    written = random_marian.generate(**inputs, num_beams=3, num_return_sequences=3, length_penalty=1.0, max_length=64)
    expected = [text.strip() for text in tiny_tokenizer.batch_decode(written, skip_special_tokens=True)]
    assert [rows[index].text, *(each.text for each in rows[index].alternatives)] == expected
    assert len(set(expected)) > 1


def test_row_comes_back_from_json():
    plain = TranslatedRow("ein Hund", 2, 3, True)
    assert json.dumps(plain.to_json()) == (
        '{"text": "ein Hund", "source_tokens": 2, "target_tokens": 3, "is_complete": true}'
    )
    for row in (plain, replace(plain, alternatives=(Alternative("der Hund", 3, False),))):
        assert TranslatedRow.from_json(json.loads(json.dumps(row.to_json()))) == row


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 2, "num_hypotheses": 3}, "num_hypotheses=3 needs a beam at least as wide, got num_beams=2"),
        ({"runtime": "onnx"}, "runtime must be one of torch, ctranslate2, got 'onnx'"),
        (
            {"precision": "int8"},
            "computes in the precision of the model, float32. Load it with dtype=int8, or use the",
        ),
    ],
)
def test_search_that_does_not_exist_is_refused(
    options: dict, message: str, random_marian: MarianMTModel, tiny_tokenizer: Any
):
    with pytest.raises(ValueError, match=message):
        BeamTranslator(random_marian, tiny_tokenizer, **options)


# ---- sampling -----------------------------------------------------------------------------------------------------


def test_draws_depend_on_seed_and_sources_alone(random_marian: MarianMTModel, tiny_tokenizer: Any):
    sources = make_sources(20)

    def draw(texts: list[str] = sources, **options: Any) -> list[str | None]:
        sampling = Sampling(**{"top_k": 8, **options})
        translator = BeamTranslator(random_marian, tiny_tokenizer, num_beams=1, sampling=sampling)
        return [row.text for row in translator(texts)]

    first = draw()
    state = torch.random.get_rng_state()
    assert draw() == first
    assert torch.equal(torch.random.get_rng_state(), state)
    assert draw(seed=2) != first
    assert draw(sources[:10]) != first[:10]
    greedy = BeamTranslator(random_marian, tiny_tokenizer, num_beams=1)
    assert draw(top_k=1) == [row.text for row in greedy(sources)] != first


def test_settings_of_sampling_say_all_that_draws_depend_on(random_marian: MarianMTModel, tiny_tokenizer: Any):
    def settings(**options: Any) -> dict[str, Any]:
        return BeamTranslator(random_marian, tiny_tokenizer, num_beams=1, **options).settings()

    drawn = settings(sampling=Sampling(8, 0.7, 3))
    assert {key: drawn[key] for key in ("do_sample", "top_k", "temperature", "seed")} == {
        "do_sample": True,
        "top_k": 8,
        "temperature": 0.7,
        "seed": 3,
    }
    assert not {"top_k", "temperature", "seed"} & set(settings())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k must be >= 1, got 0"),
        ({"top_k": 5, "temperature": 0.0}, "temperature must be above 0"),
        ({"top_k": 5, "temperature": float("nan")}, "temperature must be above 0"),
    ],
)
def test_sampling_out_of_range_is_refused(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Sampling(**options)


def test_sampling_with_a_beam_is_refused(random_marian: MarianMTModel, tiny_tokenizer: Any):
    with pytest.raises(ValueError, match=r"Sampling with top_k=5 has no beam, got num_beams=5\. Set it to 1"):
        BeamTranslator(random_marian, tiny_tokenizer, sampling=Sampling(5))


# ---- languages ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def multilingual() -> NllbTokenizer:
    """NLLB's tokenizer over a handful of words."""
    words = ["<s>", "<pad>", "</s>", "<unk>", *"▁helo"]
    merges = [("▁", "h"), ("e", "l")]
    vocab = {token: index for index, token in enumerate([*words, "▁h", "el"])}
    return NllbTokenizer(vocab=vocab, merges=merges)


def test_multilingual_teacher_is_told_both_languages(multilingual: NllbTokenizer):
    config = M2M100Config(
        vocab_size=len(multilingual), d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=1,
        decoder_attention_heads=1, encoder_ffn_dim=8, decoder_ffn_dim=8, max_position_embeddings=64,
    )  # fmt: skip
    model = M2M100ForConditionalGeneration(config)
    translator = BeamTranslator(model, multilingual, num_beams=2, source_code="fra_Latn", target_code="deu_Latn")
    assert translator.generation_config.forced_bos_token_id == multilingual.convert_tokens_to_ids("deu_Latn")
    assert translator._encode(["hello"])[0][0] == multilingual.convert_tokens_to_ids("fra_Latn")
    settings = translator.settings()
    assert (settings["source_code"], settings["target_code"]) == ("fra_Latn", "deu_Latn")
    first = []
    generate = model.generate
    model.generate = lambda **options: first.append(generate(**options)) or first[0]
    (row,) = translator(["hello"])
    assert first[0][0, 1] == multilingual.convert_tokens_to_ids("deu_Latn")  # after the token that starts decoding
    assert row.source_tokens == 4 and "deu_Latn" not in row.text


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (("eng_Latn", None), "many languages. Set teacher_target_lang to the code"),
        ((None, "deu_Latn"), "many languages. Set teacher_source_lang to the code"),
        (("eng_Latn", "de"), "teacher_target_lang='de' is no language of the teacher's tokenizer"),
    ],
)
def test_language_missing_or_unknown_is_refused(codes: tuple, message: str, multilingual: NllbTokenizer):
    with pytest.raises(ValueError, match=message):
        set_languages(multilingual, *codes)


def test_language_code_for_a_teacher_of_one_pair_is_refused(tiny_tokenizer: Any):
    assert set_languages(tiny_tokenizer, None, None) is None
    with pytest.raises(ValueError, match="has no language codes, got 'deu'"):
        set_languages(tiny_tokenizer, None, "deu")


@pytest.mark.parametrize(("text", "line"), [("", ""), ("\n", ""), ("a\n\n b", "a  b"), ("a\rb ", "a b"), ("a", "a")])
def test_one_line_keeps_everything_but_line_breaks(text: str, line: str):
    assert one_line(text) == line
