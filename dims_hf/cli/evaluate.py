# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf evaluate ...`: quality of checkpoints against decoder iterations."""

from __future__ import annotations

from collections.abc import Sequence

from dims_hf.cli.parsing import CommandParser


def main(argv: Sequence[str]) -> None:
    """Score models on a test set, and write the table to standard output; `training/evaluate.py` does the same."""
    arguments = vars(_make_parser().parse_words(argv))
    teacher, student = ([(name, path)] if (path := arguments.pop(name)) else [] for name in ("teacher", "student"))
    # The first and the last are compared, so others stand between the two.
    models = dict([*teacher, *map(_named_path, arguments.pop("system")), *student])
    if not models:
        raise ValueError("There is no model to evaluate. Give --teacher, --student, --system or several.")
    from dims_hf.reports import run_evaluation, write_table

    arguments["collapse_repeats"] = False if arguments.pop("keep_repeats") else None
    write_table(run_evaluation(models, **arguments))


def _named_path(word: str) -> tuple[str, str]:
    name, _, path = word.partition("=")
    if not name or not path or name in ("teacher", "student"):
        raise ValueError(
            f"--system takes NAME=PATH with a name of your own (teacher and student have options), got {word!r}. "
            "Write for example --system no_ema=runs/no_ema."
        )
    return name, path


def _make_parser() -> CommandParser:
    parser = CommandParser("evaluate", "Quality of checkpoints against decoder iterations.")
    parser.add_argument("--teacher", help="checkpoint folder or Hub id; the baseline of comparisons")
    parser.add_argument("--student", help="checkpoint folder or Hub id; the system under test")
    parser.add_argument(
        "--system", action="append", default=[], metavar="NAME=PATH", help="another checkpoint; may be repeated"
    )
    parser.add_argument("--data", required=True, help="phrasebook, a folder, a JSONL file or the id of a Hub data set")
    parser.add_argument("--source-lang", required=True, help="language code, for example en")
    parser.add_argument("--target-lang", required=True, help="language code, for example de")
    parser.add_argument("--split", default="test", help="split of the corpus")
    parser.add_argument("--iterations", type=int, nargs="+", default=[1, 2, 4, 10], help="decoder passes")
    parser.add_argument("--length-beams", type=int, nargs="+", default=[1], help="length candidates")
    parser.add_argument(
        "--length-edges", type=int, nargs="+", metavar="N", help="score buckets of reference lengths too, cut there"
    )
    parser.add_argument(
        "--num-length-buckets", type=int, metavar="K", help="the same for K buckets of equal size (the paper has 5)"
    )
    parser.add_argument("--oracle-length", action="store_true", help="also decode with the reference's length")
    parser.add_argument("--keep-repeats", action="store_true", help="score without collapsing repeated tokens")
    parser.add_argument(
        "--bleu-tokenizer", help="sacreBLEU's tokenizer (13a, zh, ja-mecab, ko-mecab, char, …); by --target-lang"
    )
    parser.add_argument("--max-tokens-per-batch", type=int, default=4096, help="padded tokens per batch")
    parser.add_argument("--max-examples", type=int, help="first sentences only")
    parser.add_argument("--output-dir", help="folder for results.json, results.md, the figure and the translations")
    parser.add_place()
    return parser
