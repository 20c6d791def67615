# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Folders of exports, and fairseq checkpoints on their way in."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch

from tests.fuzz.checkpoints import damage_file, rewrite_checksums, translate
from tests.fuzz.models import make_model, make_tokenizer
from tests.fuzz.mutations import ENCODINGS, ODD_VALUES, damage_bytes
from tests.fuzz.native_files import damage_model_file


class OnnxFolders:
    """A folder of `dims-hf export` with a damaged file; of half of them the checksums are made to fit."""

    name = "ONNX folders"

    def prepare(self, folder: Path) -> None:
        from dims_hf.export import export_onnx

        tokenizer = make_tokenizer()
        self.good = [folder / "onnx-1", folder / "onnx-2"]
        for passes, each in enumerate(self.good, start=1):
            export_onnx(make_model("cmlm", len(tokenizer)), tokenizer, each, num_iterations=passes)

    def case(self, rng: Random, folder: Path) -> tuple[str, Callable[[], Any]]:
        copy = folder / "export"
        shutil.copytree(rng.choice(self.good), copy)
        what = damage_file(rng, copy)
        if rng.random() < 0.4:
            rewrite_checksums(copy)
            what += ", checksums rewritten"
        return what, lambda: translate(copy)


class NativeFolders(OnnxFolders):
    """The same of the native format, whose reader is C++: of most files the checksums inside are made to fit too."""

    name = "native model files"

    def prepare(self, folder: Path) -> None:
        from dims_hf.export.native_export import write_native_folder
        from dims_hf.native import build, library

        os.environ[library.LIBRARY_VARIABLE] = str(build.build(folder / build.LIBRARY_NAME))
        tokenizer = make_tokenizer()
        self.good = [folder / family for family in ("cmlm", "imputer")]
        for each in self.good:
            each.mkdir(parents=True)
            write_native_folder(make_model(each.name, len(tokenizer)), tokenizer, each, num_iterations=2)

    def case(self, rng: Random, folder: Path) -> tuple[str, Callable[[], Any]]:
        if rng.random() < 0.3:
            return super().case(rng, folder)
        copy = folder / "export"
        shutil.copytree(rng.choice(self.good), copy)
        what = damage_model_file(rng, copy / "model.bin")
        rewrite_checksums(copy)
        return f"model.bin: {what}, checksums rewritten", lambda: translate(copy)


DICTIONARY = "the 90\ncat 40\nsl@@ 9\neep@@ 8\ns 7\nhouse 5\nmadeupword0000 0\nmadeupword0001 0\n"
VOCAB_SIZE, WIDTH, INNER, ROWS = 12, 8, 10, 18


