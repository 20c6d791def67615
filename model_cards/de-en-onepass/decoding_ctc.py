# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Decoding of alignments with blanks in one pass: the likeliest path, or the likeliest target by prefix beam search.

Shapes: B batch, R rows (one per sentence), A alignment length (frames), M updated frames, C best symbols,
V vocabulary. Rows are padded on the right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import torch
from torch.nn import functional as F

from .alignment import collapse_alignment, prefix_beam_search
from .decoding_grid import BestTokens, DecodingState, GridState, GridStrategy, start_decoding, trim_padding
from .decoding_strategy import (
    DecodingRequest,
    DecodingSettings,
    DecodingStep,
    EncodedSources,
    LanguageModel,
    NATGenerateOutput,
    TranslationModel,
)
from .masking import collapse_repeats
from .prefix_search import search_targets


# Symbols of each frame that a prefix beam looks at. Source: the cut-off of DSLP's released decoder, 40.
_NUM_SYMBOLS = 40


@dataclass(frozen=True)
class CTCSettings(DecodingSettings):
    """
    Settings of `generate()` for models that write alignments: repeats that a blank keeps apart are meant.

    Args:
        prefix_beam_size (`int`): hypotheses of the prefix beam search; 1 takes the likeliest path.
        language_model_weight (`float`): α of `language_model`, which steers the prefix beam: after each frame those
            prefixes go on whose log p + α·log p_LM + β·tokens is highest.
        token_bonus (`float`): β, with a language model, whose scores favour short targets.
        blank_penalty (`float`): taken off the logit of the blank in every frame, which lengthens translations: a model
            that is unsure writes blanks. Source: known from CTC and transducer decoders of speech recognition.
    """

    stored: ClassVar[tuple[str, ...]] = (*DecodingSettings.stored, "prefix_beam_size")

    num_iterations: int = 1
    collapse_repeats: bool = False
    prefix_beam_size: int = 1
    language_model_weight: float = 0.3
    token_bonus: float = 0.0
    blank_penalty: float = 0.0

    def __post_init__(self) -> None:
        if self.length_beam_size != 1:
            raise ValueError(
                f"An Imputer predicts no length, so there is one candidate per sentence, got length_beam_size="
                f"{self.length_beam_size!r}. Leave length_beam_size out, or use prefix_beam_size."
            )
        super().__post_init__()
        self.check_weights("language_model_weight", "token_bonus", "blank_penalty")
        if self.prefix_beam_size > 1 and self.do_sample:
            raise ValueError(
                f"prefix_beam_size={self.prefix_beam_size} looks for the likeliest target, do_sample=True does not. "
                "Use prefix_beam_size=1 with samples."
            )

    def check_candidates(self) -> None:
        self.check_counts("prefix_beam_size")
        if self.num_return_sequences > self.prefix_beam_size:
            raise ValueError(
                f"The likeliest path gives one candidate per sentence, got num_return_sequences="
                f"{self.num_return_sequences!r} and prefix_beam_size={self.prefix_beam_size}. Leave "
                "num_return_sequences out, or raise prefix_beam_size."
            )


