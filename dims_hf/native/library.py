# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Finds and opens the native library, and calls it by ctypes."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from .build import LIBRARY_NAME


# A library elsewhere, and the kernels to run instead of the fastest.
LIBRARY_VARIABLE, KERNELS_VARIABLE = "DIMS_NATIVE_LIBRARY", "DIMS_NATIVE_KERNELS"

_ERROR_SIZE = 1024


class NativeUnavailableError(ValueError):
    """The native library is not there, or does not run here; the message says how to get it."""


class _Request(ctypes.Structure):
    """As `DimsRequest` in api.cpp."""

    _fields_ = [
        ("ids", ctypes.c_void_p),
        ("offsets", ctypes.c_void_p),
        ("target_lengths", ctypes.c_void_p),
        ("num_sentences", ctypes.c_int64),
        ("threads", ctypes.c_int32),
        ("batch_tokens", ctypes.c_int32),
        ("num_iterations", ctypes.c_int32),
        ("length_beam_size", ctypes.c_int32),
        ("use_shortlist", ctypes.c_int32),
        ("with_scores", ctypes.c_int32),
        ("collapse_repeats", ctypes.c_int32),
        ("keeps_alignments", ctypes.c_int32),
        ("repeat_penalty", ctypes.c_float),
        ("length_score_weight", ctypes.c_float),
    ]


# name -> result and arguments
_FUNCTIONS = {
    "dims_kernels": (ctypes.c_char_p, [ctypes.c_int32]),
    "dims_open": (ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]),
    "dims_close": (None, [ctypes.c_void_p]),
    "dims_model_kernels": (ctypes.c_char_p, [ctypes.c_void_p]),
    "dims_translate": (
        ctypes.c_void_p,
        [ctypes.c_void_p, ctypes.POINTER(_Request), ctypes.c_char_p, ctypes.c_size_t],
    ),
    "dims_ids": (ctypes.c_void_p, [ctypes.c_void_p]),
    "dims_offsets": (ctypes.c_void_p, [ctypes.c_void_p]),
    "dims_scores": (ctypes.c_void_p, [ctypes.c_void_p]),
    "dims_free": (None, [ctypes.c_void_p]),
    "dims_accumulate": (
        ctypes.c_int32,
        [ctypes.c_char_p, ctypes.c_void_p, *[ctypes.c_int64] * 2, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p],
    ),
    "dims_best_path": (
        None,
        [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_void_p],
    ),
}


def library_path() -> Path:
    """Where the library is, or would be: `$DIMS_NATIVE_LIBRARY`, else in this package."""
    return Path(os.environ.get(LIBRARY_VARIABLE) or Path(__file__).with_name(LIBRARY_NAME))


def load_library() -> ctypes.CDLL:
    """
    The native library.

    Raises:
        NativeUnavailableError: it was not built, or cannot be loaded.
    """
    return _load(str(library_path()))


@lru_cache
def _load(path: str) -> ctypes.CDLL:
    if not Path(path).is_file():
        raise NativeUnavailableError(
            f"The native runtime is not built ({path} is missing). Build it with a C++17 compiler: "
            "python -m dims_hf.native.build. Without one, export the model with --to onnx --int8."
        )
    try:
        library = ctypes.CDLL(path)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise NativeUnavailableError(
            f"The native runtime cannot be loaded: {error}. Build it again: python -m dims_hf.native.build"
        ) from None
    return library


def is_available() -> bool:
    """Whether the native library is there and runs here."""
    try:
        load_library()
    except NativeUnavailableError:
        return False
    return True


def available_kernels() -> list[str]:
    """Names of the kernels that run on this machine, the fastest first."""
    library, names = load_library(), []
    while (name := library.dims_kernels(len(names))) is not None:
        names.append(name.decode("ascii"))
    return names


@dataclass(frozen=True)
class Decoding:
    """How sentences are decoded; see [`NativeTranslator.generate`]."""

    num_iterations: int = 1
    length_beam_size: int = 1
    threads: int = 1
    batch_tokens: int = 128
    use_shortlist: bool = True
    with_scores: bool = True
    collapse_repeats: bool = False
    keeps_alignments: bool = False
    repeat_penalty: float = 0.0
    length_score_weight: float = 0.0


class NativeModel:
    """
    An open model file. Its methods may be called by several threads at once.

    Args:
        path (`str` or `os.PathLike`): the model file.
        kernels (`str`, *optional*): a name of [`available_kernels`]; default `$DIMS_NATIVE_KERNELS`, or the fastest.

    Raises:
        NativeUnavailableError: there is no library.
        ValueError: the file is damaged, or the machine has no such kernels.
    """

    def __init__(self, path: str | os.PathLike[str], kernels: str | None = None) -> None:
        self._library = load_library()
        # before anything can fail, since `__del__` runs then too
        self._handle = None
        name = os.environ.get(KERNELS_VARIABLE, "") if kernels is None else kernels
        error = ctypes.create_string_buffer(_ERROR_SIZE)
        self._handle = self._library.dims_open(os.fsencode(path), name.encode(), error, _ERROR_SIZE)
        if not self._handle:
            raise ValueError(error.value.decode("utf-8", "replace"))

    def __del__(self) -> None:
        # not even set where the library is missing
        if getattr(self, "_handle", None):
            self._library.dims_close(self._handle)

    @property
    def kernels(self) -> str:
        """Name of the kernels that run."""
        return self._library.dims_model_kernels(self._handle).decode("ascii")

    def translate(
        self, rows: Sequence[Sequence[int]], decoding: Decoding, target_lengths: Sequence[int] | None = None
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """
        Translates token ids.

        Args:
            rows (`Sequence[Sequence[int]]`): token ids `<s> … </s>` of each source.
            decoding ([`Decoding`]): how.
            target_lengths (`Sequence[int]`, *optional*): lengths of the targets, `<s>` and `</s>` counted.

        Returns:
            Token ids of each translation, int32, and scores (B,), float32.

        Raises:
            ValueError: for what the model cannot do.
        """
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, rows), np.int64, len(rows)), out=offsets[1:])
        # kept in a name until the call is over: the library holds its address alone
        ids = np.fromiter((token for row in rows for token in row), np.int32, int(offsets[-1]))
        lengths = None if target_lengths is None else np.ascontiguousarray(target_lengths, np.int32)
        request = _Request(
            ids=ids.ctypes.data,
            offsets=offsets.ctypes.data,
            target_lengths=None if lengths is None else lengths.ctypes.data,
            num_sentences=len(rows),
            **vars(decoding),
        )
        error = ctypes.create_string_buffer(_ERROR_SIZE)
        result = self._library.dims_translate(self._handle, ctypes.byref(request), error, _ERROR_SIZE)
        if not result:
            raise ValueError(error.value.decode("utf-8", "replace"))
        try:
            return self._read(result, len(rows))
        finally:
            self._library.dims_free(result)

    def _read(self, result: int, count: int) -> tuple[list[np.ndarray], np.ndarray]:
        """Copies of what the library holds."""
        ends = _copy(self._library.dims_offsets(result), count + 1, np.int64).tolist()
        ids = _copy(self._library.dims_ids(result), ends[-1], np.int32)
        scores = _copy(self._library.dims_scores(result), count, np.float32)
        return [ids[start:end] for start, end in zip(ends, ends[1:])], scores


def _copy(address: int | None, count: int, kind: type[np.generic]) -> np.ndarray:
    if count == 0:
        return np.zeros(0, kind)
    # a copy: the memory is the library's, and goes with the result
    return np.frombuffer(bytearray(ctypes.string_at(address, count * np.dtype(kind).itemsize)), kind)
