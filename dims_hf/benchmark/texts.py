# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""From text to text: a system with its tokenizer, one sentence a call or a whole set at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dims_hf.benchmark.translators import Translator
from dims_hf.benchmark.workloads import Batch
from dims_hf.translation.batching import batches_by_budget


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass
class TextTranslator:
    """
    What a user calls: texts are encoded, sorted, translated in batches and decoded, all of it timed.

    Args:
        translator ([`Translator`]): from token ids to token ids.
        tokenizer (`PreTrainedTokenizerBase`): of the model.
        texts (`Sequence[str]`, *optional*): sources by the indices of batches; default: what their ids decode to.
        max_tokens (`int`): padded source tokens of a batch.
    """

    translator: Translator
    tokenizer: PreTrainedTokenizerBase
    texts: Sequence[str] | None
    max_tokens: int

    def prepare(self, batch: Batch) -> list[str]:
        """The sentences as text."""
        if self.texts is not None:
            return [self.texts[index] for index in batch.indices]
        return [str(self.tokenizer.decode(row, skip_special_tokens=True)) for row in batch.rows]

    def run(self, inputs: list[str]) -> list[tuple[list[int], str]]:
        """Token ids and text of every translation, in the order of the sentences."""
        rows = self.tokenizer(inputs)["input_ids"]
        found: dict[int, tuple[list[int], str]] = {}
        for indices in batches_by_budget([len(row) for row in rows], self.max_tokens):
            batch = Batch([rows[index] for index in indices], list(indices))
            written = self.translator.rows(self.translator.run(self.translator.prepare(batch)))
            decoded = [str(self.tokenizer.decode(row, skip_special_tokens=True)) for row in written]
            found.update(zip(indices, zip(written, decoded, strict=True), strict=True))
        return [found[index] for index in range(len(inputs))]

    def rows(self, outputs: list[tuple[list[int], str]]) -> list[list[int]]:
        """Token ids of each translation."""
        return [ids for ids, _ in outputs]
