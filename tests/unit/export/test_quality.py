# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Scores of exported systems: BLEU with brevity penalty, chrF, and BLEU before repeats are collapsed."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dims_hf.export.quality import Outputs, described_scores, outputs_of, score_systems


REFERENCES = ["the small cat sat on the old mat", "we have a house near the river"]


class Repeating:
    """Writes its source, the last word twice unless repeats are collapsed."""

    def __init__(self, collapses: bool) -> None:
        self.settings: dict[str, Any] = {"collapse_repeats": collapses}

    def translate(self, sources: list[str]) -> list[str]:
        repeat = not self.settings["collapse_repeats"]
        return [f"{source} {source.split()[-1]}" if repeat else source for source in sources]


def test_outputs_have_both_texts_and_leave_the_translator_as_it_was():
    translator = Repeating(True)
    assert outputs_of(translator, ["a b"]) == Outputs(["a b"], ["a b b"])
    assert translator.settings == {"collapse_repeats": True}
    assert outputs_of(Repeating(False), ["a b"]) == Outputs(["a b b"], ["a b b"])


def test_scores_of_each_system_have_their_other_half():
    short = [" ".join(text.split()[:4]) for text in REFERENCES]
    quality = score_systems(
        {"fp32": outputs_of(Repeating(True), REFERENCES), "int8": Outputs(short, short)}, REFERENCES
    )
    assert quality["num_sentences"] == 2
    assert quality["bleu"]["fp32"] == pytest.approx(100.0) and quality["chrf"]["fp32"] == pytest.approx(100.0)
    assert quality["brevity_penalty"]["fp32"] == 1.0
    assert 0 < quality["bleu_before_collapse"]["fp32"] < 100
    # 8 of 15 words, all of them right: BLEU is the penalty alone
    penalty = math.exp(1 - 15 / 8)
    assert quality["brevity_penalty"]["int8"] == pytest.approx(penalty)
    assert quality["bleu"]["int8"] == pytest.approx(100 * penalty)
    assert quality["bleu_before_collapse"]["int8"] == quality["bleu"]["int8"]
    assert "refs" in quality["bleu_signature"] and "nc:6" in quality["chrf_signature"]
    line = described_scores(quality)
    assert line.startswith("fp32 100.00 (brevity penalty 1.000, chrF 100.00, BLEU before repeats are collapsed ")
    assert f"; int8 {100 * penalty:.2f} (brevity penalty {penalty:.3f}, " in line
