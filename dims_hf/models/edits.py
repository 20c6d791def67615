# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Edit scripts of deletions and insertions between token sequences: what a Levenshtein Transformer learns."""

from collections.abc import Sequence
from typing import NamedTuple

import torch


class EditScript(NamedTuple):
    """
    A shortest script that turns a source into a target; see [`edit_oracle`].

    Args:
        deletions (`list[int]`): one flag per source token, 1 = delete.
        insertions (`list[list[int]]`): ids to insert into each gap of what is kept: before the first token, between
            each two, and after the last.
    """

    deletions: list[int]
    insertions: list[list[int]]


def edit_oracle(source_ids: Sequence[int] | torch.Tensor, target_ids: Sequence[int] | torch.Tensor) -> EditScript:
    """
    A shortest script of deletions and insertions (a substitution is one of each); of equals the one found from the end
    by inserting where that is optimal, else deleting where that is, else keeping.

    Source: Gu et al. 2019 (Levenshtein Transformer, arXiv 1905.11006), §3.1 and the oracle of §4.

    Args:
        source_ids, target_ids (`Sequence[int]` or `torch.LongTensor` of shape `(L,)`): token ids without `<s>` and
            `</s>`; may be empty.

    Returns:
        [`EditScript`], which unpacks to deletions and insertions.

    Raises:
        ValueError: for a tensor of more than one dimension.
    """
    source, target = _to_list("source_ids", source_ids), _to_list("target_ids", target_ids)
    distances = _edit_distances(source, target)
    deletions = [0] * len(source)
    gaps: list[list[int]] = [[]]  # both from the end
    row, column = len(source), len(target)
    while row or column:
        distance = distances[row][column]
        # inserting first, the preference of the docstring
        if column and distance == distances[row][column - 1] + 1:
            column -= 1
            gaps[-1].append(target[column])
        elif row and distance == distances[row - 1][column] + 1:
            row -= 1
            deletions[row] = 1
        else:
            row, column = row - 1, column - 1
            gaps.append([])
    return EditScript(deletions, [gap[::-1] for gap in reversed(gaps)])


def _edit_distances(source: list[int], target: list[int]) -> list[list[int]]:
    """[i][j]: fewest insertions and deletions that turn the first i source tokens into the first j target tokens."""
    distances = [list(range(len(target) + 1))]
    for row, token in enumerate(source, start=1):
        above, here = distances[-1], [row]
        for column, wanted in enumerate(target):
            # a token that can be kept is: nothing is shorter
            here.append(above[column] if token == wanted else 1 + min(above[column + 1], here[column]))
        distances.append(here)
    return distances


def _to_list(name: str, token_ids: Sequence[int] | torch.Tensor) -> list[int]:
    if not isinstance(token_ids, torch.Tensor):
        return list(token_ids)
    if token_ids.dim() != 1:
        raise ValueError(f"{name} must be of shape (L,), got {tuple(token_ids.shape)}. Pass one sequence at a time.")
    return token_ids.tolist()
