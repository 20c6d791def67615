# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Last stages by recipe: from a trained model or a student to a one-pass model that translates."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from dims_hf.recipes.runs import distill, train_teacher
from dims_hf.translation import translate


ENGLISH = ["the dog is not old .", "we have a small house .", "that cat and this dog are not here ."]
GERMAN = ["der Hund ist nicht alt .", "wir haben ein kleines Haus .", "die Katze und der Hund sind nicht hier ."]
SIZES = "--d_model 8 --encoder_layers 1 --decoder_layers 1 --attention_heads 2 --ffn_dim 8 --vocab_size 90".split()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus, a CMLM and an Imputer, and a student of each."""
    folder = tmp_path_factory.mktemp("stages")
    for split in ("train", "valid"):
        for language, lines in (("en", ENGLISH), ("de", GERMAN)):
            (folder / f"{split}.{language}").write_text("\n".join(lines * 4) + "\n", encoding="utf-8")
    for family in ("cmlm", "imputer"):
        train_teacher([*words(folder), *SIZES, "--model_type", family, "--output_dir", str(folder / family)])
        distill([*words(folder), "--teacher", str(folder / family), "--output_dir", str(folder / f"{family}-student")])
    return folder


def words(folder: Path) -> list[str]:
    corpus = ["--data", str(folder), "--source_lang", "en", "--target_lang", "de", "--use_cpu"]
    return [*corpus, *"--max_steps 2 --max_tokens_per_batch 128 --save_strategy no --disable_tqdm".split()]


@pytest.mark.parametrize("start", ["", "-student"])
@pytest.mark.parametrize(
    ("method", "family"),
    [("oaxe", "cmlm"), ("bag_of_ngrams", "cmlm"), ("ctc_ngrams", "imputer"), ("minimum_risk", "imputer")],
)
def test_stage_goes_on_from_a_model_and_leaves_one_for_one_pass(place: Path, tmp_path: Path, method, family, start):
    options = ["--model_type", family, "--method", method, "--init", str(place / f"{family}{start}")]
    folder = train_teacher([*words(place), *SIZES[:-2], *options, "--output_dir", str(tmp_path / "stage")])
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    assert model.generation_config.num_iterations == 1 and model.config.masks_alone
    before = AutoModelForSeq2SeqLM.from_pretrained(place / f"{family}{start}")
    differences = [(a - b).abs().max() for a, b in zip(model.parameters(), before.parameters(), strict=True)]
    assert 0 < float(max(differences)) < 0.05  # two small steps away, and not anew
    with pytest.raises(ValueError, match="trained on masks alone.*Use mask_policy: full"):
        distill([*words(place), "--teacher", str(folder), "--output_dir", str(tmp_path / "student")])


def test_axe_makes_its_empty_token_and_its_translations_have_none(place: Path, tmp_path: Path):
    folder = train_teacher([*words(place), *SIZES, "--method", "axe", "--output_dir", str(tmp_path / "axe")])
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    empty = model.config.empty_token_id
    assert tokenizer.convert_ids_to_tokens(empty) == "<blank>"
    assert tokenizer.decode([7, empty, 8], skip_special_tokens=True) == tokenizer.decode([7, 8])
    assert all(empty not in found.token_ids for found in translate(model, tokenizer, ENGLISH))
    with pytest.raises(ValueError, match="no empty token|empty_token_id"):
        options = ["--method", "axe", "--init", str(place / "cmlm"), "--output_dir", str(tmp_path / "other")]
        train_teacher([*words(place), *SIZES[:-2], *options])


def test_several_targets_are_joined_for_methods_that_look_at_them(place: Path, tmp_path: Path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for split in ("train", "valid"):
        for language, lines in (("en", ENGLISH * 2), ("de", [*GERMAN, *(f"so {line}" for line in GERMAN)])):
            (corpus / f"{split}.{language}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    several = [*words(corpus), *SIZES, "--max_references", "2"]
    options = ["--model_type", "imputer", "--method", "multi_reference", "--output_dir", str(tmp_path / "run")]
    folder = train_teacher([*several, *options])
    assert AutoModelForSeq2SeqLM.from_pretrained(folder).generation_config.num_iterations == 1
    with pytest.raises(ValueError, match="max_references=2 joins the pairs of a source, and method=cmlm looks at one"):
        train_teacher([*several, "--output_dir", str(tmp_path / "cmlm")])
    with pytest.raises(ValueError, match="max_references=2 .* distillation looks at one target"):
        teacher = ["--teacher", str(place / "cmlm"), "--output_dir", str(tmp_path / "student")]
        distill([*words(corpus), "--max_references", "2", *teacher])
