# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf average MODEL MODEL ... --output-dir DIR`: the mean of models that were trained from the same weights."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dims_hf.cli.parsing import CommandParser


def main(argv: Sequence[str]) -> None:
    """Average models and say where the mean is."""
    arguments = _make_parser().parse_words(argv)
    from dims_hf.trainers.averaging import average_models

    folder = average_models(arguments.models, arguments.output_dir)
    sys.stdout.write(f"{folder}: the mean of {len(arguments.models)} models\n")


def _make_parser() -> CommandParser:
    parser = CommandParser(
        "average",
        "Average the weights of models that were trained from the same ones, or of a run's checkpoints. The tokenizer "
        "and settings of the first go with the mean; score it on a validation set before you use it.",
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="checkpoint folders; one named twice counts twice")
    parser.add_argument("--output-dir", required=True, metavar="DIR", help="new folder for the mean")
    return parser
