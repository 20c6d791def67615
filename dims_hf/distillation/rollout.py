# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The teacher's n iterations on a partially masked reference, and the labels they leave.

Shapes: B batch, S source length, T target length, M masked positions of the reference, V vocabulary, D hidden.
"""

from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from dims_hf.models.generation_nat import choose_tokens
from dims_hf.models.masking import remaining_teacher_masks, select_lowest


LABEL_MODES = ("auto", "frozen", "last")


@dataclass
class TeacherRollout:
    """
    Labels of a rollout; packed rows follow `masked_target_ids == mask` in row-major order.

    Args:
        logits (`torch.Tensor` of shape `(M, V)`): soft labels before temperature and softmax.
        hidden_states (`torch.Tensor` of shape `(M, D)`): teacher's last decoder layer where the labels were taken.
        tokens (`torch.LongTensor` of shape `(B, T)`): the reference with all masks filled in.
        history (`list[torch.LongTensor]`): tokens (B, T) after each pass, masks included.
    """

    logits: torch.Tensor
    hidden_states: torch.Tensor
    tokens: torch.LongTensor
    history: list[torch.LongTensor] = field(default_factory=list)


def resolve_label_mode(label_mode: str, update_all_positions: bool) -> str:
    """
    `auto` follows the model's own inference rule: models that correct themselves label in the last pass.

    Raises:
        ValueError: for an unknown mode.
    """
    if label_mode not in LABEL_MODES:
        raise ValueError(f"label_mode must be one of {', '.join(LABEL_MODES)}, got {label_mode!r}.")
    if label_mode == "auto":
        return "last" if update_all_positions else "frozen"
    return label_mode


@torch.no_grad()
def roll_out_teacher(
    teacher: PreTrainedModel,
    input_ids: torch.LongTensor,
    attention_mask: torch.Tensor,
    masked_target_ids: torch.LongTensor,
    *,
    num_iterations: int = 2,
    label_mode: str = "auto",
) -> TeacherRollout:
    """
    Runs n teacher passes over the masked tokens of the reference and collects one soft label for each.

    After pass s, ⌊s·u/n⌋ of a sentence's u masked tokens are revealed, most confident first. `frozen`: a token's label
    and hidden state are those of the pass that revealed it, and it stays (§3.1 of Norouzi et al. 2023). `last`: every
    pass predicts all u tokens again and the labels are the last pass's (what the reference implementation does).

    Args:
        teacher (`PreTrainedModel`): in evaluation mode.
        input_ids (`torch.LongTensor` of shape `(B, S)`): source, encoded once for all passes.
        attention_mask (`torch.Tensor` of shape `(B, S)`): non-zero for tokens.
        masked_target_ids (`torch.LongTensor` of shape `(B, T)`): reference with masks, padded with `pad_token_id`.
        num_iterations (`int`): n, at least 1.
        label_mode (`str`): `auto`, `frozen` or `last`.

    Returns:
        [`TeacherRollout`].

    Raises:
        ValueError: for an unknown mode or fewer than one iteration.
    """
    if num_iterations < 1:
        raise ValueError(f"teacher_iterations must be >= 1, got {num_iterations}. The paper uses 2.")
    config = teacher.config
    freezes = resolve_label_mode(label_mode, config.update_all_positions) == "frozen"
    is_target = masked_target_ids.ne(config.pad_token_id)
    is_masked = masked_target_ids == config.mask_token_id  # masked in the reference: the M positions to label
    num_masked = is_masked.sum(dim=1)
    encoder_hidden = teacher.model.encoder(input_ids, attention_mask, return_dict=True).last_hidden_state
    cross_key_values = teacher.model.decoder.project_cross_key_values(encoder_hidden)
    suppressed_ids = teacher.suppressed_token_ids()

    tokens, is_open = masked_target_ids, is_masked  # open: to be predicted by the next pass
    scores = torch.zeros(tokens.shape, device=tokens.device)
    hypotheses, label_logits, label_hidden, history = tokens, None, None, []
    for num_passes in range(1, num_iterations + 1):
        hidden = teacher.model.decoder(
            tokens,
            is_target,
            encoder_hidden_states=encoder_hidden,
            encoder_attention_mask=attention_mask,
            cross_key_values=cross_key_values,
            return_dict=True,
        ).last_hidden_state[is_open]
        logits = teacher.project_vocabulary(hidden)
        predictions, log_probs = choose_tokens(logits, suppressed_ids)
        hypotheses = hypotheses.masked_scatter(is_open, predictions)
        scores = scores.masked_scatter(is_open, log_probs)
        num_left = remaining_teacher_masks(num_masked, num_passes, num_iterations)
        is_left = select_lowest(scores, is_open, num_left)
        # Labels of positions still open are overwritten by a later pass; those revealed here keep them when frozen.
        if label_logits is None:
            label_logits, label_hidden = logits, hidden
        else:
            rows = is_open[is_masked]
            label_logits[rows], label_hidden[rows] = logits, hidden
        tokens = hypotheses.masked_fill(is_left, config.mask_token_id)
        history.append(tokens)
        is_open = is_left if freezes else is_masked
    return TeacherRollout(label_logits, label_hidden, tokens, history)
