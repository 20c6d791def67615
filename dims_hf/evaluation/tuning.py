# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Chooses the decoding rules that need no training on a validation set, and stores them with the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dims_hf._output import filling, holding
from dims_hf.evaluation.bleu import References, bleu, score
from dims_hf.models.capabilities import is_non_autoregressive
from dims_hf.translation import translate


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from dims_hf.models.decoding_strategy import LanguageModel


REPEAT_PENALTIES = (0.0, 0.5, 1.0, 2.0)
LENGTH_SCORE_WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3)
PREFIX_BEAM_SIZES = (1, 5, 20)
BLANK_PENALTIES = (0.0, 0.5, 1.0, 2.0)
GRAPH_SEARCHES = ("lookahead", "joint_viterbi", "beam")
PATH_LENGTH_PENALTIES = (0.5, 1.0, 2.0, 3.5)
LANGUAGE_MODEL_WEIGHTS = (0.0, 0.1, 0.3, 0.6, 1.0)
TOKEN_BONUSES = (0.0, 0.5, 1.0)


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


@dataclass(frozen=True)
class TuningGrid:
    """
    Values to try; a model's family decides which of them.

    Args:
        length_beam_size (`int`, *optional*): length candidates of all combinations; as many as the model has when
            `None`. With 1 there is nothing to weigh.
        repeat_penalties, length_score_weights (`Sequence[float]`): of models that predict a length.
        prefix_beam_sizes (`Sequence[int]`): of models that write alignments; the largest, with a language model.
        blank_penalties (`Sequence[float]`): of the same, without a language model, whose `token_bonuses` lengthen too.
        graph_searches (`Sequence[str]`), path_length_penalties (`Sequence[float]`): of models that write graphs; with
            a language model, the beam alone.
        language_model_weights, token_bonuses (`Sequence[float]`): α and β of a language model in a prefix beam; the
            beam of a graph has α, and `path_length_penalties` in the place of β.
    """

    length_beam_size: int | None = None
    repeat_penalties: Sequence[float] = REPEAT_PENALTIES
    length_score_weights: Sequence[float] = LENGTH_SCORE_WEIGHTS
    prefix_beam_sizes: Sequence[int] = PREFIX_BEAM_SIZES
    blank_penalties: Sequence[float] = BLANK_PENALTIES
    graph_searches: Sequence[str] = GRAPH_SEARCHES
    path_length_penalties: Sequence[float] = PATH_LENGTH_PENALTIES
    language_model_weights: Sequence[float] = LANGUAGE_MODEL_WEIGHTS
    token_bonuses: Sequence[float] = TOKEN_BONUSES

    def combinations(self, model: PreTrainedModel, *, has_language_model: bool) -> list[dict[str, Any]]:
        """
        Keyword arguments of `generate()` to try; the model's own come first, whether or not they are in the grid.

        Raises:
            ValueError: nothing to try, a family without such rules, or a language model for one without a beam.
        """
        settings = model.decoding_settings()  # type: ignore[operator]
        known = settings.names()
        if self.length_beam_size not in (None, 1) and not model.config.predicts_length:
            raise ValueError(
                f"{type(model).__name__} predicts no length, got length_beam_size={self.length_beam_size}. Leave it "
                "out."
            )
        if "prefix_beam_size" in known:
            found = self._of_alignments(has_language_model)
        elif "graph_search" in known:
            found = self._of_graphs(has_language_model)
        elif has_language_model:
            raise ValueError(
                f"{type(model).__name__} has no beam that a language model could steer: models that write alignments "
                "(CTC) or graphs (DA-Transformer) have one. Leave out the language model."
            )
        elif "repeat_penalty" in known:
            beam = settings.length_beam_size if self.length_beam_size is None else self.length_beam_size
            found = self._of_lengths(beam, (0.0,) if "repeat_penalty" in settings.refused else self.repeat_penalties)
        else:
            raise ValueError(f"{type(model).__name__} has no decoding rules to choose among: it decodes in one way.")
        if not found:
            raise ValueError("There are no values to try. Give at least one of each.")
        if has_language_model:
            # its weights mean nothing for another language model
            return found
        current = _current_settings(settings, found)
        return [current, *(combination for combination in found if combination != current)]

    def _of_lengths(self, beam: int, repeat_penalties: Sequence[float]) -> list[dict[str, Any]]:
        weights = self.length_score_weights if beam > 1 else (0.0,)
        return [
            {"length_beam_size": beam, "length_score_weight": weight, "repeat_penalty": penalty}
            for penalty, weight in product(repeat_penalties, weights)
        ]

    def _of_alignments(self, has_language_model: bool) -> list[dict[str, Any]]:
        if not has_language_model:
            return [
                {"prefix_beam_size": size, "blank_penalty": penalty}
                for size, penalty in product(self.prefix_beam_sizes, self.blank_penalties)
            ]
        # the likeliest path alone has nothing to steer
        size = max(*self.prefix_beam_sizes, 2)
        return [
            {"prefix_beam_size": size, "language_model_weight": weight, "token_bonus": bonus}
            for weight, bonus in product(self.language_model_weights, self.token_bonuses)
        ]

    def _of_graphs(self, has_language_model: bool) -> list[dict[str, Any]]:
        if has_language_model:
            return [
                {"graph_search": "beam", "language_model_weight": weight, "path_length_penalty": penalty}
                for weight, penalty in product(self.language_model_weights, self.path_length_penalties)
            ]
        by_length = [search for search in self.graph_searches if search not in ("greedy", "lookahead")]
        found: list[dict[str, Any]] = [
            {"graph_search": search} for search in self.graph_searches if search not in by_length
        ]
        pairs = product(by_length, self.path_length_penalties)
        return found + [{"graph_search": search, "path_length_penalty": penalty} for search, penalty in pairs]


