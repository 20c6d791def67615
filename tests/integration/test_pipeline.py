# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`pipeline("translation")`: by path and by object, equal to `generate()`, shapes of the answers, refusals."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, pipeline

from dims_hf import NATTranslationPipeline
from dims_hf.cli.main import main
from dims_hf.data import train_tokenizer
from dims_hf.evaluation.everyday import find_addresses
from dims_hf.models.copied_text import PLACEHOLDERS
from dims_hf.translation import translate as translate_all


TEXTS = ["the small dog sees the old cat .", "a cat", "der Hund schläft heute im Haus .", "the house today", "a dog ."]


@pytest.fixture
def translate(tiny: SimpleNamespace) -> NATTranslationPipeline:
    return pipeline("translation", model=tiny.model, tokenizer=tiny.tokenizer)


def _generated(tiny: SimpleNamespace, text: str, **kwargs: Any) -> list[str]:
    ids = tiny.model.generate(**tiny.tokenizer(text, return_tensors="pt"), **kwargs)
    return tiny.tokenizer.batch_decode(ids, skip_special_tokens=True)


def _texts(results: list[dict]) -> list[str]:
    assert all(set(entry) == {"translation_text", "score"} for entry in results)
    return [entry["translation_text"] for entry in results]


def test_checkpoint_of_these_tests_translates_texts_differently(tiny: SimpleNamespace):
    """Else the comparisons below would hold for any pipeline."""
    once, thrice = ([_generated(tiny, text, num_iterations=n)[0] for text in TEXTS] for n in (1, 3))
    assert len(set(thrice)) == len(TEXTS)
    assert once != thrice


@pytest.mark.parametrize("task", ["translation", "translation_en_to_de"])
def test_pipeline_by_path_translates_as_generate(tiny: SimpleNamespace, task: str):
    translate = pipeline(task, model=str(tiny.folder))
    assert isinstance(translate, NATTranslationPipeline)
    assert type(translate.model) is type(tiny.model)
    assert _texts(translate(TEXTS)) == [_generated(tiny, text)[0] for text in TEXTS]


@pytest.mark.parametrize("name", ["tiny_cmlmc", "tiny_imputer"])
def test_pipeline_of_other_families_translates_as_generate_whatever_the_batch(
    name: str, request: pytest.FixtureRequest
):
    other = request.getfixturevalue(name)
    for model in (str(other.folder), other.model):
        translate = pipeline("translation", model=model, tokenizer=other.tokenizer)
        expected = [_generated(other, text)[0] for text in TEXTS]
        assert len(set(expected)) > 2
        assert _texts(translate(TEXTS)) == _texts(translate(TEXTS, batch_size=4)) == expected


def test_pipeline_by_object_translates_as_generate(tiny: SimpleNamespace, translate: NATTranslationPipeline):
    assert translate.model is tiny.model
    assert _texts(translate(TEXTS)) == [_generated(tiny, text)[0] for text in TEXTS]


def test_pipeline_with_trust_and_package_uses_the_package(tiny: SimpleNamespace):
    translate = pipeline("translation", model=str(tiny.folder), trust_remote_code=True)
    assert type(translate) is NATTranslationPipeline
    assert type(translate.model) is type(tiny.model)


def test_pipeline_defaults_come_from_the_generation_config(tiny: SimpleNamespace, translate: NATTranslationPipeline):
    assert tiny.model.generation_config.num_iterations == 3
    assert _texts(translate(TEXTS)) == [_generated(tiny, text, num_iterations=3)[0] for text in TEXTS]
    assert pipeline("translation", model=str(tiny.folder)).model.generation_config.num_iterations == 3


@pytest.mark.parametrize(
    "settings",
    [
        {"num_iterations": 1},
        {"num_iterations": 2, "length_beam_size": 3, "collapse_repeats": False},
        {"generation_config": GenerationConfig(num_iterations=2, length_beam_size=3)},
    ],
    ids=["one", "beam", "config"],
)
@pytest.mark.parametrize("given_when", ["made", "called"])
def test_pipeline_passes_settings_to_generate(tiny: SimpleNamespace, settings: dict[str, Any], given_when: str):
    made, called = (settings, {}) if given_when == "made" else ({}, settings)
    translate = pipeline("translation", model=tiny.model, tokenizer=tiny.tokenizer, **made)
    assert _texts(translate(TEXTS, **called)) == [_generated(tiny, text, **settings)[0] for text in TEXTS]


def test_setting_of_the_call_wins_over_that_of_the_pipeline(tiny: SimpleNamespace):
    translate = pipeline("translation", model=tiny.model, tokenizer=tiny.tokenizer, num_iterations=5)
    assert _texts(translate(TEXTS, num_iterations=1)) == [
        _generated(tiny, text, num_iterations=1)[0] for text in TEXTS
    ]


