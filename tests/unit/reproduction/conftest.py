# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A study whose trainings and evaluations are written, not made: known numbers, in no time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dims_hf.reports import make_results, save_results
from dims_hf.reproduction import Run, Runner, Study, find_budget


@pytest.fixture
def study() -> Study:
    """Two seeds of the phrasebook."""
    return Study("phrasebook", find_budget("cpu-afternoon", "phrasebook", {"seeds": [1, 2]}))


class FakeTraining:
    """Writes a summary for each run, notes its order, and fails or collapses where it is told to."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.fails = self.collapses = lambda run: False

    def __call__(self, run: Run, folder: Path) -> int:
        self.done.append(run.name)
        if self.fails(run):
            (folder / "log.txt").write_text("loading\nerror: the disk is full.\n")
            return 2
        if self.collapses(run):
            outcome = {"message": "collapsed", "step": 60, "metrics": {"eval_bleu_1": 1.0, "eval_loss": 9.0}}
            (folder / "collapsed.json").write_text(json.dumps(outcome))
        elif run.kind == "distilled_data":
            (folder / "distillation.json").write_text("{}")
        else:
            (folder / "training_summary.json").write_text(json.dumps(self.summary(run)))
        return 0

    def summary(self, run: Run) -> dict[str, Any]:
        seed, steps = run.settings["seed"], run.settings["max_steps"]
        rounds = run.settings.get("rounds", 1)
        log = []
        for number in range(1, rounds + 1):
            mark = {"round": number} if rounds > 1 else {}
            for step in (steps // 2, steps):
                entry = {"step": step, "eval_bleu_1": 40.0 + number + seed, "eval_loss": 1.0}
                log.append({**mark, **entry, "eval_distinct_translations": 1.0})
            log.append({**mark, "step": steps, "round_bleu_1": 41.0 + number + seed})
        seconds = 300.0 if run.kind == "teacher" else 60.0
        return {
            "steps": steps * rounds,
            "epochs": 3.0,
            "train_runtime": seconds,
            "provenance": {"git_commit": "0123abc"},
            "log": [*log, {"step": steps * rounds, "train_runtime": seconds}] if rounds > 1 else log[:2],
        }


class FakeEvaluation:
    """A teacher scores 30 + passes, a student 40; seed 2 one point more; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(
        self,
        models: dict[str, Path],
        *,
        iterations: tuple[int, ...],
        output_dir: Path,
        decodings: dict[str, dict] | None = None,
        **settings: Any,
    ) -> dict:
        self.calls += 1
        ((decoding, options),) = (decodings or {"": {}}).items()
        (count,), name = iterations or (options.get("num_iterations", 1),), models["model"].name
        is_student = name.startswith("student") or "-dims-" in name
        seed = 2 if "seed2" in name else 1
        bleu = (40.0 if is_student else 30.0 + count) + (seed - 1)
        buckets = [
            {"shortest": 1, "longest": 8, "num_sentences": 3, "bleu": bleu},
            {"shortest": 9, "longest": None, "num_sentences": 2, "bleu": bleu + (2 if is_student else 0)},
        ]
        record = {
            "num_iterations": count, "length_beam_size": 1, "oracle_length": False, "collapse_repeats": True,
            "num_sentences": 5, "bleu": bleu, "chrf": 50.0, "valid": 0.4 + 0.5 * is_student,
            "repeated_tokens": 0.01, "mixture_before_collapse": 0.1, "milliseconds_per_sentence": 2.0 * count,
            "length_buckets": buckets, "subsets": {},
            **({"decoding": decoding, "decoding_settings": options} if decoding else {}),
        }  # fmt: skip
        fields = ("length_accuracy", "length_within_1", "length_within_2")
        length = {field: 0.1 * place + 0.2 * is_student for place, field in enumerate(fields, start=1)}
        task = {
            "data": "phrasebook", "source_lang": "en", "target_lang": "de", "split": "test", "num_sentences": 5,
            "fingerprint": "0" * 12,
        }  # fmt: skip
        system = {"name": "model", "length": length, "records": [record]}
        results = make_results(task, [system], provenance={})
        save_results(results, output_dir / "results.json")
        texts = output_dir / "translations" / f"model.iter{count}.beam1.txt"
        texts.parent.mkdir(exist_ok=True)
        texts.write_text("".join(f"{name[:7]} {row}\n" for row in range(500)))
        return results


def time_model(model: Path, sources: list[str], options: dict[str, Any]) -> dict[str, Any]:
    """A millisecond for every pass; no export of a beam."""
    passes = options.get("num_iterations", 1)
    int8 = {"error": "no exported graph has it"} if options.get("graph_search") == "beam" else {"1": 0.5, "32": 0.1}
    return {"torch": {"1": 1.0 * passes, "32": 0.2}, "int8": int8}


@pytest.fixture
def make_runner(study: Study, tmp_path: Path) -> Callable[..., Runner]:
    """A runner whose trainings and evaluations are fakes; what it says is in `said`."""

    def make(**changes: Any) -> Runner:
        parts = {"train": FakeTraining(), "evaluate": FakeEvaluation(), "time_model": time_model}
        runner = Runner(tmp_path / "out", changes.pop("study", study), **parts)
        runner.said = []
        runner.say = runner.said.append
        return runner

    return make
