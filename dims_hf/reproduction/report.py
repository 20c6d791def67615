# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`report.md`: for each experiment the claim, the setting, table or figure, and the computed verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dims_hf.reports import read_yaml, write_text
from dims_hf.reports.markup import aligned_rows, code, escape, link, markdown_rows
from dims_hf.reproduction import documents
from dims_hf.reproduction.plan import EXPERIMENTS, PAPER, head_of


RESULTS, REPORT = "results", "report.md"

# Hexadecimal digits of a checksum that the report shows; the documents have all of them.
_SHOWN_DIGITS = 12


def write_report(output_dir: Path, notes: Mapping[str, str] | None = None) -> Path:
    """
    Writes the report from the documents in `output_dir/results/`; no model is touched.

    Args:
        output_dir (`Path`): of the reproduction.
        notes (`Mapping[str, str]`, *optional*): experiment to a paragraph by a person, put under its verdicts.

    Returns:
        `Path`: the report.
    """
    found = read_documents(output_dir)
    sections = [_summary(found), *(_section(document, (notes or {}).get(name)) for name, document in found.items())]
    head = (
        f"# Reproduction of {PAPER}\n\nWritten by `dims-hf reproduce` from the JSON files in `{RESULTS}/`. Claims are "
        "our reading of the paper, in our words; what was checked of them stands below each, as computed.\n"
    )
    return write_text("\n".join([head, *sections]), output_dir / REPORT)


def read_documents(output_dir: Path) -> dict[str, dict[str, Any]]:
    """Every experiment's document, in the order of the paper; of those never run, one that says so."""
    found = {}
    for name in EXPERIMENTS:
        path = output_dir / RESULTS / f"{name}.json"
        found[name] = documents.load(path) if path.is_file() else documents.not_run(head_of(name), "not asked for")
    return found


def read_notes(path: Path) -> dict[str, str]:
    """
    Paragraphs of a person, by experiment.

    Raises:
        ValueError: for a file that is no mapping from experiments to text.
    """
    notes = read_yaml(path) or {}
    if not isinstance(notes, dict) or not all(isinstance(text, str) for text in notes.values()):
        raise ValueError(f"{path} must map experiments to text, for example `fig3: The curves cross at four passes.`")
    unknown = [name for name in notes if name not in EXPERIMENTS]
    if unknown:
        raise ValueError(f"{path} has a note on {unknown[0]!r}. Experiments are {', '.join(EXPERIMENTS)}.")
    return notes


def _summary(found: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for name, document in found.items():
        if document["status"] != "run":
            rows.append([link(name, f"#{name}"), document["title"], "not run"])
            continue
        verdicts = document["verdicts"]
        held = sum(each["num_seeds"] > 0 and each["holds_in"] == each["num_seeds"] for each in verdicts)
        rows.append(
            [link(name, f"#{name}"), document["title"], f"{held} of {len(verdicts)} checks hold in every seed"]
        )
    return markdown_rows(["experiment", "shows", "outcome"], rows)


def _section(document: Mapping[str, Any], note: str | None) -> str:
    name = document["experiment"]
    parts = [f"## {name}", f"**{document['title']}** ({document['source']})", f"Claim: {document['claim']}"]
    if document["status"] != "run":
        parts.append(f"Not run: {escape(document['reason'])}")
    else:
        parts.append(_setting(document))
        if document.get("figure"):
            parts.append(f"![{document['title']}]({RESULTS}/{document['figure']})")
        parts.append(markdown_rows(*EXPERIMENTS[name].table(document)).rstrip())
        parts += document.get("remarks", [])
        parts.append("\n".join(f"- {each['claim']}: {each['text']}." for each in document["verdicts"]))
    if note:
        parts.append(note.strip())
    return "\n\n".join(parts) + "\n"


def _setting(document: Mapping[str, Any]) -> str:
    study, task, origin = document["study"], document["task"], document["provenance"]
    budget = study["budget"]
    lines = [f"Corpus: {escape(study['data'])}, {study['source_lang']}→{study['target_lang']}."]
    if task:
        beam = budget["length_beam_size"]
        lines[0] += f" Scores: {task['split']} set, {task['num_sentences']} sentences, length beam {beam}."
    lines.append(f"Seeds: {', '.join(document['seeds'])}.{_skipped(document)}")
    lines.append(f"Training: {_training(document)}; {budget['tokens_per_update']} tokens per update.")
    commit = origin.get("git_commit") or "no checkout"
    made = f"Made by {code(origin['command'])}, commit `{commit}`, {origin['hardware']}, {origin['created']}"
    lines.append(f"{made}{_trained_at(document)}.")
    return "\n".join(f"- {line}" for line in [*lines, *_weights(document)])


def _weights(document: Mapping[str, Any]) -> list[str]:
    """Checksums of the weights that the scores are of."""
    sums = [
        f"{escape(label)} (seed {seed}) {file} `{digest[:_SHOWN_DIGITS]}…`"
        for label, seeds in document["systems"].items()
        for seed, system in seeds.items()
        for file, digest in (system.get("weights") or {}).items()
    ]
    return [f"Weights (SHA-256): {'; '.join(sums)}."] if sums else []


def _training(document: Mapping[str, Any]) -> str:
    """Updates of every system, least and most over seeds."""
    parts = []
    for label, seeds in document["systems"].items():
        updates = [system["updates"] for system in seeds.values() if system["updates"] is not None]
        if updates:
            low, high = min(updates), max(updates)
            parts.append(f"{escape(label)} {low}" + (f"–{high}" if high > low else "") + " updates")
    return "; ".join(parts) or "a given model"


def _trained_at(document: Mapping[str, Any]) -> str:
    """Commits of the trainings, where they are another than that of the document."""
    commits = {system.get("git_commit") for seeds in document["systems"].values() for system in seeds.values()}
    commits -= {None, document["provenance"].get("git_commit")}
    return f"; trained at {', '.join(f'`{commit}`' for commit in sorted(commits))}" if commits else ""


def _skipped(document: Mapping[str, Any]) -> str:
    skipped = document["skipped_seeds"]
    return "".join(f" Seed {seed} is left out: {escape(reason)}." for seed, reason in skipped.items())


def plan_table(runs: Sequence[Any], needed_by: Mapping[str, Sequence[str]]) -> str:
    """The runs of a plan as aligned text, with what they are expected to take."""
    header = ["run", "kind", "updates", "minutes", "for"]
    rows = [
        [
            run.folder_name,
            run.kind,
            str(run.updates or ""),
            "given" if run.given else str(math.ceil(run.seconds / 60)),
            " ".join(needed_by[run.identity]),
        ]
        for run in runs
    ]
    return aligned_rows(header, rows, left=(0, 1, 4))
