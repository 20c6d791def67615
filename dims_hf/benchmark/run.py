# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A whole benchmark: groups of systems measured one after the other, each kept as soon as it is done."""

from __future__ import annotations

import importlib.metadata
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from dims_hf._output import holding
from dims_hf.benchmark.groups import Corpus, Group, load_sentences, make_groups, make_workload
from dims_hf.benchmark.machine import best_peaks, measure_peaks
from dims_hf.benchmark.measuring import Timed, check_lengths, measure_rounds, warm_up
from dims_hf.benchmark.memory import measure_memory
from dims_hf.benchmark.report import write_report
from dims_hf.benchmark.settings import BULK, MAX_BATCH, BenchmarkSettings
from dims_hf.benchmark.startup import measure_startup
from dims_hf.benchmark.systems import System, make_systems
from dims_hf.benchmark.texts import TextTranslator
from dims_hf.benchmark.translators import UnavailableError, decoded_text
from dims_hf.benchmark.weights import Weights, make_weights
from dims_hf.benchmark.workloads import Workload
from dims_hf.evaluation import score
from dims_hf.reports import provenance, weights_checksum, write_json
from dims_hf.reports.provenance import public_name
from dims_hf.translation.torch_runtime import CPU_TOKENS_PER_BATCH, torch_threads


RESULTS = "benchmark.json"

# 2: limits count the last decoder layer at predicted positions alone, with the best multiplication of two libraries
SCHEMA_VERSION = 2

NOTICE_RANDOM = (
    "Random weights and forced lengths: every system translates the same random token ids into as many "
    "tokens (a length beam decodes that length and its neighbours; models without a length predictor choose their "
    "own). These are figures of speed alone; they say nothing about quality."
)
NOTICE_TRAINED = "Trained weights: every system translates the same sentences, and stops where its model stops."
NOTICE_COUNTED = (
    "Timed is what lies between token ids and token ids: the search with everything it needs, copies to host memory "
    "excepted. Tokenisation and text are excluded for all, unless a table says text to text. Target tokens are "
    "content tokens, without <s> and </s>; forced autoregressive models are spared the step that would write </s>."
)

logger = logging.getLogger(__name__)


def run_benchmark(settings: BenchmarkSettings, say: Callable[[str], None] = logger.info) -> dict[str, Any]:
    """
    Measures what is not in the output folder yet, then writes table, figure and results.

    Args:
        settings ([`BenchmarkSettings`]): what to measure.
        say (`Callable[[str], None]`, *optional*): told what happens, a line at a time.

    Returns:
        `dict[str, Any]`: the results document.

    Raises:
        ValueError: for settings that cannot be measured, or an output folder with another benchmark in it.
    """
    folder = Path(settings.output_dir)
    weights = make_weights(settings)
    systems = make_systems(settings, weights)
    corpus = load_sentences(settings)
    with holding(folder):
        document = _open(folder / RESULTS, settings, corpus)
        document["systems"].update({system.name: describe(system) for system in systems})
        groups = make_groups(settings)
        # exported models are as large as the models, and of no use to anybody else
        with TemporaryDirectory(prefix=".models-", dir=folder) as models:
            _measure_groups(document, settings, systems, groups, corpus, Path(models), say)
            # memory and start-up are measured in processes of their own, beside as little as possible
            _forget(weights)
            if settings.startup:
                _add_startup(document, settings, systems, corpus, Path(models), say)
            if settings.memory:
                _add_memory(document, settings, systems, groups, Path(models), say)
        say(f"Written: {', '.join(path.name for path in write_report(document, folder))} in {folder}")
        return document


def _measure_groups(
    document: dict[str, Any],
    settings: BenchmarkSettings,
    systems: Sequence[System],
    groups: Sequence[Group],
    corpus: Corpus | None,
    models: Path,
    say: Callable[[str], None],
) -> None:
    """Measures what the document lacks."""
    opened = None
    for number, group in enumerate(groups, start=1):
        chosen = [system for system in systems if _belongs(system, group, settings)]
        state = "there already" if group.key in document["groups"] else f"{len(chosen)} systems"
        say(f"[{number}/{len(groups)}] {group.key}: {state}")
        if group.key in document["groups"]:
            continue
        if opened != (group.device, group.length):
            _forget({id(system.weights): system.weights for system in systems}.values())
            # groups come device by device: models of the last one make room
            opened = (group.device, group.length)
        record = measure_group(group, chosen, settings, models, corpus, document["quality"])
        document["groups"][group.key] = record
        # after every group: a benchmark that is interrupted goes on with the next
        save(document, Path(settings.output_dir) / RESULTS)


