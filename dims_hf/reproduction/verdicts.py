# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Whether a claim holds in a document: differences per seed, and one computed sentence about them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


Document = Mapping[str, Any]

# field of a record -> name, unit of a difference, and factor
METRICS = {
    "bleu": ("BLEU", "BLEU", 1.0),
    "valid": ("valid outputs", "points", 100.0),
}

# A single-step validation BLEU below this share of the start's is a collapse, whether or not training stopped at it.
_COLLAPSE_SHARE = 0.5


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
    spread = "" if deviation is None else f" ± {deviation:.1f}"
    seeds = f"{count} seed{'s' * (count > 1)}"
    if holds == count:
        return f"holds in {holds} of {seeds} by {mean:.1f}{spread} {unit}"
    if holds:
        return f"holds in {holds} of {seeds}; on average {mean:+.1f}{spread} {unit}"
    return f"does not hold: in 0 of {seeds}, {mean:+.1f}{spread} {unit}"


def value(document: Document, label: str, seed: str, num_iterations: int, metric: str) -> float | None:
    """A system's score at a number of passes, in the metric's unit; `None` where it has none."""
    system = document["systems"].get(label, {}).get(seed, {})
    record = system.get("records", {}).get(str(num_iterations))
    if record is None or record.get(metric) is None:
        return None
    return METRICS[metric][2] * record[metric]


def metrics_of(document: Document) -> list[str]:
    """The metrics that the document's records have: BLEU, and validity where outputs were judged."""
    records = [
        record
        for seeds in document["systems"].values()
        for system in seeds.values()
        for record in system.get("records", {}).values()
    ]
    return [metric for metric in METRICS if any(record.get(metric) is not None for record in records)]


def compare(document: Document, claim: str, better: tuple[str, int], worse: tuple[str, int]) -> list[dict[str, Any]]:
    """`better` (label, passes) is above `worse`: one verdict per metric."""
    verdicts = []
    for metric in metrics_of(document):
        differences = {}
        for seed in document["seeds"]:
            pair = [value(document, label, seed, count, metric) for label, count in (better, worse)]
            if None not in pair:
                differences[seed] = pair[0] - pair[1]
        name, unit, _ = METRICS[metric]
        verdicts.append(verdict(f"{claim} ({name})", differences, unit))
    return verdicts


def validation_bleu(system: Mapping[str, Any]) -> list[tuple[int, float]]:
    """Updates and single-step validation BLEU, in the order of training; rounds follow each other."""
    return [(point["step"], point["bleu"]) for point in system.get("validation", []) if point["bleu"] is not None]


# ---- one function per experiment: the document's claims, in order ----


def iterations_verdicts(document: Document) -> list[dict[str, Any]]:
    """Fig. 3."""
    most = max(document["study"]["budget"]["iterations"])
    verdicts = compare(
        document, "one pass of the student is better than one of its teacher", ("student", 1), ("teacher", 1)
    )
    for metric in metrics_of(document):
        verdicts.append(_gain_closed(document, metric, most))
    return [*verdicts, *_narrowing(document, most)]


def _gain_closed(document: Document, metric: str, most: int) -> dict[str, Any]:
    """How much of the teacher's gain by iterating the student has in one pass, in per cent."""
    shares = {}
    for seed in document["seeds"]:
        places = (("teacher", 1), ("teacher", most), ("student", 1))
        one, many, student = (value(document, label, seed, count, metric) for label, count in places)
        if None not in (one, many, student) and many > one:
            shares[seed] = 100 * (student - one) / (many - one)
    claim = f"one pass of the student has part of what {most} passes of the teacher gain"
    return verdict(f"{claim} ({METRICS[metric][0]})", shares, "% of that gain")


