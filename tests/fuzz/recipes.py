# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Recipes and command lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.models import save_checkpoint
from tests.fuzz.mutations import ENCODINGS, ODD_VALUES, damage_bytes, damage_json


# Kind -> the recipe of the package that is damaged.
RECIPES = {
    "train": (
        "phrasebook_teacher",
        "phrasebook_imputer_teacher",
        "wmt14_en_de_cmlmc_teacher",
        "phrasebook_glat_teacher",
    ),
    "distill": ("phrasebook_dims", "phrasebook_imputer_dims"),
    "train-autoregressive": ("phrasebook_autoregressive",),
    "make-data": ("phrasebook_distilled_data",),
}

_BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n" for before, after in zip("abcdefgh", "bcdefghi")
)

# Recipes that no damage to a good one makes.
HOSTILE: dict[str, Callable[[], bytes]] = {
    "alias bomb": lambda: _BOMB.encode(),
    "merge bomb": lambda: b"a: &a {x: 1}\n" + b"".join(b"b%d: {<<: *a}\n" % i for i in range(500)),
    "30000 keys": lambda: b"".join(b"key_%d: 1\n" % i for i in range(30000)),
    "a huge key": lambda: b"k" * 3_000_000 + b": 1\n",
    "a huge value": lambda: b"data: " + b"v" * 3_000_000 + b"\n",
    "a deep list": lambda: b"data: " + b"[" * 3000,
    "a deep mapping": lambda: b"".join(b" " * i + b"a:\n" for i in range(1200)),
    "a list": lambda: b"- data\n- phrasebook\n",
    "a recursive value": lambda: b"data: &a [*a]\n",
    "python object": lambda: b"data: !!python/object/apply:os.system [echo]\n",
    "binary": lambda: b"data: !!binary aGVsbG8=\n",
    "set": lambda: b"data: !!set {a, b}\n",
    "timestamp": lambda: b"data: 2001-12-14t21:59:43.10-05:00\n",
    "complex key": lambda: b"? [a, b]\n: 1\n",
    "null key": lambda: b"~: 1\n",
    "number key": lambda: b"1.5: 1\n",
    "two documents": lambda: b"data: a\n---\ndata: b\n",
    "directive": lambda: b"%YAML 9.9\n---\ndata: a\n",
    "octal": lambda: b"max_steps: 0o17\nseed: 017\nlearning_rate: 1_000\n",
    "sexagesimal": lambda: b"max_steps: 190:20:30\n",
    "infinity": lambda: b"learning_rate: .inf\nmax_steps: .nan\n",
}


class Recipes:
    """A recipe with damage to its values, its text or both; what is accepted has become settings."""

    name = "recipes"

    def prepare(self, folder: Path) -> None:
        from dims_hf.recipes import LIBRARY
        from dims_hf.reports.files import read_yaml

        self.good = {name: read_yaml(LIBRARY / f"{name}.yaml") for names in RECIPES.values() for name in names}

    def case(self, rng: Random, folder: Path) -> tuple[str, Callable[[], Any]]:
        command = rng.choice(list(RECIPES))
        recipe = self.good[rng.choice(RECIPES[command])]
        path, words = folder / "recipe.yaml", []
        kind = rng.randrange(8)
        if kind == 0:
            what = rng.choice(list(HOSTILE))
            path.write_bytes(HOSTILE[what]())
        elif kind == 1:
            what, data = damage_bytes(rng, _as_yaml(recipe).encode())
            path.write_bytes(data)
        elif kind == 2:
            what = rng.choice(ENCODINGS)
            path.write_bytes(_as_yaml(recipe).encode(what, "replace"))
        elif kind == 3:
            path.write_text(_as_yaml(recipe))
            name = rng.choice(list(recipe))
            value = rng.choice(ODD_VALUES)()
            words = [f"--{name}", *([] if value is None else [str(value)])]
            if rng.random() < 0.2:
                words.append(rng.choice(("--", "-", "--no_data", "--=", "--seed", "x", "--help=1")))
            what = f"command line {' '.join(words)[:60]!r}"
        else:
            what, changed = damage_json(rng, recipe, rng.randint(1, 2))
            path.write_text(_as_yaml(changed))
        return f"{command}: {what}", lambda: _parse(command, [str(path), *words, "--output_dir", str(folder / "out")])


