# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Text in, text out: sources are prepared by the policies, sorted, batched, decoded and put back in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

from dims_hf.models.capabilities import longest_source
from dims_hf.models.source_text import PreparedSources, join_pieces as join_texts, prepare_sources

from .batching import batches_by_budget
from .results import Timing, Translation
from .runtimes import Runtime, candidate_options


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from dims_hf.models.modeling_translation import NATForConditionalGeneration

    from .reranking import Reranker


def translate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: Iterable[str],
    *,
    num_iterations: int | None = None,
    length_beam_size: int | None = None,
    target_lengths: Sequence[int] | None = None,
    max_tokens_per_batch: int | None = None,
    collapse_repeats: bool | None = None,
    on_blank: str = "keep",
    on_long: str = "error",
    progress: bool = False,
    **generate_kwargs: Any,
) -> list[Translation]:
    """Translates sentences, in the order given.

    Args:
        model (`PreTrainedModel`): a model with the `generate` of this package; put in evaluation mode for the call.
        tokenizer (`PreTrainedTokenizerBase`): its tokenizer, which adds `<s>` and `</s>`.
        sources (`Iterable[str]`): source sentences: a list, a tuple, a column of a data set.
        num_iterations (`int`, *optional*): decoder passes; the model's generation config decides when `None`.
        length_beam_size (`int`, *optional*): length candidates per sentence; as above when `None`.
        target_lengths (`Sequence[int]`, *optional*): target lengths in content tokens N, one per source; overrides the
            length predictor.
        max_tokens_per_batch (`int`, *optional*): padded tokens per batch, every length candidate counted; 512 on a
            CPU and 4,096 elsewhere when `None`. A longer sentence is a batch of its own.
        collapse_repeats (`bool`, *optional*): drop a token equal to its right neighbour; the model's generation config
            decides when `None`.
        on_blank (`str`, *optional*, defaults to `"keep"`): a source with nothing to see in it stays empty (`keep`) or
            is refused (`error`).
        on_long (`str`, *optional*, defaults to `"error"`): a source longer than the model takes is refused (`error`),
            cut (`truncate`), translated piece by piece, cut at ends of sentences (`split`), or left empty (`skip`).
        progress (`bool`, *optional*, defaults to `False`): show a progress bar on standard error.
        generate_kwargs (`Any`): further keyword arguments of `model.generate`.

    Returns:
        `list[Translation]`: one per source, in the order of `sources`.

    Raises:
        ValueError: a source that the policies refuse (named by its row), a count or a budget that does not fit.
    """
    return translate_timed(
        model,
        tokenizer,
        sources,
        target_lengths=target_lengths,
        max_tokens_per_batch=max_tokens_per_batch,
        collapse_repeats=collapse_repeats,
        on_blank=on_blank,
        on_long=on_long,
        progress=progress,
        num_iterations=num_iterations,
        length_beam_size=length_beam_size,
        **generate_kwargs,
    )[0]


def translate_timed(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sources: Iterable[str], **options: Any
) -> tuple[list[Translation], Timing]:
    """`translate` that also says what the calls of `generate` cost; same arguments, same errors.

    Returns:
        `tuple[list[Translation], Timing]`: translations in the order of `sources`, and their cost.
    """
    from .torch_runtime import TorchRuntime

    return translate_texts_timed(TorchRuntime(model, tokenizer), sources, **options)


def translate_texts(runtime: Runtime, sources: Iterable[str], **options: Any) -> list[Translation]:
    """Translations by any runtime; arguments and errors of [`translate_texts_timed`]."""
    return translate_texts_timed(runtime, sources, **options)[0]


def translate_texts_timed(
    runtime: Runtime,
    sources: Iterable[str],
    *,
    target_lengths: Sequence[int] | None = None,
    max_tokens_per_batch: int | None = None,
    collapse_repeats: bool | None = None,
    on_blank: str = "keep",
    on_long: str = "error",
    name: Callable[[int], str] = "sources[{}]".format,
    reranker: Reranker | None = None,
    on_batch: Callable[[int], object] | None = None,
    progress: bool = False,
    **generate_kwargs: Any,
) -> tuple[list[Translation], Timing]:
    """`translate_timed` with any runtime.

    Args:
        runtime ([`Runtime`]): the opened model.
        sources, target_lengths, max_tokens_per_batch, collapse_repeats, on_blank, on_long, progress, generate_kwargs:
            as for [`translate`].
        name (`Callable[[int], str]`, *optional*): how errors call the source of a row.
        reranker ([`Reranker`], *optional*): chooses among several candidates of each source.
        on_batch (`Callable[[int], object]`, *optional*): called with the number of pieces of each batch done.
    """
    sources = sources if isinstance(sources, str) else list(sources)
    prepared = prepare_sources(sources, runtime.tokenizer, runtime.max_source_length, on_blank, on_long, name=name)
    lengths = _lengths_of_pieces(target_lengths, len(sources), prepared)
    options = {key: value for key, value in generate_kwargs.items() if value is not None}
    if reranker is not None:
        options = candidate_options(runtime, reranker.num_candidates, options)
    if collapse_repeats is not None:
        # asked for: of interest to searches in which paths meet that read the same
        options["collapse_repeats"] = collapse_repeats
    collapse_repeats = runtime.collapses_repeats if collapse_repeats is None else collapse_repeats
    budget = runtime.max_tokens_per_batch if max_tokens_per_batch is None else max_tokens_per_batch
    batches = _batches(prepared.pieces, lengths, budget, options.get("length_beam_size") or runtime.length_beam_size)
    # filled in the order of batches, read in that of sources
    pieces: list[Translation | None] = [None] * len(prepared.pieces)
    seconds = 0.0
    for batch in _shown(batches, progress):
        if lengths is not None:
            # batches are sorted by size: lengths go along
            options["target_lengths"] = [lengths[index] for index in batch]
        start = time.perf_counter()
        rows, scores = runtime.generate([prepared.pieces[index] for index in batch], **options)
        # `generate` gives plain lists, so that a GPU has finished by now
        seconds += time.perf_counter() - start
        decoded = [to_translation(runtime, *row, collapse_repeats) for row in zip(rows, scores, strict=True)]
        if reranker is not None:
            decoded = reranker.choose([runtime.decode(prepared.pieces[index]) for index in batch], decoded)
        for index, translation in zip(batch, decoded, strict=True):
            pieces[index] = translation
        if on_batch is not None:
            on_batch(len(batch))
    translations = join_pieces(len(sources), prepared, [piece for piece in pieces if piece is not None])
    return translations, Timing(seconds, len(prepared.pieces), len(batches))


