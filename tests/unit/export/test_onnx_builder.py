# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The ONNX writer: int8 weights by hand, single operators against numpy and torch, weights stored once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dims_hf.export.onnx_builder import GraphBuilder, WeightStore, _middle_divisor, quantize_rows, to_numpy


ort = pytest.importorskip("onnxruntime", reason="needs the onnx extra")
pytest.importorskip("onnx", reason="needs the onnx extra")


def _run(builder, folder, **inputs):
    builder.store.write(folder)
    path = folder / "graph.onnx"
    path.write_bytes(builder.build("graph").SerializeToString())
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, inputs)


def test_quantize_rows_of_a_small_matrix_matches_hand_computed_values():
    values, scale = quantize_rows(np.array([[0.64, -0.25, 0.014], [0.0, 0.0, 0.0], [-128.0, 4.0, 0.9]], np.float32))
    assert values.tolist() == [[64, -25, 1], [0, 0, 0], [-64, 2, 0]]
    assert scale == pytest.approx([0.01, 1.0, 2.0])
    assert values.dtype == np.int8


@pytest.mark.parametrize(("size", "expected"), [(1, 1), (7, 1), (12, 3), (16, 4), (8000, 80), (32000, 160)])
def test_middle_divisor_divides_and_is_near_the_root(size, expected):
    assert _middle_divisor(size) == expected


@pytest.mark.parametrize("size", [1, 7, 24])
def test_max_and_argmax_with_ties_and_no_rows_are_those_of_numpy(tmp_path, size):
    builder = GraphBuilder(WeightStore("weights.bin"), quantized=False)
    x = builder.input("x", np.float32, ("M", size))
    best, place = builder.max_and_argmax(x, size)
    builder.output("best", best, np.float32, ("M", 1))
    builder.output("place", place, np.int64, ("M", 1))
    values = np.random.default_rng(0).integers(0, 4, (50, size)).astype(np.float32)
    for rows in (values, values[:0]):
        found = _run(builder, tmp_path, x=rows)
        assert found[0].tolist() == rows.max(axis=1, keepdims=True, initial=0).tolist()
        assert found[1].tolist() == rows.argmax(axis=1)[:, None].tolist()


def test_int8_product_of_a_row_depends_on_nothing_but_the_row(tmp_path):
    """Also with a neighbour a thousand times as large, which a scale of the whole batch would drown it in."""
    builder = GraphBuilder(WeightStore("weights.bin"), quantized=True)
    module = torch.nn.Linear(16, 6)
    x = builder.input("x", np.float32, ("M", 16))
    builder.output("y", builder.linear(x, "layer", module), np.float32, ("M", 6))
    rows = np.random.default_rng(1).normal(size=(3, 16)).astype(np.float32)
    (alone,) = _run(builder, tmp_path, x=rows[:1])
    (together,) = _run(builder, tmp_path, x=np.concatenate([rows[:1], 1000 * rows[1:], np.zeros_like(rows)]))
    assert together[0].tolist() == alone[0].tolist()
    assert together[3:] == pytest.approx(np.tile(to_numpy(module.bias), (3, 1)))
    exact = module(torch.from_numpy(rows[:1])).detach().numpy()
    assert 0 < np.abs(alone - exact).max() < 0.02


def test_layer_norm_of_a_graph_is_that_of_torch(tmp_path):
    builder = GraphBuilder(WeightStore("weights.bin"), quantized=False)
    module, bias = torch.nn.LayerNorm(8), torch.arange(8.0)
    torch.nn.init.normal_(module.weight)
    x, residual = (builder.input(name, np.float32, ("M", 8)) for name in ("x", "residual"))
    builder.output("y", builder.layer_norm(x, residual, "norm", module, bias), np.float32, ("M", 8))
    first, second = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    (found,) = _run(builder, tmp_path, x=first.numpy(), residual=second.numpy())
    np.testing.assert_allclose(found, module(first + second + bias).detach().numpy(), atol=1e-5)


def test_either_runs_one_branch_and_its_default_may_be_left_out(tmp_path):
    builder = GraphBuilder(WeightStore("weights.bin"), quantized=False)
    x = builder.input("x", np.float32, ("M",))
    flag = builder.input("flag", np.bool_, (), np.array(True))
    value = builder.either(flag, np.float32, lambda: builder.op("Neg", x), lambda: builder.op("Abs", x))
    builder.output("y", value, np.float32, ("M",))
    values = np.array([-1, 2], np.float32)
    assert _run(builder, tmp_path, x=values)[0].tolist() == [1, -2]
    assert _run(builder, tmp_path, x=values, flag=np.array(False))[0].tolist() == [1, 2]


