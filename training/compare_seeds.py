# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""One table over seeds: `python training/compare_seeds.py demo_1/results.json demo_2/results.json --output table`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from dims_hf.evaluation import find_record
from dims_hf.reports import load_results, write_json, write_text
from dims_hf.reports.markup import markdown_rows


# (column, system, iterations, field of the record, factor)
COLUMNS = [
    *((f"teacher {passes}", "teacher", passes, "valid", 100) for passes in (1, 2, 4, 8)),
    ("student 1", "student", 1, "valid", 100),
    ("teacher 1, mixtures", "teacher", 1, "mixture_before_collapse", 100),
    ("student 1, mixtures", "student", 1, "mixture_before_collapse", 100),
    ("teacher 1, BLEU", "teacher", 1, "bleu", 1),
    ("teacher 8, BLEU", "teacher", 8, "bleu", 1),
    ("student 1, BLEU", "student", 1, "bleu", 1),
]

# What stands beside each of these BLEU scores; results of former releases lack the first and the last.
_SCORED = (("teacher", 1), ("teacher", 8), ("student", 1))
_BESIDE = (("BP", "brevity_penalty", 3), ("chrF", "chrf", 1), ("BLEU raw", "bleu_before_collapse", 1))
# (column, system, iterations, field, digits)
OTHER_HALF = [
    (f"{system} {passes}, {title}", system, passes, field, digits)
    for system, passes in _SCORED
    for title, field, digits in _BESIDE
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("results", nargs="+", type=Path, help="results.json of one demo run per seed")
    parser.add_argument("--output", type=Path, required=True, help="path without suffix: .json and .md are written")
    args = parser.parse_args()
    rows, found = [], {path: load_results(path) for path in args.results}
    beside = [column for column in OTHER_HALF if all(_has(results, *column[1:4]) for results in found.values())]
    for path, results in found.items():
        systems = {system["name"]: system for system in results["systems"]}
        values = {
            column: round(factor * read_field(path, systems, system, passes, field), 1)
            for column, system, passes, field, factor in COLUMNS
        }
        values |= {
            column: round(read_field(path, systems, system, passes, field), digits)
            for column, system, passes, field, digits in beside
        }
        weights = {name: system["weights"] for name, system in systems.items() if "weights" in system}
        rows.append({"seed": seed_of(path), **values, "weights": weights, "provenance": results["provenance"]})
    names = ["seed", *(column for column, *_ in [*COLUMNS, *beside])]
    write_text(
        markdown_rows(names, [[str(row[name]) for name in names] for row in rows]), args.output.with_suffix(".md")
    )
    write_json(rows, args.output.with_suffix(".json"), indent=2)


def _has(results: dict[str, Any], name: str, passes: int, field: str) -> bool:
    """Whether a system has a field at one number of decoder passes."""
    records = (find_record(system, passes) for system in results["systems"] if system["name"] == name)
    return any(field in record for record in records if record is not None)


def read_field(path: Path, systems: dict[str, Any], system: str, passes: int, field: str) -> float:
    """One field of a system at one number of decoder passes."""
    record = find_record(systems[system], passes) if system in systems else None
    if record is None or field not in record:
        raise ValueError(
            f"{path} has no {field!r} of the {system} at {passes} decoder passes. Evaluate a teacher and a student on "
            "the phrasebook with --iterations 1 2 4 8."
        )
    return record[field]


def seed_of(path: Path) -> int:
    """The seed of a demo run, from the summary of its student."""
    summary = json.loads((path.parent / "student" / "training_summary.json").read_text())
    return summary["training_arguments"]["seed"]


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"error: {error}")
