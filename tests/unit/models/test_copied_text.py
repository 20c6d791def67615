# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Addresses and numbers are found whole, give way to placeholders, and come back whatever a model does."""

from __future__ import annotations

import time

import pytest

from dims_hf.data import train_tokenizer
from dims_hf.models.copied_text import (
    COPIED,
    PLACEHOLDERS,
    hide_copied,
    knows_placeholders,
    show_copied,
    split_emoji,
)
from dims_hf.models.paragraphs import cut_paragraphs
from dims_hf.models.source_text import join_pieces as join_texts, prepare_sources
from dims_hf.translation.sentences import Translation, join_pieces


@pytest.mark.parametrize(
    ("text", "copied"),
    [
        ("See https://example.com/a?b=1&c=2#d.", ["https://example.com/a?b=1&c=2#d"]),
        ("(www.example.de/Straße), really", ["www.example.de/Straße"]),
        ("Mail bob.smith+x@mail.example.org!", ["bob.smith+x@mail.example.org"]),
        ("example.com and sub.domain.co.uk/path.", ["example.com", "sub.domain.co.uk/path"]),
        ("HTTP://EXAMPLE.COM/X", ["HTTP://EXAMPLE.COM/X"]),
        ("Ask @tom_99, not me", ["@tom_99"]),
        ("„https://de.wikipedia.org/wiki/Köln“", ["https://de.wikipedia.org/wiki/Köln"]),
        ("ftp://files.example.net/a.txt; then", ["ftp://files.example.net/a.txt"]),
        ("a ◰ b", ["◰"]),
        ("I paid 1.250,50 at 14.35. Then he left.", ["1.250,50", "14.35"]),
        ("In 1999, 3/4 of 250 (20 more)", ["1999", "250"]),
        ("$1,250.50 or 100%, from 14:35-15:00", ["1,250.50", "100", "14:35-15:00"]),
        ("It was -500 degrees on 2026-11-29.", ["-500", "2026-11-29"]),
        ("From −273.15 to +1000, A-500, 100-200", ["−273.15", "+1000", "100-200"]),
        ("I earn €500, £1,250.50 or 1.500 €; 500€ a day, €5", ["€500", "£1,250.50", "1.500 €", "500€"]),
        ("Call +49 170 1234567 or +1 (555) 123-4567 now, 5+500", ["+49 170 1234567", "+1 (555) 123-4567", "500"]),
        ("He left.At noon he came to Berlin.De facto. See A.COM", ["A.COM"]),
        ("The 1980s, 100km, 101st, A320, COVID-2019, 1,250s, x.250", []),
        ("3 5 7, 12:5 and 1.5", ["12:5"]),
        ("e.g. this, i.e. that.", []),
        ("50 @ 3 each", []),
        ("Hello {name}, {{ count }} of ${MAX} in {0}", ["{name}", "{{ count }}", "${MAX}", "{0}"]),
        ("%s has %(count)d files, %2$s %.2f", ["%s", "%(count)d", "%2$s", "%.2f"]),
        ("100 % sure, 5%, {see below}, 5%d", ["100", "%d"]),
        ("You ❤️ me 👍🏽 and 👩‍👩‍👧 or 🇩🇪 now", ["❤️", "👍🏽", "👩‍👩‍👧", "🇩🇪"]),
        ("Party 🎉🎉 🎉, press 2️⃣ or #⃣, 🏴󠁧󠁢󠁥󠁮󠁧󠁿 England", ["🎉🎉 🎉", "2️⃣", "#⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]),
    ],
)
def test_addresses_are_hidden_and_shown_again(text, copied):
    hidden, found = hide_copied(text)
    assert found == copied
    assert not COPIED.search("".join(sign for sign in hidden if sign not in PLACEHOLDERS))
    assert sum(sign in PLACEHOLDERS for sign in hidden) == len(copied)
    assert show_copied(hidden, found) == text


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Good morning! 😀", ("", "Good morning!", " 😀")),
        ("😀 Hi, {name} 👍🏽👍🏽 \n", ("😀 ", "Hi, {name}", " 👍🏽👍🏽 \n")),
        ("★★★★★ Good.", ("★★★★★ ", "Good.", "")),
        ("I ❤️ you.", ("", "I ❤️ you.", "")),
        ("😀", ("", "😀", "")),
        ("12 😀", ("", "12 😀", "")),
        ("", ("", "", "")),
    ],
)
def test_emoji_outside_of_a_sentence_are_no_part_of_it(text, parts):
    assert split_emoji(text) == parts and "".join(parts) == text


