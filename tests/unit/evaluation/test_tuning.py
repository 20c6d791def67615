# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Decoding rules chosen on a validation set: the best first, and stored where `generate()` finds them."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM

from dims_hf import MODELS, DATConfig, DATForConditionalGeneration
from dims_hf.cli.main import main
from dims_hf.data import save_tokenizer
from dims_hf.evaluation.bleu import score
from dims_hf.evaluation.tuning import TuningGrid, TuningTrial, rank_trials, store_decoding, tune_decoding
from dims_hf.translation import NgramLanguageModel, open_runtime, translate
from tests.fixtures.language_models import Bigrams, write_unigrams


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
    assert {trial.settings["blank_penalty"] for trial in trials} == {0.0, 0.5, 1.0, 2.0}


def test_rules_that_a_model_has_already_are_tried_first_and_win_ties(tiny_imputer, tiny_model, tiny_tokenizer):
    tiny_imputer.generation_config.blank_penalty = 3.0
    grid = TuningGrid().combinations(tiny_imputer, has_language_model=False)
    assert grid[0] == {"prefix_beam_size": 1, "blank_penalty": 3.0} and grid.count(grid[0]) == 1
    tiny_model.generation_config.update(length_beam_size=2, length_score_weight=0.1, repeat_penalty=1.0)
    grid = TuningGrid().combinations(tiny_model, has_language_model=False)
    assert grid[0] == {"length_beam_size": 2, "length_score_weight": 0.1, "repeat_penalty": 1.0}
    assert {each["length_beam_size"] for each in grid} == {2}
    # nothing scores above 0 where no word is right
    trials = tune_decoding(tiny_model, tiny_tokenizer, SOURCES, ["x"] * 3, repeat_penalties=(0.0,))
    assert trials[0].settings == grid[0] and len({trial.bleu for trial in trials}) == 1


def test_autoregressive_model_is_refused(random_marian, tiny_tokenizer):
    with pytest.raises(ValueError, match="MarianMTModel is autoregressive, and has no decoding rules to tune"):
        tune_decoding(random_marian, tiny_tokenizer, SOURCES, REFERENCES)


def test_impossible_tuning_is_refused(tiny_model, tiny_tokenizer):
    with pytest.raises(ValueError, match="metric must be bleu or chrf, got 'ter'"):
        tune_decoding(tiny_model, tiny_tokenizer, SOURCES, REFERENCES, metric="ter")
    with pytest.raises(ValueError, match=r"margin must be >= 0, got -1\. Use 0 to let bleu alone decide"):
        tune_decoding(tiny_model, tiny_tokenizer, SOURCES, REFERENCES, margin=-1)
    with pytest.raises(ValueError, match="no values to try"):
        tune_decoding(tiny_model, tiny_tokenizer, SOURCES, REFERENCES, repeat_penalties=())
    with pytest.raises(ValueError, match="CMLMForConditionalGeneration has no beam that a language model could steer"):
        tune_decoding(tiny_model, tiny_tokenizer, SOURCES, REFERENCES, language_model=Bigrams(0))


@pytest.mark.parametrize("family", sorted(MODELS))
def test_combinations_of_every_family_are_settings_that_it_knows_or_there_are_none(family):
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    model = MODELS[family][2](MODELS[family][0](vocab_size=20, **sizes))
    if "repeat_penalty" in (known := model.decoding_settings().names()) or family in ("imputer", "dat"):
        for settings in TuningGrid().combinations(model, has_language_model=False):
            model.decoding_settings(**settings)
            assert settings.keys() <= set(known)
    else:
        with pytest.raises(ValueError, match="has no decoding rules to choose among"):
            TuningGrid().combinations(model, has_language_model=False)


@pytest.fixture
def tiny_dat(tiny_tokenizer):
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "link_heads": 2, "upsample_ratio": 3}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = DATConfig(vocab_size=len(tiny_tokenizer), initializer_range=0.5, **sizes, **heads)
        return DATForConditionalGeneration(config).eval()


def _scores_of(trials, model, tokenizer, **options):
    found = []
    for trial in trials:
        texts = [each.text for each in translate(model, tokenizer, SOURCES, **trial.settings, **options)]
        scores = score(texts, REFERENCES)
        found.append((trial.bleu, trial.chrf) == (scores["bleu"], scores["chrf"]))
    return found


