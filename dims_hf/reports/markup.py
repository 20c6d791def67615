# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The package's one writer of Markdown tables and aligned text; names from outside are escaped unless marked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


# Header, then rows of as many cells.
Table = tuple[Sequence[str], Sequence[Sequence[str]]]

# What Markdown or HTML would take for markup. An underscore inside a word is none.
_SPECIAL = re.compile(r"[\\`*\[\]~]|(?<![^\W_])_|_(?![^\W_])")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class Markup(str):
    """Text that is Markdown already: a link, code. All other text is escaped where it is written."""

    __slots__ = ()


def escape(text: str) -> Markup:
    """
    Text as Markdown and HTML show it literally, in one line; [`Markup`] as it is.

    Example:

    ```python
    >>> escape("<b>*five*</b>")
    '&lt;b&gt;\\\\*five\\\\*&lt;/b&gt;'

    ```
    """
    if isinstance(text, Markup):
        return text
    text = re.sub("[&<>]", lambda match: _HTML[match.group()], " ".join(text.split()))
    return Markup(_SPECIAL.sub(r"\\\g<0>", text))


def code(text: str) -> Markup:
    """Text in a code span, whatever back ticks it holds itself."""
    text = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if "`" in text else ""
    return Markup(f"{fence}{pad}{text}{pad}{fence}")


def link(text: str, target: str) -> Markup:
    """A link to a place of ours: a heading, a file beside the document."""
    return Markup(f"[{escape(text)}]({target.replace(' ', '%20')})")


def markdown_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """
    A Markdown table, columns of numbers to the right.

    Args:
        header (`Sequence[str]`): titles.
        rows (`Sequence[Sequence[str]]`): cells as text, escaped unless they are [`Markup`].

    Returns:
        `Markup`: the lines, the last one ended.
    """
    is_number = [bool(rows) and all(looks_like_number(row[column]) for row in rows) for column in range(len(header))]
    ruler = "| " + " | ".join("--:" if right else "---" for right in is_number) + " |"
    first, *others = (_row(cells) for cells in (header, *rows))
    return Markup("\n".join([first, ruler, *others]) + "\n")


def settings_rows(settings: Iterable[tuple[str, object]], header: Sequence[str] = ("setting", "value")) -> Markup:
    """A Markdown table of names and values."""
    rows = [[name, value if isinstance(value, str) else str(value)] for name, value in settings]
    lines = [_row(header), "| --- | --- |", *map(_row, rows)]
    return Markup("\n".join(lines) + "\n")


def aligned_rows(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,)) -> str:
    """The same table as aligned text for a terminal; `left` columns begin at their left edge, the others end right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = []
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = zip(row, widths, strict=True)
        shown = (
            cell.ljust(width) if index in left else cell.rjust(width) for index, (cell, width) in enumerate(cells)
        )
        lines.append("  ".join(shown).rstrip())
    return "\n".join(lines) + "\n"


def looks_like_number(cell: str) -> bool:
    """Whether a cell is empty or starts as a number does."""
    return not cell or cell.lstrip("+-−")[:1].isdigit()


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(re.sub(r"(?<!\\)\|", r"\\|", escape(cell)) for cell in cells) + " |"
