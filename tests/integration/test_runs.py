# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Whole runs from a recipe's settings to the folder of the student: sources alone, and rounds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoModelForSeq2SeqLM

from dims_hf import CMLMConfig, CMLMForConditionalGeneration
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


def test_home_folder_in_the_teachers_path_is_expanded(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run("--max_steps", "1", "--eval_strategy", "no", teacher="~/teacher").is_dir()
