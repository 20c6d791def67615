# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Folders of exports, whatever runtime they are for: where they may go, what they are verified on, checksums."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from dims_hf._output import move
from dims_hf.models.capabilities import is_non_autoregressive


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from dims_hf.native import NativeTranslator

    from .onnx_translator import OnnxTranslator

DESCRIPTION_NAME = "export.json"

# Sentences that every export is verified on, beside random ids: short and long, digits, quotes, unknown characters.
SAMPLE_SENTENCES = (
    "A cat.",
    "Where is the station?",
    "Tom said that he would come back before the children go to school.",
    "It costs 12,50 euros … really?",
    "„Nein!“, rief sie, und lief so schnell sie konnte zum Bahnhof zurück.",
    "In the year 1999, more than 2000 people – most of them young – moved to the old town by the river.",
    "猫 ☂ ??!!",
)

# Sentences of `verify_data` or of the corpus that are compared with PyTorch.
MAX_VERIFIED = 200

# Lengths of the random sources that are verified, in tokens, `<s>` and `</s>` counted.
_RANDOM_LENGTHS = (3, 4, 7, 12, 25, 40, 96)

# Sentences per batch of a comparison.
_BATCH_SIZE = 32


def check_model(model: PreTrainedModel) -> None:
    """
    Refuses what no export is made of.

    Raises:
        ValueError: an autoregressive model, or one that is not in fp32 on the CPU.
    """
    if not is_non_autoregressive(model.config):
        raise ValueError(
            f"{type(model).__name__} is autoregressive, and these exports are for one-pass models. Use Optimum's."
        )
    if model.device.type != "cpu" or str(model.dtype) != "torch.float32":
        raise ValueError(f"The model is {model.dtype} on {model.device}. Export it in float32 from the CPU.")


def check_output_dir(output_dir: Path, *, overwrite: bool) -> None:
    """
    Refuses a folder that holds something.

    Raises:
        ValueError: the folder is taken; with `overwrite`, only by something that is not an export.
    """
    if output_dir.exists():
        is_export = (output_dir / DESCRIPTION_NAME).is_file()
        # an empty folder was made for us
        is_free = output_dir.is_dir() and not any(output_dir.iterdir())
        if not is_free and not (overwrite and is_export):
            hint = "Name another folder" + (", or pass --overwrite." if is_export else ": it is not an export.")
            raise ValueError(f"{output_dir} exists. {hint}")


def making_folder(output_dir: Path) -> TemporaryDirectory:
    """Where to write until all is verified: a folder beside the one to write, whose writer holds that."""
    return TemporaryDirectory(dir=output_dir.absolute().parent, prefix=f".{output_dir.name}.")


def add_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """
    Writes the tokenizer as every runtime reads it.

    Raises:
        ValueError: it has no `tokenizer.json`.
    """
    from dims_hf.data import save_tokenizer

    save_tokenizer(tokenizer, folder)
    if not (folder / "tokenizer.json").is_file():
        raise ValueError("The tokenizer has no tokenizer.json. Only fast tokenizers work outside transformers.")


def fitting(translator: OnnxTranslator | NativeTranslator, sentences: Sequence[str]) -> list[str]:
    """The sentences that are not longer than the model takes."""
    limit = translator.max_source_length
    encodings = translator.source_tokenizer.encode_batch(list(sentences))
    return [text for text, encoding in zip(sentences, encodings) if len(encoding.ids) <= limit]


def verified_batches(
    translator: OnnxTranslator | NativeTranslator, sentences: Sequence[str]
) -> Iterator[list[list[int]]]:
    """Rows of ids: random ids of many lengths and some sentences one by one, then batches of both."""
    settings = translator.settings
    generator = np.random.default_rng(0)
    lengths = sorted({min(length, translator.max_source_length) for length in _RANDOM_LENGTHS})
    num_tokens = settings.get("source_vocab_size", settings["vocab_size"])
    # 5 and above: no special tokens
    drawn = [generator.integers(5, num_tokens, length - 2) for length in lengths]
    random = [[settings["bos_token_id"], *ids.tolist(), settings["eos_token_id"]] for ids in drawn]
    rows = translator.encode(sentences)
    yield from ([row] for row in (*random, *rows[: len(SAMPLE_SENTENCES)]))
    yield random
    for start in range(0, len(rows), _BATCH_SIZE):
        yield rows[start : start + _BATCH_SIZE]


def write_description(folder: Path, description: dict[str, Any]) -> None:
    """The description, to which checksums of all other files are added: the translator reads them at its start."""
    files = sorted(path for path in folder.iterdir() if path.name != DESCRIPTION_NAME)
    description["sha256"] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
    (folder / DESCRIPTION_NAME).write_text(text, encoding="utf-8")


def blank_penalty(model: PreTrainedModel) -> float:
    """What a model's decoding takes off the logits of blanks; an export has it built in."""
    return getattr(model.generation_config, "blank_penalty", None) or 0.0


def move_folder(folder: Path, output_dir: Path) -> None:
    """Puts a complete export in its place; a former one is there until then, and back should this fail."""
    with _set_aside(output_dir):
        move(folder, output_dir)


@contextmanager
def _set_aside(folder: Path) -> Iterator[None]:
    if not folder.exists():
        yield
        return
    with making_folder(folder) as former:
        os.replace(folder, Path(former, "former"))
        try:
            yield
        # what was there is better than nothing
        except OSError:
            os.replace(Path(former, "former"), folder)
            raise