def make_templates(
    lengths: torch.Tensor, *, pad_token_id: int, mask_token_id: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Templates `mask … mask pad …`.

    Args:
        lengths (`torch.LongTensor` of shape `(R,)`): positions of each alignment.
        pad_token_id, mask_token_id (`int`): ids of the template's tokens.

    Returns:
        Ids (R, A), and their mask (R, A), True = position.
    """
    # all positions are content: an alignment has no `<s>` and `</s>`
    is_content = torch.arange(lengths.max().item(), device=lengths.device) < lengths.unsqueeze(1)
    tokens = torch.full(is_content.shape, pad_token_id, device=lengths.device)
    return tokens.masked_fill(is_content, mask_token_id), is_content


def collapse_rows(
    alignments: torch.Tensor,
    lengths: torch.Tensor,
    *,
    blank_token_id: int,
    bos_token_id: int,
    eos_token_id: int,
    pad_token_id: int,
) -> torch.Tensor:
    """
    Targets `<s> … </s> pad …` (R, A + 2) that alignments (R, A) of `lengths` (R,) stand for; `<s> </s>` where all is
    blank.
    """
    tokens, num_tokens = collapse_alignment(
        alignments, lengths, blank_token_id=blank_token_id, pad_token_id=pad_token_id
    )
    # one column for `<s>`, one for `</s>` of a row without padding
    framed = F.pad(F.pad(tokens, (1, 0), value=bos_token_id), (0, 1), value=pad_token_id)
    # + 1 for `<s>`
    return framed.scatter(1, num_tokens.unsqueeze(1) + 1, eos_token_id)


def search_row(
    tokens: torch.Tensor,
    log_probs: torch.Tensor,
    *,
    blank_token_id: int,
    beam_size: int,
    language_model: LanguageModel | None = None,
    language_model_weight: float = 0.0,
    token_bonus: float = 0.0,
) -> list[tuple[list[int], float]]:
    """
    Likeliest targets of one alignment, best first, with their scores.

    Args:
        tokens (`torch.LongTensor` of shape `(A, C)`): symbols of each frame that are looked at, likeliest first.
        log_probs (`torch.FloatTensor` of shape `(A, C)`): their log-probabilities.
        blank_token_id (`int`): the blank, in every frame or not.
        beam_size (`int`): hypotheses kept.
        language_model ([`LanguageModel`], *optional*): steers the search, see [`search_targets`].
        language_model_weight, token_bonus (`float`): α and β of `CTCSettings`.
    """
    if language_model is not None:
        return search_targets(
            tokens.tolist(),
            log_probs.tolist(),
            blank_token_id=blank_token_id,
            beam_size=beam_size,
            language_model=language_model,
            language_model_weight=language_model_weight,
            token_bonus=token_bonus,
        )
    # The search takes every symbol of a vocabulary: here only those that occur, blank first.
    symbols = [blank_token_id, *sorted(set(tokens.flatten().tolist()) - {blank_token_id})]
    # + 1 for the blank, which is first and not in the sorted rest
    index = torch.searchsorted(torch.tensor(symbols[1:]), tokens.cpu()) + 1
    index = index.masked_fill(tokens.cpu() == blank_token_id, 0)
    dense = torch.full((len(tokens), len(symbols)), -torch.inf)
    # Fillers repeat a symbol with probability 0.
    dense = dense.scatter_reduce_(1, index, log_probs.cpu(), "amax")
    found = prefix_beam_search(dense, blank_token_id=0, beam_size=beam_size)
    return [([symbols[position] for position in ids], score) for ids, score in found]


class AlignmentWriter(TranslationModel, Protocol):
    """A model whose alignments are as long as it says."""

    def template_lengths(self, attention_mask: torch.Tensor) -> torch.Tensor:
        """Frames (B,) of the alignments of sources, by their mask (B, S)."""


class CTCDecoding(GridStrategy):
    """One pass over masks; frames are as many as the model's `template_lengths` says."""

    settings_class = CTCSettings
    settings: CTCSettings
    model: AlignmentWriter
    refused: ClassVar[dict[str, str]] = {
        "target_lengths": "An Imputer does not fix the length of a translation: blanks decide it.",
        "forced_tokens": "The positions of an alignment are not those of a translation, so none can be forced.",
        "forced_phrases": "The positions of an alignment are not those of a translation, so none can be forced.",
    }

    def init(self, sources: EncodedSources, request: DecodingRequest) -> GridState:
        self.language_model = request.language_model
        if self.language_model is not None and self.settings.prefix_beam_size == 1:
            raise ValueError("A language model steers a prefix beam search. Give prefix_beam_size, such as 20.")
        self.num_best = min(_NUM_SYMBOLS, self.config.vocab_size) if self.settings.prefix_beam_size > 1 else 1
        return super().init(sources, request)

    def candidate_lengths(
        self, sources: EncodedSources, request: DecodingRequest
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Frames of the one alignment of each sentence: (B, 1)."""
        return self.model.template_lengths(sources.attention_mask).unsqueeze(1), None

    def make_templates(self, lengths: torch.Tensor, request: DecodingRequest) -> DecodingState:
        config = self.config
        templates = make_templates(lengths, pad_token_id=config.pad_token_id, mask_token_id=config.mask_token_id)
        return start_decoding(*templates, self.settings.num_iterations)

    def compute_logits(self, state: GridState) -> torch.Tensor:
        logits = super().compute_logits(state)
        if self.settings.blank_penalty:
            # in place: they are of this pass alone
            logits[:, self.config.blank_token_id] -= self.settings.blank_penalty
        return logits

    def advance(self, state: GridState, logits: torch.Tensor) -> GridState:
        if state.best is not None:
            # What an earlier pass revealed is certain now; only frames of a sentence's last pass have alternatives.
            certain = BestTokens.certain(state.hypotheses, self.num_best)
            computed = torch.zeros(len(state.tokens), 1, 1, dtype=torch.bool, device=logits.device)
            computed[state.inputs.rows] = True
            best = BestTokens(
                torch.where(computed, certain.tokens, state.best.tokens),
                torch.where(computed, certain.log_probs, state.best.log_probs),
            )
            state = replace(state, best=best)
        return super().advance(state, logits)

    def read_out(self, hypotheses: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        config = self.config
        return collapse_rows(
            hypotheses,
            lengths,
            blank_token_id=config.blank_token_id,
            bos_token_id=config.bos_token_id,
            eos_token_id=config.eos_token_id,
            pad_token_id=config.pad_token_id,
        )

    def finish(self, state: GridState, history: list[DecodingStep]) -> NATGenerateOutput:
        """The likeliest paths, or the n best of a prefix beam; their scores are divided by the frames."""
        if state.best is None:
            return super().finish(state, history)
        settings, config = self.settings, self.config
        rows, scores = [], []
        for row, length in enumerate(state.grid.lengths.flatten().tolist()):
            found = search_row(
                state.best.tokens[row, :length],
                state.best.log_probs[row, :length],
                blank_token_id=config.blank_token_id,
                beam_size=settings.prefix_beam_size,
                language_model=self.language_model,
                language_model_weight=settings.language_model_weight,
                token_bonus=settings.token_bonus,
            )[: settings.num_return_sequences]
            # A short alignment may stand for fewer targets than were asked for.
            found += [([], -torch.inf)] * (settings.num_return_sequences - len(found))
            rows += [[config.bos_token_id, *ids, config.eos_token_id] for ids, _ in found]
            scores += [score / length for _, score in found]
        device, width = state.tokens.device, max(map(len, rows))
        sequences = torch.tensor([ids + [config.pad_token_id] * (width - len(ids)) for ids in rows], device=device)
        if settings.collapse_repeats:
            sequences = trim_padding(collapse_repeats(sequences, config.pad_token_id), config.pad_token_id)
        # scores of tokens and history are those of the likeliest path; a hypothesis has no path of its own
        output = super().finish(replace(state, best=None), history)
        output.sequences, output.sequences_scores = sequences, torch.tensor(scores, device=device)
        return output


__all__ = ["CTCDecoding", "CTCSettings", "collapse_rows", "make_templates", "search_row"]
