# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Sources as a stream: text, JSONL and Parquet files, saved data sets, data sets of the Hub and of memory.

Nothing is read twice or kept: rows come in order, with the place that errors name, and are cut into shards.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

from dims_hf._files import expand_home, stream_lines

from .shards import Job


KINDS = ("text", "jsonl", "parquet", "dataset")

STANDARD_INPUT = "-"

_SUFFIXES = {".jsonl": "jsonl", ".json": "jsonl", ".parquet": "parquet"}

# Columns that hold the sources where nothing is said, in this order.
_USUAL_COLUMNS = ("source", "text", "sentence")

# Rows of a data set that are taken out at once.
_GROUP = 1000

_LINE_BLOCK = 1 << 20


@dataclass(frozen=True)
class Segment:
    """
    Rows that came together.

    Args:
        name (`str`): what errors put before the number of a row.
        number (`int`): of the first row.
        rows (`Sequence[Any]`): texts, or mappings from column to value.
    """

    name: str
    number: int
    rows: Sequence[Any]


@dataclass(frozen=True)
class Columns:
    """
    What of a row is translated, and what is kept beside it.

    Args:
        source (`str`, *optional*): column of the sources; the usual names are tried when `None`.
        kept (`Sequence[str]`, *optional*): columns that are copied into the output.
        language (`str`, *optional*): key of the source in a column `translation`, as parallel data sets have it.
        as_json (`bool`): make kept values what JSON has: dates, times and decimals become text.
    """

    source: str | None = None
    kept: Sequence[str] = ()
    language: str | None = None
    as_json: bool = False

    def split(self, row: Any, where: str) -> tuple[str, dict[str, Any]]:
        """
        Text and kept columns of a row.

        Raises:
            ValueError: a column that is not there, a source that is no text, or a value that JSON has not.
        """
        if isinstance(row, str):
            for option, name in (("column", self.source), ("keep_columns", next(iter(self.kept), None))):
                if name is not None:
                    raise ValueError(f"{where} is plain text, which has no column {name!r}. Leave out {option}.")
            return row, {}
        if not isinstance(row, Mapping):
            raise ValueError(
                f"{where} is {type(row).__name__}, not a row. Give texts, or mappings from column to value."
            )
        text = self._source_of(row, where)
        if isinstance(text, Mapping):
            raise ValueError(
                f"{where} has a text in each of {', '.join(map(str, text))}. Say which is the source: source_lang."
            )
        if not isinstance(text, str):
            raise ValueError(
                f"{where}: the source is {type(text).__name__}, not text. Correct it, or name another column."
            )
        absent = [name for name in self.kept if name not in row]
        if absent:
            raise ValueError(f"{where} has no column {absent[0]!r}; it has {', '.join(row)}. Correct keep_columns.")
        kept = {name: row[name] for name in self.kept}
        return text, {name: _as_json(value, name, where) for name, value in kept.items()} if self.as_json else kept

    def _source_of(self, row: Mapping[str, Any], where: str) -> Any:
        if self.source is not None:
            if self.source in row:
                return row[self.source]
        elif self.language is not None and isinstance(row.get("translation"), Mapping):
            if self.language in row["translation"]:
                return row["translation"][self.language]
        else:
            usual = [name for name in _USUAL_COLUMNS if name in row]
            usual = usual or ([*row] if len(row) == 1 else [])
            if usual:
                return row[usual[0]]
        wanted = f"column {self.source!r}" if self.source else "column that is known to hold the sources"
        raise ValueError(
            f"{where} has no {wanted}; it has {', '.join(map(str, row)) or 'nothing'}. Name it with column, or of a "
            "parallel corpus give source_lang."
        )


def _as_json(value: Any, name: str, where: str) -> Any:
    """A value of a kept column as JSON has it."""
    try:
        return json.loads(json.dumps(value, default=_as_text))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{where}: column {name!r} holds {error}, which JSON has not. Do not keep it, or write parquet."
        ) from None


def _as_text(value: Any) -> str:
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (Decimal, UUID, timedelta)):
        return str(value)
    raise TypeError(f"a value of type {type(value).__name__}")


