# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The teacher's n iterations on a partially masked reference, and the labels they leave.

Shapes: B batch, S source length, T target length, M masked positions of the reference, V vocabulary, D hidden.
"""

from dataclasses import dataclass
from functools import cached_property

import torch

from dims_hf.models.configuration_nat import NATConfig
from dims_hf.models.masking import (
    find_blocks,
    rank_by_score,
    rank_in_blocks,
    remaining_teacher_masks,
    see_surer,
    select_lowest,
)
from dims_hf.models.modeling_translation import NATForConditionalGeneration
from dims_hf.objectives import ProjectedVocabulary
from dims_hf.objectives.projection import computing_dtype


LABEL_MODES = ("auto", "frozen", "last")

# What a teacher reveals first: its most confident predictions, or any.
REVEAL_ORDERS = ("confidence", "random")


@dataclass
class TeacherRollout:
    """
    Labels of a rollout; packed rows follow `is_open` in row-major order.

    What training may not need is computed when it is first asked for; ask before the teacher's weights change.

    Args:
        hidden_states (`torch.Tensor` of shape `(M, D)`): teacher's last decoder layer where the labels were taken.
        teacher (`NATForConditionalGeneration`): whose labels these are.
        masked_target_ids (`torch.LongTensor` of shape `(B, T)`): the reference with masks.
        is_open (`torch.BoolTensor` of shape `(B, T)`): the M positions that have labels.
        partial_tokens (`list[torch.LongTensor]`): tokens (B, T) after each pass but the last.
        dtype (`torch.dtype`): precision of the vocabulary projection.
    """

    hidden_states: torch.Tensor
    teacher: NATForConditionalGeneration
    masked_target_ids: torch.Tensor
    is_open: torch.Tensor
    partial_tokens: list[torch.Tensor]
    dtype: torch.dtype

    @cached_property
    def logits(self) -> torch.Tensor:
        """Soft labels before temperature and softmax: (M, V)."""
        with torch.no_grad(), _precision(self.hidden_states, self.dtype):
            return self.teacher.project_vocabulary(self.hidden_states)

    @cached_property
    def tokens(self) -> torch.Tensor:
        """The reference with all masks filled in, each by its label's most likely token: (B, T)."""
        with torch.no_grad(), _precision(self.hidden_states, self.dtype):
            predictions, _ = _choose_tokens(self.teacher, self.hidden_states)
        return self.masked_target_ids.masked_scatter(self.is_open, predictions)

    @property
    def history(self) -> list[torch.Tensor]:
        """Tokens (B, T) after each pass, masks included."""
        return [*self.partial_tokens, self.tokens]


def _precision(states: torch.Tensor, dtype: torch.dtype) -> torch.autocast:
    """Autocast as it was where `dtype` was noted, whatever it is now."""
    return torch.autocast(states.device.type, dtype, enabled=dtype != states.dtype)


