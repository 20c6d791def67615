# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Running a plan: what is skipped, what a failure or a collapse stops, and what a run's recipe says."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from dims_hf._commands import describe_error
from dims_hf.methods import preset_values
from dims_hf.recipes.autoregressive import AutoregressiveModelArguments
from dims_hf.recipes.distilled_data import DistilledDataArguments
from dims_hf.recipes.launching import Processes, _launcher
from dims_hf.recipes.parsing import parse_recipe
from dims_hf.recipes.runs import CorpusArguments, DistillationArguments, ModelArguments
from dims_hf.reproduction import EXPERIMENTS, Run, Runner, Study, find_budget
from dims_hf.reproduction.command import run_experiments
from dims_hf.reproduction.plan import runs_of
from dims_hf.reproduction.running import _last_words, recipe_of
from dims_hf.reproduction.worker import FULL
from dims_hf.trainers import DiMSConfig, NATTrainingArguments
from dims_hf.trainers.autoregressive import AutoregressiveTrainingArguments


def test_finished_runs_and_evaluations_are_not_done_again(make_runner: Callable[..., Runner]):
    first, second = make_runner(), make_runner()
    assert run_experiments(["fig5", "table6"], first) == 0
    assert len(first.train.done) == 4 and first.evaluate.calls == 4
    assert run_experiments(["fig5", "table6", "fig3"], second) == 0
    assert second.train.done == []
    assert second.evaluate.calls == 4 * 4  # the passes that fig3 has beyond the first
    assert sum("there already" in line for line in second.said) == 4


def test_interrupted_run_is_started_again_in_its_folder(make_runner: Callable[..., Runner], study: Study):
    runner = make_runner()
    run = study.teacher(1)
    runner.folder(run).mkdir(parents=True)
    (runner.folder(run) / "checkpoint-10").mkdir()
    runner.do([run])
    assert runner.train.done == [run.name] and runner.outcomes[run.identity].error is None


def test_failed_run_stops_what_needs_it_and_nothing_else(make_runner: Callable[..., Runner], tmp_path: Path):
    runner = make_runner()
    runner.train.fails = lambda run: run.kind == "autoregressive"
    assert run_experiments(["fig5", "table7"], runner) == 1
    documents = {name: json.loads((tmp_path / f"out/results/{name}.json").read_text()) for name in ("fig5", "table7")}
    assert documents["fig5"]["status"] == "run"
    assert documents["table7"]["status"] == "not run"
    assert documents["table7"]["reason"].endswith("exit status 2: error: the disk is full.")
    assert not any(name.startswith(("distilled-data", "teacher-cmlm-distilled")) for name in runner.train.done)
    report = (tmp_path / "out/report.md").read_text()
    assert "Not run: autoregressive-seed1-" in report and "Not run: not asked for" in report


@pytest.mark.parametrize(
    ("status", "log", "num_free"),
    [(2, "error: The disk is full (x): no space.\n", 2**30), (1, "", 4096), (FULL, "update 2/4", 2**30)],
)
def test_full_disk_ends_the_study_and_is_told(
    make_runner: Callable[..., Runner],
    study: Study,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    log: str,
    num_free: int,
):
    runner = make_runner()

    def train(run: Run, folder: Path) -> int:
        (folder / "log.txt").write_text(log)
        return status

    runner.train = train
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=num_free))
    with pytest.raises(OSError) as caught:
        runner.do([study.teacher(1), study.student(1)])
    line, exit_status = describe_error(caught.value)
    assert line == f"The disk is full ({runner.folder(study.teacher(1))}): no space left. Make room and run the " + (
        "command again."
    )
    assert exit_status == 2


def test_two_runs_at_once_overlap_and_wait_for_what_they_need(make_runner: Callable[..., Runner], study: Study):
    runner = make_runner()
    runner.runs_at_once = 2
    both_started, train, at_work, most = threading.Barrier(2, timeout=20), runner.train, set(), []

    def train_slowly(run: Run, folder: Path) -> int:
        assert not {need.name for need in run.needs.values()} & at_work
        at_work.add(run.name)
        most.append(len(at_work))
        both_started.wait()  # breaks where a run is alone
        status = train(run, folder)
        at_work.discard(run.name)
        return status

    runner.train = train_slowly
    runs = [study.teacher(1), study.student(1), study.teacher(2), study.student(2)]
    outcomes = runner.do(runs)
    assert {outcome.error for outcome in outcomes.values()} == {None} and max(most) == 2
    assert set(train.done[:2]) == {runs[0].name, runs[2].name} and set(train.done[2:]) == {runs[1].name, runs[3].name}


def test_seed_with_a_failed_run_is_left_out_and_said(make_runner: Callable[..., Runner], tmp_path: Path):
    runner = make_runner()
    runner.train.fails = lambda run: run.name == "teacher-cmlm-raw-seed2"
    assert run_experiments(["fig6"], runner) == 1
    document = json.loads((tmp_path / "out/results/fig6.json").read_text())
    assert document["seeds"] == ["1"] and list(document["skipped_seeds"]) == ["2"]
    assert "Seed 2 is left out: teacher-cmlm-raw-seed2-" in (tmp_path / "out/report.md").read_text()


