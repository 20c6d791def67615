# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Sources of every kind become the same rows, cut into shards, each with the place that errors name."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dims_hf.bulk.reading import Columns, open_corpus


TEXTS = [f"satz {row} ä\u2028" for row in range(7)]


def write_text(folder: Path) -> Any:
    path = folder / "a.en"
    path.write_text("\n".join(TEXTS), encoding="utf-8")  # no line feed at the end
    return path


def write_jsonl(folder: Path) -> Any:
    path = folder / "a.jsonl"
    rows = [json.dumps({"text": text, "id": row}) + "\n" for row, text in enumerate(TEXTS)]
    path.write_text("".join(rows), encoding="utf-8")
    return str(path)


def write_parquet(folder: Path) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"text": TEXTS, "id": range(7)}), folder / "a.parquet", row_group_size=2)
    return folder / "a.parquet"


def write_saved(folder: Path) -> Any:
    make_dataset(folder).save_to_disk(folder / "saved")
    return folder / "saved"


def make_dataset(folder: Path) -> Any:
    from datasets import Dataset

    return Dataset.from_dict({"text": TEXTS, "id": list(range(7))})


def make_stream(folder: Path) -> Any:
    return make_dataset(folder).to_iterable_dataset()


def make_splits(folder: Path) -> Any:
    from datasets import DatasetDict

    return DatasetDict({"train": make_dataset(folder)})


def make_iterator(folder: Path) -> Any:
    return (text for text in TEXTS)


def texts_of(corpus: Any, size: int = 3, **options: Any) -> list[list[str]]:
    return [list(job.texts) for job in corpus.jobs(size, Columns(), **options)]


@pytest.mark.parametrize(
    "make",
    [write_text, write_jsonl, write_parquet, write_saved, make_dataset, make_stream, make_splits, make_iterator],
)
def test_every_kind_of_source_gives_the_same_shards(tmp_path: Path, make: Callable[[Path], Any]):
    corpus = open_corpus(make(tmp_path))
    assert texts_of(corpus) == [TEXTS[:3], TEXTS[3:6], TEXTS[6:]]
    assert corpus.num_rows == (None if make in (make_stream, make_iterator) else 7)


def test_standard_input_is_text(monkeypatch: pytest.MonkeyPatch):
    raw = io.BytesIO("".join(f"{text}\r\n" for text in TEXTS).encode())
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(raw)))
    corpus = open_corpus("-")
    assert corpus.num_rows is None and sum(texts_of(corpus), []) == TEXTS


def test_several_files_are_one_corpus_and_every_row_is_named(tmp_path: Path):
    paths = [write_text(tmp_path), write_jsonl(tmp_path), write_parquet(tmp_path)]
    corpus = open_corpus(paths)
    assert corpus.num_rows == 21
    jobs = list(corpus.jobs(9, Columns()))
    assert sum((list(job.texts) for job in jobs), []) == TEXTS * 3
    assert [jobs[0].locate(index) for index in (0, 6, 7, 8)] == [
        f"{paths[0]}:1", f"{paths[0]}:7", f"{paths[1]}:1", f"{paths[1]}:2",
    ]  # fmt: skip
    assert jobs[2].locate(0) == f"{paths[2]} row 4"
    assert sum(texts_of(corpus, 4, max_rows=8), []) == [*TEXTS, TEXTS[0]]


def test_columns_are_chosen_kept_and_taken_out_of_pairs(tmp_path: Path):
    (job,) = open_corpus(write_jsonl(tmp_path)).jobs(9, Columns(kept=("id",)))
    assert [kept["id"] for kept in job.kept] == list(range(7))
    pairs = [{"translation": {"en": "a", "de": "b"}}, {"translation": {"en": "c", "de": "d"}}]
    for language, expected in (("en", ["a", "c"]), ("de", ["b", "d"])):
        (job,) = open_corpus(iter(pairs)).jobs(9, Columns(language=language))
        assert job.texts == expected
    (job,) = open_corpus(iter([{"x": "a", "y": "b"}])).jobs(9, Columns("y"))
    assert job.texts == ["b"]


