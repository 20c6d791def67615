# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""How well a model predicts target lengths. Lengths are content tokens N, without `<s>` and `</s>`, throughout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from dims_hf.models.modes import evaluation_mode
from dims_hf.translation.batching import batches_by_budget
from dims_hf.translation.sentences import encode_sources
from dims_hf.translation.torch_runtime import pad_batch


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


# `<s>` and `</s>`, which the classes of the length predictor count and N does not.
_NUM_SPECIALS = 2


def length_accuracy(predicted: Sequence[int], references: Sequence[int]) -> dict[str, float]:
    """Share of sentences whose predicted length is right, or off by at most one or two tokens.

    Source: Fig. 6 of Norouzi et al. 2023 (Findings of ACL), which calls the three top 1, top 3 and top 5.

    Args:
        predicted (`Sequence[int]`): predicted lengths N.
        references (`Sequence[int]`): lengths N of the references.

    Returns:
        `dict[str, float]`: `length_accuracy`, `length_within_1`, `length_within_2` (0 to 1) and `length_bias`, the
        mean of predicted − reference in tokens.

    Raises:
        ValueError: no sentences, or counts that differ.
    """
    _check_counts(predicted, references)
    errors = [guess - truth for guess, truth in zip(predicted, references, strict=True)]
    return {
        "length_accuracy": _share(error == 0 for error in errors),
        "length_within_1": _share(abs(error) <= 1 for error in errors),
        "length_within_2": _share(abs(error) <= 2 for error in errors),
        "length_bias": sum(errors) / len(errors),
    }


def length_top_k_accuracy(
    ranked: Sequence[Sequence[int]], references: Sequence[int], *, ks: Sequence[int] = (1, 3, 5)
) -> dict[str, float]:
    """Share of sentences whose reference length is among the k likeliest.

    Not to be taken for Fig. 6 of Norouzi et al. 2023, whose top 3 and top 5 are lengths off by at most 1 and 2:
    `length_within_1` and `length_within_2` of [`length_accuracy`].

    Args:
        ranked (`Sequence[Sequence[int]]`): lengths N of each sentence, likeliest first.
        references (`Sequence[int]`): lengths N of the references.
        ks (`Sequence[int]`, *optional*, defaults to `(1, 3, 5)`): numbers of lengths to look at.

    Returns:
        `dict[str, float]`: `length_top_{k}` (0 to 1) for every k.

    Raises:
        ValueError: no sentences, counts that differ, or a sentence with fewer than max(ks) lengths.
    """
    _check_counts(ranked, references)
    for row, lengths in enumerate(ranked):
        if len(lengths) < max(ks):
            raise ValueError(
                f"ranked[{row}] has {len(lengths)} lengths for k = {max(ks)}. Predict with a larger top_k."
            )
    return {
        f"length_top_{k}": _share(truth in lengths[:k] for lengths, truth in zip(ranked, references, strict=True))
        for k in ks
    }


# Shortest and longest length N of a bucket (`None`: no end), and one flag per sentence.
Bucket = tuple[int, "int | None", "list[bool]"]


def length_buckets(lengths: Sequence[int], edges: Sequence[int]) -> list[Bucket]:
    """Groups sentences by their length N at fixed edges, for scores per bucket.

    Args:
        lengths (`Sequence[int]`): lengths N, one per sentence.
        edges (`Sequence[int]`): longest length of every bucket but the last, which has no end; rising.

    Returns:
        `list[tuple[int, int | None, list[bool]]]`: shortest and longest length of each bucket that has a sentence
        (the first starts at 1, or at 0 where a reference is empty; the last has no longest), and one flag per
        sentence.

    Raises:
        ValueError: edges that do not rise, or start below 0.
    """
    if any(low >= high for low, high in zip([-1, *edges], edges)):
        raise ValueError(f"Length edges must rise from 0 or more, got {list(edges)}. Give for example 10 20 30.")
    start = min([1, *lengths])
    bounds = zip([start, *(edge + 1 for edge in edges)], [*edges, None], strict=True)
    buckets = [
        (low, high, [low <= length and (high is None or length <= high) for length in lengths]) for low, high in bounds
    ]
    return [bucket for bucket in buckets if any(bucket[2])]


