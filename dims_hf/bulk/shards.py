# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Output in shards: files of so many rows, each whole or absent, with a record of what it was made from.

A shard depends on its sources, the model and the settings alone, whichever process writes it, and when. It is done
when its file and its record are there; a kill between the two costs that shard.
"""

from __future__ import annotations

import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dims_hf._output import remove_debris, replacing


MANIFEST = "manifest.json"
"""The settings that shards were made with and, once all are there, their list."""

RECORDS = "_records"

# Of a setting that is not there; equal to no value.
_NOTHING = object()

FORMATS = {"jsonl": ".jsonl", "text": ".txt", "parquet": ".parquet"}
"""Form of a shard -> suffix of its file."""


@dataclass(frozen=True)
class Job:
    """
    The sources of one shard.

    Args:
        shard (`int`): its number, from 0.
        texts (`Sequence[str]`): source texts.
        kept (`Sequence[Mapping[str, Any]]`): for each text, what is copied from its row beside it; empty for nothing.
        marks (`Sequence[tuple[int, str, int]]`): where the texts come from: from this text of the shard on, so the
            source is called, and this is the number of that row in it.
    """

    shard: int
    texts: Sequence[str]
    kept: Sequence[Mapping[str, Any]] = ()
    marks: Sequence[tuple[int, str, int]] = ()

    def locate(self, index: int) -> str:
        """How errors call a text: `corpus.en:17`."""
        if not self.marks:
            return f"text {index} of shard {self.shard}"
        # the last mark at or before the text
        first, name, number = self.marks[bisect_right([mark[0] for mark in self.marks], index) - 1]
        return f"{name}{number + index - first}"

    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change with any text, their order, or what is kept beside them."""
        content = json.dumps([list(self.texts), list(self.kept)], default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Content:
    """
    What becomes of a job.

    Args:
        rows (`list[dict[str, Any]]`): one for each text, in their order, as JSON has them.
        counts (`dict[str, float]`): sums over the shard, for the report.
    """

    rows: list[dict[str, Any]]
    counts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """
    What is known of a shard that is done.

    Args:
        shard (`int`): its number.
        rows (`int`): rows in it.
        sources (`str`): fingerprint of what it was made from.
        size (`int`): bytes of its file.
        sha256 (`str`): checksum of its file.
        counts (`dict[str, float]`): sums over the shard.
    """

    shard: int
    rows: int
    sources: str
    size: int
    sha256: str
    counts: dict[str, float]


@dataclass(frozen=True)
class Shards:
    """
    Files of `shard_size` rows in a folder.

    Args:
        folder (`Path`): where the files are.
        name (`str`): first part of their names.
        shard_size (`int`): rows of a file; the last may have fewer.
        num_rows (`int`, *optional*): rows of all files, where that is known beforehand; their names say so then.
        form (`str`, *optional*, defaults to `"jsonl"`): one of [`FORMATS`].

    Raises:
        ValueError: no rows, `shard_size` < 1, or an unknown form.
    """

    folder: Path
    name: str
    shard_size: int
    num_rows: int | None = None
    form: str = "jsonl"

    def __post_init__(self) -> None:
        if self.shard_size < 1 or (self.num_rows is not None and self.num_rows < 1):
            rows = "" if self.num_rows is None else f" and {self.num_rows} rows"
            raise ValueError(f"shard_size={self.shard_size}{rows}: must be >= 1.")
        if self.form not in FORMATS:
            raise ValueError(f"output_format must be one of {', '.join(FORMATS)}, got {self.form!r}.")

    def __len__(self) -> int:
        if self.num_rows is None:
            raise TypeError("the number of rows is not known beforehand")
        # rounded up
        return -(-self.num_rows // self.shard_size)

    def path(self, shard: int) -> Path:
        """File of a shard."""
        total = "" if self.num_rows is None else f"-of-{len(self):05d}"
        return self.folder / f"{self.name}-{shard:05d}{total}{FORMATS[self.form]}"

    def record(self, shard: int) -> Record | None:
        """What is known of a shard; `None` where it is not there yet, or not what its writer left."""
        path = self._record_path(shard)
        try:
            record = Record(**json.loads(path.read_text(encoding="utf-8")))
            # the size is enough to tell a cut file; checksums are compared where shards are read
            return record if self.path(shard).stat().st_size == record.size else None
        except (OSError, ValueError, TypeError):
            return None

    def recorded(self) -> set[int]:
        """Numbers of the shards that have a record."""
        names = [path.name for path in (self.folder / RECORDS).glob(f"{self.name}-*.json")]
        return {int(name[len(self.name) + 1 :].split("-")[0].split(".")[0]) for name in names}

    def missing(self) -> list[int]:
        """Shards that are not there yet, of a known number."""
        return [shard for shard in range(len(self)) if self.record(shard) is None]

    def jobs(self, texts: Sequence[str], shards: Iterable[int]) -> Iterator[Job]:
        """The sources of some shards, from those of all."""
        for shard in shards:
            first = shard * self.shard_size
            rows = texts[first : first + self.shard_size]
            yield Job(shard, rows, marks=[(0, f"{self.name} row ", first)])

    def write(self, job: Job, content: Content) -> Record:
        """Writes a shard, then its record; each is whole or absent at any time."""
        if len(content.rows) != len(job.texts):
            raise AssertionError(f"{len(content.rows)} rows for {len(job.texts)} texts")
        with replacing(self.path(job.shard)) as unfinished:
            _WRITERS[self.form](unfinished, content.rows)
            size, digest = unfinished.stat().st_size, _checksum(unfinished)
        record = Record(job.shard, len(content.rows), job.fingerprint(), size, digest, content.counts)
        # after the shard: a record without its file would be believed
        write_json(self._record_path(job.shard), asdict(record))
        return record

    def read(self) -> list[dict[str, Any]]:
        """
        All rows of JSONL shards of a known number, in their order.

        Raises:
            ValueError: a shard that is missing or damaged.
        """
        found: list[dict[str, Any]] = []
        for shard in range(len(self)):
            record, path = self.record(shard), self.path(shard)
            if record is None or _checksum(path) != record.sha256:
                fault = "is damaged. Delete it, and run" if path.is_file() else "is missing. Run"
                raise ValueError(f"{path} {fault} the same command again to translate it.")
            # not `splitlines`, which breaks at U+2028 inside a text
            lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
            found.extend(map(json.loads, lines))
        return found

    def _record_path(self, shard: int) -> Path:
        return self.folder / RECORDS / f"{self.path(shard).name}.json"


# ---- manifest ------------------------------------------------------------------------------------------------------


def check_settings(folder: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
    """
    Refuses a folder with shards made otherwise, or without the manifest that says how they were made.

    Raises:
        ValueError: naming what differs.
    """
    path = Path(folder) / MANIFEST
    if not any((Path(folder) / RECORDS).glob("*.json")):  # where nothing was made, settings may be corrected
        return
    try:
        theirs = dict(json.loads(path.read_text(encoding="utf-8"))["settings"])
    except FileNotFoundError:
        raise ValueError(
            f"{folder} holds translations without the {MANIFEST} that says how they were made, so they cannot be used "
            f"again. Put {MANIFEST} back, choose another output_dir, or delete this one."
        ) from None
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is damaged. Choose another output_dir, or delete this one.") from None
    # As JSON has them. A setting that only one of the two has counts: translations may depend on it.
    ours = json.loads(json.dumps(dict(settings), default=str))
    differing = [name for name in {**ours, **theirs} if theirs.get(name, _NOTHING) != ours.get(name, _NOTHING)]
    if differing:
        had, says = (
            ", ".join(f"{name}={each[name]}" if name in each else f"no {name}" for name in differing)
            for each in (theirs, ours)
        )
        raise ValueError(
            f"{folder} holds translations with {had}, this command says {says}. Choose another output_dir, or delete "
            "it."
        )


def save_settings(folder: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
    """Writes the settings beside the shards to come, and removes what a killed process left half-written."""
    folder = Path(folder)
    for place in (folder, folder / RECORDS):
        place.mkdir(parents=True, exist_ok=True)
        remove_debris(place)
    write_json(folder / MANIFEST, {"fingerprint": fingerprint(settings), "settings": dict(settings)})


def complete_manifest(shards: Shards, settings: Mapping[str, Any], records: Sequence[Record]) -> None:
    """Adds the list of all shards to the manifest: whoever finds it there finds them all."""
    listed = [
        {"file": shards.path(each.shard).name, "rows": each.rows, "sha256": each.sha256}
        for each in sorted(records, key=lambda record: record.shard)
    ]
    total = sum(each.rows for each in records)
    manifest = {
        "fingerprint": fingerprint(settings), "settings": dict(settings), "rows": total, "shards": listed,
    }  # fmt: skip
    write_json(shards.folder / MANIFEST, manifest)


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that change with any setting."""
    # sorted: the order of settings says nothing
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:12]


# ---- files ---------------------------------------------------------------------------------------------------------


def write_json(path: Path, value: Any) -> None:
    """Writes a value as a JSON file that is whole or not there."""
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")


def _write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write_text(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The translations, a line each."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(" ".join(row["translation"].split()) + "\n" for row in rows)


def _write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    # shards without a flag or a row left out must have the columns of the others
    known = {
        "score": pa.float64(), "confidence": pa.float64(), "flags": pa.list_(pa.string()), "pieces": pa.int64(),
        "left_out": pa.string(),
    }  # fmt: skip
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    arrays = {name: pa.array(values, type=known.get(name)) for name, values in columns.items()}
    parquet.write_table(pa.table(arrays), path)


_WRITERS = {"jsonl": _write_jsonl, "text": _write_text, "parquet": _write_parquet}


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
