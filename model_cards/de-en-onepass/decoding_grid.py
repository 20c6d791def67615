# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Decoding on a grid: positions of fixed templates are predicted, masked again and revealed, pass by pass.

Shapes: B batch, K candidates per sentence, R = B·K rows, T positions, M updated positions, C best tokens,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import torch

from .decoding_strategy import (
    DecodingRequest,
    DecodingStep,
    DecodingStrategy,
    EncodedSources,
    NATGenerateOutput,
    choose_tokens,
    rank_candidates,
    suppress,
)
from .masking import collapse_repeats as drop_repeats, find_content


# What a pass did with a position.
KEPT, REVEALED, REMASKED = 0, 1, 2


@dataclass(frozen=True)
class DecoderInputs:
    """
    The rows that a pass computes.

    Args:
        rows (`slice` or `torch.LongTensor` of shape `(R',)`): which rows of the decoding state; all K of a sentence.
        is_target (`torch.BoolTensor` of shape `(R', T)`): True = token, False = padding.
        sources ([`EncodedSources`]): of B' sentences; the K candidates of a sentence share one row.
    """

    rows: slice | torch.Tensor
    is_target: torch.Tensor
    sources: EncodedSources

    def select(self, sentences: torch.Tensor) -> DecoderInputs:
        """Those of some sentences of the batch, by their indices (B',)."""
        rows = torch.arange(len(self.is_target), device=sentences.device)
        rows = rows.view(self.sources.num_sentences, -1)[sentences].flatten()
        # All columns: the longest sentences need the most passes, so there is next to nothing to cut off.
        return DecoderInputs(rows, self.is_target[rows], self.sources.select(sentences))


@dataclass(frozen=True)
class Grid:
    """
    What stays the same while a batch is decoded.

    Args:
        lengths (`torch.LongTensor` of shape `(B, K)`): positions of each candidate, ascending.
        whole ([`DecoderInputs`]): all rows.
        bonus (`torch.FloatTensor` of shape `(B, K)`, *optional*): added to the candidates' scores.
    """

    lengths: torch.Tensor
    whole: DecoderInputs
    bonus: torch.Tensor | None = None


@dataclass(frozen=True)
class BestTokens:
    """
    The C likeliest tokens of each position, as it was last predicted, most likely first.

    Args:
        tokens (`torch.LongTensor` of shape `(R, T, C)`): ids.
        log_probs (`torch.FloatTensor` of shape `(R, T, C)`): their log-probabilities.
    """

    tokens: torch.Tensor
    log_probs: torch.Tensor

    @classmethod
    def certain(cls, tokens: torch.Tensor, count: int) -> BestTokens:
        """Tokens (R, T) without an alternative: the first of `count` has probability 1."""
        log_probs = torch.full((*tokens.shape, count), -torch.inf, device=tokens.device)
        log_probs[..., 0] = 0.0
        return cls(tokens.unsqueeze(-1).expand_as(log_probs), log_probs)

    @classmethod
    def of(cls, logits: torch.Tensor, count: int) -> BestTokens:
        """Of logits (M, V): (M, C), filled up with impossible ones where V < C."""
        # normalised over all V, not over the C that are kept
        log_probs, tokens = logits.log_softmax(dim=-1).topk(min(count, logits.shape[-1]), dim=-1)
        missing = (0, count - tokens.shape[-1])
        return cls(
            torch.nn.functional.pad(tokens, missing), torch.nn.functional.pad(log_probs, missing, value=-torch.inf)
        )

    def update(self, is_updated: torch.Tensor, new: BestTokens) -> BestTokens:
        """With the `new` ones (M, C) at the M updated positions (R, T)."""
        # states are frozen: whoever kept the last one must not see it change
        tokens, log_probs = self.tokens.clone(), self.log_probs.clone()
        tokens[is_updated], log_probs[is_updated] = new.tokens, new.log_probs
        return BestTokens(tokens, log_probs)


