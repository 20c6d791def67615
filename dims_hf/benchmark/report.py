# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The results in one table, with ratios and in words; everything here is read from the results document."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from dims_hf.benchmark.comparison import (
    TARGET_LENGTH,
    Comparison,
    Results,
    compare_targets,
    places,
    states_targets,
    where_autoregressive_wins,
)
from dims_hf.benchmark.figure import plot_benchmark
from dims_hf.reports.files import write_text


TABLE, FIGURE = "benchmark.md", "benchmark.png"

HEADER = (
    "system",
    "p50 ms",
    "p95 ms",
    "sentences/s",
    "target tokens/s",
    "peak MiB",
    "limit ms",
    "of limit",
    "BLEU",
)

_ARCHITECTURE_NOTE = (
    "CTranslate2's distance to its own limit differs between processors: ratios against it need not hold on another."
)


def write_report(results: Results, folder: Path) -> list[Path]:
    """
    Writes `benchmark.md` and, where matplotlib is installed, `benchmark.png`.

    Returns:
        `list[Path]`: the files written, and that of the results.
    """
    files = [folder / "benchmark.json", write_text(markdown(results), folder / TABLE)]
    try:
        figure = plot_benchmark(results, folder / FIGURE)
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        figure = None
    return [*files, *([figure] if figure else [])]


def markdown(results: Results) -> str:
    """The whole report."""
    parts = ["# Decoding speed", *results["notices"], _where(results), "## Table"]
    header, groups = table(results)
    for place, rows in groups:
        lines = [f"**{place}**", "", _row(header), _row(["---", *["--:"] * (len(header) - 1)]), *map(_row, rows)]
        parts.append("\n".join(lines))
    parts += ["## Ratios", *_ratios(results), "## Where autoregressive decoding wins"]
    parts.append("\n".join(f"- {sentence}" for sentence in where_autoregressive_wins(results)))
    missing = unavailable(results)
    if missing:
        parts += ["## Not measured", "\n".join(f"- {line}" for line in missing)]
    return "\n\n".join(parts) + "\n"


def write_terminal(results: Results, stream: TextIO | None = None) -> None:
    """Writes the report for a human: tables with `rich` where it is installed, else as Markdown."""
    stream = stream or sys.stdout
    try:
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        stream.write(markdown(results))
        return
    console = Console(file=stream, width=None if stream.isatty() else 160, highlight=False, markup=False)
    for notice in [*results["notices"], _where(results)]:
        console.print(notice, soft_wrap=True)
    header, groups = table(results)
    for place, rows in groups:
        shown = Table(title=place, box=SIMPLE_HEAD, title_justify="left")
        for index, name in enumerate(header):
            shown.add_column(name, justify="right" if index else "left", overflow="fold")
        for row in rows:
            shown.add_row(*row)
        console.print(shown)
    for line in [*_ratios(results, table_like=False), *where_autoregressive_wins(results), *unavailable(results)]:
        console.print(line, soft_wrap=True)


def table(results: Results) -> tuple[list[str], list[tuple[str, list[list[str]]]]]:
    """Columns of [`HEADER`] that hold anything, and the rows of each group, the fastest first."""
    groups = []
    for key, place in places(results):
        systems = results["groups"][key]["systems"]
        names = sorted(systems, key=lambda name: systems[name]["p50_ms"])
        groups.append((place, [_cells(results, key, name) for name in names]))
    columns = [column for column in range(len(HEADER)) if any(row[column] for _, rows in groups for row in rows)]
    shown = [(place, [[row[column] for column in columns] for row in rows]) for place, rows in groups]
    return [HEADER[column] for column in columns], shown


def unavailable(results: Results) -> list[str]:
    """What could not be measured, and why."""
    lines = {
        f"{results['systems'][name]['runtime_label']} ({group['device']}): {reason}."
        for group in results["groups"].values()
        for name, reason in group["unavailable"].items()
    }
    for device, systems in results["memory"].items():
        failed = {name: kept["error"] for name, kept in systems.items() if "error" in kept}
        lines |= {
            f"Peak memory of {results['systems'][name]['label']} ({device}): {error}."
            for name, error in failed.items()
        }
    return sorted(lines)


