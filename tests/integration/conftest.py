# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A tiny checkpoint on disk, a Hub server, and Python processes that have or lack the package."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch


# Where the package is installed, whatever way, it must not be found either.
_WITHOUT_PACKAGE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "dims_hf":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
try:
    import dims_hf
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("dims_hf can be imported, so this process would prove nothing")
"""
_WITH_PACKAGE = "import sys\nsys.path.insert(0, {repository!r})\nimport dims_hf\n"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> SimpleNamespace:
    """`model`, `tokenizer` and the `folder` both are saved in; large random weights, so that outputs differ."""
    return _save_tiny("cmlm", tmp_path_factory.mktemp("tiny"), tiny_tokenizer)


@pytest.fixture(scope="session")
def tiny_cmlmc(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> SimpleNamespace:
    """`tiny` as a CMLMC."""
    return _save_tiny("cmlmc", tmp_path_factory.mktemp("tiny_cmlmc"), tiny_tokenizer)


@pytest.fixture(scope="session")
def tiny_imputer(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> SimpleNamespace:
    """`tiny` as an Imputer."""
    return _save_tiny("imputer", tmp_path_factory.mktemp("tiny_imputer"), tiny_tokenizer)


def _save_tiny(family: str, folder: Path, tokenizer: Any) -> SimpleNamespace:
    from dims_hf import MODELS
    from dims_hf.data import save_tokenizer

    config_class, _, model_class = MODELS[family]

    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    # Alignments are twice as long as their sources.
    limits = {"max_position_embeddings": 48, "max_target_length": 16}
    limits = {"max_position_embeddings": 96} if family == "imputer" else limits
    config = config_class(vocab_size=len(tokenizer), **limits, **sizes, **heads)
    model = model_class(config).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.normal_(std=0.8, generator=generator)
    model.generation_config.num_iterations = 3
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    return SimpleNamespace(model=model, tokenizer=tokenizer, folder=folder)


@pytest.fixture(scope="session")
def hub_server(repository: Path) -> Iterator[Any]:
    """A running `HubServer`."""
    with runpy.run_path(str(repository / "tests" / "hub_server.py"))["HubServer"]() as server:
        yield server


@pytest.fixture(scope="session")
def run_python(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """
    Runs code in a process of its own, in an empty folder, and returns what it stored in `result`.

    `package=False` makes `dims_hf` impossible to import there. `hf_home` is its cache (default: a new one); further
    keywords are environment variables.
    """

    def run(code: str, *, package: bool, hf_home: Path | None = None, **environment: str) -> Any:
        folder = tmp_path_factory.mktemp("process")
        preamble = _WITH_PACKAGE.format(repository=str(repository)) if package else _WITHOUT_PACKAGE
        program = f"{preamble}\n{code}\nimport json\nprint('\\nRESULT', json.dumps(result))\n"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
        kept |= {"HF_HOME": str(hf_home or folder / "hf_home"), "HF_HUB_DISABLE_TELEMETRY": "1", **environment}
        # -I: neither the current folder nor PYTHONPATH is searched
        done = subprocess.run(
            [sys.executable, "-I", "-c", program],
            cwd=folder,
            env=kept,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
        return json.loads(line.removeprefix("RESULT "))

    return run
