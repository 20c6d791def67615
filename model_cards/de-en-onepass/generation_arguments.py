# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Arguments of transformers' `generate()` that mean nothing here: harmless values pass, others are told our name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import GenerationConfig


# What transformers' Seq2SeqTrainer passes along; none of it has a meaning here.
TRAINER_ARGUMENTS = ("labels", "decoder_input_ids", "synced_gpus")
# Limits of the output's length, which are met or not once it is known.
LENGTH_LIMITS = ("max_length", "max_new_tokens", "min_length", "min_new_tokens")


def _is_one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: any(value is known or (value == known and type(value) is not bool) for known in values)


def _is_anything(value: Any) -> bool:
    return True


# name -> (whether a value changes nothing, what to use instead)
NEUTRAL: dict[str, tuple[Callable[[Any], bool], str]] = {
    "num_beams": (_is_one_of(1), "length_beam_size decodes several lengths, prefix_beam_size alignments"),
    "num_beam_groups": (_is_one_of(1), "length_beam_size decodes several lengths"),
    "diversity_penalty": (_is_one_of(0.0), "length_beam_size decodes several lengths"),
    "length_penalty": (_is_one_of(1.0), "length_score_weight weighs the lengths"),
    "repetition_penalty": (_is_one_of(1.0), "repeat_penalty penalises equal neighbours"),
    "encoder_repetition_penalty": (_is_one_of(1.0), "repeat_penalty penalises equal neighbours"),
    "no_repeat_ngram_size": (_is_one_of(0), "repeat_penalty penalises equal neighbours"),
    "encoder_no_repeat_ngram_size": (_is_one_of(0), "repeat_penalty penalises equal neighbours"),
    "top_k": (_is_one_of(0, 50), "temperature shapes samples"),
    "top_p": (_is_one_of(1.0), "temperature shapes samples"),
    "typical_p": (_is_one_of(1.0), "temperature shapes samples"),
    "epsilon_cutoff": (_is_one_of(0.0), "temperature shapes samples"),
    "eta_cutoff": (_is_one_of(0.0), "temperature shapes samples"),
    "force_words_ids": (_is_one_of(), "forced_phrases puts phrases into translations"),
    "bad_words_ids": (_is_one_of(), "the model's suppressed_token_ids() are all that is excluded"),
    "suppress_tokens": (_is_one_of(), "the model's suppressed_token_ids() are all that is excluded"),
    "output_attentions": (_is_one_of(False), "call the model itself for that"),
    "output_hidden_states": (_is_one_of(False), "call the model itself for that"),
    "output_logits": (_is_one_of(False), "output_scores gives the log-probability of each token"),
    "streamer": (_is_one_of(), "callback sees the state after each pass"),
    "use_cache": (_is_anything, ""),
    "early_stopping": (_is_anything, ""),
    "renormalize_logits": (_is_anything, ""),
    "remove_invalid_values": (_is_anything, ""),
    "decoder_start_token_id": (_is_anything, ""),
    "forced_bos_token_id": (_is_anything, ""),
    "forced_eos_token_id": (_is_anything, ""),
}


def drop_neutral(arguments: dict[str, Any]) -> dict[str, Any]:
    """
    The arguments of a call without those that change nothing; limits of the length stay.

    Raises:
        ValueError: for an argument of autoregressive decoding whose value asks for something; names what to use here.
    """
    kept = {}
    for name, value in arguments.items():
        # `None` is transformers' "not given"
        if name in TRAINER_ARGUMENTS or (name in NEUTRAL and value is None):
            continue
        if name not in NEUTRAL:
            kept[name] = value
        elif not NEUTRAL[name][0](value):
            raise ValueError(
                f"generate() does not know {name}={value!r}: these models do not write from left to right. Leave it "
                f"out; {NEUTRAL[name][1]}."
            )
    return kept


def check_generation_config(config: GenerationConfig | None) -> dict[str, Any]:
    """
    Limits of the length that a given generation config holds, once nothing else in it asks for the impossible.

    Raises:
        ValueError: as [`drop_neutral`].
    """
    if config is None:
        return {}
    if not isinstance(config, GenerationConfig):
        raise ValueError(
            f"generation_config must be a GenerationConfig, got {type(config).__name__}. Give settings by keyword."
        )
    asked = {name: value for name, value in config.to_diff_dict().items() if name in (*NEUTRAL, *LENGTH_LIMITS)}
    return drop_neutral(asked)


def check_length_limits(limits: dict[str, Any], width: int) -> None:
    """
    Refuses limits that a result of `width` tokens, `<s>` and `</s>` counted, does not keep.

    Raises:
        ValueError: the length is decided before the first pass, so that nothing can be cut off.
    """
    # `<s>` is what decoding starts from, and not new
    sizes = {"max_length": width, "min_length": width, "max_new_tokens": width - 1, "min_new_tokens": width - 1}
    for name, limit in limits.items():
        if limit is None:
            continue
        if (sizes[name] > limit) if name.startswith("max") else (limit > 0 and sizes[name] < limit):
            raise ValueError(
                f"generate() does not know {name}={limit!r} as a limit that changes the result, which has "
                f"{sizes[name]} tokens: these models fix the length first. Leave it out, or give target_lengths."
            )


__all__ = ["LENGTH_LIMITS", "check_generation_config", "check_length_limits", "drop_neutral"]
