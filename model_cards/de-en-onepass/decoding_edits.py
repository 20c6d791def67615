# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Decoding by edits: sequences that start empty, or from given phrases, and grow and shrink until nothing changes.

Shapes: B batch, T length (with `<s>` and `</s>`), M positions, V vocabulary, D hidden. Sequences are padded on the
right; gap i lies between token i and token i + 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import torch

from .decoding_constraints import check_phrases
from .decoding_grid import KEPT, REVEALED, trim_padding
from .decoding_strategy import (
    DecodingRequest,
    DecodingSettings,
    DecodingStep,
    DecodingStrategy,
    EncodedSources,
    NATGenerateOutput,
    TranslationModel,
    choose_tokens,
)
from .editing import delete_tokens, find_changed, limit_counts, open_gaps, spread_over_gaps


@dataclass(frozen=True)
class EditSettings(DecodingSettings):
    """
    Settings of `generate()` for models that edit; `num_iterations` counts rounds of edits, of as many decoder passes
    as a round takes. Repeats are words that the model wants twice, and stay.

    Args:
        max_length_ratio (`float`): a translation has at most this many tokens per source token.
        max_tokens (`int`): and at most so many, `<s>` and `</s>` counted.
        empty_gap_penalty (`float`): subtracted from the score of inserting nothing, which makes translations longer.
    """

    stored: ClassVar[tuple[str, ...]] = ("num_iterations", "collapse_repeats", "empty_gap_penalty")

    num_iterations: int = 10
    collapse_repeats: bool = False
    max_length_ratio: float = 3.0
    max_tokens: int = 255
    empty_gap_penalty: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_counts("max_tokens", most=None)
        self.check_weights("max_length_ratio", "empty_gap_penalty")
        if self.length_beam_size != 1:
            raise ValueError("Edits decide how long a translation gets. Leave out length_beam_size.")


@dataclass(frozen=True)
class EditState:
    """
    Sequences after some rounds of edits.

    Args:
        sources ([`EncodedSources`]): of the batch.
        tokens (`torch.LongTensor` of shape `(B, T)`): `<s> … </s>`, right-padded.
        scores (`torch.FloatTensor` of shape `(B, T)`): log-probability of each word when it was inserted, else 0.
        phrase (`torch.LongTensor` of shape `(B, T)`): number from 1 of the given phrase that a token belongs to, which
            is neither deleted nor split; 0 for others.
        is_new (`torch.BoolTensor` of shape `(B, T)`): inserted in the latest round.
        is_open (`torch.BoolTensor` of shape `(B,)`): sentences that the latest round changed.
        num_passes, num_iterations (`int`): rounds done and planned.
        limits (`torch.LongTensor` of shape `(B,)`): most tokens of each sentence.
    """

    sources: EncodedSources
    tokens: torch.Tensor
    scores: torch.Tensor
    phrase: torch.Tensor
    is_new: torch.Tensor
    is_open: torch.Tensor
    num_passes: int
    num_iterations: int
    limits: torch.Tensor

    @property
    def is_finished(self) -> bool | torch.Tensor:
        """Whether all rounds are done, or another one would change nothing."""
        return (self.num_passes >= self.num_iterations) | ~self.is_open.any()


