# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Repetition and verdict shares by hand."""

from __future__ import annotations

import pytest

from dims_hf.evaluation import repetition_rate, verdict_shares


@pytest.mark.parametrize(
    ("sentences", "tokens", "share"),
    [
        ([], 0.0, 0.0),
        ([[]], 0.0, 0.0),
        ([[5]], 0.0, 0.0),
        ([[5, 6, 5]], 0.0, 0.0),
        ([[5, 5]], 1 / 2, 1.0),
        # two of eight tokens equal their right neighbour, in one of three sentences
        ([[5, 5, 5], [5, 6], [5, 6, 7]], 2 / 8, 1 / 3),
        # neighbours in different sentences are no repetition
        ([[5], [5]], 0.0, 0.0),
    ],
)
def test_repetition_rate_known_rows_by_hand(sentences, tokens, share):
    assert repetition_rate(sentences) == {"repeated_tokens": tokens, "repeated_sentences": share}


def test_verdict_shares_known_verdicts_by_hand():
    verdicts = {"a": "valid", "b": "valid", "c": "mixture", "d": "wrong"}
    shares = verdict_shares(["s"] * 4, list("abcd"), lambda source, hypothesis: verdicts[hypothesis])
    assert shares == {"valid": 0.5, "mixture": 0.25, "wrong": 0.25}


def test_verdict_shares_unknown_verdict_is_refused():
    with pytest.raises(ValueError, match=r"The judge said \['maybe'\]"):
        verdict_shares(["s"], ["h"], lambda source, hypothesis: "maybe")


@pytest.mark.parametrize(("sources", "hypotheses"), [([], []), (["s"], [])])
def test_verdict_shares_unequal_counts_are_refused(sources, hypotheses):
    with pytest.raises(ValueError, match="Give one of each"):
        verdict_shares(sources, hypotheses, lambda source, hypothesis: "valid")
