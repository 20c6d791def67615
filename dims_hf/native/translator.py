# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Translates with a folder of `dims-hf export MODEL --to native`."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from dims_hf._exports import settings_fault
from dims_hf.models.source_text import encode_rows, join_pieces, prepare_sources

from .library import Decoding, NativeModel


DESCRIPTION_NAME, MODEL_NAME, RUNTIME_NAME = "export.json", "model.bin", "native"

# Enough rows to read each weight rarely, and few enough to stay in the cache; tokens of sources, candidates counted.
BATCH_TOKENS = 128

# Most decoder passes, and most candidates, as of the models themselves.
MOST_STEPS = 1000

_AGAIN = "Export the model again, or copy the whole folder."


class NativeTranslator:
    """
    Translator over a native model file; its interface is that of `OnnxTranslator`.

    Sentences are laid end to end, without padding, and a translation depends on nothing but its sentence. Methods may
    be called by several threads at once.

    Args:
        folder (`str` or `os.PathLike`): what the export wrote.
        threads (`int`, *optional*): threads that share the sentences of a call.
        shortlist (`bool`, *optional*): of an export with a shortlist, use it; `False`: the whole vocabulary.

    Raises:
        FileNotFoundError: `folder` holds no export.
        NativeUnavailableError: the native library is not built; a `ValueError` that says how to get it.
        ValueError: the folder is not complete as it was written, or `threads` is below 1.

    ```python
    translator = NativeTranslator("student-native")
    translator.translate(["A cat sleeps."])
    ```"""

    def __init__(self, folder: str | os.PathLike[str], threads: int | None = 1, *, shortlist: bool = True) -> None:
        self.threads = (os.cpu_count() or 1) if threads is None else threads
        if not 1 <= self.threads <= 1024:
            raise ValueError(f"threads must be between 1 and 1024, got {threads}. Leave it out for one.")
        self.folder = Path(folder)
        self.description: dict[str, Any] = read_description(self.folder)
        self.settings: dict[str, Any] = self.description["settings"]
        self._model = NativeModel(self.folder / MODEL_NAME)
        self._uses_shortlist = shortlist

    @property
    def predicts_length(self) -> bool:
        """Whether the model predicts target lengths, so that there may be several candidates of a sentence."""
        return "upsample_ratio" not in self.settings

    @property
    def max_source_length(self) -> int:
        """Longest source in tokens, `<s>` and `</s>` included."""
        return self.settings["max_position_embeddings"] // self.settings.get("upsample_ratio", 1)

    @property
    def kernels(self) -> str:
        """Name of the kernels that run: the fastest of this machine, or `$DIMS_NATIVE_KERNELS`."""
        return self._model.kernels

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

    @property
    def source_tokenizer(self) -> Any:
        """That of sources: the same."""
        return self.tokenizer

    def translate(
        self,
        sources: Iterable[str],
        *,
        batch_tokens: int = BATCH_TOKENS,
        num_iterations: int | None = None,
        length_beam_size: int | None = None,
        repeat_penalty: float | None = None,
        length_score_weight: float | None = None,
        on_blank: str = "keep",
        on_long: str = "error",
    ) -> list[str]:
        """
        Translates sentences, in the order given.

        Args:
            sources (`Iterable[str]`): source sentences.
            batch_tokens (`int`): tokens of the sources that a thread translates at once, every length candidate
                counted. A longer sentence is taken alone.
            num_iterations, length_beam_size (`int`, *optional*), repeat_penalty, length_score_weight (`float`,
                *optional*): as for [`generate`].
            on_blank (`str`): a source with nothing to see in it stays empty (`keep`) or is refused (`error`).
            on_long (`str`): a source longer than the model takes is refused (`error`), cut (`truncate`), translated
                piece by piece (`split`), or left empty (`skip`).

        Raises:
            ValueError: a source that the policies refuse (named by its row), or a value that [`generate`] refuses.
        """
        sources = sources if isinstance(sources, str) else list(sources)
        decoding = self._decoding(
            num_iterations, length_beam_size, repeat_penalty, length_score_weight, batch_tokens=batch_tokens
        )
        prepared = prepare_sources(
            sources,
            partial(encode_rows, self.tokenizer),
            self.max_source_length,
            on_blank,
            on_long,
            name="sources[{}]".format,
        )
        if not prepared.pieces:
            return [""] * len(sources)
        sequences, _ = self._model.translate(
            prepared.pieces,
            Decoding(**decoding, with_scores=False, collapse_repeats=bool(self.settings["collapse_repeats"])),
        )
        return join_pieces(prepared, self._texts(sequences), len(sources))

    def encode(self, sources: Sequence[str]) -> list[list[int]]:
        """Token ids `<s> … </s>` of every source, refused by row when blank or longer than the model takes."""
        limit = self.max_source_length
        return prepare_sources(
            sources, partial(encode_rows, self.tokenizer), limit, "error", name="sources[{}]".format
        ).pieces

    def _check_length(self, name: str, num_tokens: int) -> None:
        if num_tokens > self.max_source_length:
            raise ValueError(
                f"{name} has {num_tokens} tokens, the model takes at most {self.max_source_length}. "
                "Split or drop the sentence."
            )

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Right-pads token ids to `input_ids` (B, S) and `attention_mask` (B, S), 1 = token."""
        input_ids = np.full((len(rows), max(map(len, rows))), self.settings["pad_token_id"], np.int64)
        attention_mask = np.zeros_like(input_ids)
        for index, row in enumerate(rows):
            input_ids[index, : len(row)] = row
            attention_mask[index, : len(row)] = 1
        return input_ids, attention_mask

    def decode(self, sequences: Sequence[Sequence[int]] | np.ndarray) -> list[str]:
        """Text of sequences (B, T), repeats collapsed where the model's generation config says so."""
        rows = [np.asarray(row) for row in sequences]
        if self.settings["collapse_repeats"]:
            rows = [row[np.append(row[:-1] != row[1:], True)] for row in rows]
        return self._texts(rows)

    def _texts(self, sequences: Sequence[np.ndarray]) -> list[str]:
        return self.tokenizer.decode_batch([row.tolist() for row in sequences], skip_special_tokens=True)

    def generate(
        self,
        input_ids: np.ndarray,
        attention_mask: np.ndarray,
        *,
        num_iterations: int | None = None,
        length_beam_size: int | None = None,
        target_lengths: np.ndarray | None = None,
        repeat_penalty: float | None = None,
        length_score_weight: float | None = None,
        with_scores: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        Best candidate of each sentence of a batch, as the model's `generate()` gives it before repeats are collapsed.

        Args:
            input_ids, attention_mask (`np.ndarray` of shape `(B, S)`): integers; 1 for tokens.
            num_iterations, length_beam_size (`int`, *optional*): decoder passes, and lengths tried around the
                predicted one; those of the model's generation config when `None`.
            target_lengths (`np.ndarray` of shape `(B,)`, *optional*): content tokens of each translation instead of
                the predicted length; excludes `length_beam_size > 1`.
            repeat_penalty (`float`, *optional*): what each pair of equal neighbours costs in the choice among the
                three likeliest tokens of each position; not of Imputers. When `None`, from the generation config.
            length_score_weight (`float`, *optional*): weight of the log-probability of a candidate's length in its
                score; as above.
            with_scores (`bool`): whether the scores are needed; without them one pass takes less time.

        Returns:
            `tuple`: sequences (B, T), right-padded, and scores (B,): mean log-probabilities, of an Imputer over the
            alignment; with a shortlist, normalised over its ids alone. They mean nothing where they are not asked for.

        Raises:
            ValueError: for ids outside of the vocabulary, a number below 1, an overlong source or target, or lengths
                and candidates of a model that predicts no length.
        """
        decoding = self._decoding(num_iterations, length_beam_size, repeat_penalty, length_score_weight)
        lengths = self._target_lengths(target_lengths, len(input_ids), decoding["length_beam_size"])
        sequences, scores = self._model.translate(
            self._rows(input_ids, attention_mask), Decoding(**decoding, with_scores=with_scores), lengths
        )
        return self.pad([row.tolist() for row in sequences])[0], scores

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
        decoding = Decoding(**self._decoding(num_iterations, None, None, None), keeps_alignments=True)
        alignments, _ = self._model.translate(self._rows(input_ids, attention_mask), decoding)
        return self.pad([row.tolist() for row in alignments])[0]

    def _rows(self, input_ids: np.ndarray, attention_mask: np.ndarray) -> list[list[int]]:
        """Token ids without padding."""
        input_ids, attention_mask = np.asarray(input_ids), np.asarray(attention_mask)
        is_token = attention_mask != 0
        if input_ids.ndim != 2 or input_ids.size == 0 or not np.issubdtype(input_ids.dtype, np.integer):
            raise ValueError(f"input_ids must be integers of shape (batch, length), got {input_ids.shape}.")
        if is_token.shape != input_ids.shape:
            raise ValueError(
                f"attention_mask has shape {is_token.shape}, input_ids {input_ids.shape}. Pass the mask that pad() "
                "made with these ids."
            )
        if not np.isin(attention_mask, (0, 1)).all():
            raise ValueError("attention_mask must hold 0 and 1 only: 1 for tokens.")
        bad = input_ids[(input_ids < 0) | (input_ids >= self.settings["vocab_size"])]
        if bad.size:
            raise ValueError(
                f"input_ids hold the id {bad[0]}, outside the model's vocabulary of {self.settings['vocab_size']}. "
                "Use the tokenizer saved with the model."
            )
        rows = [ids[mask].tolist() for ids, mask in zip(input_ids, is_token)]
        for index, row in enumerate(rows):
            if not row:
                raise ValueError(
                    f"Row {index} of input_ids is all padding. Remove empty sentences before translating."
                )
            self._check_length(f"Row {index}", len(row))
        return rows

    def _target_lengths(self, lengths: Any, num_sentences: int, num_candidates: int) -> np.ndarray | None:
        """Lengths with `<s>` and `</s>`, checked."""
        if not self.predicts_length and (num_candidates != 1 or lengths is not None):
            raise ValueError(
                "An Imputer predicts no length, so there is one candidate per sentence. Leave out length_beam_size "
                "and target_lengths."
            )
        if lengths is None:
            return None
        if num_candidates > 1:
            raise ValueError("target_lengths fix the length. Use length_beam_size=1 with them, or leave them out.")
        lengths, longest = np.asarray(lengths), self.settings["max_position_embeddings"] - 2
        if lengths.shape != (num_sentences,) or not np.issubdtype(lengths.dtype, np.integer):
            raise ValueError(
                f"target_lengths must hold one integer per sentence ({num_sentences}), got shape {lengths.shape} of "
                f"{lengths.dtype}."
            )
        if lengths.min() < 1 or lengths.max() > longest:
            raise ValueError(
                f"target_lengths must be between 1 and {longest} content tokens, got {lengths.min()} to "
                f"{lengths.max()}."
            )
        return lengths + 2

    def _decoding(
        self,
        num_iterations: int | None,
        length_beam_size: int | None,
        repeat_penalty: float | None,
        length_score_weight: float | None,
        batch_tokens: int = BATCH_TOKENS,
    ) -> dict[str, Any]:
        """Settings of a call, filled up and checked."""
        counts = {"num_iterations": num_iterations, "length_beam_size": length_beam_size}
        weights = {"repeat_penalty": repeat_penalty, "length_score_weight": length_score_weight}
        for name, value in counts.items():
            counts[name] = self.settings.get(name, 1) if value is None else value
            if isinstance(counts[name], bool) or not isinstance(counts[name], int) or counts[name] < 1:
                raise ValueError(f"{name} must be an integer >= 1, got {value!r}.")
            if counts[name] > MOST_STEPS:
                raise ValueError(f"{name} must be <= {MOST_STEPS}, got {value}. It takes days: use less.")
        for name, value in weights.items():
            weights[name] = float(self.settings.get(name) or 0.0) if value is None else float(value)
        if not weights["repeat_penalty"] >= 0:
            raise ValueError(f"repeat_penalty must be >= 0, got {repeat_penalty}. 0 leaves repeats alone.")
        if not math.isfinite(weights["length_score_weight"]):
            raise ValueError(f"length_score_weight must be finite, got {length_score_weight}. 0 leaves lengths alone.")
        if batch_tokens < 1:
            raise ValueError(f"batch_tokens must be >= 1, got {batch_tokens}. The default is {BATCH_TOKENS}.")
        rest = {"threads": self.threads, "batch_tokens": batch_tokens, "use_shortlist": self._uses_shortlist}
        return {**counts, **weights, **rest}


def read_description(folder: Path) -> dict[str, Any]:
    """
    `export.json` of a folder of a native export.

    Raises:
        FileNotFoundError: `folder` holds no export.
        ValueError: it is of another runtime, damaged, or a file beside it is missing or another one.
    """
    path = folder / DESCRIPTION_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no {DESCRIPTION_NAME}. Give a folder that `dims-hf export` wrote.")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        runtime, checksums = description.get("runtime"), dict(description["sha256"])
        settings = description["settings"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{path} is damaged: it is no description of an export. {_AGAIN}") from None
    if runtime != RUNTIME_NAME:
        raise ValueError(f"{folder} is no native export. Export the model with --to native, or use OnnxTranslator.")
    fault = settings_fault(settings)
    if fault is None and "max_position_embeddings" not in settings:
        fault = "settings lack max_position_embeddings"
    if fault is None and not {"tokenizer.json", MODEL_NAME} <= checksums.keys():
        fault = "it lacks checksums"
    if fault is not None:
        raise ValueError(f"{path} is damaged: {fault}. {_AGAIN}")
    for name, expected in checksums.items():
        file = folder / name
        if not file.is_file():
            raise ValueError(f"{file} is missing. {_AGAIN}")
        # The model file has checksums of its own, and what is only read by people may be changed by people.
        if name != MODEL_NAME and file.suffix != ".md" and _sha256(file) != expected:
            raise ValueError(f"{file} is not the file that was exported (its checksum differs). {_AGAIN}")
    return description


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
