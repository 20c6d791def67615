# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Records of `evaluate_model`: settings, what is measured before and after repeats are collapsed, subsets."""

from __future__ import annotations

import json

import pytest

from dims_hf import MODELS
from dims_hf.evaluation import METRICS, evaluate_model, find_record, score
from dims_hf.translation import translate


def _judge(source: str, hypothesis: str) -> str:
    """Valid is the source itself; its first word doubled is called a mixture."""
    doubled = f"{source.split()[0]} {source}"
    return {source: "valid", doubled: "mixture"}.get(hypothesis, "wrong")


def test_evaluate_model_echo_is_measured_before_and_after_collapsing(echo_model, word_tokenizer, sources):
    result = evaluate_model(
        echo_model,
        word_tokenizer,
        sources,
        sources,
        iterations=(1,),
        judge=_judge,
        subsets={"cats": [True] * 2 + [False] * 4},
        length_edges=[1],
    )
    (record,) = result["records"]
    num_tokens = sum(len(word_tokenizer(source)["input_ids"]) - 2 for source in sources)
    assert record["bleu"] == pytest.approx(100.0)
    assert (record["valid"], record["valid_before_collapse"], record["mixture_before_collapse"]) == (1.0, 0.0, 1.0)
    assert record["repeated_tokens"] == pytest.approx(6 / (num_tokens + 6))
    assert record["repeated_sentences"] == 1.0
    assert record["collapse_repeats"] is True
    assert record["milliseconds_per_sentence"] > 0 and record["sentences_per_batch"] == 6
    assert record["subsets"]["cats"]["num_sentences"] == 2
    assert record["subsets"]["cats"]["bleu"] == pytest.approx(100.0)
    assert [(each["shortest"], each["longest"], each["num_sentences"]) for each in record["length_buckets"]] == [
        (2, None, 6)
    ]
    assert record["length_buckets"][0]["bleu"] == pytest.approx(100.0)
    assert result["length"]["length_accuracy"] == 1.0 and result["num_parameters"] == 3
    json.dumps(result, allow_nan=False)


def test_evaluate_model_kept_repeats_are_scored(echo_model, word_tokenizer, sources):
    options = {"iterations": (1,), "judge": _judge, "collapse_repeats": False}
    (record,) = evaluate_model(echo_model, word_tokenizer, sources, sources, **options)["records"]
    assert record["collapse_repeats"] is False
    assert record["bleu"] < 90
    assert (record["valid"], record["mixture_before_collapse"]) == (0.0, 1.0)


def test_evaluate_model_every_setting_has_a_record_and_a_callback(echo_model, word_tokenizer, sources):
    seen = []
    result = evaluate_model(
        echo_model,
        word_tokenizer,
        sources,
        sources,
        iterations=(1, 4),
        length_beams=(1, 3),
        oracle_length=True,
        callback=lambda record, translations: seen.append((record["num_iterations"], len(translations))),
    )
    fields = ("num_iterations", "length_beam_size", "oracle_length")
    assert [tuple(record[field] for field in fields) for record in result["records"]] == [
        (1, 1, False),
        (4, 1, False),
        (1, 3, False),
        (4, 3, False),
        (1, 1, True),
        (4, 1, True),
    ]
    assert seen == [(1, 6), (4, 6), (1, 6), (4, 6), (1, 6), (4, 6)]
    calls = echo_model.calls[1:]  # the first warms up
    assert [(call["num_iterations"], call["length_beam_size"]) for call in calls] == [
        (1, 1), (4, 1), (1, 3), (4, 3), (1, 1), (4, 1)
    ]  # fmt: skip
    assert [call["target_lengths"] is None for call in calls] == [True] * 4 + [False] * 2


def test_evaluate_model_oracle_length_is_the_reference_s_within_what_the_model_can_write(echo_model, word_tokenizer):
    echo_model.config.max_target_length = 7  # at most six tokens with the specials, four without
    references = ["a cat .", "", "the small dog sees the old cat ."]
    evaluate_model(echo_model, word_tokenizer, ["a cat"] * 3, references, iterations=(1,), oracle_length=True)
    assert sorted(echo_model.calls[-1]["target_lengths"]) == [1, 3, 4]


