# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Text in, text out: loading models, batches by budget, decoding, order restored."""

from dims_hf.translation.loading import load_model
from dims_hf.translation.sentences import Timing, Translation, translate, translate_timed


__all__ = [
    "Timing",
    "Translation",
    "load_model",
    "translate",
    "translate_timed",
]
