# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Targets for sources that have none: the teacher's own translations."""

import torch

from dims_hf.models.modeling_translation import NATForConditionalGeneration


@torch.no_grad()
def synthesize_targets(
    teacher: NATForConditionalGeneration,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    *,
    num_iterations: int = 2,
    length_beam_size: int = 1,
    collapse_repeats: bool = False,
) -> torch.Tensor:
    """
    Translates a batch with the teacher, for U-DiMS: what follows treats the translations as references.

    Source: §3.3 of Norouzi et al. 2023 (arXiv 2206.02999): two iterations from a fully masked target. The released
    code discards the result, so that its U-DiMS trains on the references.

    Args:
        teacher (`NATForConditionalGeneration`): the current teacher, in evaluation mode.
        input_ids (`torch.LongTensor` of shape `(B, S)`): sources.
        attention_mask (`torch.Tensor` of shape `(B, S)`): 1 for tokens.
        num_iterations (`int`): decoder passes of each translation.
        length_beam_size (`int`): length candidates.
        collapse_repeats (`bool`): drop tokens equal to their right neighbour.

    Returns:
        `torch.LongTensor` of shape `(B, T)`: `<s> … </s>`, padded with -100 as the collator does.
    """
    targets = teacher.generate(
        input_ids,
        attention_mask,
        num_iterations=num_iterations,
        length_beam_size=length_beam_size,
        num_return_sequences=1,
        collapse_repeats=collapse_repeats,
        return_dict_in_generate=False,
        do_sample=False,
    )
    # An imported model may predict `</s>` or padding inside a sentence; only what follows the last `</s>` is padding.
    is_end = targets == teacher.config.eos_token_id
    # counted from the right: True up to the last `</s>`
    is_token = is_end.flip(1).cumsum(dim=1).flip(1) > 0
    return targets.masked_fill(~is_token, -100)