@pytest.mark.parametrize(
    "text", ["a" + " " * 200_000 + "b", "😀" + " " * 200_000 + "a", "%" + "0" * 200_000, "😀" * 50_000]
)
def test_long_runs_are_read_once(text):
    start = time.process_time()
    assert "".join(split_emoji(text)) == text
    hide_copied(text)
    cut_paragraphs(text)
    assert time.process_time() - start < 5  # hours, where every place of a run is looked at from every other


def test_emoji_come_back_on_their_side_and_runs_stay_together(taught):
    texts = ["😀 Go to a 🎉🎉!", "Go 🎉🎉 to a", "12 😀"]
    prepared = prepare_sources(texts, taught[0], 50)
    assert prepared.around == {0: ("😀 ", "")} and prepared.copied == {0: ["🎉🎉"], 1: ["🎉🎉"], 2: ["😀"]}
    written = join_texts(prepared, ["Geh zu a ◰!", "Geh zu a", "◰"], 3)
    assert written == ["😀 Geh zu a 🎉🎉!", "Geh zu a 🎉🎉", "😀"]
    # a model without placeholders reads them as they are
    assert prepare_sources(texts, taught[1], 50).around == {}


@pytest.mark.parametrize(
    ("translation", "shown"),
    [
        ("◰ und ◱.", "a.com und b.com."),
        ("◱ und ◰.", "b.com und a.com."),  # word order is the model's
        ("Nur ◱.", "Nur b.com. a.com"),  # lost
        ("Nichts.", "Nichts. a.com b.com"),
        ("◰ ◰ ◱", "a.com b.com"),  # repeated
        ("◰ ◱ ◵.", "a.com b.com ."),  # made up
        ("", "a.com b.com"),
    ],
)
def test_every_address_is_shown_exactly_once(translation, shown):
    assert show_copied(translation, ["a.com", "b.com"]) == shown


def test_more_addresses_than_placeholders_come_back_in_order():
    text = " ".join(f"x{number}.com" for number in range(20))
    hidden, copied = hide_copied(text)
    assert hidden.split() == [PLACEHOLDERS[number % 8] for number in range(20)]
    assert show_copied(hidden, copied) == text


@pytest.fixture(scope="module")
def taught():
    """A tokenizer with a token for every placeholder, and one without."""
    text = "Go to a . com or b@c . de now ."
    lines = [text, *(f"{sign} {sign}" for sign in PLACEHOLDERS)] * 3
    return train_tokenizer(lines, 80, byte_fallback=False), train_tokenizer([text] * 3, 80, byte_fallback=False)


def test_placeholders_are_known_where_each_is_a_token(taught):
    assert knows_placeholders(taught[0]) and not knows_placeholders(taught[1])
    rare = train_tokenizer(["a b c"], 400, byte_fallback=True)
    assert not knows_placeholders(rare)


def test_sources_have_placeholders_for_models_that_know_them(taught):
    texts = ["Go to a.com now.", "Go now.", "b@c.de or a.com"]
    prepared = prepare_sources(texts, taught[0], 50)
    assert prepared.copied == {0: ["a.com"], 2: ["b@c.de", "a.com"]}
    assert [taught[0].decode(ids, skip_special_tokens=True) for ids in prepared.pieces] == [
        "Go to ◰ now.", "Go now.", "◰ or ◱",
    ]  # fmt: skip
    plain = prepare_sources(texts, taught[1], 50)
    assert plain.copied == {} and plain.pieces == taught[1](texts)["input_ids"]


def test_translations_have_what_was_copied_in_their_texts(taught):
    prepared = prepare_sources(["Go to a.com now.", "", "b@c.de"], taught[0], 50)
    pieces = [Translation("Nun ◰ ◰", "Nun ◰ ◰ ◰", (7, 8), (7, 8, 8), -1.0), Translation("x", "x", (9,), (9,), 0.0)]
    joined = join_pieces(3, prepared, pieces)
    assert [each.text for each in joined] == ["Nun a.com", "", "x b@c.de"]
    assert joined[0].raw_text == "Nun a.com" and joined[0].token_ids == (7, 8)


@pytest.mark.parametrize("part", ["a", "a.", "@", "www.", "a@", "a.a@", "http://", "-.", "1", "1,", "1-a", "12:"])
def test_long_runs_are_searched_in_linear_time(part):
    start = time.process_time()
    hidden, copied = hide_copied(part * 20_000)
    assert show_copied(hidden, copied) == part * 20_000
    assert time.process_time() - start < 1