@dataclass(frozen=True)
class Corpus:
    """
    Sources to translate.

    Args:
        name (`str`): what the report calls them.
        segments (`Callable[[], Iterator[Segment]]`): reads them from the start.
        num_rows (`int`, *optional*): how many there are, where that is known.
    """

    name: str
    segments: Callable[[], Iterator[Segment]]
    num_rows: int | None

    def jobs(self, shard_size: int, columns: Columns, max_rows: int | None = None) -> Iterator[Job]:
        """The rows in shards of `shard_size`, in their order."""
        texts: list[str] = []
        kept: list[dict[str, Any]] = []
        marks: list[tuple[int, str, int]] = []
        shard = 0
        for segment in _first_rows(self.segments(), max_rows):
            start = 0
            while start < len(segment.rows):
                rows = segment.rows[start : start + shard_size - len(texts)]
                marks.append((len(texts), segment.name, segment.number + start))
                for number, row in enumerate(rows, segment.number + start):
                    text, beside = columns.split(row, f"{segment.name}{number}")
                    texts.append(text)
                    kept.append(beside)
                start += len(rows)
                if len(texts) == shard_size:
                    yield Job(shard, texts, kept if columns.kept else (), _merged(marks))
                    texts, kept, marks, shard = [], [], [], shard + 1
        if texts:
            yield Job(shard, texts, kept if columns.kept else (), _merged(marks))


def _first_rows(segments: Iterator[Segment], limit: int | None) -> Iterator[Segment]:
    for segment in segments:
        if limit is None:
            yield segment
        elif limit > 0:
            rows = segment.rows[:limit]
            limit -= len(rows)
            yield Segment(segment.name, segment.number, rows)
        else:
            return


def _merged(marks: list[tuple[int, str, int]]) -> list[tuple[int, str, int]]:
    """Marks without those that the one before implies."""
    merged: list[tuple[int, str, int]] = []
    for offset, name, number in marks:
        before = merged[-1] if merged else None
        if before is None or before[1] != name or before[2] + offset - before[0] != number:
            merged.append((offset, name, number))
    return merged


def open_corpus(
    data: Any,
    *,
    kind: str | None = None,
    split: str | None = None,
    config: str | None = None,
    streaming: bool = False,
) -> Corpus:
    """
    Finds out what `data` is; nothing is read but how much there is.

    Args:
        data (`Any`): path of a file, a list of them, `-` for standard input (text), a folder of `save_to_disk` or of
            data files, a Hub data set id, a `Dataset` or `IterableDataset`, or any other iterable of texts or rows.
        kind (`str`, *optional*): one of [`KINDS`]; the suffix of a file decides when `None`.
        split (`str`, *optional*): split of a data set; needed where it has several.
        config (`str`, *optional*): configuration of a Hub data set.
        streaming (`bool`, *optional*, defaults to `False`): read a Hub data set as it comes, without keeping it.

    Raises:
        ValueError: nothing there, or something else than was said.
    """
    if kind not in (None, *KINDS):
        raise ValueError(f"input_format must be one of {', '.join(KINDS)}, got {kind!r}.")
    if isinstance(data, (str, Path)):
        data = [data]
    is_paths = isinstance(data, Sequence) and all(isinstance(each, (str, Path)) for each in data)
    if not is_paths:
        return _memory_corpus(data, split)
    if not data:
        raise ValueError("There is nothing to translate: the list of files is empty.")
    places = [expand_home(each) for each in data]
    if kind == "dataset" or (kind is None and len(places) == 1 and not places[0].is_file() and str(data[0]) != "-"):
        if len(places) > 1:
            raise ValueError("Give one data set, or several files.")
        return _named_dataset(str(data[0]), places[0], split, config, streaming)
    for option, value in (("split", split), ("config", config), ("streaming", streaming or None)):
        if value is not None:
            raise ValueError(f"{option} is for a data set, and files have none. Leave it out.")
    return _file_corpus(places, kind)


# ---- files ---------------------------------------------------------------------------------------------------------


def _file_corpus(paths: Sequence[Path], kind: str | None) -> Corpus:
    for path in paths:
        if str(path) != STANDARD_INPUT and not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise ValueError(f"Input file {path} {what}. Correct the path; sentences are given as iter(sentences).")
    kinds = [kind or _SUFFIXES.get(path.suffix.lower(), "text") for path in paths]

    def segments() -> Iterator[Segment]:
        for path, each in zip(paths, kinds, strict=True):
            yield from _READERS[each](path)

    counts = [_num_parquet_rows(path) if each == "parquet" else _num_lines(path) for path, each in zip(paths, kinds)]
    known = [count for count in counts if count is not None]
    name = paths[0].name if len(paths) == 1 else f"{len(paths)} files"
    return Corpus(name, segments, sum(known) if len(known) == len(counts) else None)


