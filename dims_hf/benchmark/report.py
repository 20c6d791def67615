# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The report: tables of the results document under fixed captions, and the figure. It computes nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from dims_hf.benchmark.comparison import (
    TARGET_LENGTH,
    TARGETS,
    Comparison,
    Results,
    compare_fastest,
    compare_targets,
    label,
    places,
    states_targets,
)
from dims_hf.benchmark.figure import plot_benchmark
from dims_hf.reports import write_text
from dims_hf.reports.markup import Markup, Table, aligned_rows, escape, markdown_rows


TABLE, FIGURE = "benchmark.md", "benchmark.png"

# Title -> caption. They hold for every benchmark: what a run found is in its tables alone.
CAPTIONS = {
    "Table": (
        "The systems of a group take turns within each round; p50 and p95 are over single calls. Limit: the time of "
        "the operations and weights that a translation needs, at the best rates of this machine in the same run; "
        "operations are counted by formula, or, where the last column says so, by torch.utils.flop_counter on a "
        "translation. Peak memory is that of a process of its own, beyond torch and transformers. BP is BLEU's "
        "brevity penalty; BLEU raw is before repeats are collapsed."
    ),
    "Ratios": (
        f"One pass against an autoregressive peer, on one CPU thread at {TARGET_LENGTH} tokens; the ratio is taken "
        "round by round. Must and goal are stated for random weights of the base size. CTranslate2's distance to its "
        "own limit differs between processors: ratios against it need not hold on another."
    ),
    "The fastest of either side": (
        "A side is faster where it was so in every round. The last column counts our systems, more passes and length "
        "candidates included, that are slower than that peer in every round."
    ),
    "Start-up": (
        "A new process that loads a model, translates one sentence and ends, with one thread, files cached: "
        "`dims-hf translate` for ours, a program of eight lines for CTranslate2. Medians; CPU time is that of all "
        "threads."
    ),
    "Not measured": "What could not run here, or was not asked for.",
}

_COLUMNS = ("p50 ms", "p95 ms", "sentences/s", "target tokens/s", "peak MiB", "limit ms", "of limit")
HEADER = ("system", *_COLUMNS, "BLEU", "BP", "chrF", "BLEU raw", "operations counted by")


def write_report(results: Results, folder: Path) -> list[Path]:
    """
    Writes `benchmark.md` and, where matplotlib is installed, `benchmark.png`.

    Returns:
        `list[Path]`: the files written, and that of the results.
    """
    files = [folder / "benchmark.json", write_text(markdown(results), folder / TABLE)]
    try:
        files.append(plot_benchmark(results, folder / FIGURE))
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
    return files


def markdown(results: Results) -> str:
    """The whole report."""
    parts = ["# Decoding speed", *map(escape, results["notices"]), escape(_where(results))]
    for title, tables in sections(results).items():
        parts += [f"## {title}", CAPTIONS[title]]
        for name, table_of_it in tables:
            parts += [f"**{escape(name)}**"] if name else []
            parts.append(markdown_rows(*table_of_it).rstrip())
    return "\n\n".join(parts) + "\n"


def write_terminal(results: Results, stream: TextIO | None = None) -> None:
    """Writes the report for a human, as aligned text."""
    stream = stream or sys.stdout
    parts = [*results["notices"], _where(results)]
    for title, tables in sections(results).items():
        parts += [title.upper(), CAPTIONS[title]]
        for name, table_of_it in tables:
            parts.append((f"{name}\n" if name else "") + aligned_rows(*table_of_it).rstrip())
    stream.write("\n\n".join(parts) + "\n")


def sections(results: Results) -> dict[str, list[tuple[str, Table]]]:
    """Title to tables with their names; sections without a row are left out."""
    header, groups = table(results)
    found = {
        "Table": [(place, (header, rows)) for place, rows in groups],
        "Ratios": [("", _ratios(results))],
        "The fastest of either side": [("", _fastest(results))],
        "Start-up": [("", _startup(results))],
        "Not measured": [("", (["what", "why"], unavailable(results)))],
    }
    shown = {title: [each for each in tables if each[1][1]] for title, tables in found.items()}
    return {title: tables for title, tables in shown.items() if tables}


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


