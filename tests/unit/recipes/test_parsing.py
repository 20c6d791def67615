# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Recipes: what each spelling of a value means, and that nothing is read and ignored."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest

from dims_hf.recipes.parsing import parse_recipe


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Model:
    d_model: int = 512
    name: str = "base"
    activation: Literal["relu", "gelu"] = "relu"
    colour: Colour = Colour.RED


@dataclass
class Training:
    learning_rate: float = 1e-3
    ema_decay: float | None = 0.9992
    max_steps: int = -1
    unsupervised: bool = False
    fp16: bool | None = None
    iterations: list[int] = field(default_factory=lambda: [1, 2])
    betas: tuple[float, float] = (0.9, 0.98)
    report_to: None | str | list[str] = "none"
    run_name: str | None = None
    scheduler_kwargs: dict[str, Any] | str | None = None
    mask_policy: str = field(default="uniform", metadata={"choices": ["uniform", "full", "block"]})

    def __post_init__(self) -> None:
        if self.ema_decay is not None and not 0 <= self.ema_decay <= 1:
            raise ValueError(f"ema_decay must be between 0 and 1, got {self.ema_decay}. The paper uses 0.9992.")


@dataclass
class Needs:
    data: str
    source_lang: str


def _write(folder: Path, text: str) -> str:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("words", "name", "expected"),
    [
        (["--learning_rate", "1e-4"], "learning_rate", 1e-4),
        (["--learning-rate=5E-4"], "learning_rate", 5e-4),
        (["--learning_rate", "1"], "learning_rate", 1.0),
        (["--ema_decay", "none"], "ema_decay", None),
        (["--ema_decay", "0.999"], "ema_decay", 0.999),
        (["--max_steps", "-1"], "max_steps", -1),
        (["--max_steps", "1e5"], "max_steps", 100_000),
        (["--unsupervised"], "unsupervised", True),
        (["--no_unsupervised"], "unsupervised", False),
        (["--no-unsupervised"], "unsupervised", False),
        (["--unsupervised", "false"], "unsupervised", False),
        (["--fp16"], "fp16", True),
        (["--fp16", "null"], "fp16", None),
        (["--iterations", "1", "4", "8"], "iterations", [1, 4, 8]),
        (["--iterations", "[4]"], "iterations", [4]),
        (["--iterations", "4"], "iterations", [4]),
        (["--betas", "0.9", "0.999"], "betas", (0.9, 0.999)),
        (["--report_to", "none"], "report_to", "none"),
        (["--report_to", "wandb", "tensorboard"], "report_to", ["wandb", "tensorboard"]),
        (["--run_name", "3"], "run_name", "3"),
        (["--run_name", "null"], "run_name", None),
        (["--scheduler_kwargs", "{power: 2}"], "scheduler_kwargs", {"power": 2}),
        (["--mask_policy", "full"], "mask_policy", "full"),
    ],
)
def test_parse_recipe_command_line_value_is_typed(words: list[str], name: str, expected: Any):
    (training,) = parse_recipe(Training, words)
    value = getattr(training, name)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("line", "name", "expected"),
    [
        ("learning_rate: 1e-3", "learning_rate", 1e-3),  # text to PyYAML
        ("learning_rate: 2E-4", "learning_rate", 2e-4),
        ("learning_rate: 1", "learning_rate", 1.0),
        ("max_steps: 1e5", "max_steps", 100_000),
        ("ema_decay: null", "ema_decay", None),
        ("ema_decay: 1", "ema_decay", 1.0),
        ("unsupervised: true", "unsupervised", True),
        ("iterations: [1, 8]", "iterations", [1, 8]),
        ("betas: [0.9, 1]", "betas", (0.9, 1.0)),
        ("report_to: [wandb]", "report_to", ["wandb"]),
        ("report_to: wandb", "report_to", "wandb"),
        ("run_name: '3'", "run_name", "3"),
        ("scheduler_kwargs: {power: 1e-2}", "scheduler_kwargs", {"power": 0.01}),
    ],
)
def test_parse_recipe_yaml_value_is_typed(tmp_path: Path, line: str, name: str, expected: Any):
    (training,) = parse_recipe(Training, [_write(tmp_path, line)])
    value = getattr(training, name)
    assert value == expected
    assert type(value) is type(expected)


