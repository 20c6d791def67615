# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""EM's choice of targets: of an autoregressive model's best translations, the one a one-pass model finds likeliest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from dims_hf.data.beam_search import Alternative, BeamTranslator, TranslatedRow, model_fingerprint
from dims_hf.distillation import score_targets
from dims_hf.models.modeling_translation import NATForConditionalGeneration
from dims_hf.translation.batching import batches_by_budget


class SelectingTranslator:
    """
    A beam search whose translations are ordered anew: first the one that a non-autoregressive model likes most.

    Translations that did not end, or are empty, are not chosen; the others keep the order of the beam search, which
    also decides between equals.

    Source: Sun and Yang 2020 (arXiv 2006.16378), E-step: what the non-autoregressive model gives the highest score.

    Args:
        translator ([`BeamTranslator`]): keeps several translations of each source.
        model (`NATForConditionalGeneration`): the model that chooses.
        tokenizer (`PreTrainedTokenizerBase`): its tokenizer.

    Raises:
        ValueError: for a translator that keeps one translation.
    """

    def __init__(
        self, translator: BeamTranslator, model: NATForConditionalGeneration, tokenizer: PreTrainedTokenizerBase
    ):
        if translator.generation_config.num_return_sequences < 2:
            raise ValueError("selector has nothing to choose from. Set num_hypotheses to 2 or more.")
        self.translator, self.model, self.tokenizer = translator, model, tokenizer

    def settings(self) -> dict[str, Any]:
        """What the choice depends on."""
        return {"selector_fingerprint": model_fingerprint(self.model)}

    def __call__(self, sources: Sequence[str], on_batch: Callable[[int], object] | None = None) -> list[TranslatedRow]:
        """Translates sources, as [`BeamTranslator`]; the translation chosen is the row's own."""
        rows = self.translator(sources, on_batch)
        pairs = [
            (row, place, source, text)
            for row, (source, translated) in enumerate(zip(sources, rows, strict=True))
            for place, (text, is_complete) in enumerate(_candidates(translated))
            if text and is_complete
        ]
        scores = self._score([source for _, _, source, _ in pairs], [text for *_, text in pairs])
        best: dict[int, tuple[float, int]] = {}
        for (row, place, _, _), score in zip(pairs, scores, strict=True):
            if row not in best or score > best[row][0]:
                best[row] = score, place
        return [
            _choose(translated, best[row][1]) if row in best else translated for row, translated in enumerate(rows)
        ]

    def _score(self, sources: Sequence[str], targets: Sequence[str]) -> list[float]:
        """Log-likelihood of each target."""
        if not sources:
            return []
        input_ids = self.tokenizer(list(sources), truncation=False, verbose=False)["input_ids"]
        labels = self.tokenizer(text_target=list(targets), truncation=False, verbose=False)["input_ids"]
        # all targets of a source in one batch, where the model reads the source once
        rows: dict[tuple[int, ...], list[int]] = {}
        for row, source in enumerate(input_ids):
            rows.setdefault(tuple(source), []).append(row)
        groups = list(rows.values())
        sizes = [len(group) * max(len(each[row]) for row in group for each in (input_ids, labels)) for group in groups]
        scores = [0.0] * len(labels)
        for batch in batches_by_budget(sizes, self.translator.max_tokens_per_batch):
            places = [row for number in batch for row in groups[number]]
            found = score_targets(self.model, [input_ids[row] for row in places], [labels[row] for row in places])
            for row, score in zip(places, found, strict=True):
                scores[row] = score
        return scores


def _candidates(row: TranslatedRow) -> list[tuple[str | None, bool]]:
    """Text and completeness of a source's translations, best first."""
    return [(row.text, row.is_complete), *((each.text, each.is_complete) for each in row.alternatives)]


def _choose(row: TranslatedRow, place: int) -> TranslatedRow:
    """The row with another of its translations as its own, the rest in their order."""
    if place == 0 or row.text is None:
        return row
    everything = [Alternative(row.text, row.target_tokens, row.is_complete), *row.alternatives]
    chosen = everything.pop(place)
    return replace(
        row,
        text=chosen.text,
        target_tokens=chosen.target_tokens,
        is_complete=chosen.is_complete,
        alternatives=tuple(everything),
    )
