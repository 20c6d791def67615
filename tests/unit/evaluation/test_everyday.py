# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What is counted as kept, short, long and stammering; the everyday inputs; and the shipped models on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dims_hf.evaluation.everyday import check_everyday, find_addresses, numbers, repeats


ROOT = Path(__file__).parents[3]
INPUTS = {language: (ROOT / f"tests/data/everyday.{language}").read_text().splitlines() for language in ("en", "de")}


def test_numbers_are_compared_without_separators_and_outside_addresses():
    assert numbers("1,250.00 at 14:35, 3 of 4; see a.com/12 or x9@b.de") == ["125000", "1435", "3", "4"]
    assert numbers("1.250,00 um 14.35 Uhr") == ["125000", "1435"]
    assert numbers("12 345, 6-7") == ["12", "345", "6", "7"]


def test_addresses_are_found_letter_by_letter():
    assert find_addresses("a@b.com, www.c.de/E?f=1.") == ["a@b.com", "www.c.de/E?f=1"]


@pytest.mark.parametrize(
    ("tokens", "is_repeated"), [("a a b b a", False), ("b a a a", True), ("", False), ("a a", False), ("a a a", True)]
)
def test_three_in_a_row_are_repetition(tokens, is_repeated):
    assert repeats(tokens.split()) is is_repeated


def test_report_counts_by_hand():
    report = check_everyday(
        ["It costs 1,250 euros and 7 cents.", "Ask a@b.com or c.de.", "one two three four", "a b", "no no no no"],
        ["Es kostet 1.250 Euro und 8 Cent.", "Frag a@b.com oder c.DE.", "eins", "a b c d e", "nein nein nein"],
    )
    assert report.digits_kept == pytest.approx(4 / 5)
    assert report.addresses_kept == pytest.approx(1 / 2)
    assert (report.num_short, report.num_long, report.num_stammering) == (1, 1, 1)
    assert report.faults == ((0, "lost 7"), (1, "lost c.de"), (2, "short"), (3, "long"), (4, "stammering"))
    assert not report.is_good


def test_number_wanted_twice_must_come_twice():
    report = check_everyday(["50 of 50 is fine"], ["50 von allen ist gut"])
    assert report.digits_kept == 0.5 and report.faults == ((0, "lost 50"),)


def test_repetition_is_looked_for_in_tokens_where_given():
    assert check_everyday(["a b c"], ["a b c"], [[5, 5, 5]]).num_stammering == 1
    assert check_everyday(["a b c"], ["a a a"], [[5, 6, 7]]).num_stammering == 0


def test_exactly_half_and_twice_the_words_are_fine():
    assert check_everyday(["a b c d", "a b"], ["a b", "a b c d"]).is_good


@pytest.mark.parametrize("arguments", [([], []), (["a"], []), (["a"], ["b"], [])])
def test_sides_of_different_length_are_refused(arguments):
    with pytest.raises(ValueError, match="Pass as many of each"):
        check_everyday(*arguments)


def test_inputs_are_two_hundred_of_every_kind_and_their_references_pass():
    english, german = INPUTS["en"], INPUTS["de"]
    assert len(set(english)) == len(set(german)) == len(english) == len(german) == 200
    for texts in (english, german):
        assert all(5 <= len(text.split()) <= 40 for text in texts)
        assert sum("?" in text for text in texts) >= 20
        assert sum(text.isupper() for text in texts) >= 10
        assert sum(bool(numbers(text)) for text in texts) >= 60
        assert sum("@" in text for text in texts) >= 15
        assert sum(any("@" not in item for item in find_addresses(text)) for text in texts) >= 15
    for sources, references in ((english, german), (german, english)):
        report = check_everyday(sources, references)
        assert report.is_good and report.digits_kept == 1, report.faults


@pytest.mark.slow
@pytest.mark.parametrize(("source", "target"), [("en", "de"), ("de", "en")])
def test_shipped_model_keeps_what_must_be_kept(source, target):
    folder = ROOT / f"model_cards/{source}-{target}-onepass"
    if not folder.is_dir():
        pytest.skip(f"{folder.name} is not shipped yet")
    from transformers import pipeline

    import dims_hf  # noqa: F401  registers the models

    translate = pipeline("translation", model=str(folder))
    texts = [row["translation_text"] for row in translate(INPUTS[source], batch_size=20)]
    report = check_everyday(INPUTS[source], texts)
    assert report.is_good, report
