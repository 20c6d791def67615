# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`--smoke`: a recipe from its first stage to its last within a minute, to see that everything is in place."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


SMOKE = "smoke"
"""Name of the flag."""

# A model and a corpus so small that nothing is learnt, and every stage (checkpoint, evaluation, average) is passed.
_VALUES: dict[str, Any] = {
    "max_train_examples": 300,
    "max_valid_examples": 24,
    "vocab_size": 600,
    "d_model": 64,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "attention_heads": 2,
    "ffn_dim": 128,
    "max_steps": 8,
    "max_tokens_per_batch": 1024,
    "gradient_accumulation_steps": 1,
    "warmup_steps": 2,
    "lr_scheduler_type": "constant_with_warmup",
    "lr_scheduler_kwargs": {},
    "rounds": 1,
    "logging_steps": 2,
    "eval_strategy": "steps",
    "eval_steps": 4,
    "save_strategy": "steps",
    "save_steps": 4,
    "early_stopping_patience": None,
    "collapse_patience": 100,
    "num_beams": 1,
    "shard_size": 100,
}


def smoke_values(recipe: Mapping[str, Any], said: Collection[str], known: Collection[str]) -> dict[str, Any]:
    """
    What `--smoke` sets: sizes and counts, and another output folder, so that no real run is touched.

    Args:
        recipe (`Mapping[str, Any]`): values by then.
        said (`Collection[str]`): names on the command line, which win.
        known (`Collection[str]`): names that the command has.
    """
    values = {name: value for name, value in _VALUES.items() if name in known and name not in said}
    if recipe.get("init") is not None or recipe.get("tokenizer") is not None:
        # the vocabulary is there already
        values.pop("vocab_size", None)
    if "output_dir" not in said and recipe.get("output_dir"):
        values["output_dir"] = f"{str(recipe['output_dir']).rstrip('/')}-smoke"
    return values
