# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Defaults of the papers, and impossible values refused by name."""

from __future__ import annotations

import math
from dataclasses import asdict, fields, replace

import pytest
import torch
from transformers import Seq2SeqTrainingArguments

from dims_hf import DiMSConfig, NATTrainingArguments
from dims_hf.recipes.parsing import parse_recipe
from dims_hf.trainers.autoregressive import AutoregressiveTrainingArguments
from dims_hf.trainers.config import _WITHOUT_EFFECT


TABLE_8 = {
    "teacher_iterations": 2,
    "ema_decay": 0.9992,
    "hidden_weight": 0.7,
    "hidden_squared": False,
    "temperature": 0.5,
    "student_temperature": 1.0,
    "length_weight": 0.1,
    "mask_policy": "uniform",
    "label_mode": "auto",
    "disable_dropout": True,
    "learning_rate": 1e-3,
    "warmup_steps": 1,
    "lr_scheduler_type": "fairseq_inverse_sqrt",
    "adam_beta1": 0.9,
    "adam_beta2": 0.98,
    "adam_epsilon": 1e-8,
    "weight_decay": 0.01,
    "max_grad_norm": 0.0,
    "label_smoothing": 0.0,
    "max_tokens_per_batch": 8192,
    "eval_length_beam_size": 1,
    "num_best_checkpoints": 5,
    "loss_normalization": "update",
}
TEACHER = {
    "learning_rate": 5e-4,
    "warmup_steps": 10_000,
    "lr_scheduler_type": "fairseq_inverse_sqrt",
    "label_smoothing": 0.1,
    "length_weight": 0.1,
    "adam_beta2": 0.98,
    "weight_decay": 0.01,
    "mask_policy": "uniform",
}


@pytest.mark.parametrize(("config_class", "defaults"), [(DiMSConfig, TABLE_8), (NATTrainingArguments, TEACHER)])
def test_defaults_are_those_of_the_papers(config_class, defaults, tmp_path):
    args = config_class(output_dir=tmp_path)
    assert {name: getattr(args, name) for name in defaults} == defaults


def test_derived_settings_follow_from_the_given_ones(tmp_path):
    args = NATTrainingArguments(output_dir=tmp_path, eval_iterations=[4, 2], seed=7)
    assert args.metric_for_best_model == "bleu_2" and args.greater_is_better is True
    assert args.mask_seed == 7
    for metric in ("loss", "eval_loss", "accuracy", "eval_chrf_1"):
        args = NATTrainingArguments(output_dir=tmp_path, metric_for_best_model=metric)
        assert args.greater_is_better is (metric in ("accuracy", "eval_chrf_1"))
    assert NATTrainingArguments(output_dir=tmp_path, mask_seed=3, seed=7).mask_seed == 3


