# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Tokens and phrases that a translation must contain, for decoding on a grid of known lengths.

Shapes: B batch, K length candidates, R = B·K rows, T target length (with `<s>` and `</s>`), M updated positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from .configuration_nat import NATConfig
from .decoding_grid import AnyState, GridState
from .decoding_strategy import DecodingRequest
from .phrase_places import find_places


FREE = -100
# The best order of phrases is looked for among all their subsets.
_MOST_PHRASES = 8

Phrases = list[list[list[int]]]


def fewest_positions(
    request: DecodingRequest, num_sentences: int, config: NATConfig, device: torch.device
) -> torch.Tensor | None:
    """
    Positions (B,) that what is forced needs, `<s>` and `</s>` counted; `None` where nothing is.

    Raises:
        ValueError: for forced tokens of another shape, ids that a sentence cannot hold, or both kinds at once.
    """
    if request.forced_phrases is not None:
        lengths = [sum(map(len, phrases)) + 2 for phrases in request.forced_phrases]
        return torch.tensor(lengths, device=device)
    if request.forced_tokens is None:
        return None
    forced = torch.as_tensor(request.forced_tokens, device=device)
    if forced.dim() != 2 or len(forced) != num_sentences or forced.is_floating_point():
        raise ValueError(
            f"forced_tokens must hold ids of shape ({num_sentences}, length), {FREE} where a position is free, got "
            f"shape {tuple(forced.shape)} of {forced.dtype}."
        )
    is_forced = _find_forced(forced)
    if bool(((forced[:, :1] != FREE) & (forced[:, :1] != config.bos_token_id)).any()):
        raise ValueError(
            f"Column 0 of forced_tokens is that of <s>. Put {FREE} there, and the first word in column 1."
        )
    _check_ids(forced[is_forced].tolist(), "forced_tokens", config)
    columns = torch.arange(forced.shape[1], device=device)
    # the last forced column, + 1 for its index, + 1 for `</s>`; 2 where nothing is forced
    return (columns * is_forced).amax(dim=1) + 2


def check_phrases(request: DecodingRequest, num_sentences: int, config: NATConfig) -> Phrases | None:
    """
    The phrases of each sentence as lists of ids; `None` where none are given.

    Raises:
        ValueError: for another number of sentences, empty or too many phrases, ids that a sentence cannot hold, or
            forced tokens beside them.
    """
    if request.forced_phrases is None:
        return None
    if request.forced_tokens is not None:
        raise ValueError("forced_tokens and forced_phrases exclude each other. Give one of them.")
    if len(request.forced_phrases) != num_sentences:
        raise ValueError(
            f"forced_phrases has {len(request.forced_phrases)} entries for {num_sentences} sentences. Give every "
            "sentence a list of phrases, which may be empty."
        )
    texts = [each for phrases in request.forced_phrases for each in (phrases, *phrases) if isinstance(each, str)]
    if texts:
        raise ValueError(
            f"forced_phrases holds the text {texts[0]!r}. Give each phrase as token ids: "
            'tokenizer(text_target=phrase, add_special_tokens=False)["input_ids"].'
        )
    sentences = [[list(map(int, phrase)) for phrase in phrases] for phrases in request.forced_phrases]
    for number, phrases in enumerate(sentences):
        if len(phrases) > _MOST_PHRASES or not all(phrases):
            raise ValueError(
                f"forced_phrases[{number}] has {len(phrases)} phrases, {sum(not phrase for phrase in phrases)} of "
                f"them empty. Give at most {_MOST_PHRASES}, each with at least one token."
            )
        _check_ids([token for phrase in phrases for token in phrase], f"forced_phrases[{number}]", config)
    return sentences


