# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Source texts: what is blank, where sentences end, and what the policies leave of blank and overlong texts."""

from __future__ import annotations

import pytest

from dims_hf.models.source_text import (
    PreparedSources,
    is_blank,
    is_shouted,
    join_pieces,
    prepare_sources,
    split_sentences,
)


class LetterTokenizer:
    """`<s>`, one id for each character that is no white space, `</s>`; as a tokenizer of the library is called."""

    def __call__(
        self, texts: list[str], *, verbose: bool = True, truncation: bool = False, max_length: int | None = None
    ) -> dict[str, list[list[int]]]:
        rows = [
            [0, *(ord(letter) for letter in text if not letter.isspace() and letter != "\x07"), 2] for text in texts
        ]
        return {
            "input_ids": [[*row[: max_length - 1], 2] if truncation and len(row) > max_length else row for row in rows]
        }


def texts_of(pieces: list[list[int]]) -> list[str]:
    return ["".join(map(chr, ids[1:-1])) for ids in pieces]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "\n\t",
        "\u200b",
        "\ufeff",
        "\u00ad\u2060",
        "\u00a0\u3000",
        "\u202a\x00",
        "\u3164",
        "\ufe0f",
        "\ue000",
    ],  # of private use: the tokenizer drops it
)
def test_what_cannot_be_seen_is_blank(text: str):
    assert is_blank(text)


@pytest.mark.parametrize("text", ["a", " . ", "\u200bx", "☃", "é", "0"])
def test_what_can_be_seen_is_not_blank(text: str):
    assert not is_blank(text)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        (" \n ", []),
        ("no end", ["no end"]),
        ("One. Two!  Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Dr. Who met J. Smith. He left.", ["Dr. Who met J. Smith.", "He left."]),
        ("Am 3. Mai war es warm. Es war 2020. Gut.", ["Am 3. Mai war es warm.", "Es war 2020.", "Gut."]),
        ("It costs 3.50 euros. OK.", ["It costs 3.50 euros.", "OK."]),
        ('"Stop!" he said. (Really?) Yes...', ['"Stop!"', "he said.", "(Really?)", "Yes..."]),
        ("first line\nsecond line", ["first line", "second line"]),
        ("你好。再见！「好。」完", ["你好。", "再见！", "「好。」", "完"]),
    ],
)
def test_sentences_end_at_their_marks(text: str, sentences: list[str]):
    assert split_sentences(text) == sentences


def test_texts_that_fit_are_one_piece_each_and_blank_ones_are_left_out():
    prepared = prepare_sources(["abc", " \u200b", "de", "\x07"], LetterTokenizer(), 5)
    assert texts_of(prepared.pieces) == ["abc", "de"]
    assert prepared.owners == [0, 2]
    assert prepared.left_out == {1: "blank", 3: "blank"}  # the last is nothing to the tokenizer
    assert prepare_sources([], LetterTokenizer(), 5) == ([], [], {}, {}, frozenset(), {})


def test_policies_for_long_texts():
    texts = ["ok", "aaa. bbbb. cc", "fine"]
    kept = {
        "truncate": (["ok", "aaa.bb", "fine"], [0, 1, 2], {}),
        "split": (["ok", "aaa.", "bbbb.", "cc", "fine"], [0, 1, 1, 1, 2], {}),
        "skip": (["ok", "fine"], [0, 2], {1: "long"}),
    }
    for policy, (pieces, owners, left_out) in kept.items():
        prepared = prepare_sources(texts, LetterTokenizer(), 8, on_long=policy)
        assert (texts_of(prepared.pieces), prepared.owners, prepared.left_out) == (pieces, owners, left_out)
        assert all(len(piece) <= 8 for piece in prepared.pieces)


@pytest.mark.parametrize(
    "text", ["aa bb cc dd ee", "abcdefghijkl", "a abcdefghij b", "aaa，bbb，ccc", "x" * 7 + ". yy"]
)
@pytest.mark.parametrize("max_length", [3, 4, 5, 6, 7])
def test_pieces_of_a_split_text_fit_and_lose_no_letter(text: str, max_length: int):
    prepared = prepare_sources([text], LetterTokenizer(), max_length, on_long="split")
    assert "".join(texts_of(prepared.pieces)) == text.replace(" ", "")
    assert all(2 < len(piece) <= max_length for piece in prepared.pieces)


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ("abc", {}, r"one string\. Pass a list of texts"),
        (["a", 3], {}, r"text 1 is no text but int\. Pass str"),
        (["a", None], {"name": "in.txt:{}".format}, r"in\.txt:1 is no text but NoneType"),
        (["a", "\ud800"], {}, r"text 1 holds half of a surrogate pair"),
        (["a", " "], {"on_blank": "error"}, r"text 1 is blank: ' '\. Remove it, or use on_blank='keep'"),
        (
            ["a", "abcdef"],
            {},
            r"text 1 has 8 tokens, the model takes at most 5 .*on_long='split', 'truncate' or 'skip'",
        ),
        (["a"], {"on_blank": "drop"}, r"on_blank must be one of keep, error, got 'drop'"),
        (["a"], {"on_long": "cut"}, r"on_long must be one of error, truncate, split, skip, got 'cut'"),
    ],
)
def test_what_a_policy_refuses_is_named(texts: list[str], options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        prepare_sources(texts, LetterTokenizer(), 5, **options)


@pytest.mark.parametrize(
    ("text", "lowered"),
    [
        ("KEEP OUT!", "Keep out!"),
        ("„STOP! ÄRZTE HIER.“ 3 TAGE", "„Stop! Ärzte hier.“ 3 tage"),
        ("МЫ ЖДЁМ", "Мы ждём"),
        ("UNESCO", None),
        ("I A 7", None),
        ("The UN and NATO", None),
        ("МЫ ждём", None),
        ("你好 世界", None),
        ("7 – 9", None),
    ],
)
def test_texts_in_capitals_are_translated_in_lower_case(text: str, lowered: str | None):
    assert is_shouted(text) == (lowered is not None)
    tokenizer = LetterTokenizer()
    prepared, plain = (
        prepare_sources([text, "x"], tokenizer, 50),
        prepare_sources([lowered or text, "x"], tokenizer, 50),
    )
    assert (prepared.pieces, prepared.shouted) == (plain.pieces, {0} if lowered else set())
    assert join_pieces(prepared, ["Straße", "Straße"], 2) == ["STRASSE" if lowered else "Straße", "Straße"]


def test_what_is_copied_from_capitals_keeps_its_letters():
    prepared = PreparedSources([[0]], [0], {}, {0: ["a@b.com"]}, frozenset({0}))
    assert join_pieces(prepared, ["Schreib an ◰"], 1) == ["SCHREIB AN a@b.com"]


def test_pieces_are_joined_without_blanks_beside_what_is_empty():
    prepared = PreparedSources([[0]] * 6, [0, 0, 0, 0, 2, 3], {1: "long"}, {1: ["a.com"], 3: ["b.de"]})
    joined = join_pieces(prepared, ["", " a", "", "b ", "", "c"], 4)
    # an address of a text that was left out is left out, too
    assert joined == ["a b", "", "", "c b.de"]
