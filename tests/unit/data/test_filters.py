# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Filters of pairs with their reasons, and near copies against a comparison of every pair of sentences."""

from __future__ import annotations

from random import Random

import pytest

from dims_hf.data.filters import REASONS, comparable, filter_pairs, mend_apostrophes, near_copies


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (("I am here.", "Ich bin hier."), None),
        (("No.", "Auf gar keinen Fall, mein Freund!"), "length_ratio"),
        (("No.", "Auf gar keinen Fall!"), None),
        (("", "Ja."), "empty"),
        (("a " * 101, "b " * 101), "too_long"),
        (("a b c d e f", "a b c d e f"), "untranslated"),
        (("New York", "New York"), None),
        (("Das ist der Hund und die Katze.", "Das ist der Hund und die Katze!"), "language"),
        (("This is the dog.", "This is the dog and that is it."), "language"),
        (("See the Das Boot.", "Sieh dir Das Boot an."), None),
        (("the held out one", "etwas anderes ist hier"), "held_out"),
        (("something else", "Der ZURÜCKGELEGTE Satz!"), "held_out"),
    ],
)
def test_pairs_are_left_out_for_their_first_reason(pair, reason):
    held_out = [("The held-out one!", "Der zurückgelegte Satz.")]
    kept, counts = filter_pairs([pair], ("en", "de"), held_out=held_out)
    assert (kept, dict(counts)) == (([pair], {}) if reason is None else ([], {reason: 1}))
    assert set(counts) <= set(REASONS)


def test_other_languages_are_not_looked_at():
    pair = ("Das ist der Hund und die Katze.", "Den er hunden og katten.")
    assert filter_pairs([pair], ("fr", "da"))[0] == [pair]
    assert filter_pairs([pair], ("de", "da"))[0] == [pair]


def is_near(first: str, second: str) -> bool:
    """By definition: at most one word substituted, added or dropped."""
    first, second = comparable(first), comparable(second)
    edits = {first}
    edits |= {first[:place] + first[place + 1 :] for place in range(len(first))}
    for word in second:
        edits |= {(*first[:place], word, *first[place:]) for place in range(len(first) + 1)}
        edits |= {(*first[:place], word, *first[place + 1 :]) for place in range(len(first))}
    return second in edits


def test_near_copies_are_those_within_one_word():
    assert near_copies(["A b, c!"], ["a b c"]) == [1]
    random = Random(0)
    sentences = [" ".join(random.choices("abcd", k=random.randint(1, 5))) for _ in range(400)]
    held_out, corpus = sentences[:250], [f"{sentence} e" for sentence in sentences[250:290]]
    expected = [int(any(is_near(text, other) for other in corpus)) for text in held_out]
    assert near_copies(held_out, corpus) == expected
    assert 0 < sum(expected) < len(expected)


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("The Commission' s and people’ s", "The Commission's and people’s"),
        ("we' re; don' t", "we're; don't"),
        ("the dogs' tails, 'so' s", "the dogs' tails, 'so's"),
        ("the members' speeches", "the members' speeches"),
    ],
)
def test_detached_apostrophes_are_joined_and_no_others(text, mended):
    assert mend_apostrophes(text) == mended
