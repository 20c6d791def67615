# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A document as data frames: scores by system, seed and passes, and one row per system and seed for the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    import pandas as pd

Document = Mapping[str, Any]

# field of a record -> name, unit of a difference, and factor
METRICS = {"bleu": ("BLEU", "BLEU", 1.0), "valid": ("valid outputs", "points", 100.0)}

# A single-step validation BLEU below this share of the start's is a collapse, whether or not training stopped at it.
_COLLAPSE_SHARE = 0.5


def metrics_of(document: Document) -> list[str]:
    """The metrics that the document's records have: BLEU, and validity where outputs were judged."""
    records = [record for _, _, system in _systems(document) for record in system.get("records", {}).values()]
    return [metric for metric in METRICS if any(record.get(metric) is not None for record in records)]


def value(document: Document, label: str, seed: str, num_iterations: int | str, metric: str) -> float:
    """A system's score at a number of passes, or a named decoding, in the metric's unit; NaN where it has none."""
    system = document["systems"].get(label, {}).get(seed, {})
    score = system.get("records", {}).get(str(num_iterations), {}).get(metric)
    return math.nan if score is None else METRICS[metric][2] * score


def scores_frame(document: Document) -> pd.DataFrame:
    """Every record: `system`, `seed`, `passes` and its fields, shares in per cent; a row without passes for none."""
    import pandas as pd

    rows = []
    for label, seed, system in _systems(document):
        place = {"system": label, "seed": seed}
        records = system.get("records", {}).items()
        rows += [
            {**place, "passes": record["num_iterations"], "decoding": name, **_in_percent(record)}
            for name, record in records
        ] or [place]
    return pd.DataFrame(rows).reindex(columns=["system", "seed", "passes", "decoding", *_FIELDS])


def systems_frame(document: Document) -> pd.DataFrame:
    """What training took and ended in: a row per `system` and `seed`."""
    import pandas as pd

    first = next(iter(document["systems"].values()))
    rows = []
    for label, seed, system in _systems(document):
        curve = [bleu for _, bleu in validation_bleu(system)]
        points, seconds, tokens = system.get("validation") or [{}], system.get("seconds"), system.get("tokens")
        rows.append(
            {
                "system": label,
                "seed": seed,
                **{name: system.get(name) for name in ("updates", "epochs")},
                "minutes": None if seconds is None else seconds / 60,
                "million tokens": None if tokens is None else tokens * 1e-6,
                "best": max(curve, default=None),
                "last": curve[-1] if curve else None,
                "distinct": _percent(points[-1].get("distinct")),
                "collapsed": has_collapsed(system, first.get(seed, {})),
                **{name: _percent((system.get("length") or {}).get(name)) for name in LENGTHS},
            }
        )
    frame = pd.DataFrame(rows)
    numbers = [name for name in frame if name not in ("system", "seed", "collapsed")]
    return frame.astype(dict.fromkeys(numbers, float))


# Shares of the length prediction: exact, and off by at most one and two tokens, which the paper calls top 1, 3 and 5.
LENGTHS = ("length_accuracy", "length_within_1", "length_within_2")

# Fields of a record that tables show.
_FIELDS = (
    *METRICS, "brevity_penalty", "chrf", "bleu_before_collapse", "repeated_tokens", "mixture_before_collapse",
    "milliseconds_per_sentence",
)  # fmt: skip
_SHARES = ("valid", "repeated_tokens", "mixture_before_collapse")


def validation_bleu(system: Mapping[str, Any]) -> list[tuple[int, float]]:
    """Updates and single-step validation BLEU, in the order of training; rounds follow each other."""
    return [(point["step"], point["bleu"]) for point in system.get("validation", []) if point["bleu"] is not None]


def has_collapsed(system: Mapping[str, Any], reference: Mapping[str, Any]) -> bool:
    """Whether training stopped for constant output, or ended at less than half of the reference's BLEU."""
    if system.get("collapsed"):
        return True
    ours, theirs = validation_bleu(system), validation_bleu(reference)
    return bool(ours and theirs) and ours[-1][1] < _COLLAPSE_SHARE * theirs[-1][1]


def buckets(system: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Scores of one pass per target-length bucket, by the bucket's name, short ones first."""
    found = system.get("records", {}).get("1", {}).get("length_buckets", [])
    return {_bucket_name(bucket): bucket for bucket in found}


def bucket_names(document: Document) -> list[str]:
    """Names of all buckets, short ones first."""
    return list(dict.fromkeys(name for _, _, system in _systems(document) for name in buckets(system)))


def _bucket_name(bucket: Mapping[str, Any]) -> str:
    """`1–8`, `9`, `more than 10`."""
    if bucket["longest"] is None:
        return f"more than {bucket['shortest'] - 1}"
    shortest, longest = bucket["shortest"], bucket["longest"]
    return f"{shortest}–{longest}" if shortest < longest else str(longest)


def _systems(document: Document) -> Sequence[tuple[str, str, Mapping[str, Any]]]:
    return [(label, seed, system) for label, seeds in document["systems"].items() for seed, system in seeds.items()]


def _in_percent(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _percent(record.get(name)) if name in _SHARES else record.get(name) for name in _FIELDS}


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
