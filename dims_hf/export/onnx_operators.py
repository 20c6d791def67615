# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Operators that PyTorch's exporter has no translation for, written with those of ONNX; imports onnxscript.

Shapes: B batch, L copies, T positions, C candidates, A vertices.
"""

from __future__ import annotations

from typing import Any

import torch
from onnxscript import FLOAT, INT64, opset18, script

from dims_hf.models import crf, decoding_dat, links  # noqa: F401  # they define operators of ours


# Values of a graph are no tensors: what onnxscript says of their types is of no use.
op: Any = opset18


def _sort_stable(self: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """`torch.sort(stable=True)`: of equal values ONNX's TopK, too, has the one with the lower index first."""
    size = op.Gather(op.Shape(self), op.Constant(value_ints=[dim]), axis=0)
    return op.TopK(self, size, axis=dim, largest=int(descending), sorted=1)


@script(default_opset=op)
def _assign_greedily(scores: FLOAT[...], lengths: INT64[...]) -> INT64[...]:  # type: ignore[type-arg, misc]
    """`links.assign_greedily` of scores (B, L, L) and lengths (B,); this loop becomes one of the graph."""
    width = op.Squeeze(op.Shape(scores, start=1, end=2))
    column = op.Range(0, width, 1)
    is_copy = column < op.Unsqueeze(lengths, [1])
    is_taken = op.Not(is_copy)
    order = op.Cast(is_taken, to=7) * 0
    for place in range(width):
        here = op.Gather(scores, place, axis=1)
        # the lowest number, as -inf is no constant of onnxscript's: scores are the lowest at padding alone
        best = op.ArgMax(op.Where(is_taken, -3.4028234663852886e38, here), axis=1, keepdims=1)
        is_place = op.Unsqueeze(op.Gather(is_copy, place, axis=1), [1])
        order = op.Where(op.And(is_place, column == place), best, order)
        is_taken = op.Or(is_taken, op.And(is_place, column == best))
    return order


@script(default_opset=op)
def _crf_choose(
    emissions: FLOAT[...],  # type: ignore[type-arg, misc]
    transitions: FLOAT[...],  # type: ignore[type-arg, misc]
    lengths: INT64[...],  # type: ignore[type-arg, misc]
) -> tuple[INT64[...], FLOAT[...]]:  # type: ignore[type-arg, misc]
    """
    `crf.crf_choose` of emissions (B, T, C), transitions (B, T - 1, C, C) and lengths (B,): forward for the best
    scores, back for the sequence and log β, of which log p(y_t | y_{t−1}) = M + s + log β_t − log β_{t−1}.
    """
    # What a loop carries keeps its name in the graph, whose inputs have the names of states' fields: no `scores`.
    last = op.Squeeze(op.Shape(emissions, start=1, end=2)) - 1
    position = op.Unsqueeze(op.Range(0, last + 1, 1), [0])
    candidate = op.Range(0, op.Squeeze(op.Shape(emissions, start=2, end=3)), 1)
    rows = op.Unsqueeze(lengths, [1])
    reached = op.Squeeze(op.Gather(emissions, [0], axis=1), [1])
    origins = op.Expand(op.Cast(0, to=7), op.Shape(emissions))
    for step in range(last):
        entered = op.Unsqueeze(reached, [2]) + op.Gather(transitions, step, axis=1)
        is_real = step + 1 < rows
        found = op.ReduceMax(entered, [1], keepdims=0) + op.Gather(emissions, step + 1, axis=1)
        reached = op.Where(is_real, found, reached)
        origin = op.Where(is_real, op.ArgMax(entered, axis=1, keepdims=0), candidate)
        origins = op.Where(op.Unsqueeze(position == step + 1, [2]), op.Unsqueeze(origin, [1]), origins)
    place = op.ArgMax(reached, axis=1, keepdims=1)
    places = op.Expand(op.Cast(0, to=7), op.Shape(emissions, start=0, end=2))
    places = op.Where(position == last, place, places)
    gains = op.Cast(places, to=1) * 0.0
    left = reached * 0.0
    left = op.Where(op.IsNaN(left), 0.0, left)
    for count in range(last):
        step = last - 1 - count
        is_real = step + 1 < rows
        ahead = op.Unsqueeze(left + op.Gather(emissions, step + 1, axis=1), [1]) + op.Gather(transitions, step, axis=1)
        peak = op.ReduceMax(ahead, [2], keepdims=1)
        summed = op.Squeeze(peak, [2]) + op.Log(op.ReduceSum(op.Exp(ahead - peak), [2], keepdims=0))
        before = op.GatherElements(op.Gather(origins, step + 1, axis=1), place, axis=1)
        taken = op.GatherND(ahead, op.Concat(before, place, axis=1), batch_dims=1)
        given = op.GatherND(summed, before, batch_dims=1)
        gains = op.Where(position == step + 1, op.Unsqueeze(taken - given, [1]), gains)
        left = op.Where(is_real, summed, left)
        place = before
        places = op.Where(position == step, place, places)
    first = left + op.Squeeze(op.Gather(emissions, [0], axis=1), [1])
    peak = op.ReduceMax(first, [1], keepdims=1)
    total = peak + op.Log(op.ReduceSum(op.Exp(first - peak), [1], keepdims=1))
    gains = op.Where(position == 0, op.GatherElements(first, place, axis=1) - total, gains)
    return op.Where(position < rows, places, 0), op.Where(gains > 0.0, 0.0, gains)