def test_evaluate_model_real_model_reports_lengths_and_parameters(tiny_model, tiny_tokenizer, sources):
    result = evaluate_model(tiny_model, tiny_tokenizer, sources, sources, iterations=(1, 2), oracle_length=True)
    assert set(result["length"]) == {
        "length_accuracy", "length_within_1", "length_within_2", "length_bias", "length_top_1", "length_top_3",
        "length_top_5",
    }  # fmt: skip
    assert result["length"]["length_top_1"] == result["length"]["length_accuracy"]
    assert result["num_parameters"] == sum(parameter.numel() for parameter in tiny_model.parameters())
    assert len(result["records"]) == 4
    assert all(0 <= record["bleu"] <= 100 for record in result["records"])


def test_evaluate_model_without_a_length_predictor_leaves_lengths_out(tiny_imputer, tiny_tokenizer, sources):
    result = evaluate_model(tiny_imputer, tiny_tokenizer, sources, sources, iterations=(1, 4))
    assert result["length"] is None
    assert [record["num_iterations"] for record in result["records"]] == [1, 4]
    # repeats that a blank keeps apart are meant
    assert [record["collapse_repeats"] for record in result["records"]] == [False, False]
    forced = evaluate_model(tiny_imputer, tiny_tokenizer, sources, sources, iterations=(1,), collapse_repeats=True)
    assert forced["records"][0]["collapse_repeats"] is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length_beams": (1, 5)}, r"does not fix the length .* no length_beams=\[1, 5\]\. Evaluate it with"),
        ({"oracle_length": True}, r"does not fix the length .* no oracle_length\. Evaluate it with"),
    ],
)
def test_evaluate_model_length_settings_without_a_length_predictor_are_refused_before_decoding(
    tiny_imputer, tiny_tokenizer, sources, options, message
):
    tiny_imputer.generate = None
    with pytest.raises(ValueError, match=message):
        evaluate_model(tiny_imputer, tiny_tokenizer, sources, sources, **options)


def test_metrics_new_entry_appears_in_every_record(echo_model, word_tokenizer, sources, monkeypatch):
    monkeypatch.setitem(METRICS, "count", lambda output: {"num_words": sum(len(t.split()) for t in output.texts)})
    subsets = {"first": [True] + [False] * 5}
    result = evaluate_model(echo_model, word_tokenizer, sources, sources, iterations=(1,), subsets=subsets)
    assert result["records"][0]["num_words"] == sum(len(source.split()) for source in sources)
    assert result["records"][0]["subsets"]["first"]["num_words"] == len(sources[0].split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"references": ["a"]}, "6 sources for 1 references"),
        ({"sources": [], "references": []}, "0 sources for 0 references"),
        ({"subsets": {"none": [False] * 6}}, "Subset 'none' has 6 flags, 0 of them true"),
        ({"subsets": {"short": [True]}}, "Subset 'short' has 1 flags"),
        ({"iterations": ()}, "iterations or length_beams is empty"),
        ({"length_beams": ()}, "iterations or length_beams is empty"),
        ({"iterations": (1, 2, 1)}, r"iterations=\[1, 2, 1\] has a value twice. Ask for each once"),
        ({"length_beams": (3, 3)}, r"length_beams=\[3, 3\] has a value twice"),
    ],
)
def test_evaluate_model_impossible_requests_are_refused_before_decoding(
    echo_model, word_tokenizer, sources, options, message
):
    with pytest.raises(ValueError, match=message):
        evaluate_model(
            **{"model": echo_model, "tokenizer": word_tokenizer, "sources": sources, "references": sources, **options}
        )
    assert echo_model.calls == []


def test_evaluate_model_reports_what_bleu_owes_to_length_and_to_collapsing(echo_model, word_tokenizer, sources):
    (record,) = evaluate_model(echo_model, word_tokenizer, sources, sources, iterations=(1,))["records"]
    assert record["brevity_penalty"] == 1.0 and record["length_ratio"] == pytest.approx(1.0)
    kept = evaluate_model(echo_model, word_tokenizer, sources, sources, iterations=(1,), collapse_repeats=False)
    assert record["bleu_before_collapse"] == kept["records"][0]["bleu"] < record["bleu"]
    # six words more than the references have, one per sentence
    num_words = sum(len(source.split()) for source in sources)
    assert kept["records"][0]["length_ratio"] == pytest.approx((num_words + 6) / num_words)


