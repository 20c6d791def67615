# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf export MODEL --to onnx|native [--int8] [--shortlist CORPUS]`: a folder that translates without torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dims_hf.cli.parsing import CommandParser


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from dims_hf.export import Shortlist


def main(argv: Sequence[str]) -> None:
    """Export a model, verified against PyTorch; with a corpus, say what int8 costs."""
    arguments = _make_parser().parse_words(argv)
    for option in ("data", "shortlist"):
        if getattr(arguments, option) is not None and None in (arguments.source_lang, arguments.target_lang):
            raise ValueError(
                f"--{option} needs its languages. Give --source-lang and --target-lang, for example en and de."
            )
    _check_unused(arguments)
    from dims_hf.export import check_output_dir, export_native, export_onnx
    from dims_hf.reports.provenance import public_name
    from dims_hf.translation import load_model

    name = public_name(arguments.model)
    is_native = arguments.to == "native"
    suffix = "-int8" if arguments.int8 and not is_native else ""
    output_dir = Path(arguments.output_dir or f"{name.rpartition('/')[2]}-{arguments.to}{suffix}")
    check_output_dir(output_dir, overwrite=arguments.overwrite)
    sentences, references = _read_sentences(arguments)
    model, tokenizer = load_model(arguments.model, "cpu")
    # The native format has no other precision than int8, and no graphs.
    graph = arguments.graph or "auto"
    export = export_native if is_native else partial(export_onnx, int8=arguments.int8, graph=graph)
    description = export(
        model,
        tokenizer,
        output_dir,
        num_iterations=arguments.num_iterations,
        sentences=sentences,
        references=references,
        shortlist=_make_shortlist(arguments, model, tokenizer),
        name=name,
        overwrite=arguments.overwrite,
    )
    _report(description, output_dir)


def _check_unused(arguments: argparse.Namespace) -> None:
    """Refuses what would be read and ignored."""
    if arguments.graph is not None and arguments.to == "native":
        raise ValueError("--graph has no effect with --to native. Leave it out.")
    users = {"data": ("split", "max_examples"), "shortlist": ("shortlist_per_token", "shortlist_frequent")}
    for user, options in users.items():
        for option in options:
            if getattr(arguments, user) is None and getattr(arguments, option) is not None:
                words = option.replace("_", "-")
                raise ValueError(f"--{words} has no effect without --{user}. Give --{user} CORPUS, or leave it out.")


def _make_parser() -> CommandParser:
    parser = CommandParser("export", "Write a folder that translates without torch.")
    parser.add_argument("model", help="checkpoint folder or Hub model id")
    parser.add_argument(
        "--to", choices=["onnx", "native"], default="onnx", help="ONNX graphs, or the int8 file of the native runtime"
    )
    parser.add_argument("--int8", action="store_true", help="8-bit weights and activations; native is int8 always")
    parser.add_argument(
        "--graph",
        choices=["auto", "traced", "built"],
        help="ONNX graphs traced as the model decodes, or built by hand: faster, for CMLM, CMLMC and Imputer; auto "
        "takes the faster one there is",
    )
    parser.add_argument(
        "--output-dir", metavar="DIR", help="folder to write; MODEL-onnx, MODEL-onnx-int8 or MODEL-native by default"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a former export")
    parser.add_argument(
        "--num-iterations", type=int, help="decoder passes, 1 makes one graph; the model's own number when not given"
    )
    parser.add_argument("--verify-data", metavar="FILE", help="source sentences to compare with PyTorch, one per line")
    parser.add_argument("--data", help="corpus to measure BLEU on, also compared with PyTorch")
    parser.add_argument("--source-lang", help="language code of --data and --shortlist, for example en")
    parser.add_argument("--target-lang", help="language code of --data and --shortlist, for example de")
    parser.add_argument("--split", help="split of --data; test when not given")
    parser.add_argument("--max-examples", type=int, help="first sentences of --data only")
    parser.add_argument(
        "--shortlist",
        metavar="CORPUS",
        help="choose words among those that the train split of this corpus makes likely, not the whole vocabulary",
    )
    parser.add_argument(
        "--shortlist-per-token", type=int, help="likeliest target ids of a source token, if not the usual number"
    )
    parser.add_argument(
        "--shortlist-frequent", type=int, help="target ids that every sentence may use, if not the usual number"
    )
    return parser


def _make_shortlist(
    arguments: argparse.Namespace, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> Shortlist | None:
    if arguments.shortlist is None:
        return None
    from dims_hf.export import corpus_shortlist

    sizes = {"per_token": arguments.shortlist_per_token, "frequent": arguments.shortlist_frequent}
    given = {name: size for name, size in sizes.items() if size is not None}
    return corpus_shortlist(
        model, tokenizer, arguments.shortlist, arguments.source_lang, arguments.target_lang, **given
    )


def _read_sentences(arguments: argparse.Namespace) -> tuple[list[str], list[str] | None]:
    if arguments.data is not None:
        if arguments.verify_data is not None:
            raise ValueError("Sentences were given as --data and as --verify-data. Give one of the two.")
        from dims_hf.data import load_corpus

        split, limit = arguments.split or "test", arguments.max_examples
        limits = {split: limit} if limit is not None else None
        corpus = load_corpus(
            arguments.data, arguments.source_lang, arguments.target_lang, splits=(split,), max_examples=limits
        )[split]
        return list(corpus["source"]), list(corpus["target"])
    if arguments.verify_data is None:
        return [], None
    from dims_hf.models.source_text import is_blank

    path = Path(arguments.verify_data)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Give a text file with one source sentence per line.")
    sentences = [line for line in path.read_text(encoding="utf-8-sig").split("\n") if not is_blank(line)]
    if not sentences:
        raise ValueError(f"{path} holds no sentence. Give a text file with one source sentence per line.")
    return sentences, None


def _report(description: dict, output_dir: Path) -> None:
    verified = description["verification"]
    # A native export is compared with PyTorch in the same 8-bit numbers, where near ties remain.
    share = f"{verified['tokens']:.2%} " if "tokens" in verified else ""
    lines = [f"verified {verified['num_sequences']} sequences, {verified['num_tokens']} tokens: {share}as PyTorch"]
    if verified.get("num_near_ties"):
        lines[0] += f", but {verified['num_near_ties']} near ties that rounding decides"
    if "agreement" in description:
        shares = description["agreement"]
        lines.append(f"int8 agrees on {shares['sentences']:.1%} of sentences, {shares['tokens']:.1%} of tokens")
    if "shortlist" in description:
        listed = description["shortlist"]
        shares = listed["agreement"]
        lines.append(
            f"shortlist of {listed['mean_listed_ids']:.0f} of {description['settings']['vocab_size']} target ids "
            f"agrees on {shares['sentences']:.1%} of sentences, {shares['tokens']:.1%} of tokens"
        )
    if "quality" in description:
        from dims_hf.export.quality import described_scores

        lines.append(f"BLEU {described_scores(description['quality'])}")
    size = sum(path.stat().st_size for path in output_dir.iterdir())
    lines.append(f"wrote {output_dir} ({size / 1e6:.1f} MB)")
    sys.stdout.write("".join(line + "\n" for line in lines))
