# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What exported systems are worth on a test set: BLEU with its other half, for `export.json` and the card."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple


if TYPE_CHECKING:
    from dims_hf.native import NativeTranslator

    from .onnx_translator import OnnxTranslator

# What stands beside BLEU wherever it is reported.
OTHER_HALF = ("brevity_penalty", "chrf", "bleu_before_collapse")


class Outputs(NamedTuple):
    """Translations of a test set, and the same before repeats are collapsed."""

    texts: Sequence[str]
    raw_texts: Sequence[str]


def outputs_of(translator: OnnxTranslator | NativeTranslator, sources: Sequence[str]) -> Outputs:
    """What an exported translator writes; twice as long where its repeats are collapsed."""
    texts = translator.translate(sources)
    if not translator.settings["collapse_repeats"]:
        return Outputs(texts, texts)
    # a copy, so that the translator goes on as it is described
    uncollapsed = copy.copy(translator)
    uncollapsed.settings = {**translator.settings, "collapse_repeats": False}
    return Outputs(texts, uncollapsed.translate(sources))


def score_systems(systems: Mapping[str, Outputs], references: Sequence[str]) -> dict[str, Any]:
    """
    Scores of several systems on one test set.

    Args:
        systems (`dict[str, Outputs]`): name to what the system wrote.
        references (`Sequence[str]`): one for each of its texts.

    Returns:
        `dict`: `num_sentences`, the signatures, and for each of `bleu`, `brevity_penalty`, `chrf` and
        `bleu_before_collapse` the systems' names to their scores.
    """
    from dims_hf.evaluation import bleu, score

    scored = {}
    for name, (texts, raw_texts) in systems.items():
        before = bleu([text.strip() for text in raw_texts], references)["bleu"]
        scored[name] = {**score([text.strip() for text in texts], references), "bleu_before_collapse": before}
    some = next(iter(scored.values()))
    return {
        "num_sentences": len(references),
        **{field: {name: scores[field] for name, scores in scored.items()} for field in ("bleu", *OTHER_HALF)},
        **{name: some[name] for name in ("bleu_signature", "chrf_signature")},
    }


def described_scores(quality: Mapping[str, Any]) -> str:
    """What [`score_systems`] found, in one line: each system's BLEU with its other half."""
    return "; ".join(
        f"{name} {quality['bleu'][name]:.2f} (brevity penalty {quality['brevity_penalty'][name]:.3f}, chrF "
        f"{quality['chrf'][name]:.2f}, BLEU before repeats are collapsed {quality['bleu_before_collapse'][name]:.2f})"
        for name in quality["bleu"]
    )
