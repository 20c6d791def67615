# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Decoding rules chosen on a validation set: the best first, and stored where `generate()` finds them."""

from __future__ import annotations

import pytest
from transformers import AutoModelForSeq2SeqLM

from dims_hf.evaluation.bleu import score
from dims_hf.evaluation.tuning import TuningTrial, rank_trials, store_decoding, tune_decoding
from dims_hf.translation import translate


SOURCES = ["the cat", "the dog sees the cat", "a house"]
REFERENCES = ["die Katze", "der Hund sieht die Katze", "ein Haus"]


def test_combinations_are_scored_as_translate_scores_and_the_best_is_stored(tiny_model, tiny_tokenizer, tmp_path):
    trials = tune_decoding(
        tiny_model, tiny_tokenizer, SOURCES, REFERENCES, metric="chrf", length_beam_size=2,
        repeat_penalties=(0.0, 1.0), length_score_weights=(0.0, 0.5),
    )  # fmt: skip
    assert len(trials) == 4 and [trial.chrf for trial in trials] == sorted([t.chrf for t in trials], reverse=True)
    for trial in trials:
        texts = [translation.text for translation in translate(tiny_model, tiny_tokenizer, SOURCES, **trial.settings)]
        scores = score(texts, REFERENCES)
        assert (trial.bleu, trial.chrf) == (scores["bleu"], scores["chrf"])
        assert trial.brevity_penalty == scores["brevity_penalty"] and 0 <= trial.bleu_before_collapse <= 100
    settings = {"length_beam_size": 2, "length_score_weight": 0.5, "repeat_penalty": 1.0}
    tiny_model.save_pretrained(tmp_path)
    store_decoding(tiny_model, settings, str(tmp_path))
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).decoding_settings()
    assert {name: getattr(again, name) for name in settings} == settings


def test_within_the_margin_the_other_score_decides():
    scores = [(32.19, 53.2), (32.15, 53.7), (31.9, 54.0), (32.0, 53.8)]
    trials = [TuningTrial({"repeat_penalty": float(place)}, *pair) for place, pair in enumerate(scores)]

    def order(metric: str, margin: float) -> list[int]:
        return [int(trial.settings["repeat_penalty"]) for trial in rank_trials(trials, metric, margin)]

    assert order("bleu", 0.0) == [0, 1, 3, 2]
    assert order("bleu", 0.1) == [1, 0, 3, 2]
    assert order("bleu", 0.2) == [3, 0, 1, 2]
    assert order("chrf", 0.1) == [2, 3, 1, 0] and order("chrf", 0.31) == [1, 2, 3, 0]


def test_alignments_are_tuned_by_their_own_rule(tiny_imputer, tiny_tokenizer):
    trials = tune_decoding(tiny_imputer, tiny_tokenizer, SOURCES, REFERENCES, prefix_beam_sizes=(1, 3))
    assert {trial.settings["prefix_beam_size"] for trial in trials} == {1, 3}


def test_impossible_tuning_is_refused(tiny_model, tiny_tokenizer):
    with pytest.raises(ValueError, match="metric must be bleu or chrf, got 'ter'"):
        tune_decoding(tiny_model, tiny_tokenizer, SOURCES, REFERENCES, metric="ter")
    with pytest.raises(ValueError, match=r"margin must be >= 0, got -1\. Use 0 to let bleu alone decide"):
        tune_decoding(tiny_model, tiny_tokenizer, SOURCES, REFERENCES, margin=-1)
    with pytest.raises(ValueError, match="no values to try"):
        tune_decoding(tiny_model, tiny_tokenizer, SOURCES, REFERENCES, repeat_penalties=())