def _choose_tokens(teacher: NATForConditionalGeneration, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Most likely tokens and their log-probabilities, both (M,), for states (M, D); logits exist chunk by chunk."""
    return ProjectedVocabulary.of(teacher, hidden).choose(teacher.suppressed_token_ids())


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
    teacher: NATForConditionalGeneration,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    masked_target_ids: torch.Tensor,
    *,
    num_iterations: int = 2,
    label_mode: str = "auto",
    steps_ahead: int | None = None,
    reveal_scores: torch.Tensor | None = None,
    block_sizes: torch.Tensor | None = None,
    is_open: torch.Tensor | None = None,
) -> TeacherRollout:
    """
    Runs n teacher passes over the masked tokens of the reference and collects one soft label for each.

    After pass s, ⌊s·u/n⌋ of a sentence's u masked tokens are revealed, most confident first. `frozen`: a token's label
    and hidden state are those of the pass that revealed it, and it stays (§3.1 of Norouzi et al. 2023). `last`: every
    pass predicts all u tokens again and the labels are the last pass's (what the reference implementation does).

    An Imputer's reference is a partially masked alignment, revealed block by block (released code): the rule above
    holds in each block, except that the last position of a block is revealed first.

    A DisCo reveals nothing: after the first pass, every open position sees what is not open and the tokens of those
    open ones that were surer in the first pass (its own decoding); all passes predict all, and labels are the last's.
    So do those of iterative refinement, whose positions see all.

    Args:
        teacher (`NATForConditionalGeneration`): in evaluation mode.
        input_ids (`torch.LongTensor` of shape `(B, S)`): source, encoded once for all passes.
        attention_mask (`torch.Tensor` of shape `(B, S)`): non-zero for tokens.
        masked_target_ids (`torch.LongTensor` of shape `(B, T)`): reference with masks, padded with `pad_token_id`.
        num_iterations (`int`): n, at least 1.
        label_mode (`str`): `auto`, `frozen` or `last`.
        steps_ahead (`int`, *optional*): passes that are made, of the n that are planned: a token that none of them
            reveals is labelled by the last (SDTT, Deschenaux and Gulcehre 2024, arXiv 2410.21035); default n.
        reveal_scores (`torch.Tensor` of shape `(B, T)`, *optional*): order in which predictions are revealed, the
            highest first, in place of their log-probabilities; below 0.
        block_sizes (`torch.LongTensor` of shape `(B,)`, *optional*): of an Imputer, positions of each sentence's
            blocks; default: the sentence is one block of which no position comes first.
        is_open (`torch.BoolTensor` of shape `(B, T)`, *optional*): positions to predict; default: the masks.

    Returns:
        [`TeacherRollout`].

    Raises:
        ValueError: for an unknown mode, fewer than one iteration, or more steps than iterations.
    """
    config = teacher.config
    # before the encoder runs: a wrong option costs no pass
    last_pass, freezes = _settle_passes(config, num_iterations, steps_ahead, label_mode)
    is_target = masked_target_ids.ne(config.pad_token_id)
    # open in the reference: the M positions to label
    is_masked = masked_target_ids == config.mask_token_id if is_open is None else is_open
    encoder_hidden = teacher.model.encoder(input_ids, attention_mask, return_dict=True).last_hidden_state
    cross_key_values = teacher.model.decoder.project_cross_key_values(encoder_hidden)

    # open: to be predicted by the next pass
    tokens, is_open = masked_target_ids.masked_fill(is_masked, config.mask_token_id), is_masked
    sights: dict[str, torch.Tensor] = {}
    scores = torch.zeros(tokens.shape, device=tokens.device)
    hypotheses, partial_tokens = tokens, []
    label_hidden: torch.Tensor | None = None
    for num_passes in range(1, num_iterations + 1):
        hidden = teacher.model.decoder(
            tokens,
            is_target,
            encoder_hidden_states=encoder_hidden,
            encoder_attention_mask=attention_mask,
            cross_key_values=cross_key_values,
            return_dict=True,
            **sights,
        ).last_hidden_state[is_open]
        # Labels of positions still open are overwritten by a later pass; those revealed earlier keep them when frozen.
        if label_hidden is None:
            label_hidden = hidden
        else:
            # packed rows are the masked positions: of these, the ones that this pass had open
            label_hidden[is_open[is_masked]] = hidden
        if num_passes == last_pass:
            break  # what it reveals follows from the labels
        predictions, log_probs = _choose_tokens(teacher, hidden)
        hypotheses = hypotheses.masked_scatter(is_open, predictions)
        scores = scores.masked_scatter(is_open, log_probs) if reveal_scores is None else reveal_scores
        if config.shows_in_order and num_passes == 1:
            # ranked once, by the first pass, as DisCo decodes
            sights = {"visibility": see_surer(rank_by_score(scores, is_masked))}
        if config.fills_all:
            is_left = torch.zeros_like(is_masked)
        else:
            is_left = _find_left(scores, is_open, is_masked, block_sizes, num_passes, num_iterations)
        # from the latest hypotheses, not from the last input: what is left open is a mask again
        tokens = hypotheses.masked_fill(is_left, config.mask_token_id)
        partial_tokens.append(tokens)
        is_open = is_left if freezes else is_masked
    assert label_hidden is not None  # there is at least one pass
    return TeacherRollout(
        label_hidden, teacher, masked_target_ids, is_masked, partial_tokens, computing_dtype(label_hidden)
    )


def _settle_passes(
    config: NATConfig, num_iterations: int, steps_ahead: int | None, label_mode: str
) -> tuple[int, bool]:
    """The pass that gives the last labels, and whether a token's labels are those of the pass that reveals it."""
    if num_iterations < 1:
        raise ValueError(f"teacher_iterations must be >= 1, got {num_iterations}. The paper uses 2.")
    last_pass = num_iterations if steps_ahead is None else steps_ahead
    if not 1 <= last_pass <= num_iterations:
        raise ValueError(f"steps_ahead must be in 1 … {num_iterations} (teacher_iterations), got {steps_ahead}.")
    freezes = resolve_label_mode(label_mode, config.update_all_positions) == "frozen"
    if freezes and config.fills_all:
        raise ValueError(f"label_mode={label_mode!r} does not exist here: every pass predicts all. Use last.")
    return last_pass, freezes


def _find_left(
    scores: torch.Tensor,
    is_open: torch.Tensor,
    is_masked: torch.Tensor,
    block_sizes: torch.Tensor | None,
    num_passes: int,
    num_iterations: int,
) -> torch.Tensor:
    """What stays masked (B, T) after a pass that predicted the open positions."""
    if block_sizes is not None:
        return _lowest_in_blocks(scores, is_open, is_masked, block_sizes, num_passes, num_iterations)
    return select_lowest(scores, is_open, remaining_teacher_masks(is_masked.sum(dim=1), num_passes, num_iterations))


def _lowest_in_blocks(
    scores: torch.Tensor,
    is_open: torch.Tensor,
    is_masked: torch.Tensor,
    block_sizes: torch.Tensor,
    num_passes: int,
    num_iterations: int,
) -> torch.Tensor:
    """
    What stays masked after a pass over alignments (B, A): in every block, the least probable ⌈u (n − s) / n⌉ of the u
    masked in the reference. The last position of a block goes first, so that decoding in blocks of n reveals no
    neighbours across a border.

    Source: the reference's `_block_unmasking`; in a partial last block it counts from the block's length instead.
    """
    block = find_blocks(scores.shape[1], block_sizes)
    # blocks are counted in as many columns as there are positions, more than enough
    num_masked = torch.zeros_like(block).scatter_add_(1, block, is_masked.long())
    num_left = remaining_teacher_masks(num_masked, num_passes, num_iterations).gather(1, block)
    is_last = torch.arange(1, scores.shape[1] + 1, device=scores.device) % block_sizes.unsqueeze(1) == 0
    # 0 is the highest log-probability: the last position of each block is the surest
    ranks = rank_in_blocks(scores.masked_fill(is_last, 0.0), is_open, block_sizes)
    return (ranks < num_left) & is_open
