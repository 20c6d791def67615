# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What this machine can do at best: rates of matrix multiplications by precision, and memory bandwidth."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import numpy as np
import torch

from dims_hf.export.onnx_builder import IR_VERSION, OPSET


# Edge of the square matrices: large enough for the best rate, small enough for a second in all.
_EDGE = {"cpu": 1024, "cuda": 8192}

# Bytes of the buffer that is read; many times any last-level cache.
_BUFFER = {"cpu": 512 << 20, "cuda": 2 << 30}

_TRIES = 5


def synchronize(device: str) -> None:
    """Waits until the device has done what it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def measure_peaks(device: str, *, scale: float = 1.0) -> dict[str, float]:
    """
    Best rates of a device, with the threads torch has now.

    Args:
        device (`str`): torch device.
        scale (`float`): smaller problems, for tests.

    Returns:
        `dict[str, float]`: `fp32`, `bf16`, `fp16`, `int8`, in operations per second of torch's or, on a CPU, ONNX
        Runtime's multiplication, whichever is faster, where either has one; and `bandwidth` in bytes read per second.
    """
    kind = torch.device(device).type
    edge = max(64, int(_EDGE[kind] * scale))
    peaks = {}
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for precision, products in _products(edge, device).items():
            seconds = [_best_seconds(product, device) for product in products]
            if any(seconds):
                # a multiplication and an addition for each of edge³ products
                peaks[precision] = 2 * edge**3 / min(filter(None, seconds))
        # 4 bytes each
        buffer = torch.ones(max(1 << 10, int(_BUFFER[kind] * scale) >> 2), device=device)
        matrix = buffer[: buffer.numel() // 1024 * 1024].view(-1, 1024)
        vector = torch.ones(1024, device=device)
        # which of the two reads faster depends on the library behind the multiplication
        fastest = min(filter(None, (_best_seconds(read, device) for read in (buffer.sum, lambda: matrix @ vector))))
        peaks["bandwidth"] = buffer.numel() * 4 / fastest
    return peaks


def best_peaks(measured: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The highest of each rate over several measurements: a limit is what was reached at best."""
    names = {name for peaks in measured for name in peaks}
    return {name: max(peaks.get(name, 0.0) for peaks in measured) for name in sorted(names)}


def _products(edge: int, device: str) -> dict[str, list[Callable[[], object]]]:
    """Precision to multiplications of square matrices in it."""
    products: dict[str, list[Callable[[], object]]] = {}
    types = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if torch.device(device).type == "cuda":
        types["fp16"] = torch.float16
    for name, dtype in types.items():
        left, right = (torch.ones(edge, edge, device=device).to(dtype) for _ in range(2))
        products[name] = [lambda left=left, right=right: left @ right]
    small = torch.ones(edge, edge, device=device).to(torch.int8)
    products["int8"] = [lambda: torch._int_mm(small, small)]
    if torch.device(device).type == "cpu" and hasattr(torch.ao.quantization, "quantize_dynamic"):
        linear = torch.nn.Sequential(torch.nn.Linear(edge, edge, bias=False))
        quantized, rows = torch.ao.quantization.quantize_dynamic(linear, {torch.nn.Linear}), torch.ones(edge, edge)
        products["int8"].append(lambda: quantized(rows))
    if torch.device(device).type == "cpu":
        # ONNX Runtime's kernels are the faster ones on some processors, torch's on others
        for name, kind, dtype in (("fp32", "MatMul", np.float32), ("int8", "MatMulInteger", np.int8)):
            with suppress(Exception):  # not installed, or of a release that cannot run it: torch's own remains
                products[name].append(_onnx_product(kind, np.ones((edge, edge), dtype)))
    return products


def _onnx_product(kind: str, matrix: np.ndarray) -> Callable[[], object]:
    """Product of as many rows of ones with `matrix` in ONNX Runtime, with the threads torch has now."""
    import onnxruntime
    from onnx import helper, numpy_helper

    # dynamic quantisation has unsigned activations
    rows = np.ones(matrix.shape, np.uint8 if matrix.dtype == np.int8 else matrix.dtype)
    node = helper.make_node(kind, ["rows", "matrix"], ["product"])
    given = helper.make_tensor_value_info("rows", helper.np_dtype_to_tensor_dtype(rows.dtype), rows.shape)
    product = helper.make_tensor_value_info("product", 1 if kind == "MatMul" else 6, None)  # fp32, int32
    graph = helper.make_graph([node], kind, [given], [product], [numpy_helper.from_array(matrix, "matrix")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"rows": rows})


def _best_seconds(call: Callable[[], object], device: str) -> float | None:
    """Shortest of a few calls after one for warming up; `None` where the backend has no such operation."""
    seconds = []
    try:
        for _ in range(_TRIES + 1):
            synchronize(device)
            start = time.perf_counter()
            call()
            synchronize(device)
            seconds.append(time.perf_counter() - start)
    except (RuntimeError, NotImplementedError, AttributeError):
        return None
    # the first call warms up; of the others the least disturbed one counts
    return min(seconds[1:])