def test_any_transformers_schedule_is_taken(tmp_path):
    assert NATTrainingArguments(output_dir=tmp_path, lr_scheduler_type="linear").lr_scheduler_type == "linear"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_policy": "some"}, "mask_policy must be one of uniform, full, block, glance, got 'some'"),
        ({"loss_normalization": "mean"}, "loss_normalization must be update or micro_batch, got 'mean'"),
        ({"max_tokens_per_batch": 0}, "max_tokens_per_batch must be >= 1, got 0. Try 4096"),
        ({"eval_iterations": []}, r"eval_iterations must be integers >= 1, got \[\]"),
        ({"eval_iterations": [1, 0]}, r"eval_iterations must be integers >= 1, got \[1, 0\]. Try \[1, 4\]"),
        ({"eval_length_beam_size": 0}, "eval_length_beam_size must be >= 1, got 0"),
        ({"num_best_checkpoints": -1}, "num_best_checkpoints must be >= 0, got -1. 0 averages nothing"),
        ({"predict_with_generate": True}, "predict_with_generate=True has no effect.*Leave it out"),
        ({"do_predict": True}, "do_predict=True has no effect"),
        ({"debug": "underflow_overflow"}, "debug=.*underflow_overflow.* has no effect"),
        (
            {"dataloader_num_workers": 1, "dataloader_prefetch_factor": 0},
            r"dataloader_prefetch_factor must lie in \[1, 1e\+06\], got 0",
        ),
        (
            {"optim_target_modules": ["fc1"]},
            r"optim_target_modules=\['fc1'\] has no effect with optim=adamw_torch_fused.* Leave it out, or",
        ),
        ({"generation_num_beams": 4}, "generation_num_beams=4 has no effect.*Leave it out"),
        ({"train_sampling_strategy": "group_by_length"}, "train_sampling_strategy='group_by_length' has no effect"),
        ({"include_for_metrics": ["loss"]}, "include_for_metrics=.* has no effect"),
        ({"fp16": True, "bf16": True}, "^fp16 and bf16 are both set. Add --no_bf16 to train in fp16, or leave out"),
        ({"metric_for_best_model": "bleu"}, "must be loss, accuracy, bleu_K or chrf_K for K .*, got 'bleu'"),
        ({"metric_for_best_model": "eval_kl"}, "metric_for_best_model must be loss, accuracy, .* got 'eval_kl'"),
        ({"metric_for_best_model": "loss", "greater_is_better": True}, "does not fit metric_for_best_model=loss"),
        ({"greater_is_better": False}, "greater_is_better=False does not fit metric_for_best_model=bleu_1"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor is the autoregressive one. Use label_smoothing"),
        ({"remove_unused_columns": True}, "remove_unused_columns=True would drop the corpus index"),
        ({"label_smoothing": 1.0}, r"label_smoothing must lie in \[0, 0.999\], got 1.0"),
        ({"length_weight": -0.1}, r"length_weight must lie in \[0, inf\], got -0.1"),
        ({"learning_rate": math.inf}, "learning_rate must be finite, got inf"),
        ({"length_weight": math.inf}, "length_weight must be finite, got inf"),
        ({"adam_beta1": 1.0}, r"adam_beta1 must lie in \[0, 0.99999\], got 1.0"),
        ({"optim_args": "a=1"}, "optim_args='a=1' has no effect with optim=adamw_torch_fused, .* Leave it out"),
        ({"use_liger_kernel": True}, "use_liger_kernel has no effect: there are no such kernels .* Leave it out"),
        (
            {"accelerator_config": {"none": 1}},
            "A setting within a setting will not do: .*'none'. Correct it",
        ),
        ({"learning_rate": 0.0}, "learning_rate must be > 0, got 0.0"),
        ({"correction_reduction": "sum"}, "correction_reduction must be one of joint, average, got 'sum'"),
        ({"replace_fraction": 1.5}, r"replace_fraction must lie in \[0, 1\], got 1.5. The reference uses 0.3"),
        ({"encoder_mask_fraction": -0.1}, r"encoder_mask_fraction must lie in \[0, 1\], got -0.1"),
        ({"encoder_loss_weight": -1.0}, r"encoder_loss_weight must lie in \[0, inf\], got -1.0"),
        ({"metric_for_best_model": "bleu_4"}, r"needs 4 among eval_iterations, which are \[1\]. Add it there"),
        ({"metric_for_best_model": "eval_chrf_2"}, r"needs 2 among eval_iterations, which are \[1\]"),
        ({"early_stopping_patience": 0, "eval_strategy": "epoch"}, "early_stopping_patience must be >= 1, got 0"),
        ({"early_stopping_patience": 3}, "early_stopping_patience needs evaluations. Set eval_strategy"),
        ({"collapse_patience": 0}, "collapse_patience must be >= 1, got 0"),
    ],
)
def test_impossible_teacher_settings_are_refused_by_name(options, message, tmp_path):
    for config_class in (NATTrainingArguments, DiMSConfig):
        with pytest.raises(ValueError, match=message):
            config_class(output_dir=tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teacher_iterations": 0}, "teacher_iterations must be >= 1, got 0. The paper uses 2"),
        ({"label_mode": "first"}, "label_mode must be one of auto, frozen, last, got 'first'"),
        ({"label_smoothing": 0.1}, "label_smoothing does not apply to the teacher's soft labels. Leave it out"),
        ({"temperature": 0.0}, "temperature must be > 0, got 0.0. The paper uses 0.5"),
        ({"student_temperature": -1.0}, "student_temperature must be > 0, got -1.0"),
        ({"ema_decay": 1.5}, r"ema_decay must lie in \[0, 1\], got 1.5. The paper uses 0.9992"),
        ({"ema_decay": -0.1}, r"ema_decay must lie in \[0, 1\], got -0.1"),
        ({"gradient_checkpointing": True}, "gradient_checkpointing has no effect.*Set disable_dropout: false"),
        ({"hidden_weight": -1.0}, r"hidden_weight must lie in \[0, inf\], got -1.0"),
    ],
)
def test_impossible_distillation_settings_are_refused_by_name(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        DiMSConfig(output_dir=tmp_path, **options)


def test_gradient_checkpointing_goes_with_dropout(tmp_path):
    assert DiMSConfig(output_dir=tmp_path, gradient_checkpointing=True, disable_dropout=False).gradient_checkpointing


def test_settings_without_effect_are_refused_by_names_that_exist():
    known = {option.name for option in fields(Seq2SeqTrainingArguments)}
    of_newer_releases = {"dataloader_in_order", "dataloader_multiprocessing_context"}
    assert set(_WITHOUT_EFFECT) - known <= of_newer_releases


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0, None])
def test_any_decay_in_the_unit_interval_or_none_is_taken(decay, tmp_path):
    assert DiMSConfig(output_dir=tmp_path, ema_decay=decay).ema_decay == decay


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator that fp16 can use")
def test_fp16_without_a_gpu_is_refused_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="^fp16 needs a GPU. Use bf16, or leave both out to train in fp32.$"):
        DiMSConfig(output_dir=tmp_path, fp16=True)


