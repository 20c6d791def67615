# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""All model folders of the repository on a Hub server, and a trained model that `training/publish.py` puts there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import ModelCard

from dims_hf.data.beam_search import BeamTranslator
from dims_hf.evaluation import evaluate_model
from dims_hf.reports import make_results, provenance, save_results
from dims_hf.translation import load_model


pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = sorted(path.parent.name for path in (ROOT / "model_cards").glob("*/config.json"))

UPLOAD = """
from huggingface_hub import create_repo, upload_folder
create_repo("tester/{name}")
upload_folder(repo_id="tester/{name}", folder_path={folder!r})
result = None
"""
TRANSLATE = """
from transformers import pipeline
translate = pipeline("translation", model="tester/{name}", trust_remote_code=True)
result = translate({texts!r})
"""
PUBLISH = """
import runpy, sys
sys.argv = ["publish.py", {model!r}, {output!r}, "--results", {results!r}, "--model_id", "published", "--push_to_hub",
            "--license", "cc-by-4.0", "--attribution", "Somebody", "--sample", "a cat",
            "--limit", "It knows four sentences."]
runpy.run_path({script!r}, run_name="__main__")
result = None
"""
TRANSLATE_WORD_BY_WORD = """
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
model = AutoModelForSeq2SeqLM.from_pretrained("tester/{name}")
tokenizer = AutoTokenizer.from_pretrained("tester/{name}")
output = model.generate(**tokenizer({texts!r}, return_tensors="pt", padding=True), num_beams=5, max_new_tokens=50)
result = tokenizer.batch_decode(output, skip_special_tokens=True)
"""
TEXTS = ["Where did you buy that book?", "I am here."]


@pytest.fixture
def online(hub_server: Any) -> dict[str, str]:
    return {"HF_ENDPOINT": hub_server.url, "HF_TOKEN": "hf_test", "HF_HUB_DISABLE_XET": "1"}


@pytest.mark.parametrize("name", FOLDERS)
def test_model_folder_goes_to_the_hub_as_it_is_and_translates_from_there(
    name: str, hub_server: Any, run_python: Callable[..., Any], online: dict[str, str]
):
    from transformers import pipeline

    folder = ROOT / "model_cards" / name
    run_python(UPLOAD.format(name=name, folder=str(folder)), package=False, **online)
    uploaded = hub_server.files(f"tester/{name}")
    local = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert {each: uploaded[each] for each in local} == local
    card = ModelCard(uploaded["README.md"].decode())
    assert card.data.license and card.data.library_name == "transformers" and card.data.pipeline_tag == "translation"
    if "autoregressive" in card.data.tags:
        theirs = run_python(TRANSLATE_WORD_BY_WORD.format(name=name, texts=TEXTS), package=False, **online)
        model, tokenizer = load_model(folder, device="cpu")
        assert [text.strip() for text in theirs] == [row.text for row in BeamTranslator(model, tokenizer)(TEXTS)]
        return
    theirs = run_python(TRANSLATE.format(name=name, texts=TEXTS), package=False, **online)
    assert theirs == pipeline("translation", model=str(folder))(TEXTS)


def test_trained_model_is_published_with_its_card(
    tiny: SimpleNamespace, hub_server: Any, run_python: Callable[..., Any], online: dict[str, str], tmp_path: Path
):
    import shutil

    run = shutil.copytree(tiny.folder, tmp_path / "run")
    summary = {
        "steps": 3, "epochs": 1.0, "train_runtime": 2.0, "averaged_checkpoints": [], "corpus_fingerprint": "0",
        "tokenizer_fingerprint": "0", "training_arguments": {"method": "cmlm", "learning_rate": 1e-3, "seed": 1},
    }  # fmt: skip
    (run / "training_summary.json").write_text(json.dumps(summary))
    sources, references = ["a cat", "the old dog ."], ["eine Katze", "der Hund ."]
    system = evaluate_model(tiny.model, tiny.tokenizer, sources, references, iterations=(3,))
    task = {"data": "two", "source_lang": "en", "target_lang": "de", "split": "test", "num_sentences": 2}
    document = make_results({**task, "fingerprint": "0"}, [{"name": "student", **system}], provenance=provenance())
    save_results(document, tmp_path / "results.json")
    script = str(ROOT / "training" / "publish.py")
    paths = {"model": str(run), "output": str(tmp_path / "hub"), "results": str(tmp_path / "results.json")}
    run_python(PUBLISH.format(script=script, **paths), package=True, **online)
    uploaded = hub_server.files("tester/published")
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json", "modeling_cmlm.py"} <= set(uploaded)
    card = uploaded["README.md"].decode()
    assert 'model="tester/published"' in card and "It knows four sentences." in card and "Somebody" in card
    (theirs,) = run_python(TRANSLATE.format(name="published", texts=["a cat"]), package=False, **online)
    assert theirs["translation_text"]
