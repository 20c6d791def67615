# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""
Int8 for traced graphs: matrix multiplications with weights, and embeddings, as the hand-built graphs have them.

Weights get a scale per output channel, activations one per row: a row's result depends on nothing but the row, so that
neither padding nor the batch changes a translation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .onnx_builder import FUSED, INT8_COLUMNS, quantize_columns


if TYPE_CHECKING:
    from collections.abc import Iterable

    from onnx_ir import Graph, Model, Node, Value

# Smaller matrices have nothing to gain.
_FEWEST_ROWS = 8

# Of a row of zeros, which must not be divided by zero.
_SMALLEST_SCALE = 1e-12


def quantize_models(models: Iterable[Model]) -> None:
    """
    Replaces, in place, multiplications by constant matrices (D, N), and look-ups in tables that are multiplied by too.

    What is a result of a graph itself stays as it is: all tokens hang on the predicted length. Weights that several
    graphs share must have one name.
    """
    models = list(models)
    nodes = [node for model in models for node in model.graph]
    looked_up = {node.inputs[0].name for node in nodes if node.op_type == "Gather"}
    tables = {node.inputs[1].name for node in nodes if node.op_type == "Gemm"} & looked_up
    for model in models:
        _Quantizer(model.graph, tables).run()
        model.opset_imports[FUSED] = 1


class _Quantizer:
    """One graph; `tables` are the names of the weights that are embeddings and projections in one."""

    def __init__(self, graph: Graph, tables: set[str]) -> None:
        self.graph, self.tables = graph, tables
        self.activations: dict[Value, tuple[Value, Value]] = {}
        self.constants: dict[str, Value] = {}

    def run(self) -> None:
        # a copy, since nodes are replaced on the way
        for node in list(self.graph):
            if self._is_product(node):
                self._replace_product(node)
        for node in list(self.graph):
            if node.op_type == "Gather" and node.inputs[0].name in self.tables:
                self._replace_embedding(node)
        for name, value in list(self.graph.initializers.items()):
            # the fp32 weights, which nothing multiplies by any more
            if not value.uses() and not value.is_graph_output():
                del self.graph.initializers[name]

    def _is_product(self, node: Node) -> bool:
        # results of the graph itself, such as length logits, stay exact
        if node.op_type not in ("MatMul", "Gemm") or any(output.is_graph_output() for output in node.outputs):
            return False
        plain = {"alpha": 1.0, "beta": 1.0, "transA": 0}
        if any(name in node.attributes and node.attributes[name].value != value for name, value in plain.items()):
            return False
        matrix = node.inputs[1].const_value
        return matrix is not None and matrix.shape.rank() == 2 and min(matrix.shape.numpy()) >= _FEWEST_ROWS

    def _replace_product(self, node: Node) -> None:
        x, matrix, *bias = node.inputs
        is_transposed = "transB" in node.attributes and bool(node.attributes["transB"].value)
        weight, scale = self._weight(matrix, is_transposed, node)
        values, row_scale = self._activation(x, node)
        step, zero = self._constant(1 / 127, np.float32), self._constant(128, np.uint8)
        product = self._add(node, "MatMulIntegerToFloat", values, weight, step, scale, zero, domain=FUSED)
        count = matrix.const_value.shape.numpy()[0 if is_transposed else 1]
        if count % INT8_COLUMNS:
            bounds = (self._constant([number], np.int64) for number in (0, count, -1))
            product = self._add(node, "Slice", product, *bounds)
        result = self._add(node, "Mul", product, row_scale)
        if bias and bias[0] is not None:
            result = self._add(node, "Add", result, bias[0])
        self._replace(node, result)

    def _weight(self, matrix: Value, is_transposed: bool, node: Node) -> tuple[Value, Value]:
        """
        Int8 matrix (D, N) and scales (N,), with N up to a multiple of 16; a table that is also looked up is kept as it
        is, and turned here.
        """
        array = matrix.const_value.numpy()
        if is_transposed and matrix.name in self.tables:
            table, scales = self._table(matrix)
            return self._add(node, "Transpose", table, perm=[1, 0]), scales
        values, scale = quantize_columns(array if is_transposed else array.T)
        transposed = self._initializer(f"{matrix.name}.int8.transposed", np.ascontiguousarray(values.T))
        return transposed, self._initializer(f"{matrix.name}.scale", scale)

    def _table(self, matrix: Value) -> tuple[Value, Value]:
        """Int8 rows (V, D) and their scales (V,), rows of zeros after them up to a multiple of 16."""
        values, scale = quantize_columns(matrix.const_value.numpy())
        return self._initializer(f"{matrix.name}.int8", values), self._initializer(f"{matrix.name}.scale", scale)

    def _activation(self, x: Value, node: Node) -> tuple[Value, Value]:
        """`x` in unsigned bytes with one step for all, and what each row was divided by."""
        # queries, keys and values are made of the same states: rounded once
        if x not in self.activations:
            axes = self._constant([-1], np.int64)
            largest = self._add(node, "ReduceMax", self._add(node, "Abs", x), axes, keepdims=1)
            row_scale = self._add(node, "Max", largest, self._constant(_SMALLEST_SCALE, np.float32))
            scaled = self._add(node, "Mul", x, self._add(node, "Reciprocal", row_scale))
            step, zero = self._constant(1 / 127, np.float32), self._constant(128, np.uint8)
            self.activations[x] = self._add(node, "QuantizeLinear", scaled, step, zero), row_scale
        return self.activations[x]

    def _replace_embedding(self, node: Node) -> None:
        matrix, ids = node.inputs
        table, scale = self._table(matrix)
        rows = self._add(node, "Gather", table, ids)
        scales = self._initializer(f"{matrix.name}.scale.embedding", scale.const_value.numpy()[:, None])
        picked = self._add(node, "Gather", scales, ids)
        self._replace(node, self._add(node, "Mul", self._add(node, "Cast", rows, to=1), picked))

    def _add(self, before: Node, kind: str, *inputs: Value, domain: str = "", **attributes: Any) -> Value:
        from onnx_ir import node as make_node

        added = make_node(kind, list(inputs), attributes or None, domain=domain)
        self.graph.insert_before(before, added)
        return added.outputs[0]

    def _replace(self, node: Node, result: Value) -> None:
        for use in list(node.outputs[0].uses()):
            use.node.replace_input_with(use.idx, result)
        self.graph.remove(node, safe=True)

    def _initializer(self, name: str, array: np.ndarray) -> Value:
        import onnx_ir

        if name not in self.graph.initializers:
            tensor = onnx_ir.tensor(array, name=name)
            value = onnx_ir.Value(name=name, shape=tensor.shape, type=onnx_ir.TensorType(tensor.dtype))
            value.const_value = tensor
            self.graph.register_initializer(value)
        return self.graph.initializers[name]

    def _constant(self, value: Any, dtype: type) -> Value:
        array = np.asarray(value, dtype)
        return self._initializer(f"constant_{array.dtype}_{array.tolist()}".replace(" ", ""), array)
