# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The Hub-ready folder of one trained model, and the seed table made from several runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline

from dims_hf.data import save_tokenizer
from dims_hf.evaluation import evaluate_model
from dims_hf.export import write_hub_folder
from dims_hf.reports import load_results, make_results, provenance, save_results
from dims_hf.translation import translate


SOURCES = ["the small dog sees the old cat .", "a cat sleeps in the house today ."]
REFERENCES = ["der kleine Hund sieht die alte Katze .", "eine Katze schläft heute im Haus ."]


@pytest.fixture
def trained(tmp_path, tiny_model, tiny_tokenizer):
    """A folder as a training run leaves it: fp32 weights and tokenizer, single-step generation config."""
    tiny_model.generation_config.num_iterations = 1
    tiny_model.save_pretrained(tmp_path / "run")
    save_tokenizer(tiny_tokenizer, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def results(tiny_model, tiny_tokenizer):
    """A results document of two systems."""
    system = evaluate_model(tiny_model, tiny_tokenizer, SOURCES, REFERENCES, iterations=(1, 4))
    task = {
        "data": "four-sentences",
        "source_lang": "en",
        "target_lang": "de",
        "split": "test",
        "num_sentences": 2,
        "fingerprint": "0",
    }
    systems = [{"name": name, **system} for name in ("teacher", "student")]
    return make_results(task, systems, provenance=provenance())


def test_hub_folder_has_half_precision_weights_card_and_translates(trained, results, tmp_path, tiny_tokenizer):
    folder = write_hub_folder(
        trained,
        tmp_path / "hub",
        model_id="someone/tiny",
        results=results,
        system="student",
        sample=(SOURCES[0], ""),
        training={"seed": 1},
        attribution="made for a test",
    )
    weights = load_file(folder / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float16}
    assert json.loads((folder / "generation_config.json").read_text())["num_iterations"] == 1
    names = {path.name for path in folder.iterdir()}
    assert {"modeling_cmlm.py", "pipeline_translation.py", "tokenizer.json", "quality_vs_iterations.png"} <= names
    assert load_results(folder / "results.json") == results
    assert not [name for name in names if name.startswith(".")]
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()
    expected = translate(model, AutoTokenizer.from_pretrained(folder), [SOURCES[0]])[0].text
    translator = pipeline("translation", model=str(folder))
    assert translator.model.dtype == torch.float32
    assert translator(SOURCES[0])[0]["translation_text"] == expected
    card = ModelCard.load(folder / "README.md")
    assert card.data.pipeline_tag == "translation"
    assert "made for a test" in card.text
    assert f"# {expected}".rstrip() in card.text


def test_hub_folder_second_export_removes_files_of_the_first_and_keeps_others(trained, results, tmp_path):
    folder = tmp_path / "hub"
    folder.mkdir()
    for name in ("model-00001-of-00002.safetensors", "rules_other.py", "notes.md", "setup.py"):
        (folder / name).write_text("")
    (folder / "config.json").write_text('{"auto_map": {"AutoModel": "modeling_other.Other"}}')
    (folder / "modeling_other.py").write_text("from .rules_other import nothing\n")
    write_hub_folder(trained, folder, model_id="x", results=results, system="student", usage_path="hub/x")
    names = {path.name for path in folder.iterdir()}
    assert {"notes.md", "setup.py", "model.safetensors", "modeling_nat.py"} <= names
    assert not {"model-00001-of-00002.safetensors", "modeling_other.py", "rules_other.py"} & names
    assert 'model="hub/x")' in (folder / "README.md").read_text(encoding="utf-8")


def test_hub_folder_of_an_unknown_system_is_refused_and_writes_nothing(trained, results, tmp_path):
    with pytest.raises(ValueError, match="nobody"):
        write_hub_folder(trained, tmp_path / "hub", model_id="x", results=results, system="nobody")
    assert not (tmp_path / "hub").exists()


def compare_seeds(repository: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(repository / "training" / "compare_seeds.py"), *words]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


def test_compare_seeds_writes_one_row_per_run(results, tmp_path, repository):
    for record in (record for system in results["systems"] for record in system["records"]):
        record.update(valid=0.25, mixture_before_collapse=0.5, brevity_penalty=0.9171, bleu_before_collapse=21.26)
    results["systems"][0]["weights"] = {"model.safetensors": "0a"}
    for system in results["systems"]:
        system["records"] += [{**system["records"][0], "num_iterations": passes} for passes in (2, 8)]
    for seed in (1, 2):
        folder = tmp_path / f"demo{seed}"
        save_results(results, folder / "results.json")
        (folder / "student").mkdir()
        (folder / "student" / "training_summary.json").write_text(json.dumps({"training_arguments": {"seed": seed}}))
    paths = [str(tmp_path / f"demo{seed}" / "results.json") for seed in (1, 2)]
    done = compare_seeds(repository, *paths, "--output", str(tmp_path / "table"))
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "table.json").read_text())
    assert [(row["seed"], row["teacher 1"], row["student 1, mixtures"]) for row in rows] == [
        (1, 25.0, 50.0),
        (2, 25.0, 50.0),
    ]
    assert all(row["teacher 8, BP"] == 0.917 and row["student 1, BLEU raw"] == 21.3 for row in rows)
    assert [row["weights"] for row in rows] == [{"teacher": {"model.safetensors": "0a"}}] * 2
    assert len((tmp_path / "table.md").read_text().splitlines()) == 4


def test_compare_seeds_missing_setting_is_named_with_its_file(results, tmp_path, repository):
    path = save_results(results, tmp_path / "results.json")
    done = compare_seeds(repository, str(path), "--output", str(tmp_path / "table"))
    assert f"{path} has no 'valid' of the teacher at 1 decoder passes" in done.stderr
