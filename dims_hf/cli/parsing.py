# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What the subcommands share: a parser whose errors are exceptions, and loading a model with its tokenizer."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn


if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class CommandParser(argparse.ArgumentParser):
    """`argparse` without abbreviations, raising `ValueError` so that a wrong command line is one line too."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(
            prog=f"dims-hf {command}",
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )

    def parse_words(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse a command line; dashes and underscores in the name of an option are the same, as in recipes."""
        parts = [word.partition("=") if word.startswith("--") else ("", "", word) for word in words]
        return self.parse_args([name.replace("_", "-") + equals + rest for name, equals, rest in parts])

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise ValueError(f"{message}. `{self.prog} --help` lists the arguments.")


def load_model(name: str, device: str | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """
    Load a translation model and its tokenizer for inference.

    Args:
        name (`str`): folder of a checkpoint, or Hub model id.
        device (`str`, *optional*): torch device, defaults to the first GPU where there is one, else the CPU. On the
            CPU half-precision weights are widened to fp32.

    Returns:
        `tuple`: the model in evaluation mode, and its tokenizer.

    Raises:
        FileNotFoundError: `name` reads as a path and is no checkpoint folder.
        ValueError: torch has no such device.
    """
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    import dims_hf  # noqa: F401  (registers the models)

    _check_folder(name)
    target = _find_device(device)
    dtype = torch.float32 if target.type == "cpu" else "auto"
    model = AutoModelForSeq2SeqLM.from_pretrained(name, dtype=dtype).to(target).eval()
    return model, AutoTokenizer.from_pretrained(name)


def _find_device(name: str | None) -> torch.device:
    import torch

    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise ValueError(f"--device {name!r} is not a device. Say cpu, cuda or cuda:0.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {name} needs a GPU that torch can use, and there is none. Say --device cpu.")
    return device


def _check_folder(name: str) -> None:
    path = Path(name)
    reads_as_path = path.is_absolute() or name.startswith((".", "~")) or name.endswith("/") or name.count("/") > 1
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise FileNotFoundError(f"{name} holds no config.json. Give the folder that training or export wrote.")
    elif path.is_file() or reads_as_path:
        raise FileNotFoundError(f"Model folder {name} does not exist. Give a checkpoint folder or a Hub model id.")
