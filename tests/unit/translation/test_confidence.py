# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Flags without a reference, second tries, and choosing among candidates."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from dims_hf.translation import Adaptive, Reranker, Translation, quality_flags, translate_adaptively
from dims_hf.translation.runtimes import candidate_options
from dims_hf.translation.sentences import translate_texts
from dims_hf.translation.torch_runtime import TorchRuntime


def _translation(text: str, raw: tuple[int, ...] = (5, 6, 7), score: float = -0.1) -> Translation:
    return Translation(text, text, raw, raw, score)


@pytest.mark.parametrize(
    ("source", "translation", "flags"),
    [
        ("The house is big.", _translation("Das Haus ist groß."), []),
        ("The house is big.", _translation(""), ["empty"]),
        ("The house is big.", _translation("Das Haus das Haus das Haus ist."), ["repeats"]),
        ("The house is big.", _translation("Das Haus ist groß.", (5, 5, 5, 5, 6, 6, 7)), ["repeats"]),
        ("The house is big and it is old and dark.", _translation("Das Haus."), ["length"]),
        ("The house is big today.", _translation("The house is big heute."), ["copied"]),
        ("Paris", _translation("Paris"), []),
        ("This is a rather long sentence about cats.", _translation("这是一个关于猫的相当长的句子。"), []),
        (" ", Translation("", "", (), (), 0.0, 0, "blank"), []),
    ],
)
def test_quality_flags_known_cases(source: str, translation: Translation, flags: list[str]):
    assert quality_flags(source, translation) == flags


def test_confidence_is_the_geometric_mean_of_probabilities():
    assert _translation("x", score=math.log(0.25)).confidence == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"threshold": 1.5, "num_iterations": 2}, "threshold must be between 0 and 1, got 1.5"),
        ({"threshold": float("nan"), "num_iterations": 2}, "threshold must be between 0 and 1"),
        ({"threshold": 0.5}, "need one way to be made again"),
    ],
)
def test_adaptive_impossible_settings_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Adaptive(**settings)


def test_translate_adaptively_decodes_only_unsure_sentences_again(tiny_model, tiny_tokenizer, sources):
    runtime = TorchRuntime(tiny_model, tiny_tokenizer)
    once = translate_texts(runtime, sources, num_iterations=1)
    more = translate_texts(runtime, sources, num_iterations=4)
    threshold = sorted(each.confidence for each in once)[3]
    adaptive = Adaptive(threshold, num_iterations=4)
    got = translate_adaptively(runtime, [*sources, ""], adaptive, num_iterations=1)
    assert got[-1].left_out == "blank"
    again = [adaptive.is_unsure(source, each) for source, each in zip(sources, once, strict=True)]
    assert any(again)
    for each, is_again, first, second in zip(got, again, once, more, strict=False):
        assert each.is_fallback is is_again
        assert each.token_ids == (second if is_again else first).token_ids


def test_translate_adaptively_by_another_model(tiny_model, tiny_tokenizer, echo_model, word_tokenizer):
    fallback = TorchRuntime(echo_model, word_tokenizer)
    got = translate_adaptively(
        TorchRuntime(tiny_model, tiny_tokenizer), ["a cat"], Adaptive(1.0, fallback=fallback), num_iterations=1
    )
    assert (got[0].text, got[0].is_fallback) == ("a cat", True)


