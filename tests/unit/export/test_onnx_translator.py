# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The standalone translator: its rules against those of PyTorch, what it imports, and what it refuses."""

from __future__ import annotations

import ast
import inspect
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dims_hf.evaluation.translation import batches_by_budget, collapse
from dims_hf.export import OnnxTranslator, onnx_translator
from dims_hf.models.masking import select_lowest


def test_translator_file_imports_nothing_but_numpy_and_the_runtime():
    tree = ast.parse(Path(onnx_translator.__file__).read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    foreign = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert foreign == {"numpy", "onnxruntime", "tokenizers"}


def test_lowest_positions_with_ties_are_those_of_pytorch():
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 3, (40, 9)).astype(np.float32)
    is_eligible = generator.random((40, 9)) < 0.7
    num_selected = generator.integers(0, 10, 40)
    expected = select_lowest(*map(torch.from_numpy, (scores, is_eligible, num_selected))).numpy()
    assert (onnx_translator._lowest(scores, is_eligible, num_selected) == expected).all()
    assert expected.any() and not expected.all()


@pytest.mark.parametrize("row", [[0], [0, 2], [0, 7, 7, 7, 8, 7, 2, 1, 1], [5, 5]])
def test_collapse_keeps_one_token_of_each_run(row):
    assert onnx_translator._collapse(np.array(row)).tolist() == list(collapse(row))


@pytest.mark.parametrize("budget", [1, 7, 30, 1000])
def test_batches_are_those_of_translate(budget):
    sizes = [3, 9, 4, 4, 12, 1, 9]
    assert list(onnx_translator._batches(sizes, budget)) == list(batches_by_budget(sizes, budget))


def test_folder_without_an_export_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no export\.json"):
        OnnxTranslator(tmp_path)


def test_translator_of_the_package_is_the_class_of_the_shipped_file():
    assert inspect.getsourcefile(OnnxTranslator) == onnx_translator.__file__


def test_runtime_that_computes_batches_wrongly_is_refused(tmp_path, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the onnx extra")
    (tmp_path / "export.json").write_text('{"settings": {}, "graphs": {"model": "model.onnx"}}')
    monkeypatch.setattr(onnxruntime, "__version__", "1.20.1")
    with pytest.raises(ValueError, match=r"onnxruntime 1\.20\.1 gives wrong translations.*Install 1\.21 or newer"):
        OnnxTranslator(tmp_path)
