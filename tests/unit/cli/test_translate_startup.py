# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf translate` with an exported folder imports neither torch nor transformers, whatever it is asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dims_hf.export.folders import add_tokenizer, write_description
from dims_hf.export.native_export import write_native_folder
from dims_hf.native.library import LIBRARY_VARIABLE


# What takes long to import, and nothing of an exported folder needs.
HEAVY = ("torch", "transformers", "datasets", "pandas", "scipy", "matplotlib", "sacrebleu", "huggingface_hub", "onnx")

# Every call in one process, for an import that any of them makes stays.
PROGRAM = """
import json, sys
from dims_hf.cli.main import main
calls, heavy, shown = json.loads(sys.argv[1]), json.loads(sys.argv[2]), {}
for words in calls:
    status = main(["translate", *words])
    shown[" ".join(words)] = [status, [name for name in heavy if name in sys.modules]]
sys.stderr.write("\\n" + json.dumps(shown))
"""


def _make_folder(kind: str, model, tokenizer, folder: Path) -> None:
    if kind == "native":
        write_native_folder(model, tokenizer, folder, num_iterations=1)
        return
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name, reason="needs the onnx extra")
    from dims_hf.export.onnx_export import write_graphs, write_traced

    write = write_traced if kind.startswith("traced") else write_graphs
    description = write(model, folder, num_iterations=2 if kind.endswith("several") else 1)
    add_tokenizer(folder, tokenizer)
    write_description(folder, {"name": "tiny", **description})


@pytest.fixture(params=["native", "built", "built, several", pytest.param("traced, several", marks=pytest.mark.slow)])
def exported(request: pytest.FixtureRequest, tiny_model, tiny_tokenizer, tmp_path: Path) -> tuple[str, Path]:
    """A folder of each runtime and graph, with the library that it needs."""
    folder = tmp_path / "model"
    _make_folder(request.param, tiny_model, tiny_tokenizer, folder)
    return request.param, folder


def _documents(folder: Path) -> list[Path]:
    texts = {
        "lines.txt": "a cat .\n\na dog .\n",
        "page.html": "<p>a cat .</p>\n",
        "film.srt": "1\n00:00:01,000 --> 00:00:02,000\na cat .\n",
        "messages.po": 'msgid ""\nmsgstr ""\n\nmsgid "a cat ."\nmsgstr ""\n',
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def test_translate_with_an_export_imports_nothing_heavy(exported, tmp_path: Path, request: pytest.FixtureRequest):
    kind, folder = exported
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    if kind == "native":
        request.getfixturevalue("native_library")
        variables[LIBRARY_VARIABLE] = os.environ[LIBRARY_VARIABLE]
    model = ["--model", str(folder), "--threads", "1", "--output", str(tmp_path / "out")]
    calls = [[*model, "a cat ."], [*model, "--format", "jsonl", "a cat .", ""]]
    for path in _documents(tmp_path):
        calls += [[*model, "--input", str(path)], [*model, "--input", str(path), "--format", "jsonl"]]
    calls.append([*model, "--input", str(tmp_path / "lines.txt"), "--input-format", "paragraphs"])
    calls.append([*model, "--on-long", "split", "--length-beam-size", "2", "--repeat-penalty", "1", "a cat ."])
    calls.append([*model, "--threshold", "0.9", "--fallback-iterations", "1", "a cat ."])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(calls), json.dumps(HEAVY)],
        capture_output=True, text=True, timeout=120, env=variables,
    )  # fmt: skip
    shown = json.loads(done.stderr.splitlines()[-1])
    assert shown == {" ".join(words): [0, []] for words in calls}, done.stderr
