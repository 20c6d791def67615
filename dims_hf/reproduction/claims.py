# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What is checked of each experiment: claims as differences that should be above 0, and one evaluator of them all."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dims_hf.reproduction import frames
from dims_hf.reproduction.frames import Document


# A system by its label, and decoder passes or the name of a decoding.
Place = tuple[str, int | str]


@dataclass(frozen=True)
class Seed:
    """One seed of a document, seen through one metric; what was not measured is NaN."""

    document: Document
    seed: str
    metric: str

    def score(self, place: Place) -> float:
        """In the metric's unit."""
        label, passes = place
        return frames.value(self.document, label, self.seed, passes, self.metric)

    def lead(self, better: Place, worse: Place) -> float:
        """Difference of two scores."""
        return self.score(better) - self.score(worse)

    def system(self, label: str) -> Mapping[str, Any]:
        """Everything that is known of a system."""
        return self.document["systems"].get(label, {}).get(self.seed, {})

    def last(self, label: str) -> float:
        """Single-step validation BLEU at the end of training."""
        curve = frames.validation_bleu(self.system(label))
        return curve[-1][1] if curve else math.nan

    def bucket(self, label: str, name: str) -> float:
        """BLEU of one pass on targets of some lengths."""
        return frames.buckets(self.system(label)).get(name, {}).get("bleu", math.nan)

    def percent(self, label: str, *path: str) -> float:
        """A share somewhere in what is known of a system, in per cent."""
        found: Any = self.system(label)
        for name in path:
            found = (found or {}).get(name)
        return math.nan if found is None else 100 * found

    def saved(self, label: str, other: str, field: str) -> float:
        """How much less of something a system took than another, in per cent."""
        ours, theirs = (self.system(each).get(field) for each in (label, other))
        return 100 * (1 - ours / theirs) if ours and theirs else math.nan


@dataclass(frozen=True)
class Claim:
    """
    Something that should be above 0 in every seed.

    Args:
        text (`str`): what is claimed.
        value (`Callable[[Seed], float]`): by how much it holds; NaN where it was not measured.
        unit (`str`, *optional*): of the value; `None`: that of the metric, and one verdict per metric.
        per_metric (`bool`): one verdict per metric although the unit is the same for all.
    """

    text: str
    value: Callable[[Seed], float]
    unit: str | None = None
    per_metric: bool = False


def check(document: Document, claims: list[Claim]) -> list[dict[str, Any]]:
    """One verdict per claim, or per claim and metric."""
    verdicts = []
    for claim in claims:
        is_general = claim.unit is not None and not claim.per_metric
        for metric in ["bleu"] if is_general else frames.metrics_of(document):
            name, unit, _ = frames.METRICS[metric]
            found = {seed: claim.value(Seed(document, seed, metric)) for seed in document["seeds"]}
            known = {seed: each for seed, each in found.items() if not math.isnan(each)}
            text = claim.text if is_general else f"{claim.text} ({name})"
            verdicts.append(verdict(text, known, unit if claim.unit is None else claim.unit))
    return verdicts


def verdict(claim: str, differences: Mapping[str, float], unit: str) -> dict[str, Any]:
    """
    One claim that something is positive, seed by seed.

    Args:
        claim (`str`): what is claimed.
        differences (`Mapping[str, float]`): seed to how much; above 0 the claim holds.
        unit (`str`): of the differences.

    Returns:
        `dict[str, Any]`: `claim`, `unit`, `differences`, `holds_in`, `num_seeds`, `mean`, `deviation` (standard, over
        seeds; `None` for one) and `text`.
    """
    values = list(differences.values())
    holds = sum(value > 0 for value in values)
    mean = statistics.fmean(values) if values else None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {
        "claim": claim,
        "unit": unit,
        "differences": dict(differences),
        "holds_in": holds,
        "num_seeds": len(values),
        "mean": mean,
        "deviation": deviation,
        "text": _sentence(holds, len(values), mean, deviation, unit),
    }


def _sentence(holds: int, count: int, mean: float | None, deviation: float | None, unit: str) -> str:
    if not count:
        return "not measured"
    if unit == COUNTED:
        return f"collapsed in {holds} of {count} seeds"
    spread = "" if deviation is None else f" ± {deviation:.1f}"
    seeds = f"{count} seed{'s' * (count > 1)}"
    if holds == count:
        return f"holds in {holds} of {seeds} by {mean:.1f}{spread} {unit}"
    if holds:
        return f"holds in {holds} of {seeds}; on average {mean:+.1f}{spread} {unit}"
    return f"does not hold: in 0 of {seeds}, {mean:+.1f}{spread} {unit}"


# Unit of claims that are counted over seeds and have no size.
COUNTED = ""


def beats(text: str, better: Place, worse: Place) -> Claim:
    """A score that should be above another, in every metric."""
    return Claim(text, lambda seed: seed.lead(better, worse))


def ends_above(text: str, label: str, other: str) -> Claim:
    """A training that should end above another."""
    return Claim(f"{text} (validation)", lambda seed: seed.last(label) - seed.last(other), "BLEU")


