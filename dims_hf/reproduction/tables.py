# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Tables of the report, from documents alone: means over seeds, with the range where there are several."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from dims_hf.data import load_corpus
from dims_hf.reproduction import verdicts
from dims_hf.reproduction.verdicts import Document


Table = tuple[list[str], list[list[str]]]


def spread(values: Sequence[float | None], digits: int = 1) -> str:
    """`51.8 (51.2–52.4)`: mean and range; the value alone for one seed, nothing for none."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean = f"{statistics.fmean(known):.{digits}f}"
    return mean if len(known) == 1 else f"{mean} ({min(known):.{digits}f}–{max(known):.{digits}f})"


def markdown(table: Table) -> str:
    """A table as Markdown, columns of numbers to the right."""
    header, rows = table
    is_number = [all(_looks_like_number(row[column]) for row in rows) for column in range(len(header))]
    lines = [header, ["--:" if right else "---" for right in is_number], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _looks_like_number(cell: str) -> bool:
    return not cell or cell.lstrip("+-−")[:1].isdigit()


def scores(document: Document, *, timed: bool = False) -> Table:
    """Every system at every number of passes it was evaluated at, with milliseconds per sentence if `timed`."""
    metrics = verdicts.metrics_of(document)
    # field of a record -> title and factor
    extra = {"repeated_tokens": ("repeated tokens, %", 100)}
    if "valid" in metrics:
        extra["mixture_before_collapse"] = ("mixtures, %", 100)
    if timed:
        extra["milliseconds_per_sentence"] = ("ms per sentence", 1)
    header = ["system", "passes", *(_title(metric) for metric in metrics), *(title for title, _ in extra.values())]
    rows = []
    for label, seeds in document["systems"].items():
        counts = sorted({int(count) for system in seeds.values() for count in system["records"]})
        if not counts:
            rows.append([label, "", "collapsed", *[""] * (len(header) - 3)])
        for count in counts:
            cells = [
                spread([verdicts.value(document, label, seed, count, name) for seed in seeds]) for name in metrics
            ]
            records = [system["records"].get(str(count), {}) for system in seeds.values()]
            cells += [
                spread([_scaled(record.get(name), factor) for record in records])
                for name, (_, factor) in extra.items()
            ]
            rows.append([label, str(count), *cells])
    return header, rows


def timed_scores(document: Document) -> Table:
    """[`scores`] with milliseconds per sentence."""
    return scores(document, timed=True)


def rounds(document: Document) -> Table:
    """Updates, single-pass scores, and the validation BLEU at the end of every round."""
    metrics = verdicts.metrics_of(document)
    header = ["system", "updates", *(_title(metric) for metric in metrics), "validation BLEU after each round"]
    rows = []
    for label, seeds in document["systems"].items():
        ends = [[each["bleu"] for each in system["rounds"]] for system in seeds.values()]
        per_round = [
            spread([row[number] for row in ends if number < len(row)]) for number in range(max(map(len, ends)))
        ]
        cells = [spread([verdicts.value(document, label, seed, 1, name) for seed in seeds]) for name in metrics]
        rows.append([label, spread([each["updates"] for each in seeds.values()], 0), *cells, ", ".join(per_round)])
    return header, rows


def length_buckets(document: Document) -> Table:
    """BLEU of one pass per bucket of target lengths."""
    header, names = ["target tokens", "sentences"], list(document["systems"])
    sizes, cells = {}, {}
    for label, seeds in document["systems"].items():
        for system in seeds.values():
            for bucket in verdicts.buckets(system):
                name = verdicts.bucket_name(bucket)
                sizes[name] = bucket["num_sentences"]
                cells.setdefault(name, {}).setdefault(label, []).append(bucket["bleu"])
    rows = [
        [name, str(size), *(spread(cells[name].get(label, [])) for label in names)] for name, size in sizes.items()
    ]
    return [*header, *(f"{name}, BLEU" for name in names)], rows


def lengths(document: Document) -> Table:
    """Share of sentences whose target length is among the k likeliest."""
    tops = (1, 3, 5)
    rows = []
    for label, seeds in document["systems"].items():
        found = [system["length"] or {} for system in seeds.values()]
        rows.append([label, *(spread([_percent(each.get(f"length_top_{top}")) for each in found]) for top in tops)])
    return ["system", *(f"top {top}, %" for top in tops)], rows


def last_validation(document: Document) -> Table:
    """Best and last single-pass validation BLEU, and how a collapse showed."""
    header = [
        "momentum",
        "best validation BLEU",
        "last validation BLEU",
        "distinct outputs at the end, %",
        "collapsed",
    ]
    reference, rows = next(iter(document["systems"].values())), []
    for label, seeds in document["systems"].items():
        curves = [verdicts.validation_bleu(system) for system in seeds.values()]
        curves = [[bleu for _, bleu in curve] for curve in curves if curve]
        ends = [system["validation"][-1]["distinct"] for system in seeds.values() if system["validation"]]
        count = sum(verdicts.has_collapsed(system, reference.get(seed, {})) for seed, system in seeds.items())
        cells = [spread([max(curve) for curve in curves]), spread([curve[-1] for curve in curves])]
        rows.append([label, *cells, spread([_percent(end) for end in ends], 0), f"{count} of {len(seeds)}"])
    return header, rows


def costs(document: Document) -> Table:
    """Updates, minutes and padded training tokens."""
    header = ["training", "updates", "epochs", "minutes", "million tokens"]
    rows = []
    for label, seeds in document["systems"].items():
        systems = list(seeds.values())
        rows.append(
            [
                label,
                spread([each["updates"] for each in systems], 0),
                spread([each["epochs"] for each in systems]),
                spread([_scaled(each["seconds"], 1 / 60) for each in systems]),
                spread([_scaled(each["tokens"], 1e-6) for each in systems]),
            ]
        )
    return header, rows


def samples(document: Document) -> Table:
    """A few sentences, with the two single passes of the first seed."""
    rows = [
        [each["source"], each["reference"], each["teacher"], each["student"]] for each in document.get("samples", [])
    ]
    return ["source", "reference", "teacher, 1 pass", "student, 1 pass"], rows


def add_samples(document: dict[str, Any], runner: Any) -> None:
    """
    Adds `samples`: the first sentences that teacher and student of the first seed translate differently.

    Args:
        document (`dict`): of Table 6; changed.
        runner ([`Runner`]): its runs are done and evaluated.
    """
    study, seed = runner.study, document["seeds"][0]
    budget = study.budget
    texts = {}
    for label in ("teacher", "student"):
        run = next(run for run in runner.outcomes.values() if run.run.folder_name == _run_of(document, label, seed))
        texts[label] = runner.translations(run.run, 1)
    limits = {budget.split: budget.max_test_examples} if budget.max_test_examples else None
    corpus = load_corpus(
        study.data,
        study.source_lang,
        study.target_lang,
        splits=(budget.split,),
        max_examples=limits,
        data_config=study.data_config,
    )[budget.split]
    sources, references = list(corpus["source"]), list(corpus["target"])
    rows = [row for row in range(len(sources)) if texts["teacher"][row] != texts["student"][row]]
    document["samples"] = [
        {"source": sources[row], "reference": references[row], **{label: texts[label][row] for label in texts}}
        for row in rows[: budget.num_samples]
    ]


def _run_of(document: Mapping[str, Any], label: str, seed: str) -> str:
    return document["systems"][label][seed]["run"]


def _title(metric: str) -> str:
    name, unit, _ = verdicts.METRICS[metric]
    return name if name == unit else f"{name}, %"


def _percent(share: float | None) -> float | None:
    return _scaled(share, 100)


def _scaled(number: float | None, factor: float) -> float | None:
    return None if number is None else number * factor
