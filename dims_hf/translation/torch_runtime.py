# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Models of torch as runtimes: ours through their own `generate`, and any other translation model of transformers."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch

from dims_hf.models.capabilities import empty_token_id, is_non_autoregressive, longest_source
from dims_hf.models.limits import MOST_STEPS
from dims_hf.models.modes import evaluation_mode

from . import packing
from .loading import load_model


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from dims_hf.models.modeling_translation import NATForConditionalGeneration

# Measured on sentences of a corpus: on a CPU, batches above it gain nothing and padding costs.
CPU_TOKENS_PER_BATCH = 512
GPU_TOKENS_PER_BATCH = 4096


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """So many threads for torch inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _ModelRuntime:
    """What runtimes of torch share: tokenizer, text and the budget that suits the device."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self._device, self.text_tokenizer = model.device, tokenizer
        self.max_source_length: int = longest_source(model.config) or tokenizer.model_max_length

    @property
    def max_tokens_per_batch(self) -> int:
        """Padded tokens that suit the device."""
        return CPU_TOKENS_PER_BATCH if self._device.type == "cpu" else GPU_TOKENS_PER_BATCH

    def tokenizer(self, texts: Sequence[str], **options: Any) -> Mapping[str, list[list[int]]]:
        """Rows of token ids."""
        return self.text_tokenizer(list(texts), **options)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of content token ids."""
        return str(self.text_tokenizer.decode(list(token_ids), skip_special_tokens=True))

    def spell(self, token_ids: Sequence[int]) -> list[str]:
        """Token ids as the tokenizer's vocabulary writes them."""
        return list(self.text_tokenizer.convert_ids_to_tokens(list(token_ids)))

    def pad(self, rows: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        """`input_ids` and `attention_mask` (B,S) of rows, on the model's device."""
        return pad_batch(rows, self.text_tokenizer.pad_token_id, self._device)


class TorchRuntime(_ModelRuntime):
    """
    A model of this package with its tokenizer.

    Args:
        model (`PreTrainedModel`): a model with the `generate` of this package; put in evaluation mode for every call.
        tokenizer (`PreTrainedTokenizerBase`): its tokenizer, which adds `<s>` and `</s>`.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(model, tokenizer)
        self.model = cast("NATForConditionalGeneration", model)
        self._settings = settings = self.model.decoding_settings()
        self.settings: dict[str, Any] = {name: getattr(settings, name) for name in settings.names()}
        self.length_beam_size, self.collapses_repeats = settings.length_beam_size, settings.collapse_repeats
        self.empty_token_id = empty_token_id(model.config)

    @staticmethod
    def open(
        model: str | os.PathLike[str],
        *,
        device: str | None = None,
        dtype: str | None = None,
        threads: int | None = None,
        trust_remote_code: bool = False,
        pack_weights: bool = False,
    ) -> TorchRuntime | AutoregressiveRuntime:
        """Loads a checkpoint; one of another kind than ours becomes an [`AutoregressiveRuntime`]."""
        if threads is not None:
            torch.set_num_threads(threads)
        loaded, tokenizer = load_model(model, device, dtype, trust_remote_code=trust_remote_code)
        if pack_weights:
            packing.pack_weights(loaded)
        kind = TorchRuntime if is_non_autoregressive(loaded.config) else AutoregressiveRuntime
        return kind(loaded, tokenizer)

    def generate(self, rows: Sequence[Sequence[int]], **options: Any) -> tuple[list[list[int]], list[float]]:
        """One translation per row, or `num_return_sequences` of them, best first."""
        if "target_lengths" in options:
            options["target_lengths"] = torch.tensor(options["target_lengths"], device=self._device)
        inputs, options = self.pad(rows), self._with_repeats(options)
        with evaluation_mode(self.model), torch.inference_mode():
            output = self.model.generate(**inputs, **options, return_dict_in_generate=True)
            # plain lists, so that no tensor outlives its batch; on a GPU they also wait for the work to be done
            return list(map(self._content, output.sequences.tolist())), output.sequences_scores.tolist()

    def _with_repeats(self, options: dict[str, Any]) -> dict[str, Any]:
        """Options that leave repeats in, unless what is searched has none."""
        given = {name: value for name, value in options.items() if name in self._settings.names()}
        # what is impossible is refused here as by `generate`
        settings = replace(self._settings, **given)
        # Not declared by settings whose older code came with a checkpoint.
        return {**options, "collapse_repeats": getattr(settings, "merges_repeats", False)}

    def _content(self, sequence: list[int]) -> list[int]:
        """Ids between `<s>` and the closing `</s>`; specials an imported model wrote in mid-sentence stay in."""
        end = len(sequence)
        # from the right only: an imported model may write padding inside a sentence
        while end and sequence[end - 1] == self.text_tokenizer.pad_token_id:
            end -= 1
        if end and sequence[end - 1] == self.text_tokenizer.eos_token_id:
            end -= 1
        return sequence[1 if end and sequence[0] == self.text_tokenizer.bos_token_id else 0 : end]


class AutoregressiveRuntime(_ModelRuntime):
    """Any `AutoModelForSeq2SeqLM`, such as Marian, decoded by beam search: a fallback, or a model to compare with."""

    NUM_BEAMS = 4

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(model, tokenizer)
        self.model = model
        self.length_beam_size, self.collapses_repeats = self.NUM_BEAMS, False
        self.settings: dict[str, Any] = {"num_beams": self.NUM_BEAMS}
        self.empty_token_id: int | None = None

    def generate(self, rows: Sequence[Sequence[int]], **options: Any) -> tuple[list[list[int]], list[float]]:
        """Translations by beam search; `num_beams` is all that it can be told, 1 is greedy."""
        # of use to searches among alternatives that repeats tell apart
        options.pop("collapse_repeats", None)
        num_beams = options.pop("num_beams", self.NUM_BEAMS)
        if options:
            raise ValueError(
                f"{type(self.model).__name__} is decoded autoregressively, without {', '.join(sorted(options))}. "
                "Leave it out, or give a model of this package."
            )
        if isinstance(num_beams, bool) or not isinstance(num_beams, int) or not 1 <= num_beams <= MOST_STEPS:
            raise ValueError(
                f"num_beams must be an integer >= 1 and <= {MOST_STEPS}, got {num_beams!r}. Use 1 for greedy search."
            )
        inputs = self.pad(rows)
        model: Any = self.model  # with a `generate` that its annotation does not have
        settings = copy.deepcopy(model.generation_config)
        settings.update(
            num_beams=num_beams,
            # the start token is counted; of a second limit, transformers would warn
            max_length=min(self.max_source_length, 2 * inputs["input_ids"].shape[1] + 33),
            max_new_tokens=None,
            return_dict_in_generate=True,
            output_scores=True,
        )
        with evaluation_mode(self.model), torch.inference_mode():
            output = model.generate(**inputs, generation_config=settings)
        outside = set(self.text_tokenizer.all_special_ids)
        rows_out = [[token for token in row if token not in outside] for row in output.sequences.tolist()]
        if num_beams > 1:
            return rows_out, output.sequences_scores.tolist()
        scores = model.compute_transition_scores(output.sequences, output.scores, normalize_logits=True)
        # the first token is what decoding starts with, and no choice
        is_written = output.sequences[:, 1:] != self.text_tokenizer.pad_token_id
        sums = scores.masked_fill(~is_written, 0.0).sum(dim=1)
        return rows_out, (sums / is_written.sum(dim=1).clamp(min=1)).tolist()


def pad_batch(rows: Sequence[Sequence[int]], pad_token_id: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Right-pads rows to `input_ids` (B,S) and `attention_mask` (B,S), 1 = real token."""
    width = max(len(row) for row in rows)
    input_ids = torch.tensor([list(row) + [pad_token_id] * (width - len(row)) for row in rows])
    attention_mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return {"input_ids": input_ids.to(device), "attention_mask": attention_mask.to(device)}
