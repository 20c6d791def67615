# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Several targets of a source, as the methods that look at more than one take them.

Shapes: B batch, K targets of a source, T target length.
"""

from __future__ import annotations

import torch

from dims_hf.methods.alignments import AlignmentBatch, keep_content


class ReferenceBatch(AlignmentBatch):
    """[`AlignmentBatch`] with `references` (B, K, T; tokens alone, then -100), the first of which are `labels`."""

    references: torch.Tensor


def pack_references(
    batch: dict[str, torch.Tensor], special_token_ids: tuple[int, ...], num_references: int
) -> torch.Tensor:
    """
    The first K targets of each source, tokens alone: (B, K, T), filled up with empty ones of -100.

    Args:
        batch (`dict`): from [`TranslationCollator`]: `references` (B, K', T) or, without any, `labels` (B, T).
        special_token_ids (`tuple[int, ...]`): ids that are left out.
        num_references (`int`): K.
    """
    given = batch["references"] if "references" in batch else batch["labels"].unsqueeze(1)
    given = given[:, :num_references]
    missing = num_references - given.shape[1]
    padded = torch.nn.functional.pad(given, (0, 0, 0, missing), value=-100)
    return keep_content(padded.flatten(0, 1), special_token_ids).view(padded.shape)