def measure_group(
    group: Group,
    systems: Sequence[System],
    settings: BenchmarkSettings,
    models: Path,
    corpus: Corpus | None = None,
    quality: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """
    Measures systems in turns.

    Args:
        group ([`Group`]): where, and on what.
        systems (`Sequence[System]`): what is measured.
        settings ([`BenchmarkSettings`]): rounds, seed and batches.
        models (`Path`): folder for exported models.
        corpus ([`Corpus`], *optional*): sentences for trained models.
        quality (`dict`, *optional*): receives the scores of trained systems by name.

    Returns:
        `dict[str, Any]`: `systems`, by name, `unavailable` with reasons, and the machine's `peaks`.
    """
    # what was compiled for the shapes of the last group would count as warm
    torch.compiler.reset()
    timed: dict[str, Timed] = {}
    unavailable, workloads = {}, {}
    with torch_threads(group.threads):
        # before and after the systems: a machine may slow down or be disturbed meanwhile
        peaks = [measure_peaks(group.device)]
        for system in systems:
            workload = workloads[system.name] = make_workload(group, system.weights, settings, corpus)
            try:
                timed[system.name] = _open_and_warm(system, group, workload, models, settings, corpus)
            except UnavailableError as error:
                unavailable[system.name] = str(error)
            except Exception as error:
                # of a compiler, a runtime or a full memory, whatever its class: the other systems' figures are as good
                unavailable[system.name] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        measure_rounds(timed, settings.rounds, group.device)
        peaks.append(measure_peaks(group.device))
    best, records = best_peaks(peaks), {}
    for system in systems:
        if system.name in timed:
            records[system.name] = _record(system, timed[system.name], workloads[system.name], best)
            if corpus is not None and quality is not None:
                quality.setdefault(system.name, _quality(system, timed[system.name], corpus))
    return {
        "device": group.device,
        "threads": group.threads,
        "batch": group.batch,
        "length": group.length,
        "batch_size": max(len(batch.rows) for load in workloads.values() for batch in load.batches),
        "peaks": best,
        "systems": records,
        "unavailable": unavailable,
        **{name: provenance()[name] for name in ("git_commit", "created")},
    }


def _quality(system: System, timed: Timed, corpus: Corpus) -> dict[str, Any]:
    """BLEU with its brevity penalty, chrF, and BLEU before repeats are collapsed."""
    texts, before = (
        [decoded_text(system.weights, row, raw=is_raw) for row in timed.outputs] for is_raw in (False, True)
    )
    scores = score(texts, corpus.references)
    return {**scores, "bleu_before_collapse": score(before, corpus.references)["bleu"]}


def describe(system: System) -> dict[str, Any]:
    """What tables and comparisons need to know of a system."""
    return {
        "label": system.label,
        "runtime": system.runtime_name,
        "runtime_label": system.runtime.label,
        "precision": system.runtime.precision,
        "is_ours": system.is_ours,
        "is_plain": system.is_plain,
        "has_shortlist": system.runtime.has_shortlist,
        "num_iterations": system.num_iterations,
        "length_beam_size": system.length_beam_size,
        "layers": system.weights.layers,
        "model": system.weights.name,
    }


def save(document: Mapping[str, Any], path: Path) -> Path:
    """Writes the results; a reader never finds a half-written file."""
    return write_json(document, path)


def load(path: Path) -> dict[str, Any]:
    """
    Reads results.

    Raises:
        ValueError: the file is not one of this release's.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}. Choose another --output-dir.") from error
    if document.get("schema_version") != SCHEMA_VERSION or "groups" not in document:
        raise ValueError(f"{path} is not a benchmark of this release. Choose another --output-dir.")
    return document


def _open(path: Path, settings: BenchmarkSettings, corpus: Corpus | None) -> dict[str, Any]:
    """The document to add to: an earlier one of the same benchmark on the same machine, or a new one."""
    # as the file will have it: tuples become lists
    identity, defaults = (json.loads(json.dumps(each.identity())) for each in (settings, BenchmarkSettings()))
    identity["models"] = [public_name(place) for place in settings.models]
    identity["data"] = public_name(settings.data) if settings.data else None
    where = provenance(seed=settings.seed)
    for name in ("onnxruntime", "ctranslate2"):
        try:
            where["versions"][name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    new = {
        "schema_version": SCHEMA_VERSION,
        "notices": [NOTICE_TRAINED if settings.models else NOTICE_RANDOM, NOTICE_COUNTED],
        "settings": identity,
        "task": corpus.task if corpus else None,
        # random ones follow from their seed
        "weights": {public_name(place): weights_checksum(place) for place in settings.models},
        "systems": {},
        "groups": {},
        "memory": {},
        "quality": {},
        "provenance": where,
    }
    if not path.exists():
        return new
    document = load(path)
    # A setting that an older file does not know had its default.
    theirs = {**defaults, **document["settings"]}
    differences = [name for name in identity if theirs[name] != identity[name]]
    differences += [
        name for name in ("hardware", "versions") if document["provenance"].get(name) != new["provenance"][name]
    ]
    if differences:
        raise ValueError(
            f"{path} holds a benchmark with other {', '.join(differences)}. Choose another --output-dir, or delete it."
        )
    return document


def _belongs(system: System, group: Group, settings: BenchmarkSettings) -> bool:
    """Whether a group measures a system: the slow ones only where they tell something new."""
    if system.runtime.device_type not in (None, torch.device(group.device).type):
        return False
    is_inner = group.batch not in (MAX_BATCH, BULK) and group.length in (None, settings.middle_length)
    return system.is_plain or is_inner or settings.full_grid


def _open_and_warm(
    system: System,
    group: Group,
    workload: Workload,
    folder: Path,
    settings: BenchmarkSettings,
    corpus: Corpus | None,
) -> Timed:
    if system.is_ours and not system.weights.predicts_length:
        workload = replace(workload, forced_tokens=None)  # alignments and graphs choose their own lengths
    translator = system.open(group.device, group.threads, workload.forced_tokens, folder)
    if group.is_of_texts:
        # ours as `translate` cuts a set; peers gain from larger batches
        budget = CPU_TOKENS_PER_BATCH if system.is_ours and group.device == "cpu" else settings.max_tokens
        texts = corpus.sources if corpus is not None else None
        translator = TextTranslator(translator, system.weights.tokenizer, texts, budget)
    timed = warm_up(translator, workload, group.device)
    check_lengths(system.name, timed.outputs, workload, tolerance=system.length_beam_size // 2)
    return timed


def _record(system: System, timed: Timed, workload: Workload, peaks: Mapping[str, float]) -> dict[str, Any]:
    """A system's figures in a group, and its distance to the machine's limit."""
    summary = timed.summary(workload)
    work = system.work(workload.mean_batch_size, workload.mean_source_tokens, summary["mean_target_tokens"])
    summary.update(gflop=work.flops / 1e9, million_weights_read=work.weights / 1e6, work=work.source)
    rate = peaks.get(system.runtime.precision)
    if rate:
        limit = work.limit(system.runtime.precision, rate, peaks["bandwidth"])
        summary.update(limit_ms=1000 * limit, share_of_limit=1000 * limit / summary["p50_ms"])
    return summary


def _add_startup(
    document: dict[str, Any],
    settings: BenchmarkSettings,
    systems: Sequence[System],
    corpus: Corpus | None,
    models: Path,
    say: Callable[[str], None],
) -> None:
    """What a new process of every plain system takes; what has failed is tried again."""
    times = document.setdefault("startup", {})
    for system in systems:
        if not system.is_plain or "seconds" in times.get(system.name, {}):
            continue
        say(f"start-up: {system.label}")
        tokens = system.weights.config.vocab_size
        sentence = corpus.sources[0] if corpus is not None else f"w{tokens // 2} w{tokens // 3}"
        times[system.name] = measure_startup(system, models, sentence)
        save(document, Path(settings.output_dir) / RESULTS)


def _add_memory(
    document: dict[str, Any],
    settings: BenchmarkSettings,
    systems: Sequence[System],
    groups: Sequence[Group],
    models: Path,
    say: Callable[[str], None],
) -> None:
    """Peak memory of every system on every device, each in a process of its own; what has failed is tried again."""
    for device in dict.fromkeys(group.device for group in groups):
        peaks = document["memory"].setdefault(device, {})
        for system in systems:
            # a failure is no result: it is tried again
            kept = {key: peak for key, peak in peaks.get(system.name, {}).items() if key != "error"}
            missing = _without_memory(document, system, [group for group in groups if group.device == device], kept)
            if not missing:
                continue
            say(f"peak memory on {device}: {system.label}")
            peaks[system.name] = kept | measure_memory(settings, system.name, missing, models)
            save(document, Path(settings.output_dir) / RESULTS)


def _without_memory(
    document: Mapping[str, Any], system: System, groups: Sequence[Group], kept: Iterable[str]
) -> list[Group]:
    """Groups in which a system was timed, of each batch and length one: threads hardly change what is needed."""
    there = {(document["groups"][key]["batch"], document["groups"][key]["length"]) for key in kept}
    timed = [
        group for group in groups if not group.is_of_texts and system.name in document["groups"][group.key]["systems"]
    ]
    missing = {(group.batch, group.length): group for group in timed}
    return [group for shape, group in missing.items() if shape not in there]


def _forget(weights: Iterable[Weights]) -> None:
    for each in weights:
        each.forget()
