# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""
Translates with an exported folder; needs numpy, onnxruntime and tokenizers only.

    python onnx_translator.py FOLDER < source.txt > translation.txt

Shapes: B batch, S source length, T target length (with `<s>` and `</s>`), A alignment length (which is the T of an
Imputer's decoder), n candidates returned, C ids of a shortlist.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from dims_hf._exports import settings_fault
from dims_hf._files import stream_lines
from dims_hf.export.onnx_decoding import BlockUnmasking, Decoder, MaskPredict, Request
from dims_hf.export.onnx_rules import collapse
from dims_hf.export.onnx_traced import TracedDecoder
from dims_hf.models.limits import MOST_STEPS
from dims_hf.models.source_text import encode_rows, join_pieces, prepare_sources


# The attention operator of 1.20 loses the mask of rows after the first.
OLDEST_RUNTIME = (1, 21)

_AGAIN = "Export the model again, or copy the whole folder."
SOURCE_TOKENIZER_NAME = "source_tokenizer.json"
# Enough rows to read each weight rarely; beyond, padding costs more.
BATCH_TOKENS = 512


class OnnxTranslator:
    """
    Translator over the graphs of `dims-hf export`.

    Args:
        folder (`str` or `os.PathLike`): what the export wrote.
        threads (`int`, *optional*): threads of ONNX Runtime; as many as it likes when `None`.
        shortlist (`bool`, *optional*): of an export with a shortlist, use it; `False`: the whole vocabulary, exactly.

    Raises:
        FileNotFoundError: `folder` holds no export.
        ValueError: ONNX Runtime is too old, `threads` is impossible, or the folder is not complete as it was written.

    ```python
    translator = OnnxTranslator("student-onnx")
    translator.translate(["A cat sleeps."])
    ```"""

    def __init__(self, folder: str | os.PathLike[str], threads: int | None = None, *, shortlist: bool = True) -> None:
        self._check_engine()
        if threads is not None and not 1 <= threads <= 1024:
            raise ValueError(
                f"threads must be between 1 and 1024, got {threads}. Leave it out for as many as it likes."
            )
        self.folder = Path(folder)
        self.description: dict[str, Any] = read_description(self.folder)
        self.settings: dict[str, Any] = self.description["settings"]
        self._sessions = {name: self._open(file, threads) for name, file in self.description["graphs"].items()}
        self._decoder = _decoder_class(self.description)(self._sessions, self.settings)
        self._shortlist: dict[str, np.ndarray] | None = None
        if shortlist and "shortlist" in self.description:
            with np.load(self.folder / self.description["shortlist"]["file"]) as arrays:
                self._shortlist = dict(arrays)

    @property
    def predicts_length(self) -> bool:
        """Whether the model predicts target lengths, so that there may be several candidates of a sentence."""
        return self._decoder.predicts_length

    @property
    def writes_alignments(self) -> bool:
        """Whether the model writes alignments with blanks, see [`align`]."""
        return "blank_token_id" in self.settings

    @property
    def max_source_length(self) -> int:
        """Longest source in tokens, `<s>` and `</s>` included."""
        return self._decoder.max_source_length

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer, with neither padding nor truncation."""
        return self._read_tokenizer("tokenizer.json")

    @cached_property
    def source_tokenizer(self) -> Any:
        """That of sources, where they have one of their own (a model with a pre-trained encoder)."""
        has_own = (self.folder / SOURCE_TOKENIZER_NAME).is_file()
        return self._read_tokenizer(SOURCE_TOKENIZER_NAME) if has_own else self.tokenizer

    def _read_tokenizer(self, name: str) -> Any:
        from tokenizers import Tokenizer

        path = self.folder / name
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises nothing more special
            raise ValueError(f"{path} is damaged: {error}. {_AGAIN}") from None
        tokenizer.no_padding()
        tokenizer.no_truncation()
        # "<s>" in a text is text.
        tokenizer.encode_special_tokens = True
        return tokenizer

    def _check_engine(self) -> None:
        import onnxruntime

        version = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
        if version < OLDEST_RUNTIME:
            raise ValueError(
                f"onnxruntime {onnxruntime.__version__} gives wrong translations of batches. "
                f"Install {'.'.join(map(str, OLDEST_RUNTIME))} or newer: pip install -U onnxruntime"
            )

    def _open(self, file: str, threads: int | None) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # Inputs with defaults are meant to be overridden, which the runtime would warn of.
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        path = self.folder / file
        try:
            return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a class for every kind of damage
            raise ValueError(f"{path} cannot be opened: {' '.join(str(error).split())[:200]}. {_AGAIN}") from None

    def translate(
        self,
        sources: Iterable[str],
        *,
        batch_tokens: int = BATCH_TOKENS,
        num_iterations: int | None = None,
        length_beam_size: int | None = None,
        length_score_weight: float | None = None,
        repeat_penalty: float | None = None,
        prefix_beam_size: int | None = None,
        on_blank: str = "keep",
        on_long: str = "error",
        name: Callable[[int], str] = "sources[{}]".format,
    ) -> list[str]:
        """
        Translates sentences, in the order given.

        Args:
            sources (`Iterable[str]`): source sentences.
            batch_tokens (`int`): padded tokens per batch, every length candidate counted. A longer sentence is a batch
                of its own.
            num_iterations, length_beam_size, prefix_beam_size (`int`, *optional*), length_score_weight,
                repeat_penalty (`float`, *optional*): as for [`generate`].
            on_blank (`str`): a source with nothing to see in it stays empty (`keep`) or is refused (`error`).
            on_long (`str`): a source longer than the model takes is refused (`error`), cut (`truncate`), translated
                piece by piece (`split`), or left empty (`skip`).
            name (`Callable`): how errors call the source of a row.

        Raises:
            ValueError: a source that the policies refuse (named by its row), a number below 1, or what [`generate`]
                refuses.
        """
        if batch_tokens < 1:
            raise ValueError(f"batch_tokens must be >= 1, got {batch_tokens}. The default is {BATCH_TOKENS}.")
        sources = sources if isinstance(sources, str) else list(sources)
        prepared = prepare_sources(
            sources, partial(encode_rows, self.source_tokenizer), self.max_source_length, on_blank, on_long, name=name
        )
        options = {
            "num_iterations": num_iterations,
            "length_beam_size": length_beam_size,
            "length_score_weight": length_score_weight,
            "repeat_penalty": repeat_penalty,
            "prefix_beam_size": prefix_beam_size,
        }
        pieces = [""] * len(prepared.pieces)
        num_candidates = self._checked_counts({"length_beam_size": length_beam_size})["length_beam_size"]
        for batch in _batches([len(row) for row in prepared.pieces], max(1, batch_tokens // num_candidates)):
            ids = self.pad([prepared.pieces[index] for index in batch])
            sequences, _ = self.generate(
                *ids, with_scores=False, collapse_repeats=self.settings["collapse_repeats"], **options
            )
            for index, text in zip(batch, self.decode(sequences)):
                pieces[index] = text
        return join_pieces(prepared, pieces, len(sources))

    def encode(self, sources: Sequence[str]) -> list[list[int]]:
        """Token ids `<s> … </s>` of every source, refused by row when blank or longer than the model takes."""
        limit = self.max_source_length
        return prepare_sources(
            sources, partial(encode_rows, self.source_tokenizer), limit, "error", name="sources[{}]".format
        ).pieces

    def _check_length(self, name: str, num_tokens: int) -> None:
        if num_tokens > self.max_source_length:
            raise ValueError(
                f"{name} has {num_tokens} tokens, the model takes at most {self.max_source_length}"
                f"{self._decoder.limit_note}. Split or drop the sentence."
            )

    def _check_source(self, input_ids: np.ndarray, attention_mask: np.ndarray) -> None:
        """Refuses what the model's own `generate()` refuses."""
        if input_ids.ndim != 2 or input_ids.size == 0:
            raise ValueError(f"input_ids must have shape (batch, length), got {input_ids.shape}.")
        if attention_mask.shape != input_ids.shape:
            raise ValueError(
                f"attention_mask has shape {attention_mask.shape}, input_ids {input_ids.shape}. Pass the mask that "
                "pad() made with these ids."
            )
        for name, values in (("input_ids", input_ids), ("attention_mask", attention_mask)):
            if not np.issubdtype(values.dtype, np.integer) and values.dtype != np.bool_:
                raise ValueError(f"{name} must hold integers, got {values.dtype}.")
        vocab_size = self.settings.get("source_vocab_size", self.settings["vocab_size"])
        bad = input_ids[(input_ids < 0) | (input_ids >= vocab_size)]
        if bad.size:
            raise ValueError(
                f"input_ids hold the id {bad[0]}, outside the model's vocabulary of {vocab_size}. "
                "Use the tokenizer saved with the model."
            )
        if not np.isin(attention_mask, (0, 1)).all():
            raise ValueError("attention_mask must hold 0 and 1 only: 1 for tokens.")
        lengths = attention_mask.sum(axis=1)
        if not lengths.all():
            raise ValueError(
                f"Row {lengths.argmin()} of input_ids is all padding. Remove empty sentences before translating."
            )
        self._check_length(f"Row {lengths.argmax()}", int(lengths.max()))

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Right-pads token ids to `input_ids` (B, S) and `attention_mask` (B, S), 1 = token."""
        input_ids = np.full((len(rows), max(map(len, rows))), self.settings["pad_token_id"], np.int64)
        attention_mask = np.zeros_like(input_ids)
        for index, row in enumerate(rows):
            input_ids[index, : len(row)] = row
            attention_mask[index, : len(row)] = 1
        return input_ids, attention_mask

    def listed_ids(self, input_ids: np.ndarray) -> dict[str, np.ndarray]:
        """
        Inputs of the graphs that say which target ids they look at; none where the export has no shortlist.

        Args:
            input_ids (`np.ndarray` of shape `(B, S)`): int64.

        Returns:
            `dict`: `vocabulary_ids` (C,), all that some sentence may use, and `is_listed` (B, C), those that each
            sentence may: its own, so that a translation does not depend on its batch.
        """
        if "shortlist" not in self.description:
            return {}
        is_listed = np.zeros((len(input_ids), self.settings["vocab_size"]), np.bool_)
        if self._shortlist is None:
            is_listed[:] = True
        else:
            # Padding names nothing but itself, which is written always or never.
            is_listed[np.arange(len(input_ids))[:, None, None], self._shortlist["by_source"][input_ids]] = True
            is_listed[:, self._shortlist["always"]] = True
        ids = np.flatnonzero(is_listed.any(axis=0))
        num_padding = -len(ids) % self.description["shortlist"]["multiple_of"]
        is_listed = np.pad(is_listed[:, ids], ((0, 0), (0, num_padding)))
        return {"vocabulary_ids": np.pad(ids, (0, num_padding)), "is_listed": is_listed}

    def decode(self, sequences: np.ndarray) -> list[str]:
        """Text of sequences (B, T), repeats collapsed where the model's generation config says so."""
        rows = map(collapse, sequences) if self.settings["collapse_repeats"] else sequences
        return [self.tokenizer.decode(row.tolist(), skip_special_tokens=True) for row in rows]

    def generate(
        self,
        input_ids: np.ndarray,
        attention_mask: np.ndarray,
        *,
        num_iterations: int | None = None,
        length_beam_size: int | None = None,
        num_return_sequences: int | None = None,
        length_score_weight: float | None = None,
        repeat_penalty: float | None = None,
        prefix_beam_size: int | None = None,
        language_model: Callable[[list[int]], float] | None = None,
        language_model_weight: float | None = None,
        token_bonus: float | None = None,
        **others: Any,
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        Best candidates of each sentence of a batch, as the model's `generate()` gives them before repeats are
        collapsed. What is `None` is as the model's generation config says.

        Args:
            input_ids, attention_mask (`np.ndarray` of shape `(B, S)`): int64; 1 for tokens.
            num_iterations (`int`, *optional*): decoder passes.
            length_beam_size (`int`, *optional*): lengths tried around the predicted one.
            num_return_sequences (`int`, *optional*): n; candidates of the length or prefix beam that are returned.
            length_score_weight (`float`, *optional*): weight of the log-probability of a candidate's length.
            repeat_penalty (`float`, *optional*): what two equal neighbours cost in a search over the three likeliest
                tokens of each position; infinity forbids them.
            prefix_beam_size (`int`, *optional*): hypotheses of a prefix beam search, of models that write alignments.
            language_model (`Callable`, *optional*): log-probability of a target's ids; steers a prefix beam search, or
                the beam of a graph, as in the model's `generate()`.
            language_model_weight, token_bonus (`float`, *optional*): its weight, and what every token adds beside it.
            others: `with_scores` (`bool`, default `True`): whether the scores are needed, without which one pass takes
                less time; `collapse_repeats` (`bool`, default `False`): whether paths of a graph that read the same
                but for repeats meet in one hypothesis of its beam; and the constraints of [`Constraints`]:
                `target_lengths`, `forced_tokens`, `forced_phrases`.

        Returns:
            `tuple`: sequences (B · n, T), right-padded, and scores (B · n,): mean log-probabilities, of an Imputer
            over the alignment; with a shortlist, normalised over its ids alone.

        Raises:
            ValueError: for an impossible number, an overlong source or target, or what this export does not do.
        """
        counts = {
            "num_iterations": num_iterations,
            "length_beam_size": length_beam_size,
            "num_return_sequences": num_return_sequences,
            "prefix_beam_size": prefix_beam_size,
        }
        weights = {
            "length_score_weight": length_score_weight,
            "repeat_penalty": repeat_penalty,
            "language_model_weight": language_model_weight,
            "token_bonus": token_bonus,
        }
        request = self._request(input_ids, attention_mask, counts, weights, language_model=language_model, **others)
        sequences, scores = self._decoder.decode(request)
        is_used = (sequences != self.settings["pad_token_id"]).any(axis=0)
        return sequences[:, : np.flatnonzero(is_used)[-1] + 1], scores

    def align(
        self, input_ids: np.ndarray, attention_mask: np.ndarray, *, num_iterations: int | None = None
    ) -> np.ndarray:
        """
        Alignments (B, A), right-padded, that an Imputer's sequences are collapsed from.

        Args:
            input_ids, attention_mask, num_iterations: as for [`generate`].

        Raises:
            ValueError: for a model that predicts lengths, and where [`generate`] raises it.
        """
        counts = {"num_iterations": num_iterations}
        return self._decoder.align(self._request(input_ids, attention_mask, counts, {}, with_scores=False))

    def _request(
        self,
        input_ids: np.ndarray,
        attention_mask: np.ndarray,
        counts: Mapping[str, int | None],
        weights: Mapping[str, float | None],
        **given: Any,
    ) -> Request:
        """The arguments of [`generate`], filled up from the settings and checked."""
        known = {"num_iterations", "length_beam_size", "num_return_sequences", *self.settings}
        for name, value in {**counts, **weights}.items():
            if value is not None and name not in known:
                raise ValueError(f"This model is decoded without {name}, got {name}={value!r}. Leave it out.")
        chosen = self._checked_counts(counts)
        for name, value in weights.items():
            chosen[name] = _checked_weight(name, self.settings.get(name, 0.0) if value is None else value)
        input_ids, attention_mask = np.asarray(input_ids), np.asarray(attention_mask)
        self._check_source(input_ids, attention_mask)
        ids, mask = input_ids.astype(np.int64), attention_mask.astype(np.int64)
        return Request(ids, mask, **chosen, **given, listed=self.listed_ids(ids))

    def _checked_counts(self, counts: Mapping[str, int | None]) -> dict[str, Any]:
        """Numbers of passes and candidates, filled up from the settings."""
        chosen = {name: self.settings.get(name, 1) if value is None else value for name, value in counts.items()}
        for name in counts:
            if isinstance(chosen[name], bool) or not isinstance(chosen[name], int) or chosen[name] < 1:
                raise ValueError(f"{name} must be an integer >= 1, got {chosen[name]!r}. Use at least 1.")
            if chosen[name] > MOST_STEPS:
                raise ValueError(f"{name} must be <= {MOST_STEPS}, got {chosen[name]}. It takes days: use less.")
        return chosen


def _checked_weight(name: str, value: Any) -> float:
    """A number of at least 0; only a penalty may be infinite. JSON has no infinity, so it may be the text of one."""
    try:
        weight = float(value)
    except (TypeError, ValueError):
        weight = math.nan
    if not weight >= 0 or (math.isinf(weight) and name != "repeat_penalty"):
        raise ValueError(f"{name} must be a number >= 0, got {value!r}. Use 0 to turn it off.")
    return weight


def _decoder_class(description: Mapping[str, Any]) -> type[Decoder]:
    if "step" in description["graphs"]:
        return TracedDecoder
    return _DECODERS[description["model_type"]]


# model_type of export.json -> what decodes its hand-built graphs
_DECODERS: dict[str, type[Decoder]] = {"cmlm": MaskPredict, "cmlmc": MaskPredict, "imputer": BlockUnmasking}


def read_description(folder: Path) -> dict[str, Any]:
    """
    `export.json` of a folder whose files are those that were written.

    Raises:
        FileNotFoundError: `folder` holds no export.
        ValueError: naming the file that is missing or differs from its checksum.
    """
    path = folder / "export.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no export.json. Give a folder that `dims-hf export` wrote.")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        checksums = dict(description["sha256"])
        described = description["settings"], description["model_type"], description["graphs"]
        complete = all(described) and {*description["graphs"].values()} <= checksums.keys()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        complete = False
    if not complete:
        raise ValueError(f"{path} is damaged: it is no description of an export. {_AGAIN}")
    fault = settings_fault(description["settings"])
    if fault is not None:
        raise ValueError(f"{path} is damaged: {fault}. {_AGAIN}")
    shortlist = description.get("shortlist")
    if shortlist is not None and not (isinstance(shortlist, dict) and shortlist.get("file") in checksums):
        raise ValueError(f"{path} is damaged: it names no file of a shortlist. {_AGAIN}")
    if "step" not in description["graphs"] and description["model_type"] not in _DECODERS:
        raise ValueError(f"{path} is of a {description['model_type']!r} model, which this translator does not know.")
    for name, expected in checksums.items():
        file = folder / name
        if not file.is_file():
            raise ValueError(f"{file} is missing. {_AGAIN}")
        # What is only read by people may be changed by people.
        if file.suffix != ".md" and hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            raise ValueError(f"{file} is not the file that was exported (its checksum differs). {_AGAIN}")
    return description


def _batches(sizes: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices grouped by size, longest first, so that rows × longest row stays within the budget."""
    order = sorted(range(len(sizes)), key=lambda index: -sizes[index])
    while order:
        count = max(1, budget // sizes[order[0]])
        yield order[:count]
        order = order[count:]


def _translate_stream(translator: OnnxTranslator, options: Mapping[str, Any]) -> Iterator[list[str]]:
    """Translations of standard input as its lines come; where one is refused, those of the lines before it first."""
    number = 1
    for lines in stream_lines(sys.stdin.buffer, "standard input"):
        names = [f"standard input:{number + row}" for row in range(len(lines))]
        try:
            yield translator.translate(lines, **options, name=names.__getitem__)
        except ValueError as error:
            bad = next((row for row, each in enumerate(names) if str(error).startswith(f"{each} ")), 0)
            yield translator.translate(lines[:bad], **options)
            raise
        number += len(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Translates standard input line by line; blank lines stay blank."""
    parser = argparse.ArgumentParser(description="Translate standard input, one sentence per line.")
    parser.add_argument("folder", help="what `dims-hf export` wrote")
    parser.add_argument("--threads", type=int, help="threads of ONNX Runtime")
    parser.add_argument("--num-iterations", type=int, help="decoder passes; the model's own number when not given")
    parser.add_argument("--length-beam-size", type=int, help="target lengths tried; as above")
    parser.add_argument("--length-score-weight", type=float, help="weight of a length's own probability; as above")
    parser.add_argument("--repeat-penalty", type=float, help="what two equal neighbours cost, inf forbids them")
    parser.add_argument("--prefix-beam-size", type=int, help="hypotheses of models that write alignments; as above")
    parser.add_argument("--batch-tokens", type=int, default=BATCH_TOKENS, help="tokens decoded at once, with padding")
    parser.add_argument(
        "--on-blank", choices=("keep", "error"), default="keep", help="what a line with nothing to see in it is"
    )
    parser.add_argument(
        "--on-long",
        choices=("error", "truncate", "split", "skip"),
        default="error",
        help="what is done with a line longer than the model takes",
    )
    parser.add_argument(
        "--no-shortlist", dest="shortlist", action="store_false", help="consider the whole vocabulary, exactly"
    )
    options = vars(parser.parse_args(argv))
    try:
        translator = OnnxTranslator(options.pop("folder"), options.pop("threads"), shortlist=options.pop("shortlist"))
        for lines in _translate_stream(translator, options):
            sys.stdout.buffer.write("".join(" ".join(line.split()) + "\n" for line in lines).encode("utf-8"))
            sys.stdout.buffer.flush()
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
