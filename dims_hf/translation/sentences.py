# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Text in, text out: `translate` sorts, batches by token budget, decodes and restores the order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from transformers.utils import logging

from dims_hf.models.modes import evaluation_mode


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Translation:
    """One translated sentence, with what the diagnostics need beside the text.

    Args:
        text (`str`): the detokenised translation.
        raw_text (`str`): the same before repeats were collapsed (equal to `text` with `collapse_repeats=False`).
        token_ids (`tuple[int, ...]`): content token ids behind `text`, without `<s>`, `</s>` and padding.
        raw_token_ids (`tuple[int, ...]`): content token ids behind `raw_text`.
        score (`float`): sum of log-probabilities / (N+2), taken before repeats are collapsed.
    """

    text: str
    raw_text: str
    token_ids: tuple[int, ...]
    raw_token_ids: tuple[int, ...]
    score: float


@dataclass(frozen=True)
class Timing:
    """What a `translate_timed` call cost: wall time inside `generate` only, tokenisation excluded.

    Args:
        seconds (`float`): wall-clock seconds, accelerator synchronised.
        num_sentences (`int`): sentences translated.
        num_batches (`int`): calls of `generate`.
    """

    seconds: float
    num_sentences: int
    num_batches: int

    @property
    def milliseconds_per_sentence(self) -> float:
        """Batch throughput seen from one sentence, in ms; not the latency of a sentence translated alone."""
        return 1000.0 * self.seconds / max(1, self.num_sentences)

    @property
    def sentences_per_batch(self) -> float:
        """Mean number of sentences per `generate` call."""
        return self.num_sentences / max(1, self.num_batches)


def translate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[str],
    *,
    num_iterations: int | None = None,
    length_beam_size: int | None = None,
    target_lengths: Sequence[int] | None = None,
    max_tokens_per_batch: int = 4096,
    collapse_repeats: bool | None = None,
    progress: bool = False,
    **generate_kwargs: Any,
) -> list[Translation]:
    """Translates sentences, in the order given.

    Args:
        model (`PreTrainedModel`): a model with the `generate` of this package; put in evaluation mode for the call.
        tokenizer (`PreTrainedTokenizerBase`): its tokenizer, which adds `<s>` and `</s>`.
        sources (`Sequence[str]`): source sentences, none blank.
        num_iterations (`int`, *optional*): decoder passes; the model's generation config decides when `None`.
        length_beam_size (`int`, *optional*): length candidates per sentence; as above when `None`.
        target_lengths (`Sequence[int]`, *optional*): target lengths in content tokens N, one per source; overrides the
            length predictor.
        max_tokens_per_batch (`int`, *optional*, defaults to 4096): padded tokens per batch, every length candidate
            counted. A longer sentence is a batch of its own.
        collapse_repeats (`bool`, *optional*): drop a token equal to its right neighbour; the model's generation config
            decides when `None`.
        progress (`bool`, *optional*, defaults to `False`): show a progress bar on standard error.
        generate_kwargs (`Any`): further keyword arguments of `model.generate`.

    Returns:
        `list[Translation]`: one per source, in the order of `sources`.

    Raises:
        ValueError: a blank or overlong source (named by its row), a count or a budget that does not fit.
    """
    options = dict(num_iterations=num_iterations, length_beam_size=length_beam_size, **generate_kwargs)
    return translate_timed(
        model,
        tokenizer,
        sources,
        target_lengths=target_lengths,
        max_tokens_per_batch=max_tokens_per_batch,
        collapse_repeats=collapse_repeats,
        progress=progress,
        **options,
    )[0]


def translate_timed(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[str],
    *,
    target_lengths: Sequence[int] | None = None,
    max_tokens_per_batch: int = 4096,
    collapse_repeats: bool | None = None,
    progress: bool = False,
    **generate_kwargs: Any,
) -> tuple[list[Translation], Timing]:
    """`translate` that also says what the calls of `generate` cost; same arguments, same errors.

    Returns:
        `tuple[list[Translation], Timing]`: translations in the order of `sources`, and their cost.
    """
    rows = encode_sources(model, tokenizer, sources)
    collapse_repeats = collapses_repeats(model) if collapse_repeats is None else collapse_repeats
    _check_target_lengths(target_lengths, len(rows))
    options = {name: value for name, value in generate_kwargs.items() if value is not None}
    budget = max_tokens_per_batch // max(1, options.get("length_beam_size", 1))
    sizes = [len(row) for row in rows]
    if target_lengths is not None:
        sizes = [max(size, length + 2) for size, length in zip(sizes, target_lengths, strict=True)]
    batches = list(batches_by_budget(sizes, max(1, budget)))
    translations: list[Translation | None] = [None] * len(rows)
    seconds = 0.0
    with evaluation_mode(model), torch.inference_mode():
        for batch in logging.tqdm(batches, desc="translate", disable=not progress):
            inputs = pad_batch([rows[index] for index in batch], tokenizer.pad_token_id, model.device)
            if target_lengths is not None:
                options["target_lengths"] = torch.tensor([target_lengths[index] for index in batch]).to(model.device)
            elapsed, sequences, scores = _timed_generate(model, inputs, options)
            seconds += elapsed
            for index, token_ids, score in zip(batch, sequences, scores, strict=True):
                translations[index] = _to_translation(tokenizer, token_ids, score, collapse_repeats)
    return translations, Timing(seconds, len(rows), len(batches))


