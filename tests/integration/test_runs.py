# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Whole runs from a recipe's settings to the folder of the student: sources alone, and rounds."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForSeq2SeqLM

from dims_hf import CMLMConfig, CMLMForConditionalGeneration, DiMSTrainer
from dims_hf.data import save_tokenizer, train_tokenizer
from dims_hf.recipes.runs import distill, read_training_summary


ENGLISH = ["the dog is not old .", "we have a small house .", "that cat and this dog are not here ."]
GERMAN = ["der Hund ist nicht alt .", "wir haben ein kleines Haus .", "die Katze und der Hund sind nicht hier ."]

FOUR_STEPS = ("--max_steps", "4", "--eval_strategy", "steps", "--eval_steps", "2")


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    """Distils an untrained teacher; the corpus has validation pairs and no training pairs unless asked."""
    tokenizer = train_tokenizer(ENGLISH + GERMAN, 90, max_length=40)
    sizes = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = CMLMConfig(vocab_size=len(tokenizer), max_position_embeddings=40, **sizes, **heads)
    CMLMForConditionalGeneration(config).save_pretrained(tmp_path / "teacher")
    save_tokenizer(tokenizer, tmp_path / "teacher")
    data = tmp_path / "data"
    data.mkdir()

    def start(
        *words: str, splits: tuple[str, ...] = ("train", "valid"), teacher: str = str(tmp_path / "teacher")
    ) -> Path:
        for split in splits:
            for language, lines in (("en", ENGLISH), ("de", GERMAN)):
                (data / f"{split}.{language}").write_text("\n".join(lines * 4) + "\n", encoding="utf-8")
        return distill(
            ["--data", str(data), "--source_lang", "en", "--target_lang", "de", "--teacher", teacher,
             "--output_dir", str(tmp_path / "student"), "--max_tokens_per_batch", "64", "--save_strategy", "no",
             "--disable_tqdm", *words]
        )  # fmt: skip

    return start


def test_plain_text_is_enough_to_distil_on(run, tmp_path):
    mono = tmp_path / "mono.txt"
    mono.write_text("\n".join(ENGLISH * 5), encoding="utf-8")
    folder = run(*FOUR_STEPS, "--unsupervised", "--monolingual", str(mono), splits=("valid",))
    assert AutoModelForSeq2SeqLM.from_pretrained(folder).generation_config.num_iterations == 1
    assert read_training_summary(folder)["updates"] == 4


def test_rounds_leave_the_last_student_and_a_summary_over_all(run):
    folder = run(*FOUR_STEPS, "--rounds", "2", "--ema_decay", "none")
    summary = json.loads((folder / "training_summary.json").read_text())
    assert {"command", "git_commit", "hardware", "versions"} <= summary["provenance"].keys()
    assert summary["steps"] == 8
    assert sorted(path.name for path in folder.glob("round-*")) == ["round-1", "round-2"]
    ours, theirs = (AutoModelForSeq2SeqLM.from_pretrained(path) for path in (folder, folder / "round-2"))
    assert all((value == theirs.state_dict()[name]).all() for name, value in ours.state_dict().items())
    # the same command again finds everything done
    assert run(*FOUR_STEPS, "--rounds", "2", "--ema_decay", "none") == folder
    assert json.loads((folder / "training_summary.json").read_text())["steps"] == 8


def test_finished_run_is_not_trained_again(run, monkeypatch, caplog):
    folder = run(*FOUR_STEPS)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    with monkeypatch.context() as patch, caplog.at_level("INFO"):
        patch.setattr(DiMSTrainer, "train", lambda *_, **__: pytest.fail("trained again"))
        assert run(*FOUR_STEPS) == folder
    assert "holds this run, finished after 4 updates" in caplog.text
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    # more updates are another goal
    assert read_training_summary(run("--max_steps", "6", *FOUR_STEPS[2:]))["updates"] == 6


@pytest.mark.parametrize("changed", ["corpus", "teacher"])
def test_another_corpus_or_teacher_under_the_same_path_is_refused(run, tmp_path, monkeypatch, changed):
    run(*FOUR_STEPS)
    if changed == "teacher":
        teacher = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "teacher")
        teacher.model.shared.weight.data.mul_(1.01)
        teacher.save_pretrained(tmp_path / "teacher")
    else:
        monkeypatch.setattr(sys.modules[__name__], "ENGLISH", ["the dog is old .", *ENGLISH[1:]])
    with pytest.raises(ValueError, match=f"holds a run on another {changed}.* than its path leads to now"):
        run(*FOUR_STEPS)


def test_run_that_saved_nothing_accepts_corrected_settings(run, tmp_path, monkeypatch):
    """Its folder is nobody's: settings are corrected, debris is gone, and no lock is left."""
    with monkeypatch.context() as patch:
        patch.setattr(DiMSTrainer, "training_step", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt, match="There is no checkpoint yet: the same command starts anew."):
            run(*FOUR_STEPS, "--learning_rate", "5")
    student = tmp_path / "student"
    assert [path.name for path in student.iterdir()] == ["run_settings.json"]
    for name in (".tokenizer.abcd1234", ".tmpxyz", ".out.abcd1234.json", "checkpoint-2"):
        (student / name).mkdir()
    assert run(*FOUR_STEPS, "--learning_rate", "1e-3") == student
    assert sorted(path.name for path in student.iterdir() if path.is_dir() or path.name[0] == ".") == ["best"]


def test_home_folder_in_the_teachers_path_is_expanded(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run("--max_steps", "1", "--eval_strategy", "no", teacher="~/teacher").is_dir()
