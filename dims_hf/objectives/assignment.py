# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Minimum-cost perfect matchings of a batch, exactly and all at once. Shapes: B batch, N rows and columns."""

from __future__ import annotations

import numpy as np
import torch


# Stands for an infinite cost: more than all finite ones together, and small enough for sums in fp64.
_FORBIDDEN = 1e9


@torch.no_grad()
def assign(costs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """
    Column of each row in the perfect matching of least total cost, for each sentence's own n × n block.

    Shortest augmenting paths with potentials: O(n³) for each sentence, in steps that all sentences take together.

    Source: Kuhn 1955; Jonker and Volgenant 1987 (shortest augmenting paths).

    Args:
        costs (`torch.Tensor` of shape `(B, N, N)`): may be infinite; the rest, in absolute value, below 10⁶.
        lengths (`torch.LongTensor` of shape `(B,)`): n of each sentence; other rows and columns are not read.

    Returns:
        `torch.LongTensor` of shape `(B, N)`: columns; a row beyond n has its own.
    """
    # on the CPU: the steps are many and small
    sizes = lengths.cpu().numpy()
    matrix = np.array(costs.double().cpu().numpy())
    np.nan_to_num(matrix, copy=False, nan=_FORBIDDEN, posinf=_FORBIDDEN, neginf=-_FORBIDDEN)
    index = np.arange(matrix.shape[1])
    is_real = index < sizes[:, None]
    # padding is matched with itself, before anything real could want it
    padding = np.where(is_real[:, :, None] | is_real[:, None, :], 1e3 * _FORBIDDEN, 0.0)
    padding[:, index, index] = 0.0
    matrix = np.where(is_real[:, :, None] & is_real[:, None, :], matrix, padding)
    return torch.from_numpy(_match(matrix)).to(costs.device)


def _match(costs: np.ndarray) -> np.ndarray:
    """Columns (B, N) of the rows. Column 0 of the arrays below is a root from which each new row is added."""
    batch, size, _ = costs.shape
    sentence = np.arange(batch)
    row_potential, column_potential = np.zeros((batch, size + 1)), np.zeros((batch, size + 1))
    row_of = np.zeros((batch, size + 1), dtype=np.int64)  # 0 = free, else row + 1
    for row in range(1, size + 1):
        # of all sentences at once, each in its own tree
        row_of[:, 0] = row
        column, parents = _grow_trees(costs, row_of, row_potential, column_potential)
        while column.any():  # the matching moves along the path, back to the root
            parent = np.where(column > 0, parents[sentence, column], 0)
            row_of[sentence, column] = row_of[sentence, parent]
            column = parent
    columns = np.zeros((batch, size), dtype=np.int64)
    np.put_along_axis(columns, row_of[:, 1:] - 1, np.arange(size)[None].repeat(batch, 0), axis=1)
    return columns


def _grow_trees(
    costs: np.ndarray, row_of: np.ndarray, row_potential: np.ndarray, column_potential: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shortest paths from each root to a free column (B,), and from where each column was reached (B, N + 1)."""
    batch, width = row_of.shape
    sentence = np.arange(batch)
    slack = np.full((batch, width), np.inf)
    is_reached, parent = np.zeros((batch, width), dtype=bool), np.zeros((batch, width), dtype=np.int64)
    column = np.zeros(batch, dtype=np.int64)
    while True:
        row = row_of[sentence, column]
        is_open = row > 0  # others have found their free column
        if not is_open.any():
            return column, parent
        is_reached[sentence, column] |= is_open
        reduced = costs[sentence, row - 1] - row_potential[sentence, row, None] - column_potential[:, 1:]
        # a sentence that has found its column is left alone
        is_better = (reduced < slack[:, 1:]) & ~is_reached[:, 1:] & is_open[:, None]
        slack[:, 1:] = np.where(is_better, reduced, slack[:, 1:])
        parent[:, 1:] = np.where(is_better, column[:, None], parent[:, 1:])
        nearest = np.where(is_reached[:, 1:], np.inf, slack[:, 1:]).argmin(axis=1) + 1
        step = np.where(is_open, slack[sentence, nearest], 0.0)[:, None]
        on_tree = np.where(is_reached, step, 0.0)
        rows = row_of * is_reached  # row 0 stands for none, and is raised by nothing
        np.put_along_axis(row_potential, rows, np.take_along_axis(row_potential, rows, axis=1) + on_tree, axis=1)
        # reduced costs on the tree stay 0, which makes the nearest column the end of the shortest path
        column_potential -= on_tree
        slack = np.where(is_reached, slack, slack - step)
        column = np.where(is_open, nearest, column)
