# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The translator as one file that needs nothing of this package: its modules, one after the other."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path


_PACKAGE = __name__.partition(".")[0]

# Each after those that it imports; the last one is the program.
_MODULES = (
    "_exports",
    "_files",
    "models.copied_text",
    "models.limits",
    "models.phrase_places",
    "models.prefix_search",
    "models.graph_search",
    "models.source_text",
    "export.onnx_rules",
    "export.onnx_decoding",
    "export.onnx_traced",
    "export.onnx_translator",
)


@cache
def standalone_source() -> str:
    """
    Source of `onnx_translator.py` as it is put beside exported graphs.

    Raises:
        ValueError: two modules define the same name, so that they cannot be one.
    """
    sources = [_read(f"{_PACKAGE}.{module}") for module in _MODULES]
    trees = [ast.parse(source) for source in sources]
    _check_names(trees)
    head = [source for source in sources[-1].splitlines() if source.startswith("# ")][:2]
    bodies = [_body(source, tree) for source, tree in zip(sources, trees)]
    docstring = f'"""{ast.get_docstring(trees[-1], clean=False)}"""'
    parts = ["\n".join([*head, docstring]), *_imports(trees), *bodies]
    return "\n\n".join(parts) + "\n"


def _read(module: str) -> str:
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")


def _imports(trees: list[ast.Module]) -> list[str]:
    """Two paragraphs: what is imported from the future, and all else that is not ours."""
    nodes = [node for tree in trees for node in tree.body]
    plain = {ast.unparse(node) for node in nodes if isinstance(node, ast.Import)}
    taken: dict[str, set[str]] = {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            taken.setdefault(node.module, set()).update(ast.unparse(alias) for alias in node.names)
    lines = {module: f"from {module} import {', '.join(sorted(names))}" for module, names in taken.items()}
    future = lines.pop("__future__")
    foreign = sorted(line for module, line in lines.items() if module.partition(".")[0] != _PACKAGE)
    return [future, "\n".join([*sorted(plain), *foreign])]


def _body(source: str, tree: ast.Module) -> str:
    """All of a module but its docstring, its imports and its `__all__`."""
    lines = source.splitlines()
    left_out: set[int] = set()
    for index, node in enumerate(tree.body):
        is_docstring = index == 0 and isinstance(node, ast.Expr)
        if is_docstring or isinstance(node, (ast.Import, ast.ImportFrom)) or _names(node) == ["__all__"]:
            left_out.update(range(node.lineno - 1, node.end_lineno or node.lineno))
    kept = [line for index, line in enumerate(lines) if index not in left_out]
    return "\n".join(kept[2:]).strip("\n")  # without the licence


def _names(node: ast.stmt) -> list[str]:
    """Names that a statement of a module defines."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.AnnAssign):
        return [ast.unparse(node.target)]
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _check_names(trees: list[ast.Module]) -> None:
    seen: set[str] = set()
    for tree in trees:
        names = {name for node in tree.body for name in _names(node)} - {"__all__"}
        if names & seen:
            raise ValueError(f"{', '.join(sorted(names & seen))} is defined by two modules of the translator.")
        seen |= names
