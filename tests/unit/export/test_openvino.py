# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""ONNX exports run by OpenVINO: the tokens of ONNX Runtime, and what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from dims_hf import MODELS
from dims_hf.export import OnnxTranslator, export_onnx
from dims_hf.export.onnx_export import write_graphs, write_traced
from dims_hf.translation import open_runtime, translate_texts


SENTENCES = ["the small dog sees the old cat .", "a cat sleeps in the house today .", "a dog .", "der Hund"]


@pytest.fixture
def make_model(tiny_tokenizer):
    """A small model of a family with large random weights."""

    def make(family: str):
        sizes = {f"{side}_{size}": 2 for side in ("encoder", "decoder") for size in ("layers", "attention_heads")}
        sizes |= {"d_model": 32, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64}
        own = {"cmlm": {"max_target_length": 24}, "imputer": {"blank_token_id": 5}}
        config = MODELS[family][0](vocab_size=len(tiny_tokenizer), initializer_range=0.3, **sizes, **own[family])
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return MODELS[family][2](config).eval()

    return make


@pytest.fixture
def openvino_translator():
    pytest.importorskip("openvino", reason='needs OpenVINO: pip install "dims-hf[openvino]"')
    from dims_hf.export.openvino_runtime import OpenVinoTranslator

    return OpenVinoTranslator


def _batch(vocab_size):
    generator = np.random.default_rng(1)
    lengths = np.array([1, 2, 5, 9, 14]) + 2
    ids = np.ones((5, 16), np.int64)
    for row, length in zip(ids, lengths):
        row[:length] = [0, *generator.integers(6, vocab_size, length - 2), 2]
    return ids, (ids != 1).astype(np.int64)


@pytest.mark.parametrize(
    ("family", "passes", "options"),
    [
        ("cmlm", 1, [{}, {"length_beam_size": 3}, {"repeat_penalty": 1}]),
        ("cmlm", 1, [{"target_lengths": np.array([1, 2, 9, 4, 7])}]),
        ("cmlm", 4, [{}, {"length_beam_size": 3, "num_return_sequences": 2}]),
        ("imputer", 1, [{}, {"prefix_beam_size": 4}]),
    ],
)  # fmt: skip
def test_hand_built_graphs_say_what_they_say_to_onnx_runtime(
    openvino_translator, make_model, tiny_tokenizer, tmp_path: Path, family: str, passes: int, options: list
):
    write_graphs(make_model(family), tmp_path, num_iterations=passes)
    expected, found = OnnxTranslator(tmp_path, threads=1), openvino_translator(tmp_path, threads=1)
    batch = _batch(len(tiny_tokenizer))
    for settings in options:
        for one, other in zip(expected.generate(*batch, **settings), found.generate(*batch, **settings), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)


def test_runtime_translates_in_several_threads_and_in_bfloat16(
    openvino_translator, make_model, tiny_tokenizer, tmp_path: Path
):
    export_onnx(make_model("cmlm"), tiny_tokenizer, tmp_path / "onnx", num_iterations=1)
    texts = [result.text for result in translate_texts(open_runtime(tmp_path / "onnx"), SENTENCES)]
    runtime = open_runtime(tmp_path / "onnx", runtime="openvino", threads=1)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: translate_texts(runtime, SENTENCES), range(8)):
            assert [each.text for each in result] == texts
    rounded = open_runtime(tmp_path / "onnx", runtime="openvino", dtype="bfloat16")
    assert rounded.translator.dtype == "bfloat16"
    assert len(translate_texts(rounded, SENTENCES)) == len(SENTENCES)
    with pytest.raises(ValueError, match="OpenVINO computes in float32 or bfloat16 here, got dtype='float16'"):
        open_runtime(tmp_path / "onnx", runtime="openvino", dtype="float16")


def test_graphs_that_it_computes_wrongly_are_refused(openvino_translator, make_model, tmp_path: Path):
    model = make_model("cmlm")
    write_graphs(model, tmp_path / "int8", num_iterations=1, int8=True)
    write_traced(model, tmp_path / "traced", num_iterations=1)
    for kind in ("int8", "traced"):
        with pytest.raises(ValueError, match=f"an export in {kind} form, which OpenVINO computes wrongly. Give a"):
            openvino_translator(tmp_path / kind)


def test_runtime_that_does_not_fit_is_refused(make_model, tmp_path: Path):
    model = make_model("cmlm")
    model.save_pretrained(tmp_path / "checkpoint")
    write_graphs(model, tmp_path / "onnx", num_iterations=1)
    for place, name, message in (
        ("onnx", "tensorrt", "There is no runtime 'tensorrt', only torch, onnx, native, openvino"),
        ("onnx", "native", "is an export for the onnx runtime, which native does not read"),
        ("checkpoint", "openvino", "is no export, so torch runs it. Leave runtime=openvino out, or export it"),
    ):
        with pytest.raises(ValueError, match=message):
            open_runtime(tmp_path / place, runtime=name)
