# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Damaged model files and folders, and a missing library: one clear error, never a crash."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from dims_hf.export.native_export import model_tensors, write_native_folder
from dims_hf.native import NativeTranslator, NativeUnavailableError, build as building, is_available
from dims_hf.native.library import Decoding, NativeModel
from dims_hf.native.model_file import write_model_file


@pytest.fixture(scope="module")
def folder(native_library, make_model, tiny_tokenizer, tmp_path_factory):
    place = tmp_path_factory.mktemp("folder")
    write_native_folder(make_model("cmlm"), tiny_tokenizer, place, num_iterations=1)
    return place


def _refused(content: bytes, place: Path) -> str:
    place.write_bytes(content)
    with pytest.raises(ValueError) as error:
        NativeModel(place)
    message = str(error.value)
    assert "is no usable model file" in message and "\n" not in message
    return message


def test_every_kind_of_damage_is_named(folder, tmp_path):
    whole, place = (folder / "model.bin").read_bytes(), tmp_path / "model.bin"
    assert "does not start as one" in _refused(b"PK" + whole[2:], place)
    assert "has only 5 bytes" in _refused(whole[:5], place)
    assert "version 9" in _refused(whole[:8] + b"\x09" + whole[9:], place)
    assert "header is damaged" in _refused(whole[:40] + b"#" + whole[41:], place)
    assert "should have" in _refused(whole[:-64], place)
    assert "should have" in _refused(whole + b"\0" * 64, place)
    assert "weights are damaged" in _refused(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:], place)
    assert "cut off in its header" in _refused(whole[:16] + b"\xff\xff\xff\x7f" + whole[20:], place)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda settings, tensors: settings.update(vocab_size=settings["vocab_size"] + 40), "another size"),
        (lambda settings, tensors: settings.update(d_model=20), "multiple of 16"),
        (lambda settings, tensors: settings.update(d_model=1e300), "out of range"),
        (lambda settings, tensors: settings.update(encoder_attention_heads=5), "does not divide"),
        (lambda settings, tensors: settings.update(encoder_layers=4), "has no 'encoder.3"),
        (lambda settings, tensors: settings.update(mask_token_id=99_999), "out of range"),
        (lambda settings, tensors: settings.update(family="graph"), "unknown"),
        (lambda settings, tensors: settings.pop("eos_token_id"), "has no 'eos_token_id'"),
        (lambda settings, tensors: settings.update(update_all_positions=1), "another type"),
        (lambda settings, tensors: tensors["table.scales"].__setitem__(3, np.nan), "no model has"),
        (lambda settings, tensors: tensors["table.scales"].__setitem__(3, -1), "no model has"),
        (lambda settings, tensors: tensors["length_head"].__setitem__((0, 0), np.inf), "no model has"),
    ],
)
def test_impossible_contents_are_refused_even_with_the_right_checksums(
    native_library, make_model, tmp_path, change, message
):
    settings, tensors = model_tensors(make_model("cmlm"))
    tensors = {name: array.copy() for name, array in tensors.items()}
    change(settings, tensors)
    write_model_file(tmp_path / "written.bin", settings, tensors)
    assert message in _refused((tmp_path / "written.bin").read_bytes(), tmp_path / "model.bin")


def _with_header(whole: bytes, change) -> bytes:
    """The file with a changed header, checksums right."""
    size = int.from_bytes(whole[16:20], "little")
    header, data = json.loads(whole[24 : 24 + size]), whole[-(-(24 + size) // 64) * 64 :]
    change(header)
    text = json.dumps(header).encode()
    start = whole[:12] + zlib.crc32(text).to_bytes(4, "little") + len(text).to_bytes(4, "little") + bytes(4) + text
    return start.ljust(-(-len(start) // 64) * 64, b"\0") + data


@pytest.mark.parametrize(
    ("values", "message"),
    [({"offset": 1 << 39}, "outside of the file"), ({"offset": 32}, "outside of the file"), ({"bytes": 8}, "size")],
)
def test_tensors_lie_inside_the_file(folder, tmp_path, values, message):
    whole = (folder / "model.bin").read_bytes()
    changed = _with_header(whole, lambda header: header["tensors"]["decoder.positions"].update(values))
    assert message in _refused(changed, tmp_path / "model.bin")


def test_random_damage_is_refused_or_harmless(folder, tmp_path):
    whole, generator, place = (folder / "model.bin").read_bytes(), np.random.default_rng(0), tmp_path / "model.bin"
    size = int.from_bytes(whole[16:20], "little")
    for _ in range(150):
        text = bytearray(whole[24 : 24 + size])
        for position in generator.integers(0, size, generator.integers(1, 4)):
            text[position] = generator.integers(32, 127)
        crc = zlib.crc32(bytes(text)).to_bytes(4, "little")
        place.write_bytes(whole[:12] + crc + whole[16:24] + bytes(text) + whole[24 + size :])
        try:
            NativeModel(place).translate([[0, 7, 8, 2]], Decoding(length_beam_size=2))
        except ValueError as error:
            assert "\n" not in str(error)


def test_folders_are_checked(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    NativeTranslator(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="tokenizer.json is not the file that was exported"):
        NativeTranslator(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="tokenizer.json is missing"):
        NativeTranslator(tmp_path)
    (tmp_path / "export.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(ValueError, match="is damaged"):
        NativeTranslator(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"holds no export\.json"):
        NativeTranslator(tmp_path / "nowhere")


def test_a_missing_library_says_how_to_get_it(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("DIMS_NATIVE_LIBRARY", str(tmp_path / "none.so"))
    assert not is_available()
    with pytest.raises(NativeUnavailableError, match=r"python -m dims_hf\.native\.build"):
        NativeTranslator(folder)
    (tmp_path / "none.so").write_bytes(b"no library")
    with pytest.raises(NativeUnavailableError, match="cannot be loaded"):
        NativeTranslator(folder)


def test_a_missing_or_failing_compiler_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "/nonexistent-compiler")
    with pytest.raises(building.BuildError, match="cannot be run"):
        building.build(tmp_path / "library.so")
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(building.BuildError, match="No C.. compiler was found"):
        building.build(tmp_path / "library.so")
    with pytest.raises(building.BuildError, match="compiler failed"):
        building.build(tmp_path / "library.so", compiler=["/bin/false"])
    assert not list(tmp_path.iterdir())