class EditDecoding(DecodingStrategy[EditState]):
    """
    What decoding by edits shares: the start, the limits, the words of open positions, the end. Sentences do not depend
    on each other: what one looks like decides alone what is done with it.
    """

    settings_class = EditSettings
    settings: EditSettings
    refused: ClassVar[dict[str, str]] = {
        "target_lengths": "Edits decide how long a translation gets.",
        "forced_tokens": "Edits move tokens; force phrases instead.",
        "language_model": "A language model scores the hypotheses of a beam, which edits have not.",
    }

    def init(self, sources: EncodedSources, request: DecodingRequest) -> EditState:
        check_phrases(request, sources.num_sentences, self.config)
        tokens, phrase = self._start(request, sources.num_sentences, sources.hidden.device)
        longest = min(self.settings.max_tokens, self.config.max_position_embeddings)
        limits = (sources.attention_mask.sum(dim=1) * self.settings.max_length_ratio).long().clamp(max=longest)
        return EditState(
            sources=sources,
            tokens=tokens,
            scores=torch.zeros(tokens.shape, device=tokens.device),
            phrase=phrase,
            is_new=torch.zeros_like(tokens, dtype=torch.bool),
            is_open=torch.ones(sources.num_sentences, dtype=torch.bool, device=tokens.device),
            num_passes=0,
            num_iterations=self.settings.num_iterations,
            # phrases that are given may be longer than the ratio allows
            limits=torch.maximum(limits, self.is_token(tokens).sum(dim=1)),
        )

    def sample_request(self, num_sentences: int, length: int) -> DecodingRequest:
        # `<s> </s>` alone would have one width: any word between them
        config = self.config
        no_words = {config.bos_token_id, config.pad_token_id, config.eos_token_id, config.mask_token_id}
        word = next(each for each in range(config.vocab_size) if each not in no_words)
        return DecodingRequest(forced_phrases=[[[word] * length]] * num_sentences)

    def _start(
        self, request: DecodingRequest, num_sentences: int, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`<s>`, the phrases in their order, `</s>`; and to which phrase each token belongs."""
        bos, eos, pad = self.config.bos_token_id, self.config.eos_token_id, self.config.pad_token_id
        if request.forced_phrases is None:
            tokens = torch.tensor([bos, eos], device=device).repeat(num_sentences, 1)
            return tokens, torch.zeros_like(tokens)
        given = request.forced_phrases
        rows = [[bos, *(token for each in phrases for token in each), eos] for phrases in given]
        owners = [[0, *(number for number, each in enumerate(phrases, start=1) for _ in each), 0] for phrases in given]
        width = max(map(len, rows))
        filled = [[row + [fill] * (width - len(row)) for row in table] for table, fill in ((rows, pad), (owners, 0))]
        tokens, phrase = (torch.tensor(table, device=device) for table in filled)
        return tokens, phrase

    def is_token(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, T): True up to the end of each sequence."""
        return tokens != self.config.pad_token_id

    def see(self, state: EditState, tokens: torch.Tensor) -> torch.Tensor:
        """Last decoder states (B, T, D) of sequences (B, T)."""
        return self.run_decoder(tokens, self.is_token(tokens), state.sources)

    def find_gaps(self, tokens: torch.Tensor, phrase: torch.Tensor, is_open: torch.Tensor) -> torch.Tensor:
        """(B, T - 1): gaps that something may be inserted into."""
        # between two tokens of one phrase; between two phrases there is a gap
        is_inside = (phrase[:, :-1] > 0) & (phrase[:, :-1] == phrase[:, 1:])
        return self.is_token(tokens)[:, 1:] & ~is_inside & is_open.unsqueeze(1)

    def choose(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Words (M,) and their log-probabilities (M,)."""
        return choose_tokens(
            logits,
            self.model.suppressed_token_ids(),
            do_sample=self.settings.do_sample,
            temperature=self.settings.temperature,
            generator=self.generator,
        )

    def record(self, state: EditState) -> DecodingStep:
        return DecodingStep(state.tokens, state.scores, torch.where(state.is_new, REVEALED, KEPT))

    def finish(self, state: EditState, history: list[DecodingStep]) -> NATGenerateOutput:
        tokens, scores = state.tokens, state.scores
        lengths = self.is_token(tokens).sum(dim=1)
        sequences = trim_padding(tokens, self.config.pad_token_id)
        return NATGenerateOutput(
            sequences=sequences,
            sequences_scores=scores.sum(dim=1) / lengths,
            token_scores=scores[:, : sequences.shape[1]] if self.settings.output_scores else None,
            history=self._fill_history(state, history) if self.settings.output_history else None,
        )

    def _fill_history(self, state: EditState, history: list[DecodingStep]) -> list[DecodingStep]:
        """`num_iterations` entries; rounds that were not needed changed nothing."""
        unchanged = DecodingStep(state.tokens, state.scores, torch.zeros_like(state.tokens))
        return [*history, *[unchanged] * (self.settings.num_iterations - len(history))]


class Editor(TranslationModel, Protocol):
    """A model that deletes tokens and opens gaps."""

    def score_deletions(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Logits (B, T, 2) of decoder states (B, T, D): whether each token stays or goes."""

    def score_insertions(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Logits (B, T - 1, C) of decoder states (B, T, D): how many tokens each gap gets."""


class LevenshteinEditing(EditDecoding):
    """
    Rounds of deleting, inserting placeholders and filling them (Gu et al. 2019, arXiv 1905.11006, §3.3); the first has
    nothing to delete. A sentence is done when a round leaves it as it was.
    """

    model: Editor

    def step(self, state: EditState) -> EditState:
        before = state.tokens
        # An exported step has no branches: it looks for what to delete between `<s>` and `</s>`, too.
        if torch.compiler.is_compiling() or state.num_passes or bool((state.phrase > 0).any()):
            state = self._delete(state)
        state = self._fill(self._insert(state))
        is_open = state.is_open
        if not self.settings.do_sample:
            # a sentence that was not open is not touched
            lengths = (self.is_token(tokens).sum(dim=1) for tokens in (before, state.tokens))
            is_open = find_changed(before, state.tokens, *lengths)
        return replace(state, is_open=is_open, num_passes=state.num_passes + 1)

    def _delete(self, state: EditState) -> EditState:
        hidden = self.see(state, state.tokens)
        is_deleted = self.model.score_deletions(hidden).argmax(dim=-1) == 1
        is_end = (state.tokens == self.config.bos_token_id) | (state.tokens == self.config.eos_token_id)
        is_deleted &= ~is_end & (state.phrase == 0) & self.is_token(state.tokens) & state.is_open.unsqueeze(1)
        tokens, scores, phrase = delete_tokens(
            is_deleted, (state.tokens, self.config.pad_token_id), (state.scores, 0.0), (state.phrase, 0)
        )
        return replace(state, tokens=tokens, scores=scores, phrase=phrase)

    def _insert(self, state: EditState) -> EditState:
        """Opens gaps with masks."""
        logits = self.model.score_insertions(self.see(state, state.tokens)).float()
        penalty = torch.zeros_like(logits[0, 0])
        # class 0 is inserting nothing
        penalty[0] = self.settings.empty_gap_penalty
        counts = (logits - penalty).argmax(dim=-1)
        counts = counts.masked_fill(~self.find_gaps(state.tokens, state.phrase, state.is_open), 0)
        lengths = self.is_token(state.tokens).sum(dim=1)
        # what is too much is cut from the right
        counts = limit_counts(counts, state.limits - lengths)
        tokens, scores, phrase, is_new, lengths = open_gaps(
            counts, lengths, (state.tokens, self.config.pad_token_id), (state.scores, 0.0), (state.phrase, 0)
        )
        tokens = tokens.masked_fill(is_new, self.config.mask_token_id)
        return replace(state, tokens=tokens, scores=scores, phrase=phrase, is_new=is_new)

    def _fill(self, state: EditState) -> EditState:
        """Words in place of masks."""
        is_read = state.is_new
        if torch.compiler.is_compiling():
            # no branch: something is read even where there is nothing to fill
            is_read = is_read | (state.tokens == self.config.bos_token_id)
        elif not bool(is_read.any()):
            return state
        hidden = self.run_decoder(state.tokens, self.is_token(state.tokens), state.sources, is_read)
        words, log_probs = self.choose(self.model.project_vocabulary(hidden))
        return replace(
            state,
            tokens=torch.where(state.is_new, state.tokens.masked_scatter(is_read, words), state.tokens),
            scores=torch.where(state.is_new, state.scores.masked_scatter(is_read, log_probs), state.scores),
        )


class Inserter(TranslationModel, Protocol):
    """A model that writes a word into a gap."""

    def gap_states(self, hidden_states: torch.Tensor, token_mask: torch.Tensor) -> torch.Tensor:
        """States of the gaps right of each token, from decoder states (B, T, D) and the mask of tokens (B, T)."""


class InsertionDecoding(EditDecoding):
    """
    A word or nothing into every gap at once (Stern et al. 2019, arXiv 1902.03249, §4.2); a sentence is done when all
    its gaps get nothing. `pad_token_id` is the sign for nothing.
    """

    model: Inserter

    def step(self, state: EditState) -> EditState:
        config, lengths = self.config, self.is_token(state.tokens).sum(dim=1)
        is_gap = self.find_gaps(state.tokens, state.phrase, state.is_open)
        # the state at a token is that of the gap after it; the last token has none
        states = self.model.gap_states(self.see(state, state.tokens), self.is_token(state.tokens))[:, :-1]
        logits = self.model.project_vocabulary(states[is_gap]).float()
        logits[:, config.pad_token_id] -= self.settings.empty_gap_penalty
        words, log_probs = self.choose(logits)
        chosen = torch.full(is_gap.shape, config.pad_token_id, device=is_gap.device).masked_scatter(is_gap, words)
        gained = torch.zeros(is_gap.shape, device=is_gap.device).masked_scatter(is_gap, log_probs)
        counts = limit_counts((chosen != config.pad_token_id).long(), state.limits - lengths)
        tokens, scores, phrase, is_new, _ = open_gaps(
            counts, lengths, (state.tokens, config.pad_token_id), (state.scores, 0.0), (state.phrase, 0)
        )
        return replace(
            state,
            tokens=torch.where(is_new, spread_over_gaps(is_new, chosen), tokens),
            scores=torch.where(is_new, spread_over_gaps(is_new, gained), scores),
            phrase=phrase,
            is_new=is_new,
            is_open=state.is_open & (counts > 0).any(dim=1),
            num_passes=state.num_passes + 1,
        )

    def choose(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Words (M,), or padding for nothing, and their log-probabilities (M,)."""
        # padding is suppressed everywhere else; here it is the sign for nothing
        suppressed = [each for each in self.model.suppressed_token_ids() if each != self.config.pad_token_id]
        return choose_tokens(
            logits,
            suppressed,
            do_sample=self.settings.do_sample,
            temperature=self.settings.temperature,
            generator=self.generator,
        )


__all__ = ["EditSettings", "EditState", "InsertionDecoding", "LevenshteinEditing"]
