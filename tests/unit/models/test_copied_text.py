# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Addresses are found whole, give way to placeholders, and come back letter by letter whatever a model does."""

from __future__ import annotations

import time

import pytest

from dims_hf.models.copied_text import COPIED, PLACEHOLDERS, has_placeholders, hide_copied, show_copied


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
        ("I paid 1.250,50 at 14.35. Then he left.", []),
        ("e.g. this, i.e. that.", []),
        ("50 @ 3 each", []),
    ],
)
def test_addresses_are_hidden_and_shown_again(text, copied):
    hidden, found = hide_copied(text)
    assert found == copied
    assert not COPIED.search("".join(sign for sign in hidden if sign not in PLACEHOLDERS))
    assert sum(sign in PLACEHOLDERS for sign in hidden) == len(copied)
    assert show_copied(hidden, found) == text


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


def test_has_placeholders_wants_all_of_them():
    vocabulary = {"▁" + sign: number for number, sign in enumerate(PLACEHOLDERS)}
    assert has_placeholders(vocabulary)
    del vocabulary["▁" + PLACEHOLDERS[3]]
    assert not has_placeholders(vocabulary)


@pytest.mark.parametrize("part", ["a", "a.", "@", "www.", "a@", "a.a@", "http://", "-."])
def test_long_runs_are_searched_in_linear_time(part):
    start = time.process_time()
    hidden, copied = hide_copied(part * 20_000)
    assert show_copied(hidden, copied) == part * 20_000
    assert time.process_time() - start < 1