def test_parse_recipe_several_types_splits_fields_and_command_line_wins(tmp_path: Path):
    recipe = _write(tmp_path, "d_model: 64\nlearning_rate: 1e-4\nname: small\ncolour: blue\n")
    model, training = parse_recipe((Model, Training), [recipe, "--learning_rate", "2e-4", "--activation", "GELU"])
    assert model == Model(d_model=64, name="small", activation="gelu", colour=Colour.BLUE)
    assert training == Training(learning_rate=2e-4)


def test_parse_recipe_nothing_given_returns_defaults(tmp_path: Path):
    assert parse_recipe((Model, Training), []) == (Model(), Training())
    assert parse_recipe(Model, [_write(tmp_path, "# nothing yet\n")]) == (Model(),)


def test_parse_recipe_anchors_and_merges_are_read(tmp_path: Path):
    text = "scheduler_kwargs: &first {power: 2}\n"
    assert parse_recipe(Training, [_write(tmp_path, text)])[0].scheduler_kwargs == {"power": 2}
    merged = "scheduler_kwargs: {<<: {power: 2}, scale: 3}\n"
    assert parse_recipe(Training, [_write(tmp_path, merged)])[0].scheduler_kwargs == {"power": 2, "scale": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ema_decy: 0.9", r"Unknown name ema_decy in .*recipe\.yaml\. Did you mean ema_decay\?"),
        ("zzz: 1", r"Unknown name zzz .*--help"),
        ("max_steps: 1.5", r"recipe\.yaml: max_steps must be a whole number, got 1\.5"),
        ("max_steps: true", "max_steps must be a whole number, got True"),
        ("max_steps: .inf", "max_steps must be a whole number, got inf"),
        ("max_steps: '7'", "max_steps must be a whole number, got '7'"),
        ("learning_rate: fast", "learning_rate must be a number, got 'fast'"),
        ("learning_rate: .nan", "learning_rate must be a number, got nan"),
        ("learning_rate: null", "learning_rate must be a number, got None"),
        ("unsupervised: 1", "unsupervised must be true or false, got 1"),
        ("run_name: 3", "run_name must be text or none, got 3. Put quotes around it"),
        ("iterations: 3", "iterations must be a list of a whole number, got 3"),
        ("iterations: [1, x]", "iterations must be a list of a whole number"),
        ("betas: [0.9]", "betas must be a list of a number"),
        ("mask_policy: some", "mask_policy must be one of uniform, full, block, got 'some'"),
        ("ema_decay: 1.5", "ema_decay must be between 0 and 1, got 1.5"),
        ("max_steps: 1\nmax_steps: 2", "'max_steps' is set twice .again in line 2."),
        ("- max_steps", "holds a list. A recipe is a mapping"),
        ("max_steps: [1", "is not valid YAML"),
        ("max_steps: !!python/object/apply:os.getcwd []", "is not valid YAML"),
    ],
)
def test_parse_recipe_bad_yaml_is_refused_by_name(tmp_path: Path, text: str, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        parse_recipe(Training, [_write(tmp_path, text)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ema_decy", "0.9"], "Unknown name --ema_decy on the command line. Did you mean --ema_decay?"),
        (["--no_ema_decay"], "Unknown name --no_ema_decay"),
        (["--ema", "0.9"], "Unknown name --ema"),
        (["--max_steps", "many"], "--max_steps must be a whole number, got 'many'"),
        (["--max_steps"], "--max_steps has no value"),
        (["--max_steps", "1", "2"], "--max_steps takes one value, got 2"),
        (["--max_steps", "1", "--max-steps=2"], "--max_steps is given twice"),
        (["--no_unsupervised", "true"], "--no_unsupervised takes no value"),
        (["--unsupervised", "maybe"], "--unsupervised must be true or false, got 'maybe'"),
        (["--ema_decay", "nan"], "--ema_decay must be a number or none, got 'nan'"),
        (["--ema_decay", "-0.1"], "ema_decay must be between 0 and 1, got -0.1"),
        (["-m", "3"], "Unexpected argument '-m'"),
        (["--iterations", "1", "two"], "--iterations must be a list of a whole number"),
    ],
)
def test_parse_recipe_bad_command_line_is_refused_by_name(words: list[str], message: str):
    with pytest.raises(ValueError) as caught:
        parse_recipe(Training, words)
    assert message in str(caught.value)


def test_parse_recipe_second_recipe_is_refused(tmp_path: Path):
    recipe = _write(tmp_path, "max_steps: 3")
    with pytest.raises(ValueError, match="Unexpected argument"):
        parse_recipe(Training, [recipe, recipe])


def test_parse_recipe_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"absent\.yaml does not exist"):
        parse_recipe(Training, ["absent.yaml"])