@dataclass(frozen=True)
class DecodingState:
    """
    State of an iterative decoding after `num_passes` decoder passes.

    Args:
        tokens (`torch.LongTensor` of shape `(R, T)`): decoder input of the next pass, masks included.
        hypotheses (`torch.LongTensor` of shape `(R, T)`): the same without masks: latest prediction of each position.
        scores (`torch.FloatTensor` of shape `(R, T)`): log-probability of each latest prediction; 0 for specials.
        is_content (`torch.BoolTensor` of shape `(R, T)`): positions between `<s>` and `</s>`.
        is_masked (`torch.BoolTensor` of shape `(R, T)`): positions that are masks in `tokens`.
        state (`torch.LongTensor` of shape `(R, T)`): KEPT (0), REVEALED (1) or REMASKED (2) by the latest pass.
        num_passes (`int`): decoder passes done.
        num_iterations (`int`): decoder passes planned.
        is_settled (`bool`): whether further passes would change nothing; for each sentence (B,) in an exported step.
        is_forced (`torch.BoolTensor` of shape `(R, T)`, *optional*): positions whose tokens the caller
            gave; they are no content.
        best ([`BestTokens`], *optional*): likeliest tokens of each position, where a rule needs more than one.
    """

    tokens: torch.Tensor
    hypotheses: torch.Tensor
    scores: torch.Tensor
    is_content: torch.Tensor
    is_masked: torch.Tensor
    state: torch.Tensor
    num_passes: int
    num_iterations: int
    is_settled: bool | torch.Tensor = False
    is_forced: torch.Tensor | None = None
    best: BestTokens | None = None

    @property
    def is_finished(self) -> bool | torch.Tensor:
        """Whether all passes are done, or further ones would change nothing."""
        return self.is_settled | (self.num_passes >= self.num_iterations)


@dataclass(frozen=True, kw_only=True)
class GridState(DecodingState):
    """
    [`DecodingState`] with what its next pass computes.

    Args:
        grid ([`Grid`]): what stays the same during decoding.
        inputs ([`DecoderInputs`]): the rows that the next pass computes.
        is_updated (`torch.BoolTensor` of shape `(R, T)`): positions that the next pass predicts.
    """

    grid: Grid
    inputs: DecoderInputs
    is_updated: torch.Tensor


# A state before or after it has a plan: what a function changes, it changes in either.
AnyState = TypeVar("AnyState", bound=DecodingState)


def start_decoding(tokens: torch.Tensor, is_content: torch.Tensor, num_iterations: int) -> DecodingState:
    """The state before the first pass over templates (R, T) whose content positions are all masks."""
    return DecodingState(
        tokens=tokens,
        # masks for now: the first pass predicts every content position
        hypotheses=tokens,
        scores=torch.zeros(tokens.shape, device=tokens.device),
        is_content=is_content,
        is_masked=is_content,
        state=torch.zeros_like(tokens),
        num_passes=0,
        num_iterations=num_iterations,
    )


def apply_pass(
    state: AnyState,
    is_updated: torch.Tensor,
    predictions: torch.Tensor,
    log_probs: torch.Tensor,
    select_masks: Callable[[torch.Tensor, int], torch.Tensor],
    *,
    mask_token_id: int,
) -> AnyState:
    """
    Writes the predictions of one pass, then masks what `select_masks(scores, num_passes)` (R, T) chooses; what every
    strategy shares. The other arguments are those of [`step_mask_predict`].
    """
    # `masked_scatter` fills in row-major order, that of packed predictions
    hypotheses = state.hypotheses.masked_scatter(is_updated, predictions)
    scores = state.scores.masked_scatter(is_updated, log_probs)
    num_passes = state.num_passes + 1
    is_masked = select_masks(scores, num_passes)
    # masked wins: what a pass predicted and masked again was not revealed
    what_happened = torch.where(is_masked, REMASKED, torch.where(is_updated, REVEALED, KEPT))
    return replace(
        state,
        tokens=hypotheses.masked_fill(is_masked, mask_token_id),
        hypotheses=hypotheses,
        scores=scores,
        is_masked=is_masked,
        state=what_happened,
        num_passes=num_passes,
    )


def find_open_sentences(
    is_updated: torch.Tensor, before: DecodingState | None, after: DecodingState, num_candidates: int
) -> torch.Tensor:
    """
    Sentences that another pass may change: some candidate has a position to update, and its last pass was no fixed
    point (no mask to fill and no token changed), which every later pass would repeat.

    Args:
        is_updated (`torch.BoolTensor` of shape `(R, T)`): positions that the pass would predict.
        before, after ([`DecodingState`]): around the last pass; no fixed points are looked for without `before`.
        num_candidates (`int`): K.

    Returns:
        `torch.BoolTensor` of shape `(B,)`, True = open.
    """
    is_open = is_updated.any(dim=1)
    if before is not None:
        # an input without masks that reproduced itself is a fixed point
        is_open &= (before.is_masked | (before.tokens != after.tokens)).any(dim=1)
    # a sentence goes on as a whole: its candidates share the source's row
    return is_open.view(-1, num_candidates).any(dim=1)


