# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Distilled corpora: beam search in shards, languages of the teacher, filters, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import MarianMTModel

from dims_hf.data import load_corpus
from dims_hf.data.beam_search import Alternative, BeamTranslator, TranslatedRow
from dims_hf.data.distilled import (
    DROP_REASONS,
    SHARD_SETTINGS,
    PairFilter,
    TranslationShards,
    check_held_out,
    check_shard_settings,
    check_split,
    columns_of,
    filter_rows,
    save_shard_settings,
    sources_fingerprint,
    write_split,
)
from tests.fixtures.teachers import make_sources


@pytest.fixture(scope="module")
def translator(random_marian: MarianMTModel, tiny_tokenizer: Any) -> BeamTranslator:
    return BeamTranslator(random_marian, tiny_tokenizer, num_beams=3, max_tokens_per_batch=200)


# ---- shards -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_rows", "size", "expected"),
    [
        (7, 3, [range(0, 3), range(3, 6), range(6, 7)]),
        (6, 3, [range(0, 3), range(3, 6)]),
        (1, 3, [range(0, 1)]),
    ],
)
def test_shards_cover_every_row_once(tmp_path: Path, num_rows: int, size: int, expected: list[range]):
    shards = TranslationShards(tmp_path, "train", num_rows, size)
    assert [shards.rows(shard) for shard in range(len(shards))] == expected
    assert shards.path(0).name == f"train-00000-of-{len(expected):05d}.jsonl"
    assert shards.missing() == list(range(len(expected)))


def test_shards_of_three_processes_or_one_are_the_same_bytes(tmp_path: Path, translator: BeamTranslator):
    sources = make_sources(13)
    one = TranslationShards(tmp_path / "one", "train", 13, 3)
    one.translate(sources, translator, one.missing())
    three = TranslationShards(tmp_path / "three", "train", 13, 3)
    missing = three.missing()
    for process in (2, 0, 1):
        three.translate(sources, translator, missing[process::3])
    assert three.missing() == []
    for shard in range(5):
        assert three.path(shard).read_bytes() == one.path(shard).read_bytes()
    assert three.read()[:3] == translator(sources[:3])
    assert len(three.read()) == 13


def test_shard_that_is_missing_or_short_is_named(tmp_path: Path, translator: BeamTranslator):
    shards = TranslationShards(tmp_path, "train", 5, 2)
    shards.translate(make_sources(5), translator, [0, 2])
    with pytest.raises(ValueError, match="There is no .*train-00001-of-00003.jsonl. Run the same command again"):
        shards.read()
    shards.path(1).write_text(shards.path(2).read_text())
    with pytest.raises(ValueError, match="00001-of-00003.jsonl has 1 rows and should have 2. Delete it"):
        shards.read()


@pytest.mark.parametrize(("num_rows", "size"), [(0, 3), (3, 0)])
def test_shards_of_nothing_are_refused(tmp_path: Path, num_rows: int, size: int):
    with pytest.raises(ValueError, match="both must be >= 1"):
        TranslationShards(tmp_path, "train", num_rows, size)


def test_folder_with_other_settings_is_refused_by_what_differs(tmp_path: Path):
    check_shard_settings(tmp_path, {"num_beams": 5})
    (tmp_path / ".train.9.tmp").touch()
    save_shard_settings(tmp_path, {"num_beams": 5, "model": "abc", "dropped": 1})
    assert [path.name for path in tmp_path.iterdir()] == [SHARD_SETTINGS]
    check_shard_settings(tmp_path, {"num_beams": 5, "model": "abc", "added": 2})
    with pytest.raises(ValueError) as refusal:
        check_shard_settings(tmp_path, {"num_beams": 4, "model": "abc"})
    assert str(refusal.value) == (
        f"{tmp_path} holds translations with num_beams=5, this recipe says num_beams=4. Choose another output_dir, or "
        "delete it."
    )


# ---- filters and files --------------------------------------------------------------------------------------------


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
