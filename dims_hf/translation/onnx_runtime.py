# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Exported ONNX folders as a runtime, without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dims_hf.export.onnx_translator import OnnxTranslator


# What `OnnxTranslator.generate` takes beside the batch.
_OPTIONS = ("num_iterations", "length_beam_size", "target_lengths")


class OnnxRuntime:
    """
    An exported folder.

    Args:
        translator ([`OnnxTranslator`]): the opened folder.
    """

    max_tokens_per_batch = 512

    def __init__(self, translator: OnnxTranslator) -> None:
        self.translator = translator
        self.max_source_length = translator.max_source_length
        self.length_beam_size = translator.settings.get("length_beam_size") or 1
        self.collapses_repeats = bool(translator.settings["collapse_repeats"])

    @classmethod
    def open(cls, folder: str | os.PathLike[str], *, threads: int | None = None) -> OnnxRuntime:
        """Opens a folder of `dims-hf export --to onnx`."""
        return cls(OnnxTranslator(folder, threads))

    def tokenizer(self, texts: Sequence[str], **options: Any) -> Mapping[str, list[list[int]]]:
        """Rows of token ids; of transformers' options only `truncation` with `max_length` means something here."""
        rows = [encoding.ids for encoding in self.translator.tokenizer.encode_batch(list(texts))]
        if options.get("truncation"):
            limit = options["max_length"]
            # the last id is `</s>`, which stays
            rows = [row if len(row) <= limit else [*row[: limit - 1], row[-1]] for row in rows]
        return {"input_ids": rows}

    def generate(self, rows: Sequence[Sequence[int]], **options: Any) -> tuple[list[list[int]], list[float]]:
        """One translation per row."""
        unknown = sorted(set(options) - set(_OPTIONS))
        if unknown:
            raise ValueError(
                f"Exported ONNX models are decoded without {', '.join(unknown)}. Leave it out, or give the checkpoint "
                "that the export was made from."
            )
        if "target_lengths" in options:
            options["target_lengths"] = np.asarray(options["target_lengths"])
        sequences, scores = self.translator.generate(*self.translator.pad(rows), **options)
        return list(map(self._content, sequences.tolist())), scores.tolist()

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of content token ids."""
        return self.translator.tokenizer.decode(list(token_ids), skip_special_tokens=True)

    def _content(self, sequence: list[int]) -> list[int]:
        settings = self.translator.settings
        end = len(sequence)
        while end and sequence[end - 1] == settings["pad_token_id"]:
            end -= 1
        if end and sequence[end - 1] == settings["eos_token_id"]:
            end -= 1
        return sequence[1 if end and sequence[0] == settings["bos_token_id"] else 0 : end]
