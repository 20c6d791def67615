# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Writes ONNX graphs node by node: weights stored once, matrix multiplications in fp32 or int8, attention as one node.

Shapes: M rows of any leading shape, V vocabulary, D hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np


if TYPE_CHECKING:
    import torch
    from onnx import ModelProto
    from torch import nn

# LayerNormalization is of opset 17; with IR version 8, runtimes from 2022 on read the file.
OPSET, IR_VERSION = 17, 8

# Domain of the fused operators of ONNX Runtime.
FUSED = "com.microsoft"

# Largest int8 weight. CPUs without VNNI add two products of an unsigned and a signed byte in 16 bits, which overflow
# from 65 on: 2 · 255 · 64 = 32640 fits. With it, a graph means the same on every CPU.
_LARGEST_WEIGHT = 64

# Ids of a shortlist come in multiples of this, so that their maximum is found in two levels.
LISTED_GROUP = 32

# Columns of an int8 matrix come in multiples of this: others, ONNX Runtime below 1.25 multiplies wrongly by CPUs with
# AMX, from 32 rows on.
INT8_COLUMNS = 16

# Of a row of zeros, which must not be divided by zero.
_SMALLEST_SCALE = 1e-12

# Tensors of fewer bytes stay in the graph, so that tools can read shapes and constants.
_EXTERNAL_BYTES = 1024


class WeightStore:
    """Weights of all graphs of one export, each once, in one file that the graphs refer to."""

    def __init__(self, file_name: str) -> None:
        self.file_name = file_name
        self.arrays: dict[str, np.ndarray] = {}
        self.offsets: dict[str, int] = {}

    def add(self, name: str, array: np.ndarray) -> str:
        """Keeps `array` under `name`; the same name always means the same array."""
        self.arrays.setdefault(name, np.asarray(array, order="C"))
        return name

    def write(self, folder: Path) -> None:
        """Writes the large arrays one after the other, aligned so that they can be mapped into memory."""
        with open(folder / self.file_name, "wb") as file:
            for name, array in self.arrays.items():
                if array.nbytes >= _EXTERNAL_BYTES:
                    # pages, so that the runtime can map a weight instead of reading it
                    file.write(b"\0" * (-file.tell() % 4096))
                    self.offsets[name] = file.tell()
                    file.write(array.tobytes())

    def initializer(self, name: str) -> Any:
        """The tensor as a graph holds it: a reference into the file, or the values where they are few."""
        from onnx import TensorProto, helper, numpy_helper

        array = self.arrays[name]
        # small: the values go into the graph
        if name not in self.offsets:
            return numpy_helper.from_array(array, name)
        tensor = TensorProto(
            name=name, dims=array.shape, data_type=helper.np_dtype_to_tensor_dtype(array.dtype), data_location=1
        )
        reference = {"location": self.file_name, "offset": self.offsets[name], "length": array.nbytes}
        for key, value in reference.items():
            tensor.external_data.add(key=key, value=str(value))
        return tensor


