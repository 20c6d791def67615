# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
r"""
Every family against the model tests of transformers itself.

transformers does not install them. They are in its source distribution, of the same version as the installed one:

    pip download --no-deps --no-binary transformers transformers==$VERSION && tar xzf transformers-$VERSION.tar.gz
    DIMS_HF_TRANSFORMERS_TESTS=transformers-$VERSION/tests pytest -o addopts=--import-mode=importlib \
        tests/integration/test_transformers_suite.py

(without `--strict-markers`: they have marks of their own). They need `parameterized` besides what other tests need.
Without the folder the module is skipped.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import unittest
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from dims_hf import MODELS


_FOLDER = os.environ.get("DIMS_HF_TRANSFORMERS_TESTS")
if not _FOLDER:
    pytest.skip("DIMS_HF_TRANSFORMERS_TESTS names no folder", allow_module_level=True)

_PACKAGE = "transformers_model_tests"
SIZES = {
    "vocab_size": 99, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 4, "decoder_ffn_dim": 4, "dropout": 0.1,
    "max_position_embeddings": 60, "max_target_length": 20, "upsample_ratio": 2,
}  # fmt: skip
BATCH, LENGTH = 13, 7

# Why tests are left out, of any family: it has nothing of the kind, or the suite itself does not look for it there.
# A test that is left out for another reason has failed.
LEFT_OUT = (
    "composite", "No subconfigs", "output_attentions", "does not support SDPA",  # one configuration for all
    "does not propagate hidden states", "language modeling head to check",  # an encoder-decoder has other names
    "No conversion found", "_keep_in_fp32_modules", "test_missing_keys",  # neither old names nor such modules
    "grouped_mm", "sparse experts", "output_router_logits", "RoPE", "sliding window", "position embeddings", "TP plan",
)  # fmt: skip


def import_suite(folder: Path) -> ModuleType:
    """`test_modeling_common` of a `tests` folder; of its parents, those that the source distribution leaves out are
    empty: they export models and run transformers' own `generate`, which these models replace."""
    spec = importlib.util.spec_from_file_location(
        _PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    for name in (_PACKAGE, f"{_PACKAGE}.exporters", f"{_PACKAGE}.generation"):
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = [str(folder / name.removeprefix(_PACKAGE).strip("."))]
    absent = {"exporters.test_export": "ExportTesterMixin", "generation.test_utils": "GenerationTesterMixin"}
    for name, mixin in absent.items():
        if not (folder / f"{name.replace('.', '/')}.py").is_file():
            module = sys.modules[f"{_PACKAGE}.{name}"] = ModuleType(name)
            setattr(module, mixin, type(mixin, (), {}))
    return importlib.import_module(f"{_PACKAGE}.test_modeling_common")


suite = import_suite(Path(_FOLDER))


def count_up(rows: int, columns: int, num_values: int, first: int = 0) -> torch.LongTensor:
    return torch.arange(rows * columns).view(rows, columns) * 7 % num_values + first


class ModelTester:
    """Configuration and inputs of one family, as the suite asks for them."""

    batch_size, seq_length, is_training = BATCH, LENGTH, True
    hidden_size, num_hidden_layers, num_attention_heads = 16, 2, 4

    def __init__(self, family: str):
        self.config_class = MODELS[family][0]

    def get_config(self) -> Any:
        known = self.config_class.__dataclass_fields__
        return self.config_class(**{name: value for name, value in SIZES.items() if name in known})

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, torch.Tensor]]:
        source, target = (torch.randint(5, SIZES["vocab_size"], (BATCH, LENGTH)) for _ in range(2))
        for ids in (source, target):
            ids[:, 0], ids[:, -1] = 0, 2
        target[:, 2] = 4
        inputs = {"input_ids": source, "attention_mask": source.ne(1)}
        return self.get_config(), {**inputs, "decoder_input_ids": target, "decoder_attention_mask": target.ne(1)}


class FamilyTests(suite.ModelTesterMixin):
    """What all families have in common."""

    family: str
    is_encoder_decoder = True
    test_missing_keys = False
    all_generative_model_classes = ()  # `generate` is not that of transformers

    def setUp(self) -> None:
        self.model_tester = ModelTester(self.family)

    def skipTest(self, reason: str) -> None:
        if not any(each in reason for each in LEFT_OUT):
            self.fail(f"Left out: {reason}")
        super().skipTest(reason)

    def _prepare_for_class(self, inputs: dict, model_class: type, return_labels: bool = False) -> dict:
        inputs = super()._prepare_for_class(inputs, model_class, return_labels)
        if return_labels and model_class is MODELS[self.family][2]:
            num_tokens = 4 if self.family in ("imputer", "dat") else LENGTH
            # words: neither special tokens nor the blank of alignments, which is id 5
            inputs["labels"] = count_up(BATCH, num_tokens, 90, first=6)
            if self.family == "levenshtein":
                inputs["deletion_labels"] = count_up(BATCH, LENGTH, 2)
                inputs["insertion_labels"] = count_up(BATCH, LENGTH - 1, 3)
            if self.family == "alignart":  # links make the decoder's input
                inputs = {name: value for name, value in inputs.items() if not name.startswith("decoder_")}
                inputs["links"] = torch.eye(LENGTH, dtype=torch.bool)[1:-1].expand(BATCH, -1, -1)
        return inputs

    def test_attention_outputs(self) -> None:
        # The translation model returns its last decoder states with the others.
        for model_class, num_kinds in zip(MODELS[self.family][1:3], (2, 3)):
            self.all_model_classes = (model_class,)
            self.model_tester.num_hidden_states_types = num_kinds
            super().test_attention_outputs()


for _family, (_, _base, _model) in MODELS.items():
    suite.MODEL_MAPPING_NAMES[_family] = _base.__name__  # which have no loss
    _name = f"Test{_model.__name__}"
    _fields = {"family": _family, "all_model_classes": (_base, _model), "__module__": __name__}
    # A closure of its own class: `super()` in `FamilyTests` goes on with the suite.
    globals()[_name] = pytest.mark.slow(type(_name, (FamilyTests, unittest.TestCase), _fields))