def _narrowing(document: Document, most: int) -> list[dict[str, Any]]:
    verdicts = []
    for metric in metrics_of(document):
        differences = {}
        for seed in document["seeds"]:
            gaps = []
            for count in (1, most):
                pair = [value(document, label, seed, count, metric) for label in ("student", "teacher")]
                gaps.append(None if None in pair else pair[0] - pair[1])
            if None not in gaps:
                differences[seed] = gaps[0] - gaps[1]
        name, unit, _ = METRICS[metric]
        verdicts.append(verdict(f"the student's lead is larger at 1 pass than at {most} ({name})", differences, unit))
    return verdicts


def rounds_verdicts(document: Document) -> list[dict[str, Any]]:
    """Fig. 4."""
    verdicts = compare(
        document, "a moving average is at least as good as rounds", ("moving average", 1), ("rounds", 1)
    )
    ratios = {}
    for seed, average, rounds in _paired(document, "moving average", "rounds"):
        if average["updates"] and rounds["updates"]:
            ratios[seed] = 100 * (1 - average["updates"] / rounds["updates"])
    verdicts.append(verdict("a moving average needs fewer updates than rounds", ratios, "% fewer"))
    gains = {}
    for seed in document["seeds"]:
        ends = [each["bleu"] for each in document["systems"].get("rounds", {}).get(seed, {}).get("rounds", [])]
        if len(ends) > 1:
            gains[seed] = ends[-1] - ends[0]
    return [*verdicts, verdict("later rounds add to the first (validation)", gains, "BLEU")]


def buckets_verdicts(document: Document) -> list[dict[str, Any]]:
    """Fig. 5."""
    verdicts, gains = [], bucket_gains(document)
    for name, differences in gains.items():
        verdicts.append(
            verdict(f"one pass of the student beats one of the teacher at {name} tokens", differences, "BLEU")
        )
    if len(gains) > 1:
        first, *_, last = gains.values()
        longest = {seed: last[seed] - first[seed] for seed in last if seed in first}
        verdicts.append(verdict("the gain is larger on the longest targets than on the shortest", longest, "BLEU"))
    return verdicts


def bucket_gains(document: Document) -> dict[str, dict[str, float]]:
    """Bucket to seed to the student's lead at one pass."""
    gains: dict[str, dict[str, float]] = {}
    for seed, student, teacher in _paired(document, "student", "teacher"):
        ours, theirs = ({bucket_name(each): each["bleu"] for each in buckets(system)} for system in (student, teacher))
        for name in ours:
            if name in theirs:
                gains.setdefault(name, {})[seed] = ours[name] - theirs[name]
    return gains


def buckets(system: Mapping[str, Any], num_iterations: int = 1) -> list[Mapping[str, Any]]:
    """Scores per target-length bucket, short ones first."""
    return system.get("records", {}).get(str(num_iterations), {}).get("length_buckets", [])


def bucket_name(bucket: Mapping[str, Any]) -> str:
    """`1–8`, `9–10`, `more than 10`."""
    if bucket["longest"] is None:
        return f"more than {bucket['shortest'] - 1}"
    return f"{bucket['shortest']}–{bucket['longest']}"


def lengths_verdicts(document: Document) -> list[dict[str, Any]]:
    """Fig. 6."""
    verdicts = []
    for top in (1, 3, 5):
        name, differences = f"length_top_{top}", {}
        for seed, student, teacher in _paired(document, "student", "teacher"):
            if student.get("length") and teacher.get("length"):
                differences[seed] = 100 * (student["length"][name] - teacher["length"][name])
        claim = f"the right length is among the student's {top} likeliest more often than among the teacher's"
        verdicts.append(verdict(claim, differences, "points"))
    return verdicts


def momentum_verdicts(document: Document) -> list[dict[str, Any]]:
    """Fig. 7: against the fixed teacher, every momentum that was tried."""
    verdicts = []
    for label in document["systems"]:
        if label != "fixed teacher":
            differences = _last_validation(document, label, "fixed teacher")
            verdicts.append(verdict(f"{label} ends above a fixed teacher (validation)", differences, "BLEU"))
    return verdicts