def _current_settings(settings: Any, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A model's own values of what its combinations set; the number of length candidates is not among the choices."""
    search = getattr(settings, "graph_search", None)
    # only some searches in graphs have a penalty
    alike = next((each for each in found if each.get("graph_search") == search), found[0])
    fixed = {name: value for name, value in alike.items() if name == "length_beam_size"}
    return {name: getattr(settings, name) for name in alike} | fixed


def tune_decoding(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[str],
    references: References,
    *,
    metric: str = "bleu",
    margin: float = 0.0,
    max_tokens_per_batch: int = 4096,
    language_model: LanguageModel | None = None,
    **values: Any,
) -> list[TuningTrial]:
    """
    Scores every combination of decoding rules that the model has, its own among them, best first.

    `generation_config` is not changed.

    Args:
        model (`PreTrainedModel`): a translation model of this package.
        tokenizer (`PreTrainedTokenizerBase`): its tokenizer.
        sources, references (`Sequence[str]`): validation set, never the test set; of references one per source, or a
            list of them.
        metric (`str`): `bleu` or `chrf`, decides what is best.
        margin (`float`): of combinations that are at most so far below the highest score, the one best by the other
            metric is the best; of equals, the first combination tried.
        max_tokens_per_batch (`int`): padded tokens per batch.
        language_model ([`LanguageModel`], *optional*): steers the beam of every combination; its weight, and what
            makes up for its liking of short sentences, are then what is tried.
        values (`Any`): fields of [`TuningGrid`].

    Returns:
        `list[TuningTrial]`.

    Raises:
        ValueError: for an autoregressive model, another metric, no values to try, an impossible one, or a language
            model for a model without a beam.
    """
    if not is_non_autoregressive(model.config):
        raise ValueError(
            f"{type(model).__name__} is autoregressive, and has no decoding rules to tune. Give a model of this "
            "package."
        )
    if metric not in ("bleu", "chrf"):
        raise ValueError(f"metric must be bleu or chrf, got {metric!r}.")
    if not margin >= 0:
        raise ValueError(f"margin must be >= 0, got {margin}. Use 0 to let {metric} alone decide.")
    has_language_model = language_model is not None
    trials = []
    for settings in TuningGrid(**values).combinations(model, has_language_model=has_language_model):
        options = {**settings, "language_model": language_model} if has_language_model else settings
        translated = translate(model, tokenizer, sources, max_tokens_per_batch=max_tokens_per_batch, **options)
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


__all__ = ["TuningGrid", "TuningTrial", "rank_trials", "store_decoding", "tune_decoding"]
