# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The model of a bulk translation: one folder that every process opens, and a fingerprint of what is in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dims_hf._files import expand_home
from dims_hf.translation.runtimes import EXPORT_FILE, exported_runtime


# What translations depend on; a folder may hold reports and logs beside it.
_FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "vocab*.json", "*.spm", "*.model",
)  # fmt: skip
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")

# Weights of other frameworks, which a Hub repository may hold beside ours.
_NOT_FETCHED = ["*.h5", "*.ot", "*.msgpack", "*.onnx", "*.tflite", "*.mlmodel", "onnx/*", "coreml/*"]

_BLOCK = 1 << 20


@dataclass(frozen=True)
class FoundModel:
    """
    A model on this machine.

    Args:
        name (`str`): what people call it: the Hub id, or the folder's name.
        place (`str`): its folder.
        runtime (`str`): `torch`, `onnx` or `native`.
        fingerprint (`str`): twelve hexadecimal digits that change with its weights, settings or tokenizer.
    """

    name: str
    place: str
    runtime: str
    fingerprint: str

    @property
    def is_exported(self) -> bool:
        """Whether it runs without torch."""
        return self.runtime != "torch"

    def settings(self) -> dict[str, Any]:
        """What the manifest says of it; its name may change."""
        return {"runtime": self.runtime, "model_fingerprint": self.fingerprint}


def find_model(name: str) -> FoundModel:
    """
    The folder of a model; a Hub id is fetched first, once, so that all processes open the same.

    Raises:
        ValueError: nothing at that place.
    """
    folder = expand_home(name)
    if (folder / EXPORT_FILE).is_file():
        # it lists the checksums of the other files, which are compared when the folder is opened
        return FoundModel(
            folder.absolute().name, str(folder), exported_runtime(folder), _digest([folder / EXPORT_FILE])
        )
    from dims_hf.translation.loading import resolve_model

    place = resolve_model(name)
    is_folder = Path(place).is_dir()
    folder = Path(place) if is_folder else _fetch(place)
    return FoundModel(folder.absolute().name if is_folder else name, str(folder), "torch", _digest(_files(folder)))


def _fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, ignore_patterns=_NOT_FETCHED))
    except Exception as error:  # the Hub's client has exceptions of its own, and passes on those of others
        text = " ".join(str(error).split())
        raise ValueError(
            f"There is no such folder as {name!r}, and no model of that name could be loaded from the Hub "
            f"({text[:200]}). Correct the path or the model id."
        ) from error


def _files(folder: Path) -> list[Path]:
    found = [path for pattern in _FILES for path in folder.glob(pattern)]
    weights = ([*folder.glob(pattern)] for pattern in _WEIGHTS)
    return sorted({*found, *next((paths for paths in weights if paths), [])})


def _digest(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        for block in _blocks(path):
            digest.update(block)
    return digest.hexdigest()[:12]


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block
