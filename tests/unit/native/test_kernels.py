# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Kernels: integer sums of every instruction set against numpy, bit for bit, and the same translations on all."""

from __future__ import annotations

import ctypes
import shutil

import numpy as np
import pytest

from dims_hf.export.native_export import write_native_folder
from dims_hf.native import available_kernels, build as building
from dims_hf.native.library import Decoding, NativeModel, load_library
from dims_hf.native.model_file import pack_codes, quantize_rows


pytestmark = pytest.mark.usefixtures("native_library")


def _accumulate(name, x, codes):
    packed = pack_codes(codes)
    sums = np.full((len(x), len(packed) * 16), -1, np.int32)
    found = load_library().dims_accumulate(
        name.encode(), x.ctypes.data, *x.shape, packed.ctypes.data, len(packed), sums.ctypes.data
    )
    assert found == 1
    return sums


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 9, 16, 17, 23, 32, 33, 70])
@pytest.mark.parametrize(("outputs", "inputs"), [(16, 16), (32, 64), (50, 48), (80, 192), (112, 256), (48, 528)])
def test_all_kernels_give_the_integer_sums_of_numpy(rows, outputs, inputs):
    generator = np.random.default_rng(rows * outputs)
    x = generator.integers(-127, 128, (rows, inputs)).astype(np.int8)
    codes = generator.integers(-127, 128, (outputs, inputs)).astype(np.int8)
    # The largest products that there are, where 16-bit sums would overflow.
    x[0], codes[0], codes[-1] = 127, 127, -127
    expected = x.astype(np.int32) @ codes.astype(np.int32).T
    for name in available_kernels():
        sums = _accumulate(name, x, codes)
        np.testing.assert_array_equal(sums[:, :outputs], expected, err_msg=name)
        assert not sums[:, outputs:].any(), name


def test_the_portable_kernels_are_everywhere_and_last():
    assert available_kernels()[-1] == "portable"
    assert load_library().dims_accumulate(b"unheard-of", None, 0, 0, None, 0, None) == 0


# 64 inputs are what the tiles of AMX take at once
@pytest.mark.parametrize("d_model", [32, 64])
def test_all_kernels_translate_alike_bit_for_bit(d_model, make_model, tiny_tokenizer, tmp_path):
    model = make_model("cmlm", d_model=d_model, encoder_ffn_dim=128, decoder_ffn_dim=128)
    write_native_folder(model, tiny_tokenizer, tmp_path, num_iterations=1)
    generator = np.random.default_rng(0)
    rows = [[0, *generator.integers(6, len(tiny_tokenizer), n).tolist(), 2] for n in (1, 4, 9, 30)]
    decoding = Decoding(length_beam_size=3, repeat_penalty=0.5)
    results = [NativeModel(tmp_path / "model.bin", name).translate(rows, decoding) for name in available_kernels()]
    for sequences, scores in results[1:]:
        assert [row.tolist() for row in sequences] == [row.tolist() for row in results[0][0]]
        np.testing.assert_array_equal(scores, results[0][1])


def test_the_variable_chooses_the_kernels(make_model, tiny_tokenizer, tmp_path, monkeypatch):
    write_native_folder(make_model("cmlm"), tiny_tokenizer, tmp_path, num_iterations=1)
    monkeypatch.setenv("DIMS_NATIVE_KERNELS", "portable")
    assert NativeModel(tmp_path / "model.bin").kernels == "portable"
    monkeypatch.setenv("DIMS_NATIVE_KERNELS", "sse9")
    with pytest.raises(ValueError, match="no kernels called 'sse9'"):
        NativeModel(tmp_path / "model.bin")


def test_codes_have_127_steps_to_both_sides_and_a_scale_for_each_row():
    codes, scales = quantize_rows(np.array([[1.0, -2.0, 0.5], [0, 0, 0], [127, -127, 63.4]], np.float32))
    np.testing.assert_array_equal(codes, [[64, -127, 32], [0, 0, 0], [127, -127, 63]])
    np.testing.assert_allclose(scales, [2 / 127, 0, 1])
    with pytest.raises(ValueError, match="not finite"):
        quantize_rows(np.array([[np.inf]], np.float32))


def _best_path(probabilities, penalty):
    log_probs = np.log(np.asarray(probabilities, np.float32))
    ids = np.argsort(-log_probs, axis=1, kind="stable").astype(np.int32)
    ranked = np.ascontiguousarray(np.take_along_axis(log_probs, ids, axis=1))
    return _search_tokens(ids, ranked, penalty)


def _search_tokens(ids, log_probs, penalty):
    path = np.zeros(len(ids), np.int32)
    load_library().dims_best_path(
        ids.ctypes.data, log_probs.ctypes.data, len(ids), ctypes.c_float(penalty), path.ctypes.data
    )
    return path.tolist()


def test_the_repeat_penalty_is_a_search_over_paths():
    first = [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.5, 0.1, 0.4]]
    assert _best_path(first, float("inf")) == [0, 1, 0]
    assert _best_path(first, 1e-6) == [0, 0, 0]
    assert _best_path([[0.6, 0.3, 0.1], [0.5, 0.45, 0.05], [0.55, 0.4, 0.05]], float("inf")) == [0, 1, 0]


@pytest.mark.parametrize("steps", [(2, 3), (3, 2)])
def test_long_targets_are_told_apart_by_their_last_digits(steps):
    ids = np.arange(180, dtype=np.int32).reshape(60, 3)
    log_probs = np.tile(np.array([-3, -9, -9], np.float32), (60, 1))
    ids[58:] = [[7, 8, 9], [7, 5, 6]]
    log_probs[58:, 1] = [-3 - step * 2.0**-22 for step in steps]
    assert _search_tokens(ids, log_probs, float("inf"))[58:] == ([8, 7] if steps[0] < steps[1] else [7, 5])


@pytest.mark.parametrize("penalty", [0.3, 1.0, 4.0])
def test_the_best_path_is_that_of_all_paths(penalty):
    generator = np.random.default_rng(3)
    for _ in range(20):
        probabilities = generator.dirichlet(np.ones(3), 4)
        paths = np.stack(np.meshgrid(*[range(3)] * 4, indexing="ij"), -1).reshape(-1, 4)
        scores = np.log(probabilities)[np.arange(4), paths].sum(axis=1)
        scores -= penalty * (paths[:, 1:] == paths[:, :-1]).sum(axis=1)
        assert _best_path(probabilities, penalty) == paths[scores.argmax()].tolist()


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_an_instruction_set_that_the_compiler_does_not_know_is_left_out():
    assert building._accepts(["c++"], ["-O1"])
    assert not building._accepts(["c++"], ["-mheard-of-by-nobody"])
    # building says better what is wrong with it
    assert building._accepts(["no-compiler-of-this-name"], ["-O1"])