def apply_forced_tokens(state: AnyState, forced_tokens: torch.Tensor) -> AnyState:
    """Templates (R, T) with the tokens that each sentence's K candidates must have; those are no content any more."""
    forced = torch.as_tensor(forced_tokens, device=state.tokens.device)
    # columns beyond the longest candidate are free: lengths were made to hold what is forced
    forced = forced.repeat_interleave(len(state.tokens) // len(forced), dim=0)[:, : state.tokens.shape[1]]
    forced = torch.nn.functional.pad(forced, (0, state.tokens.shape[1] - forced.shape[1]), value=FREE)
    return fix_positions(state, _find_forced(forced), forced)


def fix_positions(state: AnyState, is_forced: torch.Tensor, tokens: torch.Tensor) -> AnyState:
    """The state with `tokens` (R, T) at the forced positions, which are neither masks nor content any more."""
    filled = torch.where(is_forced, tokens, state.tokens)
    best = state.best
    if best is not None:
        # in the first place of the list, which is taken outside of the content
        first = torch.where(is_forced, tokens, best.tokens[..., 0])
        best = replace(best, tokens=torch.cat([first.unsqueeze(-1), best.tokens[..., 1:]], dim=-1))
    return replace(
        state,
        tokens=filled,
        hypotheses=torch.where(is_forced, tokens, state.hypotheses),
        is_content=state.is_content & ~is_forced,
        is_masked=state.is_masked & ~is_forced,
        is_forced=is_forced,
        best=best,
    )


def place_phrases(state: GridState, logits: torch.Tensor, phrases: Phrases) -> tuple[GridState, torch.Tensor]:
    """
    Puts the phrases of each sentence where the first pass finds them likeliest, without overlap, in any order.

    Args:
        state ([`GridState`]): before the first pass, all content masked.
        logits (`torch.FloatTensor` of shape `(M, V)`): of that pass.
        phrases (`list[list[list[int]]]`): ids, for each of the B sentences.

    Returns:
        The state with the phrases as forced positions, and the logits of the positions that are left.
    """
    num_candidates = len(state.tokens) // len(phrases)
    counts = state.is_updated.sum(dim=1).tolist()
    is_forced, tokens = torch.zeros_like(state.is_content), state.tokens.clone()
    for row, rows in enumerate(logits.split(counts)):
        # Everything but `<s>` and `</s>` is a mask before the first pass, so position 0 of `rows` is column 1.
        wanted = phrases[row // num_candidates]
        for phrase, start in zip(wanted, best_places(rows.log_softmax(dim=-1), wanted), strict=True):
            columns = slice(start + 1, start + 1 + len(phrase))
            tokens[row, columns] = torch.tensor(phrase, device=tokens.device)
            is_forced[row, columns] = True
    is_left = ~is_forced[state.is_updated]
    is_updated = state.is_updated & ~is_forced
    return replace(fix_positions(state, is_forced, tokens), is_updated=is_updated), logits[is_left]


def best_places(log_probs: torch.Tensor, phrases: Sequence[Sequence[int]]) -> list[int]:
    """
    Start of each phrase, so that they do not overlap and lose least: Σ (log p(its token) − log p(likeliest token)).

    Args:
        log_probs (`torch.FloatTensor` of shape `(N, V)`): of the content positions.
        phrases (`Sequence[Sequence[int]]`): ids; together at most N tokens.

    Returns:
        `list[int]`: position of each phrase's first token.
    """
    # relative to what the position would have written: a certain position is expensive, an open one cheap
    loss = (log_probs - log_probs.amax(dim=-1, keepdim=True)).cpu()
    gains = [_gains(loss, phrase) for phrase in phrases]
    return find_places(gains, list(map(len, phrases)), len(loss))


def _gains(loss: torch.Tensor, phrase: Sequence[int]) -> list[float]:
    """Σ over the phrase's tokens of what each loses, for every start that leaves room: N − len(phrase) + 1 values."""
    count = len(loss) - len(phrase) + 1
    columns = [loss[offset : offset + count, token] for offset, token in enumerate(phrase)]
    # A token of probability 0 is still possible; only the order of places matters.
    return torch.stack(columns).clamp(min=-1e4).sum(dim=0).tolist()


def _find_forced(forced: torch.Tensor) -> torch.Tensor:
    """Positions (B, T) that are not free; `<s>` in column 0 changes nothing."""
    is_forced = forced != FREE
    is_forced[:, 0] = False
    return is_forced


def _check_ids(token_ids: list[int], name: str, config: NATConfig) -> None:
    special = {config.bos_token_id, config.pad_token_id, config.eos_token_id, config.mask_token_id}
    for token_id in token_ids:
        if not 0 <= token_id < config.vocab_size or token_id in special:
            raise ValueError(
                f"{name} holds the id {token_id}, which is no word: ids are 0 to {config.vocab_size - 1}, and <s>, "
                "<pad>, </s> and the mask cannot be forced. Use the model's tokenizer with add_special_tokens=False."
            )


__all__ = ["FREE", "apply_forced_tokens", "best_places", "check_phrases", "fewest_positions", "place_phrases"]