def test_evaluate_model_buckets_of_equal_size_are_scored(echo_model, word_tokenizer, sources):
    options = {"iterations": (1,), "num_length_buckets": 2}
    (record,) = evaluate_model(echo_model, word_tokenizer, sources, sources, **options)["records"]
    assert [(each["shortest"], each["longest"], each["num_sentences"]) for each in record["length_buckets"]] == [
        (3, 6, 3),
        (6, 8, 3),
    ]
    with pytest.raises(ValueError, match="Give one of them"):
        evaluate_model(echo_model, word_tokenizer, sources, sources, length_edges=[4], **options)


def test_evaluate_model_named_decodings_have_records_of_their_own(tiny_model, tiny_tokenizer, sources):
    decodings = {"tuned": {"repeat_penalty": 1.0, "length_beam_size": 2}, "own": {}}
    result = evaluate_model(tiny_model, tiny_tokenizer, sources, sources, iterations=(1,), decodings=decodings)
    plain, tuned, own = result["records"]
    assert "decoding" not in plain
    assert (tuned["decoding"], tuned["decoding_settings"], tuned["length_beam_size"]) == (
        "tuned", decodings["tuned"], 2,
    )  # fmt: skip
    assert own["num_iterations"] == tiny_model.generation_config.num_iterations
    assert find_record(result, 1) is plain and find_record(result, own["num_iterations"]) is None
    texts = [each.text for each in translate(tiny_model, tiny_tokenizer, sources, **decodings["tuned"])]
    assert tuned["bleu"] == score(texts, sources)["bleu"]
    alone = evaluate_model(tiny_model, tiny_tokenizer, sources, sources, iterations=(), decodings={"own": {}})
    assert [record["decoding"] for record in alone["records"]] == ["own"]
    kept = {"kept": {"collapse_repeats": False}}
    (record,) = evaluate_model(tiny_model, tiny_tokenizer, sources, sources, iterations=(), decodings=kept)["records"]
    assert record["collapse_repeats"] is False and record["bleu"] == record["bleu_before_collapse"]
    for options in ({"oracle_length": True}, {"length_beams": (1, 3)}):
        with pytest.raises(ValueError, match="go together with iterations, and there are none. Leave them out"):
            evaluate_model(
                tiny_model, tiny_tokenizer, sources, sources, iterations=(), decodings={"own": {}}, **options
            )
    with pytest.raises(ValueError, match="does not know num_beams"):
        evaluate_model(tiny_model, tiny_tokenizer, sources, sources, decodings={"beam": {"num_beams": 2}})


def test_evaluate_model_autoregressive_models_are_decoded_as_they_are_named(random_marian, tiny_tokenizer, sources):
    decodings = {"greedy": {"num_beams": 1}, "beam": {"num_beams": 3}}
    with pytest.raises(ValueError, match="is autoregressive, and has no passes to vary. Name how it is decoded"):
        evaluate_model(random_marian, tiny_tokenizer, sources, sources)
    with pytest.raises(ValueError, match="and leave out iterations"):
        evaluate_model(random_marian, tiny_tokenizer, sources, sources, iterations=(1,), decodings=decodings)
    result = evaluate_model(random_marian, tiny_tokenizer, sources, sources, decodings=decodings)
    assert [(each["decoding"], each["num_iterations"]) for each in result["records"]] == [
        ("greedy", None), ("beam", None),
    ]  # fmt: skip
    assert result["length"] is None and all(0 <= each["bleu"] <= 100 for each in result["records"])


def _model_of(family, tokenizer):
    sizes = {
        "vocab_size": len(tokenizer), "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "upsample_ratio": 2,
        "max_position_embeddings": 64, "max_target_length": 32, "link_heads": 2,
    }  # fmt: skip
    known = MODELS[family][0].__dataclass_fields__
    return MODELS[family][2](MODELS[family][0](**{name: size for name, size in sizes.items() if name in known})).eval()


@pytest.mark.parametrize("family", sorted(MODELS))
def test_evaluate_model_asks_by_default_for_passes_that_the_family_has(family, tiny_tokenizer):
    model = _model_of(family, tiny_tokenizer)
    result = evaluate_model(model, tiny_tokenizer, ["a cat ."], ["a cat ."])
    passes = [record["num_iterations"] for record in result["records"]]
    assert passes == ([1] if family in ("alignart", "dat") else [1, 2, 4, 10])
    if family in ("alignart", "dat"):
        with pytest.raises(ValueError, match="num_iterations=2"):
            evaluate_model(model, tiny_tokenizer, ["a cat ."], ["a cat ."], iterations=(1, 2))
