# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What an exported folder says of its model, checked where it is opened, whatever runtime it is for."""

from __future__ import annotations

import math
from typing import Any


# Settings that every export has.
_NEEDED = ("vocab_size", "bos_token_id", "pad_token_id", "eos_token_id", "collapse_repeats")
_SIZES = ("vocab_size", "source_vocab_size", "max_position_embeddings", "upsample_ratio")
_COUNTS = (
    "num_iterations", "length_beam_size", "num_return_sequences", "prefix_beam_size", "beam_size", "num_candidates"
)  # fmt: skip
_WEIGHTS = (
    "length_score_weight", "repeat_penalty", "language_model_weight", "token_bonus", "path_length_penalty",
    "word_weight",
)  # fmt: skip
_LARGEST_SIZE = 2**24


def settings_fault(settings: Any) -> str | None:
    """What is impossible in the settings of an export, or `None`; counts have bounds where they are used."""
    if not isinstance(settings, dict):
        return "the settings are no mapping"
    missing = [name for name in _NEEDED if settings.get(name) is None]
    if missing:
        return f"settings lack {missing[0]}"
    # sizes first: ids are compared with one
    for name, value in sorted(settings.items(), key=lambda pair: pair[0] not in _SIZES):
        if value is not None and not _is_possible(name, value, settings["vocab_size"]):
            return f"settings have {name}={value!r}"
    return None


def _is_possible(name: str, value: Any, vocab_size: Any) -> bool:
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if name in _SIZES:
        return is_integer and 1 <= value <= _LARGEST_SIZE
    if name in _COUNTS:
        return is_integer
    if name.endswith("_token_id"):
        return is_integer and isinstance(vocab_size, int) and 0 <= value < vocab_size
    if name in _WEIGHTS:
        return _is_weight(value)
    return name != "collapse_repeats" or isinstance(value, bool)


def _is_weight(value: Any) -> bool:
    """Whether it is a number or the text of one, as of infinity, which JSON lacks."""
    try:
        return not math.isnan(float(value))
    except (TypeError, ValueError):
        return False