def equal_length_buckets(lengths: Sequence[int], count: int = 5) -> list[Bucket]:
    """Groups sentences by their length N into buckets of equal size; sizes differ by one sentence at most.

    Sentences of a length that two buckets share are dealt out in the order of the set, so that the ranges of
    neighbours may touch in one length.

    Source: Fig. 5 of Norouzi et al. 2023 (Findings of ACL), with five buckets of target lengths.

    Args:
        lengths (`Sequence[int]`): lengths N, one per sentence.
        count (`int`, *optional*, defaults to 5): buckets; as many as there are sentences at most.

    Returns:
        `list[tuple[int, int, list[bool]]]`: as [`length_buckets`], with the lengths that occur.

    Raises:
        ValueError: `count` below 1.
    """
    if count < 1:
        raise ValueError(f"There are no {count} buckets. Ask for at least 1; the paper's figure has 5.")
    # stable: sentences of one length stay in the order of the set
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    count = min(count, len(order))
    buckets: list[Bucket] = []
    for number in range(count):
        # in whole numbers, so that nothing is lost or counted twice
        rows = order[number * len(order) // count : (number + 1) * len(order) // count]
        members = set(rows)
        flags = [row in members for row in range(len(lengths))]
        buckets.append((lengths[rows[0]], lengths[rows[-1]], flags))
    return buckets


def predict_lengths(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[str],
    *,
    top_k: int = 1,
    max_tokens_per_batch: int = 4096,
) -> list[list[int]]:
    """The `top_k` likeliest target lengths of every source, likeliest first.

    Args:
        model (`PreTrainedModel`): a model with `predict_length`.
        tokenizer (`PreTrainedTokenizerBase`): its tokenizer.
        sources (`Sequence[str]`): source sentences, none blank.
        top_k (`int`, *optional*, defaults to 1): lengths per source.
        max_tokens_per_batch (`int`, *optional*, defaults to 4096): padded source tokens per batch.

    Returns:
        `list[list[int]]`: lengths N per source, in the order of `sources`.

    Raises:
        ValueError: a blank or overlong source, named by its row.
    """
    rows = encode_sources(model, tokenizer, sources)
    lengths: list[list[int]] = [[] for _ in rows]
    with evaluation_mode(model), torch.inference_mode():
        for batch in batches_by_budget([len(row) for row in rows], max_tokens_per_batch):
            inputs = pad_batch([rows[index] for index in batch], tokenizer.pad_token_id, model.device)
            hidden = model.get_encoder()(**inputs).last_hidden_state
            logits = model.predict_length(hidden, inputs["attention_mask"])
            # by probability, unlike the contiguous lengths that a length beam decodes
            best = logits.topk(min(top_k, logits.shape[-1]), dim=-1).indices
            for index, classes in zip(batch, best.tolist(), strict=True):
                # decoding never uses a length below 0 content tokens either
                lengths[index] = [max(0, length_class - _NUM_SPECIALS) for length_class in classes]
    return lengths


def reference_lengths(tokenizer: PreTrainedTokenizerBase, references: Sequence[str]) -> list[int]:
    """Content tokens N of every reference."""
    rows = tokenizer(text_target=list(references))["input_ids"] if len(references) else []
    return [len(row) - _NUM_SPECIALS for row in rows]


def _check_counts(predicted: Sequence[object], references: Sequence[int]) -> None:
    if not len(references) or len(predicted) != len(references):
        raise ValueError(
            f"{len(predicted)} predicted lengths for {len(references)} references. Give one of each, at least one."
        )


def _share(flags: object) -> float:
    values = list(flags)
    return sum(values) / len(values)
