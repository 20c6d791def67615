# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The results file and its tables. Everything shown elsewhere (figures, cards) is read from this file's content."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO


SCHEMA_VERSION = 1

_REQUIRED = {
    "results": ("schema_version", "task", "systems", "gap_closed", "comparisons", "provenance"),
    "task": ("data", "source_lang", "target_lang", "split", "num_sentences", "fingerprint"),
    "system": ("name", "length", "records"),
    "record": ("num_iterations", "length_beam_size", "oracle_length", "collapse_repeats", "num_sentences", "bleu"),
}

# Wide enough for every column when the table goes to a file and no terminal says how wide it is.
_FILE_WIDTH = 200

# Spaces left and right of the table.
_BORDER = 2

# Columns a narrow terminal does without; the results file has them all.
_EXPENDABLE = ("legacy BLEU", "valid % raw", "chrF", "ms per sentence")


def make_results(
    task: Mapping[str, Any],
    systems: Sequence[Mapping[str, Any]],
    *,
    provenance: Mapping[str, Any],
    gap_closed: Mapping[str, Any] | None = None,
    comparisons: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Puts a results document together and checks it.

    Args:
        task (`Mapping[str, Any]`): `data`, `source_lang`, `target_lang`, `split`, `num_sentences`, `fingerprint`.
        systems (`Sequence[Mapping[str, Any]]`): results of `evaluate_model`, each with a `name`.
        provenance (`Mapping[str, Any]`): result of `provenance`.
        gap_closed (`Mapping[str, Any]`, *optional*): result of `gap_closed`.
        comparisons (`Sequence[Mapping[str, Any]]`, *optional*): results of `paired_bootstrap`.

    Raises:
        ValueError: a required field is missing.
    """
    results = {
        "schema_version": SCHEMA_VERSION,
        "task": dict(task),
        "systems": [dict(system) for system in systems],
        "gap_closed": dict(gap_closed) if gap_closed else None,
        "comparisons": [dict(comparison) for comparison in comparisons],
        "provenance": dict(provenance),
    }
    check_results(results)
    return results


def check_results(results: Mapping[str, Any]) -> None:
    """Refuses a document that is not a results file of this version.

    Raises:
        ValueError: names the missing field, or the version.
    """
    _require("results", results, "results")
    if results["schema_version"] != SCHEMA_VERSION:
        raise ValueError(
            f"Results have schema_version {results['schema_version']!r}, this release reads {SCHEMA_VERSION}. "
            "Write them again with `dims-hf evaluate`."
        )
    _require("task", results["task"], "task")
    if not results["systems"]:
        raise ValueError("Results have no systems. Evaluate at least one model.")
    for system in results["systems"]:
        _require("system", system, f"system {system.get('name')!r}")
        for row, record in enumerate(system["records"]):
            _require("record", record, f"record {row} of system {system['name']!r}")


def save_results(results: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Writes a results document as JSON; a reader never finds a half-written file.

    Raises:
        ValueError: the document is not valid, or holds a number JSON does not know (NaN).
    """
    check_results(results)
    return write_text(json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n", path)


def load_results(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads and checks a results document.

    Raises:
        ValueError: the file does not exist, is not JSON, or is not a results file of this version.
    """
    try:
        results = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"There is no results file {path}. Write one with `dims-hf evaluate`.") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}. Write it again with `dims-hf evaluate`.") from error
    check_results(results)
    return results


def write_text(text: str, path: str | os.PathLike[str]) -> Path:
    """Writes text through a temporary file in the same folder, then renames it into place."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        # mkstemp makes files only their owner can read
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def results_table(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table: one row per record, only columns that some record fills.

    Returns:
        `tuple[list[str], list[list[str]]]`: column titles, and cells as text ("" where a record has no such field).
    """
    columns = [*_COLUMNS, *_subset_columns(results)]
    pairs = [(system, record) for system in results["systems"] for record in system["records"]]
    cells = [[read(system, record) for _, read in columns] for system, record in pairs]
    used = [index for index in range(len(columns)) if any(row[index] for row in cells)]
    return [columns[index][0] for index in used], [[row[index] for index in used] for row in cells]


def table_notes(results: Mapping[str, Any]) -> list[str]:
    """What a reader must know about the table: settings, signatures, lengths, gap and significance."""
    record = results["systems"][0]["records"][0]
    task = results["task"]
    notes = [
        f"{task['data']} {task['source_lang']}-{task['target_lang']}, {task['split']}, "
        f"{task['num_sentences']} sentences.{_predicted(results)}",
        f"Repeats {_collapsed(results)} before scoring; repeated tokens, mixtures and 'raw' are counted before that.",
        f"ms per sentence is batch throughput ({record['max_tokens_per_batch']} tokens per batch) "
        f"on {results['provenance'].get('hardware', 'unknown hardware')}, "
        f"{results['provenance'].get('num_threads', '?')} threads; not the latency of a single sentence.",
        f"BLEU {record['bleu_signature']}; chrF {record['chrf_signature']}.",
        f"Legacy BLEU is tokenised and not comparable with BLEU: {record['legacy_bleu_signature']}.",
    ]
    notes += [_length_note(system) for system in results["systems"]]
    if results["gap_closed"]:
        notes.append(_gap_note(results["gap_closed"]))
    return notes + [_comparison_note(comparison) for comparison in results["comparisons"]]


def markdown_table(results: Mapping[str, Any]) -> str:
    """The table and its notes as Markdown."""
    header, rows = results_table(results)
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    return table + "\n\n" + "\n".join(f"- {note}" for note in table_notes(results)) + "\n"


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
    header, rows = results_table(results)
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = []
    ruler = ["-" * width for width in widths]
    for row in [header, ruler, *rows]:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([*lines, "", *table_notes(results)]) + "\n"


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
    ("iter.", _number("num_iterations", 0)),
    ("beam", _number("length_beam_size", 0)),
    ("length", lambda system, record: "reference" if record["oracle_length"] else ""),
    ("BLEU", _number("bleu", 2)),
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


def _collapsed(results: Mapping[str, Any]) -> str:
    flags = {record["collapse_repeats"] for system in results["systems"] for record in system["records"]}
    return {frozenset({True}): "collapsed", frozenset({False}): "kept"}.get(frozenset(flags), "collapsed in part")


def _predicted(results: Mapping[str, Any]) -> str:
    if not any(system["length"] for system in results["systems"]):
        return ""
    records = (record for system in results["systems"] for record in system["records"])
    oracle = " unless marked 'reference'" if any(record["oracle_length"] for record in records) else ""
    return f" Lengths are predicted{oracle}."


def _length_note(system: Mapping[str, Any]) -> str:
    length = system["length"]
    if not length:
        return f"{system['name']} predicts no length before it decodes."
    shares = ", ".join(
        f"{title} {100 * length[field]:.1f} %"
        for title, field in (
            ("exact", "length_accuracy"),
            ("±1", "length_within_1"),
            ("±2", "length_within_2"),
            ("among top 5", "length_top_5"),
        )
    )
    return f"Length prediction of {system['name']}: {shares}."


def _gap_note(gap: Mapping[str, Any]) -> str:
    return (
        f"The student at 1 iteration closes {100 * gap['closed']:.1f} % of the teacher's {gap['metric'].upper()} gap "
        f"({gap['teacher_one']:.2f} at 1 iteration, {gap['teacher_most']:.2f} at {gap['most_iterations']} iterations)."
    )


def _comparison_note(comparison: Mapping[str, Any]) -> str:
    baseline = comparison["systems"][comparison["baseline"]]
    parts = []
    for name, system in comparison["systems"].items():
        if name != comparison["baseline"]:
            difference = system["bleu"] - baseline["bleu"]
            parts.append(
                f"{name} − {comparison['baseline']} = {difference:+.2f} BLEU (p = {system['bleu_p_value']:.3f})"
            )
    return f"Paired bootstrap, {comparison['num_samples']} resamples: {'; '.join(parts)}."


def _require(kind: str, value: Mapping[str, Any], where: str) -> None:
    missing = [field for field in _REQUIRED[kind] if field not in value]
    if missing:
        raise ValueError(f"The {where} lacks {', '.join(missing)}. Write the file again with `dims-hf evaluate`.")


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
