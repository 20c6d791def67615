# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A DA-Transformer's n passes over its own graph, each of which sees the surest words of the path before it.

Shapes: B batch, S source length, A vertices, P vertices of a path, D hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dims_hf.models.decoding_dat import find_viterbi_paths, follow_transitions, read_paths, score_paths
from dims_hf.models.masking import collapse_repeats, remaining_teacher_masks, select_lowest
from dims_hf.models.modeling_dat import DATForConditionalGeneration
from dims_hf.objectives import ProjectedVocabulary


GRAPH_PATHS = ("lookahead", "joint_viterbi")


@dataclass(frozen=True)
class GraphRollout:
    """
    What the last pass gives.

    Args:
        hidden_states (`torch.Tensor` of shape `(B, A, D)`): last decoder states.
        transitions (`torch.Tensor` of shape `(B, A, A)`): log-probabilities, -inf where there is none.
        tokens (`torch.LongTensor` of shape `(B, P)`): words of the best path, `<s> … </s>`, repeats collapsed,
            right-padded with `pad_token_id`.
        history (`list[torch.LongTensor]`): decoder input (B, A) of each pass.
    """

    hidden_states: torch.Tensor
    transitions: torch.Tensor
    tokens: torch.Tensor
    history: list[torch.Tensor]


@torch.no_grad()
def roll_out_graphs(
    teacher: DATForConditionalGeneration,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    *,
    num_iterations: int = 2,
    graph_search: str = "lookahead",
) -> GraphRollout:
    """
    Runs n passes. After pass s the ⌊s·u/n⌋ surest of the u inner vertices on the pass's best path show their words,
    as training with glancing has taught the model to read; the last pass gives the labels.

    A DA-Transformer as published makes one pass; this is its form of §3.1 of Norouzi et al. 2023 (arXiv 2206.02999).

    Args:
        teacher (`DATForConditionalGeneration`): a DA-Transformer in evaluation mode.
        input_ids (`torch.LongTensor` of shape `(B, S)`): sources, encoded once.
        attention_mask (`torch.Tensor` of shape `(B, S)`): non-zero for tokens.
        num_iterations (`int`): n, at least 1.
        graph_search (`str`): one of `GRAPH_PATHS`: how the best path is found.

    Returns:
        [`GraphRollout`].

    Raises:
        ValueError: for fewer than one iteration or an unknown search.
    """
    if num_iterations < 1:
        raise ValueError(f"teacher_iterations must be >= 1, got {num_iterations}. The paper uses 2.")
    if graph_search not in GRAPH_PATHS:
        raise ValueError(f"graph_search must be one of {', '.join(GRAPH_PATHS)}, got {graph_search!r}.")
    template, is_vertex = teacher.make_template(attention_mask)
    lengths = is_vertex.sum(dim=1)
    encoder_hidden = teacher.model.encoder(input_ids, attention_mask, return_dict=True).last_hidden_state
    cross_key_values = teacher.model.decoder.project_cross_key_values(encoder_hidden)
    history = [template]
    for num_passes in range(1, num_iterations + 1):
        hidden = teacher.model.decoder(
            history[-1],
            is_vertex,
            encoder_hidden_states=encoder_hidden,
            encoder_attention_mask=attention_mask,
            cross_key_values=cross_key_values,
            return_dict=True,
        ).last_hidden_state
        transitions = teacher.links(hidden, is_vertex)
        ids, words = _choose_words(teacher, hidden, history[-1], lengths, transitions.dtype)
        if graph_search == "lookahead":
            path = follow_transitions(transitions, lengths, word_scores=words)
        else:
            path = find_viterbi_paths(transitions, lengths, word_scores=words).vertices[:, 0]
        if num_passes < num_iterations:
            scores = score_paths(path, transitions, words)
            history.append(_show_surest(template, path, ids, scores, lengths, num_passes, num_iterations))
    pad = teacher.config.pad_token_id
    tokens = collapse_repeats(read_paths(path, ids, pad_token_id=pad), pad)
    return GraphRollout(hidden, transitions, tokens, history)


def _choose_words(
    teacher: DATForConditionalGeneration,
    hidden: torch.Tensor,
    shown: torch.Tensor,
    lengths: torch.Tensor,
    dtype: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Best word of each vertex (B, A) and its log-probability; what is shown, the ends included, is certain."""
    is_open = shown == teacher.config.mask_token_id
    chosen, log_probs = ProjectedVocabulary.of(teacher, hidden[is_open]).choose(teacher.suppressed_token_ids())
    # log 1: what is shown is certain
    words = torch.zeros(shown.shape, dtype=dtype, device=shown.device)
    return shown.masked_scatter(is_open, chosen), words.masked_scatter(is_open, log_probs.to(dtype))


def _show_surest(
    template: torch.Tensor,
    path: torch.Tensor,
    ids: torch.Tensor,
    scores: torch.Tensor,
    lengths: torch.Tensor,
    num_passes: int,
    num_iterations: int,
) -> torch.Tensor:
    """Decoder input (B, A) of the next pass: words of the path's surest inner vertices, masks elsewhere."""
    is_inner = (path > 0) & (path < lengths.unsqueeze(1) - 1)
    num_inner = is_inner.sum(dim=1)
    num_shown = num_inner - remaining_teacher_masks(num_inner, num_passes, num_iterations)
    # the surest are those of the lowest negated score
    is_shown = select_lowest(-scores, is_inner, num_shown)
    rows, columns = is_shown.nonzero(as_tuple=True)
    vertices = path[rows, columns]
    # from the template, not from the last input: each pass shows its own choice
    tokens = template.clone()
    tokens[rows, vertices] = ids[rows, vertices]
    return tokens
