# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Doing the runs of a plan: finished ones are skipped, interrupted ones taken up again, evaluations kept."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from dims_hf._commands import saying_how_to_go_on
from dims_hf.data import load_corpus
from dims_hf.recipes.distilled_data import REPORT
from dims_hf.recipes.launching import Processes, end_launched, find_processes, launch
from dims_hf.recipes.runs import TRAINING_SUMMARY
from dims_hf.reports import run_evaluation
from dims_hf.reports.files import write_text
from dims_hf.reports.results import load_results
from dims_hf.reproduction.speed import measure_speed
from dims_hf.reproduction.study import Run, Study
from dims_hf.reproduction.worker import COLLAPSED, FULL


# Name to arguments of `generate`.
Decodings = Mapping[str, Mapping[str, Any]]

logger = logging.getLogger(__name__)

LOG, RECIPE, RUN_RECORD, SPEED = "log.txt", "recipe.yaml", "run.json", "speed.json"

# Bytes with which no run gets anywhere: a few pages.
_LITTLE_SPACE = 2**16

# Settings of a run that a recipe has under other names, or not at all.
_OURS = ("precision", "tokens_per_update", "max_tokens_per_process")


@dataclass
class Outcome:
    """
    What became of a run.

    Args:
        run ([`Run`]): the run.
        folder (`Path`): its folder, or that of the given model.
        error (`str`, *optional*): why it has no result.
    """

    run: Run
    folder: Path
    error: str | None = None

    @property
    def summary(self) -> dict[str, Any] | None:
        """Its training summary, where there is one."""
        return _read_json(self.folder / TRAINING_SUMMARY)

    @property
    def collapsed(self) -> dict[str, Any] | None:
        """How it collapsed, if it did: `step`, `message` and the last `metrics`."""
        return None if self.run.given else _read_json(self.folder / COLLAPSED)

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to train."""
        if self.run.given:
            return True
        return any((self.folder / name).is_file() for name in (TRAINING_SUMMARY, REPORT, COLLAPSED))

    def log(self) -> list[dict[str, Any]]:
        """The training log; of a collapsed run, up to the evaluation that ended it."""
        if self.summary is not None:
            return self.summary["log"]
        if self.collapsed is None:
            return []
        states = sorted(self.folder.glob("checkpoint-*/trainer_state.json"), key=lambda path: _step_of(path.parent))
        entries = json.loads(states[-1].read_text())["log_history"] if states else []
        return [*entries, {**self.collapsed["metrics"], "step": self.collapsed["step"]}]


@dataclass
class Runner:
    """
    Does runs and evaluations in an output folder.

    Args:
        output_dir (`Path`): runs live in its `runs/`.
        study ([`Study`]): the corpus and the budget.
        runs_at_once (`int`): runs beside each other.
        processes ([`Processes`], *optional*): what each run has; default: the whole machine.
        train (`Callable`, *optional*): does one run in its folder and returns an exit status; default: processes of
            their own, see [`launch_run`].
        evaluate (`Callable`, *optional*): as `run_evaluation`, which is the default.
        time_model (`Callable`, *optional*): as `measure_speed`, which is the default.
        say (`Callable[[str], None]`, *optional*): told what happens, a line at a time.
    """

    output_dir: Path
    study: Study
    runs_at_once: int = 1
    processes: Processes | None = None
    train: Callable[[Run, Path], int] | None = None
    evaluate: Callable[..., dict[str, Any]] = run_evaluation
    time_model: Callable[..., dict[str, Any]] = measure_speed
    say: Callable[[str], None] = logger.info
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def folder(self, run: Run) -> Path:
        """Where a run lives."""
        if run.given:
            return Path(run.given).expanduser()
        return self.output_dir / "runs" / run.folder_name

    def do(self, runs: Sequence[Run]) -> dict[str, Outcome]:
        """
        Does runs, `runs_at_once` of them beside each other, each after all it needs; a failure stops only what needs
        it.

        Args:
            runs (`Sequence[Run]`): in the order of [`in_order`], which is that of their starts.

        Returns:
            `dict[str, Outcome]`: by identity.
        """
        self.outcomes.update({run.identity: Outcome(run, self.folder(run)) for run in runs})
        waiting, running = dict(enumerate(runs, start=1)), {}
        with ThreadPoolExecutor(self.runs_at_once) as pool, saying_how_to_go_on(self._describe_progress):
            try:
                while waiting or running:
                    undone = {run.identity for run in (*waiting.values(), *running.values())}
                    ready = [number for number, run in waiting.items() if undone.isdisjoint(_identities(run.needs))]
                    for number in ready[: self.runs_at_once - len(running)]:
                        future = pool.submit(self._do_one, waiting[number], f"[{number}/{len(runs)}]")
                        running[future] = waiting.pop(number)
                    self._finish(running)
            except KeyboardInterrupt:
                end_launched()  # or the threads would wait for them
                raise
        return self.outcomes

    def _describe_progress(self) -> str:
        num_done = sum(outcome.is_finished for outcome in self.outcomes.values())
        return f"{num_done} of {len(self.outcomes)} runs are done: the same command goes on with the others."

    def _finish(self, running: dict[Future, Run]) -> None:
        """Waits until a run ends, and notes how."""
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            outcome = self.outcomes[running.pop(future).identity]
            outcome.error = future.result()
            if outcome.error is not None:
                self.say(f"error: {outcome.run.folder_name}: {outcome.error}")

    def _do_one(self, run: Run, place: str) -> str | None:
        """Does a run whose needs have been done; returns why it has no result, or none."""
        outcome, start = self.outcomes[run.identity], time.perf_counter()
        missing = next((need for need in run.needs.values() if not self._can_use(need)), None)
        if missing is not None:
            return f"it needs {missing.folder_name}, {self._why_not(missing)}"
        if outcome.is_finished:
            self.say(f"{place} {run.folder_name}: there already")
            return None
        self.say(f"{place} {run.folder_name}: about {run.seconds / 60:.0f} min")
        status = self._start(run, outcome.folder)
        if status == 0 and outcome.is_finished:
            end = "collapsed" if outcome.collapsed else f"done in {(time.perf_counter() - start) / 60:.1f} min"
            self.say(f"{place} {end}")
            return None
        words = _last_words(outcome.folder / LOG)
        if status == FULL or _disk_is_full(outcome.folder, words):
            # every other run would fail as well, for the same reason
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(outcome.folder))
        return f"exit status {status}: {words}"

    def _start(self, run: Run, folder: Path) -> int:
        folder.mkdir(parents=True, exist_ok=True)
        record = {"kind": run.kind, "settings": dict(run.settings)}
        record["needs"] = {name: need.folder_name for name, need in run.needs.items()}
        write_text(json.dumps(record, indent=1) + "\n", folder / RUN_RECORD)
        if self.train is not None:
            return self.train(run, folder)
        needs = {name: self.folder(need) for name, need in run.needs.items()}
        return launch_run(run, folder, needs, self.processes)

    def _can_use(self, run: Run) -> bool:
        """Whether its folder has what another run needs."""
        outcome = self.outcomes[run.identity]
        return outcome.error is None and outcome.collapsed is None

    def _why_not(self, run: Run) -> str:
        return "which collapsed" if self.outcomes[run.identity].collapsed else "which failed"

    def results(self, run: Run, num_iterations: int) -> dict[str, Any]:
        """
        The results document of a run's model at one number of decoder passes, made once and kept in the run's folder.

        The settings of the evaluation are in the name of the file's folder as a hash.
        """
        folder = self.evaluation_folder(run, num_iterations)
        if not (folder / "results.json").is_file():
            self.say(f"    translating with {run.folder_name}, {num_iterations} passes")
            settings = self._evaluation_settings()
            self.evaluate({"model": self.folder(run)}, iterations=(num_iterations,), output_dir=folder, **settings)
        return load_results(folder / "results.json")

    def decoded(self, run: Run, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """[`results`] of a run's model at a named decoding; plain passes are those of [`results`]."""
        if set(options) == {"num_iterations"}:
            return self.results(run, options["num_iterations"])
        folder = self.decoding_folder(run, options)
        if not (folder / "results.json").is_file():
            self.say(f"    translating with {run.folder_name}, {name}")
            settings = {**self._evaluation_settings(), "length_beams": [1]}
            decodings = {"decodings": {name: dict(options)}, "iterations": ()}
            self.evaluate({"model": self.folder(run)}, **decodings, output_dir=folder, **settings)
        return load_results(folder / "results.json")

    def speed(self, run: Run, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Milliseconds per sentence of a run's model at a decoding, measured once and kept in the run's folder."""
        path = self.decoding_folder(run, options) / SPEED
        if not path.is_file():
            self.say(f"    timing {run.folder_name}, {name}")
            sources = self.sources[: self.study.budget.num_speed_sentences]
            write_text(json.dumps(self.time_model(self.folder(run), sources, options), indent=1) + "\n", path)
        return json.loads(path.read_text(encoding="utf-8"))

    @cached_property
    def sources(self) -> list[str]:
        """Sources of the split that is evaluated."""
        study, budget = self.study, self.study.budget
        limits = {budget.split: budget.max_test_examples} if budget.max_test_examples else None
        options = {"splits": (budget.split,), "max_examples": limits, "data_config": study.data_config}
        corpus = load_corpus(study.data, study.source_lang, study.target_lang, **options)
        return list(corpus[budget.split]["source"])

    def decoding_folder(self, run: Run, options: Mapping[str, Any]) -> Path:
        """Where the results and the speed of a decoding are."""
        return self._evaluations(run, "decoding", {"decoding": dict(options)})

    def evaluation_folder(self, run: Run, num_iterations: int) -> Path:
        """Where that document is; a given model's lies in the output folder, not in the model's."""
        return self._evaluations(run, str(num_iterations), {"iterations": num_iterations})

    def _evaluations(self, run: Run, name: str, decoding: Mapping[str, Any]) -> Path:
        settings = json.dumps({**self._evaluation_settings(), **decoding}, sort_keys=True)
        name = f"{name}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"
        return self.output_dir / "runs" / run.folder_name / "evaluations" / name

    def translations(self, run: Run, num_iterations: int) -> list[str]:
        """The texts behind [`results`]."""
        folder = self.evaluation_folder(run, num_iterations) / "translations"
        path = folder / f"model.iter{num_iterations}.beam{self.study.budget.length_beam_size}.txt"
        return path.read_text(encoding="utf-8").split("\n")[:-1]

    def _evaluation_settings(self) -> dict[str, Any]:
        study, budget = self.study, self.study.budget
        # `name:config` reaches evaluation as one word
        data = f"{study.data}:{study.data_config}" if study.data_config else study.data
        return {
            "data": data,
            "source_lang": study.source_lang,
            "target_lang": study.target_lang,
            "split": budget.split,
            "length_beams": [budget.length_beam_size],
            "num_length_buckets": budget.num_length_buckets,
            "max_examples": budget.max_test_examples,
        }


def _identities(needs: Mapping[str, Run]) -> list[str]:
    return [run.identity for run in needs.values()]


def launch_run(run: Run, folder: Path, needs: dict[str, Path], processes: Processes | None = None) -> int:
    """Writes the recipe of a run into its folder and starts it in processes of its own; its output goes to a log."""
    processes = find_processes() if processes is None else processes
    recipe = recipe_of(run, folder, needs, processes)
    # JSON is YAML
    write_text(json.dumps(recipe, indent=1) + "\n", folder / RECIPE)
    program = ["-m", "dims_hf.reproduction.worker", run.kind, folder.resolve() / RECIPE]
    return launch(program, processes, precision=run.settings.get("precision", "fp32"), log=folder / LOG)


def recipe_of(run: Run, folder: Path, needs: dict[str, Path], processes: Processes) -> dict[str, Any]:
    """
    A run as the training commands take it: with the folders it needs, and how this machine splits an update.

    Raises:
        ValueError: for fp16 without a GPU.
    """
    settings = {name: value for name, value in run.settings.items() if name not in _OURS}
    settings.update({name: str(path.resolve()) for name, path in needs.items()}, output_dir=str(folder.resolve()))
    settings.update(disable_tqdm=True)
    if not processes.on_gpu:
        settings.update(use_cpu=True)
    if run.kind == "distilled_data":
        return settings
    precision = run.settings["precision"]
    if precision == "fp16" and not processes.on_gpu:
        raise ValueError("fp16 needs a GPU. Set precision to bf16 or fp32.")
    if processes.on_gpu:
        settings.pop("attn_implementation", None)  # eager is for short sentences on a CPU
    split = processes.split_tokens(run.settings["tokens_per_update"], run.settings["max_tokens_per_process"])
    return {**settings, **split, "bf16": precision == "bf16", "fp16": precision == "fp16", "report_to": "none"}


def describe_study(study: Study) -> dict[str, Any]:
    """Corpus and budget, for the documents; of a path, the last part."""
    path = Path(study.data).expanduser()
    return {
        "data": path.name if path.exists() else study.data,
        "source_lang": study.source_lang,
        "target_lang": study.target_lang,
        "given_teacher": Path(study.given_teacher).name if study.given_teacher else None,
        "given_student": Path(study.given_student).name if study.given_student else None,
        "budget": asdict(study.budget),
    }


def total_seconds(runs: Iterable[Run]) -> float:
    """What runs are expected to take together."""
    return sum(run.seconds for run in runs if not run.given)


def _read_json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _disk_is_full(folder: Path, words: str) -> bool:
    """Whether a run ended since it could not write; where nothing fits any more, not even its log says so."""
    return "The disk is full" in words or shutil.disk_usage(folder).free < _LITTLE_SPACE


def _last_words(log: Path) -> str:
    """The error message of a failed run: its own line, else the last line of a traceback."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    lines = [line.strip() for line in re.split(r"[\r\n]", text) if line.strip()]
    messages = [line for line in lines if re.match(r"error: |(\w+\.)*\w+(Error|Exception): ", line)]
    # torch's launcher adds an error of its own about the process that failed
    messages = [line for line in messages if "ChildFailedError" not in line]
    return (messages or lines or ["it wrote nothing"])[-1]