def test_settings_come_from_a_recipe_and_the_command_line(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("output_dir: here\nema_decay: null\neval_iterations: [1, 4]\nwarmup_steps: 5\n")
    (args,) = parse_recipe((DiMSConfig,), [str(recipe), "--hidden_weight", "0.4", "--no_disable_dropout"])
    assert args.ema_decay is None and args.eval_iterations == [1, 4] and args.warmup_steps == 5
    assert args.hidden_weight == 0.4 and args.disable_dropout is False


# ---- settings of methods among the trainer's ----


@pytest.mark.parametrize("settings", [{}, {"imputer_labels": "soft", "temperature": 0.7}, {"ema_decay": 0.9992}])
@pytest.mark.parametrize("family", ["cmlm", "imputer"])
def test_config_survives_replace_and_a_round_trip_through_a_dict(settings, family, tmp_path):
    config = DiMSConfig(output_dir=tmp_path, **settings)
    for copied in (replace(config, seed=2), DiMSConfig(**asdict(config)), DiMSConfig(**{**asdict(config), "seed": 2})):
        assert copied.given_options() == config.given_options() == settings
        assert (copied.ema_decay, copied.hidden_weight) == (0.9992, 0.7)
        if family == "imputer":
            options = copied.choose(family).options
            assert options.hidden_weight == 0.0 and options.mask_policy == "block"
            assert options.ema_decay == settings.get("ema_decay")
    if "imputer_labels" in settings and family == "cmlm":
        with pytest.raises(ValueError, match="imputer_labels='soft' has no effect here: .* dims_imputer"):
            config.choose(family)


def test_trainer_works_on_a_copy_that_shows_all_settings(make_imputer_dims_trainer):
    trainer = make_imputer_dims_trainer()
    again = replace(trainer.args, seed=7)
    assert again.choose("imputer").options == trainer.method.options
    assert (trainer.args.method, trainer.args.imputer_labels, trainer.args.ema_decay) == ("dims_imputer", "hard", None)
    values = trainer.args.to_sanitized_dict()
    assert values["temperature"] == 0.5 and type(values["temperature"]) is float and values["mask_policy"] == "block"


def test_unknown_setting_is_refused_with_the_closest_known_one(tmp_path):
    with pytest.raises(TypeError, match="glancing_ration is no setting .* Did you mean glancing_ratio?"):
        NATTrainingArguments(output_dir=tmp_path, glancing_ration=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient_accumulation_steps": 0}, r"gradient_accumulation_steps must lie in \[1, 1e\+06\], got 0"),
        ({"gradient_accumulation_steps": -1}, "gradient_accumulation_steps must"),
        ({"max_steps": -5}, r"max_steps must lie in \[-1, 1e\+09\], got -5. -1 counts epochs"),
        ({"eval_steps": 0, "eval_strategy": "steps"}, "eval_steps"),
        ({"mask_seed": -1}, "mask_seed must be >= 0, got -1"),
        ({"dataloader_num_workers": 10**9}, "dataloader_num_workers must lie in"),
        ({"eval_iterations": [1, 0]}, "eval_iterations must be integers >= 1"),
        ({"lr_scheduler_kwargs": {"num_decay_step": 5}}, "'num_decay_step', which lr_scheduler_type=fairseq_inv"),
        (
            {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"decay": 5}},
            "lr_scheduler_kwargs has 'decay', .* It takes num_decay_steps",
        ),
        ({"fsdp": "full_shard"}, "fsdp is not supported"),
        ({"method": "cmln"}, "method must be one of cmlm,"),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        NATTrainingArguments(output_dir=tmp_path, **options)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (NATTrainingArguments, {"eval_iterations": [1, 10**9]}),
        (NATTrainingArguments, {"eval_length_beam_size": 10**9}),
        (NATTrainingArguments, {"mask_seed": 10**18}),
        (NATTrainingArguments, {"eval_delay": -1}),
        (NATTrainingArguments, {"num_train_epochs": 0}),
        (DiMSConfig, {"unsupervised": True, "synthetic_iterations": 10**9}),
        (AutoregressiveTrainingArguments, {"gradient_accumulation_steps": 0}),
        (AutoregressiveTrainingArguments, {"gradient_accumulation_steps": -1}),
        (AutoregressiveTrainingArguments, {"max_steps": -5}),
        (AutoregressiveTrainingArguments, {"learning_rate": 0}),
        (AutoregressiveTrainingArguments, {"eval_strategy": "steps", "eval_steps": 0}),
        (AutoregressiveTrainingArguments, {"generation_num_beams": 10**9}),
        (AutoregressiveTrainingArguments, {"dataloader_num_workers": 10**9}),
    ],
)
def test_slips_that_would_run_for_days_or_without_end_are_refused(tmp_path, kind, options):
    with pytest.raises(ValueError, match=f"^{list(options)[-1]}.*(must|would)"):
        kind(output_dir=tmp_path, **options)


@pytest.mark.parametrize("options", [{"optim_target_modules": "all-linear"}, {"optim_args": "a=1"}])
def test_settings_that_an_optimizer_ignores_are_refused_of_autoregressive_models_too(options, tmp_path):
    with pytest.raises(ValueError, match=f"{next(iter(options))}=.* has no effect with optim="):
        AutoregressiveTrainingArguments(output_dir=tmp_path, **options)


@pytest.mark.parametrize("folder", ["", " ", "a\0b"])
def test_output_folder_that_is_none_is_refused(folder):
    for config_class in (NATTrainingArguments, AutoregressiveTrainingArguments):
        with pytest.raises(ValueError, match="output_dir=.* is no folder. Name one"):
            config_class(output_dir=folder)
