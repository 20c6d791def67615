# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Imputers from a recipe's settings to the folder of the student, and with a tokenizer that has no blank."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from dims_hf.data import save_tokenizer, train_tokenizer
from dims_hf.recipes.runs import distill, train_teacher


ENGLISH = ["the dog is not old .", "we have a small house .", "that cat and this dog are not here ."]
GERMAN = ["der Hund ist nicht alt .", "wir haben ein kleines Haus .", "die Katze und der Hund sind nicht hier ."]
SIZES = "--d_model 8 --encoder_layers 1 --decoder_layers 1 --attention_heads 2 --ffn_dim 8 --vocab_size 90".split()


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Settings of four updates on a small corpus."""
    for split in ("train", "valid"):
        for language, lines in (("en", ENGLISH), ("de", GERMAN)):
            (tmp_path / f"{split}.{language}").write_text("\n".join(lines * 4) + "\n", encoding="utf-8")
    corpus = ["--data", str(tmp_path), "--source_lang", "en", "--target_lang", "de"]
    return [*corpus, *"--max_steps 4 --max_tokens_per_batch 128 --save_strategy no --disable_tqdm".split()]


@pytest.mark.parametrize("objective", [["--ctc_steps", "2"], ["--objective", "ctc"], ["--objective", "ctc_glancing"]])
def test_teacher_and_student_from_scratch(words: list[str], tmp_path: Path, objective: list[str]):
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    train_teacher([*words, *SIZES, "--model_type", "imputer", *objective, "--output_dir", str(teacher)])
    model = AutoModelForSeq2SeqLM.from_pretrained(teacher)
    assert (model.config.model_type, model.config.blank_token_id, model.config.upsample_ratio) == ("imputer", 5, 2)
    assert AutoTokenizer.from_pretrained(teacher).convert_ids_to_tokens(5) == "<blank>"
    # a teacher of one pass has learnt from masks alone
    masks = ["--mask_policy", "full"] if "--objective" in objective else []
    for _ in range(2):  # the second time finds the same settings
        distill([*words, *masks, "--teacher", str(teacher), "--output_dir", str(student)])
    summary = json.loads((student / "training_summary.json").read_text())
    assert summary["steps"] == 4 and summary["training_arguments"]["ema_decay"] == "None"
    assert AutoModelForSeq2SeqLM.from_pretrained(student).generation_config.num_iterations == 1


def test_tokenizer_without_a_blank_gets_one_at_the_end(words: list[str], tmp_path: Path):
    tokenizer = train_tokenizer(ENGLISH + GERMAN, 90, max_length=40)
    save_tokenizer(tokenizer, tmp_path / "tokenizer")
    options = ["--model_type", "imputer", "--upsample_ratio", "3", "--tokenizer", str(tmp_path / "tokenizer")]
    folder = train_teacher([*words, *SIZES[:-2], *options, "--output_dir", str(tmp_path / "run")])
    config = AutoModelForSeq2SeqLM.from_pretrained(folder).config
    assert config.blank_token_id == len(tokenizer) == config.vocab_size - 1 and config.upsample_ratio == 3
    assert AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids("<blank>") == len(tokenizer)


def test_upsample_ratio_of_other_families_is_refused(words: list[str], tmp_path: Path):
    with pytest.raises(ValueError, match="upsample_ratio=3 has no effect with model_type=cmlm"):
        train_teacher([*words, *SIZES, "--upsample_ratio", "3", "--output_dir", str(tmp_path / "run")])
