# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The results document: its fields, checked when it is written and when it is read. All else is drawn from it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .files import write_json


SCHEMA_VERSION = 1

_REQUIRED = {
    "results": ("schema_version", "task", "systems", "gap_closed", "comparisons", "provenance"),
    "task": ("data", "source_lang", "target_lang", "split", "num_sentences", "fingerprint"),
    "system": ("name", "length", "records"),
    "record": ("num_iterations", "length_beam_size", "oracle_length", "collapse_repeats", "num_sentences", "bleu"),
}


def make_results(
    task: Mapping[str, Any],
    systems: Sequence[Mapping[str, Any]],
    *,
    provenance: Mapping[str, Any],
    gap_closed: Mapping[str, Any] | None = None,
    comparisons: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Puts a results document together and checks it.

    Args:
        task (`Mapping[str, Any]`): `data`, `source_lang`, `target_lang`, `split`, `num_sentences`, `fingerprint`.
        systems (`Sequence[Mapping[str, Any]]`): results of `evaluate_model`, each with a `name`.
        provenance (`Mapping[str, Any]`): result of `provenance`.
        gap_closed (`Mapping[str, Any]`, *optional*): result of `gap_closed`.
        comparisons (`Sequence[Mapping[str, Any]]`, *optional*): results of `paired_bootstrap`.

    Raises:
        ValueError: a required field is missing.
    """
    results = {
        "schema_version": SCHEMA_VERSION,
        "task": dict(task),
        "systems": [dict(system) for system in systems],
        "gap_closed": dict(gap_closed) if gap_closed else None,
        "comparisons": [dict(comparison) for comparison in comparisons],
        "provenance": dict(provenance),
    }
    check_results(results)
    return results


def check_results(results: Mapping[str, Any]) -> None:
    """Refuses a document that is not a results file of this version.

    Raises:
        ValueError: names the missing field, or the version.
    """
    _require("results", results, "results")
    if results["schema_version"] != SCHEMA_VERSION:
        raise ValueError(
            f"Results have schema_version {results['schema_version']!r}, this release reads {SCHEMA_VERSION}. "
            "Write them again with `dims-hf evaluate`."
        )
    _require("task", results["task"], "task")
    if not results["systems"]:
        raise ValueError("Results have no systems. Evaluate at least one model.")
    for system in results["systems"]:
        _require("system", system, f"system {system.get('name')!r}")
        for row, record in enumerate(system["records"]):
            _require("record", record, f"record {row} of system {system['name']!r}")


def save_results(results: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Writes a results document as JSON; a reader never finds a half-written file.

    Raises:
        ValueError: the document is not valid, or holds a number JSON does not know (NaN).
    """
    check_results(results)
    return write_json(results, path, indent=2)


def load_results(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads and checks a results document.

    Raises:
        ValueError: the file does not exist, is not JSON, or is not a results file of this version.
    """
    try:
        results = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"There is no results file {path}. Write one with `dims-hf evaluate`.") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}. Write it again with `dims-hf evaluate`.") from error
    check_results(results)
    return results


def _require(kind: str, value: Mapping[str, Any], where: str) -> None:
    missing = [field for field in _REQUIRED[kind] if field not in value]
    if missing:
        raise ValueError(f"The {where} lacks {', '.join(missing)}. Write the file again with `dims-hf evaluate`.")
