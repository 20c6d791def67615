# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Writes the model file that the native library reads; docs/native.md describes it. Needs numpy alone."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dims_hf._output import replacing


MAGIC, VERSION = b"DIMSNAT\n", 1

# Outputs and inputs of a matrix that lie together in 64 bytes, and what a code of zero is stored as.
BLOCK, GROUP, OFFSET = 16, 4, 128

_ALIGNMENT, _LARGEST_CODE = 64, 127


def quantize_rows(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Codes and scales of a matrix: value ≈ scale · code, the largest of each row exactly ±127.

    Args:
        matrix (`np.ndarray` of shape `(outputs, inputs)`): finite.

    Returns:
        Codes (outputs, inputs) in int8, and scales (outputs,) in float32; 0 for a row of zeros.

    Raises:
        ValueError: for a number that is not finite.
    """
    if not np.isfinite(matrix).all():
        raise ValueError("The model has weights that are not finite. Train it again, or take another checkpoint.")
    scales = (np.abs(matrix).max(axis=1) / _LARGEST_CODE).astype(np.float32)
    # a row of zeros has scale 0, and codes of 0
    divisors = np.where(scales > 0, scales, 1)[:, None]
    codes = np.clip(np.rint(matrix / divisors), -_LARGEST_CODE, _LARGEST_CODE).astype(np.int8)
    return codes, scales


def pack_codes(codes: np.ndarray) -> np.ndarray:
    """
    Codes in the order of the kernels: blocks of 16 outputs by 4 inputs, raised by 128.

    Args:
        codes (`np.ndarray` of shape `(outputs, inputs)`): int8; inputs a multiple of 4.

    Returns:
        `np.ndarray` of shape `(blocks, inputs / 4, 16, 4)`: uint8; missing outputs are rows of zeros.
    """
    outputs, inputs = codes.shape
    padded = np.pad(codes, ((0, -outputs % BLOCK), (0, 0)))
    # the instructions multiply unsigned by signed bytes; the kernels subtract what 128 adds
    raised = (padded.astype(np.int16) + OFFSET).astype(np.uint8)
    blocks = raised.reshape(-1, BLOCK, inputs // GROUP, GROUP)
    return np.ascontiguousarray(blocks.transpose(0, 2, 1, 3))


def pack_matrix(
    name: str, matrix: np.ndarray, bias: np.ndarray, *, missing_bias: float = 0.0
) -> dict[str, np.ndarray]:
    """
    Tensors of a matrix by their names in the file.

    Args:
        name (`str`): of the matrix.
        matrix, bias (`np.ndarray` of shape `(outputs, inputs)` and `(outputs,)`): of a linear layer.
        missing_bias (`float`, *optional*): bias of the outputs that fill up the last block.
    """
    codes, scales = quantize_rows(np.asarray(matrix, np.float32))
    pad = (0, -len(matrix) % BLOCK)
    return {
        f"{name}.codes": pack_codes(codes),
        f"{name}.scales": np.pad(scales, pad),
        f"{name}.bias": np.pad(np.asarray(bias, np.float32), pad, constant_values=missing_bias),
    }


def write_model_file(
    path: str | os.PathLike[str], settings: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> None:
    """
    Writes a model file, whole or not at all.

    Args:
        path (`str` or `os.PathLike`): file to write.
        settings (`Mapping`): numbers, booleans and words that the library reads.
        tensors (`Mapping[str, np.ndarray]`): uint8, int32 and float32 arrays.
    """
    entries, blobs, offset = {}, [], 0
    for name, array in tensors.items():
        # little-endian whatever wrote it: the library maps the file as it is
        data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        entries[name] = {"offset": offset, "bytes": len(data)}
        # whole cache lines, which vector loads want
        blobs.append(data.ljust(len(data) + -len(data) % _ALIGNMENT, b"\0"))
        offset += len(blobs[-1])
    data = b"".join(blobs)
    content = {"settings": dict(settings), "tensors": entries, "data_bytes": len(data), "data_crc32": zlib.crc32(data)}
    header = json.dumps(content).encode("ascii")
    prefix = MAGIC + b"".join(number.to_bytes(4, "little") for number in (VERSION, zlib.crc32(header), len(header), 0))
    start = prefix + header
    with replacing(path) as temporary:
        temporary.write_bytes(start.ljust(len(start) + -len(start) % _ALIGNMENT, b"\0") + data)
