# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Turning a parallel corpus into token ids, and refusing ids or lengths the model has no row for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_BATCH_SIZE = 4096


def encode_corpus(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_source_length: int,
    max_target_length: int,
    vocab_size: int,
    source_vocab_size: int | None = None,
    drop_too_long: bool = False,
) -> Dataset:
    """
    Encodes sources and targets as `<s> … </s>`.

    Args:
        dataset (`datasets.Dataset`):
            Columns `source` and `target` (str); without `target`, sources alone are encoded (for U-DiMS). With
            `references` (lists of str), every target of a source is encoded.
        tokenizer (`PreTrainedTokenizerBase`):
            Adds `<s>` and `</s>` on both sides.
        max_source_length, max_target_length (`int`):
            Longest source and target the model can take, in tokens with `<s>` and `</s>`.
        vocab_size (`int`):
            Rows of the model's embedding table.
        source_vocab_size (`int`, *optional*):
            Rows of the table of sources, where they have one of their own.
        drop_too_long (`bool`, *optional*, defaults to `False`):
            Leave out pairs that are too long (their number is logged) instead of refusing them.

    Returns:
        `datasets.Dataset`: `index` (int, the row of `dataset`), `input_ids` and, with targets, `labels` (lists of
            int); with references, `references` (lists of such lists), those that are too long left out, and `labels`
            the first of them.

    Raises:
        `ValueError`: naming the row of a sentence that is too long, is no text, has an id the model has no row for,
            or no token between `<s>` and `</s>` (nothing in it can be seen).
    """
    from datasets import Dataset

    sides = [("source", "input_ids", max_source_length), ("target", "labels", max_target_length)]
    sides = [side for side in sides if side[0] in dataset.column_names]
    encoded: dict[str, list[list[int]]] = {}
    for side, column, limit in sides:
        texts = list(dataset[side])
        _check_texts(side, texts)
        rows = encoded[column] = _encode(texts, tokenizer, as_target=side == "target")
        # a pre-trained encoder's vocabulary is not the target's
        is_own = side == "source" and source_vocab_size is not None
        _check_ids(side, rows, tokenizer, source_vocab_size if is_own else vocab_size)  # type: ignore[arg-type]
        _log_unknown_rate(side, rows, tokenizer)
        if not drop_too_long:
            _check_lengths(side, rows, limit)
    references: list[list[list[int]]] | None = None
    if "references" in dataset.column_names:
        references = _encode_references(
            list(dataset["references"]),
            tokenizer,
            limit=max_target_length,
            drop_too_long=drop_too_long,
            vocab_size=vocab_size,
        )
        # the first of those that fit, which need not be the column `target`
        encoded["labels"] = [several[0] for several in references]
    num_rows, noun = len(dataset), "pairs" if len(sides) == 2 else "sentences"
    kept = [row for row in range(num_rows) if all(len(encoded[column][row]) <= limit for _, column, limit in sides)]
    if not kept:
        raise ValueError(
            f"None of the {num_rows} {noun} is left to encode. Pass a corpus with at least one of at most "
            f"{max_source_length} source (and {max_target_length} target) tokens."
        )
    if len(kept) < num_rows:
        logger.warning(
            "Dropped %d of %d %s longer than %d source or %d target tokens.",
            num_rows - len(kept),
            num_rows,
            noun,
            max_source_length,
            max_target_length,
        )
    columns: dict[str, list] = {column: [rows[row] for row in kept] for column, rows in encoded.items()}
    if references is not None:
        columns["references"] = [references[row] for row in kept]
    return Dataset.from_dict({"index": kept, **columns})


def _check_texts(side: str, texts: list[Any]) -> None:
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"Row {row}: the {side} is no text but {type(text).__name__}. Remove the pair.")


def _encode(texts: list[str], tokenizer: PreTrainedTokenizerBase, *, as_target: bool = False) -> list[list[int]]:
    """Token ids of every text. No cache on disk: a stale one would silently train on another tokenizer's ids."""
    rows: list[list[int]] = []
    for start in range(0, len(texts), _BATCH_SIZE):
        batch = texts[start : start + _BATCH_SIZE]
        # verbose=False: lengths are checked below, with the row number.
        side = {"text_target" if as_target else "text": batch}
        encoded = tokenizer(**side, truncation=False, return_attention_mask=False, verbose=False)
        rows.extend(encoded["input_ids"])
    return rows


def _encode_references(
    references: list[list[str]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    limit: int,
    drop_too_long: bool,
    vocab_size: int,
) -> list[list[list[int]]]:
    """Token ids of several targets of each source; of those that are too long, one where there is no other."""
    rows = iter(_encode([text for several in references for text in several], tokenizer, as_target=True))
    encoded = [[next(rows) for _ in several] for several in references]
    for several in encoded:
        _check_ids("target", several, tokenizer, vocab_size)
        if not drop_too_long:
            _check_lengths("target", several, limit)
    return [[ids for ids in several if len(ids) <= limit] or several[:1] for several in encoded]


def _check_ids(side: str, rows: list[list[int]], tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> None:
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    for row, ids in enumerate(rows):
        if len(ids) < 2 or ids[0] != bos or ids[-1] != eos:
            raise ValueError(
                f"Row {row}: the {side} is not encoded as <s> … </s> but as ids {ids[:3]}…{ids[-2:]}. Use a tokenizer "
                f"whose post-processor adds its bos ({bos}) and eos ({eos}) tokens, e.g. one from train_tokenizer."
            )
        if len(ids) == 2:
            raise ValueError(
                f"Row {row}: the {side} has no token: nothing in it can be seen. Remove the pair from the corpus."
            )
        largest = max(ids)
        if largest >= vocab_size:
            raise ValueError(
                f"Row {row}: the {side} has token id {largest} ({tokenizer.convert_ids_to_tokens(largest)!r}), but "
                f"the model's vocab_size is {vocab_size}. Use the tokenizer the model was made for, or "
                f"vocab_size={len(tokenizer)}."
            )


def _check_lengths(side: str, rows: list[list[int]], limit: int) -> None:
    too_long = [row for row, ids in enumerate(rows) if len(ids) > limit]
    if too_long:
        first = too_long[0]
        raise ValueError(
            f"Row {first}: the {side} has {len(rows[first])} tokens with <s> and </s>, the model takes at most "
            f"{limit} ({len(too_long)} of {len(rows)} {side}s are too long). Shorten or remove these pairs, set "
            f"drop_too_long=True, or use a model with more positions."
        )


def _log_unknown_rate(side: str, rows: list[list[int]], tokenizer: PreTrainedTokenizerBase) -> None:
    unknown = sum(ids.count(tokenizer.unk_token_id) for ids in rows)
    tokens = sum(len(ids) - 2 for ids in rows)
    level = logging.WARNING if unknown else logging.INFO
    logger.log(
        level,
        "%d %ss, %d tokens, %d of them <unk> (%.3f %%).",
        len(rows),
        side,
        tokens,
        unknown,
        100 * unknown / max(tokens, 1),
    )