def test_settings_of_autoregressive_decoding_pass_where_they_change_nothing(
    tiny: SimpleNamespace, translate: NATTranslationPipeline
):
    config = GenerationConfig(num_beams=1, max_new_tokens=60, num_iterations=3)
    assert translate(TEXTS, generation_config=config) == translate(TEXTS)
    assert translate(TEXTS, num_beams=1, use_cache=True, max_length=512) == translate(TEXTS)
    with pytest.raises(ValueError, match="does not know num_beams=4.*length_beam_size"):
        translate(TEXTS, generation_config=GenerationConfig(num_beams=4))


def test_config_that_asks_generate_for_a_dict_still_gives_texts(translate: NATTranslationPipeline):
    config = GenerationConfig(num_iterations=3, return_dict_in_generate=True, output_scores=True)
    assert translate(TEXTS, generation_config=config) == translate(TEXTS)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_batched_translations_equal_single_ones_in_order(translate: NATTranslationPipeline, batch_size: int):
    assert translate(TEXTS, batch_size=batch_size) == [translate(text)[0] for text in TEXTS]


def test_one_text_gives_a_list_of_one(translate: NATTranslationPipeline):
    (entry,) = translate("a cat")
    assert isinstance(entry["translation_text"], str)


def test_no_texts_give_no_translations(translate: NATTranslationPipeline):
    assert translate([]) == []


def test_generator_of_texts_streams_translations(translate: NATTranslationPipeline):
    stream = translate(text for text in TEXTS)
    assert [entry for candidates in stream for entry in candidates] == translate(TEXTS)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_candidates_of_one_text_are_flat_and_of_texts_nested(
    tiny: SimpleNamespace, translate: NATTranslationPipeline, batch_size: int
):
    settings = {"length_beam_size": 4, "num_return_sequences": 3}
    assert _texts(translate(TEXTS[0], **settings)) == _generated(tiny, TEXTS[0], **settings)
    nested = translate(TEXTS, batch_size=batch_size, **settings)
    assert [_texts(candidates) for candidates in nested] == [_generated(tiny, text, **settings) for text in TEXTS]


def test_return_tensors_gives_token_ids(tiny: SimpleNamespace, translate: NATTranslationPipeline):
    (entry,) = translate("a cat", return_tensors=True)
    ids = tiny.model.generate(**tiny.tokenizer("a cat", return_tensors="pt"))[0]
    assert torch.equal(entry["translation_token_ids"], ids)


def test_long_text_is_refused_or_cut_by_truncation(
    tiny: SimpleNamespace, translate: NATTranslationPipeline, monkeypatch: pytest.MonkeyPatch
):
    long_text = "the small dog sees the old cat . " * 12
    with pytest.raises(ValueError, match=r"Text 0 has \d+ tokens, the model takes at most 48 .*position table"):
        translate(long_text)
    monkeypatch.setattr(tiny.tokenizer, "model_max_length", 48)
    (entry,) = translate(long_text, truncation=True, return_tensors=True)
    cut = tiny.tokenizer(long_text, truncation=True, max_length=48, return_tensors="pt")
    assert cut.input_ids.shape == (1, 48)
    assert torch.equal(entry["translation_token_ids"], tiny.model.generate(**cut)[0])


