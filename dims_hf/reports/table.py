# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The table of a results document: its columns, as Markdown, as aligned text, and in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from .markup import aligned_rows, escape, markdown_rows
from .notes import table_notes


# Wide enough for every column when the table goes to a file and no terminal says how wide it is.
_FILE_WIDTH = 200

# Spaces left and right of the table.
_BORDER = 2

# Columns a narrow terminal does without; the results file has them all.
_EXPENDABLE = ("legacy BLEU", "valid % raw", "BLEU raw", "chrF", "ms per sentence")


def results_table(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table: one row per record, only columns that some record fills.

    Returns:
        `tuple[list[str], list[list[str]]]`: column titles, and cells as text ("" where a record has no such field).
    """
    columns = [*_COLUMNS, *_subset_columns(results)]
    pairs = [(system, record) for system in results["systems"] for record in system["records"]]
    cells = [[read(system, record) for _, read in columns] for system, record in pairs]
    # a column that no record fills tells nothing
    used = [index for index in range(len(columns)) if any(row[index] for row in cells)]
    return [columns[index][0] for index in used], [[row[index] for index in used] for row in cells]


def markdown_table(results: Mapping[str, Any]) -> str:
    """The table and its notes as Markdown."""
    notes = "\n".join(f"- {escape(note)}" for note in table_notes(results))
    return f"{markdown_rows(*results_table(results))}\n{notes}\n"


def write_table(results: Mapping[str, Any], stream: TextIO | None = None) -> None:
    """Writes the table and its notes for a human: with `rich` where it is installed, aligned text otherwise.

    Args:
        results (`Mapping[str, Any]`): a results document.
        stream (`TextIO`, *optional*): where to; standard output when `None`.
    """
    stream = stream or sys.stdout
    try:
        import rich  # noqa: F401
    except ImportError:
        stream.write(plain_table(results))
    else:
        _write_rich_table(results, stream)


def plain_table(results: Mapping[str, Any]) -> str:
    """The table and its notes as aligned text."""
    return "\n".join([aligned_rows(*results_table(results)), *table_notes(results)]) + "\n"


def _write_rich_table(results: Mapping[str, Any], stream: TextIO) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(file=stream, width=None if stream.isatty() else _FILE_WIDTH, highlight=False, markup=False)
    header, rows = results_table(results)
    header, rows, left_out = _fit(header, rows, console.width - _BORDER)
    is_roomy = sum(_column_widths(header, rows)) + 2 * len(header) <= console.width - _BORDER
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0) if is_roomy else 0)
    for index, (title, width) in enumerate(zip(header, _column_widths(header, rows), strict=True)):
        table.add_column(title, justify="right" if index else "left", min_width=width, overflow="fold")
    for row, following in zip(rows, [*rows[1:], [""]], strict=True):
        # a line between systems
        table.add_row(*row, end_section=row[0] != following[0])
    console.print(table)
    for note in [*table_notes(results), *left_out]:
        console.print(note, soft_wrap=not stream.isatty())


def _fit(header: list[str], rows: list[list[str]], width: int) -> tuple[list[str], list[list[str]], list[str]]:
    """Leaves out the columns a terminal of `width` characters has no room for, least important first, and says so."""
    keep = list(range(len(header)))
    widths = [width + 1 for width in _column_widths(header, rows)]
    left_out = []
    for title in _EXPENDABLE:
        if sum(widths[index] for index in keep) > width and title in header:
            keep.remove(header.index(title))
            left_out.append(title)
    note = [f"Too narrow a terminal for: {', '.join(left_out)}."] if left_out else []
    return [header[index] for index in keep], [[row[index] for index in keep] for row in rows], note


def _column_widths(header: list[str], rows: list[list[str]]) -> list[int]:
    """Characters each column needs: titles break at spaces, numbers never."""
    columns = zip(header, *rows, strict=True)
    return [max(len(text) for text in [*title.split(), *cells]) for title, *cells in columns]


Cell = Callable[[Mapping[str, Any], Mapping[str, Any]], str]


def _number(field: str, digits: int, factor: float = 1.0) -> Cell:
    def read(system: Mapping[str, Any], record: Mapping[str, Any]) -> str:
        return f"{factor * record[field]:.{digits}f}" if record.get(field) is not None else ""

    return read


_COLUMNS: list[tuple[str, Cell]] = [
    ("system", lambda system, record: system["name"]),
    ("decoding", lambda system, record: record.get("decoding", "")),
    ("iter.", _number("num_iterations", 0)),
    ("beam", _number("length_beam_size", 0)),
    ("length", lambda system, record: "reference" if record["oracle_length"] else ""),
    ("BLEU", _number("bleu", 2)),
    ("BP", _number("brevity_penalty", 3)),
    ("BLEU raw", _number("bleu_before_collapse", 2)),
    ("chrF", _number("chrf", 2)),
    ("legacy BLEU", _number("legacy_bleu", 2)),
    ("valid %", _number("valid", 1, 100)),
    ("valid % raw", _number("valid_before_collapse", 1, 100)),
    ("mixture %", _number("mixture_before_collapse", 1, 100)),
    ("repeated %", _number("repeated_tokens", 1, 100)),
    ("ms per sentence", _number("milliseconds_per_sentence", 1)),
]


def _subset_columns(results: Mapping[str, Any]) -> list[tuple[str, Cell]]:
    names: dict[str, None] = {}
    for system in results["systems"]:
        for record in system["records"]:
            names.update(dict.fromkeys(record.get("subsets", {})))
    return [(f"BLEU {name}", _subset_bleu(name)) for name in names]


def _subset_bleu(name: str) -> Cell:
    def read(system: Mapping[str, Any], record: Mapping[str, Any]) -> str:
        subset = record.get("subsets", {}).get(name)
        return f"{subset['bleu']:.2f}" if subset else ""

    return read
