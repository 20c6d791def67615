# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf translate-corpus --model MODEL --input FILE ... --output-dir DIR`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from dims_hf.cli.parsing import CommandParser


def main(argv: Sequence[str]) -> None:
    """Translate a corpus into shards; `accelerate launch training/translate_corpus.py` does it on several devices."""
    arguments = vars(_make_parser().parse_words(argv))
    from dims_hf.bulk import CorpusSettings, translate_corpus

    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S")
    names = {each.name for each in fields(CorpusSettings)}
    settings: dict[str, Any] = {name: value for name, value in arguments.items() if name in names}
    settings["collapse_repeats"] = False if arguments["keep_repeats"] else None
    report = translate_corpus(
        arguments["model"],
        arguments["input"],
        arguments["output_dir"],
        CorpusSettings(**settings),
        progress=not arguments["quiet"],
    )
    if os.environ.get("RANK", "0") == "0":
        sys.stdout.write(report.table() + "\n")


def _make_parser() -> CommandParser:
    parser = CommandParser("translate-corpus", "Translate a corpus of any size into shards; begun work is taken up.")
    parser.add_argument(
        "--model", required=True, help="checkpoint folder, folder of an export (ONNX, native) or Hub model id"
    )
    parser.add_argument(
        "--input",
        required=True,
        nargs="+",
        metavar="FILE",
        help="text, JSONL or Parquet files, - for standard input, or one data set: a folder or a Hub id",
    )
    parser.add_argument("--output-dir", required=True, metavar="DIR", help="folder of the shards")
    _add_reading(parser)
    _add_writing(parser)
    parser.add_decoding()
    work = parser.add_argument_group("work")
    work.add_argument("--processes", type=int, help="one for each GPU, else for each core, when not given")
    work.add_argument("--threads", type=int, help="processor threads of each process; 1 when not given")
    work.add_argument("--quiet", action="store_true", help="no progress on standard error")
    parser.add_place()
    return parser


def _add_reading(parser: CommandParser) -> None:
    reading = parser.add_argument_group("reading")
    reading.add_argument(
        "--input-format",
        choices=("text", "jsonl", "parquet", "dataset"),
        help="when not given, the suffix decides (.jsonl, .json, .parquet, text for any other), and what is no file "
        "is a data set",
    )
    reading.add_argument("--column", help="column of the sources; source, text or sentence when not given")
    reading.add_argument(
        "--keep-columns", nargs="+", default=(), metavar="NAME", help="columns to copy into the output"
    )
    reading.add_argument("--split", help="split of a data set")
    reading.add_argument("--config", help="configuration of a Hub data set")
    reading.add_argument(
        "--streaming", action="store_true", help="read a Hub data set as it comes, without keeping it"
    )
    reading.add_argument("--max-rows", type=int, help="translate the first so many rows")
    reading.add_argument(
        "--on-blank", choices=("keep", "error"), default="keep", help="what a row with nothing to see in it is"
    )
    reading.add_argument(
        "--on-long",
        choices=("error", "truncate", "split", "skip"),
        default="error",
        help="what is done with a row longer than the model takes",
    )


def _add_writing(parser: CommandParser) -> None:
    writing = parser.add_argument_group("writing")
    writing.add_argument(
        "--output-format",
        choices=("jsonl", "text", "parquet"),
        default="jsonl",
        help="text: translations alone, a line each; the others: with scores and what looks wrong",
    )
    writing.add_argument("--shard-size", type=int, default=5000, help="rows of a shard: what a kill may cost")
    writing.add_argument("--source-lang", help="with --target-lang: write pairs as training reads them")
    writing.add_argument("--target-lang", help="language of the translations")
