# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What `dims_hf` re-exports: the rooms' public names, the same for the interpreter, editors and type checkers."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

import dims_hf


def _typed_imports() -> dict[str, set[str]]:
    """room -> names imported for type checkers."""
    tree = ast.parse(Path(dims_hf.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    return {
        node.module.removeprefix("dims_hf."): {alias.name for alias in node.names}
        for node in block.body
        if isinstance(node, ast.ImportFrom)
    }


def test_type_checkers_see_the_names_of_the_interpreter():
    assert _typed_imports() == {room: set(names) for room, names in dims_hf._ROOMS.items()}


@pytest.mark.parametrize("room", sorted(dims_hf._ROOMS))
def test_every_public_name_of_a_room_is_exported(room: str):
    module = import_module(f"dims_hf.{room}")
    elsewhere = {name for other, names in dims_hf._ROOMS.items() if other != room for name in names}
    assert set(module.__all__) - elsewhere == set(dims_hf._ROOMS[room])
    assert set(module.__all__) <= set(dir(module)), "what an editor offers"
    for name in dims_hf._ROOMS[room]:
        assert getattr(dims_hf, name) is getattr(module, name)


def test_editors_are_offered_every_public_name():
    assert set(dims_hf.__all__) <= set(dir(dims_hf))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'CMLMConfg'"):
        _ = dims_hf.CMLMConfg