def test_parse_recipe_required_value_missing_is_named():
    with pytest.raises(ValueError, match="No value for source_lang. Set it in the recipe or with --source_lang"):
        parse_recipe(Needs, ["--data", "phrasebook"])


def test_parse_recipe_norwegian_language_code_unquoted_is_refused_with_the_fix(tmp_path: Path):
    with pytest.raises(ValueError, match="source_lang must be text, got False. Put quotes around it"):
        parse_recipe(Needs, [_write(tmp_path, "data: x\nsource_lang: no\n")])


def test_parse_recipe_field_in_two_dataclasses_is_refused():
    with pytest.raises(ValueError, match="Training and Training both have a field 'learning_rate'"):
        parse_recipe((Training, Training), [])


@pytest.mark.parametrize(
    ("words", "program"),
    [
        (["/bin/dims-hf", "train", "--help"], "dims-hf train"),
        (["/bin/dims-hf", "--debug", "make-data", "-h"], "dims-hf make-data"),
        (["dims_hf/cli/main.py", "distill", "--help"], "dims-hf distill"),
        (["training/train_teacher.py", "--help"], "train_teacher.py"),
    ],
)
def test_help_has_the_name_of_the_program(
    words: list[str], program: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit):
        parse_recipe((Model, Training), ["--help"])
    assert capsys.readouterr().out.startswith(f"usage: {program} [RECIPE.yaml] [--name value ...]")


