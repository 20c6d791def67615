# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Tables of the report, from documents alone: means over seeds, with the range where there are several."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dims_hf.data import load_corpus
from dims_hf.reproduction import frames
from dims_hf.reproduction.frames import Document


if TYPE_CHECKING:
    import pandas as pd

Table = tuple[list[str], list[list[str]]]

# Column of a frame -> its title and digits.
Columns = Mapping[str, tuple[str, int]]

_SCORES: Columns = {
    "bleu": ("BLEU", 1), "valid": ("valid outputs, %", 1), "brevity_penalty": ("BP", 3), "chrf": ("chrF", 1),
    "bleu_before_collapse": ("BLEU raw", 1), "repeated_tokens": ("repeated tokens, %", 1),
    "mixture_before_collapse": ("mixtures, %", 1), "milliseconds_per_sentence": ("ms per sentence", 1),
}  # fmt: skip


def spread(values: Iterable[float | None], digits: int = 1) -> str:
    """`51.8 (51.2–52.4)`: mean and range; the value alone for one seed, nothing for none."""
    known = [value for value in values if value is not None and value == value]
    if not known:
        return ""
    mean = f"{statistics.fmean(known):.{digits}f}"
    return mean if len(known) == 1 else f"{mean} ({min(known):.{digits}f}–{max(known):.{digits}f})"


def _spreads(frame: pd.DataFrame, by: Sequence[str], columns: Columns) -> list[list[str]]:
    """A row per group in the order of the frame: its names, then mean and range of each column."""
    rows = []
    for names, group in frame.groupby(list(by), sort=False, dropna=False):
        cells = ["" if name != name else f"{name:.0f}" if isinstance(name, float) else str(name) for name in names]
        rows.append(cells + [spread(group[column], digits) for column, (_, digits) in columns.items()])
    return rows


def scores(document: Document, *, timed: bool = False) -> Table:
    """Every system at every number of passes it was evaluated at, with milliseconds per sentence if `timed`."""
    frame = frames.scores_frame(document).sort_values("passes", kind="stable")
    frame = frame.sort_values("system", kind="stable", key=lambda column: column.map(list(document["systems"]).index))
    columns = {name: title for name, title in _SCORES.items() if frame[name].notna().any()}
    if not timed:
        columns.pop("milliseconds_per_sentence", None)
    rows = _spreads(frame, ("system", "passes"), columns)
    for row in rows:
        if not row[1]:
            row[2] = "collapsed"
    return ["system", "passes", *(title for title, _ in columns.values())], rows


def timed_scores(document: Document) -> Table:
    """[`scores`] with milliseconds per sentence."""
    return scores(document, timed=True)


def rounds(document: Document) -> Table:
    """Updates, single-pass scores, and the validation BLEU at the end of every round."""
    header, scored = scores(document)
    found = {row[0]: row[2:] for row in scored}
    updates = {row[0]: row[1] for row in _spreads(frames.systems_frame(document), ("system",), {"updates": ("", 0)})}
    rows = []
    for label, seeds in document["systems"].items():
        ends = [[each["bleu"] for each in system["rounds"]] for system in seeds.values()]
        per_round = [spread(row[number] for row in ends if number < len(row)) for number in range(max(map(len, ends)))]
        rows.append([label, updates[label], *found[label], ", ".join(per_round)])
    return ["system", "updates", *header[2:], "validation BLEU after each round"], rows


def length_buckets(document: Document) -> Table:
    """BLEU of one pass per bucket of target lengths."""
    labels, rows = list(document["systems"]), []
    for name in frames.bucket_names(document):
        found = {
            label: [frames.buckets(system)[name] for system in seeds.values() if name in frames.buckets(system)]
            for label, seeds in document["systems"].items()
        }
        sizes = {bucket["num_sentences"] for buckets in found.values() for bucket in buckets}
        bleus = [spread(bucket["bleu"] for bucket in found[label]) for label in labels]
        penalties = [spread((bucket.get("brevity_penalty") for bucket in found[label]), 3) for label in labels]
        rows.append([name, "/".join(map(str, sorted(sizes))), *bleus, *penalties])
    header = ["target tokens", "sentences", *(f"{label}, {measure}" for measure in ("BLEU", "BP") for label in labels)]
    used = [column for column in range(len(header)) if any(row[column] for row in rows)]
    return [header[column] for column in used], [[row[column] for column in used] for row in rows]


def lengths(document: Document) -> Table:
    """Share of sentences whose predicted length is right, or off by at most one or two tokens."""
    titles = ("exact (top 1), %", "off by at most 1 (top 3), %", "off by at most 2 (top 5), %")
    columns = {field: (title, 1) for field, title in zip(frames.LENGTHS, titles, strict=True)}
    return ["system", *titles], _spreads(frames.systems_frame(document), ("system",), columns)


def last_validation(document: Document) -> Table:
    """Best and last single-pass validation BLEU, and how a collapse showed."""
    frame = frames.systems_frame(document)
    columns = {
        "best": ("best validation BLEU", 1), "last": ("last validation BLEU", 1),
        "distinct": ("distinct outputs at the end, %", 0),
    }  # fmt: skip
    rows = _spreads(frame, ("system",), columns)
    counts = frame.groupby("system", sort=False)["collapsed"]
    for row, count, total in zip(rows, counts.sum(), counts.size(), strict=True):
        row.append(f"{count} of {total}")
    return ["momentum", *(title for title, _ in columns.values()), "collapsed"], rows


def costs(document: Document) -> Table:
    """Updates, minutes and padded training tokens."""
    columns = {name: (name, digits) for name, digits in (("updates", 0), ("epochs", 1), ("minutes", 1))}
    columns["million tokens"] = ("million tokens", 1)
    return ["training", *columns], _spreads(frames.systems_frame(document), ("system",), columns)


def samples(document: Document) -> Table:
    """A few sentences, with the two single passes of the first seed."""
    names = ("source", "reference", "teacher", "student")
    rows = [[each[name] for name in names] for each in document.get("samples", [])]
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
        name = document["systems"][label][seed]["run"]
        run = next(outcome.run for outcome in runner.outcomes.values() if outcome.run.folder_name == name)
        texts[label] = runner.translations(run, 1)
    limits = {budget.split: budget.max_test_examples} if budget.max_test_examples else None
    options = {"splits": (budget.split,), "max_examples": limits, "data_config": study.data_config}
    corpus = load_corpus(study.data, study.source_lang, study.target_lang, **options)[budget.split]
    pairs = zip(corpus["source"], corpus["target"], texts["teacher"], texts["student"], strict=False)
    names = ("source", "reference", "teacher", "student")
    differing = [dict(zip(names, pair, strict=True)) for pair in pairs if pair[2] != pair[3]]
    document["samples"] = differing[: budget.num_samples]
