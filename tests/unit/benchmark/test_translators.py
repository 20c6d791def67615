# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Runtimes of the same weights agree, and say why where they cannot run."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from dims_hf.benchmark import startup
from dims_hf.benchmark.groups import Group
from dims_hf.benchmark.memory import measure_memory
from dims_hf.benchmark.settings import BenchmarkSettings
from dims_hf.benchmark.startup import find_command, measure_startup
from dims_hf.benchmark.systems import System, make_systems
from dims_hf.benchmark.translators import (
    UnavailableError,
    content_of,
    decoded_text,
    expected_listed_ids,
    random_shortlist,
    vocabulary_mapping,
)
from dims_hf.benchmark.weights import make_weights
from dims_hf.benchmark.workloads import random_workload
from dims_hf.export.shortlist import Shortlist
from dims_hf.native import is_available
from dims_hf.translation.packing import PackedLinear


SETTINGS = BenchmarkSettings(size="tiny", iterations=(1, 3), length_beams=(1,), devices=("cpu",))


@pytest.fixture(scope="module")
def systems() -> dict[str, System]:
    return {system.name: system for system in make_systems(SETTINGS, make_weights(SETTINGS))}


def translate(system: System, folder: Path, forced_tokens: int | None = 6) -> list[list[int]]:
    translator = system.open("cpu", 1, forced_tokens, folder)
    batch = random_workload(3, 6, 500, seed=1).batches[0]
    return translator.rows(translator.run(translator.prepare(batch)))


@pytest.mark.parametrize(
    "name", ["ours torch-bf16 3x1", "ours torch-int8 1x1", "marian-greedy 4-1", "marian-beam5 2-2"]
)
def test_torch_runtimes_write_the_forced_number_of_tokens(systems: dict[str, System], name: str, tmp_path: Path):
    assert [len(row) for row in translate(systems[name], tmp_path)] == [6, 6, 6]


@pytest.mark.parametrize("passes", [1, 3])
def test_packed_weights_give_the_tokens_of_plain_ones(systems: dict[str, System], passes: int, tmp_path: Path):
    packed = systems[f"ours torch-fp32-packed {passes}x1"]
    assert translate(packed, tmp_path) == translate(systems[f"ours torch-fp32 {passes}x1"], tmp_path)
    assert any(isinstance(module, PackedLinear) for module in packed.open("cpu", 1, 6, tmp_path).model.modules())


@pytest.mark.parametrize("passes", [1, 3])
def test_onnx_gives_the_tokens_of_torch(systems: dict[str, System], passes: int, tmp_path: Path):
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package)
    exported = translate(systems[f"ours onnx-fp32 {passes}x1"], tmp_path)
    assert exported == translate(systems[f"ours torch-fp32 {passes}x1"], tmp_path)


@pytest.mark.parametrize("passes", [1, 3])
def test_random_shortlist_is_followed_counted_and_named(systems: dict[str, System], passes: int, tmp_path: Path):
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package)
    system = systems[f"ours onnx-int8-shortlist {passes}x1"]
    assert [len(row) for row in translate(system, tmp_path)] == [6, 6, 6]
    assert system.label.endswith("ONNX int8 with a random shortlist")
    whole = systems[f"ours onnx-int8 {passes}x1"].work(1, 8, 6)
    assert system.work(1, 8, 6).weights < whole.weights


def test_native_runtime_gives_the_tokens_of_int8_in_onnx_or_nearly(systems: dict[str, System], tmp_path: Path):
    """Its quantisation is not that of the graph: a near tie may break the other way."""
    if not is_available():
        pytest.skip("the native runtime is not built")
    for name in ("native-int8", "native-int8-shortlist"):
        found = translate(systems[f"ours {name} 1x1"], tmp_path)
        assert [len(row) for row in found] == [6, 6, 6]
    original = translate(systems["ours torch-fp32 1x1"], tmp_path)
    same = [
        one == other
        for rows in zip(translate(systems["ours native-int8 1x1"], tmp_path), original)
        for one, other in zip(*rows)
    ]
    assert sum(same) >= 0.8 * len(same)
    system = systems["ours native-int8 1x1"]
    assert (system.label, system.runtime.precision) == ("one pass, native int8", "int8")
    assert systems["ours native-int8-shortlist 1x1"].work(1, 8, 6).weights < system.work(1, 8, 6).weights


