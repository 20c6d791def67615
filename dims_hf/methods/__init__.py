# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Training methods: what each masks, counts and computes; one file per method, and a line in `METHODS`."""

from dims_hf.methods.base import Distillation, Method, Sourced
from dims_hf.methods.presets import preset_values, published_presets
from dims_hf.methods.registry import DEFAULT_METHODS, METHODS, find_method


__all__ = [
    "DEFAULT_METHODS",
    "METHODS",
    "PRESETS",
    "Distillation",
    "Method",
    "Sourced",
    "find_method",
    "preset_values",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    """`PRESETS`, which needs every method, when it is first asked for."""
    if name == "PRESETS":
        globals()[name] = published_presets()
        return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