def collapses_repeats(model: PreTrainedModel) -> bool:
    """Whether the model drops a token equal to its right neighbour where nothing else is said."""
    return model.decoding_settings().collapse_repeats if hasattr(model, "decoding_settings") else True


def collapse(token_ids: Sequence[int]) -> tuple[int, ...]:
    """Drops every token equal to its right neighbour: runs shrink to one token.

    Source: reference code of DiMS, post-processing of every reported score.
    """
    return tuple(token_id for token_id, _ in groupby(token_ids))


def encode_sources(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sources: Sequence[str]
) -> list[list[int]]:
    """Token ids `<s> … </s>` of every source, refused by row when blank or longer than the position table.

    Raises:
        ValueError: `sources` is one string, or a row is blank, or a row is too long.
    """
    if isinstance(sources, str):
        raise ValueError("sources is one string. Pass a list of sentences, [source] for a single one.")
    for row, source in enumerate(sources):
        if not isinstance(source, str) or not source.strip():
            raise ValueError(f"sources[{row}] is blank: {source!r}. Remove the row, or give it a sentence.")
    rows = tokenizer(list(sources))["input_ids"] if len(sources) else []
    limit = getattr(model.config, "max_source_length", getattr(model.config, "max_position_embeddings", None))
    for row, token_ids in enumerate(rows):
        if limit is not None and len(token_ids) > limit:
            raise ValueError(
                f"sources[{row}] has {len(token_ids)} tokens, the model takes at most {limit}. "
                "Split or drop the sentence."
            )
    return rows


def batches_by_budget(sizes: Sequence[int], max_tokens_per_batch: int) -> Iterator[list[int]]:
    """Groups indices by size, longest first, so that rows × longest row stays within the budget.

    Longest first, because a batch that does not fit in memory then fails at once and not at the end.

    Args:
        sizes (`Sequence[int]`): tokens of each row.
        max_tokens_per_batch (`int`): padded tokens per batch; a longer row is a batch of its own.

    Raises:
        ValueError: `max_tokens_per_batch` < 1.
    """
    if max_tokens_per_batch < 1:
        raise ValueError(f"max_tokens_per_batch must be >= 1, got {max_tokens_per_batch}. The default is 4096.")
    order = sorted(range(len(sizes)), key=lambda index: -sizes[index])
    start = 0
    while start < len(order):
        count = max(1, max_tokens_per_batch // max(1, sizes[order[start]]))
        yield order[start : start + count]
        start += count


def pad_batch(rows: Sequence[Sequence[int]], pad_token_id: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Right-pads rows to `input_ids` (B,S) and `attention_mask` (B,S), 1 = real token."""
    width = max(len(row) for row in rows)
    input_ids = torch.tensor([list(row) + [pad_token_id] * (width - len(row)) for row in rows])
    attention_mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return {"input_ids": input_ids.to(device), "attention_mask": attention_mask.to(device)}


def _timed_generate(
    model: PreTrainedModel, inputs: dict[str, torch.Tensor], options: dict[str, Any]
) -> tuple[float, list[list[int]], list[float]]:
    """One call of `generate`: seconds, sequences and scores as plain lists, so that no tensor outlives its batch."""
    _synchronize(model.device)
    start = time.perf_counter()
    output = model.generate(**inputs, **options, collapse_repeats=False, return_dict_in_generate=True)
    _synchronize(model.device)
    return time.perf_counter() - start, output.sequences.tolist(), output.sequences_scores.tolist()


def _synchronize(device: torch.device) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def _to_translation(
    tokenizer: PreTrainedTokenizerBase, sequence: list[int], score: float, collapse_repeats: bool
) -> Translation:
    raw = _content(tokenizer, sequence)
    kept = collapse(raw) if collapse_repeats else raw
    raw_text = tokenizer.decode(raw, skip_special_tokens=True)
    text = raw_text if kept == raw else tokenizer.decode(kept, skip_special_tokens=True)
    return Translation(text.strip(), raw_text.strip(), kept, raw, score)


def _content(tokenizer: PreTrainedTokenizerBase, sequence: list[int]) -> tuple[int, ...]:
    """Ids between `<s>` and the closing `</s>`; specials an imported model wrote in mid-sentence stay in."""
    end = len(sequence)
    while end and sequence[end - 1] == tokenizer.pad_token_id:
        end -= 1
    if end and sequence[end - 1] == tokenizer.eos_token_id:
        end -= 1
    start = 1 if end and sequence[0] == tokenizer.bos_token_id else 0
    return tuple(sequence[start:end])


def _check_target_lengths(target_lengths: Sequence[int] | None, num_sources: int) -> None:
    if target_lengths is not None and len(target_lengths) != num_sources:
        raise ValueError(
            f"target_lengths has {len(target_lengths)} entries for {num_sources} sources. Give one length per source."
        )
