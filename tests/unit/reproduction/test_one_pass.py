# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Table 1: every method at one budget of time, what stages share, and the table of known numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dims_hf.data import save_tokenizer
from dims_hf.methods.registry import METHODS, default_method
from dims_hf.models import MODELS
from dims_hf.reproduction import Runner, Study, find_budget
from dims_hf.reproduction.command import run_experiments
from dims_hf.reproduction.one_pass import SYSTEMS, num_updates, one_pass_run, stages_of, systems_on
from dims_hf.reproduction.plan import systems_of
from dims_hf.reproduction.speed import measure_speed


@pytest.fixture
def one_pass_study() -> Study:
    return Study("phrasebook", find_budget("cpu-afternoon", "phrasebook", {"seeds": [1, 2]}))


def test_every_method_and_every_family_has_a_system(one_pass_study: Study):
    methods, families = set(), set()
    for name, system in SYSTEMS.items():
        if system.is_autoregressive:
            continue
        run = one_pass_run(one_pass_study, name, 1, "distilled")
        base = run.needs["teacher"] if run.kind == "student" else run
        family = base.settings["model_type"]
        families.add(family)
        methods.add(run.settings.get("method") or default_method(family, distils=run.kind == "student"))
    assert methods == set(METHODS)
    assert families == set(MODELS)
    # whatever iterates has a student
    iterative = {"CMLM", "SMART", "CMLMC", "DisCo", "refinement", "Imputer"}
    assert iterative <= {system.teacher for system in SYSTEMS.values()}


def test_every_system_has_the_same_time(one_pass_study: Study):
    budget = one_pass_study.budget
    for name in SYSTEMS:
        names, spent = stages_of(name), 0.0
        for place, each in enumerate(names):
            run = one_pass_run(one_pass_study, each, 1, "raw", num_later=len(names) - 1 - place)
            assert run.updates == run.settings["max_steps"] * run.settings.get("rounds", 1)
            spent += run.updates * SYSTEMS[each].cost
        # an update more or less in every stage
        assert spent == pytest.approx(budget.one_pass_updates, abs=4 * len(names) * SYSTEMS[name].cost)
    assert num_updates(one_pass_study, "CMLM") == budget.one_pass_updates
    assert num_updates(one_pass_study, "CMLM", num_later=2) == budget.one_pass_updates // 2