# ---- the claims of each experiment, in order ----

_STUDENT, _TEACHER = ("student", 1), ("teacher", 1)


def of_iterations(document: Document) -> list[Claim]:
    """Fig. 3."""
    most = max(document["study"]["budget"]["iterations"])
    teacher, student = ("teacher", most), ("student", most)

    def share(seed: Seed) -> float:
        gain = seed.lead(teacher, _TEACHER)
        return 100 * seed.lead(_STUDENT, _TEACHER) / gain if gain > 0 else math.nan

    return [
        beats("one pass of the student is better than one of its teacher", _STUDENT, _TEACHER),
        Claim(
            f"one pass of the student has part of what {most} passes of the teacher gain",
            share,
            "% of that gain",
            True,
        ),
        Claim(
            f"the student's lead is larger at 1 pass than at {most}",
            lambda seed: seed.lead(_STUDENT, _TEACHER) - seed.lead(student, teacher),
        ),
    ]


def of_rounds(document: Document) -> list[Claim]:
    """Fig. 4."""

    def later(seed: Seed) -> float:
        ends = [each["bleu"] for each in seed.system("rounds").get("rounds", [])]
        return ends[-1] - ends[0] if len(ends) > 1 else math.nan

    return [
        beats("a moving average is at least as good as rounds", ("moving average", 1), ("rounds", 1)),
        Claim(
            "a moving average needs fewer updates than rounds",
            lambda seed: seed.saved("moving average", "rounds", "updates"),
            "% fewer",
        ),
        Claim("later rounds add to the first (validation)", later, "BLEU"),
    ]


def of_buckets(document: Document) -> list[Claim]:
    """Fig. 5."""
    names = frames.bucket_names(document)

    def gain(name: str) -> Callable[[Seed], float]:
        return lambda seed: seed.bucket("student", name) - seed.bucket("teacher", name)

    claims = [
        Claim(f"one pass of the student beats one of the teacher at {name} tokens", gain(name), "BLEU")
        for name in names
    ]
    if len(names) > 1:
        text = "the gain is larger on the longest targets than on the shortest"
        claims.append(Claim(text, lambda seed: gain(names[-1])(seed) - gain(names[0])(seed), "BLEU"))
    return claims


def of_lengths(document: Document) -> list[Claim]:
    """Fig. 6."""
    texts = ("is exact", "is off by at most 1", "is off by at most 2")

    def lead(field: str) -> Callable[[Seed], float]:
        return lambda seed: seed.percent("student", "length", field) - seed.percent("teacher", "length", field)

    return [
        Claim(f"the student's length {text} more often than its teacher's", lead(field), "points")
        for text, field in zip(texts, frames.LENGTHS, strict=True)
    ]


def of_momentum(document: Document) -> list[Claim]:
    """Fig. 7: against the fixed teacher, every momentum that was tried."""
    fixed = "fixed teacher"
    return [
        ends_above(f"{label} ends above a {fixed}", label, fixed) for label in document["systems"] if label != fixed
    ]


def of_weights(document: Document) -> list[Claim]:
    """Fig. 8: against λ = 0, every λ that was tried."""
    none = "λ = 0"
    labels = [label for label in document["systems"] if none in document["systems"] and label != none]
    return [beats(f"{label} is better than no hidden-state loss", (label, 1), (none, 1)) for label in labels]


def of_costs(document: Document) -> list[Claim]:
    """Fig. 9."""
    words = {"updates": "updates", "seconds": "time", "tokens": "training tokens"}

    def saved(field: str) -> Callable[[Seed], float]:
        return lambda seed: seed.saved("student", "teacher", field)

    return [
        Claim(f"distillation takes less {word} than training the teacher", saved(field), "% less")
        for field, word in words.items()
    ]


def of_systems(document: Document) -> list[Claim]:
    """Table 1: every student and last stage against the model it begins with, at the same budget of time."""
    if not any("name" in system for seeds in document["systems"].values() for system in seeds.values()):
        return of_corpora(document)  # a document of an earlier release
    claims = []
    for label, seeds in document["systems"].items():
        system = next(iter(seeds.values()))
        before = f"{system['begins_with']}, {system['corpus']}"
        if system["begins_with"] and before in document["systems"]:
            text = f"one pass of {label} is better than one of {system['begins_with']} trained for the same time"
            places = [(each, _first_decoding(document, each)) for each in (label, before)]
            claims.append(beats(text, places[0], places[1]))
    return claims


def _first_decoding(document: Document, label: str) -> str:
    """The plainest decoding of a system, which is one pass."""
    return next((name for system in document["systems"][label].values() for name in system["records"]), "")


def of_corpora(document: Document) -> list[Claim]:
    """Tables 1 and 3: every teacher against its student, and the gains on the two corpora."""
    names = [label.removesuffix(" teacher") for label in document["systems"] if label.endswith(" teacher")]
    text = "one pass of the student is better than one of its teacher"
    claims = [beats(f"{name}: {text}", (f"{name} student", 1), (f"{name} teacher", 1)) for name in names]
    for name in names:
        raw = name.replace("distilled", "raw")
        if raw != name and raw in names:
            claims += _of_two_corpora(raw, name)
    return claims


