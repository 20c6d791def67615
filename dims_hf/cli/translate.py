# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf translate --model MODEL [TEXT ...]`: sentences from arguments, a file or standard input, and documents."""

from __future__ import annotations

import argparse
import functools
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from dims_hf._files import expand_home, stream_lines
from dims_hf._output import move
from dims_hf.cli.parsing import CommandParser


if TYPE_CHECKING:
    from dims_hf.translation import Runtime, Translation
    from dims_hf.translation.torch_runtime import TorchRuntime

# What `generate` is told, where something is said.
_DECODING = (
    "num_iterations", "length_beam_size", "length_score_weight", "repeat_penalty", "prefix_beam_size", "graph_search",
    "blank_penalty", "language_model_weight", "token_bonus",
)  # fmt: skip
_STANDARD_INPUT = "standard input"


def main(argv: Sequence[str]) -> None:
    """Translate line by line; blank lines stay blank, so that output and input lines match."""
    arguments = _make_parser().parse_words(argv)
    _check(arguments)
    source = None if arguments.text else _open_input(arguments)
    with nullcontext() if source is None or source[0] is sys.stdin.buffer else source[0]:
        _run(arguments, source)


def _run(arguments: argparse.Namespace, source: tuple[io.BufferedIOBase, str] | None) -> None:
    kind = _document_kind(arguments)
    from dims_hf.translation import open_runtime

    runtime = open_runtime(
        arguments.model,
        device=arguments.device,
        dtype=arguments.dtype,
        threads=arguments.threads,
        trust_remote_code=arguments.trust_remote_code,
        pack_weights=arguments.pack_weights,
        runtime=arguments.runtime,
    )
    translate = _make_translate(runtime, arguments)
    with _open_output(arguments.output) as output:
        if kind != "text":
            if arguments.on_long is None:
                translate = functools.partial(translate, on_long="split")
            _translate_document(source, kind, translate, arguments.format, output)
        elif arguments.show_steps:
            _write(_show_steps(runtime, _groups(arguments, source), arguments), output)
        else:
            _write(_translate_lines(_groups(arguments, source), translate, arguments.format), output)


def _make_parser() -> CommandParser:
    parser = CommandParser("translate", "Translate sentences, one per argument or line, or a document.")
    parser.add_argument("text", nargs="*", help="sentences; without any, they are read from --input")
    parser.add_argument(
        "--model", required=True, help="checkpoint folder, folder of an export (ONNX, native) or Hub model id"
    )
    files = parser.add_argument_group("input and output")
    files.add_argument("--input", default="-", metavar="FILE", help="UTF-8 text, - is standard input")
    files.add_argument("--output", default="-", metavar="FILE", help="where to write, - is standard output")
    files.add_argument(
        "--input-format",
        choices=("text", "paragraphs", "markdown", "html", "srt", "po"),
        help="text is one sentence per line, paragraphs are split into sentences; when not given, the suffix of "
        "--input decides: .md, .html, .srt, .po, and text for any other",
    )
    files.add_argument(
        "--format", choices=("text", "jsonl"), default="text", help="jsonl: with scores and what looks wrong"
    )
    files.add_argument(
        "--on-blank", choices=("keep", "error"), default="keep", help="what a line with nothing to see in it is"
    )
    files.add_argument(
        "--on-long",
        choices=("error", "truncate", "split", "skip"),
        help="what is done with a line longer than the model takes; error when not given, split in documents",
    )
    _add_decoding(parser)
    parser.add_place()
    parser.add_argument("--threads", type=int, help="processor threads; as many as the runtime likes when not given")
    parser.add_argument(
        "--runtime", choices=("openvino",), help="run an ONNX export with OpenVINO, which has --dtype bfloat16 on CPUs"
    )
    parser.add_argument(
        "--pack-weights",
        action="store_true",
        help="torch on a CPU: reorder the weights once; faster, above all on AMD, for more memory",
    )
    return parser


