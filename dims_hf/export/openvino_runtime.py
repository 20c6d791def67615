# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""ONNX exports run by OpenVINO, which has bfloat16 on CPUs: the folder is the one that ONNX Runtime reads."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .onnx_translator import OnnxTranslator
from .runtimes import OnnxRuntime


PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoTranslator(OnnxTranslator):
    """
    [`OnnxTranslator`] whose graphs OpenVINO runs.

    Args:
        folder (`str` or `os.PathLike`): what `dims-hf export --to onnx` wrote: hand-built graphs in fp32.
        threads (`int`, *optional*): threads of OpenVINO; as many as it likes when `None`.
        shortlist (`bool`, *optional*): of an export with a shortlist, use it; `False`: the whole vocabulary, exactly.
        dtype (`str`): "float32", or "bfloat16", which rounds products and needs a processor that has it to be faster.

    Raises:
        FileNotFoundError: `folder` holds no export.
        ValueError: OpenVINO is not installed or cannot run the graphs, an impossible value, or a damaged folder.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        threads: int | None = None,
        *,
        shortlist: bool = True,
        dtype: str = "float32",
    ) -> None:
        if dtype not in PRECISIONS:
            raise ValueError(f"OpenVINO computes in {' or '.join(PRECISIONS)} here, got dtype={dtype!r}.")
        self.dtype = dtype
        super().__init__(folder, threads, shortlist=shortlist)

    def _check_engine(self) -> None:
        _import_openvino()

    def _open(self, file: str, threads: int | None) -> Any:
        # it opens these graphs, and some translations are others
        kind = "traced" if "step" in self.description["graphs"] else self.description["precision"]
        if kind != "fp32":
            raise ValueError(
                f"{self.folder} is an export in {kind} form, which OpenVINO computes wrongly. Give a hand-built fp32 "
                "export of CMLM, CMLMC or Imputer, or leave the runtime to ONNX Runtime."
            )
        settings = {"INFERENCE_PRECISION_HINT": PRECISIONS[self.dtype], "PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = str(threads)
        try:
            return OpenVinoSession(self.folder / file, settings)
        except RuntimeError as error:
            raise ValueError(
                f"OpenVINO cannot run {self.folder / file}: {' '.join(str(error).split())[:200]}. Leave the runtime "
                "to ONNX Runtime."
            ) from None


class _Value(NamedTuple):
    name: str


class OpenVinoSession:
    """
    A graph with those methods of an ONNX Runtime session that translators call; threads may share it.

    Args:
        path (`Path`): an ONNX file.
        settings (`dict[str, str]`): properties of the compiled model.
    """

    def __init__(self, path: Path, settings: Mapping[str, str]) -> None:
        core = _import_openvino().Core()
        graph, self._defaults = _without_defaults(path)
        self._model = core.compile_model(core.read_model(graph), "CPU", dict(settings))
        self._inputs = [_Value(each.get_any_name()) for each in self._model.inputs]
        # one that several names were given has them all
        self._outputs = [_Value(name) for each in self._model.outputs for name in sorted(each.get_names())]
        # a request is of one thread at a time
        self._local = threading.local()

    def get_inputs(self) -> list[_Value]:
        """Inputs, by name."""
        return self._inputs

    def get_outputs(self) -> list[_Value]:
        """Outputs, by name."""
        return self._outputs

    def run(self, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs of these names; an input that has a default may be left out."""
        if not hasattr(self._local, "request"):
            self._local.request = self._model.create_infer_request()
        request, given = self._local.request, {**self._defaults, **feeds}
        request.infer({name: np.asarray(given[name], order="C") for (name,) in self._inputs})
        # the request writes its next results into the same memory
        return [request.get_tensor(name).data.copy() for name in names]


def _without_defaults(path: Path) -> tuple[bytes, dict[str, np.ndarray]]:
    """
    A graph with its weights, whose inputs have no defaults, and the defaults: OpenVINO takes an input with a default
    for a constant.
    """
    import onnx

    model = onnx.load(str(path))
    inputs = {each.name for each in model.graph.input}
    defaults = [each for each in model.graph.initializer if each.name in inputs]
    for each in defaults:
        model.graph.initializer.remove(each)
    return model.SerializeToString(), {each.name: onnx.numpy_helper.to_array(each) for each in defaults}


def _import_openvino() -> Any:
    try:
        import onnx  # noqa: F401
        import openvino
    except ImportError as error:
        raise ValueError(f'{error.name} is not installed: pip install "dims-hf[openvino]"') from None
    return openvino


class OpenVinoRuntime(OnnxRuntime):
    """A folder of `dims-hf export --to onnx`, run by OpenVINO."""

    name = "openvino"

    @classmethod
    def open(
        cls, folder: str | os.PathLike[str], *, threads: int | None = None, dtype: str | None = None
    ) -> OpenVinoRuntime:
        """Opens and verifies the folder."""
        return cls(OpenVinoTranslator(folder, threads, dtype=dtype or "float32"))


__all__ = ["OpenVinoRuntime", "OpenVinoSession", "OpenVinoTranslator"]
