# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Text from files and streams: UTF-8 without a byte order mark, and one line of advice for everything else."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO


# Beginnings of files that are no text -> what they are, and what to do.
_MAGIC = {
    b"\x1f\x8b": ("compressed with gzip", "Unpack it first: `gunzip -k FILE`"),
    b"BZh": ("compressed with bzip2", "Unpack it first: `bunzip2 -k FILE`"),
    b"\xfd7zXZ": ("compressed with xz", "Unpack it first: `unxz -k FILE`"),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "Unpack it first: `unzstd FILE`"),
    b"PK\x03\x04": ("a zip archive", "Unpack it first: `unzip FILE`"),
    b"PAR1": ("a Parquet file", "Read it with `datasets.load_dataset('parquet', data_files=...)` and pass the result"),
    b"ARROW1": ("an Arrow file", "Read it with `datasets.Dataset.from_file` and pass the result"),
    b"%PDF": ("a PDF file", "Take its text out first"),
}
# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_BOM = b"\xef\xbb\xbf"
# Bytes that one read asks for; a pipe gives what it has.
_BLOCK = 1 << 18


def expand_home(name: str | os.PathLike[str]) -> Path:
    """The path with `~` for the home folder.

    Raises:
        ValueError: the home folder of somebody who is not here, or a name that no file can have.
    """
    if "\0" in str(name):
        raise ValueError(f"{str(name)!r} holds a NUL character, which no path can. Correct it.")
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{name}: {error} Write the whole path.") from None


def read_text(path: Path) -> str:
    """
    The text of a UTF-8 file, a byte order mark dropped.

    Raises:
        ValueError: naming file, line and byte where it is no UTF-8, and what it is instead where that can be told.
    """
    return decode_text(path.read_bytes(), str(path))


def read_lines(path: Path) -> list[str]:
    """
    The lines of a UTF-8 file. They end at a line feed only, with or without a carriage return before it:
    `str.splitlines` would also break at U+0085 or U+2028 inside a sentence. In a file without any line feed, carriage
    returns end them.

    Raises:
        ValueError: as [`read_text`].
    """
    return split_lines(read_text(path))


def read_json(path: Path, advice: str) -> Any:
    """
    What a JSON file of ours holds.

    Args:
        path (`Path`): the file.
        advice (`str`): what to do where it is damaged.

    Raises:
        ValueError: naming the file where it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}. {advice}") from None


def split_lines(text: str) -> list[str]:
    """Lines of a text, as [`read_lines`]."""
    end = "\n" if "\n" in text or "\r" not in text else "\r"
    lines = text.removesuffix(end).split(end) if text else []
    return [line.strip("\r") for line in lines]


def decode_text(raw: bytes, name: str) -> str:
    """
    Text of the UTF-8 bytes of a whole file, a byte order mark dropped.

    Args:
        raw (`bytes`): what was read.
        name (`str`): what errors call it.

    Raises:
        ValueError: as [`read_text`].
    """
    check_kind(raw, name)
    return _decode(raw.removeprefix(_BOM), name, 1)


def stream_lines(stream: BinaryIO, name: str) -> Iterator[list[str]]:
    """
    Lines of a UTF-8 stream in groups, as they come: those that one read completes.

    Args:
        stream (`BinaryIO`): buffered; of a pipe or a terminal, lines are given as soon as they are there.
        name (`str`): what errors call it.

    Raises:
        ValueError: as [`read_text`]; the lines before the bad one have been given by then.
    """
    # `read` would wait until the block is full
    read = getattr(stream, "read1", stream.read)
    number, rest = 1, b""
    while block := read(_BLOCK):
        # cut at line feeds: a character of several bytes is never split
        complete, found, rest = (rest + block).rpartition(b"\n")
        if found:
            yield from _decoded_lines(complete, name, number)
            number += complete.count(b"\n") + 1
    if rest and number == 1:
        yield split_lines(decode_text(rest, name))
    elif rest:
        yield from _decoded_lines(rest, name, number)


def _decoded_lines(raw: bytes, name: str, number: int) -> Iterator[list[str]]:
    """Lines of a part of a stream, the first of that number; where one is bad those before it, then the error."""
    if number == 1:
        check_kind(raw, name)
        # only at the beginning: elsewhere it is a character
        raw = raw.removeprefix(_BOM)
    lines = []
    try:
        text = _decode(raw, name, number)
    except ValueError:
        for line in raw.split(b"\n"):
            try:
                lines.append(_decode(line, name, number).strip("\r"))
            except ValueError:
                break
        if lines:
            yield lines
        raise
    yield [line.strip("\r") for line in text.split("\n")]


def _decode(raw: bytes, name: str, number: int) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line, place = _place(raw, error.start)
        raise ValueError(
            f"{name}:{line + number}: not valid UTF-8 (byte 0x{raw[error.start]:02x}). Convert the file, "
            f"e.g. `iconv -f latin1 -t utf-8`. It is byte {place} of the line."
        ) from None
    if "\0" in text:
        _refuse_nul(raw, name, number)
    return text


def _refuse_nul(raw: bytes, name: str, number: int) -> None:
    line, _ = _place(raw, raw.index(0))
    raise ValueError(f"{name}:{line + number}: a NUL character. The file is binary, not text, or damaged.")


def check_kind(raw: bytes, name: str) -> None:
    """Refuses what is in another encoding than UTF-8 or no text, in one line each."""
    for mark, encoding in _MARKS.items():
        if raw.startswith(mark):
            raise ValueError(f"{name} is {encoding.upper()}, not UTF-8. Convert it: `iconv -f {encoding} -t utf-8`.")
    for magic, (kind, advice) in _MAGIC.items():
        if raw.startswith(magic):
            raise ValueError(f"{name} is {kind}, not text. {advice}.")
    head = raw[:4096]
    # of Latin text in UTF-16, every other byte is 0
    zeros = [head[start::2].count(0) for start in (0, 1)]
    if len(head) >= 4 and max(zeros) > 0.3 * len(head) / 2 and min(zeros) < 0.1 * len(head) / 2:
        order = "utf-16le" if zeros[1] > zeros[0] else "utf-16be"
        raise ValueError(f"{name} looks like UTF-16, not UTF-8. Convert it: `iconv -f {order} -t utf-8`.")


def _place(raw: bytes, index: int) -> tuple[int, int]:
    """Line (from 0) and byte in it (from 1) of an index."""
    return raw.count(b"\n", 0, index), index - (raw.rfind(b"\n", 0, index) + 1) + 1