def _add_decoding(parser: CommandParser) -> None:
    decoding = parser.add_decoding()
    decoding.add_argument(
        "--rerank", metavar="MODEL", help="autoregressive model that chooses among --num-candidates translations"
    )
    decoding.add_argument("--num-candidates", type=int, help="translations that --rerank chooses from; 5 if not given")
    decoding.add_argument("--prefix-beam-size", type=int, help="hypotheses of models that write alignments (CTC)")
    decoding.add_argument(
        "--blank-penalty", type=float, help="taken off the blank's logit (CTC): the more, the longer are translations"
    )
    decoding.add_argument(
        "--graph-search", help="greedy, lookahead, viterbi, joint_viterbi or beam, of models that write graphs (DAT)"
    )
    decoding.add_argument(
        "--language-model",
        metavar="FILE",
        help="n-gram model (ARPA or KenLM) that steers a prefix beam, or ranks that of a graph",
    )
    decoding.add_argument(
        "--language-model-unit",
        choices=("tokens", "words"),
        help="what its n-grams are made of; tokens, spelled as in the vocabulary, when not given",
    )
    decoding.add_argument("--language-model-weight", type=float, help="weight of its log-probability")
    decoding.add_argument("--token-bonus", type=float, help="what every token adds beside it, for alignments")
    decoding.add_argument(
        "--threshold",
        type=float,
        help="confidence, 0 to 1, below which a sentence is translated again, as are those that look wrong",
    )
    decoding.add_argument("--fallback-iterations", type=int, help="decoder passes of the second try")
    decoding.add_argument("--fallback-model", metavar="MODEL", help="another model for the second try")
    decoding.add_argument("--show-steps", action="store_true", help="print what every decoder pass decided")


def _check(arguments: argparse.Namespace) -> None:
    """Refuses what contradicts itself or would be read and ignored."""
    if arguments.text and arguments.input != "-":
        raise ValueError("Sentences were given as arguments and as --input. Give one of the two.")
    if arguments.text and arguments.input_format not in (None, "text"):
        raise ValueError("--input-format is for --input. Leave it out with sentences as arguments.")
    has_fallback = arguments.fallback_iterations is not None or arguments.fallback_model is not None
    if has_fallback != (arguments.threshold is not None):
        raise ValueError(
            "A second try needs --threshold, and --fallback-iterations or --fallback-model. Give both or neither."
        )
    if arguments.num_candidates is not None and arguments.rerank is None:
        raise ValueError("--num-candidates has no effect without --rerank MODEL. Give it, or leave it out.")
    for name in ("language_model_unit", "language_model_weight", "token_bonus"):
        if getattr(arguments, name) is not None and arguments.language_model is None:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} has no effect without --language-model FILE. Give it, or leave it out.")
    if arguments.show_steps:
        given = [name for name in ("rerank", "threshold", "language_model") if getattr(arguments, name) is not None]
        if given or arguments.format != "text":
            raise ValueError("--show-steps shows the passes of one model as text. Leave out the other options.")
        if _document_kind(arguments) != "text":
            raise ValueError("--show-steps is for sentences. Pass --input-format text, or leave it out.")


# ---- in ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Group:
    """Lines that came together, and how errors call each of them."""

    lines: list[str]
    name: Callable[[int], str]


def _open_input(arguments: argparse.Namespace) -> tuple[io.BufferedIOBase, str]:
    """The stream to read, and what errors call it."""
    if arguments.input == "-":
        return sys.stdin.buffer, _STANDARD_INPUT
    path = expand_home(arguments.input)
    if path.is_dir() or not path.exists():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ValueError(f"Input file {path} {what}. Give a text file with one sentence per line.")
    return path.open("rb"), str(path)


def _groups(arguments: argparse.Namespace, source: tuple[Any, str] | None) -> Iterator[_Group]:
    if source is None:
        yield _Group(arguments.text, lambda index: f"argument {index + 1}")
        return
    stream, name = source
    number = 1
    for lines in stream_lines(stream, name):
        # bound now: `number` has moved on when an error asks
        yield _Group(lines, lambda index, first=number: f"{name}:{first + index}")
        number += len(lines)


