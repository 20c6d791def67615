# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Known scores, signatures, the legacy variant and the paired bootstrap."""

from __future__ import annotations

import os
import sys
from math import exp

import pytest

from dims_hf.evaluation import bleu, chrf, legacy_bleu, paired_bootstrap, score
from dims_hf.evaluation.bleu import tokenizer_of_language, tokenizer_of_texts


EIGHT = "one two three four five six seven eight"
# (hypotheses, references, BLEU by hand)
KNOWN = [
    ([EIGHT], [EIGHT], 100.0),
    # precisions 7/8, 5/7, 3/6, 2/5: the wrong word spoils one, two, three and three n-grams
    (["one two nine four five six seven eight"], [EIGHT], 100 * (7 / 8 * 5 / 7 * 3 / 6 * 2 / 5) ** 0.25),
    # every n-gram right, brevity penalty exp(1 - 8/6)
    (["one two three four five six"], [EIGHT], 100 * exp(1 - 8 / 6)),
    # nothing in common: no 1-gram matches, and smoothing does not start from nothing
    (["a b c d"], ["e f g h"], 0.0),
    # an empty hypothesis only shortens the corpus: 8 of 16 words
    ([EIGHT, ""], [EIGHT, EIGHT], 100 * exp(1 - 16 / 8)),
    ([""], [EIGHT], 0.0),
]


@pytest.mark.parametrize(("hypotheses", "references", "expected"), KNOWN)
def test_bleu_known_sentences_match_the_hand_computation(hypotheses, references, expected):
    assert bleu(hypotheses, references)["bleu"] == pytest.approx(expected, abs=1e-6)


def test_score_gives_both_metrics_with_signatures():
    result = score([EIGHT], [EIGHT])
    assert (result["bleu"], result["chrf"]) == (100.0, 100.0)
    assert result["bleu_signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert result["chrf_signature"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")


def test_chrf_one_letter_sentences_known_f2():
    # one 1-gram in common: precision 1/2, recall 1/1, F2 = 5pr / (4p + r) = 2.5 / 3; 2-grams have no reference
    assert chrf(["ab"], ["a"])["chrf"] == pytest.approx(100 * 2.5 / 3)
    assert chrf([""], ["a"])["chrf"] == 0.0


def test_bleu_several_references_takes_the_best_match():
    assert bleu([EIGHT], [["a b c d", EIGHT]])["bleu"] == pytest.approx(100.0)
    assert bleu([EIGHT], [["a b c d", EIGHT]])["bleu_signature"].startswith("nrefs:2|")


def test_legacy_bleu_has_no_smoothing_and_splits_marks():
    # no 4-gram in common: smoothed BLEU is above 0, legacy BLEU is 0
    assert bleu(["one two three nine"], ["one two three four"])["bleu"] > 0
    assert legacy_bleu(["one two three nine"], ["one two three four"])["legacy_bleu"] == 0.0
    result = legacy_bleu(["He (really) said: no-one."], ["He (really) said : no - one ."])
    assert result["legacy_bleu"] == pytest.approx(100.0)
    assert "|tok:words-and-marks|smooth:none|" in result["legacy_bleu_signature"]


def test_legacy_bleu_already_tokenized_takes_the_text_as_it_is():
    result = legacy_bleu(["a b c d."], ["a b c d ."], already_tokenized=True)
    assert result["legacy_bleu"] == 0.0
    assert "|tok:given|smooth:none|" in result["legacy_bleu_signature"]
    assert legacy_bleu(["a b c d."], ["a b c d ."])["legacy_bleu"] == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        ([], [], "There are no hypotheses"),
        (["a", None], ["a", "b"], r"hypotheses\[1\] is no text but NoneType"),
        (["a"], ["a", "b"], "1 hypotheses for 2 references"),
        (["a", "b"], ["a", None], r"references\[1\] is no text but NoneType. Pass str"),
        (["a"], [["a", 1]], r"references\[0\]\[1\] is no text but int"),
        (["a", "b"], ["a", ["b"]], "Some references are texts, others lists of texts. Pass one kind"),
        (["a"], iter("a"), r"references is no list but str_\w*iterator. Pass list\(references\)"),
        (["a", "b"], [["a"], ["b", "c"]], r"Sentences have \[1, 2\] references"),
        (["a"], [[]], r"Sentences have \[0\] references"),
    ],
)
@pytest.mark.parametrize("function", [score, bleu, chrf, legacy_bleu])
def test_scores_of_unequal_counts_are_refused(function, hypotheses, references, message):
    with pytest.raises(ValueError, match=message):
        function(hypotheses, references)


def _corpus(num_sentences: int = 60) -> list[str]:
    return [
        f"sentence number {row} says that {row * 7 % 11} and {row * 5 % 13} are small numbers"
        for row in range(num_sentences)
    ]


def test_paired_bootstrap_identical_systems_have_p_of_one():
    references = _corpus()
    hypotheses = [text.replace("says", "states") for text in references]
    result = paired_bootstrap({"a": hypotheses, "b": list(hypotheses)}, references, num_samples=200)
    assert (result["systems"]["b"]["bleu_p_value"], result["systems"]["b"]["chrf_p_value"]) == (1.0, 1.0)


