# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Command line of an evaluation, shared by `training/evaluate.py` and `dims-hf evaluate`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from .report import write_table
from .run import run_evaluation


def make_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The options; each is read with dashes or underscores."""
    parser = argparse.ArgumentParser(prog, description="Quality of one or two checkpoints against decoder iterations.")
    _add(parser, "teacher", help="checkpoint folder or Hub id; the baseline of comparisons")
    _add(parser, "student", help="checkpoint folder or Hub id; the system under test")
    _add(parser, "data", required=True, help="phrasebook, a folder, a JSONL file or the id of a Hub data set")
    _add(parser, "source_lang", required=True, help="language code, for example en")
    _add(parser, "target_lang", required=True, help="language code, for example de")
    _add(parser, "split", default="test", help="split of the corpus (default: test)")
    _add(parser, "iterations", type=int, nargs="+", default=[1, 2, 4, 10], help="decoder passes (default: 1 2 4 10)")
    _add(parser, "length_beams", type=int, nargs="+", default=[1], help="length candidates (default: 1)")
    _add(parser, "oracle_length", action="store_true", help="also decode with the reference's length")
    _add(parser, "keep_repeats", action="store_true", help="score without collapsing repeated tokens")
    _add(parser, "max_tokens_per_batch", type=int, default=4096, help="padded tokens per batch (default: 4096)")
    _add(parser, "max_examples", type=int, help="first sentences only")
    _add(parser, "output_dir", help="folder for results.json, results.md, the figure and the translations")
    _add(parser, "device", help="torch device; the first GPU, else the CPU, when not given")
    return parser


def main(argv: Sequence[str] | None = None, *, prog: str | None = None) -> dict[str, Any]:
    """Evaluates as the command line says and writes the table to standard output.

    Args:
        argv (`Sequence[str]`, *optional*): arguments; those of the process when `None`.
        prog (`str`, *optional*): name of the program in the usage message.

    Returns:
        `dict[str, Any]`: the results document.

    Raises:
        ValueError: neither `--teacher` nor `--student`, or what `run_evaluation` refuses.
    """
    arguments = vars(make_parser(prog).parse_args(argv))
    models = {name: path for name in ("teacher", "student") if (path := arguments.pop(name))}
    if not models:
        raise ValueError("There is no model to evaluate. Give --teacher, --student or both.")
    arguments["collapse_repeats"] = not arguments.pop("keep_repeats")
    results = run_evaluation(models, **arguments)
    write_table(results)
    return results


def _add(parser: argparse.ArgumentParser, name: str, **options: Any) -> None:
    dashed = name.replace("_", "-")
    parser.add_argument(*dict.fromkeys((f"--{dashed}", f"--{name}")), dest=name, **options)