def test_kept_values_are_what_json_has_or_named(tmp_path: Path):
    rows = [{"text": "a", "on": datetime(2026, 11, 30, 12), "price": Decimal("1.50"), "tags": ("x", date(2026, 1, 2))}]
    columns = Columns(kept=("on", "price", "tags"), as_json=True)
    (job,) = open_corpus(iter(rows)).jobs(9, columns)
    assert job.kept == [{"on": "2026-11-30T12:00:00", "price": "1.50", "tags": ["x", "2026-01-02"]}]
    (job,) = open_corpus(iter(rows)).jobs(9, Columns(kept=("price",)))
    assert job.kept == [{"price": Decimal("1.50")}]  # Parquet has such values
    with pytest.raises(ValueError, match="row 0: column 'raw' holds a value of type bytes, which JSON has not"):
        list(open_corpus(iter([{"text": "a", "raw": b"x"}])).jobs(9, Columns(kept=("raw",), as_json=True)))


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([{"x": "a", "y": "b"}], Columns(), "row 0 has no column that is known to hold the sources; it has x, y"),
        ([{"text": "a"}, {"texd": "b", "z": 1}], Columns("text"), "row 1 has no column 'text'; it has texd, z"),
        ([{"text": 5}], Columns(), "row 0: the source is int, not text"),
        ([{"text": {"en": "a", "de": "b"}}], Columns(), "row 0 has a text in each of en, de. Say which is the source"),
        (["a", 5], Columns(), "row 1 is int, not a row"),
        (["a"], Columns(kept=("id",)), "row 0 is plain text, which has no column 'id'"),
        (["a"], Columns(source="text"), "row 0 is plain text, which has no column 'text'. Leave out column"),
        ([{"text": "a"}], Columns(kept=("id",)), "row 0 has no column 'id'; it has text"),
    ],
)
def test_rows_without_a_source_are_named(rows: list, columns: Columns, message: str):
    with pytest.raises(ValueError, match=message):
        list(open_corpus(iter(rows)).jobs(9, columns))


def test_faults_of_files_are_named(tmp_path: Path):
    write_jsonl(tmp_path)
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write("{no json\n")
    with pytest.raises(ValueError, match=r"a.jsonl:8: not valid JSON"):
        list(open_corpus(tmp_path / "a.jsonl").jobs(3, Columns()))
    (tmp_path / "b.parquet").write_text("no parquet")
    with pytest.raises(ValueError, match="b.parquet is no Parquet file, or damaged"):
        open_corpus(tmp_path / "b.parquet")
    with pytest.raises(ValueError, match="absent.en does not exist"):
        open_corpus(tmp_path / "absent.en")
    with pytest.raises(ValueError, match="absent.en does not exist"):
        open_corpus([tmp_path / "absent.en", write_text(tmp_path)])
    with pytest.raises(ValueError, match="input_format must be one of text, jsonl, parquet, dataset, got 'csv'"):
        open_corpus("a.csv", kind="csv")
    with pytest.raises(ValueError, match="the list of files is empty"):
        open_corpus([])
    with pytest.raises(ValueError, match="int cannot be translated"):
        open_corpus(5)


def test_data_set_with_several_splits_needs_one(tmp_path: Path):
    from datasets import DatasetDict

    splits = DatasetDict({"train": make_dataset(tmp_path), "test": make_dataset(tmp_path).select(range(2))})
    with pytest.raises(ValueError, match="has several splits: train, test. Name one with split"):
        open_corpus(splits)
    with pytest.raises(ValueError, match="has no split 'dev': train, test"):
        open_corpus(splits, split="dev")
    splits.save_to_disk(tmp_path / "saved")
    for data in (splits, tmp_path / "saved"):
        assert texts_of(open_corpus(data, split="test")) == [TEXTS[:2]]


def test_folder_of_data_files_is_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "folder"
    folder.mkdir()
    write_jsonl(folder)
    for streaming in (False, True):
        corpus = open_corpus(folder, split="train", streaming=streaming)
        assert sum(texts_of(corpus), []) == TEXTS
        assert corpus.num_rows == (None if streaming else 7)


@pytest.mark.parametrize("option", [{"split": "train"}, {"config": "x"}, {"streaming": True}], ids=str)
def test_options_of_data_sets_are_refused_with_files(tmp_path: Path, option):
    (tmp_path / "in.txt").write_text("a\n")
    with pytest.raises(ValueError, match=f"{next(iter(option))} is for a data set, and files have none"):
        open_corpus(tmp_path / "in.txt", **option)
