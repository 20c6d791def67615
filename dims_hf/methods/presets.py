# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Published hyper-parameters under names: `preset: paper_dims` in a recipe; the values stand with their methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dims_hf.methods.base import Sourced
from dims_hf.methods.registry import all_methods


def published_presets() -> dict[str, Mapping[str, Sourced]]:
    """Name of every preset -> setting -> value and source; of all methods."""
    presets: dict[str, Mapping[str, Sourced]] = {}
    for _, method in all_methods():
        presets.update(method.__dict__.get("published", {}))
    return presets


def preset_values(name: str) -> dict[str, Any]:
    """
    The settings of a preset, without their sources.

    ```python
    >>> from dims_hf import DiMSConfig, preset_values
    >>> DiMSConfig(output_dir="runs/student", **preset_values("released_dims_cmlmc_full_mask")).teacher_iterations
    4

    ```

    Raises:
        ValueError: for a name that is none.
    """
    presets = published_presets()
    if name not in presets:
        raise ValueError(f"There is no preset {name!r}. Use one of {', '.join(presets)}.")
    return {field: sourced.value for field, sourced in presets[name].items()}
