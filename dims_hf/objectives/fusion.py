# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""
Row functions as one loop each: what losses do with logits (C, V), compiled where a training asks for it.

Run one operation after the other, they read and write megabytes of logits a dozen times; `torch.compile` makes a loop
or two of them. That takes a compiler, and some seconds at the first update.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch


P = ParamSpec("P")
R = TypeVar("R")

_is_fusing: ContextVar[bool] = ContextVar("is_fusing", default=False)

# function -> the same compiled, from its first call on
_compiled: dict[Callable[..., Any], Callable[..., Any]] = {}


@contextmanager
def fusing(is_on: bool = True) -> Iterator[None]:
    """While the block runs, row functions are compiled ones, or not; for this thread."""
    token = _is_fusing.set(is_on)
    if is_on:
        # the probabilities of sharp distributions are full of denormal numbers, which take a CPU ten times as long
        torch.set_flush_denormal(True)
    try:
        yield
    finally:
        _is_fusing.reset(token)
        if is_on:
            torch.set_flush_denormal(is_fusing())  # a block within another leaves it as that wants it


def is_fusing() -> bool:
    """Whether row functions are compiled ones now."""
    return _is_fusing.get()


def fusible(function: Callable[P, R]) -> Callable[P, R]:
    """A function of tensors, without a gradient, which runs compiled within [`fusing`] and as it is elsewhere."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if not is_fusing():
            return function(*args, **kwargs)
        if function not in _compiled:
            # the last chunk has fewer rows, and vocabularies differ: one compilation for all sizes
            _compiled[function] = torch.compile(function, dynamic=True)
        return _compiled[function](*args, **kwargs)

    return run


def check_compiler(device_type: str) -> None:
    """
    Asks for what compiling needs, before hours are spent.

    Raises:
        ValueError: there is none.
    """
    if device_type == "cpu":
        name = os.environ.get("CXX", "g++")
        if shutil.which(name) is None:
            raise ValueError(
                f"compile_losses needs a C++ compiler, and there is no {name} on the PATH. Install one, name it by "
                "the environment variable CXX, or leave out compile_losses."
            )
        return
    try:
        import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "compile_losses needs triton on a GPU: pip install triton, or leave out compile_losses."
        ) from error
