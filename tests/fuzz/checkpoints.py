# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Checkpoint folders: weights, configurations, tokenizers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch

from tests.fuzz.models import save_checkpoint
from tests.fuzz.mutations import damage_bytes, damage_json_text


FAMILIES = ("cmlm", "cmlmc", "imputer")


class _Checkpoints:
    """A copy of a good checkpoint, one of whose files is damaged, is loaded and translates."""

    name = ""

    def prepare(self, folder: Path) -> None:
        self.good = {family: save_checkpoint(family, folder / family) for family in FAMILIES}

    def case(self, rng: Random, folder: Path) -> tuple[str, Callable[[], Any]]:
        copy = folder / "model"
        family = rng.choice(FAMILIES)
        shutil.copytree(self.good[family], copy)
        return f"{family}, {self.damage(rng, copy)}", lambda: translate(copy)

    def damage(self, rng: Random, folder: Path) -> str:
        """Damages a file in the folder; returns what was done."""
        raise NotImplementedError


def translate(folder: Path) -> None:
    """Loads whatever translates, as the commands do, and translates two sentences."""
    from dims_hf.translation import open_runtime, translate_texts

    done = translate_texts(open_runtime(folder, threads=1), ["the cat sees a dog .", "a <mask> sleeps"])
    assert len(done) == 2 and all(isinstance(each.text, str) for each in done)


class Weights(_Checkpoints):
    """`model.safetensors` with weights missing, not finite, of another shape or type, or damaged bytes."""

    name = "weights"

    def damage(self, rng: Random, folder: Path) -> str:
        from safetensors.torch import load_file, save_file

        path = folder / "model.safetensors"
        if rng.random() < 0.5:
            what, data = damage_bytes(rng, path.read_bytes())
            path.write_bytes(data)
            return what
        weights = load_file(path)
        name = rng.choice(sorted(weights))
        value = weights[name]
        kinds: dict[str, Callable[[], dict[str, torch.Tensor]]] = {
            "missing": lambda: {},
            "NaN": lambda: {name: _with(rng, value, float("nan"))},
            "infinite": lambda: {name: _with(rng, value, float("-inf"))},
            "longer": lambda: {name: torch.cat([value, value])},
            "scalar": lambda: {name: torch.tensor(1.0)},
            "no rows": lambda: {name: value[:0].clone()},
            "integers": lambda: {name: value.to(torch.int32)},
            "half": lambda: {name: value.half()},
            "complex": lambda: {name: value.to(torch.complex64)},
            "huge": lambda: {name: value * 1e38},
            "unexpected": lambda: {name: value, "model.odd.weight": value.clone()},
            "renamed": lambda: {f"x.{name}": value},
        }
        what = rng.choice(list(kinds))
        others = {key: each for key, each in weights.items() if key != name}
        save_file({**others, **kinds[what]()}, path, metadata={"format": "pt"})
        return f"{name}: {what}"


def _with(rng: Random, value: torch.Tensor, number: float) -> torch.Tensor:
    changed = value.clone()
    changed.view(-1)[rng.randrange(changed.numel())] = number
    return changed


class Configurations(_Checkpoints):
    """`config.json` and `generation_config.json` with odd values, or no JSON."""

    name = "configurations"

    def damage(self, rng: Random, folder: Path) -> str:
        return _damage_json_file(rng, folder / rng.choice(("config.json", "config.json", "generation_config.json")))


class Tokenizers(_Checkpoints):
    """`tokenizer.json` and `tokenizer_config.json`, damaged or missing."""

    name = "tokenizers"

    def damage(self, rng: Random, folder: Path) -> str:
        path = folder / rng.choice(("tokenizer.json", "tokenizer.json", "tokenizer_config.json"))
        if rng.random() < 0.08:
            path.unlink()
            return f"{path.name}: missing"
        return _damage_json_file(rng, path)


def _damage_json_file(rng: Random, path: Path) -> str:
    what, data = damage_json_text(rng, path.read_text(encoding="utf-8"))
    path.write_bytes(data)
    return f"{path.name}: {what}"


def damage_file(rng: Random, folder: Path) -> str:
    """Damages or removes any file of a folder."""
    path = rng.choice(sorted(path for path in folder.iterdir() if path.is_file()))
    if rng.random() < 0.1:
        path.unlink()
        return f"{path.name}: missing"
    if path.suffix == ".json" and rng.random() < 0.5:
        return _damage_json_file(rng, path)
    what, data = damage_bytes(rng, path.read_bytes())
    path.write_bytes(data)
    return f"{path.name}: {what}"


def rewrite_checksums(folder: Path) -> None:
    """Makes the checksums of an export those of its files, so that what reads the files meets the damage."""
    import hashlib

    path = folder / "export.json"
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        for name in description["sha256"]:
            description["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return
    path.write_text(json.dumps(description), encoding="utf-8")
