# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Telling folders from Hub ids, and loading for inference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dims_hf.cli.main import main
from dims_hf.data import save_tokenizer
from dims_hf.translation import load_checkpoint, load_model
from dims_hf.translation.loading import load_tokenizer, resolve_model


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
    (home / "runs/empty/export.json").write_text("{}")
    with pytest.raises(ValueError, match="runs/empty is an export. Give the checkpoint that it was made from"):
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


@pytest.fixture
def checkpoint(tiny_model, tiny_tokenizer, tmp_path: Path) -> Path:
    """A folder with an untrained model."""
    tiny_model.save_pretrained(tmp_path / "model")
    save_tokenizer(tiny_tokenizer, tmp_path / "model")
    return tmp_path / "model"


def _rewrite(folder: Path, change) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _drop(weights: dict) -> None:
    del weights["model.encoder.layers.0.fc1.weight"]


def _add(weights: dict) -> None:
    weights["model.encoder.layers.9.fc1.weight"] = torch.zeros(2)


def _spoil(weights: dict) -> None:
    weights["model.encoder.layers.0.fc1.weight"][0, 0] = float("nan")


def _overflow(weights: dict) -> None:
    weights["model.encoder.layers.0.fc1.weight"][0, 0] = float("inf")


def _reshape(weights: dict) -> None:
    weights["model.encoder.layers.0.fc1.weight"] = torch.zeros(3, 3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_drop, "lacks the weights model.encoder.layers.0.fc1.weight"),
        (_add, "does not know, model.encoder.layers.9.fc1.weight"),
        (_spoil, "the weights model.encoder.layers.0.fc1.weight hold NaN"),
        (_overflow, "the weights model.encoder.layers.0.fc1.weight hold NaN or infinite"),
        (_reshape, "of another shape than its configuration says, model.encoder.layers.0.fc1.weight"),
    ],
)
def test_load_checkpoint_incomplete_or_spoilt_weights_are_refused_by_name(checkpoint: Path, change, words: str):
    load_checkpoint(checkpoint)
    _rewrite(checkpoint, change)
    with pytest.raises(ValueError, match=words):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 40, b"{"])
def test_load_model_damaged_file_is_one_value_error(checkpoint: Path, name: str, content: bytes):
    (checkpoint / name).write_bytes(content)
    with pytest.raises(ValueError, match=str(checkpoint)):
        load_model(checkpoint, "cpu")


def test_load_model_code_of_its_own_is_not_run_without_consent(checkpoint: Path, tmp_path: Path):
    import json

    config = json.loads((checkpoint / "config.json").read_text())
    config.update(model_type="stranger", auto_map={"AutoConfig": "evil.C", "AutoModelForSeq2SeqLM": "evil.M"})
    (checkpoint / "config.json").write_text(json.dumps(config))
    (checkpoint / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ValueError, match="Python code of its own, which is not run without consent.*--trust-remote"):
        load_model(checkpoint, "cpu")
    assert not (tmp_path / "ran").exists()


def test_resolve_model_typo_of_a_folder_is_answered_without_the_hub(home: Path):
    for name in ("runz/teacher", "runs/teachr"):
        with pytest.raises(ValueError, match="no such folder.*did you mean runs/teacher"):
            resolve_model(name)


def test_resolve_model_home_of_nobody_is_one_line(home: Path):
    with pytest.raises(ValueError, match="~nouser: .*whole path"):
        resolve_model("~nouser")


@pytest.fixture
def foreign_code(checkpoint: Path) -> Path:
    """A checkpoint whose tokenizer comes with code that leaves a file when it is run."""
    config = json.loads((checkpoint / "tokenizer_config.json").read_text(encoding="utf-8"))
    config |= {"tokenizer_class": "TheirTokenizer", "auto_map": {"AutoTokenizer": ["theirs.TheirTokenizer", None]}}
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    code = (
        f"open({str(checkpoint / 'ran')!r}, 'w')\nfrom transformers import PreTrainedTokenizerFast as TheirTokenizer\n"
    )
    (checkpoint / "theirs.py").write_text(code)
    return checkpoint


_RECIPE = ["--data", "phrasebook", "--source_lang", "en", "--target_lang", "de", "--max_steps", "1", "--use_cpu"]


@pytest.mark.parametrize(
    "words",
    [
        ["translate", "--model", "FOLDER", "a cat ."],
        ["tune", "FOLDER", *_RECIPE[:6], "--max-examples", "1"],
        ["train", "--tokenizer", "FOLDER", *_RECIPE, "--output_dir", "FOLDER/out", "--max_train_examples", "9"],
        ["distill", "--teacher", "FOLDER", *_RECIPE, "--output_dir", "FOLDER/out"],
        ["train-autoregressive", "--tokenizer", "FOLDER", *_RECIPE, "--output_dir", "FOLDER/out"],
    ],
    ids=lambda words: words[0],
)
def test_code_of_a_tokenizer_is_not_run_by_any_command(foreign_code: Path, capsys, words):
    assert main([word.replace("FOLDER", str(foreign_code)) for word in words]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {foreign_code} comes with Python code of its own")
    assert "--trust-remote-code of `dims-hf translate`" in error
    assert not (foreign_code / "ran").exists()


@pytest.mark.parametrize("words", [[], ["--trust-remote-code"]])
def test_evaluation_hands_consent_on(words, monkeypatch):
    given = {}
    monkeypatch.setattr("dims_hf.reports.run_evaluation", lambda models, **options: given.update(options))
    monkeypatch.setattr("dims_hf.reports.write_table", lambda results: None)
    languages = ["--source-lang", "en", "--target-lang", "de"]
    assert main(["evaluate", "--teacher", "t", "--data", "phrasebook", *languages, *words]) == 0
    assert given["trust_remote_code"] is bool(words)


def test_tokenizer_alone_in_a_folder_is_loaded(checkpoint: Path):
    (checkpoint / "config.json").unlink()
    assert load_tokenizer(checkpoint)("a cat .")["input_ids"][0] == 0
