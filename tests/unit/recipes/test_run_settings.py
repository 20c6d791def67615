# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""An output folder belongs to one run: what counts as the same run, and whose tokenizer it holds."""

from __future__ import annotations

import json

import pytest

from dims_hf import DiMSConfig, NATTrainingArguments
from dims_hf.recipes.run_settings import RUN_SETTINGS, check_run_settings, run_settings, save_run_settings
from dims_hf.recipes.runs import CorpusArguments, ModelArguments, make_tokenizer


def settings(folder, kind=NATTrainingArguments, corpus=None, **options):
    parts = [CorpusArguments(**{"data": "corpus", "source_lang": "en", "target_lang": "de", **(corpus or {})})]
    return kind(output_dir=folder, **options), parts


def test_unused_folder_is_taken(tmp_path):
    check_run_settings(*settings(tmp_path / "new"))


@pytest.mark.parametrize(
    "options",
    [
        {"max_steps": 900},
        {"max_tokens_per_batch": 64, "gradient_accumulation_steps": 4},
        {"max_tokens_per_batch": None, "per_device_train_batch_size": 3},
        {"eval_strategy": "steps", "eval_steps": 5, "early_stopping_patience": 2},
        {"save_steps": 7, "save_total_limit": 2, "logging_steps": 3, "report_to": "none", "disable_tqdm": True},
        {"dataloader_num_workers": 1, "ddp_timeout": 60, "use_cpu": True, "attn_implementation": "eager"},
    ],
)
def test_same_run_may_be_longer_split_otherwise_and_report_otherwise(tmp_path, options):
    save_run_settings(*settings(tmp_path, max_steps=10))
    check_run_settings(*settings(tmp_path, **{"max_steps": 10, **options}))


@pytest.mark.parametrize(
    ("options", "had", "says"),
    [
        ({"seed": 2}, "seed=1, mask_seed=1", "seed=2, mask_seed=2"),
        ({"learning_rate": 1e-3}, "learning_rate=0.0005", "learning_rate=0.001"),
        ({"corpus": {"data": "other"}}, "data=corpus", "data=other"),
        ({"metric_for_best_model": "loss"}, "metric_for_best_model=bleu_1", "metric_for_best_model=loss"),
    ],
)
def test_another_run_is_refused_by_what_differs(tmp_path, options, had, says):
    save_run_settings(*settings(tmp_path, seed=1))
    with pytest.raises(ValueError) as refusal:
        check_run_settings(*settings(tmp_path, **{"seed": 1, **options}))
    for part in (*had.split(", "), *says.split(", ")):
        assert part in str(refusal.value)
    assert str(refusal.value).startswith(f"{tmp_path} holds a run with ")
    assert str(refusal.value).endswith("Choose another output_dir, or delete it.")


def test_distillation_into_the_folder_of_its_teacher_is_refused(tmp_path):
    save_run_settings(*settings(tmp_path))
    with pytest.raises(ValueError, match="holds a run with command=train, .* this recipe says command=distill, "):
        check_run_settings(*settings(tmp_path, DiMSConfig))


def test_setting_of_another_release_is_no_difference(tmp_path):
    save_run_settings(*settings(tmp_path))
    stored = json.loads((tmp_path / RUN_SETTINGS).read_text())
    del stored["length_weight"]
    (tmp_path / RUN_SETTINGS).write_text(json.dumps({**stored, "dropped_option": 3}))
    check_run_settings(*settings(tmp_path, length_weight=0.3))


def test_settings_hold_no_token_and_no_folder(tmp_path):
    args, parts = settings(tmp_path, hub_token="secret-word")
    text = json.dumps(run_settings(args, parts))
    assert "secret-word" not in text and str(tmp_path) not in text


def test_tokenizer_in_the_folder_is_kept_with_a_checkpoint_and_by_later_processes_only(tmp_path):
    words = ["one two three", "three four five"] * 4
    corpus = {"train": {"source": words, "target": words}}
    small, large = (ModelArguments(vocab_size=size, max_position_embeddings=24) for size in (30, 40))
    first = make_tokenizer(small, corpus, tmp_path)
    assert len(make_tokenizer(large, corpus, tmp_path, is_first=False)) == len(first)
    second = make_tokenizer(large, corpus, tmp_path)
    assert len(second) > len(first)
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5" / "trainer_state.json").write_text("{}")
    assert len(make_tokenizer(small, corpus, tmp_path)) == len(second)
