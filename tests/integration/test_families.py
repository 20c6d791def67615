# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Every family from its recipe to a translation: trained, validated, saved, loaded, on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForSeq2SeqLM, pipeline

from dims_hf import MODELS
from dims_hf.cli.main import main
from dims_hf.recipes.runs import read_training_summary, train_teacher


# family -> its recipe on the phrasebook, and what of it must not be taken over here
RECIPES = {
    "alignart": "phrasebook_alignart_teacher",
    "cmlm": "phrasebook_teacher",
    "cmlm_crf": "phrasebook_crf_teacher",
    "cmlmc": "phrasebook_cmlmc_teacher",
    "dat": "phrasebook_dat_teacher",
    "disco": "phrasebook_disco_teacher",
    "imputer": "phrasebook_fullynat_teacher",
    "insertion": "phrasebook_insertion_teacher",
    "levenshtein": "phrasebook_levenshtein_teacher",
    "refine": "phrasebook_refine_teacher",
}
TINY = (
    "--init null --d_model 16 --encoder_layers 1 --decoder_layers 1 --attention_heads 4 --ffn_dim 16 --vocab_size 400 "
    "--max_train_examples 200 --max_valid_examples 3 --max_steps 4 --max_tokens_per_batch 256 --save_strategy no "
    "--num_best_checkpoints 0 --eval_strategy no --warmup_steps 1 --lr_scheduler_type linear "
    "--lr_scheduler_kwargs null --no_bf16 --use_cpu"
).split()


def test_every_family_has_a_recipe():
    assert set(RECIPES) == set(MODELS)


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(RECIPES))
def test_family_goes_from_its_recipe_to_a_translation(family: str, tmp_path: Path, capsys: pytest.CaptureFixture):
    folder = tmp_path / "run"
    train_teacher([RECIPES[family], *TINY, "--output_dir", str(folder)])
    assert read_training_summary(folder)["updates"] == 4
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    assert type(model) is MODELS[family][2]
    capsys.readouterr()
    assert main(["translate", "--model", str(folder), "the dog is here .", "we are here ."]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    translated = pipeline("translation", model=str(folder))(["the dog is here .", "we are here ."])
    assert [each["translation_text"].strip() for each in translated] == [line.strip() for line in lines]
