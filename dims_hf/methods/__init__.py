# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Training methods: what each masks, counts and computes."""

from dims_hf.methods.presets import PRESETS, preset_values


__all__ = [
    "PRESETS",
    "preset_values",
]
