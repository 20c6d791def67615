# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The share of a gap by hand, and which pairs are compared."""

from __future__ import annotations

import copy

import pytest

from dims_hf.evaluation import compare_with_bootstrap, find_record, gap_closed


def test_gap_closed_known_scores_by_hand(results):
    teacher, student = results["systems"]
    # (28 - 20) / (30 - 20); the record with reference lengths (31) does not count
    assert gap_closed(teacher, student) == results["gap_closed"]


def test_gap_closed_without_a_gap_or_a_record_is_none(results):
    teacher, student = copy.deepcopy(results["systems"])
    assert gap_closed(teacher, student, length_beam_size=5) is None
    assert gap_closed(teacher, student, metric="no_such_field") is None
    assert gap_closed(student, student) is None
    find_record(teacher, 10)["bleu"] = 20.0
    assert gap_closed(teacher, student) is None


def test_find_record_tells_predicted_from_reference_lengths(results):
    teacher = results["systems"][0]
    assert find_record(teacher, 10)["bleu"] == 30.0
    assert find_record(teacher, 10, oracle_length=True)["bleu"] == 31.0
    assert find_record(teacher, 3) is None


def test_compare_with_bootstrap_takes_fewest_and_most_iterations():
    references = [f"number {row} is the number of this sentence" for row in range(30)]
    poor = [" ".join(text.split()[::2]) for text in references]
    comparisons = compare_with_bootstrap(
        {1: poor, 2: poor, 10: references}, {1: references, 4: poor}, references, num_samples=50
    )
    assert [list(comparison["systems"]) for comparison in comparisons] == [
        ["teacher@1", "student@1"],
        ["teacher@10", "student@1"],
    ]
    p_values = [comparison["systems"]["student@1"]["bleu_p_value"] for comparison in comparisons]
    assert p_values == [pytest.approx(1 / 51), 1.0]


def test_gap_closed_shows_the_brevity_penalty_where_it_was_measured(results):
    teacher, student = copy.deepcopy(results["systems"])
    for record in (*teacher["records"], *student["records"]):
        record["brevity_penalty"] = 0.8 if record["num_iterations"] == 1 else 1.0
    assert gap_closed(teacher, student)["brevity_penalty"] == {
        "teacher_one": 0.8, "teacher_most": 1.0, "student_one": 0.8
    }  # fmt: skip
    assert "brevity_penalty" not in gap_closed(teacher, student, metric="chrf")
