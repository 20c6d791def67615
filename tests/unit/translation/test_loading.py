# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Telling folders from Hub ids, and loading for inference."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dims_hf.data import save_tokenizer
from dims_hf.translation import load_model
from dims_hf.translation.loading import resolve_model


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder, which is also the current one, with a checkpoint and an empty folder in `runs`."""
    (tmp_path / "runs" / "empty").mkdir(parents=True)
    (tmp_path / "runs" / "teacher").mkdir()
    (tmp_path / "runs" / "teacher" / "config.json").write_text("{}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_resolve_model_expands_the_home_folder_and_passes_hub_ids_on(home: Path):
    assert resolve_model("~/runs/teacher") == str(home / "runs" / "teacher")
    assert resolve_model("runs/teacher") == resolve_model(Path("runs/teacher")) == "runs/teacher"
    assert [resolve_model(name) for name in ("someone/model", "model")] == ["someone/model", "model"]


@pytest.mark.parametrize("name", ["~/absent", "/absent/m", "./m", "m/", "a/b/c", "runs/absent", Path("someone/model")])
def test_resolve_model_path_that_does_not_exist_is_refused(home: Path, name: str | Path):
    with pytest.raises(ValueError, match=f"Model folder {name} does not exist. Give a checkpoint folder or a Hub"):
        resolve_model(name)


def test_resolve_model_folder_without_a_checkpoint_is_refused(home: Path):
    with pytest.raises(ValueError, match="runs/empty holds no config.json. Give the folder"):
        resolve_model("runs/empty")


def test_load_model_widens_half_precision_on_the_cpu(tiny_model, tiny_tokenizer, tmp_path: Path):
    tiny_model.half().save_pretrained(tmp_path)
    save_tokenizer(tiny_tokenizer, tmp_path)
    model, tokenizer = load_model(tmp_path, "cpu")
    assert (model.dtype, model.training, len(tokenizer)) == (torch.float32, False, len(tiny_tokenizer))


def test_load_model_keeps_to_the_precision_asked_for(tiny_model, tiny_tokenizer, tmp_path: Path):
    tiny_model.save_pretrained(tmp_path)
    save_tokenizer(tiny_tokenizer, tmp_path)
    assert load_model(tmp_path, "cpu", "bfloat16")[0].dtype == torch.bfloat16
    with pytest.raises(ValueError, match="dtype must be one of float32, bfloat16, float16, got 'bf16'"):
        load_model(tmp_path, "cpu", "bf16")