def _last_validation(document: Document, better: str, worse: str) -> dict[str, float]:
    differences = {}
    for seed, *systems in _paired(document, better, worse):
        curves = [validation_bleu(system) for system in systems]
        if all(curves):
            differences[seed] = curves[0][-1][1] - curves[1][-1][1]
    return differences


def weights_verdicts(document: Document) -> list[dict[str, Any]]:
    """Fig. 8: against λ = 0, every λ that was tried."""
    labels = list(document["systems"])
    none = next((label for label in labels if label == "λ = 0"), None)
    if none is None:
        return []
    return [
        each
        for label in labels
        if label != none
        for each in compare(document, f"{label} is better than no hidden-state loss", (label, 1), (none, 1))
    ]


def cost_verdicts(document: Document) -> list[dict[str, Any]]:
    """Fig. 9."""
    verdicts = []
    for name, claim in (("updates", "updates"), ("seconds", "time"), ("tokens", "training tokens")):
        shares = {}
        for seed, student, teacher in _paired(document, "student", "teacher"):
            if student.get(name) and teacher.get(name):
                shares[seed] = 100 * (1 - student[name] / teacher[name])
        verdicts.append(verdict(f"distillation takes less {claim} than training the teacher", shares, "% less"))
    return verdicts


def corpora_verdicts(document: Document) -> list[dict[str, Any]]:
    """Tables 1 and 3: every teacher against its student, and the gains on the two corpora."""
    verdicts = []
    names = [label.removesuffix(" teacher") for label in document["systems"] if label.endswith(" teacher")]
    for name in names:
        claim = f"{name}: one pass of the student is better than one of its teacher"
        verdicts += compare(document, claim, (f"{name} student", 1), (f"{name} teacher", 1))
    for name in names:
        raw = name.replace("distilled", "raw")
        if raw != name and raw in names:
            verdicts += _larger_gain(document, raw, name)
            claim = f"{name.split(',')[0]}: one pass of a teacher of distilled data is better than of raw data"
            verdicts += compare(document, claim, (f"{name} teacher", 1), (f"{raw} teacher", 1))
    return verdicts


def _larger_gain(document: Document, raw: str, distilled: str) -> list[dict[str, Any]]:
    verdicts = []
    for metric in metrics_of(document):
        differences = {}
        for seed in document["seeds"]:
            labels = [f"{name} {role}" for name in (raw, distilled) for role in ("student", "teacher")]
            values = [value(document, label, seed, 1, metric) for label in labels]
            if None not in values:
                differences[seed] = (values[0] - values[1]) - (values[2] - values[3])
        name, unit, _ = METRICS[metric]
        claim = f"{raw.split(',')[0]}: distillation in steps gains more on raw than on distilled data ({name})"
        verdicts.append(verdict(claim, differences, unit))
    return verdicts


def alignments_verdicts(document: Document) -> list[dict[str, Any]]:
    """Table 2: each family's student against its teacher, and one pass against one pass of the other families."""
    student, as_decoded = ("Imputer student", 1), ("Imputer student, all masked, n = 4", 1)
    pairs = {
        "one pass of the Imputer's student is better than one of its teacher": (student, ("Imputer teacher", 1)),
        "8 passes of the Imputer are better than one": (("Imputer teacher", 8), ("Imputer teacher", 1)),
        "a moving average helps the Imputer's student": (("Imputer student, moving average", 1), student),
        "masking all helps the Imputer's student": (as_decoded, student),
        "with all masked it is better than one pass of its teacher": (as_decoded, ("Imputer teacher", 1)),
        "with all masked it is better than 8 passes of its teacher": (as_decoded, ("Imputer teacher", 8)),
        "with all masked it is better than FullyNAT": (as_decoded, ("FullyNAT", 1)),
        "glancing helps CTC": (("FullyNAT", 1), ("CTC", 1)),
        "the Imputer's student is better than CTC": (student, ("CTC", 1)),
        "the Imputer's student is better than FullyNAT": (student, ("FullyNAT", 1)),
        "the Imputer's student is better than the CMLM's": (student, ("CMLM student", 1)),
        "the CMLM's student is better than FullyNAT": (("CMLM student", 1), ("FullyNAT", 1)),
    }
    return [each for claim, (better, worse) in pairs.items() for each in compare(document, claim, better, worse)]


