# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Two systems side by side: share of the teacher's gap that a student closes, and paired bootstraps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .bleu import References, paired_bootstrap


# What a gap is made of, in the order of its records.
_PLACES = ("teacher_one", "teacher_most", "student_one")


def find_record(
    system: Mapping[str, Any], num_iterations: int, *, length_beam_size: int = 1, oracle_length: bool = False
) -> dict[str, Any] | None:
    """The record of a system at one decoding setting, or `None`; those of named decodings are not looked at."""
    wanted = (num_iterations, length_beam_size, oracle_length)
    for record in plain_records(system):
        if (record["num_iterations"], record["length_beam_size"], record["oracle_length"]) == wanted:
            return record
    return None


def plain_records(system: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The records of a system that passes and length candidates say all about."""
    return [record for record in system["records"] if "decoding" not in record]


def gap_closed(
    teacher: Mapping[str, Any], student: Mapping[str, Any], *, metric: str = "bleu", length_beam_size: int = 1
) -> dict[str, Any] | None:
    """Share of the teacher's gain from iterating that the student reaches in one pass.

    (student at 1 − teacher at 1) / (teacher at its most iterations − teacher at 1).

    Args:
        teacher (`Mapping[str, Any]`): result of `evaluate_model`.
        student (`Mapping[str, Any]`): result of `evaluate_model`.
        metric (`str`, *optional*, defaults to `"bleu"`): field of the records.
        length_beam_size (`int`, *optional*, defaults to 1): which records to compare.

    Returns:
        `dict[str, Any]` or `None`: `metric`, `length_beam_size`, `teacher_one`, `teacher_most`, `most_iterations`,
        `student_one`, `gap` and `closed` (1 = all of it), for BLEU also `brevity_penalty` of the three where it was
        measured; `None` where a record is missing or there is no gap.
    """
    most = max((record["num_iterations"] for record in plain_records(teacher)), default=1)
    records = [
        find_record(system, count, length_beam_size=length_beam_size)
        for system, count in ((teacher, 1), (teacher, most), (student, 1))
    ]
    if most == 1 or any(record is None or metric not in record for record in records):
        return None
    teacher_one, teacher_most, student_one = (record[metric] for record in records)
    gap = teacher_most - teacher_one
    # a teacher that iterations do not help has no gap to close
    if gap <= 0:
        return None
    penalties = dict(zip(_PLACES, (record.get("brevity_penalty") for record in records), strict=True))
    # Where a teacher's passes gain length rather than words, the gap says less than it seems to.
    shown = {"brevity_penalty": penalties} if metric == "bleu" and None not in penalties.values() else {}
    return {
        "metric": metric,
        "length_beam_size": length_beam_size,
        "teacher_one": teacher_one,
        "teacher_most": teacher_most,
        "most_iterations": most,
        "student_one": student_one,
        "gap": gap,
        "closed": (student_one - teacher_one) / gap,
        **shown,
    }


def compare_with_bootstrap(
    baseline: Mapping[int, Sequence[str]],
    system: Mapping[int, Sequence[str]],
    references: References,
    *,
    names: tuple[str, str] = ("teacher", "student"),
    num_samples: int = 1000,
    seed: int = 12345,
    tokenize: str | None = None,
) -> list[dict[str, Any]]:
    """Paired bootstraps of a system at its fewest iterations against a baseline at its fewest and its most.

    Args:
        baseline (`Mapping[int, Sequence[str]]`): number of iterations to hypotheses.
        system (`Mapping[int, Sequence[str]]`): the same for the system under test.
        references (`Sequence[str]` or `Sequence[Sequence[str]]`): as in `score`.
        names (`tuple[str, str]`, *optional*): names of baseline and system.
        num_samples (`int`, *optional*, defaults to 1000): resamples.
        seed (`int`, *optional*, defaults to 12345): seed of the resampling.
        tokenize (`str`, *optional*): BLEU's tokenizer, as `paired_bootstrap` takes it.

    Returns:
        `list[dict[str, Any]]`: results of `paired_bootstrap`, systems named `{name}@{iterations}`.
    """
    fewest = min(system)
    results = []
    for count in sorted({min(baseline), max(baseline)}):
        pair = {f"{names[0]}@{count}": baseline[count], f"{names[1]}@{fewest}": system[fewest]}
        results.append(paired_bootstrap(pair, references, num_samples=num_samples, seed=seed, tokenize=tokenize))
    return results


def compare_decodings(
    texts: Mapping[str, Sequence[str]],
    references: References,
    *,
    num_samples: int = 1000,
    seed: int = 12345,
    tokenize: str | None = None,
) -> list[dict[str, Any]]:
    """Paired bootstraps of every further decoding of a system against its first.

    Args:
        texts (`Mapping[str, Sequence[str]]`): name to hypotheses; the first is the baseline.
        references (`Sequence[str]` or `Sequence[Sequence[str]]`): as in `score`.
        num_samples, seed, tokenize: as for [`compare_with_bootstrap`].

    Returns:
        `list[dict[str, Any]]`: one result of `paired_bootstrap`; none for a single decoding.
    """
    if len(texts) < 2:
        return []
    return [paired_bootstrap(texts, references, num_samples=num_samples, seed=seed, tokenize=tokenize)]
