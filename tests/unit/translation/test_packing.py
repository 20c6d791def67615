# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Packed weights: the numbers of ordinary layers, the same tokens, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from dims_hf.cli.main import main
from dims_hf.data import save_tokenizer
from dims_hf.translation import open_runtime, pack_weights, translate_texts
from dims_hf.translation.packing import PackedLinear


pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs a torch with oneDNN")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("bias", [True, False])
def test_layer_gives_the_numbers_of_the_ordinary_one(dtype: torch.dtype, tolerance: float, bias: bool):
    torch.manual_seed(0)
    linear = nn.Linear(48, 80, bias=bias).to(dtype)
    packed = PackedLinear(linear)
    with torch.inference_mode():
        for shape in ((0, 48), (1, 48), (7, 48), (130, 48), (3, 5, 48), (2, 0, 48)):
            rows = torch.randn(shape).to(dtype)
            torch.testing.assert_close(packed(rows), linear(rows), atol=tolerance, rtol=tolerance)
        columns = torch.randn(48, 9).to(dtype).T
        torch.testing.assert_close(packed(columns), linear(columns), atol=tolerance, rtol=tolerance)


def test_layer_is_the_ordinary_one_where_gradients_are_on():
    linear = nn.Linear(16, 16)
    packed, rows = PackedLinear(linear), torch.randn(4, 16, requires_grad=True)
    assert torch.equal(packed(rows), linear(rows))
    packed(rows).sum().backward()
    assert rows.grad is not None and linear.weight.grad is not None
    with torch.no_grad():
        linear.weight.zero_()
        # the reordered copy is read, not the weights themselves
        assert packed(rows.detach()).abs().sum() > 0


@pytest.fixture
def folder(tiny_model, tiny_tokenizer, tmp_path: Path) -> Path:
    tiny_model.save_pretrained(tmp_path / "model")
    save_tokenizer(tiny_tokenizer, tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_translations_and_checkpoints_are_the_same(folder: Path, sources, dtype: str, tmp_path: Path):
    plain, packed = (open_runtime(folder, dtype=dtype, pack_weights=each) for each in (False, True))
    layers = [module for module in packed.model.modules() if isinstance(module, nn.Linear)]
    assert len(layers) > 20 and all(type(module) is PackedLinear for module in layers)
    for options in ({"num_iterations": 1}, {"num_iterations": 4, "length_beam_size": 3}):
        expected = [each.text for each in translate_texts(plain, sources, **options)]
        assert [each.text for each in translate_texts(packed, sources, **options)] == expected
    before, after = plain.model.state_dict(), packed.model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    packed.model.save_pretrained(tmp_path / "again")
    assert open_runtime(folder).model.num_parameters() == packed.model.num_parameters()


def test_command_line_packs_and_exports_refuse(folder: Path, sources, capsys, tmp_path: Path):
    assert main(["translate", "--model", str(folder), *sources]) == 0
    expected = capsys.readouterr().out
    assert main(["translate", "--model", str(folder), "--pack-weights", *sources]) == 0
    assert capsys.readouterr().out == expected
    (tmp_path / "export.json").write_text(json.dumps({"runtime": "onnx"}))
    assert main(["translate", "--model", str(tmp_path), "--pack-weights", "a cat"]) == 2
    assert "is an export, whose weights are in order. Leave pack_weights" in capsys.readouterr().err


def test_what_cannot_be_packed_is_refused(tiny_model, monkeypatch):
    with pytest.raises(ValueError, match="on CPUs, in float32 or bfloat16; the model is torch.float16 on cpu"):
        pack_weights(tiny_model.half())

    def refuse(*_: object) -> None:
        raise RuntimeError("this processor\nhas no such units")

    monkeypatch.setattr(PackedLinear, "__init__", refuse)
    with pytest.raises(ValueError, match=r"cannot be packed here: this processor has no such units\. Leave"):
        pack_weights(tiny_model.float())