def unavailable(results: Results) -> list[list[str]]:
    """What was not measured, and why."""
    missing = [each for each in compare_targets(results) if isinstance(each, str)]
    place = f"no such pair on one CPU thread at {TARGET_LENGTH} tokens"
    # a benchmark that has none of the stated pairs is not about them
    rows = {(each, place) for each in missing if len(missing) < len(TARGETS)}
    rows |= {
        (f"{results['systems'][name]['runtime_label']} ({group['device']})", reason)
        for group in results["groups"].values()
        for name, reason in group["unavailable"].items()
    }
    rows |= {
        (f"start-up of {results['systems'][name]['label']}", record["error"])
        for name, record in results.get("startup", {}).items()
        if "error" in record
    }
    for device, systems in results["memory"].items():
        failed = {name: kept["error"] for name, kept in systems.items() if "error" in kept}
        rows |= {(f"peak memory of {results['systems'][name]['label']} ({device})", failed[name]) for name in failed}
    return [list(row) for row in sorted(rows)]


def _cells(results: Results, key: str, name: str) -> list[str]:
    group = results["groups"][key]
    record, scores = group["systems"][name], results["quality"].get(name, {})
    memory, counted_by = _memory(results, group, name), record.get("work", "formula")
    return [
        results["systems"][name]["label"],
        *(_number(record[field]) for field in ("p50_ms", "p95_ms", "sentences_per_second")),
        f"{record['target_tokens_per_second']:.0f}",
        "" if memory is None else f"{memory:.0f}",
        _number(record["limit_ms"]) if "limit_ms" in record else "",
        f"{100 * record['share_of_limit']:.0f} %" if "share_of_limit" in record else "",
        *(
            f"{scores[field]:.{digits}f}" if field in scores else ""
            for field, digits in (("bleu", 2), ("brevity_penalty", 3), ("chrf", 2), ("bleu_before_collapse", 2))
        ),
        "" if counted_by == "formula" else counted_by,
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
    """Settings and provenance in one line."""
    where, settings = results["provenance"], results["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    models = ", ".join(settings["models"]) or f"size {settings['size']}"
    return (
        f"{where['hardware']}; {versions}; commit {where['git_commit']}; seed {settings['seed']}; {models}; "
        f"{settings['rounds']} rounds."
    )


def _ratios(results: Results) -> Table:
    rows = []
    for each in compare_targets(results):
        if isinstance(each, Comparison):
            verdict = each.verdict if states_targets(results) else "not stated"
            names = [results["systems"][name]["label"] for name in (each.ours, each.peer)]
            aims = f"{each.target.must:g} / {each.target.goal:g}"
            limits = [_times_limit(results, each.group, name) for name in (each.ours, each.peer)]
            rows.append([*names, str(each.target.batch), Markup(f"{each.ratio}"), aims, verdict, *limits])
    ratio = "times faster, median [range over rounds]"
    header = ["one pass", "against", "batch", ratio, "must / goal", "verdict"]
    return [*header, "× its limit", "× the peer's limit"], rows


def _times_limit(results: Results, key: str, name: str) -> str:
    """How many times its limit a system takes."""
    record = results["groups"][key]["systems"][name]
    return f"{record['p50_ms'] / record['limit_ms']:.1f}" if "limit_ms" in record else ""


def _fastest(results: Results) -> Table:
    rows = []
    for duel in compare_fastest(results):
        place = f"{duel.place}, with a shortlist" if duel.has_shortlist else duel.place
        names = [label(results, name) for name in (duel.ours, duel.peer)]
        rows.append([place, *names, Markup(f"{duel.ratio}"), duel.winner, f"{duel.losing} of {duel.of}"])
    ratio = "ours is … times as fast, median [range]"
    return ["where", "ours", "autoregressive", ratio, "faster", "ours that lose"], rows


def _startup(results: Results) -> Table:
    found = {name: record for name, record in results.get("startup", {}).items() if "seconds" in record}
    names = sorted(found, key=lambda name: found[name]["seconds"])
    rows = [
        [results["systems"][name]["label"], *(f"{found[name][field]:.2f}" for field in ("seconds", "cpu_seconds"))]
        for name in names
    ]
    return ["system", "seconds", "CPU seconds"], rows


def _number(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
