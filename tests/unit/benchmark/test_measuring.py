# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Turns, rounds and latencies with a clock that the test moves."""

from __future__ import annotations

from typing import Any

import pytest

from dims_hf.benchmark.measuring import Timed, check_lengths, measure_rounds, warm_up
from dims_hf.benchmark.workloads import Batch, Workload, corpus_workload, random_workload


class Clocked:
    """A translator that echoes its batch and takes the seconds it is told; every call is noted in a shared log."""

    def __init__(self, name: str, seconds: list[float], time: list[float], log: list[str]) -> None:
        self.name, self.seconds, self.time, self.log = name, iter(seconds), time, log

    def prepare(self, batch: Batch) -> Batch:
        return batch

    def run(self, inputs: Batch) -> Batch:
        self.log.append(self.name)
        self.time[0] += next(self.seconds)
        return inputs

    def rows(self, outputs: Batch) -> list[list[int]]:
        return [row[1:-1] for row in outputs.rows]


def test_measure_rounds_systems_take_turns_and_each_goes_once_untimed():
    log: list[str] = []
    time = [0.0]
    systems: dict[str, Any] = {}
    for name in "AB":
        # an untimed call, then one timed call, in every round
        translator = Clocked(name, [9.0, 1.0, 9.0, 3.0], time, log)
        systems[name] = Timed(translator, ["batch"], [[5]], 0.0, steady_seconds=0.3)
    measure_rounds(systems, 2, "cpu", clock=lambda: time[0])
    assert "".join(log) == "AABBAABB"
    assert systems["A"].rounds == systems["B"].rounds == [[1.0], [3.0]]


def test_measure_rounds_slow_system_goes_straight_to_the_clock():
    log: list[str] = []
    time = [0.0]
    timed = Timed(Clocked("A", [2.0], time, log), ["batch"], [[5]], 0.0, steady_seconds=2.0)
    measure_rounds({"A": timed}, 1, "cpu", clock=lambda: time[0])
    assert timed.rounds == [[2.0]]


def test_warm_up_keeps_the_first_call_and_puts_outputs_in_the_order_of_the_corpus():
    time = [0.0]
    workload = corpus_workload([[0, 7, 2], [0, 8, 9, 2], [0, 6, 2]], batch_size=2, max_tokens=99)
    timed = warm_up(Clocked("A", [5.0, 1.0, 1.5], time, []), workload, "cpu", clock=lambda: time[0])
    assert timed.outputs == [[7], [8, 9], [6]]
    assert (timed.first_seconds, timed.steady_seconds) == (5.0, 1.5)


def test_summary_by_hand():
    workload = Workload([Batch([[0, 5, 6, 2], [0, 7, 8, 2]], [0, 1])], forced_tokens=2)
    timed = Timed(None, [None], [[5, 6], [7, 8]], 9.0, 0.1, rounds=[[0.1, 0.2, 0.6], [0.4, 0.4, 0.4]])
    summary = timed.summary(workload)
    assert summary["round_ms"] == pytest.approx([200.0, 400.0])
    assert summary["p50_ms"] == pytest.approx(400.0)
    assert summary["p95_ms"] == pytest.approx(550.0)
    assert summary["sentences_per_second"] == pytest.approx(2 / 0.3)
    assert summary["target_tokens_per_second"] == pytest.approx(4 / 0.3)
    assert (summary["first_call_seconds"], summary["num_calls"]) == (9.0, 6)


def test_check_lengths_refuses_unequal_work():
    workload = random_workload(1, 3, 50, seed=1)
    check_lengths("A", [[5, 5, 5]], workload, tolerance=0)
    check_lengths("A", [[5]], workload, tolerance=2)
    with pytest.raises(ValueError, match=r"A wrote \[2\] tokens instead of 3"):
        check_lengths("A", [[5, 5]], workload, tolerance=0)


def test_random_workload_is_the_same_for_a_seed_and_has_no_special_tokens():
    first, second = (random_workload(4, 20, 60, seed=3) for _ in range(2))
    assert first == second
    assert first.batches[0].rows != random_workload(4, 20, 60, seed=4).batches[0].rows
    assert all(row[0] == 0 and row[-1] == 2 and min(row[1:-1]) >= 5 for row in first.batches[0].rows)
    assert (first.num_sentences, first.mean_source_tokens, first.mean_batch_size) == (4, 22, 4)


def test_corpus_workload_by_tokens_stays_within_the_budget():
    rows = [[0, *[5] * length, 2] for length in (1, 8, 3, 3)]
    workload = corpus_workload(rows, batch_size=None, max_tokens=10)
    assert [batch.indices for batch in workload.batches] == [[1], [2, 3], [0]]
