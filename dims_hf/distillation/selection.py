# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""How likely targets are to a model that writes them in one pass: by that, EM chooses what it is trained on.

Shapes: B batch, S source length, T target length (with `<s>` and `</s>`), A frames, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence

from dims_hf.models.alignment import constrained_ctc_nll, find_path_labels
from dims_hf.models.decoding_imputer import make_templates
from dims_hf.models.modeling_translation import NATForConditionalGeneration
from dims_hf.models.modes import evaluation_mode
from dims_hf.objectives import ProjectedVocabulary, length_classes
from dims_hf.objectives.vocabulary import pick_positions


@torch.no_grad()
def score_targets(
    model: NATForConditionalGeneration, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
) -> list[float]:
    """
    Log-likelihood of each target, all of it masked.

    Of a model that predicts lengths, Σ log p(token) + log p(length); of one that writes alignments, the log of the sum
    over all of them, −inf where none fits.

    Source: the choice of targets in the E-step of Sun and Yang 2020 (arXiv 2006.16378).

    Args:
        model (`NATForConditionalGeneration`): of a family with a length predictor, or with a blank.
        sources, targets (`Sequence[Sequence[int]]`): ids `<s> … </s>`, one batch of them. A source that stands there
            several times is read once; alignments of its targets then cost little more than those of one.

    Returns:
        `list[float]`: natural logarithms; -inf for a source or a target that is longer than the model takes.

    Raises:
        ValueError: for a family that has neither.
    """
    config, device = model.config, model.device
    if not (config.predicts_length or config.writes_alignments):
        raise ValueError(f"Models of type {config.model_type} choose no targets. Use a CMLM, a CMLMC or an Imputer.")
    fits = [
        len(source) <= config.max_source_length and len(target) <= config.max_position_embeddings
        for source, target in zip(sources, targets, strict=True)
    ]
    kept = [row for row, is_short in enumerate(fits) if is_short]
    scores = [-float("inf")] * len(fits)
    if not kept:
        return scores
    places: dict[tuple[int, ...], int] = {}
    owners = torch.tensor([places.setdefault(tuple(sources[row]), len(places)) for row in kept], device=device)
    input_ids, is_source = _pad(list(places), config.pad_token_id, device)
    # without `<s>` and `</s>`, which no family predicts
    content, is_token = _pad([targets[row][1:-1] for row in kept], config.pad_token_id, device)
    score = _score_masked if config.predicts_length else _score_alignments
    with evaluation_mode(model):
        found = score(model, input_ids, is_source, owners, content, is_token).tolist()
    for row, value in zip(kept, found, strict=True):
        scores[row] = value
    return scores


def _pad(rows: Sequence[Sequence[int]], fill: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (B, L), and which of them are real (B, L)."""
    ids = [torch.tensor(row, dtype=torch.long) for row in rows]
    is_real = [torch.ones(len(row), dtype=torch.bool) for row in rows]
    return (
        pad_sequence(ids, batch_first=True, padding_value=fill).to(device),
        pad_sequence(is_real, batch_first=True, padding_value=False).to(device),
    )


def _score_masked(
    model: NATForConditionalGeneration,
    input_ids: torch.Tensor,
    is_source: torch.Tensor,
    owners: torch.Tensor,
    content: torch.Tensor,
    is_token: torch.Tensor,
) -> torch.Tensor:
    """Log-likelihoods (B,) of tokens (B, T − 2) and of their number, of the rows `owners` (B,) of sources (U, S)."""
    config, (batch, width) = model.config, content.shape
    column = torch.arange(width + 2, device=content.device)
    lengths = is_token.sum(dim=1, keepdim=True) + 2
    tokens = torch.full((batch, width + 2), config.mask_token_id, device=content.device)
    tokens = tokens.masked_fill(column >= lengths, config.pad_token_id)
    tokens = tokens.masked_fill(column == lengths - 1, config.eos_token_id)
    tokens[:, 0] = config.bos_token_id
    outputs = model(
        input_ids=input_ids[owners],
        attention_mask=is_source[owners],
        decoder_input_ids=tokens,
        decoder_attention_mask=column < lengths,
        # no logits at all: a token's log-probability is picked from the states
        logits_positions=torch.zeros_like(tokens, dtype=torch.bool),
        return_length_logits=True,
    )
    # column 0 is that of `<s>`
    states = outputs.decoder_last_hidden_state[:, 1 : width + 1][is_token]
    picked = ProjectedVocabulary.of(model, states).pick(content[is_token].unsqueeze(1)).squeeze(1)
    summed = picked.new_zeros(content.shape).masked_scatter(is_token, picked).sum(dim=1)
    classes = length_classes(column < lengths, config.max_target_length).unsqueeze(1)
    return summed + outputs.length_logits.float().log_softmax(dim=-1).gather(1, classes).squeeze(1)


def _score_alignments(
    model: NATForConditionalGeneration,
    input_ids: torch.Tensor,
    is_source: torch.Tensor,
    owners: torch.Tensor,
    content: torch.Tensor,
    is_token: torch.Tensor,
) -> torch.Tensor:
    """
    Log-likelihoods (B,) of tokens (B, T − 2) over all alignments, of sources (U, S) whose rows are `owners` (B,). What
    the model writes depends on the source alone, so that all its targets are picked from the same frames.
    """
    config = model.config
    # not `template_lengths`, which refuses what is too long: such a source was left out above
    num_frames = is_source.sum(dim=1) * config.upsample_ratio
    template, is_frame = make_templates(
        num_frames, pad_token_id=config.pad_token_id, mask_token_id=config.mask_token_id
    )
    states = model(
        input_ids=input_ids,
        attention_mask=is_source,
        decoder_input_ids=template,
        decoder_attention_mask=is_frame,
        logits_positions=torch.zeros_like(is_frame),
    ).decoder_last_hidden_state
    lengths = is_token.sum(dim=1)
    labels = find_path_labels(content, lengths, blank_token_id=config.blank_token_id, vocab_size=config.vocab_size)
    picked = _pick_shared(ProjectedVocabulary.of(model, states), labels.ids, owners, is_frame)
    return -constrained_ctc_nll(picked, labels.targets, num_frames[owners], lengths, blank_token_id=labels.blank)


def _pick_shared(
    vocabulary: ProjectedVocabulary, ids: torch.Tensor, owners: torch.Tensor, is_frame: torch.Tensor
) -> torch.Tensor:
    """Log-probabilities (B, A, K) of ids (B, K) at the frames (U, A) of their owners (B,), all of an owner at once."""
    # how many before it have the same owner
    slots = (owners.unsqueeze(1) == owners).tril(-1).sum(dim=1)
    side_by_side = ids.new_zeros(len(is_frame), int(slots.max()) + 1, ids.shape[1])
    side_by_side[owners, slots] = ids
    picked = pick_positions(vocabulary, side_by_side.flatten(1), is_frame)
    return picked.unflatten(2, side_by_side.shape[1:])[owners, :, slots]