@script(default_opset=op)
def _graph_choose(
    transitions: FLOAT[...],  # type: ignore[type-arg, misc]
    lengths: INT64[...],  # type: ignore[type-arg, misc]
    words: FLOAT[...],  # type: ignore[type-arg, misc]
    length_penalty: float = 1.0,
) -> INT64[...]:  # type: ignore[type-arg, misc]
    """
    `decoding_dat.graph_choose` of transitions (B, A, A), lengths (B,) and words (B, A): forward for the best scores of
    each number of vertices, which are kept, and back along the best of them.
    """
    last = op.Squeeze(op.Shape(words, start=1, end=2)) - 1
    vertex = op.Range(0, last + 1, 1)
    end = op.Unsqueeze(lengths, [1]) - 1
    into = op.Transpose(transitions, perm=[0, 2, 1])
    # the lowest number stands for what cannot be reached
    reached = op.Where(vertex == 0, words, -3.4028234663852886e38)
    kept = op.Expand(op.Unsqueeze(reached, [1]), op.Shape(transitions))
    ends = op.Where(vertex == 0, op.GatherElements(reached, end, axis=1), -3.4028234663852886e38)
    for step in range(last):
        reached = op.ReduceMax(op.Unsqueeze(reached, [1]) + into, [2], keepdims=0) + words
        kept = op.Where(op.Unsqueeze(vertex == step + 1, [1]), op.Unsqueeze(reached, [1]), kept)
        ends = op.Where(vertex == step + 1, op.GatherElements(reached, end, axis=1), ends)
    ranked = ends / op.Pow(op.Cast(vertex + 1, to=1), length_penalty)
    best = op.ArgMax(ranked, axis=1, keepdims=1)
    has_path = op.GatherElements(ends, best, axis=1) > -1e38
    place = end
    path = op.Where(vertex == best, end, -1)
    for count in range(last):
        step = last - count
        is_before = step <= best
        entered = op.Gather(kept, step - 1, axis=1) + op.GatherND(into, place, batch_dims=1)
        place = op.Where(is_before, op.ArgMax(entered, axis=1, keepdims=1), place)
        path = op.Where(op.And(is_before, vertex == step - 1), place, path)
    return op.Where(has_path, path, -1)


# Operators of PyTorch, and of ours, to the functions that write them.
TRANSLATIONS: dict[Any, Any] = {
    torch.ops.aten.sort.stable: _sort_stable,
    torch.ops.dims_hf.assign_greedily.default: _assign_greedily,
    torch.ops.dims_hf.crf_choose.default: _crf_choose,
    torch.ops.dims_hf.graph_choose.default: _graph_choose,
}
