# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The mean of models: of all weights, whatever the order, and of nothing that differs in more."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM

from dims_hf.cli.main import main
from dims_hf.data import save_tokenizer, train_tokenizer
from dims_hf.trainers.averaging import average_models
from dims_hf.translation import load_model, translate


@pytest.fixture
def folders(tiny_model, tiny_tokenizer, tmp_path) -> list[str]:
    """Three models of one kind."""
    places = []
    for seed in range(3):
        model = copy.deepcopy(tiny_model)
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
        model.config.dropout = 0.1 * seed
        place = tmp_path / f"model-{seed}"
        model.half().save_pretrained(place)
        save_tokenizer(tiny_tokenizer, place)
        places.append(str(place))
    return places


def test_mean_is_that_of_every_weight_whatever_the_order(folders, tmp_path):
    mean = AutoModelForSeq2SeqLM.from_pretrained(average_models(folders, tmp_path / "mean"))
    models = [AutoModelForSeq2SeqLM.from_pretrained(place, dtype=torch.float32) for place in folders]
    for name, value in mean.state_dict().items():
        wanted = torch.stack([model.state_dict()[name].double() for model in models]).mean(dim=0)
        torch.testing.assert_close(value, wanted.float(), rtol=0, atol=0)
    average_models(folders[::-1], tmp_path / "reversed")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("mean", "reversed")]
    assert weights[0] == weights[1]
    assert mean.config.dropout == 0.0 and mean.dtype == torch.float32
    twice = AutoModelForSeq2SeqLM.from_pretrained(average_models([folders[0]] * 2, tmp_path / "twice"))
    for name, value in twice.state_dict().items():
        assert torch.equal(value, models[0].state_dict()[name]), name


def test_mean_translates_and_is_made_by_the_command(folders, tmp_path, capsys):
    assert main(["average", *folders, "--output-dir", str(tmp_path / "mean")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'mean'}: the mean of 3 models\n"
    assert translate(*load_model(str(tmp_path / "mean")), ["the cat"])[0].text
    assert main(["average", *folders, "--output-dir", str(tmp_path / "mean")]) == 2
    assert "is there already. Name a new folder" in capsys.readouterr().err


def test_what_has_no_mean_is_refused(folders, tiny_tokenizer, tmp_path: Path):
    with pytest.raises(ValueError, match="at least two models, got 1"):
        average_models(folders[:1], tmp_path / "mean")
    model, _ = load_model(folders[0])
    model.config.activation_function = "gelu"
    model.save_pretrained(tmp_path / "other")
    save_tokenizer(tiny_tokenizer, tmp_path / "other")
    with pytest.raises(ValueError, match="other has activation_function=gelu, and .* activation_function=relu"):
        average_models([folders[0], str(tmp_path / "other")], tmp_path / "mean")
    words = [f"w{number}" for number in range(40)]
    save_tokenizer(train_tokenizer([" ".join(words)] * 3, len(tiny_tokenizer)), folders[1])
    with pytest.raises(ValueError, match="another tokenizer"):
        average_models(folders[:2], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()
