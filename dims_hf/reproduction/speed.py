# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Milliseconds per sentence of a trained model in torch and in int8, one sentence at a time and in batches."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dims_hf.models.source_text import prepare_sources
from dims_hf.translation.runtimes import Runtime, open_runtime
from dims_hf.translation.torch_runtime import torch_threads


BATCH_SIZES = (1, 32)
_NUM_ROUNDS = 3

# Translates prepared rows of token ids.
Decode = Callable[[list[list[int]]], object]


def measure_speed(model: Path, sources: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """
    Times a model on one thread of a CPU.

    Args:
        model (`Path`): folder of a model.
        sources (`Sequence[str]`): what it translates.
        options (`Mapping[str, Any]`): arguments of `generate`.

    Returns:
        `dict`: `torch` and `int8`, each batch size to milliseconds per sentence, or `error` and why there are none;
        int8 is ONNX Runtime, of an autoregressive model CTranslate2. From token ids to token ids, the median of three
        rounds after one that is not counted.
    """
    return {
        "torch": _measure(lambda scratch: _open_torch(model, options), sources),
        "int8": _measure(lambda scratch: _open_int8(model, options, scratch), sources),
    }


def _measure(open_model: Callable[[Path], tuple[Runtime, Decode]], sources: Sequence[str]) -> dict[str, Any]:
    with torch_threads(1), TemporaryDirectory() as scratch:
        try:
            runtime, decode = open_model(Path(scratch))
        except Exception as error:
            # of an exporter or a runtime, whatever its class: the other figures are as good
            return {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        rows = prepare_sources(
            list(sources), runtime.tokenizer, runtime.max_source_length, "error", "truncate", name="sources[{}]".format
        ).pieces
        # sentences of one batch are about as long: padding is the user's choice, not the model's
        rows = sorted(rows, key=len)
        return {str(size): _milliseconds(decode, rows, size) for size in BATCH_SIZES}


def _milliseconds(decode: Decode, rows: Sequence[list[int]], batch_size: int) -> float:
    batches = [list(rows[start : start + batch_size]) for start in range(0, len(rows), batch_size)]
    seconds = []
    for _ in range(1 + _NUM_ROUNDS):
        start = time.perf_counter()
        for batch in batches:
            decode(batch)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[1:]) / len(rows)


def _open_torch(model: Path, options: Mapping[str, Any]) -> tuple[Runtime, Decode]:
    runtime = open_runtime(model, device="cpu")
    return runtime, lambda rows: runtime.generate(rows, **options)


def _open_int8(model: Path, options: Mapping[str, Any], scratch: Path) -> tuple[Runtime, Decode]:
    from dims_hf.models.capabilities import is_non_autoregressive
    from dims_hf.translation.loading import load_model

    loaded, tokenizer = load_model(model, "cpu")
    if not is_non_autoregressive(loaded.config):
        return _open_ctranslate2(model, options)
    from dims_hf.export import export_onnx

    # An export decodes as its generation config says; not every rule is an option of its own.
    for name, value in options.items():
        setattr(loaded.generation_config, name, value)
    export_onnx(loaded, tokenizer, scratch / "onnx", int8=True)
    runtime = open_runtime(scratch / "onnx", threads=1)
    return runtime, runtime.generate


def _open_ctranslate2(model: Path, options: Mapping[str, Any]) -> tuple[Runtime, Decode]:
    from dims_hf.data.beam_search_ctranslate2 import CTranslate2BeamSearch
    from dims_hf.translation.torch_runtime import AutoregressiveRuntime

    runtime = open_runtime(model, device="cpu", threads=1)
    assert isinstance(runtime, AutoregressiveRuntime)
    config = runtime.model.generation_config
    config.update(num_beams=options.get("num_beams", runtime.NUM_BEAMS), num_return_sequences=1, length_penalty=1.0)
    search = CTranslate2BeamSearch(runtime.model, runtime.text_tokenizer, config, "int8")

    def decode(rows: list[list[int]]) -> object:
        return list(search([(rows, runtime.max_source_length - 1)]))

    return runtime, decode
