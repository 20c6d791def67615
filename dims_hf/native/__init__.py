# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The native int8 runtime: one C++ library, called by ctypes; needs numpy and tokenizers only.

Shapes: B batch, S source length, T target length (with `<s>` and `</s>`), A alignment length, K length candidates.
"""

from .library import NativeUnavailableError, available_kernels, is_available
from .translator import NativeTranslator


__all__ = ["NativeTranslator", "NativeUnavailableError", "available_kernels", "is_available"]