def _as_yaml(recipe: Any) -> str:
    """JSON is YAML; one name a line, so that damage hits few."""
    if not isinstance(recipe, dict):
        return json.dumps(recipe)
    return "".join(f"{json.dumps(str(name))}: {json.dumps(value)}\n" for name, value in recipe.items())


def _parse(command: str, words: list[str]) -> None:
    """As far as the command itself goes before it reads the corpus."""
    from dims_hf.methods.presets import preset_values
    from dims_hf.recipes import autoregressive, distilled_data, runs
    from dims_hf.recipes.parsing import parse_recipe
    from dims_hf.trainers.autoregressive import AutoregressiveTrainingArguments
    from dims_hf.trainers.config import DiMSConfig, NATTrainingArguments

    owners = {
        "train": (runs.CorpusArguments, runs.ModelArguments, NATTrainingArguments),
        "distill": (runs.CorpusArguments, runs.DistillationArguments, DiMSConfig),
        "train-autoregressive": (
            runs.CorpusArguments, autoregressive.AutoregressiveModelArguments, AutoregressiveTrainingArguments,
        ),
        "make-data": (runs.CorpusArguments, distilled_data.DistilledDataArguments),
    }[command]  # fmt: skip
    presets = {"preset_values": preset_values} if command in ("train", "distill") else {}
    parts = parse_recipe(owners, words, **presets)
    if command == "train":
        parts[2].settled(parts[2].choose(parts[1].model_type))


class CommandLines:
    """Words that no manual has, for every command."""

    name = "command lines"

    def prepare(self, folder: Path) -> None:
        self.model = str(save_checkpoint("cmlm", folder / "model"))

    def case(self, rng: Random, folder: Path) -> tuple[str, Callable[[], Any]]:
        good = {
            "translate": ["--model", self.model, "the cat", "--num-iterations", "2"],
            "evaluate": [
                "--student", self.model, "--data", "phrasebook", "--source-lang", "en", "--target-lang", "de",
                "--max-examples", "2", "--iterations", "1", "--split", "valid",
            ],
            "tune": [f"{self.model}/nothing", "--data", "phrasebook", "--source-lang", "en", "--target-lang", "de"],
            "import-fairseq": [self.model, f"{self.model}/config.json", str(folder / "out")],
            "phrasebook": ["--seed", "3"],
            "export": [f"{self.model}/nothing", "--to", "onnx", "--output-dir", str(folder / "out")],
            "benchmark": ["--quick", "--model", f"{self.model}/nothing", "--output-dir", str(folder / "out")],
            "reproduce": ["--data", f"{self.model}/nothing", "--output_dir", str(folder / "out")],
            "train": ["phrasebook_teacher", "--data", f"{self.model}/nothing", "--output_dir", str(folder / "out")],
            "distill": ["phrasebook_dims", "--teacher", f"{self.model}/nothing", "--output_dir", str(folder / "out")],
            "make-data": ["phrasebook_distilled_data", "--teacher", f"{self.model}/nothing"],
        }  # fmt: skip
        command = rng.choice(list(good))
        words = list(good[command])
        for _ in range(rng.randint(0, 2)):
            odd = rng.choice((
                "", " ", "-", "--", "---", "--help-me", "-1", "0", "1e9", "nan", "\0", "~nobody/x", "/", "/dev/null",
                "a" * 300, "--dtype", "--device=gpu9", "--output-dir=/proc/x", "@file", "*", "ünï", "\ud800", "None",
            ))  # fmt: skip
            place = rng.randrange(len(words) + 1)
            words[place : place + rng.randint(0, 1)] = [odd]
        shown = " ".join(word.replace(self.model, "MODEL") for word in words)
        return f"{command} {shown[:100]!r}", lambda: _run([command, *words], folder)


def _run(words: list[str], folder: Path) -> None:
    import os

    from dims_hf.cli.main import main

    os.chdir(folder)
    code = main(["--debug", *words])
    assert code in (0, None), code
