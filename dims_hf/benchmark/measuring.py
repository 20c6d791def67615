# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Timing systems in turns: A B C A B C …, everything warm, the device synchronised around every call."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dims_hf.benchmark.machine import synchronize
from dims_hf.benchmark.summaries import percentile
from dims_hf.benchmark.translators import Translator
from dims_hf.benchmark.workloads import Workload


# A round of a fast system consists of as many calls as fill this time, within reason.
_ROUND_SECONDS, _MOST_CALLS = 0.2, 10

# A call of up to this many seconds may feel whose caches and threads it comes after: one that is not timed goes first.
_SENSITIVE_SECONDS = 0.5

Clock = Callable[[], float]


@dataclass
class Timed:
    """
    One system under measurement.

    Args:
        translator ([`Translator`]): the system.
        inputs (`list`): prepared batches.
        outputs (`list[list[int]]`): token ids of every sentence, from the first pass over the batches.
        first_seconds (`float`): its very first call, compilation included.
        steady_seconds (`float`): the second call on the same batch.
        rounds (`list[list[float]]`): seconds of every timed call, by round.
    """

    translator: Translator
    inputs: list[Any]
    outputs: list[list[int]]
    first_seconds: float
    steady_seconds: float
    rounds: list[list[float]] = field(default_factory=list)

    @property
    def calls(self) -> list[float]:
        """Seconds of all calls."""
        return [seconds for calls in self.rounds for seconds in calls]

    def summary(self, workload: Workload) -> dict[str, Any]:
        """Latencies in ms and rates, for the results file."""
        # of calls of one kind the middle one, which a disturbance leaves alone; of a corpus, all
        middle = statistics.median if len(self.inputs) == 1 else statistics.fmean
        rounds = [middle(calls) for calls in self.rounds]
        seconds_per_batch = statistics.median(rounds)
        num_tokens = sum(map(len, self.outputs)) / workload.num_sentences
        rate = workload.mean_batch_size / seconds_per_batch
        return {
            "p50_ms": 1000 * percentile(self.calls, 50),
            "p95_ms": 1000 * percentile(self.calls, 95),
            "round_ms": [1000 * seconds for seconds in rounds],
            "num_calls": len(self.calls),
            "sentences_per_second": rate,
            "target_tokens_per_second": rate * num_tokens,
            "mean_target_tokens": num_tokens,
            "first_call_seconds": self.first_seconds,
        }


def warm_up(translator: Translator, workload: Workload, device: str, clock: Clock = time.perf_counter) -> Timed:
    """
    Translates everything once, and the first batch twice.

    Raises:
        ValueError: a translation does not have the length that was forced.
    """
    inputs = [translator.prepare(batch) for batch in workload.batches]
    first, raw = _call(translator, inputs[0], device, clock)
    outputs = [translator.rows(raw)] + [translator.rows(translator.run(each)) for each in inputs[1:]]
    in_order: dict[int, list[int]] = {}
    for batch, rows in zip(workload.batches, outputs, strict=True):
        in_order.update(zip(batch.indices, rows, strict=True))
    # the first call compiles and allocates; how long one takes is known from the second
    steady, _ = _call(translator, inputs[0], device, clock)
    return Timed(translator, inputs, [in_order[index] for index in sorted(in_order)], first, steady)


def check_lengths(name: str, outputs: list[list[int]], workload: Workload, tolerance: int) -> None:
    """
    Refuses a comparison of unequal work.

    Args:
        tolerance (`int`): a length beam may choose a neighbour of the forced length: ⌊K/2⌋.
    """
    lengths = {len(row) for row in outputs}
    wanted = workload.forced_tokens
    if wanted is not None and any(abs(length - wanted) > tolerance for length in lengths):
        raise ValueError(f"{name} wrote {sorted(lengths)} tokens instead of {wanted}: its time would mean nothing.")


def measure_rounds(
    systems: Mapping[str, Timed], num_rounds: int, device: str, clock: Clock = time.perf_counter
) -> None:
    """Appends `num_rounds` rounds to every system, the systems taking turns within each."""
    for _ in range(num_rounds):
        for timed in systems.values():
            if timed.steady_seconds < _SENSITIVE_SECONDS:
                # not timed: it brings the system's own weights back into the cache
                timed.translator.run(timed.inputs[0])
            timed.rounds.append([_call(timed.translator, inputs, device, clock)[0] for inputs in _one_round(timed)])


def _one_round(timed: Timed) -> list[Any]:
    """Every batch once; a lone fast one several times."""
    if len(timed.inputs) > 1:
        return timed.inputs
    count = math.ceil(_ROUND_SECONDS / max(timed.steady_seconds, 1e-9))
    # several calls of a fast system, lest the clock's own noise decide
    return timed.inputs * min(_MOST_CALLS, count)


def _call(translator: Translator, inputs: Any, device: str, clock: Clock) -> tuple[float, Any]:
    synchronize(device)
    start = clock()
    outputs = translator.run(inputs)
    synchronize(device)
    return clock() - start, outputs
