# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Public names of a room, imported when they are first used: what needs torch or other libraries waits until then."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module


def lazy_exports(
    package: str, names: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """
    What a package needs so that its public names come from its modules on first use (PEP 562).

    Args:
        package (`str`): `__name__` of the package.
        names (`Mapping[str, Sequence[str]]`): module of the package -> its public names.

    Returns:
        `tuple`: the package's `__getattr__`, `__dir__` and `__all__`.
    """
    module_of = {name: module for module, exported in names.items() for name in exported}

    def get_attribute(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{module_of[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *module_of})

    return get_attribute, list_names, sorted(module_of)
