# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Push to a Hub and load from it over HTTP, with and without the package, then again offline from the cache."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline


pytestmark = pytest.mark.slow

TEXTS = ["the small dog sees the old cat .", "a cat", "heute schläft der Hund ."]
CARD = "---\nlibrary_name: transformers\npipeline_tag: translation\n---\n\n# Tiny\n"

PUSH = """
from huggingface_hub import upload_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
model = AutoModelForSeq2SeqLM.from_pretrained({folder!r})
tokenizer = AutoTokenizer.from_pretrained({folder!r})
model.push_to_hub("tester/tiny")
tokenizer.push_to_hub("tester/tiny")
upload_file(path_or_fileobj={card!r}.encode(), path_in_repo="README.md", repo_id="tester/tiny")
result = type(model).__module__
"""

UPLOAD_FOLDER = """
from huggingface_hub import create_repo, upload_folder
create_repo("tester/folder")
upload_folder(repo_id="tester/folder", folder_path={folder!r})
result = None
"""

LOAD = """
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline
model = AutoModelForSeq2SeqLM.from_pretrained("tester/tiny", **{trust!r})
tokenizer = AutoTokenizer.from_pretrained("tester/tiny", **{trust!r})
translate = pipeline("translation", model="tester/tiny", **{trust!r})
result = {{
    "module": type(model).__module__.partition(".")[0],
    "iterations": model.generation_config.num_iterations,
    "by path": translate({texts!r}, batch_size=2),
}}
if not {trust!r}:
    result["by object"] = pipeline("translation", model=model, tokenizer=tokenizer)({texts!r})
"""


@pytest.fixture(scope="module")
def pushed(tiny: SimpleNamespace, hub_server: Any, run_python: Callable[..., Any]) -> dict[str, bytes]:
    """Files of `tester/tiny` on the Hub after model, tokenizer and card were pushed there."""
    code = PUSH.format(folder=str(tiny.folder), card=CARD)
    module = run_python(code, package=True, HF_ENDPOINT=hub_server.url, HF_TOKEN="hf_test", HF_HUB_DISABLE_XET="1")
    assert module == "dims_hf.models.modeling_cmlm"
    return hub_server.files("tester/tiny")


def test_pushed_repository_holds_what_the_saved_folder_holds(tiny: SimpleNamespace, pushed: dict[str, bytes]):
    local = {path.name: path.read_bytes() for path in tiny.folder.iterdir()}
    assert sorted(pushed) == sorted([*local, "README.md"])
    # tokenizer_config.json names its class in the way of the release that wrote it
    same = set(local) - {"tokenizer_config.json"}
    assert [name for name in sorted(same) if pushed[name] != local[name]] == []
    assert pushed["README.md"].decode() == CARD


@pytest.fixture
def expected(tiny: SimpleNamespace) -> list[dict]:
    return pipeline("translation", model=tiny.model, tokenizer=tiny.tokenizer)(TEXTS)


def _fetched(hub_server: Any) -> set[str]:
    return {line.rpartition("/")[2] for line in hub_server.requests if line.startswith("GET") and "/resolve/" in line}


def test_pushed_model_with_the_package_translates_over_http_and_then_offline(
    hub_server: Any, pushed: dict[str, bytes], run_python: Callable[..., Any], expected: list[dict], tmp_path: Path
):
    hub_server.requests.clear()
    code = LOAD.format(texts=TEXTS, trust={})
    online = run_python(code, package=True, hf_home=tmp_path, HF_ENDPOINT=hub_server.url)
    assert online == {"module": "dims_hf", "iterations": 3, "by path": expected, "by object": expected}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= _fetched(hub_server)
    assert "modeling_cmlm.py" not in _fetched(hub_server)

    # this process is offline, like every process of the suite
    cache = {"cache_dir": tmp_path / "hub"}
    model = AutoModelForSeq2SeqLM.from_pretrained("tester/tiny", **cache)
    tokenizer = AutoTokenizer.from_pretrained("tester/tiny", **cache)
    assert pipeline("translation", model=model, tokenizer=tokenizer)(TEXTS) == expected


def test_pushed_model_without_the_package_translates_over_http_and_then_offline(
    hub_server: Any, pushed: dict[str, bytes], run_python: Callable[..., Any], expected: list[dict], tmp_path: Path
):
    hub_server.requests.clear()
    code = LOAD.format(texts=TEXTS, trust={"trust_remote_code": True})
    online = run_python(code, package=False, hf_home=tmp_path, HF_ENDPOINT=hub_server.url)
    assert online == {"module": "transformers_modules", "iterations": 3, "by path": expected}
    assert {"modeling_cmlm.py", "pipeline_translation.py", "model.safetensors"} <= _fetched(hub_server)

    hub_server.requests.clear()
    offline = run_python(code, package=False, hf_home=tmp_path, HF_ENDPOINT=hub_server.url, HF_HUB_OFFLINE="1")
    assert offline == online
    assert hub_server.requests == []


def test_uploaded_folder_equals_the_folder(tiny: SimpleNamespace, hub_server: Any, run_python: Callable[..., Any]):
    """What the README says of a card's folder: it is uploaded as it is."""
    code = UPLOAD_FOLDER.format(folder=str(tiny.folder))
    run_python(code, package=False, HF_ENDPOINT=hub_server.url, HF_TOKEN="hf_test", HF_HUB_DISABLE_XET="1")
    local = {path.name: path.read_bytes() for path in tiny.folder.iterdir()}
    uploaded = hub_server.files("tester/folder")
    assert {name: uploaded[name] for name in local} == local


def test_repository_that_does_not_exist_is_not_found(hub_server: Any):
    """The server refuses what was never pushed; otherwise the tests above would prove little."""
    for path in ("api/models/tester/absent", "tester/absent/resolve/main/config.json", "api/unknown"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{hub_server.url}/{path}")
