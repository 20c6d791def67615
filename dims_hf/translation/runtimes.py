# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What translates token ids into token ids (torch, ONNX Runtime, the native code) behind one small protocol."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from dims_hf._files import expand_home


# name -> "module:class", imported when a model of that kind is opened. A new runtime is one file and one line.
RUNTIMES: dict[str, str] = {
    "torch": "dims_hf.translation.torch_runtime:TorchRuntime",
    "onnx": "dims_hf.export.runtimes:OnnxRuntime",
    "native": "dims_hf.export.runtimes:NativeRuntime",
    "openvino": "dims_hf.export.openvino_runtime:OpenVinoRuntime",
}

# name of a runtime -> that for which the folders that it reads were written
_READS = {"openvino": "onnx"}

EXPORT_FILE = "export.json"
"""The file by which an exported folder is told from a checkpoint; its `runtime` says which of `RUNTIMES` opens it."""


# More than any machine has; torch dies of the memory for their stacks.
MOST_THREADS = 1024


class Runtime(Protocol):
    """
    A model with its tokenizer, ready to translate.

    Token ids are plain lists; a row begins with `<s>` and ends with `</s>` where the tokenizer writes them.
    """

    @property
    def max_source_length(self) -> int:
        """Most token ids of a row."""

    @property
    def max_tokens_per_batch(self) -> int:
        """Padded tokens of a batch that suit the device when nothing is said."""

    @property
    def length_beam_size(self) -> int:
        """Length candidates that are decoded when nothing is said."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the model decodes by when nothing is said, by the names of `generate`; an export has more there."""

    @property
    def collapses_repeats(self) -> bool:
        """Whether a token that equals its right neighbour is dropped when nothing is said."""

    @property
    def empty_token_id(self) -> int | None:
        """A token that stands for nothing, and is dropped from translations; `None` where there is none."""

    def tokenizer(self, texts: Sequence[str], **options: Any) -> Mapping[str, list[list[int]]]:
        """`{"input_ids": rows}` of texts; takes `truncation`, `max_length` and `verbose` as transformers' do."""

    def generate(self, rows: Sequence[Sequence[int]], **options: Any) -> tuple[list[list[int]], list[float]]:
        """
        Content token ids of the translation of each row, before repeats are collapsed, and its mean log-probability.
        `collapse_repeats` says whether they will be, where the model's own setting is not followed: a beam in which
        paths meet that read the same has none then.

        Raises:
            ValueError: an option that the runtime does not have, or a value that it refuses.
        """

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of content token ids, special tokens left out."""

    def spell(self, token_ids: Sequence[int]) -> list[str]:
        """Token ids as the tokenizer's vocabulary writes them."""


def candidate_options(runtime: Runtime, count: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """
    Options by which a model gives `count` translations of each source: as many lengths, or hypotheses of its beam.

    Args:
        runtime ([`Runtime`]): the model.
        count (`int`): translations of a source.
        options (`Mapping[str, Any]`): what was asked for besides; a larger beam stays.
    """
    settings, search = runtime.settings, {}
    if "graph_search" in settings:
        beam = "beam_size"
        # one path is all that these follow
        if options.get("graph_search", settings["graph_search"]) in ("greedy", "lookahead"):
            search = {"graph_search": "beam"}
    else:
        beam = "prefix_beam_size" if {"prefix_beam_size", "blank_token_id"} & set(settings) else "length_beam_size"
    size = max(count, options.get(beam) or settings.get(beam) or 1)
    return {**options, **search, beam: size, "num_return_sequences": count}


def open_runtime(
    model: str | os.PathLike[str],
    *,
    device: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
    trust_remote_code: bool = False,
    pack_weights: bool = False,
    runtime: str | None = None,
) -> Runtime:
    """
    Opens whatever translates: an exported folder with its own runtime unless told otherwise, everything else with
    torch.

    Args:
        model (`str` or `os.PathLike`): folder of a checkpoint or of an export, or a Hub model id.
        device, dtype (`str`, *optional*): as [`load_model`] takes them; of torch alone, but that OpenVINO has float32
            and bfloat16.
        threads (`int`, *optional*): processor threads; as many as the runtime likes when `None`.
        trust_remote_code (`bool`, *optional*, defaults to `False`): run code that comes with the model.
        pack_weights (`bool`, *optional*, defaults to `False`): reorder the weights once, of torch on a CPU alone (see
            [`pack_weights`]).
        runtime (`str`, *optional*): `openvino` runs an ONNX export with OpenVINO instead of ONNX Runtime.

    Raises:
        ValueError: nothing at that place, a damaged export, or an option that its runtime does not have.
    """
    folder = expand_home(model)
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise ValueError(f"threads must be between 1 and {MOST_THREADS}, got {threads}. Leave it out.")
    if runtime is not None and runtime not in RUNTIMES:
        raise ValueError(f"There is no runtime {runtime!r}, only {', '.join(RUNTIMES)}.")
    if not (folder / EXPORT_FILE).is_file():
        if runtime not in (None, "torch"):
            raise ValueError(f"{model} is no export, so torch runs it. Leave runtime={runtime} out, or export it.")
        from .torch_runtime import TorchRuntime

        return TorchRuntime.open(
            model,
            device=device,
            dtype=dtype,
            threads=threads,
            trust_remote_code=trust_remote_code,
            pack_weights=pack_weights,
        )
    written = exported_runtime(folder)
    name = runtime or written
    if _READS.get(name, name) != written:
        raise ValueError(
            f"{model} is an export for the {written} runtime, which {name} does not read. Leave runtime={name} out."
        )
    options = {"dtype": dtype} if name == "openvino" else {}
    for option, value in (("device", device), ("dtype", None if options else dtype)):
        if value not in (None, "cpu", "float32"):
            raise ValueError(
                f"{model} is an export for the {name} runtime, which has no {option}. Leave --{option} out, or give "
                "the checkpoint that it was made from."
            )
    if pack_weights:
        raise ValueError(f"{model} is an export, whose weights are in order. Leave pack_weights (--pack-weights) out.")
    return runtime_class(name).open(folder, threads=threads, **options)


def exported_runtime(folder: Path) -> str:
    """The runtime that an exported folder was written for.

    Raises:
        ValueError: `export.json` cannot be read, or names a runtime that is not known.
    """
    path = folder / EXPORT_FILE
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}. Export the model again.") from None
    name = description.get("runtime", "onnx") if isinstance(description, dict) else None
    if not isinstance(name, str) or name not in RUNTIMES or name in _READS:
        raise ValueError(f"{path} names the runtime {name!r}. This version knows {', '.join(RUNTIMES)}.")
    return name


def runtime_class(name: str) -> Any:
    """The class of a runtime of [`RUNTIMES`], imported now."""
    module, _, class_name = RUNTIMES[name].partition(":")
    return getattr(import_module(module), class_name)
