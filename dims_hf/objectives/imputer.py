# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The Imputer's objective: likelihood of a target over all alignments that agree with the frames revealed already."""

import torch

from dims_hf.models.alignment import constrained_ctc_nll, find_path_labels
from dims_hf.objectives.dims import hidden_distance
from dims_hf.objectives.reduction import Loss, divide_by_items, select_positions
from dims_hf.objectives.vocabulary import Vocabulary, as_vocabulary, pick_positions


def imputer_loss(
    logits: torch.Tensor | Vocabulary,
    targets: torch.Tensor,
    frame_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    *,
    blank_token_id: int,
    force_emits: torch.Tensor | None = None,
    num_items: torch.Tensor | int | None = None,
) -> Loss:
    """
    Sum over sentences of −log p(target | source, revealed frames), divided by `num_items`:

        p(y | x, ã) = Σ_{a ∈ 𝓑⁻¹(y), a agrees with ã} Π_t softmax(logits_t)(a_t).

    Without revealed frames (`force_emits=None`) this is the CTC loss. A sentence that no alignment fits (too few
    frames) adds nothing, and no gradient.

    Source: eq. 2 of Saharia et al. 2020 (arXiv 2004.07437) and Chan et al. 2020 (arXiv 2002.08926); sum over the batch
    by the number of free frames as in the reference implementation of Norouzi et al. 2023, in fp32.

    Args:
        logits (`torch.Tensor` of shape `(B, A, V)`, or [`Vocabulary`] of shape `(B, A)`): one row per frame; padded
            frames are not read. Paths need the log-probabilities of a target's own tokens and of the blank alone.
        targets (`torch.LongTensor` of shape `(B, T)`): tokens alone (no `<s>`, `</s>`, blank), right-padded.
        frame_lengths (`torch.LongTensor` of shape `(B,)`): frames of each sentence.
        target_lengths (`torch.LongTensor` of shape `(B,)`): tokens of each target.
        blank_token_id (`int`): id of the blank.
        force_emits (`torch.LongTensor` of shape `(B, A)`, *optional*): state of each revealed frame, -1 where masked;
            see [`constrained_ctc_nll`].
        num_items (`int`, *optional*): free frames of the whole update; default those of this batch's sentences that
            fit.

    Returns:
        [`Loss`] with parts `ctc` (the loss) and `skipped` (number of sentences that no alignment fits). Nothing that
        fits gives exactly 0, with a gradient.

    Raises:
        ValueError: as [`constrained_ctc_nll`].
    """
    vocabulary = as_vocabulary(logits)
    _check_frames(vocabulary, frame_lengths)
    labels = find_path_labels(targets, target_lengths, blank_token_id=blank_token_id, vocab_size=vocabulary.vocab_size)
    is_frame = torch.arange(vocabulary.shape[1], device=frame_lengths.device) < frame_lengths.unsqueeze(1)
    nll = constrained_ctc_nll(
        pick_positions(vocabulary, labels.ids, is_frame),
        labels.targets,
        frame_lengths,
        target_lengths,
        blank_token_id=labels.blank,
        force_emits=force_emits,
    )
    fits = nll.detach() != float("inf")
    if num_items is None:
        # of sentences that fit: the others add nothing to the sum either
        num_items = count_free_frames(frame_lengths, force_emits)[fits].sum()
    total = divide_by_items(nll.masked_fill(~fits, 0.0).sum(), num_items)
    return Loss(total, {"ctc": total.detach(), "skipped": (~fits).sum().float()})


def count_free_frames(frame_lengths: torch.Tensor, force_emits: torch.Tensor | None) -> torch.Tensor:
    """Frames of each sentence (B,) whose state is not forced."""
    if force_emits is None:
        return frame_lengths
    is_frame = torch.arange(force_emits.shape[1], device=frame_lengths.device) < frame_lengths.unsqueeze(1)
    return (is_frame & (force_emits < 0)).sum(dim=1)


def imputer_dims_loss(
    student_logits: torch.Tensor | Vocabulary,
    label_tokens: torch.Tensor,
    frame_lengths: torch.Tensor,
    label_lengths: torch.Tensor,
    student_hidden: torch.Tensor,
    teacher_hidden: torch.Tensor,
    is_masked: torch.Tensor,
    *,
    blank_token_id: int,
    hidden_weight: float = 0.0,
    hidden_squared: bool = False,
    hidden_normalization: str = "none",
    num_items: tuple[torch.Tensor | int, torch.Tensor | int] | None = None,
) -> Loss:
    """
    CTC loss of the tokens that the teacher arrives at, plus λ ‖e_t − e_s‖ over masked frames.

    Source: released code of Norouzi et al. 2023 (arXiv 2206.02999): hard labels through the CTC loss; the hidden-state
    distance is that of the other families (§3.1), and off by default. For soft labels see [`dims_loss`].

    Args:
        student_logits (`torch.Tensor` of shape `(B, A, V)`, or [`Vocabulary`] of shape `(B, A)`): the student's only
            pass over the partially masked alignment.
        label_tokens (`torch.LongTensor` of shape `(B, A)`): the teacher's alignments, collapsed.
        frame_lengths, label_lengths (`torch.LongTensor` of shape `(B,)`): frames, and tokens, of each sentence.
        student_hidden, teacher_hidden (`torch.Tensor` of shape `(B, A, D)` or packed `(M, D)`): last decoder layer's
            output.
        is_masked (`torch.BoolTensor` of shape `(B, A)`): True for the M masked frames.
        blank_token_id (`int`): id of the blank.
        hidden_weight (`float`): λ.
        hidden_squared (`bool`): squared distance instead of the distance.
        hidden_normalization (`str`): `none`, or `dimension` (see [`hidden_distance`]).
        num_items (`tuple`, *optional*): frames, and masked frames, of the whole update; default those of this batch.

    Returns:
        [`Loss`] with parts `ctc` and `hidden`, each before its weight.
    """
    # hard labels are learnt by every frame, hidden states by the masked ones alone
    num_frames, num_masked = (frame_lengths.sum(), is_masked.sum()) if num_items is None else num_items
    token = imputer_loss(
        student_logits, label_tokens, frame_lengths, label_lengths, blank_token_id=blank_token_id, num_items=num_frames
    )
    hidden = [select_positions(states, is_masked) for states in (student_hidden, teacher_hidden)]
    distance = hidden_distance(*hidden, squared=hidden_squared, normalization=hidden_normalization)
    mean_distance = divide_by_items(distance.sum(), num_masked)
    total = token.total + hidden_weight * mean_distance
    return Loss(total, {"ctc": token.parts["ctc"], "hidden": mean_distance.detach()})


def _check_frames(vocabulary: Vocabulary, frame_lengths: torch.Tensor) -> None:
    if len(vocabulary.shape) != 2 or vocabulary.shape[0] != len(frame_lengths):
        raise ValueError(
            f"logits must be of shape (B, A, V) with B = {len(frame_lengths)}, got "
            f"({', '.join(map(str, vocabulary.shape))}, V). Pass logits batch first, one row per frame."
        )
