# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""An output folder belongs to one run: what counts as the same run, whether it is finished, whose tokenizer it is."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from dims_hf import DiMSConfig, NATTrainingArguments
from dims_hf.recipes.run_settings import (
    RUN_SETTINGS,
    Fingerprints,
    check_run_settings,
    finished_summary,
    folder_fingerprint,
    holding_run,
    run_settings,
    save_run_settings,
)
from dims_hf.recipes.runs import CorpusArguments, ModelArguments, check_loss, make_tokenizer, read_training_summary


def leave_checkpoint(folder):
    """What makes a folder one to go on from."""
    (folder / "checkpoint-5").mkdir()
    for name in ("trainer_state.json", "model.safetensors"):
        (folder / "checkpoint-5" / name).write_text("{}")


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
    leave_checkpoint(tmp_path)
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
    leave_checkpoint(tmp_path)
    with pytest.raises(ValueError) as refusal:
        check_run_settings(*settings(tmp_path, **{"seed": 1, **options}))
    for part in (*had.split(", "), *says.split(", ")):
        assert part in str(refusal.value)
    assert str(refusal.value).startswith(f"{tmp_path} holds a run with ")
    assert str(refusal.value).endswith("Choose another output_dir, or delete it.")


def test_distillation_into_the_folder_of_its_teacher_is_refused(tmp_path):
    save_run_settings(*settings(tmp_path))
    leave_checkpoint(tmp_path)
    with pytest.raises(ValueError, match="holds a run with command=train, .* this recipe says command=distill, "):
        check_run_settings(*settings(tmp_path, DiMSConfig))


@pytest.mark.parametrize("leave", [lambda folder: None, lambda folder: (folder / "checkpoint-5").mkdir()])
def test_run_that_never_reached_a_checkpoint_accepts_corrected_settings(tmp_path, leave):
    save_run_settings(*settings(tmp_path, learning_rate=5e-4))
    leave(tmp_path)
    check_run_settings(*settings(tmp_path, learning_rate=1e-3))


@pytest.mark.parametrize("place", ["round-1", "."])
def test_checkpoint_of_a_round_and_a_summary_are_work_to_protect(tmp_path, place):
    save_run_settings(*settings(tmp_path, learning_rate=5e-4))
    if place == ".":
        (tmp_path / "training_summary.json").write_text("{}")
    else:
        (tmp_path / place).mkdir()
        leave_checkpoint(tmp_path / place)
    with pytest.raises(ValueError, match="holds a run with learning_rate=0.0005"):
        check_run_settings(*settings(tmp_path, learning_rate=1e-3))


@pytest.mark.parametrize(
    ("changes", "what", "prints"),
    [
        ({"corpus_fingerprint": "c2"}, "corpus", "corpus_fingerprint c1, now c2"),
        ({"teacher_fingerprint": "t2"}, "teacher", "teacher_fingerprint t1, now t2"),
        (
            {"corpus_fingerprint": "c2", "student_fingerprint": "s2"},
            "corpus and student",
            "corpus_fingerprint c1, now c2, student_fingerprint s1, now s2",
        ),
    ],
)
def test_another_corpus_or_teacher_under_the_same_path_is_refused(tmp_path, changes, what, prints):
    given = {
        "corpus_fingerprint": "c1", "tokenizer_fingerprint": "k1", "teacher_fingerprint": "t1",
        "student_fingerprint": "s1",
    }  # fmt: skip
    args, parts = settings(tmp_path)
    save_run_settings(args, [*parts, Fingerprints(**given)])
    leave_checkpoint(tmp_path)
    check_run_settings(args, parts)  # before the corpus is read
    check_run_settings(args, [*parts, Fingerprints(**given)])
    with pytest.raises(ValueError) as refusal:
        check_run_settings(args, [*parts, Fingerprints(**{**given, **changes})])
    assert str(refusal.value) == (
        f"{tmp_path} holds a run on another {what} than its path leads to now ({prints}). Put back what was there, "
        "choose another output_dir, or delete it."
    )


@pytest.mark.parametrize("content", ['{"seed": 1,', "[]", "null", "3", '"text"', "[" * 100_000])
def test_damaged_settings_are_named(tmp_path, content):
    leave_checkpoint(tmp_path)
    (tmp_path / RUN_SETTINGS).write_text(content)
    with pytest.raises(ValueError, match="run_settings.json is damaged, .* Delete it to go on all the same"):
        check_run_settings(*settings(tmp_path))


def test_run_is_finished_when_its_goals_are_these_and_its_weights_can_be_read(tmp_path):
    args, _ = settings(tmp_path, max_steps=40)
    assert finished_summary(args) is None
    summary = {"steps": 40, "training_arguments": args.to_sanitized_dict()}
    (tmp_path / "training_summary.json").write_text(json.dumps(summary))
    assert finished_summary(args) is None  # no model
    save_file({"x": torch.zeros(100)}, tmp_path / "model.safetensors")
    assert finished_summary(args)["steps"] == 40
    assert finished_summary(settings(tmp_path, max_steps=40, logging_steps=3, save_steps=7)[0])["steps"] == 40
    for more in (
        {"max_steps": 80},
        {"num_best_checkpoints": 1},
        {"early_stopping_patience": 9, "eval_strategy": "epoch"},
    ):
        assert finished_summary(settings(tmp_path, **{"max_steps": 40, **more})[0]) is None, more
    assert finished_summary(settings(tmp_path, max_steps=40, resume_from_checkpoint="checkpoint-5")[0]) is None
    with pytest.raises(ValueError, match="has done 40 updates, and max_steps=30 asks for fewer"):
        finished_summary(settings(tmp_path, max_steps=30)[0])
    content = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[:-7])
    assert finished_summary(args) is None
    (tmp_path / "training_summary.json").write_text("{")
    assert finished_summary(args) is None


