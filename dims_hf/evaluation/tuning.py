# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Chooses the decoding rules that need no training on a validation set, and stores them with the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dims_hf._output import filling, holding
from dims_hf.evaluation.bleu import bleu, score
from dims_hf.translation import translate


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


REPEAT_PENALTIES = (0.0, 0.5, 1.0, 2.0)
LENGTH_SCORE_WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3)
PREFIX_BEAM_SIZES = (1, 5, 20)


@dataclass(frozen=True)
class TuningTrial:
    """
    One combination of rules and what it scores on the validation set.

    Args:
        settings (`dict`): keyword arguments of `generate()`.
        bleu, chrf (`float`): 0 to 100.
        brevity_penalty (`float`): what BLEU owes to length, 0 to 1.
        bleu_before_collapse (`float`): BLEU before repeats are collapsed.
    """

    settings: dict[str, Any]
    bleu: float
    chrf: float
    brevity_penalty: float = math.nan
    bleu_before_collapse: float = math.nan


def tune_decoding(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[str],
    references: Sequence[str],
    *,
    metric: str = "bleu",
    margin: float = 0.0,
    length_beam_size: int = 1,
    repeat_penalties: Sequence[float] = REPEAT_PENALTIES,
    length_score_weights: Sequence[float] = LENGTH_SCORE_WEIGHTS,
    prefix_beam_sizes: Sequence[int] = PREFIX_BEAM_SIZES,
    max_tokens_per_batch: int = 4096,
) -> list[TuningTrial]:
    """
    Scores every combination of decoding rules that the model has, best first; `generation_config` is not changed.

    Args:
        model (`PreTrainedModel`): a translation model of this package.
        tokenizer (`PreTrainedTokenizerBase`): its tokenizer.
        sources, references (`Sequence[str]`): validation set; never the test set.
        metric (`str`): `bleu` or `chrf`, decides what is best.
        margin (`float`): of combinations that are at most so far below the highest score, the one best by the other
            metric is the best; of equals, the first combination tried.
        length_beam_size (`int`): length candidates of all combinations; with 1 there is nothing to weigh.
        repeat_penalties, length_score_weights (`Sequence[float]`): values to try for models that predict a length.
        prefix_beam_sizes (`Sequence[int]`): values to try for models that write alignments.
        max_tokens_per_batch (`int`): padded tokens per batch.

    Returns:
        `list[TuningTrial]`.

    Raises:
        ValueError: for another metric, no values to try, or an impossible one.
    """
    if metric not in ("bleu", "chrf"):
        raise ValueError(f"metric must be bleu or chrf, got {metric!r}.")
    if not margin >= 0:
        raise ValueError(f"margin must be >= 0, got {margin}. Use 0 to let {metric} alone decide.")
    combinations: list[dict[str, Any]]
    if model.config.writes_alignments:
        combinations = [{"prefix_beam_size": size} for size in prefix_beam_sizes]
    else:
        weights = length_score_weights if length_beam_size > 1 else (0.0,)
        combinations = [
            {"length_beam_size": length_beam_size, "length_score_weight": weight, "repeat_penalty": penalty}
            for penalty in repeat_penalties
            for weight in weights
        ]
    if not combinations:
        raise ValueError("There are no values to try. Give at least one of each.")
    trials = []
    for settings in combinations:
        translated = translate(model, tokenizer, sources, max_tokens_per_batch=max_tokens_per_batch, **settings)
        scores = score([translation.text for translation in translated], list(references))
        before = bleu([translation.raw_text for translation in translated], list(references))["bleu"]
        found, chrf, penalty = (float(scores[name]) for name in ("bleu", "chrf", "brevity_penalty"))
        trials.append(TuningTrial(settings, found, chrf, penalty, float(before)))
    return rank_trials(trials, metric, margin)


def rank_trials(trials: Sequence[TuningTrial], metric: str, margin: float) -> list[TuningTrial]:
    """Trials by `metric`, after the one that `margin` lets the other metric choose among the best."""
    other = "chrf" if metric == "bleu" else "bleu"
    ranked = sorted(trials, key=lambda trial: -getattr(trial, metric))
    least = getattr(ranked[0], metric) - margin
    close = [trial for trial in ranked if getattr(trial, metric) >= least]
    best = max(close, key=lambda trial: getattr(trial, other)) if margin > 0 else ranked[0]
    return [best, *(trial for trial in ranked if trial is not best)]


def store_decoding(model: PreTrainedModel, settings: dict[str, Any], folder: str) -> None:
    """Makes `settings` the defaults of `model`, and writes them to generation_config.json in `folder`."""
    model.generation_config.update(**settings)
    for name, value in settings.items():
        # `update` passes over fields that an older checkpoint does not have.
        setattr(model.generation_config, name, value)
    with holding(folder), filling(Path(folder), ".model.") as partial:
        model.generation_config.save_pretrained(partial)


__all__ = ["TuningTrial", "rank_trials", "store_decoding", "tune_decoding"]
