# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A recipe with a pre-trained encoder, from training to a folder that translates by itself."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, pipeline

from dims_hf import SourceTargetTokenizer
from dims_hf.recipes.autoregressive import train_autoregressive
from dims_hf.recipes.runs import distill, train_teacher
from dims_hf.translation import load_checkpoint, translate


TEXTS = ["the small dog sees the old cat .", "a cat", "we sleep today ."]
MODEL = {"vocab_size": 300, "d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "attention_heads": 2} | {
    "ffn_dim": 32,
    "max_position_embeddings": 40,
}
TRAINING = {"max_tokens_per_batch": 512, "max_steps": 6, "learning_rate": 1e-3, "eval_strategy": "no"} | {
    "save_strategy": "steps",
    "save_steps": 3,
    "num_best_checkpoints": 0,
    "report_to": "none",
}
CORPUS = {"data": "phrasebook", "source_lang": "en", "target_lang": "de", "max_train_examples": 300} | {
    "max_valid_examples": 8
}


def command(values: dict[str, Any], **changes: Any) -> list[str]:
    """Words of a command line."""
    pairs = ([f"--{name}", str(value)] for name, value in {**values, **changes}.items())
    return [*itertools.chain(*pairs), "--use_cpu", "--disable_tqdm"]


def run(**changes: Any) -> list[str]:
    return command({**CORPUS, **MODEL, **TRAINING}, **changes)


@pytest.fixture(scope="module")
def warm(encoder_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A CMLM of two layers of a BERT, trained for a few updates."""
    encoder, folder = str(encoder_folder("bert")), tmp_path_factory.mktemp("warm") / "model"
    train_teacher(run(encoder_name_or_path=encoder, output_dir=folder))
    return SimpleNamespace(folder=folder, encoder=encoder)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder).state_dict()


@pytest.mark.slow
def test_recipe_trains_a_model_that_every_door_translates_with(warm: SimpleNamespace, capsys, tmp_path: Path):
    from dims_hf.cli.main import main

    model, tokenizer = load_checkpoint(warm.folder).eval(), AutoTokenizer.from_pretrained(warm.folder)
    assert type(tokenizer) is SourceTargetTokenizer and model.config.encoder_layers == 2
    assert model.config.pretrained_encoder["vocab_size"] == len(tokenizer.source_tokenizer)
    expected = [each.text for each in translate(model, tokenizer, TEXTS)]
    piped = pipeline("translation", model=str(warm.folder))(TEXTS)
    assert [each["translation_text"] for each in piped] == expected
    (tmp_path / "source.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    assert main(["translate", "--model", str(warm.folder), "--input", str(tmp_path / "source.txt")]) in (None, 0)
    assert capsys.readouterr().out.splitlines() == expected
    summary = json.loads((warm.folder / "training_summary.json").read_text(encoding="utf-8"))
    assert summary["arguments"]["ModelArguments"]["encoder_name_or_path"]


@pytest.mark.slow
def test_resumed_run_equals_the_uninterrupted_one(warm: SimpleNamespace, tmp_path: Path):
    names = {"encoder_name_or_path": warm.encoder, "output_dir": tmp_path / "model"}
    train_teacher(run(**names, max_steps=3))
    train_teacher(run(**names))
    ours, theirs = weights(tmp_path / "model"), weights(warm.folder)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_trained_model_starts_others_and_teaches_a_student(warm: SimpleNamespace, tmp_path: Path):
    # a CRF's tables are new, its encoder is the trained one
    start = {"model_type": "cmlm_crf", "init": warm.folder, "learning_rate": 1e-9}
    train_teacher(run(**start, max_steps=1, output_dir=tmp_path / "crf"))
    ours, theirs = weights(tmp_path / "crf"), weights(warm.folder)
    name = "model.encoder.pretrained.embeddings.word_embeddings.weight"
    torch.testing.assert_close(ours[name], theirs[name], atol=1e-6, rtol=0)
    distill(command({**CORPUS, **TRAINING}, teacher=warm.folder, output_dir=tmp_path / "student"))
    assert load_checkpoint(tmp_path / "student").config.pretrained_encoder is not None


@pytest.mark.slow
def test_folder_needs_nothing_but_its_own_code(warm: SimpleNamespace, run_python: Callable[..., Any]):
    code = """
from transformers import AutoTokenizer, pipeline
folder, texts = {folder!r}, {texts!r}
translate = pipeline("translation", model=folder, trust_remote_code=True)
result = {{
    "texts": [each["translation_text"] for each in translate(texts)],
    "target": AutoTokenizer.from_pretrained(folder, trust_remote_code=True)(text_target="der Hund")["input_ids"],
    "imported": [name for name in sys.modules if name.partition(".")[0] == "dims_hf"],
}}
"""
    result = run_python(code.format(folder=str(warm.folder), texts=TEXTS), package=False, HF_HUB_OFFLINE="1")
    model, tokenizer = load_checkpoint(warm.folder).eval(), AutoTokenizer.from_pretrained(warm.folder)
    assert result["texts"] == [each.text for each in translate(model, tokenizer, TEXTS)]
    assert result["target"] == tokenizer(text_target="der Hund")["input_ids"] and result["imported"] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init": "x"}, "init=x brings its encoder along. Leave out encoder_name_or_path"),
        ({"encoder_layers": 4}, "has 3 layers, and encoder_layers=4 are wanted"),
        ({"max_position_embeddings": 50}, "reads at most 42 tokens"),
        ({"family_settings": "{pretrained_encoder: {}}"}, "family_settings has 'pretrained_encoder'"),
    ],
)
def test_recipes_that_cannot_work_are_refused(changes, message, encoder_folder, tmp_path: Path):
    names = {"encoder_name_or_path": encoder_folder("bert"), "output_dir": tmp_path / "model"}
    with pytest.raises(ValueError, match=message):
        train_teacher(run(**names, **changes))


def test_autoregressive_models_have_encoders_of_their_own(tmp_path: Path):
    with pytest.raises(ValueError, match="has no effect with model_type=marian"):
        train_autoregressive(run(encoder_name_or_path="x", output_dir=tmp_path))