def test_paired_bootstrap_clearly_better_system_has_a_small_p():
    references = _corpus()
    bad = [" ".join(text.split()[::2]) for text in references]
    result = paired_bootstrap({"bad": bad, "good": references}, references, num_samples=200)
    assert result["baseline"] == "bad" and result["num_samples"] == 200
    assert result["systems"]["good"]["bleu"] == pytest.approx(100.0)
    assert "bleu_p_value" not in result["systems"]["bad"]
    assert result["systems"]["good"]["bleu_p_value"] == pytest.approx(1 / 201)
    assert "bs:200" in result["signatures"]["bleu"]


def test_paired_bootstrap_equally_good_different_systems_is_not_significant():
    references = _corpus()
    half = [text.replace("says", "states") if row % 2 else text for row, text in enumerate(references)]
    other = [text if row % 2 else text.replace("says", "states") for row, text in enumerate(references)]
    result = paired_bootstrap({"half": half, "other": other}, references, num_samples=200)
    assert result["systems"]["other"]["bleu_p_value"] > 0.2


def test_paired_bootstrap_seed_decides_the_resamples_and_leaves_the_environment(monkeypatch):
    monkeypatch.setenv("SACREBLEU_SEED", "77")
    references = _corpus(20)
    systems = {"a": [text.replace("small", "tiny") for text in references[:10]] + references[10:], "b": references}
    first, again, other = (
        paired_bootstrap(systems, references, num_samples=50, seed=seed)["systems"]["a"]["bleu_mean"]
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert os.environ["SACREBLEU_SEED"] == "77"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"systems": {"a": ["x"]}}, r"needs a baseline and a system, got \['a'\]"),
        ({"num_samples": 0}, "num_samples must be >= 1, got 0"),
        ({"seed": 0}, "seed must be >= 1, got 0"),
        ({"systems": {"a": ["x"], "b": []}}, "There are no hypotheses"),
    ],
)
def test_paired_bootstrap_impossible_requests_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(**{"systems": {"a": ["x"], "b": ["x"]}, "references": ["x"], **options})


@pytest.mark.parametrize(
    ("language", "tokenizer"),
    [("zh", "zh"), ("zh-TW", "zh"), ("zho_Hans", "zh"), ("ja", "ja-mecab"), ("ko", "ko-mecab"), ("th", "char")]
    + [("de", "13a"), ("EN", "13a")],
)
def test_tokenizer_of_language_known_codes(language: str, tokenizer: str):
    assert tokenizer_of_language(language) == tokenizer


@pytest.mark.parametrize(
    ("text", "tokenizer"),
    [
        ("你好,早上好。", "zh"),
        ("今日はとても寒いです。", "ja-mecab"),
        ("안녕하세요", "ko-mecab"),
        ("สวัสดีครับ", "char"),
        ("Der Name 東京 heißt Tokio, und es ist weit.", "13a"),
        ("", "13a"),
    ],
)
def test_tokenizer_of_texts_goes_by_the_script(text: str, tokenizer: str):
    assert tokenizer_of_texts([text]) == tokenizer


def test_bleu_chinese_near_miss_is_scored_by_characters_and_says_so():
    references = ["我们明天早上去北京看朋友。", "他昨天在学校里看了一本书。"]
    hypotheses = ["我们明天早上去北京看朋友。", "他昨天在学校里看了两本书。"]
    by_script = bleu(hypotheses, references)
    assert by_script["bleu"] > 70 and "tok:zh" in by_script["bleu_signature"]
    assert bleu(hypotheses, references, target_lang="zh") == by_script
    assert score(hypotheses, references, tokenize="13a")["bleu"] < 50
    assert "tok:char" in score(hypotheses, references, tokenize="char")["bleu_signature"]


def test_bleu_tokenizer_that_is_missing_or_unknown(monkeypatch: pytest.MonkeyPatch, caplog):
    import dims_hf.evaluation  # noqa: F401

    module = sys.modules["dims_hf.evaluation.bleu"]
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert "tok:char" in bleu(["今日は寒い"], ["今日は寒い"], target_lang="ja")["bleu_signature"]
    assert 'pip install "sacrebleu[ja]"' in caplog.text
    with pytest.raises(ValueError, match="'ko-mecab' is not installed. Install it: pip install"):
        bleu(["a"], ["a"], tokenize="ko-mecab")
    with pytest.raises(ValueError, match="tokenize must be one of 13a, .*, got 'moses'"):
        bleu(["a"], ["a"], tokenize="moses")


@pytest.mark.parametrize("function", [score, bleu, chrf, legacy_bleu])
def test_scores_of_bare_strings_are_refused(function):
    with pytest.raises(ValueError, match="hypotheses is one string. Pass a list"):
        function("a b", "a b")
    with pytest.raises(ValueError, match="references is one string. Pass a list"):
        function(["a", "b", "c"], "a b")
