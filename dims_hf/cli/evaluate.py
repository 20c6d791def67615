# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf evaluate ...`: quality of checkpoints against decoder iterations."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from dims_hf.cli.parsing import CommandParser


_FOR_LEADERBOARDS = "source_lang target_lang split max_examples output_dir bleu_tokenizer shortlist".split()


def main(argv: Sequence[str]) -> None:
    """Score models on a test set, and write the table to standard output; `training/evaluate.py` does the same."""
    parser = _make_parser()
    arguments = vars(parser.parse_words(argv))
    test_sets = arguments.pop("test_set")
    if arguments.pop("leaderboard"):
        others = arguments.keys() - {"system", *_FOR_LEADERBOARDS}
        given = [name for name in arguments if name in others and arguments[name] != parser.get_default(name)]
        _rank(arguments, test_sets, refused=given)
        return
    if arguments["data"] is None or test_sets:
        raise ValueError("Give the corpus with --data. --test-set belongs to --leaderboard.")
    if arguments.pop("shortlist") is not None:
        raise ValueError("--shortlist belongs to --leaderboard. Export the model with --shortlist to evaluate that.")
    teacher, student = ([(name, path)] if (path := arguments.pop(name)) else [] for name in ("teacher", "student"))
    # The first and the last are compared, so others stand between the two.
    models = dict([*teacher, *_unique(map(_named_path, arguments.pop("system")), "--system"), *student])
    if not models:
        raise ValueError("There is no model to evaluate. Give --teacher, --student, --system or several.")
    from dims_hf.reports import run_evaluation, write_table

    arguments["collapse_repeats"] = False if arguments.pop("keep_repeats") else None
    arguments["decodings"] = dict(_unique(map(_named_decoding, arguments.pop("decoding")), "--decoding")) or None
    write_table(run_evaluation(models, **arguments))


def _rank(arguments: dict[str, Any], test_sets: list[str], *, refused: list[str]) -> None:
    """All systems on all test sets, with latency and significance; options that say nothing here are refused."""
    if refused:
        options = ", ".join("--" + name.replace("_", "-") for name in refused)
        raise ValueError(f"--leaderboard does not take {options}. Name models with --system, corpora with --test-set.")
    from dims_hf.benchmark import run_leaderboard
    from dims_hf.reports import leaderboard_markdown

    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("dims_hf").setLevel(logging.INFO)
    results = run_leaderboard(
        dict(_unique(map(_named_path, arguments["system"]), "--system")),
        dict(_unique((_named(word, "--test-set") for word in test_sets), "--test-set")),
        **{name: arguments[name] for name in _FOR_LEADERBOARDS},
    )
    sys.stdout.write(leaderboard_markdown(results))


def _unique(pairs: Iterable[tuple[str, Any]], option: str) -> list[tuple[str, Any]]:
    """The pairs, whose names stand once each: of two, one would be read and ignored."""
    found = list(pairs)
    names = [name for name, _ in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{option} has the name {name!r} twice. Give each a name of its own.")
    return found


def _named(word: str, option: str) -> tuple[str, str]:
    name, _, path = word.partition("=")
    if not name or not path:
        raise ValueError(f"{option} takes NAME=PATH, got {word!r}. Write for example {option} mine=path/to/it.")
    return name, path


def _named_path(word: str) -> tuple[str, str]:
    name, _, path = word.partition("=")
    if not name or not path or name in ("teacher", "student"):
        raise ValueError(
            f"--system takes NAME=PATH with a name of your own (teacher and student have options), got {word!r}. "
            "Write for example --system no_ema=runs/no_ema."
        )
    return name, path


def _named_decoding(word: str) -> tuple[str, dict[str, Any]]:
    """`tuned:repeat_penalty=1.0,length_beam_size=3` as a name and its settings, whose values are read as YAML."""
    from dims_hf._yaml import parse_yaml_file

    name, _, settings = word.partition(":")
    pairs = [each.partition("=") for each in settings.split(",")] if settings else []
    if not name or not all(key and value for key, _, value in pairs):
        raise ValueError(
            f"--decoding takes NAME:SETTING=VALUE,..., got {word!r}. Write for example "
            "--decoding tuned:repeat_penalty=1.0,length_beam_size=3."
        )
    read = partial(parse_yaml_file, name=f"--decoding {name}")
    return name, {key.strip().replace("-", "_"): _number_or_word(read(value)) for key, _, value in pairs}


def _number_or_word(value: Any) -> Any:
    """YAML 1.1 reads `inf` and `1e-3` as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _make_parser() -> CommandParser:
    parser = CommandParser("evaluate", "Quality of checkpoints against decoder iterations.")
    parser.add_argument("--teacher", help="checkpoint folder or Hub id; the baseline of comparisons")
    parser.add_argument("--student", help="checkpoint folder or Hub id; the system under test")
    parser.add_argument(
        "--system", action="append", default=[], metavar="NAME=PATH", help="another checkpoint; may be repeated"
    )
    parser.add_argument("--data", help="phrasebook, a folder, a JSONL file or the id of a Hub data set")
    parser.add_argument(
        "--leaderboard",
        action="store_true",
        help="all --system on all --test-set in every runtime at hand, autoregressive models too: quality, latency, "
        "significance",
    )
    parser.add_argument(
        "--test-set", action="append", default=[], metavar="NAME=CORPUS", help="of a leaderboard; may be repeated"
    )
    parser.add_argument(
        "--shortlist",
        metavar="CORPUS",
        help="of a leaderboard: the int8 runtimes once more, with a lexical shortlist learnt from this corpus",
    )
    parser.add_argument("--source-lang", required=True, help="language code, for example en")
    parser.add_argument("--target-lang", required=True, help="language code, for example de")
    parser.add_argument("--split", default="test", help="split of the corpus")
    parser.add_argument(
        "--iterations", type=int, nargs="*", help="decoder passes; by default 1 2 4 10, or what the family has"
    )
    parser.add_argument("--length-beams", type=int, nargs="+", default=[1], help="length candidates")
    parser.add_argument(
        "--decoding",
        action="append",
        default=[],
        metavar="NAME:SETTING=VALUE,...",
        help="another way of decoding, compared with the fewest passes by paired bootstrap; may be repeated, and "
        "stands alone after an empty --iterations",
    )
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
