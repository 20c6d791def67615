# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Bounds of numbers beyond which a value is an accident; without imports, for what starts without torch."""

# Decoder passes, and candidates: more take days or all memory.
MOST_STEPS = 1000
