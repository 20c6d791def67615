# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Loading models, from a folder or from the Hub: whole, finite, and without running code that came with them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import torch

from dims_hf._files import expand_home
from dims_hf.models.capabilities import is_non_autoregressive


if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


# Precisions that models decode in.
DTYPES = ("float32", "bfloat16", "float16")

_ALLOW = (
    "--trust-remote-code of `dims-hf translate`, `translate-corpus` or `evaluate`, or trust_remote_code=True in "
    "Python; other commands never run such code"
)


def load_model(
    name: str | os.PathLike[str],
    device: str | None = None,
    dtype: str | None = None,
    *,
    trust_remote_code: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Loads a translation model and its tokenizer for inference.

    Args:
        name (`str` or `os.PathLike`): folder of a checkpoint (`~` is the home folder), or Hub model id.
        device (`str`, *optional*): torch device; the first GPU where there is one, else the CPU, when `None`.
        dtype (`str`, *optional*): precision of weights and arithmetic, one of `DTYPES`; when `None` float32 on a CPU,
            elsewhere that of the checkpoint.
        trust_remote_code (`bool`, *optional*, defaults to `False`): run Python code that comes with the model.

    Returns:
        `tuple`: the model in evaluation mode, and its tokenizer.

    Raises:
        ValueError: `name` reads as a path and is no checkpoint folder, the checkpoint is refused by
            [`load_checkpoint`], or torch has no such device, or no such precision is known.
    """
    if dtype not in (None, *DTYPES):
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}.")
    target = find_device(device)
    # half precision is for transport; processors without such units decode it slowly or not at all
    dtype = dtype or ("float32" if target.type == "cpu" else "auto")
    model = load_checkpoint(name, dtype=dtype, trust_remote_code=trust_remote_code)
    model.to(target)  # type: ignore[arg-type]  # a decorator of transformers hides what the method takes
    tokenizer = load_tokenizer(name, trust_remote_code=trust_remote_code)
    _check_special_tokens(name, model, tokenizer)
    return model.eval(), tokenizer


def load_checkpoint(
    name: str | os.PathLike[str], *, dtype: str | torch.dtype = "float32", trust_remote_code: bool = False
) -> PreTrainedModel:
    """The model of a checkpoint, all of whose weights are there, belong to it and are finite.

    Args:
        name (`str` or `os.PathLike`): folder of a checkpoint, or Hub model id.
        dtype (`str` or `torch.dtype`, *optional*, defaults to `"float32"`): precision of the weights; `"auto"` is the
            checkpoint's.
        trust_remote_code (`bool`, *optional*, defaults to `False`): run Python code that comes with the model.

    Raises:
        ValueError: nothing at that place, code of its own without consent, files that cannot be read, or weights that
            are missing, unexpected, of another shape, NaN or infinite; these are named.
    """
    from transformers import AutoModelForSeq2SeqLM

    place = resolve_model(name)
    # shapes that differ are reported, and refused below with the others
    model, report = _from_pretrained(
        AutoModelForSeq2SeqLM,
        place,
        trust_remote_code,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    _check_names(name, report)
    check_finite(model, name)
    return model


def load_config(name: str | os.PathLike[str]) -> PreTrainedConfig:
    """The configuration of a checkpoint.

    Raises:
        ValueError: nothing at that place, code of its own, or a file that cannot be read.
    """
    from transformers import AutoConfig

    return _from_pretrained(AutoConfig, resolve_model(name), False)


def load_tokenizer(name: str | os.PathLike[str], *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint, or of a folder that holds nothing else.

    Args:
        name (`str` or `os.PathLike`): folder of a checkpoint, or of a tokenizer alone, or Hub model id.
        trust_remote_code (`bool`, *optional*, defaults to `False`): run Python code that comes with it.

    Raises:
        ValueError: nothing at that place, code of its own without consent, or files that cannot be read.
    """
    from transformers import AutoTokenizer

    folder = expand_home(name)
    is_alone = any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json"))
    place = str(folder) if is_alone else resolve_model(name)
    tokenizer = _from_pretrained(AutoTokenizer, place, trust_remote_code)
    try:
        tokenizer.decode(tokenizer(["a sentence"])["input_ids"][0], skip_special_tokens=True)
    except Exception as error:  # whatever a setting of another type leads to
        raise ValueError(
            f"{name}: its tokenizer fails on two words ({type(error).__name__}: {str(error)[:200]}). Its files are "
            "damaged: copy or export the checkpoint again."
        ) from error
    return tokenizer


def _check_special_tokens(
    name: str | os.PathLike[str], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Refuses a tokenizer that writes other special tokens than the model reads, as one without its config does."""
    for token in ("bos", "eos", "pad"):
        ours, theirs = (getattr(each, f"{token}_token_id", None) for each in (tokenizer, model.config))
        # of the models of transformers, only what batches are made with is needed
        # Marian has no `<s>`
        if ours != theirs if is_non_autoregressive(model.config) else ours is None and token != "bos":
            raise ValueError(
                f"{name}: the tokenizer's {token}_token_id is {ours}, the model's {theirs}. Its tokenizer_config.json "
                "is missing, damaged or of another model: copy or export the checkpoint again."
            )


def check_finite(model: torch.nn.Module, name: str | os.PathLike[str]) -> None:
    """Refuses a model with a weight that is NaN or infinite.

    Raises:
        ValueError: naming the first such weight and their number.
    """
    # after loading, in the precision that will be used: fp16 may overflow where the file does not
    bad = [key for key, value in model.state_dict().items() if not _is_finite(value)]
    if bad:
        raise ValueError(
            f"{name}: the weights {_listed(bad)} hold NaN or infinite numbers. Take an earlier checkpoint, or a fresh "
            "copy of the file."
        )


def _is_finite(value: torch.Tensor) -> bool:
    return not value.is_floating_point() or value.is_meta or bool(torch.isfinite(value).all())


def _check_names(name: str | os.PathLike[str], report: dict[str, Any]) -> None:
    faults = {
        "lacks the weights": report.get("missing_keys"),
        "has weights that its configuration does not know,": report.get("unexpected_keys"),
        "has weights of another shape than its configuration says,": report.get("mismatched_keys"),
    }
    for fault, keys in faults.items():
        if keys:
            names = sorted(key if isinstance(key, str) else str(key[0]) for key in keys)
            raise ValueError(
                f"{name} {fault} {_listed(names)}. Its files do not belong together, or one was cut: copy or export "
                "the checkpoint again."
            )


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _from_pretrained(kind: Any, place: str, trust_remote_code: bool, **options: Any) -> Any:
    """`kind.from_pretrained`, everything it raises as one `ValueError` that names the fix."""
    try:
        return kind.from_pretrained(place, trust_remote_code=trust_remote_code, **options)
    except Exception as error:  # each library below has exceptions of its own, for the same few faults
        text = " ".join(str(error).split())
        reason = shorten(text, 250, placeholder=" …")
        if "trust_remote_code" in text:
            raise ValueError(
                f"{place} comes with Python code of its own, which is not run without consent. Read it; if you trust "
                f"it, allow it with {_ALLOW}."
            ) from None
        if "Unrecognized configuration class" in text:
            raise ValueError(
                f"{place} is not a model that translates one text into another. Give one that is."
            ) from None
        if not Path(place).is_dir():
            raise ValueError(
                f"There is no such folder as {place!r}, and no model of that name could be loaded from the Hub "
                f"({reason}). Correct the path or the model id."
            ) from error
        raise ValueError(
            f"{place} cannot be loaded: {type(error).__name__}: {reason}. Its files are damaged or do not belong "
            "together: copy or export the checkpoint again."
        ) from error


def resolve_model(name: str | os.PathLike[str]) -> str:
    """Tells a folder, which must hold a checkpoint, from a Hub id, which is not looked up here.

    Args:
        name (`str` or `os.PathLike`): folder or Hub id. What starts with `.`, `/` or `~`, ends in `/`, has more than
            one slash or lies in a folder that exists is a path, and so is everything that exists.

    Returns:
        `str`: what `from_pretrained` takes; `~` is expanded.

    Raises:
        ValueError: a path that does not exist, a folder without `config.json`, or a name that is almost that of a
            checkpoint folder here.
    """
    text = str(name)
    path = expand_home(name)
    is_path = isinstance(name, os.PathLike) or text.startswith((".", "/", "~"))
    # a Hub id has one slash at most: name, or owner/name
    is_path = is_path or text.endswith("/") or text.count("/") > 1 or ("/" in text and path.parent.is_dir())
    if path.is_dir():
        if not (path / "config.json").is_file():
            if (path / "export.json").is_file():
                raise ValueError(f"{text} is an export. Give the checkpoint that it was made from.")
            raise ValueError(f"{text} holds no config.json. Give the folder that training or export wrote.")
        return str(path)
    neighbour = _neighbour(path)
    if is_path or path.exists():
        hint = f" There is no such folder{neighbour}" if neighbour else ""
        raise ValueError(f"Model folder {text} does not exist. Give a checkpoint folder or a Hub model id.{hint}")
    if neighbour:
        # asking the Hub would take its time and then say no
        raise ValueError(f"There is no such folder as {text}{neighbour} Correct the path.")
    return text


def _neighbour(path: Path) -> str:
    """A checkpoint folder whose path differs in one name only, and little, for a message about a typo."""
    parts = path.parts
    for index, part in enumerate(parts):
        before = Path(*parts[:index]) if index else Path()
        if not before.is_dir():
            return ""
        names = [entry.name for entry in before.iterdir() if entry.is_dir()] if not (before / part).is_dir() else []
        for name in difflib.get_close_matches(part, names, cutoff=0.75):
            other = before.joinpath(name, *parts[index + 1 :])
            if (other / "config.json").is_file():
                return f"; did you mean {other}?"
    return ""


def find_device(name: str | None) -> torch.device:
    """
    The device of a name that computes here; an accelerator where there is one, without a name.

    Raises:
        ValueError: no device, or none that is here.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise ValueError(f"{name!r} is not a device. Say cpu, cuda or cuda:0.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"Device {name!r} needs a GPU that torch can use, and there is none. Say cpu.")
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, NotImplementedError, AssertionError) as error:  # each backend has its own
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"Device {name!r} computes nothing here ({reason}). Say cpu, cuda or cuda:0.") from None
    return device
