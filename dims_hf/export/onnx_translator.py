# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""
Translates with an exported folder; needs numpy, onnxruntime and tokenizers only.

    python onnx_translator.py FOLDER < source.txt > translation.txt

Shapes: B batch, S source length, T target length (with `<s>` and `</s>`), A alignment length (which is the T of an
Imputer's decoder), K length candidates, R = B·K rows, M updated positions, C ids of a shortlist.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np


# The attention operator of 1.20 loses the mask of rows after the first.
OLDEST_RUNTIME = (1, 21)

_AGAIN = "Export the model again, or copy the whole folder."


class OnnxTranslator:
    """
    Translator over the graphs of `dims-hf export`.

    Args:
        folder (`str` or `os.PathLike`): what the export wrote.
        threads (`int`, *optional*): threads of ONNX Runtime; as many as it likes when `None`.
        shortlist (`bool`, *optional*): of an export with a shortlist, use it; `False`: the whole vocabulary, exactly.

    Raises:
        FileNotFoundError: `folder` holds no export.
        ValueError: ONNX Runtime is too old, or the folder is not complete as it was written.

    ```python
    translator = OnnxTranslator("student-onnx")
    translator.translate(["A cat sleeps."])
    ```"""

    def __init__(self, folder: str | os.PathLike[str], threads: int | None = None, *, shortlist: bool = True) -> None:
        _check_runtime()
        self.folder = Path(folder)
        self.description: dict[str, Any] = read_description(self.folder)
        self.settings: dict[str, Any] = self.description["settings"]
        self._sessions = {name: self._open(file, threads) for name, file in self.description["graphs"].items()}
        self._strategy = _STRATEGIES[self.description["model_type"]](self._sessions, self.settings)
        self._shortlist: dict[str, np.ndarray] | None = None
        if shortlist and "shortlist" in self.description:
            with np.load(self.folder / self.description["shortlist"]["file"]) as arrays:
                self._shortlist = dict(arrays)

    @property
    def predicts_length(self) -> bool:
        """Whether the model predicts target lengths, so that there may be several candidates of a sentence."""
        return self._strategy.predicts_length

    @property
    def max_source_length(self) -> int:
        """Longest source in tokens, `<s>` and `</s>` included."""
        return self._strategy.max_source_length

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer, with neither padding nor truncation."""
        from tokenizers import Tokenizer

        path = self.folder / "tokenizer.json"
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises nothing more special
            raise ValueError(f"{path} is damaged: {error}. {_AGAIN}") from None
        tokenizer.no_padding()
        tokenizer.no_truncation()
        # "<s>" in a text is text.
        tokenizer.encode_special_tokens = True
        return tokenizer

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
        sources: Sequence[str],
        *,
        batch_tokens: int = 4096,
        num_iterations: int | None = None,
        length_beam_size: int | None = None,
    ) -> list[str]:
        """
        Translates sentences, in the order given.

        Args:
            sources (`Sequence[str]`): source sentences, none blank.
            batch_tokens (`int`): padded tokens per batch, every length candidate counted. A longer sentence is a batch
                of its own.
            num_iterations (`int`, *optional*): decoder passes; those of the model's generation config when `None`.
            length_beam_size (`int`, *optional*): length candidates per sentence; as above when `None`.

        Raises:
            ValueError: a blank or overlong source (named by its row), a number below 1, or what [`generate`] refuses.
        """
        if batch_tokens < 1:
            raise ValueError(f"batch_tokens must be >= 1, got {batch_tokens}. The default is 4096.")
        rows = self.encode(sources)
        translations = [""] * len(rows)
        num_candidates = length_beam_size or self.settings["length_beam_size"]
        for batch in _batches([len(row) for row in rows], max(1, batch_tokens // num_candidates)):
            input_ids, attention_mask = self.pad([rows[index] for index in batch])
            sequences, _ = self.generate(
                input_ids, attention_mask, num_iterations=num_iterations, length_beam_size=length_beam_size
            )
            for index, text in zip(batch, self.decode(sequences)):
                translations[index] = text
        return translations

    def encode(self, sources: Sequence[str]) -> list[list[int]]:
        """Token ids `<s> … </s>` of every source, refused by row when blank or longer than the model takes."""
        if isinstance(sources, str):
            raise ValueError("sources is one string. Pass a list of sentences, [source] for a single one.")
        for row, source in enumerate(sources):
            if not isinstance(source, str) or not source.strip():
                raise ValueError(f"sources[{row}] is blank: {source!r}. Remove the row, or give it a sentence.")
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch(list(sources))]
        for row, token_ids in enumerate(rows):
            self._check_length(f"sources[{row}]", len(token_ids))
        return rows

    def _check_length(self, name: str, num_tokens: int) -> None:
        if num_tokens > self.max_source_length:
            raise ValueError(
                f"{name} has {num_tokens} tokens, the model takes at most {self.max_source_length}"
                f"{self._strategy.limit_note}. Split or drop the sentence."
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
        bad = input_ids[(input_ids < 0) | (input_ids >= self.settings["vocab_size"])]
        if bad.size:
            raise ValueError(
                f"input_ids hold the id {bad[0]}, outside the model's vocabulary of {self.settings['vocab_size']}. "
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
        rows = map(_collapse, sequences) if self.settings["collapse_repeats"] else sequences
        return [self.tokenizer.decode(row.tolist(), skip_special_tokens=True) for row in rows]

    def generate(
        self,
        input_ids: np.ndarray,
        attention_mask: np.ndarray,
        *,
        num_iterations: int | None = None,
        length_beam_size: int | None = None,
        target_lengths: np.ndarray | None = None,
        with_scores: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        Best candidate of each sentence of a batch, as the model's `generate()` gives it before repeats are collapsed.

        Args:
            input_ids, attention_mask (`np.ndarray` of shape `(B, S)`): int64; 1 for tokens.
            num_iterations, length_beam_size (`int`, *optional*): as for [`translate`].
            target_lengths (`np.ndarray` of shape `(B,)`, *optional*): content tokens of each translation instead of
                the predicted length; excludes `length_beam_size > 1`.
            with_scores (`bool`): whether the scores are needed; without them one pass takes a little less time.

        Returns:
            `tuple`: sequences (B, T), right-padded, and scores (B,): mean log-probabilities, of an Imputer over the
            alignment; with a shortlist, normalised over its ids alone.

        Raises:
            ValueError: for a number below 1, an overlong source or target, more than one pass with a graph of one
                pass, or lengths and candidates of a model that predicts no length.
        """
        request = self._request(
            input_ids, attention_mask, num_iterations, length_beam_size, target_lengths, with_scores
        )
        sequences, scores = self._strategy.finish(request, *self._strategy.run(request))
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
        if self.predicts_length:
            raise ValueError("This model predicts lengths and writes no alignments. Use generate().")
        return self._strategy.run(self._request(input_ids, attention_mask, num_iterations, None, None, False))[0]

    def _request(
        self,
        input_ids: np.ndarray,
        attention_mask: np.ndarray,
        num_iterations: int | None,
        length_beam_size: int | None,
        target_lengths: np.ndarray | None,
        with_scores: bool,
    ) -> _Request:
        """The arguments of [`generate`], filled up and checked."""
        given = {"num_iterations": num_iterations, "length_beam_size": length_beam_size}
        for name, value in given.items():
            given[name] = self.settings[name] if value is None else value
            if given[name] < 1:
                raise ValueError(f"{name} must be >= 1, got {value}.")
        input_ids, attention_mask = np.asarray(input_ids), np.asarray(attention_mask)
        self._check_source(input_ids, attention_mask)
        input_ids, attention_mask = input_ids.astype(np.int64), attention_mask.astype(np.int64)
        rest = {"target_lengths": target_lengths, "with_scores": with_scores, "listed": self.listed_ids(input_ids)}
        request = _Request(input_ids, attention_mask, **given, **rest)
        self._strategy.check(request)
        return request


def _check_runtime() -> None:
    import onnxruntime

    version = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    if version < OLDEST_RUNTIME:
        raise ValueError(
            f"onnxruntime {onnxruntime.__version__} gives wrong translations of batches. "
            f"Install {'.'.join(map(str, OLDEST_RUNTIME))} or newer: pip install -U onnxruntime"
        )


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
    if description["model_type"] not in _STRATEGIES:
        raise ValueError(f"{path} is of a {description['model_type']!r} model, which this translator does not know.")
    for name, expected in checksums.items():
        file = folder / name
        if not file.is_file():
            raise ValueError(f"{file} is missing. {_AGAIN}")
        # What is only read by people may be changed by people.
        if file.suffix != ".md" and hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            raise ValueError(f"{file} is not the file that was exported (its checksum differs). {_AGAIN}")
    return description


@dataclass(frozen=True)
class _Request:
    """One batch, and how it is to be decoded: the arguments of [`OnnxTranslator.generate`], and its `listed_ids`."""

    input_ids: np.ndarray
    attention_mask: np.ndarray
    num_iterations: int
    length_beam_size: int
    target_lengths: np.ndarray | None
    with_scores: bool
    listed: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def source(self) -> dict[str, np.ndarray]:
        """Inputs of the graphs that encode."""
        return {"input_ids": self.input_ids, "attention_mask": self.attention_mask}


class _Strategy(ABC):
    """How a family is decoded, by one graph or pass by pass."""

    predicts_length: bool
    # what the graph of one pass calls its ids
    output_name: str
    limit_note = ""

    def __init__(self, sessions: dict[str, Any], settings: dict[str, Any]) -> None:
        self.sessions, self.settings = sessions, settings

    @property
    def max_source_length(self) -> int:
        """Longest source in tokens."""
        return self.settings["max_position_embeddings"]

    @abstractmethod
    def check(self, request: _Request) -> None:
        """Refuses what the family cannot do."""

    def run(self, request: _Request) -> tuple[np.ndarray, np.ndarray]:
        """Hypotheses (R, T) of all candidates, filled templates, and their scores (R,)."""
        if "model" not in self.sessions:
            return _IterativeDecoder(self, request).run()
        if request.num_iterations > 1:
            raise ValueError(
                f"This export decodes in one pass, num_iterations={request.num_iterations} was asked for. "
                f"Export the model again with --num-iterations {request.num_iterations}."
            )
        inputs = {**request.source, **request.listed, **self.graph_inputs(request)}
        return self.sessions["model"].run([self.output_name, "scores"], inputs)

    @abstractmethod
    def graph_inputs(self, request: _Request) -> dict[str, np.ndarray]:
        """What the graph of one pass takes beside the source."""

    @abstractmethod
    def candidate_lengths(self, request: _Request, lengths: np.ndarray) -> np.ndarray:
        """Decoder lengths (B, K) of all candidates, from those (B,) that the encoder graph gives."""

    @abstractmethod
    def templates(self, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Decoder inputs (R, T) of `lengths` (R,) before the first pass, and which positions are masks (R, T)."""

    @abstractmethod
    def select_masks(self, before: _State, scores: np.ndarray, num_passes: int, num_iterations: int) -> np.ndarray:
        """Positions (R, T) that are masks after `num_passes` passes; `scores` (R, T) are those after the last one."""

    @abstractmethod
    def finish(self, request: _Request, hypotheses: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sequences (B, T) and scores (B,) from what [`run`] gives."""


class _MaskPredict(_Strategy):
    """Models that predict lengths; of the candidates of a sentence the best is kept."""

    predicts_length, output_name = True, "sequences"

    def check(self, request: _Request) -> None:
        if request.target_lengths is not None and request.length_beam_size > 1:
            raise ValueError("target_lengths fix the length. Use length_beam_size=1 with them, or leave them out.")
        if request.target_lengths is not None:
            self._check_target_lengths(np.asarray(request.target_lengths), len(request.input_ids))

    def _check_target_lengths(self, lengths: np.ndarray, num_sentences: int) -> None:
        if lengths.shape != (num_sentences,) or not np.issubdtype(lengths.dtype, np.integer):
            raise ValueError(
                f"target_lengths must hold one integer per sentence ({num_sentences}), got shape {lengths.shape} of "
                f"{lengths.dtype}."
            )
        longest = self.settings["max_position_embeddings"] - 2
        if lengths.min() < 1 or lengths.max() > longest:
            raise ValueError(
                f"target_lengths must be between 1 and {longest} content tokens, got {lengths.min()} to "
                f"{lengths.max()}."
            )

    def graph_inputs(self, request: _Request) -> dict[str, np.ndarray]:
        given = request.target_lengths
        return {
            "length_offsets": self._offsets(request),
            "target_lengths": np.zeros(1, np.int64) if given is None else np.asarray(given, np.int64),
            "with_scores": np.array(request.with_scores or request.length_beam_size > 1),
        }

    @staticmethod
    def _offsets(request: _Request) -> np.ndarray:
        return np.arange(request.length_beam_size) - request.length_beam_size // 2

    def candidate_lengths(self, request: _Request, lengths: np.ndarray) -> np.ndarray:
        if request.target_lengths is not None:
            return np.asarray(request.target_lengths, np.int64)[:, None] + 2
        bounds = self.settings["shortest_length"], self.settings["longest_length"]
        return (lengths[:, None] + self._offsets(request)).clip(*bounds)

    def templates(self, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`<s> mask … mask </s> pad …`."""
        columns, last = np.arange(lengths.max()), lengths[:, None] - 1
        is_content = (columns > 0) & (columns < last)
        ids = {name: self.settings[f"{name}_token_id"] for name in ("bos", "eos", "pad", "mask")}
        tokens = np.where(is_content, ids["mask"], np.where(columns == last, ids["eos"], ids["pad"]))
        tokens[:, 0] = ids["bos"]
        return tokens.astype(np.int64), is_content

    def select_masks(self, before: _State, scores: np.ndarray, num_passes: int, num_iterations: int) -> np.ndarray:
        """The least confident ⌊N (S − s) / S⌋ of N content tokens after s of S passes."""
        num_left = before.is_content.sum(axis=1) * (num_iterations - num_passes) // num_iterations
        return _lowest(scores, before.is_content, num_left)

    def finish(self, request: _Request, hypotheses: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # Candidates ascend in length: with a stable order, ties go to the shorter one.
        num_candidates = request.length_beam_size
        order = np.argsort(-scores.reshape(-1, num_candidates), axis=1, kind="stable")[:, 0]
        best = order + np.arange(len(order)) * num_candidates
        return hypotheses[best], scores[best]


class _BlockUnmasking(_Strategy):
    """Imputers: one alignment per sentence, revealed block by block and collapsed at the end."""

    predicts_length, output_name = False, "alignments"

    @property
    def max_source_length(self) -> int:
        """Longest source whose alignment fits the position table."""
        return self.settings["max_position_embeddings"] // self.settings["upsample_ratio"]

    @property
    def limit_note(self) -> str:
        """Why no more."""
        ratio, limit = self.settings["upsample_ratio"], self.settings["max_position_embeddings"]
        return f" (an alignment has {ratio} positions per token, and the position table {limit})"

    def check(self, request: _Request) -> None:
        if request.length_beam_size != 1 or request.target_lengths is not None:
            raise ValueError(
                "An Imputer predicts no length, so there is one candidate per sentence. Leave out length_beam_size "
                "and target_lengths."
            )

    def graph_inputs(self, request: _Request) -> dict[str, np.ndarray]:
        return {"with_scores": np.array(request.with_scores)}

    def candidate_lengths(self, request: _Request, lengths: np.ndarray) -> np.ndarray:
        return lengths[:, None]

    def templates(self, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`mask … mask pad …`."""
        is_content = np.arange(lengths.max()) < lengths[:, None]
        mask, pad = self.settings["mask_token_id"], self.settings["pad_token_id"]
        return np.where(is_content, mask, pad).astype(np.int64), is_content

    def select_masks(self, before: _State, scores: np.ndarray, num_passes: int, num_iterations: int) -> np.ndarray:
        """All masked positions but the most confident of each block of S; no two neighbours are revealed together."""
        blocks = [_split_blocks(part, num_iterations) for part in (scores, before.is_content, before.is_masked)]
        select = _select_legacy if self.settings["legacy_adjacency"] else _select_apart
        return select(*blocks, num_passes).reshape(len(scores), -1)[:, : scores.shape[1]]

    def finish(self, request: _Request, hypotheses: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each run of equal tokens one, then no blanks, between `<s>` and `</s>`."""
        lengths = request.attention_mask.sum(axis=1) * self.settings["upsample_ratio"]
        is_kept = (np.arange(hypotheses.shape[1]) < lengths[:, None]) & (hypotheses != self.settings["blank_token_id"])
        is_kept[:, 1:] &= hypotheses[:, 1:] != hypotheses[:, :-1]
        places = is_kept.cumsum(axis=1)
        num_tokens, rows = places[:, -1], np.arange(len(hypotheses))
        sequences = np.full((len(hypotheses), num_tokens.max() + 2), self.settings["pad_token_id"], np.int64)
        sequences[:, 0] = self.settings["bos_token_id"]
        sequences[np.nonzero(is_kept)[0], places[is_kept]] = hypotheses[is_kept]
        sequences[rows, num_tokens + 1] = self.settings["eos_token_id"]
        return sequences, scores


# model_type of export.json -> how it is decoded
_STRATEGIES: dict[str, type[_Strategy]] = {
    "cmlm": _MaskPredict,
    "cmlmc": _MaskPredict,
    "imputer": _BlockUnmasking,
}


@dataclass(frozen=True)
class _State:
    """Decoder inputs (R, T) of the next pass, which positions may change (R, T), and which are masks (R, T)."""

    tokens: np.ndarray
    is_content: np.ndarray
    is_masked: np.ndarray


class _IterativeDecoder:
    """The passes over one encoded batch; sentences that no pass can change any more leave it."""

    def __init__(self, strategy: _Strategy, request: _Request) -> None:
        self.strategy, self.request = strategy, request
        self.settings, self.session = strategy.settings, strategy.sessions["decoder"]
        encoder = strategy.sessions["encoder"]
        names = [output.name for output in encoder.get_outputs()]
        self.encoded = dict(zip(names, encoder.run(names, request.source)))
        lengths = strategy.candidate_lengths(request, self.encoded.pop("lengths"))
        # Those of the whole batch stay when a sentence leaves it; everything else is by sentence.
        self.shared = {name: value for name, value in request.listed.items() if name == "vocabulary_ids"}
        by_sentence = {name: value for name, value in request.listed.items() if name not in self.shared}
        self.encoded |= {"attention_mask": request.attention_mask, **by_sentence}
        self.num_candidates, self.lengths = lengths.shape[1], lengths.reshape(-1)

    def run(self) -> tuple[np.ndarray, np.ndarray]:
        """Hypotheses (R, T) and scores (R,) of all candidates."""
        tokens, is_content = self.strategy.templates(self.lengths)
        state, num_iterations = _State(tokens, is_content, is_content), self.request.num_iterations
        hypotheses, scores = tokens.copy(), np.zeros(tokens.shape, np.float32)
        for num_passes in range(1, num_iterations + 1):
            is_updated = self._positions_to_update(state)
            if not is_updated.any():
                break
            hypotheses[is_updated], scores[is_updated] = self._predict(state.tokens, is_updated)
            is_masked = self.strategy.select_masks(state, scores, num_passes, num_iterations)
            tokens = np.where(is_masked, self.settings["mask_token_id"], hypotheses)
            before, state = state, _State(tokens, is_content, is_masked)
            if not before.is_masked.any() and (before.tokens == tokens).all():
                break
        return hypotheses, scores.sum(axis=1) / self.lengths.astype(np.float32)

    def _positions_to_update(self, state: _State) -> np.ndarray:
        if not self.settings["update_all_positions"]:
            return state.is_masked
        # A special token inside a sentence, which only imported models predict, stays unless it is masked again.
        special = [self.settings[f"{name}_token_id"] for name in ("bos", "eos", "pad")]
        return state.is_content & ~np.isin(state.tokens, special)

    def _predict(self, tokens: np.ndarray, is_updated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and log-probabilities of the updated positions (M,), in row-major order."""
        by_sentence = is_updated.reshape(-1, self.num_candidates * is_updated.shape[1])
        keep = by_sentence.any(axis=1)
        rows = np.repeat(keep, self.num_candidates)
        inputs = {name: value if keep.all() else value[keep] for name, value in self.encoded.items()}
        inputs |= {**self.shared, "tokens": tokens[rows], "lengths": self.lengths[rows]}
        inputs["positions"] = np.flatnonzero(is_updated[rows])
        return self.session.run(["predictions", "log_probs"], inputs)


def _split_blocks(rows: np.ndarray, size: int) -> np.ndarray:
    """(R, A) -> (R, number of blocks, size), filled up with zeros."""
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % size))).reshape(len(rows), -1, size)


def _select_apart(scores: np.ndarray, is_content: np.ndarray, is_masked: np.ndarray, num_passes: int) -> np.ndarray:
    """Masks (R, blocks, S): the earlier ones but, in each block, the most confident; pass 1 reveals the last one."""
    size, num_content = is_content.shape[2], is_content.sum(axis=2)
    num_left = num_content * (size - num_passes) // size
    if num_passes == 1:
        scores = np.where(np.arange(size) == num_content[:, :, None] - 1, np.inf, scores)
        # A last block of one position waits: its left neighbour is revealed by this pass.
        is_lone = (num_content == 1) & (np.arange(num_content.shape[1]) > 0) & (size > 1)
        num_left = np.where(is_lone, 1, num_left)
    return _lowest_of_blocks(scores, is_masked, num_left)


def _select_legacy(scores: np.ndarray, is_content: np.ndarray, is_masked: np.ndarray, num_passes: int) -> np.ndarray:
    """Masks (R, blocks, S) of `legacy_adjacency`: the least confident of each block, its last place excepted."""
    size = is_content.shape[2]
    scores = np.where(np.arange(size) == size - 1, np.inf, scores)
    return _lowest_of_blocks(scores, is_content, is_content.sum(axis=2) * (size - num_passes) // size)


def _lowest_of_blocks(scores: np.ndarray, is_eligible: np.ndarray, num_selected: np.ndarray) -> np.ndarray:
    """[`_lowest`] of each block: (R, blocks, S)."""
    size = scores.shape[2]
    rows = _lowest(scores.reshape(-1, size), is_eligible.reshape(-1, size), num_selected.reshape(-1))
    return rows.reshape(scores.shape)


def _lowest(scores: np.ndarray, is_eligible: np.ndarray, num_selected: np.ndarray) -> np.ndarray:
    """The `num_selected` (R,) eligible positions with the lowest scores of each row; ties go to the leftmost."""
    order = np.argsort(np.where(is_eligible, scores, np.inf), axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), axis=1)
    return (ranks < num_selected[:, None]) & is_eligible


def _collapse(row: np.ndarray) -> np.ndarray:
    """Drops every token that equals its right neighbour."""
    return row[np.append(row[:-1] != row[1:], True)]


def _batches(sizes: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices grouped by size, longest first, so that rows × longest row stays within the budget."""
    order = sorted(range(len(sizes)), key=lambda index: -sizes[index])
    while order:
        count = max(1, budget // sizes[order[0]])
        yield order[:count]
        order = order[count:]


def _read_lines() -> list[str]:
    """Lines of standard input; they end at a line feed only."""
    lines = [line.strip("\r") for line in sys.stdin.buffer.read().decode("utf-8").split("\n")]
    return lines if lines[-1] else lines[:-1]


def main(argv: Sequence[str] | None = None) -> int:
    """Translates standard input line by line; blank lines stay blank."""
    parser = argparse.ArgumentParser(description="Translate standard input, one sentence per line.")
    parser.add_argument("folder", help="what `dims-hf export` wrote")
    parser.add_argument("--threads", type=int, help="threads of ONNX Runtime")
    parser.add_argument("--num-iterations", type=int, help="decoder passes; the model's own number when not given")
    parser.add_argument("--length-beam-size", type=int, help="target lengths tried; as above")
    parser.add_argument("--batch-tokens", type=int, default=4096, help="tokens decoded at once, padding counted")
    parser.add_argument(
        "--no-shortlist", dest="shortlist", action="store_false", help="consider the whole vocabulary, exactly"
    )
    options = vars(parser.parse_args(argv))
    try:
        translator = OnnxTranslator(options.pop("folder"), options.pop("threads"), shortlist=options.pop("shortlist"))
        lines = _read_lines()
        rows = [row for row, line in enumerate(lines) if line.strip()]
        for row, text in zip(rows, translator.translate([lines[row] for row in rows], **options)):
            lines[row] = text
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.buffer.write("".join(" ".join(line.split()) + "\n" for line in lines).encode("utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
