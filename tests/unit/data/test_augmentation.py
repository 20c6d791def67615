# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Augmentations keep both sides of a pair parallel, draw from their generator alone, and touch whole words only."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

import pytest

from dims_hf.data import augmentation
from dims_hf.data.augmentation import (
    change_case,
    concatenate_neighbours,
    mask_copied,
    mask_names,
    place_addresses,
    replace_words,
    shared_names,
    vary_names,
    vary_numbers,
)
from dims_hf.models.copied_text import PLACEHOLDERS


PAIRS = [
    ("I met Tom in Boston.", "Ich traf Tom in Boston."),
    ("It cost 1,250 dollars in 1999.", "1999 kostete es 1.250 Dollar."),
    ("He is 7.", "Er ist sieben."),
    ("See www.a.com or b@c.de.", "Siehe b@c.de oder www.a.com."),
    ("Mary Maryland", "Mary aus Maryland"),
]


def signs(text: str) -> list[str]:
    return sorted(sign for sign in text if sign in PLACEHOLDERS)


@pytest.mark.parametrize(
    "augment",
    [
        lambda rng: concatenate_neighbours(PAIRS, 2.0, rng),
        lambda rng: change_case(PAIRS, 0.5, rng),
        lambda rng: vary_numbers(PAIRS, 2.5, rng),
        lambda rng: vary_names(PAIRS, 0.7, rng),
        lambda rng: mask_names(PAIRS, 0.7, rng),
        lambda rng: place_addresses(5, rng),
    ],
)
def test_same_seed_gives_the_same_pairs(augment: Callable):
    first, again, other = (list(augment(Random(seed))) for seed in (1, 1, 2))
    assert first == again
    assert first and first != other


def test_neighbours_are_joined_in_order_up_to_the_longest():
    joined = list(concatenate_neighbours(PAIRS, 20.0, Random(0), most=2, max_words=10))
    for source, target in joined:
        first = next(row for row, pair in enumerate(PAIRS) if source.startswith(pair[0]))
        assert source == f"{PAIRS[first][0]} {PAIRS[first + 1][0]}"
        assert target == f"{PAIRS[first][1]} {PAIRS[first + 1][1]}"
        assert max(len(source.split()), len(target.split())) <= 10
    assert 0 < len(joined) < 100


def test_case_changes_on_both_sides_alike():
    changed = list(change_case(PAIRS[:1] * 50, 1.0, Random(0)))
    upper, lower = (tuple(change(side) for side in PAIRS[0]) for change in (str.upper, str.lower))
    assert set(changed) == {upper, lower} and len(changed) == 50


def test_numbers_vary_together_and_keep_their_size_and_marks():
    copies = list(vary_numbers(PAIRS, 3.0, Random(0)))
    assert len(copies) == 3  # of one pair: the others have none, or other words for them
    for source, target in copies:
        dollars, year = re.fullmatch(r"It cost (\d,\d{3}) dollars in (\d{4})\.", source).groups()
        assert target == f"{year} kostete es {dollars.replace(',', '.')} Dollar."
        assert year[0] != "0"


def test_names_are_words_with_a_capital_on_both_sides_but_the_first():
    assert shared_names(PAIRS[0]) == ["Tom", "Boston"]
    assert shared_names(PAIRS[4]) == ["Maryland"]
    assert shared_names(("Tom saw Tom.", "Tom sah Tom.")) == []
    assert shared_names(("I like Toms.", "Ich mag Tom.")) == []


def test_varied_and_masked_names_agree_on_both_sides():
    for source, target in vary_names(PAIRS, 1.0, Random(0)):
        if source.startswith("I met"):
            assert re.fullmatch(r"I met (\w+) in (\w+)\.", source).groups() == (
                re.fullmatch(r"Ich traf (\w+) in (\w+)\.", target).groups()
            )
    masked = list(mask_names(PAIRS, 1.0, Random(0)))
    assert len(masked) == 2
    for source, target in masked:
        assert signs(source) == signs(target) and len(set(signs(source))) == len(signs(source)) > 0


def test_words_are_replaced_whole_and_at_once():
    assert replace_words("Mary of Maryland, Mary's", ["Mary", "Maryland"], ["Maryland", "x"]) == (
        "Maryland of x, Maryland's"
    )
    assert replace_words("as it is", [], []) == "as it is"


def test_addresses_of_both_sides_get_the_same_placeholders():
    first, second = PLACEHOLDERS[:2]
    assert list(mask_copied(PAIRS[3:4])) == [(f"See {first} or {second}.", f"Siehe {second} oder {first}.")]
    assert list(mask_copied([("a www.x.de", "b")])) == []
    assert list(mask_copied(PAIRS[:1])) == PAIRS[:1]


def test_numbers_are_masked_where_their_digits_agree():
    first, second = PLACEHOLDERS[:2]
    assert list(mask_copied(PAIRS[1:2])) == [
        (f"It cost {first} dollars in {second}.", f"{second} kostete es {first} Dollar.")
    ]
    assert list(mask_copied([("at 2:30", "um halb drei"), ("200", "300"), ("1,200 or 1200", "1200")])) == []
    assert list(mask_copied([("1,200 or 1200", "1200 oder 1.200")])) == [
        (f"{first} or {second}", f"{first} oder {second}")
    ]


def test_placeholders_that_are_there_already_keep_their_meaning():
    first, second = PLACEHOLDERS[:2]
    pair = (f"{second} met {first} in 1999.", f"{first} traf {second} 1999.")
    third = PLACEHOLDERS[2]
    assert list(mask_copied([pair])) == [(f"{second} met {first} in {third}.", f"{first} traf {second} {third}.")]
    assert list(mask_copied([(f"{second} left.", f"{first} ging.")])) == []
    many = " ".join(str(number) for number in range(100, 109))
    assert list(mask_copied([(many, many)])) == []


@pytest.mark.parametrize("pair", augmentation._ADDRESSES)
def test_address_contexts_have_the_same_places_on_both_sides(pair):
    english, german = pair
    places = re.findall(r"\{\d\}", english)
    assert sorted(places) == sorted(re.findall(r"\{\d\}", german)) and places


def test_placed_addresses_can_face_the_other_way():
    (english, german), (other, way) = (
        next(place_addresses(1, Random(3), english_first=english_first)) for english_first in (True, False)
    )
    assert (english, german) == (way, other) and signs(english) == signs(german)