def fairseq_weights(family: str) -> dict[str, torch.Tensor]:
    """Random weights under fairseq's names."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    def layer(prefix: str, attentions: tuple[str, ...]) -> dict[str, torch.Tensor]:
        shapes: dict[str, tuple[int, ...]] = {
            "fc1.weight": (INNER, WIDTH), "fc1.bias": (INNER,), "fc2.weight": (WIDTH, INNER), "fc2.bias": (WIDTH,),
            "final_layer_norm.weight": (WIDTH,), "final_layer_norm.bias": (WIDTH,),
        }  # fmt: skip
        for name in attentions:
            for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                shapes |= {f"{name}.{part}.weight": (WIDTH, WIDTH), f"{name}.{part}.bias": (WIDTH,)}
            shapes |= {f"{name}_layer_norm.weight": (WIDTH,), f"{name}_layer_norm.bias": (WIDTH,)}
        return {f"{prefix}.{name}": draw(*shape) for name, shape in shapes.items()}

    table = draw(VOCAB_SIZE + (family == "imputer"), WIDTH)
    weights = {f"{side}.embed_tokens.weight": table for side in ("encoder", "decoder")}
    weights |= {f"{side}.embed_positions.weight": draw(ROWS, WIDTH) for side in ("encoder", "decoder")}
    weights |= layer("encoder.layers.0", ("self_attn",)) | layer("decoder.layers.0", ("self_attn", "encoder_attn"))
    if family == "cmlm":
        weights["decoder.embed_length.weight"] = draw(256, WIDTH)
    return weights


class FairseqFiles:
    """`dims-hf import-fairseq` on damaged checkpoints and dictionaries, and with odd arguments."""

    name = "fairseq files"

    def prepare(self, folder: Path) -> None:
        self.weights = {family: fairseq_weights(family) for family in ("cmlm", "imputer")}

    def case(self, rng: Random, folder: Path) -> tuple[str, Callable[[], Any]]:
        checkpoint, dictionary, out = folder / "c.pt", folder / "dict.txt", folder / "out"
        dictionary.write_text(DICTIONARY)
        content: dict[Any, Any] = {
            "model": dict(self.weights[rng.choice(list(self.weights))]),
            "args": {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "dropout": 0.1},
        }
        kind, options = rng.randrange(5), [str(checkpoint), str(dictionary), str(out)]
        what = self._damage_content(rng, content) if kind == 0 else ""
        torch.save(content, checkpoint, _use_new_zipfile_serialization=rng.random() < 0.7)
        if kind == 1:
            what, data = damage_bytes(rng, checkpoint.read_bytes())
            checkpoint.write_bytes(data)
        elif kind == 2:
            what, data = damage_bytes(rng, DICTIONARY.encode())
            dictionary.write_bytes(data)
        elif kind == 3:
            what = rng.choice(ENCODINGS)
            dictionary.write_bytes(DICTIONARY.encode(what))
        elif kind == 4:
            what = self._odd_arguments(rng, options)
        place = ("content", "checkpoint", "dictionary", "dictionary", "arguments")[kind]
        return f"{place}: {what}", lambda: _import(options)

    def _damage_content(self, rng: Random, content: dict[Any, Any]) -> str:
        weights = content["model"]
        name = rng.choice(sorted(weights))
        odd = rng.choice(ODD_VALUES)()
        kinds: dict[str, Callable[[], Any]] = {
            "missing": lambda: weights.pop(name),
            "NaN": lambda: weights.update({name: torch.full_like(weights[name], float("nan"))}),
            "scalar": lambda: weights.update({name: torch.tensor(2.0)}),
            "larger": lambda: weights.update({name: torch.cat([weights[name]] * 2)}),
            "no numbers": lambda: weights.update({name: weights[name][:0]}),
            "integers": lambda: weights.update({name: weights[name].long()}),
            "sparse": lambda: weights.update({name: weights[name].to_sparse()}),
            "expanded": lambda: weights.update({name: torch.zeros(1).expand(10**8, WIDTH)}),
            "odd value": lambda: weights.update({name: odd}),
            "odd name": lambda: weights.update({7: weights[name], "decoder.layers.99999999.fc1.bias": weights[name]}),
            "odd arguments": lambda: content["args"].update({rng.choice(list(content["args"])): odd}),
            "no arguments": lambda: content.update(args=odd),
            "namespace": lambda: content.update(args=argparse.Namespace(encoder_attention_heads=odd)),
            "model": lambda: content.update(model=odd),
            "configuration": lambda: content.update(args=None, cfg=odd),
        }
        what = rng.choice(list(kinds))
        kinds[what]()
        return f"{name}: {what}"

    def _odd_arguments(self, rng: Random, options: list[str]) -> str:
        kind = rng.randrange(4)
        if kind == 0:
            heads = rng.choice(("0", "-1", "3", "2 2 2", "1000000000000000000000", "x", "", "2.0"))
            options += ["--attention-heads", *heads.split(" ")]
        elif kind == 1:
            options[0], options[1] = options[1], options[0]
        elif kind == 2:
            options[rng.randrange(3)] = rng.choice(
                ("", "/", "\0", "~nobody/x", "/dev/null", "/proc/x/y", "a" * 5000, ".")
            )
        else:
            options.insert(rng.randrange(4), rng.choice(("--legacy", "--no-legacy=1", "-x", "more")))
        return " ".join(options)[-80:]


def _import(words: list[str]) -> None:
    from dims_hf.cli.main import main

    assert main(["--debug", "import-fairseq", *words]) == 0
    translate(Path(words[2]))


def native_is_possible() -> bool:
    """Whether the native library can be built here."""
    from dims_hf.native import build

    try:
        build.find_compiler()
    except build.BuildError:
        return False
    return True