def test_parse_recipe_help_lists_every_field(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as caught:
        parse_recipe((Model, Training), ["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "--ema_decay: a number or none (default 0.9992)" in shown
    assert "--d_model: a whole number (default 512)" in shown


def test_parse_recipe_trainer_arguments_of_transformers_are_understood(tmp_path: Path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    text = (
        f"output_dir: {tmp_path}\nlearning_rate: 1e-3\nlr_scheduler_type: inverse_sqrt\neval_strategy: steps\n"
        "eval_steps: 10\nwarmup_steps: 5\nreport_to: none\nuse_cpu: true\nlabel_names: [labels]\n"
    )
    words = [_write(tmp_path, text), "--no_remove_unused_columns", "--save_strategy", "no", "--optim", "adamw_torch"]
    (arguments,) = parse_recipe(transformers.Seq2SeqTrainingArguments, words)
    assert arguments.learning_rate == 1e-3
    assert arguments.lr_scheduler_type == transformers.SchedulerType.INVERSE_SQRT
    assert arguments.eval_steps == 10
    assert arguments.remove_unused_columns is False
    assert arguments.save_strategy == "no"
    with pytest.raises(ValueError, match="wrong_schedule"):
        parse_recipe(transformers.Seq2SeqTrainingArguments, [words[0], "--lr_scheduler_type", "wrong_schedule"])


def test_parse_recipe_distillation_settings_are_read_and_impossible_ones_refused(tmp_path: Path):
    pytest.importorskip("accelerate")
    from dims_hf.trainers.config import DiMSConfig

    recipe = _write(tmp_path, f"output_dir: {tmp_path}\nhidden_weight: 7e-1\neval_iterations: [1, 4]\nuse_cpu: true\n")
    (settings,) = parse_recipe(DiMSConfig, [recipe, "--ema_decay", "none", "--teacher_iterations", "4"])
    assert (settings.hidden_weight, settings.eval_iterations) == (0.7, [1, 4])
    assert (settings.ema_decay, settings.teacher_iterations) == (None, 4)
    with pytest.raises(ValueError, match="ema_decay"):
        parse_recipe(DiMSConfig, [recipe, "--ema_decay", "1.5"])


def test_parse_recipe_of_the_cmlmc_teacher_is_that_of_the_cmlm_but_for_its_family(repository: Path):
    pytest.importorskip("accelerate")
    from dims_hf import CMLMCForConditionalGeneration
    from dims_hf.data import train_tokenizer
    from dims_hf.recipes.runs import CorpusArguments, ModelArguments, make_model
    from dims_hf.trainers.config import NATTrainingArguments

    types = (CorpusArguments, ModelArguments, NATTrainingArguments)
    recipes = repository / "dims_hf" / "recipes" / "library"
    cmlm, cmlmc = (
        parse_recipe(types, [str(recipes / f"phrasebook_{name}.yaml"), "--use_cpu"])
        for name in ("teacher", "cmlmc_teacher")
    )
    assert cmlmc[0] == cmlm[0]
    assert (cmlmc[1].model_type, cmlmc[1].d_model) == ("cmlmc", cmlm[1].d_model)
    assert cmlmc[2].output_dir != cmlm[2].output_dir
    options = cmlmc[2].choose("cmlmc").options
    assert (options.correction_reduction, options.replace_fraction) == ("joint", 0.3)
    model = make_model(cmlmc[1], train_tokenizer(["a dog .", "ein Hund ."], vocab_size=40))
    assert type(model) is CMLMCForConditionalGeneration and model.config.update_all_positions


def test_train_teacher_options_of_another_family_are_refused_before_any_work(tmp_path: Path):
    pytest.importorskip("accelerate")
    from dims_hf.recipes.runs import train_teacher

    words = ["--data", str(tmp_path / "absent"), "--source_lang", "en", "--target_lang", "de", "--use_cpu"]
    with pytest.raises(
        ValueError, match="Unknown name --replace_fraction .* It is a setting of cmlmc; the method here is cmlm."
    ):
        train_teacher([*words, "--output_dir", str(tmp_path / "run"), "--replace_fraction", "0.5"])


_BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n" for before, after in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_BOMB, "aliases unfold to more than 10,000 entries. Write the values out"),
        ("steps: &a [*a]\n", "aliases unfold to more than 10,000 entries"),
        ("".join(f"key_{i}: 1\n" for i in range(30_000)), "has more than 10,000 entries. Is it the right file"),
        ("k" * 2_000_000 + ": 1\n", "has more than 1,000,000 characters"),
        ("steps: " + "[" * 3000 + "]" * 3000, "nests more deeply than any setting does"),
        ("steps: 3\n".encode("utf-16"), "is UTF-16, not UTF-8"),
    ],
    ids=["aliases", "itself", "keys", "long", "deep", "utf-16"],
)
def test_recipe_that_no_person_wrote_is_refused_at_once(tmp_path: Path, text: str | bytes, message: str):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    start = time.process_time()
    with pytest.raises(ValueError, match=message):
        parse_recipe(Training, [str(path)])
    assert time.process_time() - start < 5
