# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Padding encoded pairs into one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


IGNORED_LABEL = -100


@dataclass(frozen=True)
class TranslationCollator:
    """
    Pads pairs from `encode_corpus` on the right. Shapes: **B** batch, **S** longest source, **T** longest target.

    Masking is not done here: a sentence's mask depends on the optimiser step, and a prefetching loader does not know
    that.

    Args:
        pad_token_id (`int`):
            Fills `input_ids`. Labels are filled with -100, which no loss counts.

    Returns:
        `dict[str, Tensor]`, all int64: `input_ids` (B,S), `attention_mask` (B,S; 1 = real token), `index` (B,), the
        row of each pair in the corpus, and `labels` (B,T) where the pairs have a target; where sources have several,
        `references` (B,K,T), filled up with empty ones of -100, the first of which are the labels.
    """

    pad_token_id: int

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Collates one batch; `features` need `index` and `input_ids`, and `labels` unless they are sources alone."""
        if not features:
            raise ValueError("Cannot make a batch of no pairs. Pass at least one.")
        input_ids, attention_mask = _pad_right([row["input_ids"] for row in features], self.pad_token_id)
        index = torch.tensor([int(row["index"]) for row in features])
        batch = {"input_ids": input_ids, "attention_mask": attention_mask.long(), "index": index}
        if "labels" in features[0]:
            batch["labels"], _ = _pad_right([row["labels"] for row in features], IGNORED_LABEL)
        if "references" in features[0]:
            batch["references"] = _pad_references([row["references"] for row in features])
        return batch


def _pad_references(rows: Sequence[Sequence[Sequence[int]]]) -> Tensor:
    """Several targets of each source as one tensor (B,K,T) filled up with -100."""
    most = max(map(len, rows))
    # one after the other, so that a view gives (B, K)
    flat = [ids for several in rows for ids in (*several, *[[]] * (most - len(several)))]
    return _pad_right(flat, IGNORED_LABEL)[0].view(len(rows), most, -1)


def _pad_right(rows: Sequence[Sequence[int]], fill: int) -> tuple[Tensor, Tensor]:
    """Rows as one tensor (B,L) filled up with `fill`, and the mask (B,L) that is True on real tokens."""
    lengths = torch.tensor([len(row) for row in rows])
    is_token = torch.arange(int(lengths.max())) < lengths[:, None]  # (B,L)
    padded = torch.full(is_token.shape, fill, dtype=torch.long)
    # A boolean mask is filled in row-major order, which is the order of the joined rows.
    padded[is_token] = torch.tensor([token for row in rows for token in row], dtype=torch.long)
    return padded, is_token
