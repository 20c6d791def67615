# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A family and a method made only as CONTRIBUTING says: a class each, and their lines in the tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM

from dims_hf import MODELS, CMLMConfig, CMLMForConditionalGeneration, CMLMModel
from dims_hf.cli.main import main
from dims_hf.methods.base import Items, Run
from dims_hf.methods.cmlm import CMLM, CMLMOptions
from dims_hf.methods.masks import MaskedBatch
from dims_hf.methods.options import option
from dims_hf.methods.registry import DEFAULT_METHODS, METHODS
from dims_hf.models.decoding_mask_predict import MaskPredict
from dims_hf.models.decoding_strategies import STRATEGIES
from dims_hf.objectives import Loss
from dims_hf.recipes.runs import distill, train_teacher


@strict
class ToyConfig(CMLMConfig):
    model_type = "toy"
    decoding_strategy: ClassVar[str] = "toy"
    remote_code_map = {}


class ToyModel(CMLMModel):
    config_class = ToyConfig


class ToyForConditionalGeneration(CMLMForConditionalGeneration):
    config_class = ToyConfig
    model_class = ToyModel


class ToyDecoding(MaskPredict):
    pass


@dataclass(frozen=True)
class ToyOptions(CMLMOptions):
    scale: float = option(2.0, gt=0, help="Factor of the loss.")


class ToyMethod(CMLM):
    """CMLM, scaled. Source: this test."""

    paper = "this test"
    families = ("toy",)
    Options = ToyOptions

    def loss(self, run: Run, batch: MaskedBatch, items: Items) -> Loss:
        loss = super().loss(run, batch, items)
        return Loss(self.options.scale * loss.total, loss.parts)


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines in the tables, and what importing the package does with the first."""
    monkeypatch.setitem(MODELS, "toy", (ToyConfig, ToyModel, ToyForConditionalGeneration))
    monkeypatch.setitem(STRATEGIES, "toy", ToyDecoding)
    monkeypatch.setitem(METHODS, "toy", f"{__name__}:ToyMethod")
    monkeypatch.setitem(DEFAULT_METHODS, "toy", ("toy", "dims"))
    AutoConfig.register("toy", ToyConfig, exist_ok=True)
    AutoModel.register(ToyConfig, ToyModel, exist_ok=True)
    AutoModelForSeq2SeqLM.register(ToyConfig, ToyForConditionalGeneration, exist_ok=True)


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Settings of four updates on a small corpus."""
    for split in ("train", "valid", "test"):
        for language, lines in (
            ("en", ["the dog is not old .", "we have a small house .", "that cat is here ."]),
            ("de", ["der Hund ist nicht alt .", "wir haben ein kleines Haus .", "die Katze ist hier ."]),
        ):
            (tmp_path / f"{split}.{language}").write_text("\n".join(lines * 4) + "\n", encoding="utf-8")
    corpus = ["--data", str(tmp_path), "--source_lang", "en", "--target_lang", "de", "--use_cpu"]
    return [*corpus, *"--max_steps 4 --max_tokens_per_batch 128 --save_strategy no --disable_tqdm".split()]


SIZES = "--d_model 8 --encoder_layers 1 --decoder_layers 1 --attention_heads 2 --ffn_dim 8 --vocab_size 90".split()


@pytest.mark.slow
def test_toy_family_and_method_train_distil_translate_evaluate_and_export(tables, words, tmp_path, capsys):
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    with pytest.raises(ValueError, match="Unknown name --scale .* It is a setting of toy; the method here is cmlm"):
        train_teacher([*words, *SIZES, "--scale", "3", "--output_dir", str(teacher)])
    with pytest.raises(ValueError, match="scale must be > 0, got 0.0"):
        train_teacher([*words, *SIZES, "--model_type", "toy", "--scale", "0", "--output_dir", str(teacher)])
    train_teacher([*words, *SIZES, "--model_type", "toy", "--scale", "3", "--output_dir", str(teacher)])
    assert type(AutoModelForSeq2SeqLM.from_pretrained(teacher)) is ToyForConditionalGeneration
    distill([*words, "--teacher", str(teacher), "--output_dir", str(student)])
    assert AutoModelForSeq2SeqLM.from_pretrained(student).generation_config.num_iterations == 1
    capsys.readouterr()
    assert main(["translate", "--model", str(student), "the dog is here ."]) == 0
    translated = capsys.readouterr().out
    assert len(translated.splitlines()) == 1
    evaluate = ["evaluate", "--student", str(student), "--data", str(tmp_path), "--source-lang", "en"]
    assert main([*evaluate, "--target-lang", "de", "--output-dir", str(tmp_path / "scores")]) == 0
    assert any((tmp_path / "scores").iterdir())
    pytest.importorskip("onnxscript", reason="needs the onnx extra")
    pytest.importorskip("onnxruntime", reason="needs the onnx extra")
    assert main(["export", str(student), "--to", "onnx", "--output-dir", str(tmp_path / "onnx")]) == 0
    assert {path.name for path in (tmp_path / "onnx").glob("*.onnx")} == {
        "encoder.onnx",
        "start.onnx",
        "step.onnx",
        "finish.onnx",
    }
    capsys.readouterr()
    assert main(["translate", "--model", str(tmp_path / "onnx"), "the dog is here ."]) == 0
    assert capsys.readouterr().out == translated