def _read_text(path: Path) -> Iterator[Segment]:
    if str(path) == STANDARD_INPUT:
        yield from _segments_of_lines(sys.stdin.buffer, "standard input")
        return
    with path.open("rb") as stream:
        yield from _segments_of_lines(stream, str(path))


def _segments_of_lines(stream: BinaryIO, name: str) -> Iterator[Segment]:
    number = 1
    for lines in stream_lines(stream, name):
        yield Segment(f"{name}:", number, lines)
        number += len(lines)


def _read_jsonl(path: Path) -> Iterator[Segment]:
    for segment in _read_text(path):
        rows = [_parse(line, f"{segment.name}{number}") for number, line in enumerate(segment.rows, segment.number)]
        yield Segment(segment.name, segment.number, rows)


def _parse(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not valid JSON ({error}). JSONL has one object on every line.") from None


def _read_parquet(path: Path) -> Iterator[Segment]:
    number = 0
    for batch in _parquet_file(path).iter_batches(batch_size=_GROUP):
        rows = batch.to_pylist()
        yield Segment(f"{path} row ", number, rows)
        number += len(rows)


def _parquet_file(path: Path) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is no Parquet file, or damaged: {error}. Write it again.") from None


_READERS: dict[str, Callable[[Path], Iterator[Segment]]] = {
    "text": _read_text,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
}


def _num_parquet_rows(path: Path) -> int:
    return _parquet_file(path).metadata.num_rows


def _num_lines(path: Path) -> int | None:
    if str(path) == STANDARD_INPUT or not path.stat().st_size:
        return None
    count, last = 0, b""
    with path.open("rb") as file:
        while block := file.read(_LINE_BLOCK):
            count, last = count + block.count(b"\n"), block[-1:]
    return count + (last != b"\n")


# ---- data sets -----------------------------------------------------------------------------------------------------


def _memory_corpus(data: Any, split: str | None) -> Corpus:
    """A data set, a dict of them by split, or any iterable of texts or rows."""
    if isinstance(data, Mapping):
        data = _choose_split(data, split)
    if not isinstance(data, Iterable) or isinstance(data, bytes):
        raise ValueError(
            f"{type(data).__name__} cannot be translated. Give files, a data set, or an iterable of texts."
        )
    num_rows = len(data) if isinstance(data, Sized) else None
    if num_rows is not None and hasattr(data, "select"):
        return Corpus("data set", lambda: _read_table(data), num_rows)
    return Corpus("data set", lambda: _read_iterable(data), num_rows)


def _read_table(dataset: Any) -> Iterator[Segment]:
    for start in range(0, len(dataset), _GROUP):
        columns = dataset[start : start + _GROUP]
        rows = [dict(zip(columns, values)) for values in zip(*columns.values())]
        yield Segment("row ", start, rows)


def _read_iterable(data: Iterable[Any]) -> Iterator[Segment]:
    iterator, number = iter(data), 0
    while rows := list(islice(iterator, _GROUP)):
        yield Segment("row ", number, rows)
        number += len(rows)


def _named_dataset(name: str, path: Path, split: str | None, config: str | None, streaming: bool) -> Corpus:
    from datasets import load_dataset, load_from_disk

    if not path.is_dir() and (path.suffix or name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise ValueError(f"Input {name} does not exist. Give a file, a folder of a data set, or a Hub data set id.")
    try:
        if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
            data = load_from_disk(str(path))
        else:
            place = str(path) if path.is_dir() else name
            data = load_dataset(place, config, split=split, streaming=streaming)
            split = None
    except (OSError, ValueError, RuntimeError) as error:
        text = " ".join(str(error).split())
        raise ValueError(
            f"The data set {name!r} cannot be read ({text[:300]}). Correct its name, config or split."
        ) from error
    corpus = _memory_corpus(data, split)
    return Corpus(path.name if path.is_dir() else name, corpus.segments, corpus.num_rows)


def _choose_split(splits: Mapping[str, Any], split: str | None) -> Any:
    if split is None and len(splits) == 1:
        return next(iter(splits.values()))
    if split is None or split not in splits:
        what = "has several splits" if split is None else f"has no split {split!r}"
        raise ValueError(f"The data set {what}: {', '.join(map(str, splits))}. Name one with split.")
    return splits[split]