def test_language_model_of_alignments_is_tuned_by_its_weight_and_the_bonus_of_a_token(tiny_imputer, tiny_tokenizer):
    language_model = Bigrams(3)
    trials = tune_decoding(
        tiny_imputer, tiny_tokenizer, SOURCES, REFERENCES, metric="chrf", prefix_beam_sizes=(1, 3),
        language_model=language_model, language_model_weights=(0.0, 2.0), token_bonuses=(0.0, 4.0),
    )  # fmt: skip
    pairs = [(each.settings["language_model_weight"], each.settings["token_bonus"]) for each in trials]
    assert sorted(pairs) == [(0.0, 0.0), (0.0, 4.0), (2.0, 0.0), (2.0, 4.0)]
    assert {each.settings["prefix_beam_size"] for each in trials} == {3}
    assert all(_scores_of(trials, tiny_imputer, tiny_tokenizer, language_model=language_model))
    assert [each.chrf for each in trials] == sorted([each.chrf for each in trials], reverse=True)
    assert len({each.chrf for each in trials}) > 1
    with pytest.raises(ValueError, match="predicts no length, got length_beam_size=3. Leave it out"):
        tune_decoding(tiny_imputer, tiny_tokenizer, SOURCES, REFERENCES, length_beam_size=3)


def test_graphs_are_tuned_by_their_searches_and_a_language_model_by_its_weight_and_the_power_of_length(
    tiny_dat, tiny_tokenizer
):
    plain = tune_decoding(tiny_dat, tiny_tokenizer, SOURCES, REFERENCES, path_length_penalties=(1.0, 3.0))
    found = [(each.settings["graph_search"], each.settings.get("path_length_penalty")) for each in plain]
    pairs = [(search, penalty) for search in ("beam", "joint_viterbi") for penalty in (1.0, 3.0)]
    assert sorted(found, key=str) == sorted([*pairs, ("lookahead", None)], key=str)
    language_model = Bigrams(3)
    trials = tune_decoding(
        tiny_dat, tiny_tokenizer, SOURCES, REFERENCES, metric="chrf", language_model=language_model,
        language_model_weights=(0.0, 2.0), path_length_penalties=(1.0, 3.0),
    )  # fmt: skip
    assert {each.settings["graph_search"] for each in trials} == {"beam"} and len(trials) == 4
    assert all(_scores_of(trials, tiny_dat, tiny_tokenizer, language_model=language_model))
    assert len({each.chrf for each in trials}) > 1


def test_command_stores_the_weights_that_translate_then_uses(tiny_imputer, tiny_tokenizer, tmp_path, capsys):
    pytest.importorskip("kenlm")
    folder = tmp_path / "model"
    tiny_imputer.save_pretrained(folder)
    save_tokenizer(tiny_tokenizer, folder)
    for language, lines in (("en", SOURCES), ("de", REFERENCES)):
        (tmp_path / f"valid.{language}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    runtime = open_runtime(folder)
    spelled = [runtime.spell([token])[0] for token in range(5, len(tiny_tokenizer))]
    arpa = write_unigrams(tmp_path / "pieces.arpa", [piece for piece in spelled if not piece.startswith("<")])
    words = ["--data", str(tmp_path), "--source-lang", "en", "--target-lang", "de", "--language-model", str(arpa)]
    assert main(["tune", str(folder), *words]) == 0
    output = capsys.readouterr().out
    assert f"dims-hf translate --model {folder} --language-model {arpa}" in output
    stored = AutoModelForSeq2SeqLM.from_pretrained(folder).decoding_settings()
    first = output.splitlines()[0]
    for name in ("prefix_beam_size", "language_model_weight", "token_bonus"):
        assert f"{name}={getattr(stored, name)}" in first
    settings = {name: getattr(stored, name) for name in ("prefix_beam_size", "language_model_weight", "token_bonus")}
    language_model = NgramLanguageModel.of_runtime(arpa, runtime)
    expected = translate(tiny_imputer, tiny_tokenizer, SOURCES, language_model=language_model, **settings)
    assert main(["translate", "--model", str(folder), "--language-model", str(arpa), *SOURCES]) == 0
    assert capsys.readouterr().out.splitlines() == [each.text for each in expected]
    assert main(["tune", str(folder), *words[:-2], "--language-model-unit", "words"]) == 2
    assert "--language-model-unit has no effect without --language-model FILE" in capsys.readouterr().err
