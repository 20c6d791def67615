# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Functions stay small enough to read and to call: neither long, nor with many parameters."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest


MOST_PARAMETERS, MOST_LINES = 12, 100


def functions_of(folder: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function of a package, with where it is."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f"{path.relative_to(folder.parent)}:{node.lineno} {node.name}", node


@pytest.fixture(scope="module")
def functions(repository):
    return list(functions_of(repository / "dims_hf"))


def test_functions_have_few_parameters(functions):
    many = {}
    for place, node in functions:
        count = len(node.args.posonlyargs) + len(node.args.args) + len(node.args.kwonlyargs)
        if count > MOST_PARAMETERS:
            many[place] = count
    assert not many


def test_functions_are_short(functions):
    lines = {place: (node.end_lineno or node.lineno) - node.lineno + 1 for place, node in functions}
    assert {place: count for place, count in lines.items() if count > MOST_LINES} == {}
    assert sorted(lines.values())[len(lines) // 2] <= 15