def _of_two_corpora(raw: str, distilled: str) -> Iterator[Claim]:
    family = raw.split(",")[0]

    def gain(seed: Seed, name: str) -> float:
        return seed.lead((f"{name} student", 1), (f"{name} teacher", 1))

    yield Claim(
        f"{family}: distillation in steps gains more on raw than on distilled data",
        lambda seed: gain(seed, raw) - gain(seed, distilled),
    )
    text = f"{family}: one pass of a teacher of distilled data is better than of raw data"
    yield beats(text, (f"{distilled} teacher", 1), (f"{raw} teacher", 1))


def of_alignments(document: Document) -> list[Claim]:
    """Table 2: each family's student against its teacher, and one pass against one pass of the other families."""
    student, as_decoded = ("Imputer student", 1), ("Imputer student, all masked, n = 4", 1)
    one, eight = ("Imputer teacher", 1), ("Imputer teacher", 8)
    pairs = {
        "one pass of the Imputer's student is better than one of its teacher": (student, one),
        "8 passes of the Imputer are better than one": (eight, one),
        "a moving average helps the Imputer's student": (("Imputer student, moving average", 1), student),
        "masking all helps the Imputer's student": (as_decoded, student),
        "with all masked it is better than one pass of its teacher": (as_decoded, one),
        "with all masked it is better than 8 passes of its teacher": (as_decoded, eight),
        "with all masked it is better than FullyNAT": (as_decoded, ("FullyNAT", 1)),
        "glancing helps CTC": (("FullyNAT", 1), ("CTC", 1)),
        "the Imputer's student is better than CTC": (student, ("CTC", 1)),
        "the Imputer's student is better than FullyNAT": (student, ("FullyNAT", 1)),
        "the Imputer's student is better than the CMLM's": (student, ("CMLM student", 1)),
        "the CMLM's student is better than FullyNAT": (("CMLM student", 1), ("FullyNAT", 1)),
    }
    return [beats(text, *pair) for text, pair in pairs.items()]


def of_unsupervised(document: Document) -> list[Claim]:
    """Table 4, for every family that has U-DiMS; labels of CMLM have no prefix."""
    claims = []
    for label in document["systems"]:
        if label.endswith("U-DiMS"):
            prefix = label.removesuffix("U-DiMS")
            claims += [
                beats(
                    f"{label}, without references, beats its teacher at one pass", (label, 1), (f"{prefix}teacher", 1)
                ),
                beats(f"references help: {prefix}DiMS is above {label}", (f"{prefix}DiMS", 1), (label, 1)),
            ]
    return claims


def of_ablation(document: Document) -> list[Claim]:
    """Table 5."""
    average, fixed, bare, *others = list(document["systems"])[1:]
    claims = [
        beats("a moving average is better than a fixed teacher", (average, 1), (fixed, 1)),
        beats("the hidden-state loss helps", (fixed, 1), (bare, 1)),
        beats("distillation helps even without either", (bare, 1), _TEACHER),
    ]
    for label in others:
        whole = label.removesuffix(", fixed teacher")
        if whole != label:
            claims.append(beats(f"{whole}: a moving average is better than a fixed teacher", (whole, 1), (label, 1)))
        else:
            claims.append(beats(f"{label} is below {average}", (average, 1), (label, 1)))
    return claims


def of_samples(document: Document) -> list[Claim]:
    """Table 6: the repeats that its samples show, counted over the whole set."""
    path = ("records", "1", "repeated_tokens")
    return [
        Claim(
            "one pass of the student repeats fewer tokens than one of its teacher",
            lambda seed: seed.percent("teacher", *path) - seed.percent("student", *path),
            "points",
        )
    ]


def of_teachers(document: Document) -> list[Claim]:
    """Table 7."""
    most, labels = max(document["study"]["budget"]["iterations"]), list(document["systems"])
    claims = [beats(f"{label}: {most} passes are better than one", (label, most), (label, 1)) for label in labels]
    plain = {label: label.replace("CMLMC", "CMLM") for label in labels}
    pairs = [(label, other) for label, other in plain.items() if other != label and other in labels]
    text = "{} is better than {} at {} passes"
    return claims + [beats(text.format(label, other, most), (label, most), (other, most)) for label, other in pairs]


def of_collapse(document: Document) -> list[Claim]:
    """The collapse at a small momentum: how far below the usual one it ends, and whether it ended in collapse."""
    usual, *small = document["systems"]

    def collapsed(label: str) -> Callable[[Seed], float]:
        return lambda seed: 1.0 if frames.has_collapsed(seed.system(label), seed.system(usual)) else -1.0

    claims = []
    for label in small:
        claims.append(ends_above(f"{label} ends below {usual}", usual, label))
        claims.append(Claim(f"{label} collapses", collapsed(label), COUNTED))
    return claims