def unsupervised_verdicts(document: Document) -> list[dict[str, Any]]:
    """Table 4."""
    return [
        *compare(document, "U-DiMS, without references, beats its teacher at one pass", ("U-DiMS", 1), ("teacher", 1)),
        *compare(document, "references help: DiMS is above U-DiMS", ("DiMS", 1), ("U-DiMS", 1)),
    ]


def ablation_verdicts(document: Document) -> list[dict[str, Any]]:
    """Table 5."""
    labels = list(document["systems"])
    average, fixed, bare = labels[1:4]
    others = [
        each
        for label in labels[4:]
        for each in compare(document, f"{label} is below {average}", (average, 1), (label, 1))
    ]
    return [
        *compare(document, "a moving average is better than a fixed teacher", (average, 1), (fixed, 1)),
        *compare(document, "the hidden-state loss helps", (fixed, 1), (bare, 1)),
        *compare(document, "distillation helps even without either", (bare, 1), ("teacher", 1)),
        *others,
    ]


def samples_verdicts(document: Document) -> list[dict[str, Any]]:
    """Table 6: the repeats that its samples show, counted over the whole set."""
    differences = {}
    for seed, student, teacher in _paired(document, "student", "teacher"):
        shares = [system.get("records", {}).get("1", {}).get("repeated_tokens") for system in (teacher, student)]
        if None not in shares:
            differences[seed] = 100 * (shares[0] - shares[1])
    return [verdict("one pass of the student repeats fewer tokens than one of its teacher", differences, "points")]


def teachers_verdicts(document: Document) -> list[dict[str, Any]]:
    """Table 7."""
    verdicts = []
    most = max(document["study"]["budget"]["iterations"])
    for label in document["systems"]:
        verdicts += compare(document, f"{label}: {most} passes are better than one", (label, most), (label, 1))
    for label in document["systems"]:
        plain = label.replace("CMLMC", "CMLM")
        if plain != label and plain in document["systems"]:
            verdicts += compare(
                document, f"{label} is better than {plain} at {most} passes", (label, most), (plain, most)
            )
    return verdicts


def collapse_verdicts(document: Document) -> list[dict[str, Any]]:
    """The collapse at a small momentum: how far below the usual one it ends, and whether it ended in collapse."""
    verdicts = []
    usual, *small = document["systems"]
    for label in small:
        differences = _last_validation(document, usual, label)
        verdicts.append(verdict(f"{label} ends below {usual} (validation)", differences, "BLEU"))
        collapsed = {
            seed: 1.0 if has_collapsed(system, reference) else -1.0
            for seed, system, reference in _paired(document, label, usual)
        }
        count = sum(each > 0 for each in collapsed.values())
        counted = verdict(f"{label} collapses", collapsed, "")
        verdicts.append({**counted, "text": f"collapsed in {count} of {len(collapsed)} seeds", "mean": None})
    return verdicts


def has_collapsed(system: Mapping[str, Any], reference: Mapping[str, Any]) -> bool:
    """Whether training stopped for constant output, or ended at less than half of the reference's BLEU."""
    if system.get("collapsed"):
        return True
    ours, theirs = validation_bleu(system), validation_bleu(reference)
    return bool(ours and theirs) and ours[-1][1] < _COLLAPSE_SHARE * theirs[-1][1]


def _paired(document: Document, *labels: str) -> Iterator[tuple[Any, ...]]:
    """Seed and the systems of these labels, for every seed that all of them have."""
    for seed in document["seeds"]:
        systems: Sequence[Any] = [document["systems"].get(label, {}).get(seed) for label in labels]
        if all(system is not None for system in systems):
            yield seed, *systems
