# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The plan: which runs experiments share, how budgets scale, and what the command line refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dims_hf.cli.main import main
from dims_hf.reproduction import BUDGETS, EXPERIMENTS, Study, find_budget
from dims_hf.reproduction.budgets import with_length
from dims_hf.reproduction.plan import find_experiments, runs_of, systems_of
from dims_hf.reproduction.running import total_seconds


RECIPES = Path(__file__).resolve().parents[3] / "dims_hf" / "recipes" / "library"


def test_runs_shared_by_experiments_are_planned_once_per_seed(study: Study):
    runs = runs_of(["fig3", "fig5", "fig6", "fig9", "table6"], study)
    assert [run.kind for run in runs] == ["teacher", "student"] * 2
    assert len({run.identity for run in runs}) == 4


def test_runs_come_after_what_they_need_and_seeds_after_each_other(study: Study):
    runs = runs_of(list(EXPERIMENTS), study)
    places = {run.identity: place for place, run in enumerate(runs)}
    assert all(places[need.identity] < places[run.identity] for run in runs for need in run.needs.values())
    seeds = [run.settings["seed"] for run in runs if "seed" in run.settings]
    assert seeds == sorted(seeds)


def test_identity_depends_on_settings_and_needs_and_not_on_the_machine(study: Study):
    first, second = study.teacher(1), study.teacher(2)
    assert first.identity != second.identity
    assert study.student(1).identity != study.student(1, hidden_weight=0.1).identity
    longer = Study("phrasebook", find_budget("cpu-afternoon", "phrasebook", {"max_teacher_steps": 5000}))
    assert longer.student(1).settings == study.student(1).settings
    assert longer.student(1).identity != study.student(1).identity  # another teacher, another student


def test_ablation_has_its_rows_whatever_the_budgets_student(study: Study):
    labels = list(systems_of("table5", study)[1])
    assert labels == [
        "teacher", "DiMS (n = 4, moving average, uniform masks)", "fixed teacher",
        "fixed teacher, no hidden-state loss", "n = 2", "n = 2, fixed teacher", "n = 8", "n = 8, fixed teacher",
        "full masks",
    ]  # fmt: skip
    other = Study("corpus", find_budget("cpu-afternoon", "corpus"), "en", "de")
    systems = systems_of("table5", other)[1]
    # The students of that budget have a fixed teacher and no hidden-state loss; rows that want them have them.
    assert systems["fixed teacher, no hidden-state loss"].run.identity == other.student(1).identity
    assert systems["fixed teacher"].run.settings["hidden_weight"] == 0.7
    assert systems["uniform masks"].run.settings["ema_decay"] == 0.997


def test_sources_alone_are_tried_for_every_family_that_predicts_a_length(study: Study):
    labels = list(systems_of("table4", study)[1])
    assert labels == ["teacher", "U-DiMS", "DiMS", "CMLMC teacher", "CMLMC U-DiMS", "CMLMC DiMS"]
    assert systems_of("table4", study)[1]["CMLMC U-DiMS"].run.settings["unsupervised"]


def test_weights_of_the_hidden_state_loss_are_more_than_three(study: Study):
    assert list(systems_of("fig8", study)[1]) == ["λ = 0", "λ = 0.1", "λ = 0.3", "λ = 0.7", "λ = 2"]


def test_given_teacher_is_not_trained(study: Study):
    given = Study("phrasebook", study.budget, given_teacher="models/mine")
    runs = runs_of(["fig3"], given)
    assert [run.kind for run in runs] == ["teacher", "student", "student"]
    assert runs[0].given == "models/mine" and runs[0].updates == 0
    assert total_seconds(runs) == sum(run.seconds for run in runs[1:])


def test_given_student_stands_for_the_usual_one_alone(study: Study):
    given = Study("phrasebook", study.budget, given_teacher="models/mine", given_student="models/small")
    assert [run.given for run in runs_of(["fig3"], given)] == ["models/mine", "models/small"]
    assert {run.given for run in runs_of(["fig8"], given)[1:]} == {None}
    with pytest.raises(ValueError, match="A student alone cannot be compared with its teacher. Set teacher"):
        Study("phrasebook", study.budget, given_student="models/small")


