# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The native int8 runtime: one C++ library, called by ctypes; needs numpy and tokenizers only.

Shapes: B batch, S source length, T target length (with `<s>` and `</s>`), A alignment length, K length candidates.
"""

from typing import TYPE_CHECKING

from dims_hf._lazy import lazy_exports


if TYPE_CHECKING:
    from .library import (
        NativeUnavailableError as NativeUnavailableError,
        available_kernels as available_kernels,
        is_available as is_available,
    )
    from .translator import NativeTranslator as NativeTranslator


__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "library": ("NativeUnavailableError", "available_kernels", "is_available"),
        "translator": ("NativeTranslator",),
    },
)