class GridStrategy(DecodingStrategy[GridState]):
    """
    Candidates on a grid (R, T) that decoder passes fill. A strategy on a grid says how long its candidates are
    (`candidate_lengths`), what its templates are (`make_templates`), what a pass leaves masked if anything (`reveal`),
    and, where that is not the same, what sequences the grid stands for (`read_out`).
    """

    # How many of the likeliest tokens of each position the state keeps; 1 is what the hypotheses are.
    num_best: int = 1

    def candidate_lengths(
        self, sources: EncodedSources, request: DecodingRequest
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Positions (B, K) of each sentence's candidates, ascending, and what to add to their scores (B, K)."""
        raise NotImplementedError(f"{type(self).__name__} does not say how long its candidates are.")

    def make_templates(self, lengths: torch.Tensor, request: DecodingRequest) -> DecodingState:
        """State before the first pass, for R candidates of `lengths` (R,)."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its templates are.")

    def reveal(
        self,
        state: GridState,
        is_updated: torch.Tensor,
        predictions: torch.Tensor,
        log_probs: torch.Tensor,
    ) -> GridState:
        """
        State after a pass that predicted M positions; arguments as `step_mask_predict`. Here nothing is masked again.
        """
        return apply_pass(
            state,
            is_updated,
            predictions,
            log_probs,
            lambda scores, num_passes: torch.zeros_like(is_updated),
            mask_token_id=self.config.mask_token_id,
        )

    def read_out(self, hypotheses: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Sequences `<s> … </s>` (R, T) that grid rows (R, T) of `lengths` (R,) stand for; here the same."""
        return hypotheses

    def settle(self, state: GridState) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Tokens (R, T) that are the result, and their log-probabilities; here the latest predictions, by whose
        log-probabilities candidates are ranked whatever is made of them.
        """
        return state.hypotheses, state.scores

    def init(self, sources: EncodedSources, request: DecodingRequest) -> GridState:
        lengths, bonus = self.candidate_lengths(sources, request)
        template = self.make_templates(lengths.flatten(), request)
        columns = torch.arange(template.tokens.shape[1], device=lengths.device)
        whole = DecoderInputs(slice(None), columns < lengths.flatten().unsqueeze(1), sources)
        if self.num_best > 1:
            template = replace(template, best=BestTokens.certain(template.tokens, self.num_best))
        grid = Grid(lengths, whole, bonus)
        # `plan` says what the first pass updates; the mask given here only fills the field
        return self.plan(GridState(**vars(template), grid=grid, inputs=whole, is_updated=template.is_masked), None)

    def step(self, state: GridState) -> GridState:
        return self.advance(state, self.compute_logits(state))

    def decoder_options(self, state: GridState) -> dict[str, Any]:
        """More arguments of the decoder in the next pass, for the rows that it computes; here none."""
        return {}

    def compute_logits(self, state: GridState) -> torch.Tensor:
        """Logits (M, V) in fp32 of one pass at the positions to update, suppressed tokens -inf."""
        inputs = state.inputs
        hidden = self.run_decoder(
            state.tokens[inputs.rows],
            inputs.is_target,
            inputs.sources,
            state.is_updated[inputs.rows],
            **self.decoder_options(state),
        )
        return suppress(self.model.project_vocabulary(hidden), self.model.suppressed_token_ids())

    def advance(self, state: GridState, logits: torch.Tensor) -> GridState:
        """State after a pass that gave `logits` (M, V)."""
        settings = self.settings
        tokens, log_probs = choose_tokens(
            logits, [], do_sample=settings.do_sample, temperature=settings.temperature, generator=self.generator
        )
        return self.write(state, logits, tokens, log_probs)

    def write(
        self, state: GridState, logits: torch.Tensor, tokens: torch.Tensor, log_probs: torch.Tensor
    ) -> GridState:
        """State after a pass that gave `logits` (M, V), of which these tokens (M,) and log-probabilities (M,) came."""
        is_updated, rows = state.is_updated, state.inputs.rows
        is_new = is_updated
        if not isinstance(rows, slice):
            # Rows that are not computed keep what they have.
            is_new = torch.zeros_like(is_updated)
            is_new[rows] = is_updated[rows]
            tokens = state.hypotheses.masked_scatter(is_new, tokens)[is_updated]
            log_probs = state.scores.masked_scatter(is_new, log_probs)[is_updated]
        after = self.reveal(state, is_updated, tokens, log_probs)
        if state.best is not None:
            after = replace(after, best=state.best.update(is_new, BestTokens.of(logits, self.num_best)))
        # A sample may differ from the last one even where its input does not.
        return self.plan(after, None if self.settings.do_sample else state)

    def plan(self, state: GridState, before: GridState | None) -> GridState:
        """The state with what its next pass computes; `before` is the state before the last pass."""
        if torch.compiler.is_compiling():
            # An exported step has no branches: it computes all rows, and whoever runs it leaves out the settled ones.
            is_updated = self.positions_to_update(state)
            is_open = find_open_sentences(is_updated, before, state, state.grid.lengths.shape[1])
            return replace(state, is_updated=is_updated, is_settled=~is_open)
        if state.is_finished:
            return state
        is_updated = self.positions_to_update(state)
        is_open = find_open_sentences(is_updated, before, state, state.grid.lengths.shape[1])
        num_open, inputs = int(is_open.sum()), state.inputs
        if num_open == 0:
            return replace(state, is_updated=is_updated, is_settled=True)
        if num_open < inputs.sources.num_sentences:
            # `rows` are those of the whole state, so that the selection is always of the whole batch
            inputs = state.grid.whole.select(is_open.nonzero().squeeze(1))
        return replace(state, is_updated=is_updated, inputs=inputs)

    def positions_to_update(self, state: GridState) -> torch.Tensor:
        """Positions (R, T) that the next pass predicts."""
        config = self.config
        if not config.update_all_positions:
            return state.is_masked
        # A special token inside a sentence, which only imported models predict, stays unless it is masked again.
        special_ids = (config.bos_token_id, config.eos_token_id, config.pad_token_id)
        return state.is_content & find_content(state.tokens, special_ids)

    def record(self, state: GridState) -> DecodingStep:
        return DecodingStep(state.hypotheses, state.scores, state.state)

    def finish(self, state: GridState, history: list[DecodingStep]) -> NATGenerateOutput:
        """Ranks the candidates, collapses repeats where asked, trims padding that no row needs."""
        settings, lengths = self.settings, state.grid.lengths
        tokens, token_scores = self.settle(state)
        # specials score 0 and are counted: Σ log p / (N + 2)
        scores = state.scores.sum(dim=1) / lengths.flatten()
        if state.grid.bonus is not None:
            scores = scores + state.grid.bonus.flatten()
        order = rank_candidates(scores, lengths.shape[1])
        rows = order[:, : settings.num_return_sequences].flatten()
        # of the winners: a longer candidate that lost leaves no padding behind
        width = cast(int, lengths.flatten()[rows].max().item())
        sequences = self.read_out(tokens[rows, :width], lengths.flatten()[rows])
        if settings.collapse_repeats:
            is_forced = None if state.is_forced is None else state.is_forced[rows, :width]
            sequences = drop_repeats(sequences, self.config.pad_token_id, is_forced)
        return NATGenerateOutput(
            sequences=trim_padding(sequences, self.config.pad_token_id),
            sequences_scores=scores[rows],
            token_scores=token_scores[rows, :width] if settings.output_scores else None,
            history=self.history_of_winners(state, history, order[:, 0], width) if settings.output_history else None,
        )

    def history_of_winners(
        self, state: GridState, history: list[DecodingStep], rows: torch.Tensor, width: int
    ) -> list[DecodingStep]:
        """`num_iterations` entries for some rows; passes that were not needed changed nothing."""
        # With them, a history does not depend on the batch either.
        last = state.state if self.config.update_all_positions else torch.zeros_like(state.state)
        unchanged = DecodingStep(state.hypotheses, state.scores, last)
        history = [*history, *[unchanged] * (self.settings.num_iterations - len(history))]
        return [DecodingStep(*(part[rows, :width] for part in step)) for step in history]


def trim_padding(sequences: torch.Tensor, pad_token_id: int) -> torch.Tensor:
    """Right-padded sequences (R, T) up to the last token of the longest."""
    # the running count peaks first at the last token; padding inside, which imported models may predict, stays
    width = (sequences != pad_token_id).long().cumsum(dim=1).argmax(dim=1).max().item() + 1
    return sequences[:, :width]


__all__ = [
    "KEPT",
    "REMASKED",
    "REVEALED",
    "BestTokens",
    "DecodingState",
    "GridState",
    "GridStrategy",
    "apply_pass",
    "start_decoding",
    "trim_padding",
]