def test_cpu_afternoon_on_the_phrasebook_takes_about_eight_core_hours():
    study = Study("phrasebook", find_budget("cpu-afternoon", "phrasebook"))
    hours = 2 * total_seconds(runs_of(find_experiments(None), study)) / 3600  # two cores
    assert study.budget.seeds == [1, 2, 3]
    assert 7 < hours < 9


@pytest.mark.parametrize(
    ("data", "recipe", "field", "differs"),
    [
        ("phrasebook", "phrasebook_teacher", "teacher_settings", set()),
        ("phrasebook", "phrasebook_autoregressive", "autoregressive_settings", set()),
        (
            "phrasebook",
            "phrasebook_dims",
            "student_settings",
            {"max_steps", "eval_steps", "save_steps", "logging_steps"},
        ),
        ("other", "tatoeba_en_de_teacher", "teacher_settings", set()),
        ("other", "tatoeba_en_de_autoregressive", "autoregressive_settings", {"tokenizer"}),
        ("other", "tatoeba_en_de_dims", "student_settings", set()),
    ],
)
def test_cpu_budget_has_the_values_of_the_recipes(data: str, recipe: str, field: str, differs: set[str]):
    values = yaml.safe_load((RECIPES / f"{recipe}.yaml").read_text(encoding="utf-8"))
    budget = find_budget("cpu-afternoon", data)
    ours = getattr(budget, field)
    elsewhere = {
        "data", "source_lang", "target_lang", "max_train_examples", "output_dir", "teacher", "bf16", "seed",
        "disable_tqdm", "max_tokens_per_batch", "max_valid_examples",
    }  # fmt: skip
    for name in values.keys() - elsewhere - differs:
        value = values[name]
        expected = (
            float(value) if isinstance(value, str) and value[0].isdigit() else value
        )  # YAML 1.1 reads 1e-3 as text
        assert ours[name] == expected, name
    assert budget.tokens_per_update == values["max_tokens_per_batch"]
    assert budget.max_valid_examples == values["max_valid_examples"]


@pytest.mark.parametrize("corpus", ["phrasebook", "tatoeba_en_de"])
@pytest.mark.parametrize("family", ["imputer", "ctc", "fullynat"])
def test_teachers_of_alignments_have_the_values_of_their_recipes(corpus: str, family: str):
    recipe = yaml.safe_load((RECIPES / f"{corpus}_{family}_teacher.yaml").read_text(encoding="utf-8"))
    settings = Study(corpus, find_budget("cpu-afternoon", corpus), "en", "de").teacher(1, family).settings
    for name in (
        "model_type",
        "objective",
        "ctc_steps",
        "mask_policy",
        "max_steps",
        "warmup_steps",
        "eval_iterations",
    ):
        assert settings.get(name) == recipe.get(name), name
    assert settings["lr_scheduler_kwargs"] == recipe["lr_scheduler_kwargs"]
    assert "label_smoothing" not in settings  # refused for alignments


def test_student_of_an_imputer_has_the_papers_values(study: Study):
    settings = study.student(1, "imputer").settings
    assert (settings["teacher_iterations"], settings["mask_policy"], settings["hidden_weight"]) == (2, "block", 0.0)
    assert settings["ema_decay"] is None and "temperature" not in settings
    assert study.student(1, "imputer", ema_decay=0.99).settings["ema_decay"] == 0.99


def test_with_length_scales_warm_up_decay_and_evaluations():
    settings = {
        "max_steps": 4500, "warmup_steps": 300, "eval_steps": 500, "learning_rate": 1.0,
        "lr_scheduler_kwargs": {"num_decay_steps": 2500},
    }  # fmt: skip
    assert with_length(settings, 45) == {
        "max_steps": 45, "warmup_steps": 3, "eval_steps": 5, "learning_rate": 1.0,
        "lr_scheduler_kwargs": {"num_decay_steps": 25},
    }  # fmt: skip
    assert settings["lr_scheduler_kwargs"] == {"num_decay_steps": 2500}
    assert with_length(settings, None) == settings


