# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A model of this package as the teacher of a distilled corpus: its own translations, as U-DiMS learns from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dims_hf.data.beam_search import TranslatedRow, first_longer, model_fingerprint, one_line
from dims_hf.data.tokenizer import tokenizer_fingerprint
from dims_hf.translation import Translation, translate_texts
from dims_hf.translation.torch_runtime import TorchRuntime


class OwnTeacher:
    """
    Decoding with a non-autoregressive model: sources in, one [`TranslatedRow`] each out, in their order.

    Source: §3.3 of Norouzi et al. 2023 (arXiv 2206.02999), where the teacher's translations replace references.

    Args:
        runtime ([`TorchRuntime`]): the model with its tokenizer.
        num_iterations (`int`): decoder passes; the paper has two.
        length_beam_size (`int`, *optional*, defaults to 1): length candidates.
        max_tokens_per_batch (`int`, *optional*, defaults to 16384): padded source tokens of a batch, every length
            candidate counted.
    """

    def __init__(
        self,
        runtime: TorchRuntime,
        *,
        num_iterations: int,
        length_beam_size: int = 1,
        max_tokens_per_batch: int = 16384,
    ) -> None:
        self.runtime, self.model = runtime, runtime.model
        self.options = {
            "num_iterations": num_iterations,
            "length_beam_size": length_beam_size,
            "max_tokens_per_batch": max_tokens_per_batch,
        }

    @property
    def max_source_tokens(self) -> int:
        """Most tokens of a source, `<s>` and `</s>` counted."""
        return self.runtime.max_source_length

    def settings(self) -> dict[str, Any]:
        """Everything here that translations depend on, as JSON has it; the weights by a fingerprint."""
        return {
            **self.options,
            "collapse_repeats": self.runtime.collapses_repeats,
            "runtime": "torch",
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "model_fingerprint": model_fingerprint(self.model),
            "tokenizer_fingerprint": tokenizer_fingerprint(self.runtime.text_tokenizer),
        }

    def __call__(self, sources: Sequence[str], on_batch: Callable[[int], object] | None = None) -> list[TranslatedRow]:
        """Translates sources; calls `on_batch` with the number of sentences of each batch done."""
        found = translate_texts(self.runtime, sources, on_long="skip", on_batch=on_batch, **self.options)
        sizes = map(len, self._encode(sources))
        return [_row(translation, size - 2) for translation, size in zip(found, sizes, strict=True)]

    def first_too_long(self, sources: Sequence[str]) -> int | None:
        """Row of the first source with more tokens than the teacher takes, or `None`."""
        return first_longer(self._encode(sources), self.max_source_tokens)

    def _encode(self, sources: Sequence[str]) -> list[list[int]]:
        return self.runtime.tokenizer(sources, verbose=False)["input_ids"] if sources else []


def _row(translation: Translation, source_tokens: int) -> TranslatedRow:
    is_left_out = translation.left_out is not None
    text = None if is_left_out else one_line(translation.text)
    # its length is chosen beforehand: nothing runs on without end
    return TranslatedRow(text, source_tokens, len(translation.token_ids), not is_left_out)
