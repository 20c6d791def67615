# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""One JSON document per experiment: everything its table, figure and verdicts are drawn from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dims_hf.reports import provenance, write_json
from dims_hf.reports.provenance import public_text
from dims_hf.reproduction.running import Decodings, Outcome, Runner, describe_study
from dims_hf.reproduction.study import Run, in_order


SCHEMA_VERSION = 1

# Label to run, and passes or decodings to evaluate it at.
Labelled = Mapping[str, tuple[Run, Sequence[int] | Decodings]]


def not_run(head: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """The document of an experiment without results."""
    return {**head, "status": "not run", "reason": reason}


def collect(head: Mapping[str, Any], systems: Mapping[int, Labelled], runner: Runner) -> dict[str, Any]:
    """
    Puts an experiment's document together; evaluates what has not been evaluated yet.

    Args:
        head (`Mapping[str, Any]`): name, title, claim and source.
        systems (`Mapping`): seed to label to run and decoder passes or decodings to evaluate it at.
        runner ([`Runner`]): its runs are done.

    Returns:
        `dict[str, Any]`: with `status` `run`, or `not run` and the `reason` when no seed has all its runs.
    """
    found: dict[str, dict[str, Any]] = {}
    tasks: list[dict[str, Any]] = []
    skipped, seeds, error = {}, [], ""
    for seed, labelled in systems.items():
        error = _first_error(labelled, runner)
        if error:
            skipped[str(seed)] = public_text(error)
            continue
        seeds.append(str(seed))
        for label, (run, iterations) in labelled.items():
            measured = _measure(run, iterations, runner, tasks)
            found.setdefault(label, {})[str(seed)] = measured
    if not seeds:
        return not_run(head, public_text(error))
    return {
        **head,
        "status": "run",
        "task": tasks[0] if tasks else None,
        "study": describe_study(runner.study),
        "seeds": seeds,
        "skipped_seeds": skipped,
        "systems": found,
        "provenance": provenance(),
    }


def save(document: Mapping[str, Any], folder: Path) -> Path:
    """Writes a document as `NAME.json`."""
    return write_json(document, folder / f"{document['experiment']}.json")


def load(path: Path) -> dict[str, Any]:
    """Reads a document.

    Raises:
        ValueError: for a file of another kind or version.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    if document.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(
            f"{path} has schema_version {document.get('schema_version')!r}, this release reads {SCHEMA_VERSION}. "
            "Delete it, and run the experiment again."
        )
    return document


def _first_error(labelled: Labelled, runner: Runner) -> str:
    for run in in_order(run for run, _ in labelled.values()):
        error = runner.outcomes[run.identity].error
        if error:
            return f"{run.folder_name}: {error}"
    return ""


def _measure(
    run: Run, iterations: Sequence[int] | Decodings, runner: Runner, tasks: list[dict[str, Any]]
) -> dict[str, Any]:
    outcome = runner.outcomes[run.identity]
    measured = {"run": run.folder_name, **_training(run, outcome), "records": {}, "length": None}
    if outcome.collapsed is not None:
        return measured
    for key, results in _results(run, iterations, runner):
        tasks.append(results["task"])
        system = results["systems"][0]
        # a folder holds one decoding
        (record,) = system["records"]
        measured["records"][key] = {key: value for key, value in record.items() if key != "subsets"}
        measured["length"] = system["length"]
        measured["weights"] = system.get("weights")
    return measured


def _results(run: Run, iterations: Sequence[int] | Decodings, runner: Runner) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and results of every decoding; plain passes are called by their number."""
    if isinstance(iterations, Mapping):
        for name, options in iterations.items():
            yield name, runner.decoded(run, name, options)
    else:
        for count in iterations:
            yield str(count), runner.results(run, count)


def _training(run: Run, outcome: Outcome) -> dict[str, Any]:
    """What the training of a run took and looked like; `None` where a given model has no summary."""
    summary, log = outcome.summary or {}, outcome.log()
    updates = summary.get("steps") or (outcome.collapsed or {}).get("step")
    # a given model's summary does not say in how many processes it trained
    budget = run.settings.get("tokens_per_update")
    return {
        "updates": updates,
        "epochs": summary.get("epochs"),
        "seconds": summary.get("train_runtime"),
        "tokens": updates * budget if updates and budget else None,
        "git_commit": summary.get("provenance", {}).get("git_commit"),
        "collapsed": outcome.collapsed,
        "validation": list(_validation(log)),
        "rounds": [
            {"round": entry["round"], "bleu": entry["round_bleu_1"]} for entry in log if "round_bleu_1" in entry
        ],
    }


def _validation(log: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Evaluations during training; updates of a later round follow those of the earlier ones."""
    number, offset, last = 1, 0, 0
    for entry in log:
        if entry.get("round", number) != number:  # the last entry, over all rounds, is of none
            number, offset, last = entry["round"], offset + last, 0
        last = max(last, entry.get("step", 0))
        if "eval_loss" in entry or "eval_distinct_translations" in entry:
            yield {
                "step": offset + entry["step"],
                "bleu": entry.get("eval_bleu_1"),
                "distinct": entry.get("eval_distinct_translations"),
                "round": number,
            }