def test_interrupted_run_says_what_is_saved_and_how_to_go_on(tmp_path):
    args, parts = settings(tmp_path)
    for saved in (
        "There is no checkpoint yet: the same command starts anew.",
        f"{tmp_path / 'checkpoint-5'} is saved",
    ):
        with pytest.raises(KeyboardInterrupt, match=saved), holding_run(args, parts):
            raise KeyboardInterrupt
        if not (tmp_path / "checkpoint-5").exists():
            leave_checkpoint(tmp_path)


def test_setting_of_another_release_is_no_difference(tmp_path):
    save_run_settings(*settings(tmp_path))
    leave_checkpoint(tmp_path)
    stored = json.loads((tmp_path / RUN_SETTINGS).read_text())
    del stored["length_weight"]
    (tmp_path / RUN_SETTINGS).write_text(json.dumps({**stored, "dropped_option": 3}))
    check_run_settings(*settings(tmp_path, length_weight=0.3))


def test_settings_hold_no_token_and_no_folder(tmp_path):
    args, parts = settings(tmp_path, hub_token="secret-word")
    parts.append(ModelArguments(tokenizer=str(tmp_path / "tokenizer")))
    text = json.dumps(run_settings(args, parts))
    assert "secret-word" not in text and str(tmp_path) not in text


def test_settings_of_a_corpus_that_has_moved_are_the_same(tmp_path):
    args, parts = settings(tmp_path / "run", corpus={"data": str(tmp_path / "a" / "corpus")})
    save_run_settings(args, parts)
    leave_checkpoint(tmp_path / "run")
    check_run_settings(*settings(tmp_path / "run", corpus={"data": str(tmp_path / "b" / "corpus")}))
    with pytest.raises(ValueError, match="holds a run with data=corpus, this recipe says data=other"):
        check_run_settings(*settings(tmp_path / "run", corpus={"data": str(tmp_path / "b" / "other")}))
    # what an earlier release has written says the whole path
    path = tmp_path / "run" / RUN_SETTINGS
    path.write_text(json.dumps({**json.loads(path.read_text()), "data": str(tmp_path / "a" / "corpus")}))
    check_run_settings(args, parts)


def test_tokenizer_in_the_folder_is_kept_with_a_checkpoint_and_by_later_processes_only(tmp_path):
    words = ["one two three", "three four five"] * 4
    corpus = {"train": {"source": words, "target": words}}
    small, large = (ModelArguments(vocab_size=size, max_position_embeddings=24) for size in (30, 40))
    first = make_tokenizer(small, corpus, tmp_path)
    assert len(make_tokenizer(large, corpus, tmp_path, is_first=False)) == len(first)
    second = make_tokenizer(large, corpus, tmp_path)
    assert len(second) > len(first)
    leave_checkpoint(tmp_path)
    assert len(make_tokenizer(small, corpus, tmp_path)) == len(second)


def test_models_that_a_training_starts_from_are_told_by_their_weights(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    save_file({"weight": torch.zeros(2)}, model / "model.safetensors")
    first = folder_fingerprint(str(model))
    assert first == folder_fingerprint(str(model)) and len(first) == 12
    save_file({"weight": torch.ones(2)}, model / "model.safetensors")
    assert folder_fingerprint(str(model)) != first
    assert folder_fingerprint(None) is None and folder_fingerprint("somebody/on-the-hub") is None


@pytest.mark.parametrize("name", ["init", "encoder", "autoregressive_teacher"])
def test_another_model_under_the_same_path_is_refused(tmp_path, name):
    def given(value):
        args, parts = settings(tmp_path)
        return args, [*parts, Fingerprints("c1", "k1", **{f"{name}_fingerprint": value})]

    save_run_settings(*given("m1"))
    leave_checkpoint(tmp_path)
    check_run_settings(*given("m1"))
    with pytest.raises(ValueError, match=f"holds a run on another {name} than its path leads to now"):
        check_run_settings(*given("m2"))


@pytest.mark.parametrize(
    ("model_type", "values", "message"),
    [
        ("cmlm", {"attention_dropout": "a"}, "attention_dropout"),
        ("cmlm", {"attention_dropout": 2}, "attention_dropout=2 is not a probability"),
        ("cmlm", {"activation_function": "foo"}, "activation_function='foo' is no function of transformers"),
        ("cmlm", {"max_target_length": 10**12}, "max_target_length=1000000000000 is beyond"),
        ("cmlm", {"max_target_length": 0}, "max_target_length=0 has no class"),
        ("levenshtein", {"max_insertions": 10**12}, "max_insertions=1000000000000 is beyond"),
        ("dat", {"link_heads": 3}, "d_model=16 is not divisible by link_heads=3"),
    ],
)
def test_impossible_settings_of_a_family_are_refused_before_anything_is_trained(model_type, values, message):
    with pytest.raises(ValueError, match=f"family_settings of {model_type} will not do: .*{message}") as refused:
        ModelArguments(model_type=model_type, d_model=16, attention_heads=2, family_settings=values)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_model_whose_loss_is_no_number_is_not_saved(loss):
    trainer = SimpleNamespace(state=SimpleNamespace(global_step=2), args=SimpleNamespace(learning_rate=1e30))
    check_loss(trainer, {"final_loss": 1.0})
    with pytest.raises(FloatingPointError, match=r"The validation loss is (nan|inf) after update 2.*\(1e\+30\)"):
        check_loss(trainer, {"final_loss": loss})


def test_damaged_summary_of_a_run_is_named(tmp_path):
    (tmp_path / "training_summary.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="training_summary.json is damaged: .* Train again, or pass the folder"):
        read_training_summary(tmp_path)
