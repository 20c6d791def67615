# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A saved checkpoint loads, translates and saves again where `dims_hf` cannot be imported."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoModel, AutoModelForSeq2SeqLM, AutoTokenizer

from dims_hf import MODELS


TEXTS = ["the small dog sees the old cat .", "a cat", "heute schläft der Hund ."]


@pytest.fixture(params=["tiny", "tiny_cmlmc", "tiny_imputer"])
def checkpoint(request: pytest.FixtureRequest) -> SimpleNamespace:
    """A checkpoint of each family."""
    return request.getfixturevalue(request.param)


REFUSED = """
from transformers import AutoModelForSeq2SeqLM, pipeline
refusals = []
for load in (
    lambda: AutoModelForSeq2SeqLM.from_pretrained({folder!r}),
    lambda: pipeline("translation", model={folder!r}),
):
    try:
        load()
    except ValueError as error:
        refusals.append(str(error))
"""

TRUSTED = """
from pathlib import Path
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM, AutoTokenizer, pipeline
texts = {texts!r}

def observe(folder):
    trusted = {{"trust_remote_code": True}}
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, **trusted)
    tokenizer = AutoTokenizer.from_pretrained(folder, **trusted)
    objects = [AutoConfig.from_pretrained(folder, **trusted), AutoModel.from_pretrained(folder, **trusted), model]
    named, unnamed = pipeline("translation", model=folder, **trusted), pipeline(model=folder, **trusted)
    return {{
        "modules": sorted({{type(thing).__module__.partition(".")[0] for thing in [*objects, named]}}),
        "classes": [type(thing).__name__ for thing in [*objects, named, unnamed]],
        "ids": [model.generate(**tokenizer(text, return_tensors="pt"))[0].tolist() for text in texts],
        "pipeline": named(texts, batch_size=2),
        "unnamed": unnamed(texts),
        "one pass": named(texts, num_iterations=1),
    }}

result = {{"refusals": refusals, "first": observe({folder!r})}}
model = AutoModelForSeq2SeqLM.from_pretrained({folder!r}, trust_remote_code=True)
model.save_pretrained("again")
AutoTokenizer.from_pretrained({folder!r}, trust_remote_code=True).save_pretrained("again")
result["files"] = sorted(path.name for path in Path("again").iterdir() if path.suffix == ".py")
result["again"] = observe(str(Path("again").resolve()))
result["imported"] = [name for name in sys.modules if name.partition(".")[0] == "dims_hf"]
"""


def _expected(tiny: SimpleNamespace) -> dict[str, Any]:
    encoded = [tiny.tokenizer(text, return_tensors="pt") for text in TEXTS]
    scored = {"return_dict_in_generate": True}
    outputs = [tiny.model.generate(**batch, **scored) for batch in encoded]
    once = [tiny.model.generate(**batch, **scored, num_iterations=1) for batch in encoded]
    ids = [output.sequences[0] for output in outputs]

    def decode(given: list) -> list[dict]:
        texts = tiny.tokenizer.batch_decode([output.sequences[0] for output in given], skip_special_tokens=True)
        scores = [round(float(output.sequences_scores[0]), 4) for output in given]
        return [{"translation_text": text, "score": value} for text, value in zip(texts, scores, strict=True)]

    return {
        "modules": ["transformers_modules"],
        "classes": [
            *(each.__name__ for each in MODELS[tiny.model.config.model_type]),
            "NATTranslationPipeline",
            "NATTranslationPipeline",
        ],
        "ids": [row.tolist() for row in ids],
        "pipeline": decode(outputs),
        "unnamed": decode(outputs),
        "one pass": decode(once),
    }


@pytest.mark.slow
def test_checkpoint_without_the_package_needs_trust_then_works_and_saves_again(
    checkpoint: SimpleNamespace, run_python: Callable[..., Any]
):
    code = (REFUSED + TRUSTED).format(folder=str(checkpoint.folder), texts=TEXTS)
    result = run_python(code, package=False, HF_HUB_OFFLINE="1")
    assert len(result["refusals"]) == 2
    assert all("trust_remote_code=True" in message for message in result["refusals"])
    assert result["first"] == _expected(checkpoint)
    assert result["again"] == _expected(checkpoint)
    assert result["files"] == sorted(path.name for path in checkpoint.folder.glob("*.py"))
    assert result["imported"] == []


def test_checkpoint_holds_exactly_the_code_it_needs(checkpoint: SimpleNamespace):
    code = {path.name for path in checkpoint.folder.glob("*.py")}
    config = json.loads((checkpoint.folder / "config.json").read_text(encoding="utf-8"))
    entries = [*config["auto_map"].values(), config["custom_pipelines"]["translation"]["impl"]]
    assert sorted(config["auto_map"]) == ["AutoConfig", "AutoModel", "AutoModelForSeq2SeqLM"]
    assert {entry.partition(".")[0] + ".py" for entry in entries} <= code
    of_families = {f"{kind}_{family}.py" for kind in ("configuration", "modeling") for family in MODELS}
    assert code & of_families == {f"{kind}_{config['model_type']}.py" for kind in ("configuration", "modeling")}
    texts = {name: (checkpoint.folder / name).read_text(encoding="utf-8") for name in code}
    assert not [name for name, text in texts.items() if re.search(r"^\s*(from|import) dims_hf", text, re.MULTILINE)]


def test_checkpoint_with_the_package_needs_no_trust(checkpoint: SimpleNamespace):
    for trusted in ({}, {"trust_remote_code": True}, {"trust_remote_code": False}):
        _, base_class, model_class = MODELS[checkpoint.model.config.model_type]
        assert type(AutoModelForSeq2SeqLM.from_pretrained(checkpoint.folder, **trusted)) is model_class
        assert type(AutoModel.from_pretrained(checkpoint.folder, **trusted)) is base_class
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder, **trusted)
        assert tokenizer.get_vocab() == checkpoint.tokenizer.get_vocab()