def _document_kind(arguments: argparse.Namespace) -> str:
    if arguments.input_format is not None:
        return arguments.input_format
    from dims_hf.translation.documents import kind_of

    return "text" if arguments.text else kind_of(arguments.input)


# ---- translating -------------------------------------------------------------------------------------------------


def _make_translate(runtime: Runtime, arguments: argparse.Namespace) -> Callable[..., list[Translation]]:
    """A function from texts to translations, with everything that was asked for."""
    from dims_hf.translation import translate_texts

    options = {name: getattr(arguments, name) for name in _DECODING}
    options |= {
        "max_tokens_per_batch": arguments.max_tokens_per_batch,
        # `None` leaves it to the model; there is no way to ask for more
        "collapse_repeats": False if arguments.keep_repeats else None,
        "on_blank": arguments.on_blank,
        "on_long": arguments.on_long or "error",
    }
    place = {"device": arguments.device, "dtype": arguments.dtype, "trust_remote_code": arguments.trust_remote_code}
    if arguments.language_model is not None:
        from dims_hf.translation import NgramLanguageModel

        unit = arguments.language_model_unit or "tokens"
        options["language_model"] = NgramLanguageModel.of_runtime(arguments.language_model, runtime, unit=unit)
    if arguments.rerank is not None:
        from dims_hf.translation import Reranker

        candidates = {} if arguments.num_candidates is None else {"num_candidates": arguments.num_candidates}
        options["reranker"] = Reranker.open(arguments.rerank, **place, **candidates)
    if arguments.threshold is None:
        return lambda texts, **given: translate_texts(runtime, texts, **{**options, **given})
    from dims_hf.translation import Adaptive, open_runtime, translate_adaptively

    fallback = None if arguments.fallback_model is None else open_runtime(arguments.fallback_model, **place)
    adaptive = Adaptive(arguments.threshold, arguments.fallback_iterations, fallback)
    return lambda texts, **given: translate_adaptively(runtime, texts, adaptive, **{**options, **given})


def _translate_lines(
    groups: Iterable[_Group], translate: Callable[..., list[Translation]], form: str
) -> Iterator[list[str]]:
    """Lines of the output, group by group; where a line is refused, those before it come first."""
    for group in groups:
        done, refused = _translate_group(group, translate)
        shown = zip(group.lines, done, strict=False)
        yield [_as_json(*pair) if form == "jsonl" else _one_line(pair[1].text) for pair in shown]
        if refused is not None:
            raise refused


def _translate_group(
    group: _Group, translate: Callable[..., list[Translation]]
) -> tuple[list[Translation], ValueError | None]:
    """Translations of a group, or of the lines before the one that the policies refuse, with that refusal."""
    try:
        return translate(group.lines, name=group.name), None
    except ValueError as error:
        # errors begin with the name of the row that the policies refuse
        bad = next((row for row in range(len(group.lines)) if str(error).startswith(group.name(row) + " ")), None)
        if bad is None:
            raise
        return (translate(group.lines[:bad], name=group.name) if bad else []), error


def _translate_document(
    source: tuple[Any, str], kind: str, translate: Callable[..., list[Translation]], form: str, output: TextIO
) -> None:
    """Writes the translated document, or as JSON lines its sentences, each once, in their order."""
    from dims_hf.translation.documents import translate_document

    pairs: list[tuple[str, Translation]] = []

    def translate_sentences(texts: list[str]) -> list[str]:
        # kept for JSON lines, which have more than the document
        pairs.extend(zip(texts, translate(texts), strict=True))
        return [translation.text for _, translation in pairs]

    stream, name = source
    written = translate_document(stream.read(), kind, translate_sentences, name=name)
    if form == "jsonl":
        _write([[_as_json(*pair) for pair in pairs]], output)
        return
    output.flush()
    # bytes, since a document may hold some that are no text
    output.buffer.write(written)
    output.buffer.flush()