@pytest.mark.parametrize("data", ["phrasebook", "corpus"])
def test_deep_encoders_differ_in_layers_and_rate_alone(data: str):
    study = Study(data, find_budget("cpu-afternoon", data, {"seeds": [1]}), "en", "de")
    # lengths of a run are those of its share of the time
    lengths = {"max_steps", "warmup_steps", "eval_steps", "save_steps", "logging_steps", "lr_scheduler_kwargs"}
    for deep, usual in (("CMLM 12-2", "CMLM"), ("FullyNAT 12-2", "FullyNAT")):
        ours, theirs = (one_pass_run(study, name, 1, "raw").settings for name in (deep, usual))
        assert (ours["encoder_layers"], ours["decoder_layers"]) == (12, 2)
        changed = {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
        # on the phrasebook all decoders have two layers
        assert changed - lengths - {"decoder_layers"} == {"encoder_layers", "learning_rate"}


def test_last_stages_and_students_share_what_they_begin_with(one_pass_study: Study):
    runs = {name: one_pass_run(one_pass_study, name, 1, "raw") for name in SYSTEMS}
    bases = {runs[name].needs[role].identity for name, role in (("OAXE", "init"), ("CMLM + DiMS", "teacher"))}
    bases |= {runs["ENGINE"].needs["init"].identity, runs["CMLM + SDTT"].needs["teacher"].identity}
    (base,) = bases
    assert base != runs["CMLM"].identity  # which has all of the time
    tokenizer = one_pass_study.autoregressive().identity
    for name, system in SYSTEMS.items():
        needs = {role: run.identity for role, run in runs[name].needs.items()}
        assert ("tokenizer" in needs) == (system.begins_with is None)
        assert not {"init", "tokenizer"} <= needs.keys()
        if system.with_autoregressive:
            assert needs["autoregressive_teacher"] == tokenizer
    assert one_pass_run(one_pass_study, "CMLM", 2, "raw").needs["tokenizer"].identity == tokenizer


def test_targets_chosen_by_em_are_distilled_ones(one_pass_study: Study):
    assert set(systems_on("distilled")) - set(systems_on("raw")) == {"DDRS", "FullyNAT, EM targets"}
    data = one_pass_run(one_pass_study, "DDRS", 2, "distilled").needs["data"]
    assert data.settings["num_hypotheses"] == 5
    assert data.needs["selector"].identity == one_pass_run(one_pass_study, "FullyNAT", 1, "raw").identity
    assert data.identity == one_pass_run(one_pass_study, "FullyNAT, EM targets", 1, "distilled").needs["data"].identity


def test_table_has_scores_milliseconds_costs_and_the_budget(make_runner: Callable[..., Runner], tmp_path: Path):
    pytest.importorskip("matplotlib")
    study = Study(
        "phrasebook", find_budget("cpu-afternoon", "phrasebook", {"seeds": [1, 2], "one_pass_corpora": ["raw"]})
    )
    runner = make_runner(study=study)
    runner.sources = ["a cat"]
    assert run_experiments(["table1"], runner) == 0
    document = json.loads((tmp_path / "out/results/table1.json").read_text())
    assert list(document["systems"]) == list(systems_of("table1", study)[1])
    report = (tmp_path / "out/report.md").read_text()
    head, cells = next(
        (lines[0], lines[2:])
        for lines in ([line for line in part.splitlines() if line.startswith("|")] for part in report.split("## ")[1:])
        if lines
    )
    titles = [title.strip() for title in head.strip("|").split("|")]
    rows = [dict(zip(titles, (cell.strip() for cell in line.strip("|").split("|")), strict=True)) for line in cells]
    row = next(each for each in rows if each["system"] == "CMLM" and each["decoding"] == "4 passes")
    assert (row["targets"], row["BLEU"], row["ms, torch, batch 1"]) == ("raw", "34.5 (34.0–35.0)", "4.00")
    assert row["updates × cost"] == f"{study.budget.one_pass_updates} × 1"
    row = next(each for each in rows if each["system"] == "DAT" and each["decoding"] == "beam 20")
    assert (row["ms, torch, batch 32"], row["ms, int8, batch 32"]) == ("0.20", "")
    row = next(each for each in rows if each["system"] == "CMLM + DiMS")
    first, second = row["updates × cost"].split(" + ")
    assert first == f"{num_updates(study, 'CMLM', num_later=1)} × 1"
    assert second.startswith(f"{num_updates(study, 'CMLM + DiMS')} × ")
    assert row["hours"] == f"{(300 + 60) / 3600:.2f} ({(300 + 60) / 3600:.2f}–{(300 + 60) / 3600:.2f})"
    assert f"the time of {study.budget.one_pass_updates} updates of a CMLM" in report
    verdicts = {each["claim"]: each["text"] for each in document["verdicts"]}
    text = "one pass of CMLM + DiMS, raw is better than one of CMLM trained for the same time (BLEU)"
    assert verdicts[text] == "holds in 2 of 2 seeds by 9.0 ± 0.0 BLEU"
    assert (tmp_path / "out/results/table1.png").stat().st_size > 5000
    # nothing is made twice
    calls, done = runner.evaluate.calls, list(runner.train.done)
    assert run_experiments(["table1"], runner) == 0
    assert (runner.evaluate.calls, runner.train.done) == (calls, done)


def test_budget_of_table_one_is_checked():
    budget = find_budget("cpu-afternoon", "phrasebook")
    for changes, message in (
        ({"last_stage_share": 0.5}, "last_stage_share must lie between 0 and 0.5, got 0.5"),
        ({"one_pass_corpora": ["both"]}, "one_pass_corpora takes raw and distilled, got"),
        ({"one_pass_updates": 0}, "one_pass_updates must be >= 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(budget, **changes)


def test_speed_is_measured_in_torch_and_int8(tiny_model, tiny_tokenizer, sources, tmp_path: Path):
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package)
    tiny_model.save_pretrained(tmp_path / "model")
    save_tokenizer(tiny_tokenizer, tmp_path / "model")
    found = measure_speed(tmp_path / "model", sources[:2], {"num_iterations": 1})
    assert {"error"}.isdisjoint(found["torch"] | found["int8"]), found
    assert all(found[runtime][size] > 0 for runtime in ("torch", "int8") for size in ("1", "32"))


def test_speed_of_what_cannot_run_is_an_error_in_words(sources, tmp_path: Path):
    found = measure_speed(tmp_path / "absent", sources[:2], {})
    assert "does not exist" in found["torch"]["error"] and "does not exist" in found["int8"]["error"]