def _cells(results: Results, key: str, name: str) -> list[str]:
    group = results["groups"][key]
    record, system = group["systems"][name], results["systems"][name]
    memory = _memory(results, group, name)
    score = results["quality"].get(name)
    return [
        system["label"],
        _number(record["p50_ms"]),
        _number(record["p95_ms"]),
        _number(record["sentences_per_second"]),
        f"{record['target_tokens_per_second']:.0f}",
        "" if memory is None else f"{memory:.0f}",
        _number(record["limit_ms"]) if "limit_ms" in record else "",
        f"{100 * record['share_of_limit']:.0f} %" if "share_of_limit" in record else "",
        "" if score is None else f"{score['bleu']:.2f}",
    ]


def _memory(results: Results, group: Mapping[str, Any], name: str) -> float | None:
    """Peak memory, which is measured for one number of threads and holds for all."""
    kept = results["memory"].get(group["device"], {}).get(name, {})
    for key, other in results["groups"].items():
        same = all(other[field] == group[field] for field in ("device", "batch", "length"))
        if same and key in kept:
            return kept[key]
    return None


def _where(results: Results) -> str:
    """Settings and provenance in two lines."""
    where, settings = results["provenance"], results["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    models = ", ".join(settings["models"]) or f"size {settings['size']}"
    return (
        f"{where['hardware']}; {versions}; commit {where['git_commit']}; seed {settings['seed']}; {models}. "
        f"{settings['rounds']} rounds, in which the systems of a group take turns; p50 and p95 over single calls. "
        "Limit: the time of the operations and weights that a translation needs, at the best rates of this machine in "
        "the same run. Peak memory is that of a process of its own, beyond torch and transformers."
    )


def _ratios(results: Results, *, table_like: bool = True) -> list[str]:
    comparisons = compare_targets(results)
    found = [each for each in comparisons if isinstance(each, Comparison)]
    lines = [_limit_note(results, each) for each in found]
    header = ("one pass", "against", "batch", "times faster, median [range over rounds]", "must / goal", "verdict")
    rows = [_ratio_cells(results, each) for each in found]
    shown = []
    if rows and table_like:
        shown.append("\n".join([_row(header), _row(["---"] * len(header)), *map(_row, rows)]))
    elif rows:
        shown += [f"{row[0]} against {row[1]}, batch {row[2]}: {row[3]} ({row[4]}: {row[5]})" for row in rows]
    if not states_targets(results):
        shown.append("Must and goal are stated for random weights of the base size; this run has others.")
    missing = [each for each in comparisons if isinstance(each, str)]
    not_measured = (
        [f"On one CPU thread at {TARGET_LENGTH} tokens, not measured: {'; '.join(missing)}."] if missing else []
    )
    return [*shown, *filter(None, lines), *not_measured, _ARCHITECTURE_NOTE]


def _ratio_cells(results: Results, each: Comparison) -> list[str]:
    verdict = each.verdict if states_targets(results) else "not stated"
    labels = [results["systems"][name]["label"] for name in (each.ours, each.peer)]
    return [*labels, str(each.target.batch), f"{each.ratio}", f"{each.target.must:g} / {each.target.goal:g}", verdict]


def _limit_note(results: Results, each: Comparison) -> str:
    """Distance of both sides of a comparison to the machine's limit."""
    group, parts = results["groups"][each.group], []
    for name in (each.ours, each.peer):
        record = group["systems"][name]
        if "limit_ms" in record:
            parts.append(
                f"{results['systems'][name]['label']} takes {_number(record['p50_ms'])} ms, "
                f"{record['p50_ms'] / record['limit_ms']:.1f}× its limit of {_number(record['limit_ms'])} ms"
            )
    return f"Batch {each.target.batch}: {'; '.join(parts)}." if parts else ""


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