def test_find_budget_merges_mappings_and_refuses_nonsense():
    budget = find_budget("cpu-afternoon", "phrasebook", {"student_settings": {"temperature": 1.0}, "rounds": 2})
    assert budget.student_settings["temperature"] == 1.0
    assert budget.student_settings["hidden_weight"] == 0.7 and budget.rounds == 2
    with pytest.raises(ValueError, match="have 1 among them"):
        find_budget("cpu-afternoon", "phrasebook", {"iterations": [2, 4]})


def test_reproduce_plans_with_given_models(tmp_path: Path, capsys: pytest.CaptureFixture):
    for name in ("teacher", "student"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"model_type": "cmlm"}')
    words = [word for name in ("teacher", "student") for word in (f"--{name}", str(tmp_path / name))]
    assert main(["reproduce", "--dry_run", "--only", "fig3", "--seeds", "1", *words]) == 0
    shown = capsys.readouterr().out
    assert shown.count(" given ") == 2 and "2 runs, about 0.0 hours" in shown


@pytest.mark.parametrize("name", BUDGETS)
@pytest.mark.parametrize("data", ["phrasebook", "other"])
def test_every_budget_plans_every_experiment(name: str, data: str):
    study = Study(data, find_budget(name, data), "en", "de")
    for experiment in EXPERIMENTS:
        systems = systems_of(experiment, study)[study.budget.seeds[0]]
        assert systems and all(run.settings["seed"] == study.budget.seeds[0] for run, _ in systems.values())


def test_find_experiments_keeps_the_papers_order():
    assert find_experiments(["table5", "fig3"]) == ["fig3", "table5"]
    # the bench of all systems takes longer than everything else
    assert find_experiments(None) == [name for name in EXPERIMENTS if name != "table1"]
    assert find_experiments(["table1"]) == ["table1"]


def test_dry_run_of_wmt_at_many_gpus_is_planned_without_network(capsys: pytest.CaptureFixture):
    assert main(["reproduce", "--dry_run", "--budget", "many-gpus", "--data", "wmt14:de-en"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("wmt14:de-en de-en: 14 experiments, seeds 1\n")
    assert "teacher-cmlmc-distilled-seed1-" in shown and "300000" in shown


def test_list_shows_every_experiment(capsys: pytest.CaptureFixture):
    assert main(["reproduce", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(EXPERIMENTS)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--only", "fig33"], "error: There is no experiment 'fig33'. Choose from fig3, "),
        (
            ["--budget", "huge"],
            "error: --budget must be one of cpu-small, cpu-afternoon, one-gpu, many-gpus, got 'huge'.",
        ),
        (["--data", "corpus"], "error: The languages of corpus are not known. Set source_lang and target_lang."),
        (["--steps", "20"], "error: steps is for a dry run. Add --dry_run, "),
        (["--student_steps", "20"], "error: Unknown name --student_steps on the command line. Did you mean "),
        (["--teacher", "./absent"], "error: Model folder ./absent does not exist."),
        (
            ["--families", "cmlx"],
            "error: There is no family 'cmlx' of teachers. Choose from cmlm, cmlmc, imputer, ctc, fullynat.",
        ),
        (["--only", "table2", "--families", "cmlx"], "error: There is no family 'cmlx' of teachers. Choose from "),
        (["--notes", "absent.yaml", "--only", "fig3"], "error: The notes absent.yaml do not exist. "),
    ],
)
def test_reproduce_refuses_a_wrong_request_in_one_line(
    words: list[str], line: str, capsys: pytest.CaptureFixture, tmp_path: Path
):
    assert main(["reproduce", "--output_dir", str(tmp_path), *words]) == 2
    assert capsys.readouterr().err.startswith(line)


@pytest.mark.parametrize("seeds", [[-1], [1, 1], [2**32]])
def test_seeds_that_no_training_takes_are_refused(seeds: list[int]):
    with pytest.raises(ValueError, match=r"seeds must be different numbers from 0 to 4294967295, got .* Try 1 2 3"):
        find_budget("cpu-small", "phrasebook", {"seeds": seeds})