def test_weight_of_two_graphs_is_stored_once(tmp_path):
    store = WeightStore("weights.bin")
    table = np.arange(2000, dtype=np.float32).reshape(50, 40)
    graphs = [GraphBuilder(store, quantized=False) for _ in range(2)]
    for builder in graphs:
        ids = builder.input("ids", np.int64, ("M",))
        builder.output("rows", builder.embedding(ids, "table", table, 2.0), np.float32, ("M", 40))
    assert _run(graphs[0], tmp_path, ids=np.array([3]))[0].tolist() == (2 * table[[3]]).tolist()
    assert (tmp_path / "weights.bin").stat().st_size == table.nbytes
    assert len(graphs[1].build("other").SerializeToString()) < 1000


def test_int8_product_of_what_is_not_to_be_negative_takes_negative_numbers_for_zero(tmp_path):
    builder = GraphBuilder(WeightStore("weights.bin"), quantized=True)
    module = torch.nn.Linear(32, 8)
    x = builder.input("x", np.float32, ("B", "L", 32))
    y = builder.linear(x, "layer", module, non_negative=True)
    builder.output("y", y, np.float32, ("B", "L", 8))
    values = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(0))
    values[0, 1] = -1e6
    values[1, 2] *= 1e6
    (product,) = _run(builder, tmp_path, x=values.numpy())
    with torch.no_grad():
        expected = module(values.relu())
    # half a step of 1/255 and of 1/64 of the largest, in each of 32 products
    bound = 32 * module.weight.abs().max() * values.relu().amax(dim=-1, keepdim=True) * (0.5 / 255 + 0.5 / 64)
    assert (torch.from_numpy(product) - expected).abs().le(bound + 1e-6).all()
    assert torch.equal(torch.from_numpy(product)[0, 1], module.bias.detach())


@pytest.mark.parametrize("non_negative", [False, True])
def test_int8_product_of_no_rows_is_empty(tmp_path, maxima_of_no_rows, non_negative):
    builder = GraphBuilder(WeightStore("weights.bin"), quantized=True)
    x = builder.input("x", np.float32, ("B", "L", 32))
    y = builder.linear(x, "layer", torch.nn.Linear(32, 8), non_negative=non_negative)
    builder.output("y", y, np.float32, ("B", "L", 8))
    assert _run(builder, tmp_path, x=np.zeros((2, 0, 32), np.float32))[0].shape == (2, 0, 8)


@pytest.mark.parametrize("num_outputs", [53, 64])
def test_columns_of_int8_matrices_come_in_sixteens_and_the_added_ones_are_dropped(tmp_path, num_outputs):
    """Others, ONNX Runtime below 1.25 multiplies wrongly by CPUs with AMX, from 32 rows on."""
    builder = GraphBuilder(WeightStore("weights.bin"), quantized=True)
    module = torch.nn.Linear(32, num_outputs)
    table = np.random.default_rng(0).normal(size=(num_outputs, 32)).astype(np.float32)
    x = builder.input("x", np.float32, ("M", 32))
    builder.output("y", builder.linear(x, "layer", module), np.float32, ("M", num_outputs))
    logits, scale = builder.tied_projection(x, "table", table, np.arange(num_outputs, dtype=np.float32))
    builder.output("logits", logits, np.float32, ("M", num_outputs))
    builder.output("scale", scale, np.float32, ("M", 1))
    matrices = [array for array in builder.store.arrays.values() if array.dtype == np.int8]
    assert [matrix.shape for matrix in matrices] == [(32, 64), (64, 32)]
    values = np.random.default_rng(1).normal(size=(33, 32)).astype(np.float32)
    product, logits, scale = _run(builder, tmp_path, x=values)
    with torch.no_grad():
        np.testing.assert_allclose(product, module(torch.from_numpy(values)).numpy(), atol=0.1)
    expected = values @ table.T + np.arange(num_outputs) * scale
    np.testing.assert_allclose(logits * scale, expected, atol=0.6)


@pytest.mark.parametrize("non_negative", [False, True])
def test_int8_products_of_the_largest_values_do_not_overflow(tmp_path, non_negative):
    """Without VNNI, pairs of products are added in 16 bits; larger weights would lose a tenth of this sum."""
    builder = GraphBuilder(WeightStore("weights.bin"), quantized=True)
    module = torch.nn.Linear(64, 8, bias=False)
    torch.nn.init.constant_(module.weight, 0.5)
    x = builder.input("x", np.float32, ("M", 64))
    y = builder.linear(x, "layer", module, bias=False, non_negative=non_negative)
    builder.output("y", y, np.float32, ("M", 8))
    (product,) = _run(builder, tmp_path, x=np.full((5, 64), 3.0, np.float32))
    assert product == pytest.approx(np.full((5, 8), 96.0), rel=1e-5)