@pytest.fixture
def marian():
    """A tiny autoregressive model with random weights."""
    from transformers import MarianConfig, MarianMTModel

    torch.manual_seed(0)
    config = MarianConfig(vocab_size=52, d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16)
    config.update({"decoder_ffn_dim": 16, "encoder_attention_heads": 2, "decoder_attention_heads": 2})
    config.update({"pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "max_position_embeddings": 64})
    return MarianMTModel(config).eval()


def test_reranker_scores_are_mean_log_probabilities_whatever_the_batch(marian, tiny_tokenizer):
    sources, targets = ["a cat .", "the small dog sees the old cat ."], ["eine Katze .", "der Hund"]
    together = Reranker(marian, tiny_tokenizer).score(sources, targets)
    for source, target, score in zip(sources, targets, together, strict=True):
        inputs = tiny_tokenizer(source, return_tensors="pt")
        labels = tiny_tokenizer(text_target=target, return_tensors="pt")["input_ids"]
        loss = marian(**inputs, labels=labels).loss  # mean over the tokens of the only target
        assert score == pytest.approx(-float(loss), abs=1e-5)


def test_translate_reranked_takes_the_candidate_that_scores_best(marian, tiny_model, tiny_tokenizer, sources):
    reranker = Reranker(marian, tiny_tokenizer, num_candidates=3)
    got = translate_texts(TorchRuntime(tiny_model, tiny_tokenizer), sources, reranker=reranker, num_iterations=2)
    for source, each in zip(sources, got, strict=True):
        output = tiny_model.generate(
            **tiny_tokenizer(source, return_tensors="pt"),
            num_iterations=2,
            length_beam_size=3,
            num_return_sequences=3,
        )
        texts = [text.strip() for text in tiny_tokenizer.batch_decode(output, skip_special_tokens=True)]
        scores = reranker.score([source] * 3, texts)
        assert each.text == texts[scores.index(max(scores))]


def test_alignments_are_reranked_by_their_prefix_beam(marian, tiny_imputer, tiny_tokenizer, sources):
    reranker = Reranker(marian, tiny_tokenizer, num_candidates=3)
    runtime = TorchRuntime(tiny_imputer, tiny_tokenizer)
    for options, size in (({}, 3), ({"prefix_beam_size": 5}, 5)):
        got = translate_texts(runtime, sources, reranker=reranker, **options)
        for source, each in zip(sources, got, strict=True):
            inputs = tiny_tokenizer(source, return_tensors="pt")
            output = tiny_imputer.generate(**inputs, prefix_beam_size=size, num_return_sequences=3)
            texts = [text.strip() for text in tiny_tokenizer.batch_decode(output, skip_special_tokens=True)]
            scores = reranker.score([source] * 3, texts)
            assert each.text == texts[scores.index(max(scores))]


@pytest.mark.parametrize(
    ("settings", "options", "wanted"),
    [
        ({"length_beam_size": 5}, {}, {"length_beam_size": 5}),
        ({"length_beam_size": 1}, {"length_beam_size": 2}, {"length_beam_size": 3}),
        ({"prefix_beam_size": 1}, {}, {"prefix_beam_size": 3}),
        ({"blank_token_id": 4}, {}, {"prefix_beam_size": 3}),  # the native runtime has none, and says so
        ({"graph_search": "lookahead", "beam_size": 20}, {}, {"graph_search": "beam", "beam_size": 20}),
        ({"graph_search": "beam", "beam_size": 2}, {}, {"beam_size": 3}),
        ({"graph_search": "beam"}, {"graph_search": "viterbi"}, {"graph_search": "viterbi", "beam_size": 3}),
    ],
)
def test_candidates_are_asked_for_in_the_way_of_each_family(settings, options, wanted):
    asked = candidate_options(SimpleNamespace(settings=settings), 3, options)
    assert asked == {**wanted, "num_return_sequences": 3}


def test_reranker_refuses_what_cannot_choose(marian, tiny_model, tiny_tokenizer):
    with pytest.raises(ValueError, match="CMLMForConditionalGeneration is not autoregressive"):
        Reranker(tiny_model, tiny_tokenizer)
    with pytest.raises(ValueError, match="num_candidates must be >= 2"):
        Reranker(marian, tiny_tokenizer, num_candidates=1)


def test_translate_by_an_autoregressive_model_is_its_beam_search(marian, tiny_tokenizer):
    from dims_hf.translation.torch_runtime import AutoregressiveRuntime

    runtime = AutoregressiveRuntime(marian, tiny_tokenizer)
    (got,) = translate_texts(runtime, ["a cat ."])
    inputs = tiny_tokenizer("a cat .", return_tensors="pt")
    ids = marian.generate(**inputs, num_beams=4, max_new_tokens=min(63, 2 * inputs["input_ids"].shape[1] + 32))
    assert got.text == tiny_tokenizer.decode(ids[0], skip_special_tokens=True).strip()
    with pytest.raises(ValueError, match="decoded autoregressively, without num_iterations"):
        translate_texts(runtime, ["a cat ."], num_iterations=2)
