# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Distilled corpora: beam search in shards, languages of the teacher, filters, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import Dataset

from dims_hf.data import load_corpus
from dims_hf.data.beam_search import Alternative, TranslatedRow
from dims_hf.data.distilled import (
    DROP_REASONS,
    PairFilter,
    check_held_out,
    check_split,
    columns_of,
    filter_rows,
    sources_fingerprint,
    write_split,
)


@pytest.mark.parametrize(
    ("source", "row", "reason"),
    [
        ("a dog", TranslatedRow("ein Hund", 2, 2, True), None),
        ("a dog", TranslatedRow(None, 900, 0, False), "too_long"),
        ("a dog", TranslatedRow("ein ein ein", 2, 26, False), "too_long"),
        ("a dog", TranslatedRow("", 2, 0, True), "empty"),
        ("a dog", TranslatedRow("ein <mask>", 2, 2, True), "special_token"),
        ("a dog", TranslatedRow("x", 4, 12, True), None),  # exactly 3 times
        ("a dog", TranslatedRow("x", 4, 13, True), "length_ratio"),
        ("a dog", TranslatedRow("x", 13, 4, True), "length_ratio"),
        ("a dog", TranslatedRow("x", 1, 10, True), None),  # ten tokens: no ratio yet
        ("a dog", TranslatedRow("x", 1, 11, True), "length_ratio"),
        ("a  Dog", TranslatedRow("A dog", 2, 2, True), "copy"),
        ("a dog", TranslatedRow("a dog !", 2, 3, True), None),
        ("a dog", TranslatedRow("a dog", 1, 11, True), "length_ratio"),  # the first reason counts
    ],
)
def test_reason_of_a_pair(source: str, row: TranslatedRow, reason: str | None):
    assert PairFilter().reason(source, row) == reason


def test_filters_that_are_off_keep_the_pair():
    off = PairFilter(max_length_ratio=None, drop_copies=False)
    assert off.reason("a dog", TranslatedRow("a dog", 1, 90, True)) is None
    with pytest.raises(ValueError, match="max_length_ratio must be >= 1, got 0.5"):
        PairFilter(max_length_ratio=0.5)


def test_filter_rows_counts_every_row_once():
    rows = [
        TranslatedRow("eins", 1, 1, True),
        TranslatedRow("", 1, 0, True),
        TranslatedRow(None, 99, 0, False),
        TranslatedRow("three", 1, 1, True),
        TranslatedRow("vier", 1, 1, True),
        TranslatedRow("", 1, 0, True),
    ]
    kept, dropped = filter_rows(["one", "two", "long", "three", "four", "five"], rows, PairFilter())
    assert kept == [0, 4]
    assert dropped == {"too_long": 1, "empty": 2, "special_token": 0, "length_ratio": 0, "copy": 1}
    assert tuple(dropped) == DROP_REASONS
    with pytest.raises(ValueError, match=r"All 1 translations were left out \(empty 1\). Look at the shards"):
        filter_rows(["two"], rows[1:2], PairFilter())


def test_alternatives_pass_the_same_filter():
    others = (Alternative("der Hund", 2, True), Alternative("", 0, True), Alternative("ein Hund da", 3, False))
    row = TranslatedRow("ein Hund", 2, 2, True, (*others, Alternative("A dog", 2, True)))
    assert PairFilter().alternatives("a dog", row) == ["der Hund"]
    assert PairFilter(drop_copies=False).alternatives("a dog", row) == ["der Hund", "A dog"]


@pytest.mark.parametrize("split", ["valid", "test"])
def test_held_out_split_is_not_distilled(split: str):
    check_split("train")
    with pytest.raises(
        ValueError, match=f"The {split} split is not distilled: .* measures agreement with the teacher"
    ):
        check_split(split)


def test_training_split_that_is_a_held_out_one_is_refused():
    splits = {"train": {"source": list("abcdefgh")}, "valid": {"source": ["a", "b", "x", "y", "a"]}}
    assert check_held_out(splits) == {"valid": 3}  # two of four distinct ones: not more than half
    for smaller in ({"source": ["a", "b", "c", "x"]}, {"source": list("abcdefghijklmnopq")}):
        with pytest.raises(ValueError, match="looks like a held-out set, which is not distilled"):
            check_held_out({**splits, "test": smaller})


def test_split_is_written_as_its_readers_read_it(tmp_path: Path):
    rows = Dataset.from_dict({"source": ["a", "c\u2028d"], "target": ["x", "y"], "near": [0, 1]})
    columns = columns_of(rows, ["„e“", "g\u00a0h"], "en", "de")
    for split in ("train", "valid"):
        write_split(tmp_path, split, columns)
    expected = {"source": ["a", "c\u2028d"], "target": ["„e“", "g\u00a0h"], "near": [0, 1]}
    assert load_corpus(tmp_path, "en", "de")["train"].to_dict() == expected
    assert (
        (tmp_path / "valid.jsonl").read_text(encoding="utf-8").startswith('{"translation": {"en": "a", "de": "„e“"}')
    )


def test_sources_fingerprint_tells_order_and_borders_apart():
    texts = [["ab", "c"], ["a", "bc"], ["c", "ab"], ["ab\nc"]]
    assert len({sources_fingerprint(text) for text in texts}) == len(texts)
