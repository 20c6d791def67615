# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Loading a model with its tokenizer for inference, from a folder or from the Hub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


# Precisions that models decode in.
DTYPES = ("float32", "bfloat16", "float16")


def load_model(
    name: str | os.PathLike[str], device: str | None = None, dtype: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads a translation model and its tokenizer for inference.

    Args:
        name (`str` or `os.PathLike`): folder of a checkpoint (`~` is the home folder), or Hub model id.
        device (`str`, *optional*): torch device; the first GPU where there is one, else the CPU, when `None`.
        dtype (`str`, *optional*): precision of weights and products, one of `DTYPES`; when `None` float32 on a CPU,
            elsewhere that of the checkpoint.

    Returns:
        `tuple`: the model in evaluation mode, and its tokenizer.

    Raises:
        ValueError: `name` reads as a path and is no checkpoint folder, or torch has no such device, or no such
            precision is known.
    """
    if dtype not in (None, *DTYPES):
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}.")
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    place = resolve_model(name)
    target = _find_device(device)
    # half precision is for transport; processors without such units decode it slowly or not at all
    dtype = dtype or ("float32" if target.type == "cpu" else "auto")
    model = AutoModelForSeq2SeqLM.from_pretrained(place, dtype=dtype).to(target).eval()
    return model, AutoTokenizer.from_pretrained(place)


def resolve_model(name: str | os.PathLike[str]) -> str:
    """Tells a folder, which must hold a checkpoint, from a Hub id, which is not looked up here.

    Args:
        name (`str` or `os.PathLike`): folder or Hub id. What starts with `.`, `/` or `~`, ends in `/`, has more than
            one slash or lies in a folder that exists is a path, and so is everything that exists.

    Returns:
        `str`: what `from_pretrained` takes; `~` is expanded.

    Raises:
        ValueError: a path that does not exist, or a folder without `config.json`.
    """
    text = str(name)
    path = Path(name).expanduser()
    is_path = isinstance(name, os.PathLike) or text.startswith((".", "/", "~"))
    is_path = is_path or text.endswith("/") or text.count("/") > 1 or ("/" in text and path.parent.is_dir())
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ValueError(f"{text} holds no config.json. Give the folder that training or export wrote.")
        return str(path)
    if is_path or path.exists():
        raise ValueError(f"Model folder {text} does not exist. Give a checkpoint folder or a Hub model id.")
    return text


def _find_device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise ValueError(f"{name!r} is not a device. Say cpu, cuda or cuda:0.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"Device {name!r} needs a GPU that torch can use, and there is none. Say cpu.")
    return device