def _as_json(source: str, translation: Translation) -> str:
    from dims_hf.translation import translation_record

    return json.dumps(translation_record(source, translation), ensure_ascii=False)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _show_steps(runtime: Runtime, groups: Iterable[_Group], arguments: argparse.Namespace) -> Iterator[list[str]]:
    """One block per sentence: a line for each pass, with the tokens it will predict again in square brackets."""
    from dims_hf.models.source_text import join_pieces, prepare_sources
    from dims_hf.translation.torch_runtime import TorchRuntime

    if not isinstance(runtime, TorchRuntime):
        raise ValueError("--show-steps needs a checkpoint of this package: an export keeps no history of its passes.")
    given = {name: getattr(arguments, name) for name in _DECODING}
    options = {name: value for name, value in given.items() if value is not None}
    options["collapse_repeats"] = False if arguments.keep_repeats else None
    for group in groups:
        for row, line in enumerate(group.lines):
            name, policies = group.name(row), (arguments.on_blank, arguments.on_long or "error")
            prepared = prepare_sources(
                [line], runtime.tokenizer, runtime.max_source_length, *policies, name=lambda _, name=name: name
            )
            is_whole = len(prepared.pieces) == 1
            for piece in prepared.pieces:
                *steps, result = _steps_of(runtime, piece, options)
                # what was copied belongs to the whole text
                shown = join_pieces(prepared, [result], 1)[0] if is_whole else result
                source = line if is_whole else runtime.decode(piece)
                yield [f"source   {_one_line(source)}", *steps, f"result   {_one_line(shown)}"]


def _steps_of(runtime: TorchRuntime, piece: list[int], options: dict[str, Any]) -> Iterator[str]:
    """A line for each pass over one source, and its translation."""
    tokenizer = runtime.text_tokenizer
    output = runtime.model.generate(
        **runtime.pad([piece]), return_dict_in_generate=True, output_history=True, **options
    )
    for number, step in enumerate(output.history, start=1):
        yield f"pass {number:<3} {_format_step(tokenizer, step.token_ids[0].tolist(), step.state[0].tolist())}"
    yield str(tokenizer.decode(output.sequences[0], skip_special_tokens=True))


def _format_step(tokenizer: Any, token_ids: Sequence[int], states: Sequence[int]) -> str:
    from dims_hf.models.decoding_mask_predict import REMASKED

    outside = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    tokens = tokenizer.convert_ids_to_tokens(list(token_ids))
    shown = [
        f"[{token}]" if state == REMASKED else token
        for token_id, token, state in zip(token_ids, tokens, states, strict=True)
        if token_id not in outside
    ]
    return " ".join(shown)


# ---- out ---------------------------------------------------------------------------------------------------------


@contextmanager
def _open_output(target: str) -> Iterator[TextIO]:
    """Standard output, or a file that has its name once it is complete; what was finished of it stays beside it."""
    if target == "-":
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", newline="\n")
        yield sys.stdout
        sys.stdout.flush()
        return
    path = expand_home(target)
    if path.exists() and not path.is_file() and not path.is_dir():
        # a device or a pipe, which no file can take the place of
        with path.open("w", encoding="utf-8", newline="\n") as output:
            yield output
        return
    if path.is_dir():
        raise ValueError(f"{path} is a folder. Give a file to write.")
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {path.parent} to write {path.name} into. Make it, or correct the path.")
    # not a temporary name: after an error, this is what the user is told of
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as output:
            yield output
            output.flush()
            os.fsync(output.fileno())
    except BaseException as error:
        if not partial.is_file() or not partial.stat().st_size:
            partial.unlink(missing_ok=True)
        elif isinstance(error, (ValueError, OSError)):
            note = f"{error} What was translated before is in {partial}."
            raise (type(error)(note) if isinstance(error, ValueError) else OSError(note)) from None
        raise
    move(partial, path)


def _write(groups: Iterable[list[str]], output: TextIO) -> None:
    for lines in groups:
        output.write("".join(line + "\n" for line in lines))
        # a reader at the other end of a pipe waits for each group
        output.flush()
