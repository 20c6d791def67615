# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`training/publish.py`: what the card tells a reader to load, and where the folder is uploaded."""

from __future__ import annotations

import runpy
import sys
from types import SimpleNamespace

import huggingface_hub
import pytest


@pytest.fixture
def publish(repository, monkeypatch):
    """Runs the script; returns the arguments of `write_hub_folder` and of the upload."""
    script = runpy.run_path(str(repository / "training" / "publish.py"))
    calls = {}

    class Hub:
        def create_repo(self, repo_id: str, exist_ok: bool) -> SimpleNamespace:
            assert exist_ok
            return SimpleNamespace(repo_id=f"someone/{repo_id}")

        def upload_folder(self, **arguments: object) -> None:
            calls["upload"] = arguments

    def write(model: str, folder: str, **arguments: object) -> str:
        calls["folder"] = arguments
        return folder

    readers = dict.fromkeys(("load_results", "read_training_summary"), lambda path: {})
    script["main"].__globals__.update(readers, write_hub_folder=write)
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)

    def run(*words: str) -> dict[str, dict]:
        argv = ["publish.py", "run", "model_cards/tiny", "--results", "results.json", "--model_id", "tiny", *words]
        monkeypatch.setattr(sys, "argv", argv)
        script["main"]()
        return calls

    return run


def test_publish_to_a_folder_tells_to_load_the_folder(publish):
    calls = publish()
    assert (calls["folder"]["model_id"], calls["folder"]["usage_path"]) == ("tiny", "model_cards/tiny")
    assert "upload" not in calls


def test_publish_to_the_hub_uses_the_full_name_of_the_repository(publish):
    calls = publish("--push_to_hub")
    assert (calls["folder"]["model_id"], calls["folder"]["usage_path"]) == ("someone/tiny", "someone/tiny")
    assert calls["upload"] == {"repo_id": "someone/tiny", "folder_path": "model_cards/tiny"}
