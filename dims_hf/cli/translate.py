# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf translate --model MODEL [TEXT ...]`: sentences from arguments, a file or standard input, one per line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dims_hf.cli.parsing import CommandParser


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def main(argv: Sequence[str]) -> None:
    """Translate line by line; blank lines stay blank, so that output and input lines match."""
    arguments = _make_parser().parse_words(argv)
    lines = _read_lines(arguments)
    from dims_hf.translation import load_model

    model, tokenizer = load_model(arguments.model, arguments.device, arguments.dtype)
    write = _show_steps if arguments.show_steps else _translate
    _write_lines(write(model, tokenizer, lines, arguments), arguments.output)


def _make_parser() -> CommandParser:
    parser = CommandParser("translate", "Translate sentences, one per argument or line.")
    parser.add_argument("text", nargs="*", help="sentences; without any, they are read from --input")
    parser.add_argument("--model", required=True, help="checkpoint folder or Hub model id")
    parser.add_argument("--input", default="-", metavar="FILE", help="one sentence per line, - is standard input")
    parser.add_argument("--output", default="-", metavar="FILE", help="where to write, - is standard output")
    parser.add_argument("--num-iterations", type=int, help="decoder passes; the model's own number when not given")
    parser.add_argument(
        "--length-beam-size", type=int, help="target lengths tried; the model's own number when not given"
    )
    parser.add_argument(
        "--max-tokens-per-batch", type=int, default=4096, help="tokens decoded at once, padding counted"
    )
    parser.add_argument("--keep-repeats", action="store_true", help="keep a token that equals its right neighbour")
    parser.add_argument("--show-steps", action="store_true", help="print what every decoder pass decided")
    parser.add_place()
    return parser


def _read_lines(arguments: argparse.Namespace) -> list[str]:
    if arguments.text:
        if arguments.input != "-":
            raise ValueError("Sentences were given as arguments and as --input. Give one of the two.")
        return arguments.text
    if arguments.input == "-":
        # a lone carriage return must not end a line here either
        sys.stdin.reconfigure(newline="\n")
        return _split_lines(sys.stdin.read())
    path = Path(arguments.input)
    if not path.is_file():
        raise FileNotFoundError(f"Input file {path} does not exist. Give a text file with one sentence per line.")
    return _split_lines(path.read_bytes().decode("utf-8"))


def _split_lines(text: str) -> list[str]:
    """Lines end at a line feed only: other separators of Unicode occur inside sentences."""
    lines = [line.strip("\r") for line in text.split("\n")]
    return lines if lines[-1] else lines[:-1]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _translate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, lines: Sequence[str], arguments: argparse.Namespace
) -> Iterator[str]:
    from dims_hf.translation import translate

    rows = [row for row, line in enumerate(lines) if line.strip()]
    translations = [""] * len(lines)
    if rows:
        outputs = translate(
            model,
            tokenizer,
            [lines[row] for row in rows],
            num_iterations=arguments.num_iterations,
            length_beam_size=arguments.length_beam_size,
            max_tokens_per_batch=arguments.max_tokens_per_batch,
            collapse_repeats=False if arguments.keep_repeats else None,
        )
        for row, output in zip(rows, outputs):
            translations[row] = _one_line(output.text)
    yield from translations


def _show_steps(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, lines: Sequence[str], arguments: argparse.Namespace
) -> Iterator[str]:
    """One block per sentence: a line for each pass, with the tokens it will predict again in square brackets."""
    given = {"num_iterations": arguments.num_iterations, "length_beam_size": arguments.length_beam_size}
    options = {name: value for name, value in given.items() if value is not None}
    for line in filter(str.strip, lines):
        inputs = tokenizer(line, return_tensors="pt").to(model.device)
        output = model.generate(
            inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            collapse_repeats=False if arguments.keep_repeats else None,
            return_dict_in_generate=True,
            output_history=True,
            **options,
        )
        yield f"source   {_one_line(line)}"
        for number, step in enumerate(output.history, start=1):
            yield f"pass {number:<3} {_format_step(tokenizer, step.token_ids[0].tolist(), step.state[0].tolist())}"
        yield f"result   {_one_line(tokenizer.decode(output.sequences[0], skip_special_tokens=True))}"


def _format_step(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int], states: Sequence[int]) -> str:
    from dims_hf.models.decoding_mask_predict import REMASKED

    outside = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    shown = [
        f"[{token}]" if state == REMASKED else token
        for token_id, token, state in zip(token_ids, tokenizer.convert_ids_to_tokens(list(token_ids)), states)
        if token_id not in outside
    ]
    return " ".join(shown)


def _write_lines(lines: Iterator[str], target: str) -> None:
    if target == "-":
        for line in lines:
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
        return
    temporary = Path(f"{target}.tmp")
    temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    os.replace(temporary, target)
