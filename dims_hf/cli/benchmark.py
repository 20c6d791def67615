# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf benchmark [--quick] [--model PATH ... --data CORPUS]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dims_hf.cli.parsing import CommandParser


# What the parser calls otherwise than the settings.
_RENAMED = {"model": "models", "device": "devices"}


def main(argv: Sequence[str]) -> None:
    """Measure speed against autoregressive peers, and write the table to standard output."""
    given = vars(_make_parser().parse_words(argv))
    from dims_hf.benchmark import BenchmarkSettings, run_benchmark
    from dims_hf.benchmark.report import write_terminal
    from dims_hf.benchmark.settings import QUICK

    quick = QUICK if given.pop("quick") else {}
    settings = BenchmarkSettings(**{**quick, **{_RENAMED.get(name, name): value for name, value in given.items()}})
    write_terminal(run_benchmark(settings, _say))


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _count(word: str) -> int | str:
    return int(word) if word.lstrip("-").isdigit() else word


def _make_parser() -> CommandParser:
    """Only what was given ends in the result: everything else is for the settings to say."""
    parser = CommandParser(
        "benchmark",
        "Speed against autoregressive peers of equal dimensions. Without --model, weights are random and lengths "
        "forced. Everything takes hours; what was measured is kept, and the same command goes on from there.",
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="a minute's version: small models, batch 1 and 32, one pass, one thread")
    groups = {
        "size": {"help": "base (512 dimensions, 6+6 layers), small (256, 3+3) or tiny, for random weights"},
        "designs": {"nargs": "+", "metavar": "FAMILY", "help": "families with random weights, FAMILY-deep too; cmlm"},
        "peers": {"nargs": "+", "metavar": "E-D", "help": "layers of random peers: 6-6 12-1 6-1; 6-6 12-1"},
        "model": {"nargs": "+", "metavar": "PATH", "help": "trained checkpoints instead, ours and Marian's"},
        "data": {"help": "corpus that trained models translate: a folder, a JSONL file, a Hub data set, phrasebook"},
        "source-lang": {"help": "language code, for example en"},
        "target-lang": {"help": "language code, for example de"},
        "split": {"help": "split of the corpus; test when not given"},
        "max-examples": {"type": int, "help": "first sentences only; 200"},
        "systems": {"nargs": "+", "metavar": "NAME", "help": "runtimes; all when not given"},
        "without": {"nargs": "+", "metavar": "NAME", "help": "runtimes to leave out"},
        "iterations": {"type": int, "nargs": "+", "help": "decoder passes; 1 2 4 10"},
        "length-beams": {"type": int, "nargs": "+", "help": "length candidates; 1 5"},
        "batches": {
            "type": _count,
            "nargs": "+",
            "help": "sentences per call, max, or from text to text: text (one a call), bulk (all); 1 8 32 max",
        },
        "max-tokens": {"type": int, "help": "source tokens of the batch max; 2048"},
        "lengths": {"type": int, "nargs": "+", "help": "tokens in and out, for random weights; 10 20 40"},
        "threads": {"type": _count, "nargs": "+", "help": "CPU threads, or all; 1 all"},
        "device": {"nargs": "+", "help": "cpu, cuda; both where there is a GPU"},
        "rounds": {"type": int, "help": "rounds in which the systems take turns; 5, the least"},
        "seed": {"type": int, "help": "of random weights and sources; 1"},
        "output-dir": {"help": "folder of table, figure and JSON; benchmark"},
    }
    for name, options in groups.items():
        add(f"--{name}", default=argparse.SUPPRESS, **options)
    add("--full-grid", action="store_true", default=argparse.SUPPRESS, help="slow systems at every length and batch")
    add(
        "--startup",
        action="store_true",
        default=argparse.SUPPRESS,
        help="what a new process takes until it translated",
    )
    add("--no-memory", dest="memory", action="store_false", default=argparse.SUPPRESS, help="no peak memory")
    add("--memory", dest="memory", action="store_true", default=argparse.SUPPRESS, help="peak memory with --quick too")
    return parser