class GraphBuilder:
    """
    One graph under construction. Methods take and return names of values; modules are read, never run.

    Int8 multiplications quantise weights per output channel when the graph is written, activations per row when it
    runs: a row's result then depends on nothing but the row, so neither padding nor the batch changes a translation.

    Args:
        store ([`WeightStore`]): where the weights go.
        quantized (`bool`): int8 matrix multiplications and embedding instead of fp32.
    """

    def __init__(self, store: WeightStore, *, quantized: bool) -> None:
        self.store, self.quantized = store, quantized
        self.nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._used: dict[str, None] = {}
        self._activations: dict[tuple[str, bool], tuple[str, str, str, str]] = {}
        self._count = 0

    def op(self, kind: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        """Adds a node; returns the name of its output, or a list of them where there are several."""
        from onnx import helper

        self._count += 1
        names = [f"{kind}_{self._count}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def either(self, condition: str, dtype: type, then: Callable[[], str], otherwise: Callable[[], str]) -> str:
        """Value of `then` where `condition` (a boolean scalar) holds, else of `otherwise`; only one of them runs."""
        from onnx import helper

        branches, outer = [], self.nodes
        for build in (then, otherwise):
            self.nodes = []
            value = helper.make_tensor_value_info(build(), helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), None)
            branches.append(helper.make_graph(self.nodes, f"branch_{self._count}", [], [value]))
        # branches may read values of the graph around them by name
        self.nodes = outer
        return self.op("If", condition, then_branch=branches[0], else_branch=branches[1])

    def weight(self, name: str, array: np.ndarray) -> str:
        """A weight under the name of its parameter."""
        self._used[name] = None
        return self.store.add(name, array)

    def constant(self, value: Any, dtype: type = np.int64) -> str:
        """A small constant; equal ones are one."""
        array = np.asarray(value, dtype)
        return self.weight(f"constant_{array.dtype}_{array.tolist()}".replace(" ", ""), array)

    def input(self, name: str, dtype: type, shape: tuple, default: np.ndarray | None = None) -> str:
        """An input of the graph; with a `default` it may be left out."""
        from onnx import helper

        self._inputs.append(
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
        )
        # an initializer of the same name is an input's default to ONNX
        return name if default is None else self.weight(name, default)

    def output(self, name: str, value: str, dtype: type, shape: tuple) -> None:
        """Makes a value an output of the graph."""
        from onnx import helper

        # a value may be two outputs, or the input of another node
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
        )

    def linear(self, x: str, name: str, module: nn.Linear, *, bias: bool = True, non_negative: bool = False) -> str:
        """
        `module` applied to the last dimension of `x`.

        Args:
            x (`str`): input (…, D).
            name (`str`): of the module, for its weights.
            module (`nn.Linear`): its weights.
            bias (`bool`): add the bias; without, the next operator does.
            non_negative (`bool`): negative numbers of `x` count as 0, so that in int8 all 256 steps are for others.
        """
        matrix = to_numpy(module.weight)
        if self.quantized:
            values, scale = quantize_columns(matrix)
            product, row_scale = self._int8_product(
                x,
                self.weight(f"{name}.weight.int8", values.T),
                self.weight(f"{name}.weight.scale", scale),
                non_negative=non_negative,
            )
            output = self.op("Mul", self._first_columns(product, len(matrix)), row_scale)
        else:
            output = self.op("MatMul", x, self.weight(f"{name}.weight", matrix.T))
        return self.op("Add", output, self.weight(f"{name}.bias", to_numpy(module.bias))) if bias else output

    def _int8_product(
        self, x: str, matrix: str, scale: str, *, bias: str = "", non_negative: bool = False
    ) -> tuple[str, str]:
        """Product of the divided rows of `x` with an int8 matrix (D, N), and what they were divided by (…, 1)."""
        values, step, zero, row_scale = self._quantize_activation(x, non_negative)
        product = self.op("MatMulIntegerToFloat", values, matrix, step, scale, zero, "", bias, domain=FUSED)
        return product, row_scale

    def _first_columns(self, product: str, count: int) -> str:
        """Without the columns that [`quantize_columns`] has added."""
        if count % INT8_COLUMNS == 0:
            return product
        return self.op("Slice", product, self.constant([0]), self.constant([count]), self.constant([-1]))

    def _quantize_activation(self, x: str, non_negative: bool) -> tuple[str, str, str, str]:
        """`x` in unsigned bytes, their step and zero, and what each row was divided by (…, 1); made once."""
        # queries, keys and values are made of the same states: rounded once
        if (x, non_negative) not in self._activations:
            quantize = self._quantize_non_negative if non_negative else self._quantize_signed
            self._activations[x, non_negative] = quantize(x)
        return self._activations[x, non_negative]

    def _quantize_signed(self, x: str) -> tuple[str, str, str, str]:
        """Rows divided by their largest magnitude, then rounded with one step for all."""
        largest = self.op("ReduceMax", self.op("Abs", x), axes=[-1], keepdims=1)
        row_scale = self.op("Max", largest, self.constant(_SMALLEST_SCALE, np.float32))
        # rows are in [−1, 1] by now, so that one step serves them all
        step, zero = self.constant(1 / 127, np.float32), self.constant(128, np.uint8)
        scaled = self.op("Mul", x, self.op("Reciprocal", row_scale))
        return self.op("QuantizeLinear", scaled, step, zero), step, zero, row_scale

    def _quantize_non_negative(self, x: str) -> tuple[str, str, str, str]:
        """
        Rows rounded with a step of their own, which saves writing them once more. Worth its additional nodes for the
        wide inner states of feed-forwards alone.
        """
        largest = self.op("ReduceMax", x, axes=[-1], keepdims=1)
        largest = self.op("Max", largest, self.constant(_SMALLEST_SCALE, np.float32))
        step = self.op("Mul", largest, self.constant(1 / 255, np.float32))
        rows, steps = self.op("Flatten", x, axis=-1), self.op("Reshape", step, self.constant([-1]))
        values = self.op("QuantizeLinear", rows, steps, axis=0)
        values = self.op("Reshape", values, self.op("Shape", x), allowzero=1)
        return values, self.constant(1, np.float32), self.constant(0, np.uint8), step

    def embedding(self, ids: str, name: str, matrix: np.ndarray, factor: float = 1.0) -> str:
        """Rows of a table (V, D) times a constant."""
        if not self.quantized:
            rows = self.op("Gather", self.weight(name, matrix), ids)
            return rows if factor == 1 else self.op("Mul", rows, self.constant(factor, np.float32))
        values, scale = quantize_columns(matrix)
        rows = self.op("Cast", self.op("Gather", self.weight(f"{name}.int8", values), ids), to=1)
        step = self.weight(f"{name}.scale.embedding", (scale * np.float32(factor))[:, None])
        return self.op("Mul", rows, self.op("Gather", step, ids))

    def tied_projection(self, x: str, name: str, matrix: np.ndarray, bias: np.ndarray) -> tuple[str, str | None]:
        """
        Products of `x` (M, D) with every row of the table that `embedding` stored, plus a bias that only excludes.

        Returns:
            `tuple`: logits (M, V), in int8 each row still to be multiplied by the second value (M, 1).
        """
        if not self.quantized:
            return self.op("Gemm", x, self.weight(name, matrix), self.weight(f"{name}.excluded", bias), transB=1), None
        values, scale = quantize_columns(matrix)
        # of the embedding's own table, which is stored once
        transposed = self.op("Transpose", self.weight(f"{name}.int8", values), perm=[1, 0])
        scale, bias = self.weight(f"{name}.scale", scale), self.weight(f"{name}.excluded", _whole_columns(bias))
        product, row_scale = self._int8_product(x, transposed, scale, bias=bias)
        return self._first_columns(product, len(matrix)), row_scale

    def listed_projection(self, x: str, name: str, matrix: np.ndarray, ids: str) -> tuple[str, str | None]:
        """
        Products of `x` (M, D) with the rows `ids` (C,) of the table that `embedding` stored; C a multiple of 16.

        Returns:
            `tuple`: logits (M, C), in int8 each row still to be multiplied by the second value (M, 1).
        """
        if not self.quantized:
            return self.op("Gemm", x, self.op("Gather", self.weight(name, matrix), ids), transB=1), None
        values, scale = quantize_columns(matrix)
        rows = self.op("Gather", self.weight(f"{name}.int8", values), ids)
        step = self.op("Gather", self.weight(f"{name}.scale", scale), ids)
        return self._int8_product(x, self.op("Transpose", rows, perm=[1, 0]), step)

    def layer_norm(self, x: str, residual: str, name: str, module: nn.LayerNorm, bias: torch.Tensor) -> str:
        """
        Layer norm of `x` plus the bias that its product left out plus the residual stream, all (…, D).

        Written out: ONNX Runtime's fused operators for it run one number at a time on the CPU, these vectorised.
        """
        scale, shift = (self.weight(f"{name}.{part}", to_numpy(getattr(module, part))) for part in ("weight", "bias"))
        # in the order of PyTorch's additions, for the same roundings
        x = self.op("Add", self.op("Add", x, self.weight(f"{name}.added_bias", to_numpy(bias))), residual)
        centred = self.op("Sub", x, self.op("ReduceMean", x, axes=[-1]))
        variance = self.op("ReduceMean", self.op("Mul", centred, centred), axes=[-1])
        deviation = self.op("Sqrt", self.op("Add", variance, self.constant(module.eps, np.float32)))
        return self.op("Add", self.op("Mul", self.op("Div", centred, deviation), scale), shift)

    def max_and_argmax(self, x: str, size: int | None) -> tuple[str, str]:
        """
        Largest value of each row of `x` (M, size) and its column, both (M, 1).

        In two levels where `size` has a divisor to group by: a maximum is several times as fast as its place. `None`
        stands for any multiple of `LISTED_GROUP`.
        """
        group = LISTED_GROUP if size is None else _middle_divisor(size)
        shape = self._grouped_shape(x, group) if size is None else self.constant([0, size // group, group])
        groups = self.op("Reshape", x, shape)
        best = self.op("ReduceMax", groups, axes=[2], keepdims=0)
        # the first of equal groups, and below the first inside it: the lowest column, as PyTorch
        place = self.op("ArgMax", best, axis=1, keepdims=1)
        inside = self.op("ArgMax", self.op("GatherND", groups, place, batch_dims=1), axis=1, keepdims=1)
        column = self.op("Add", self.op("Mul", place, self.constant(group)), inside)
        return self.op("ReduceMax", best, axes=[1], keepdims=1), column

    def _grouped_shape(self, x: str, group: int) -> str:
        """Shape of `x` (M, N) with its columns in groups: (0, N / group, group), where 0 means M."""
        count = self.op("Div", self.op("Shape", x, start=1), self.constant([group]))
        # Not a Concat, which ONNX Runtime turns into (0, -1, group): that is refused where M is 0.
        return self.op("Add", self.op("Mul", count, self.constant([0, 1, 0])), self.constant([0, 0, group]))

    def build(self, name: str) -> ModelProto:
        """The graph as a model; call it when the store has been written."""
        from onnx import helper

        initializers = [self.store.initializer(used) for used in self._used]
        graph = helper.make_graph(self.nodes, name, self._inputs, self._outputs, initializers)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(FUSED, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="dims_hf")


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """A parameter in fp32 on the CPU."""
    return tensor.detach().float().cpu().numpy()


def quantize_rows(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Symmetric int8 with one scale per row (one per output of a product, one per token of an embedding).

    Args:
        matrix (`np.ndarray` of shape `(N, D)`): fp32.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: int8 values (N, D) in [-64, 64] and fp32 scales (N,); a row of zeros has
        scale 1.
    """
    largest = np.abs(matrix).max(axis=1, initial=0.0)
    scale = np.where(largest > 0, largest / _LARGEST_WEIGHT, 1).astype(np.float32)
    return np.rint(matrix / scale[:, None]).astype(np.int8), scale


def quantize_columns(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[`quantize_rows`] for the columns of a product, with zeros up to a multiple of `INT8_COLUMNS` of them."""
    values, scale = quantize_rows(matrix)
    return _whole_columns(values), _whole_columns(scale)


def _whole_columns(array: np.ndarray) -> np.ndarray:
    """`array` (N, …) with zeros after its last row, up to a multiple of `INT8_COLUMNS` rows: columns, transposed."""
    return np.pad(array, [(0, -len(array) % INT8_COLUMNS)] + [(0, 0)] * (array.ndim - 1))


def _middle_divisor(size: int) -> int:
    """The divisor of `size` nearest to its square root from below, 1 for a prime."""
    return next(divisor for divisor in range(int(size**0.5), 0, -1) if size % divisor == 0)
