# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Presets: every one makes valid arguments, every value names its source, and recipes and words override them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from dims_hf import PRESETS, DiMSConfig, NATTrainingArguments, preset_values
from dims_hf.recipes.parsing import parse_recipe
from dims_hf.recipes.runs import CorpusArguments, DistillationArguments, ModelArguments


STUDENTS = [name for name in PRESETS if "teacher" not in name]
TEACHERS = [name for name in PRESETS if "teacher" in name]
CORPUS = ["--data", "phrasebook", "--source_lang", "en", "--target_lang", "de"]


@pytest.mark.parametrize("name", STUDENTS)
def test_student_preset_is_a_valid_distillation_with_its_values(name, tmp_path):
    words = [*CORPUS, "--preset", name, "--teacher", "x", "--output_dir", str(tmp_path)]
    *_, args = parse_recipe((CorpusArguments, DistillationArguments, DiMSConfig), words, preset_values=preset_values)
    assert {field: getattr(args, field) for field in PRESETS[name]} == preset_values(name)


@pytest.mark.parametrize("name", TEACHERS)
def test_teacher_preset_is_a_valid_training_with_its_values(name, tmp_path):
    words = [*CORPUS, "--preset", name, "--output_dir", str(tmp_path)]
    _, model, args = parse_recipe(
        (CorpusArguments, ModelArguments, NATTrainingArguments), words, preset_values=preset_values
    )
    found = {field: getattr(args if hasattr(args, field) else model, field) for field in PRESETS[name]}
    assert found == preset_values(name)


def test_every_value_names_its_source():
    assert all(len(sourced.source) > 10 for preset in PRESETS.values() for sourced in preset.values())


def test_paper_preset_is_what_the_defaults_of_the_config_are(tmp_path):
    args = DiMSConfig(output_dir=tmp_path)
    assert {field: getattr(args, field) for field in PRESETS["paper_dims"]} == preset_values("paper_dims")


def test_released_presets_differ_from_the_paper_where_the_code_does():
    paper, code = preset_values("paper_dims"), preset_values("released_dims_cmlmc")
    full = preset_values("released_dims_cmlmc_full_mask")
    assert (paper["hidden_weight"], code["hidden_weight"]) == (0.7, 0.4)
    assert (full["teacher_iterations"], full["ema_decay"], full["mask_policy"]) == (4, None, "full")


@dataclass
class Run:
    speed: float = 1.0
    name: str = "plain"


def fast(name):
    return {"speed": 9.0, "name": name}


def test_recipe_and_command_line_win_over_the_preset_wherever_it_is_named(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: mine\npreset: fast\n")
    assert parse_recipe(Run, [str(recipe)], preset_values=fast) == (Run(9.0, "mine"),)
    assert parse_recipe(Run, [str(recipe), "--speed", "2"], preset_values=fast) == (Run(2.0, "mine"),)
    assert parse_recipe(Run, ["--preset", "x"], preset_values=fast) == (Run(9.0, "x"),)
    assert parse_recipe(Run, [], preset_values=fast) == (Run(),)


def test_preset_that_is_none_or_for_another_command_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no preset 'fats'.*paper_dims"):
        preset_values("fats")
    with pytest.raises(ValueError, match="paper_dims sets .* for another one"):
        parse_recipe(Run, ["--preset", "paper_dims"], preset_values=preset_values)
    with pytest.raises(ValueError, match="Unknown name --preset"):
        parse_recipe(Run, ["--preset", "paper_dims"])


def test_help_names_the_preset(capsys):
    with pytest.raises(SystemExit):
        parse_recipe(Run, ["--help"], preset_values=fast)
    assert "--preset" in capsys.readouterr().out
