# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What only some releases of ONNX Runtime can do."""

from __future__ import annotations

import pytest


@pytest.fixture
def maxima_of_no_rows():
    """Skips where ONNX Runtime gives the maxima of no rows the shape of what they are the maxima of."""
    runtime = pytest.importorskip("onnxruntime", reason="needs the onnx extra")
    if tuple(map(int, runtime.__version__.split(".")[:2])) < (1, 32):
        pytest.skip("needs onnxruntime>=1.32, which Python 3.10 has not")