def encode_sources(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sources: Sequence[str]
) -> list[list[int]]:
    """Token ids `<s> … </s>` of every source, refused by row when blank or longer than the model takes.

    Raises:
        ValueError: `sources` is one string, or a row is blank, or a row is too long.
    """
    sources = sources if isinstance(sources, str) else list(sources)
    limit = longest_source(model.config) or tokenizer.model_max_length
    return prepare_sources(sources, tokenizer, limit, "error", "error", name="sources[{}]".format).pieces


def collapses_repeats(model: PreTrainedModel) -> bool:
    """Whether a model of this package drops a token equal to its right neighbour where nothing else is said."""
    return cast("NATForConditionalGeneration", model).decoding_settings().collapse_repeats


def collapse(token_ids: Sequence[int]) -> tuple[int, ...]:
    """Drops every token equal to its right neighbour: runs shrink to one token.

    Source: reference code of DiMS, post-processing of every reported score.
    """
    return tuple(token_id for token_id, _ in groupby(token_ids))


def to_translation(runtime: Runtime, token_ids: Sequence[int], score: float, collapse_repeats: bool) -> Translation:
    """Text of one decoded row, with and without its repeats."""
    written, empty = tuple(token_ids), runtime.empty_token_id
    # Tokens that an empty one keeps apart are no repeat.
    kept, raw = (
        tuple(token_id for token_id in ids if token_id != empty)
        for ids in (collapse(written) if collapse_repeats else written, written)
    )
    raw_text = runtime.decode(raw)
    text = raw_text if kept == raw else runtime.decode(kept)
    return Translation(text.strip(), raw_text.strip(), kept, raw, score)


def join_pieces(num_sources: int, prepared: PreparedSources, pieces: Sequence[Translation]) -> list[Translation]:
    """One translation per source from those of its pieces, in order; an empty one where there is no piece."""
    owned: list[list[Translation]] = [[] for _ in range(num_sources)]
    for owner, piece in zip(prepared.owners, pieces, strict=True):
        owned[owner].append(piece)
    texts, raw_texts = (
        join_texts(prepared, written, num_sources)
        for written in ([piece.text for piece in pieces], [piece.raw_text for piece in pieces])
    )
    return [
        replace(_join(group), text=text, raw_text=raw_text)
        if group
        else Translation("", "", (), (), 0.0, 0, prepared.left_out.get(row))
        for row, (group, text, raw_text) in enumerate(zip(owned, texts, raw_texts, strict=True))
    ]


def _join(pieces: Sequence[Translation]) -> Translation:
    """The pieces of a source as one translation; its text is not yet theirs."""
    if len(pieces) == 1:
        return pieces[0]
    # scores are means over N + 2 positions, and weigh as many
    sizes = [len(piece.raw_token_ids) + 2 for piece in pieces]
    return replace(
        pieces[0],
        token_ids=sum((piece.token_ids for piece in pieces), ()),
        raw_token_ids=sum((piece.raw_token_ids for piece in pieces), ()),
        score=sum(size * piece.score for size, piece in zip(sizes, pieces, strict=True)) / sum(sizes),
        num_pieces=len(pieces),
    )


def _batches(
    rows: Sequence[Sequence[int]], lengths: Sequence[int] | None, budget: int, num_candidates: int
) -> list[list[int]]:
    sizes = [len(row) for row in rows]
    if lengths is not None:
        # the longer side decides what a batch holds
        sizes = [max(size, length + 2) for size, length in zip(sizes, lengths, strict=True)]
    # a budget below 1 is refused as it was given
    return list(batches_by_budget(sizes, max(1, budget // max(1, num_candidates)) if budget > 0 else budget))


def _lengths_of_pieces(
    target_lengths: Sequence[int] | None, num_sources: int, prepared: PreparedSources
) -> list[int] | None:
    """The length of every piece, from that of its source."""
    if target_lengths is None:
        return None
    if len(target_lengths) != num_sources:
        raise ValueError(
            f"target_lengths has {len(target_lengths)} entries for {num_sources} sources. Give one length per source."
        )
    if len(set(prepared.owners)) < len(prepared.owners):
        raise ValueError("A source was split, and target_lengths has one length for all its pieces. Leave one out.")
    return [target_lengths[owner] for owner in prepared.owners]


def _shown(batches: list[list[int]], progress: bool) -> Iterable[list[int]]:
    if not progress:
        return batches
    from transformers.utils import logging

    return logging.tqdm(batches, desc="translate")