def test_native_runtime_says_what_is_missing(systems: dict[str, System], tmp_path: Path, monkeypatch):
    monkeypatch.setattr("dims_hf.native.is_available", lambda: False)
    with pytest.raises(UnavailableError, match=r"the native runtime is not built: python -m dims_hf\.native\.build"):
        translate(systems["ours native-int8 1x1"], tmp_path)


def test_start_up_runs_the_command_and_keeps_its_last_words(
    systems: dict[str, System], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    system = systems["ours torch-fp32 1x1"]
    command = find_command(system, tmp_path, "w5 w6")
    assert command[1:4] == ["-m", "dims_hf.cli.main", "translate"] and command[-2:] == [
        str(tmp_path / "torch-ours"),
        "w5 w6",
    ]
    assert {path.name for path in (tmp_path / "torch-ours").iterdir()} >= {"config.json", "tokenizer.json"}
    monkeypatch.setattr(startup, "_NUM_STARTS", 1)
    monkeypatch.setattr(startup, "find_command", lambda *arguments: [sys.executable, "-c", "sum(range(100))"])
    found = measure_startup(system, tmp_path, "w5")
    assert found["num_starts"] == 1 and 0 < found["seconds"] and 0 <= found["cpu_seconds"]
    failing = [sys.executable, "-c", "import sys; sys.exit('error: no such thing.')"]
    monkeypatch.setattr(startup, "find_command", lambda *arguments: failing)
    assert measure_startup(system, tmp_path, "w5") == {"error": "error: no such thing."}
    monkeypatch.undo()
    assert measure_startup(systems["ours torch-int8 1x1"], tmp_path, "w5") == {"error": "no command starts it"}


def test_expected_listed_ids_are_those_that_are_drawn():
    """400 draws of 8 source tokens and 200 of every sentence leave (1 - 1/32000)^600 of 32,000 ids untouched."""
    assert expected_listed_ids(32000, 8) == 594
    shortlist = random_shortlist(32000)
    assert shortlist.by_source.shape == (32000, 51) and len(shortlist.always) == 200
    assert (shortlist.by_source[1] == 1).all()


def test_random_shortlist_is_not_for_trained_weights(systems: dict[str, System], tmp_path: Path):
    weights = replace(systems["ours onnx-int8-shortlist 1x1"].weights, is_random=False)
    with pytest.raises(UnavailableError, match="its shortlist is random: export the model with --shortlist CORPUS"):
        translate(System("onnx-int8-shortlist", weights), tmp_path)


@pytest.mark.parametrize("layers", ["2-2", "4-1"])
def test_ctranslate2_gives_the_tokens_of_transformers(systems: dict[str, System], layers: str, tmp_path: Path):
    pytest.importorskip("ctranslate2")
    converted = translate(systems[f"ctranslate2-fp32 {layers}"], tmp_path)
    assert converted == translate(systems[f"marian-greedy {layers}"], tmp_path)


def test_ctranslate2_follows_the_shortlist_of_its_batch(systems: dict[str, System], tmp_path: Path):
    pytest.importorskip("ctranslate2")
    system, shortlist = systems["ctranslate2-int8-shortlist 2-2"], random_shortlist(500)
    # one in which little is listed, so that the whole vocabulary would not be chosen from by chance
    shortlist = replace(shortlist, by_source=shortlist.by_source[:, -4:], always=shortlist.always[:10])
    with mock.patch("dims_hf.benchmark.translators.random_shortlist", return_value=shortlist):
        rows = translate(system, tmp_path)
    assert [len(row) for row in rows] == [6, 6, 6]
    sources = {token for row in random_workload(3, 6, 500, seed=1).batches[0].rows for token in row}
    listed = {*shortlist.always.tolist(), *shortlist.by_source[sorted(sources)].ravel().tolist(), 0, 1, 2, 3}
    assert {token for row in rows for token in row} <= listed
    assert rows != translate(systems["ctranslate2-int8 2-2"], tmp_path)
    assert system.work(1, 8, 6).weights < systems["ctranslate2-int8 2-2"].work(1, 8, 6).weights
    weights = replace(system.weights, is_random=False)
    with pytest.raises(UnavailableError, match="its shortlist is random"):
        translate(System("ctranslate2-int8-shortlist", weights), tmp_path)


def test_vocabulary_mapping_names_tokens_of_all_and_of_each_source():
    shortlist = Shortlist(np.array([[1, 0], [1, 1], [0, 2]], np.int32), np.array([2], np.int32))
    assert vocabulary_mapping(shortlist, ["a", "b", "c"]) == "\tc\na\tb a\nb\tb b\nc\ta c\n"


def test_ctranslate2_missing_is_said_with_its_remedy(
    systems: dict[str, System], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(UnavailableError, match=r"ctranslate2 is not installed: pip install \"dims-hf\[benchmark\]\""):
        translate(systems["ctranslate2-int8 2-2"], tmp_path)


def test_compiled_without_a_compiler_or_one_shape_says_so(
    systems: dict[str, System], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("dims_hf.benchmark.translators.shutil.which", lambda name: None)
    with pytest.raises(UnavailableError, match=r"needs a C\+\+ compiler"):
        translate(systems["ours torch-compiled 1x1"], tmp_path)
    with pytest.raises(UnavailableError, match="sentences of a corpus have many"):
        translate(systems["ours torch-compiled 1x1"], tmp_path, forced_tokens=None)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([0, 5, 6, 2, 1, 1], [5, 6]),
        ([0, 0, 0, 7], [0, 0, 7]),
        ([1, 5, 2], [5]),
        ([0, 2], []),
        ([0, 1, 1], []),
        ([0, 5, 2, 2], [5, 2]),
    ],
)
def test_content_of(row: list[int], expected: list[int]):
    assert content_of(row, pad_token_id=1, eos_token_id=2) == expected


def test_decoded_text_drops_repeats_of_ours_alone(systems: dict[str, System]):
    row = [7, 7, 8]
    assert decoded_text(systems["ours torch-fp32 1x1"].weights, row) == "w7 w8"
    assert decoded_text(systems["marian-greedy 2-2"].weights, row) == "w7 w7 w8"


def test_system_names_and_labels(systems: dict[str, System]):
    assert systems["ours torch-fp32 3x1"].label == "3 passes, torch fp32"
    assert systems["ctranslate2-int8 4-1"].label == "CTranslate2 int8 4-1"
    assert systems["ours torch-fp32 1x1"].is_plain and not systems["marian-beam5 2-2"].is_plain


@pytest.mark.slow
def test_measure_memory_grows_with_the_batch(tmp_path: Path):
    torch.set_num_threads(1)
    groups = [Group("cpu", 1, batch, 20) for batch in (1, 256)]
    peaks = measure_memory(SETTINGS, "ours torch-fp32 1x1", groups, tmp_path)
    assert set(peaks) == {group.key for group in groups}
    # logits of 256 sentences of 20 tokens over 500 words, in fp32, are 10 MB
    assert peaks[groups[1].key] - peaks[groups[0].key] > 8


@pytest.mark.slow
def test_measure_memory_of_an_export_does_not_count_the_exporting(tmp_path: Path):
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package)
    group = Group("cpu", 1, 1, 20)
    first = measure_memory(SETTINGS, "ours onnx-fp32 1x1", [group], tmp_path)
    assert any(path.name.startswith("onnx-ours-fp32") for path in tmp_path.iterdir())
    again = measure_memory(SETTINGS, "ours onnx-fp32 1x1", [group], tmp_path)
    # in one process with its export it was more by the size of torch's exporter and of two models
    assert first[group.key] == pytest.approx(again[group.key], abs=12)
