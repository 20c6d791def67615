# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Exported folders as runtimes, without torch: ONNX Runtime and the native code, whose translators are alike."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dims_hf.export.onnx_decoding import Constraints


class ExportedRuntime:
    """
    An opened export.

    Args:
        translator: an `OnnxTranslator`, or something with its methods.
    """

    max_tokens_per_batch = 512
    name = ""
    # what its translator's `generate` takes beside the keywords that its signature lists
    constraints: frozenset[str] = frozenset()

    def __init__(self, translator: Any) -> None:
        self.translator = translator
        description = json.loads((Path(translator.folder) / "export.json").read_text(encoding="utf-8"))
        self.settings: dict[str, Any] = description["settings"]
        self.max_source_length: int = translator.max_source_length
        self.length_beam_size: int = self.settings.get("length_beam_size") or 1
        self.collapses_repeats = bool(self.settings["collapse_repeats"])
        self.empty_token_id: int | None = self.settings.get("empty_token_id")
        parameters = inspect.signature(translator.generate).parameters.values()
        self._options = {each.name for each in parameters if each.kind is each.KEYWORD_ONLY} | self.constraints

    def tokenizer(self, texts: Sequence[str], **options: Any) -> Mapping[str, list[list[int]]]:
        """Rows of token ids; of transformers' options only `truncation` with `max_length` means something here."""
        rows = [encoding.ids for encoding in self.translator.source_tokenizer.encode_batch(list(texts))]
        if options.get("truncation"):
            limit = options["max_length"]
            # the last id is `</s>`, which stays
            rows = [row if len(row) <= limit else [*row[: limit - 1], row[-1]] for row in rows]
        return {"input_ids": rows}

    def generate(self, rows: Sequence[Sequence[int]], **options: Any) -> tuple[list[list[int]], list[float]]:
        """One translation per row."""
        collapse = options.pop("collapse_repeats", self.collapses_repeats)
        unknown = sorted(set(options) - self._options)
        if unknown:
            raise ValueError(
                f"Models exported for the {self.name} runtime are decoded without {', '.join(unknown)}. Leave it out, "
                "or give the checkpoint that the export was made from."
            )
        if "target_lengths" in options:
            options["target_lengths"] = np.asarray(options["target_lengths"])
        if self.settings.get("graph_search") == "beam":
            options["collapse_repeats"] = collapse
        sequences, scores = self.translator.generate(*self.translator.pad(rows), **options)
        return list(map(self._content, sequences.tolist())), scores.tolist()

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of content token ids."""
        return self.translator.tokenizer.decode(list(token_ids), skip_special_tokens=True)

    def spell(self, token_ids: Sequence[int]) -> list[str]:
        """Token ids as the tokenizer's vocabulary writes them."""
        return list(map(self.translator.tokenizer.id_to_token, token_ids))

    def _content(self, sequence: list[int]) -> list[int]:
        end = len(sequence)
        while end and sequence[end - 1] == self.settings["pad_token_id"]:
            end -= 1
        if end and sequence[end - 1] == self.settings["eos_token_id"]:
            end -= 1
        return sequence[1 if end and sequence[0] == self.settings["bos_token_id"] else 0 : end]


class OnnxRuntime(ExportedRuntime):
    """A folder of `dims-hf export --to onnx`."""

    name = "onnx"
    constraints = frozenset(Constraints.__annotations__)

    @classmethod
    def open(cls, folder: str | os.PathLike[str], *, threads: int | None = None) -> OnnxRuntime:
        """Opens and verifies the folder."""
        from dims_hf.export.onnx_translator import OnnxTranslator

        return cls(OnnxTranslator(folder, threads))


class NativeRuntime(ExportedRuntime):
    """A folder of `dims-hf export --to native`."""

    name = "native"

    @classmethod
    def open(cls, folder: str | os.PathLike[str], *, threads: int | None = None) -> NativeRuntime:
        """Opens and verifies the folder; of an installation without the native code, says so."""
        try:
            from dims_hf.native import NativeTranslator
        except ModuleNotFoundError:
            raise ValueError(f"{folder} is a native export, and this installation has no native runtime.") from None
        return cls(NativeTranslator(folder, threads))