def test_collapse_is_a_result_and_not_a_failure(make_runner: Callable[..., Runner], tmp_path: Path):
    runner = make_runner()
    runner.train.collapses = lambda run: run.settings.get("ema_decay") == 0.9
    assert run_experiments(["collapse"], runner) == 0
    document = json.loads((tmp_path / "out/results/collapse.json").read_text())
    assert document["systems"]["μ = 0.9"]["1"]["collapsed"]["step"] == 60
    assert [each["text"] for each in document["verdicts"]] == [
        "holds in 2 of 2 seeds by 41.5 ± 0.7 BLEU",
        "collapsed in 2 of 2 seeds",
    ]
    again = make_runner()
    run_experiments(["collapse"], again)
    assert again.train.done == []


def test_recipe_of_a_run_has_its_folders_and_the_machines_split(study: Study, tmp_path: Path):
    run = study.student(1)
    recipe = recipe_of(run, tmp_path / "run", {"teacher": tmp_path / "teacher"}, Processes(2))
    assert recipe["teacher"] == str(tmp_path / "teacher") and recipe["output_dir"] == str(tmp_path / "run")
    assert (recipe["max_tokens_per_batch"], recipe["gradient_accumulation_steps"]) == (1024, 1)
    assert recipe["use_cpu"] and recipe["bf16"] and not recipe["fp16"]
    assert not {"precision", "tokens_per_update", "max_tokens_per_process"} & recipe.keys()
    on_gpus = recipe_of(run, tmp_path, {"teacher": tmp_path}, Processes(4, on_gpu=True))
    assert "use_cpu" not in on_gpus and "attn_implementation" not in on_gpus


def test_recipe_in_half_precision_without_gpu_is_refused(study: Study, tmp_path: Path):
    half = replace(study, budget=replace(study.budget, precision="fp16"))
    with pytest.raises(ValueError, match="fp16 needs a GPU"):
        recipe_of(half.teacher(1), tmp_path, {}, Processes(2))


@pytest.mark.parametrize(
    ("count", "tokens", "limit", "expected"),
    [(4, 32768, 8192, (8192, 1)), (1, 32768, 8192, (8192, 4)), (2, 2048, None, (1024, 1)), (3, 100, 20, (16, 2))],
)
def test_split_tokens_makes_up_an_update(count: int, tokens: int, limit: int | None, expected: tuple[int, int]):
    split = Processes(count).split_tokens(tokens, limit)
    assert (split["max_tokens_per_batch"], split["gradient_accumulation_steps"]) == expected


def test_launcher_has_one_process_per_gpu_and_torchs_own_on_a_cpu():
    gpus = " ".join(_launcher(Processes(4, on_gpu=True), "fp16"))
    assert "accelerate.commands.launch --num_processes 4" in gpus and "--mixed_precision fp16" in gpus
    assert gpus.endswith("--multi_gpu") and "--multi_gpu" not in _launcher(Processes(1, on_gpu=True), "bf16")
    assert _launcher(Processes(2), "bf16") == ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def test_last_words_are_the_error_not_the_launchers(tmp_path: Path):
    log = tmp_path / "log.txt"
    log.write_text("step 1\nerror: bad corpus.\nTraceback\ntorch.distributed.ChildFailedError: worker FAILED\n====\n")
    assert _last_words(log) == "error: bad corpus."
    assert _last_words(tmp_path / "absent") == "it wrote nothing"


def test_dry_run_shortens_every_run_and_evaluates_nothing(study: Study):
    dry = replace(study, dry_steps=20)
    runs = runs_of(["table3", "fig4"], dry)
    trainings = [run for run in runs if run.kind != "distilled_data"]
    assert {run.settings["max_steps"] for run in trainings} == {20}
    assert all(run.settings["eval_strategy"] == "no" for run in trainings)
    assert any(run.kind == "autoregressive" for run in runs)
    assert all("early_stopping_patience" not in run.settings for run in runs)


@pytest.mark.parametrize("budget", ["cpu-afternoon", "many-gpus"])
@pytest.mark.parametrize("dry_steps", [None, 20])
def test_recipe_of_every_run_is_accepted_by_its_command(budget: str, dry_steps: int | None, tmp_path: Path):
    owners = {
        "teacher": (CorpusArguments, ModelArguments, NATTrainingArguments),
        "student": (CorpusArguments, DistillationArguments, DiMSConfig),
        "autoregressive": (CorpusArguments, AutoregressiveModelArguments, AutoregressiveTrainingArguments),
        "distilled_data": (CorpusArguments, DistilledDataArguments),
    }
    sizes = find_budget(budget, "corpus", {"precision": "bf16", "seeds": [1]})
    study = Study("corpus", sizes, "en", "de", dry_steps=dry_steps)
    for run in runs_of(list(EXPERIMENTS), study):
        recipe = recipe_of(run, tmp_path, {name: tmp_path / name for name in run.needs}, Processes(2))
        path = tmp_path / "recipe.yaml"
        path.write_text(json.dumps(recipe))
        corpus, *_ = parse_recipe(owners[run.kind], [str(path)], preset_values=preset_values)
        assert corpus.data == (str(tmp_path / "data") if "data" in run.needs else "corpus")