@pytest.mark.parametrize("text", ["", "   ", "\n", "\u200b"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_blank_text_stays_blank_and_loses_no_other(translate: NATTranslationPipeline, text: str, batch_size: int):
    blank = {"translation_text": "", "score": None}
    expected = [translate("a cat")[0], blank, translate(TEXTS[0])[0]]
    assert translate(["a cat", text, TEXTS[0]], batch_size=batch_size) == expected
    assert translate(text) == [blank]
    with pytest.raises(ValueError, match=r"Text 1 is blank: .*on_blank='keep'"):
        translate(["a cat", text], on_blank="error")


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_long_text_is_split_or_skipped_as_its_policy_says(translate: NATTranslationPipeline, batch_size: int):
    sentence = TEXTS[0]
    texts = ["a cat", " ".join([sentence] * 12), TEXTS[2]]
    one = translate(sentence)[0]
    assert one["translation_text"]
    ours = translate(texts, on_long="split", batch_size=batch_size)
    assert ours[1]["translation_text"] == " ".join([one["translation_text"]] * 12)
    assert ours[1]["score"] == pytest.approx(one["score"], abs=2e-4)
    assert [ours[0], ours[2]] == translate([texts[0], texts[2]])
    skipped = translate(texts, on_long="skip", batch_size=batch_size)
    assert skipped == [ours[0], {"translation_text": "", "score": None}, ours[2]]
    with pytest.raises(ValueError, match="on_long must be one of"):
        translate(texts, on_long="cut")


def test_empty_pieces_of_a_split_text_leave_no_blanks_anywhere(
    tiny: SimpleNamespace, translate: NATTranslationPipeline, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    full, empty = TEXTS[0], "today a cat sleeps in the house ."
    one = translate(full)[0]["translation_text"]
    assert one
    text = " ".join([empty, *[full] * 5, empty, empty, *[full] * 6, empty])
    marked = tiny.tokenizer.convert_tokens_to_ids("y")  # of today
    generate = type(tiny.model).generate

    def generate_some(self: Any, input_ids: torch.Tensor, **options: Any) -> Any:
        output = generate(self, input_ids, **options)
        is_empty = (input_ids == marked).any(dim=1)
        output.sequences[is_empty] = 1
        output.sequences[is_empty, 0], output.sequences[is_empty, 1] = 0, 2
        return output

    monkeypatch.setattr(type(tiny.model), "generate", generate_some)
    assert translate(empty)[0]["translation_text"] == ""
    expected = [" ".join([one] * 11), "", one]
    texts = [text, " ".join([empty] * 9), full]
    found = translate(texts, on_long="split", batch_size=2)
    assert [entry["translation_text"] for entry in found] == expected
    assert [each.text for each in translate_all(tiny.model, tiny.tokenizer, texts, on_long="split")] == expected
    assert main(["translate", "--model", str(tiny.folder), "--on-long", "split", *texts]) == 0
    assert capsys.readouterr().out.splitlines() == expected


def test_tuples_and_columns_of_datasets_are_texts(translate: NATTranslationPipeline):
    datasets = pytest.importorskip("datasets")
    expected = translate(TEXTS)
    assert translate(tuple(TEXTS)) == expected
    assert translate(datasets.Dataset.from_dict({"en": TEXTS})["en"], batch_size=2) == expected


def test_score_is_that_of_generate(tiny: SimpleNamespace, translate: NATTranslationPipeline):
    output = tiny.model.generate(**tiny.tokenizer("a cat", return_tensors="pt"), return_dict_in_generate=True)
    assert translate("a cat")[0]["score"] == pytest.approx(output.sequences_scores.item(), abs=1e-4)


def test_token_ids_before_repeats_are_collapsed(tiny: SimpleNamespace):
    raw = pipeline(
        "translation", model=tiny.model, tokenizer=tiny.tokenizer, collapse_repeats=False, return_tensors=True
    )
    for text in TEXTS:
        ids = tiny.model.generate(**tiny.tokenizer(text, return_tensors="pt"), collapse_repeats=False)[0]
        assert torch.equal(raw(text)[0]["translation_token_ids"], ids)


@pytest.mark.parametrize("wrong", [3, None, [["a cat"]], [{"text": "a cat"}]])
def test_input_that_is_not_text_is_refused(translate: NATTranslationPipeline, wrong: Any):
    with pytest.raises(ValueError, match="takes text, got"):
        translate(wrong)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_iterations": 0}, "num_iterations must be an integer >= 1, got 0"),
        ({"num_beams": 4}, "does not know num_beams=4"),
        ({"max_length": 2}, "does not know max_length=2"),
        ({"num_return_sequences": 2}, "exceeds length_beam_size=1"),
        ({"src_lang": "en"}, "one language pair"),
        ({"output_history": True}, r"does not take output_history\. Call model\.generate\(\)"),
        ({"return_dict_in_generate": True}, "does not take return_dict_in_generate"),
    ],
)
def test_setting_that_cannot_be_followed_is_refused(
    translate: NATTranslationPipeline, kwargs: dict[str, Any], message: str
):
    with pytest.raises(ValueError, match=message):
        translate("a cat", **kwargs)


@pytest.mark.parametrize("task", ["translation_", "translation_en", "translation_en_to_", "translate"])
def test_unknown_task_name_is_still_refused(tiny: SimpleNamespace, task: str):
    with pytest.raises(KeyError, match="Unknown task"):
        pipeline(task, model=tiny.model, tokenizer=tiny.tokenizer)


def test_saved_pipeline_loads_again(tiny: SimpleNamespace, translate: NATTranslationPipeline, tmp_path: Any):
    translate.save_pretrained(tmp_path)
    assert pipeline("translation", model=str(tmp_path))(TEXTS) == translate(TEXTS)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_addresses_come_back_letter_by_letter(tiny: SimpleNamespace, batch_size: int):
    tokenizer = train_tokenizer([*TEXTS, *(f"{sign} {sign}" for sign in PLACEHOLDERS)] * 3, 90)
    config = type(tiny.model.config)(**{**tiny.model.config.to_dict(), "vocab_size": len(tokenizer)})
    torch.manual_seed(0)
    model = type(tiny.model)(config).eval()
    translate = pipeline("translation", model=model, tokenizer=tokenizer, batch_size=batch_size)
    texts = ["see www.a.com/B?c=1.", "a dog", "mail x.y@z.org or http://q.de, not see.com .", "", "@tom"]
    results = _texts(translate(texts, on_long="split"))
    for text, result in zip(texts, results, strict=True):
        assert sorted(find_addresses(result)) == sorted(find_addresses(text))
    assert results == [translation.text for translation in translate_all(model, tokenizer, texts)]


def test_prepared_text_is_asked_like_that_of_other_pipelines(tiny: SimpleNamespace, translate: NATTranslationPipeline):
    prepared = translate.preprocess("a <s>cat</s>")
    expected = tiny.tokenizer("a <s>cat</s>", return_tensors="pt")
    assert torch.equal(prepared["input_ids"], expected["input_ids"])
    assert torch.equal(prepared["attention_mask"], expected["attention_mask"])
    assert [piece["is_last"] for piece in prepared] == [True]
