# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What a results file says about the run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import version

import pytest
import torch
import transformers

from dims_hf.reports import hardware, provenance, provenance as _function
from dims_hf.reports.provenance import git_commit, public, public_text, weights_checksum


def test_provenance_names_command_versions_and_threads(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/dims-hf", "evaluate", "--data", "a folder"])
    got = _function(seed=3)
    assert got["command"] == "dims-hf evaluate --data 'a folder'"
    assert got["seed"] == 3
    assert got["versions"]["torch"] == version("torch")
    assert got["versions"]["transformers"] == transformers.__version__
    assert got["num_threads"] == torch.get_num_threads()
    assert got["hardware"] == hardware() and re.search(r", (1 core|[2-9]\d* cores|1\d+ cores)\b", got["hardware"])
    json.dumps(got)


def test_provenance_relative_script_keeps_its_folder(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["training/evaluate.py", "--split", "valid"])
    assert provenance()["command"] == "training/evaluate.py --split valid"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--teacher", "/home/me/runs/teacher/"], "--teacher teacher"),
        (["--output_dir=/home/me/out", "--student=~/runs/dims"], "--output_dir=out --student=dims"),
        (["~/a=b", "/home/me/c=d"], "a=b c=d"),
        (["--student", "runs/dims", "--data=../corpus", "a/b"], "--student runs/dims --data=../corpus a/b"),
    ],
)
def test_provenance_paths_of_this_machine_keep_their_last_part(monkeypatch, words, shown):
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *words])
    assert provenance()["command"] == f"evaluate.py {shown}"


def test_git_commit_is_the_checkout_s_or_none(repository):
    command = ["git", "-C", str(repository), "rev-parse", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        assert git_commit() is None
        return
    commit = git_commit()
    assert commit is None or commit.removesuffix("+changes") == result.stdout.strip()


def test_git_commit_without_git_is_none(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert git_commit() is None


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--hub_token", "hf_abcdefghijkl", "--x", "1"], "--hub_token '<masked>' --x 1"),
        (["--hub-token=secret words"], "'--hub-token=<masked>'"),
        (["--data", "hf_abcdefghijkl"], "--data '<masked>'"),
        (["--data=https://me:pass@host/x"], "'--data=https://<masked>@host/x'"),
        (["--mask_token", "<mask>", "--max_tokens", "8"], "--mask_token '<mask>' --max_tokens 8"),
    ],
)
def test_provenance_masks_secrets_of_the_command_line(monkeypatch, words, shown):
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *words])
    assert provenance()["command"] == f"evaluate.py {shown}"


def test_public_masks_secrets_and_cuts_paths_at_any_depth(tmp_path):
    value = {
        "hub_token": "x", "push_to_hub_token": None, "max_tokens": 3, "mask_token": "<mask>",
        "deep": [{"api_key": "y", "path": tmp_path / "a", "text": "of hf_0123456789"}], "data": "~/corpus",
    }  # fmt: skip
    assert public(value) == {
        "hub_token": "<masked>", "push_to_hub_token": None, "max_tokens": 3, "mask_token": "<mask>",
        "deep": [{"api_key": "<masked>", "path": "a", "text": "of <masked>"}], "data": "corpus",
    }  # fmt: skip


def test_weights_checksum_is_that_of_sha256sum(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"abc")
    (tmp_path / "model.onnx").write_bytes(b"not of this checkpoint")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert weights_checksum(tmp_path) == {"model.safetensors": known}
    assert weights_checksum("someone/not-in-the-cache") == {}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/jane/run: no such folder", "run: no such folder"),
        ("read '/data/x/y.json' (of ~/corpora/en)", "read 'y.json' (of en)"),
        ("see https://a.org/b/c, and/or 1/2/3, en/de", "see https://a.org/b/c, and/or 1/2/3, en/de"),
        ("token hf_0123456789 and glpat-abcdefgh-ij", "token <masked> and <masked>"),
    ],
)
def test_public_text_cuts_paths_and_masks_secrets_inside_a_sentence(text, shown):
    assert public_text(text) == shown


@pytest.mark.parametrize(
    "secret",
    ["sk-ant-api03-abcdefgh", "sk-proj-abcdefghijk", "github_pat_11ABCDEFG0abc", "AKIAIOSFODNN7EXAMPLE",
     "eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.c2ln", "npm_abcdefghijkl", "https://user:word@host/x"],
)  # fmt: skip
def test_public_masks_tokens_of_many_places(secret):
    shown = public({"text": f"use {secret} here"})["text"]
    assert "<masked>" in shown and secret not in shown


@pytest.mark.parametrize("name", ["hf_token", "HF_TOKEN", "--hf-token", "github_token", "session-token"])
def test_public_masks_what_is_named_a_token(name):
    assert public({name: "words"}) == {name: "<masked>"}


@pytest.mark.parametrize("name", ["mask_token", "unk_token", "empty_token", "max_new_tokens", "tokens", "tokenizer"])
def test_public_leaves_tokens_of_a_vocabulary_alone(name):
    assert public({name: "<mask>"}) == {name: "<mask>"}
