# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The standalone translator: its rules against those of PyTorch, what it imports, and what it refuses."""

from __future__ import annotations

import ast
import io
import json
import shutil
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import numpy as np
import pytest
import torch

from dims_hf import CMLMConfig, CMLMForConditionalGeneration
from dims_hf.export import (
    OnnxTranslator,
    export_onnx,
    onnx_decoding,
    onnx_rules,
    onnx_translator,
    standalone,
)
from dims_hf.export.standalone import standalone_source
from dims_hf.models import decoding_strategy, limits
from dims_hf.models.decoding_imputer import collapse_rows, init_block_unmasking, step_block_unmasking
from dims_hf.models.masking import select_lowest
from dims_hf.native import translator as native_translator
from dims_hf.translation.batching import batches_by_budget
from dims_hf.translation.sentences import collapse


def test_shipped_file_imports_nothing_but_numpy_and_the_runtime():
    tree = ast.parse(standalone_source())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    foreign = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert foreign == {"numpy", "onnxruntime", "tokenizers"}


def test_shipped_file_defines_what_its_modules_define_and_says_how_to_call_it(tmp_path):
    (tmp_path / "onnx_translator.py").write_text(standalone_source(), encoding="utf-8")
    loader = SourceFileLoader("shipped_translator", str(tmp_path / "onnx_translator.py"))
    shipped = module_from_spec(spec_from_loader(loader.name, loader))
    sys.modules[loader.name] = shipped
    loader.exec_module(shipped)
    assert shipped.__doc__ == onnx_translator.__doc__
    for module in (onnx_rules, onnx_decoding, onnx_translator):
        defined = {name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__}
        assert defined and defined <= vars(shipped).keys()
    assert shipped.BATCH_TOKENS == 512
    del sys.modules[loader.name]


def test_modules_that_cannot_be_one_file_are_refused(monkeypatch):
    monkeypatch.setattr(standalone, "_MODULES", ("export.onnx_rules", "export.onnx_rules"))
    with pytest.raises(ValueError, match="Alternatives.* is defined by two modules"):
        standalone_source.__wrapped__()


def test_lowest_positions_with_ties_are_those_of_pytorch():
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 3, (40, 9)).astype(np.float32)
    is_eligible = generator.random((40, 9)) < 0.7
    num_selected = generator.integers(0, 10, 40)
    expected = select_lowest(*map(torch.from_numpy, (scores, is_eligible, num_selected))).numpy()
    assert (onnx_decoding.lowest(scores, is_eligible, num_selected) == expected).all()
    assert expected.any() and not expected.all()


def _block_unmasking(**settings):
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "mask_token_id": 4, "blank_token_id": 5}
    return onnx_decoding.BlockUnmasking({}, {**ids, "legacy_adjacency": False, "upsample_ratio": 1, **settings})


@pytest.mark.parametrize(
    ("length", "num_iterations", "revealed"),
    [(12, 4, [3, 7, 11]), (5, 2, [1, 3]), (10, 4, [3, 7, 9]), (9, 4, [3, 7]), (6, 1, [0, 1, 2, 3, 4, 5]), (1, 4, [0])],
)
def test_first_pass_reveals_the_last_position_of_each_block_and_no_neighbours(length, num_iterations, revealed):
    strategy = _block_unmasking()
    tokens, is_content = strategy.templates(np.array([length]))
    assert tokens.tolist() == [[4] * length]
    state = onnx_decoding.State(tokens, is_content, is_content)
    scores = -np.arange(1, length + 1, dtype=np.float32)[None]
    is_masked = strategy.select_masks(state, scores, 1, num_iterations)
    assert np.flatnonzero(~is_masked[0]).tolist() == revealed


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("update_all", [False, True])
@pytest.mark.parametrize("num_iterations", [1, 2, 3, 4, 7, 20])
def test_masks_of_every_pass_with_ties_are_those_of_pytorch(num_iterations, update_all, legacy):
    strategy, generator = _block_unmasking(legacy_adjacency=legacy), np.random.default_rng(num_iterations)
    lengths = np.array([1, 2, 3, 5, 8, 9, 10, 13, 16, 4])
    theirs = init_block_unmasking(
        torch.from_numpy(lengths), num_iterations=num_iterations, pad_token_id=1, mask_token_id=4
    )
    ours, scores = strategy.templates(lengths), np.zeros(theirs.tokens.shape, np.float32)
    assert ours[0].tolist() == theirs.tokens.tolist()
    state = onnx_decoding.State(*ours, ours[1])
    for num_passes in range(1, num_iterations + 1):
        is_updated = state.is_content if update_all else state.is_masked
        drawn = -generator.integers(0, 4, is_updated.sum()).astype(np.float32)
        scores[is_updated] = drawn
        theirs = step_block_unmasking(
            theirs,
            torch.from_numpy(is_updated),
            torch.full((len(drawn),), 7),
            torch.from_numpy(drawn),
            mask_token_id=4,
            legacy_adjacency=legacy,
        )
        is_masked = strategy.select_masks(state, scores, num_passes, num_iterations)
        assert is_masked.tolist() == theirs.is_masked.tolist()
        state = onnx_decoding.State(np.where(is_masked, 4, 7), state.is_content, is_masked)
    assert not state.is_masked.any()


def test_alignments_collapse_as_those_of_pytorch():
    rows = np.array(
        [[5, 7, 7, 5, 7, 8, 8, 5], [5, 5, 5, 5, 5, 1, 1, 1], [6, 6, 1, 1, 1, 1, 1, 1], [7, 8, 9] * 2 + [9, 1]]
    )
    attention_mask = np.arange(8) < np.array([[8], [5], [3], [8]])
    sequences = _block_unmasking().read_out(rows, attention_mask.sum(axis=1))
    # 1 is padding, and a token where an imported model predicts it inside the alignment
    assert sequences.tolist() == [
        [0, 7, 7, 8, 2, 1, 1, 1, 1],
        [0, 2, 1, 1, 1, 1, 1, 1, 1],
        [0, 6, 1, 2, 1, 1, 1, 1, 1],
        [0, 7, 8, 9, 7, 8, 9, 1, 2],
    ]
    ids = {"blank_token_id": 5, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    theirs = collapse_rows(torch.from_numpy(rows), torch.tensor([8, 5, 3, 8]), **ids)
    assert theirs[:, :9].tolist() == sequences.tolist()


@pytest.mark.parametrize("row", [[0], [0, 2], [0, 7, 7, 7, 8, 7, 2, 1, 1], [5, 5]])
def test_collapse_keeps_one_token_of_each_run(row):
    assert onnx_rules.collapse(np.array(row)).tolist() == list(collapse(row))


@pytest.mark.parametrize("budget", [1, 7, 30, 1000])
def test_batches_are_those_of_translate(budget):
    sizes = [3, 9, 4, 4, 12, 1, 9]
    assert list(onnx_translator._batches(sizes, budget)) == list(batches_by_budget(sizes, budget))


def test_folder_without_an_export_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no export\.json"):
        OnnxTranslator(tmp_path)


def test_runtime_that_computes_batches_wrongly_is_refused(tmp_path, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the onnx extra")
    (tmp_path / "export.json").write_text('{"settings": {}, "graphs": {"model": "model.onnx"}}')
    monkeypatch.setattr(onnxruntime, "__version__", "1.20.1")
    with pytest.raises(ValueError, match=r"onnxruntime 1\.20\.1 gives wrong translations.*Install 1\.21 or newer"):
        OnnxTranslator(tmp_path)


@pytest.fixture(scope="module")
def exported(tiny_tokenizer, tmp_path_factory) -> Path:
    """A whole export of a tiny model."""
    pytest.importorskip("onnx", reason="needs the onnx extra")
    torch.manual_seed(0)
    config = CMLMConfig(
        vocab_size=len(tiny_tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=24,
        max_target_length=24,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("export") / "out"
    export_onnx(CMLMForConditionalGeneration(config).eval(), tiny_tokenizer, folder, num_iterations=1)
    return folder


@pytest.mark.parametrize("name", ["model.onnx", "weights.bin", "tokenizer.json", "export.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "one byte"])
def test_damaged_folder_is_refused_by_the_name_of_the_file(exported, tmp_path, name, damage):
    folder = Path(shutil.copytree(exported, tmp_path / "copy"))
    content = (folder / name).read_bytes()
    if damage == "missing":
        (folder / name).unlink()
    elif damage == "cut":
        (folder / name).write_bytes(content[: len(content) // 2])
    else:
        (folder / name).write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises((ValueError, FileNotFoundError), match=name.replace(".", r"\.")) as refused:
        OnnxTranslator(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", ["[]", "{}", "null", '{"sha256": 3}', "[" * 100_000])
def test_description_that_is_none_is_refused(exported, tmp_path, content):
    folder = Path(shutil.copytree(exported, tmp_path / "copy"))
    (folder / "export.json").write_text(content)
    with pytest.raises(ValueError, match="is damaged"):
        OnnxTranslator(folder)


IMPOSSIBLE = [
    {"max_position_embeddings": "x"}, {"max_position_embeddings": -1}, {"max_position_embeddings": 10**12},
    {"pad_token_id": None}, {"pad_token_id": 10**8}, {"bos_token_id": -1}, {"eos_token_id": True},
    {"length_beam_size": "x"}, {"collapse_repeats": "maybe"}, {"vocab_size": 0}, {"repeat_penalty": "x"},
    {"length_score_weight": "nan"},
]  # fmt: skip


@pytest.mark.parametrize("change", IMPOSSIBLE, ids=str)
def test_description_with_impossible_settings_is_refused(exported, tmp_path, change):
    folder = Path(shutil.copytree(exported, tmp_path / "copy"))
    description = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    description["settings"] |= change
    (folder / "export.json").write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(ValueError, match=f"export.json is damaged: settings .*{next(iter(change))}"):
        OnnxTranslator(folder)


@pytest.mark.parametrize("change", [{"shortlist": 3}, {"shortlist": {"file": "absent.npz"}}, {"sha256": {}}], ids=str)
def test_description_that_names_no_files_is_refused(exported, tmp_path, change):
    folder = Path(shutil.copytree(exported, tmp_path / "copy"))
    description = json.loads((folder / "export.json").read_text(encoding="utf-8")) | change
    (folder / "export.json").write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(ValueError, match="export.json is damaged"):
        OnnxTranslator(folder)


@pytest.mark.parametrize(
    ("input_ids", "attention_mask", "message"),
    [
        (np.ones((1, 3), np.int64), np.zeros((1, 3), np.int64), "Row 0 of input_ids is all padding"),
        (np.array([[0, 5, 2], [0, 2, 1]]), np.array([[1, 1, 1], [0, 0, 0]]), "Row 1 of input_ids is all padding"),
        (np.array([[0, -5, 2]]), np.ones((1, 3), np.int64), "the id -5, outside the model's vocabulary"),
        (np.array([[0, 10_000, 2]]), np.ones((1, 3), np.int64), "the id 10000, outside"),
        (np.array([[0, 5, 2]]), np.ones((1, 4), np.int64), r"attention_mask has shape \(1, 4\)"),
        (np.array([0, 5, 2]), np.ones(3, np.int64), r"must have shape \(batch, length\)"),
        (np.zeros((0, 3), np.int64), np.zeros((0, 3), np.int64), r"must have shape \(batch, length\)"),
        (np.array([[0.0, 5.5, 2.0]]), np.ones((1, 3), np.int64), "input_ids must hold integers"),
        (np.array([[0, 5, 2]]), np.array([[1, 7, 1]]), "attention_mask must hold 0 and 1"),
        (np.full((1, 30), 5), np.ones((1, 30), np.int64), "Row 0 has 30 tokens, the model takes at most 24"),
    ],
)
def test_generate_refuses_what_the_model_refuses(exported, input_ids, attention_mask, message):
    with pytest.raises(ValueError, match=message):
        OnnxTranslator(exported, threads=1).generate(input_ids, attention_mask)


def test_names_of_special_tokens_in_a_text_are_text(exported):
    (ids,) = OnnxTranslator(exported).encode(["a <s>cat</s> <mask>"])
    assert not {0, 1, 2, 4} & set(ids[1:-1])


def test_policies_of_translate_are_those_of_the_package(exported):
    translator = OnnxTranslator(exported, threads=1)
    long = " ".join(["a cat ."] * 12)
    alone = translator.translate(["a cat ."])[0]
    assert translator.translate(["", "a cat .", " \u200b"]) == ["", alone, ""]
    assert translator.translate([]) == []
    assert translator.translate([long, "a cat ."], on_long="skip") == ["", alone]
    assert translator.translate([long, "a cat ."], on_long="truncate")[1] == alone
    split = translator.translate([long], on_long="split")[0]
    assert split.split() == (" ".join([alone] * 12)).split()
    for options, message in (
        ({}, r"sources\[1\] has \d+ tokens, the model takes at most 24"),
        ({"on_long": "cut"}, "on_long must be one of"),
        ({"on_long": "skip", "on_blank": "error"}, r"sources\[2\] is blank"),
    ):
        with pytest.raises(ValueError, match=message):
            translator.translate(["a cat .", long, " "], **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length_beam_size": "3"}, "length_beam_size must be an integer >= 1, got '3'"),
        ({"num_iterations": True}, "num_iterations must be an integer >= 1, got True"),
        ({"num_iterations": 10**9}, "num_iterations must be <= 1000"),
        ({"length_beam_size": 10**9}, "length_beam_size must be <= 1000"),
    ],
)
def test_impossible_numbers_are_refused(exported, options, message):
    with pytest.raises(ValueError, match=message):
        OnnxTranslator(exported, threads=1).translate(["a cat ."], **options)


def test_bounds_are_those_of_every_runtime():
    assert limits.MOST_STEPS == native_translator.MOST_STEPS == decoding_strategy.MOST_STEPS


@pytest.mark.parametrize("threads", [0, -1, 10**9])
def test_impossible_threads_are_refused(exported, threads):
    with pytest.raises(ValueError, match=f"threads must be between 1 and 1024, got {threads}"):
        OnnxTranslator(exported, threads)


def test_sources_may_be_a_stream(exported):
    translator = OnnxTranslator(exported, threads=1)
    assert translator.translate(text for text in ["a cat .", ""]) == translator.translate(["a cat .", ""])


def _run_program(folder, content, monkeypatch, capfd) -> tuple[int, list[str], str]:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO()))
    status = onnx_translator.main([str(folder), "--threads", "1"])
    written = sys.stdout.buffer.getvalue().decode("utf-8").splitlines()
    return status, written, capfd.readouterr().err


def test_program_names_the_line_it_refuses_and_keeps_those_before(exported, monkeypatch, capfd):
    alone = OnnxTranslator(exported, threads=1).translate(["a cat ."])
    lines = b"\xef\xbb\xbfa cat .\n\n" + b"a cat . " * 12 + b"\na cat .\n"
    status, written, error = _run_program(exported, lines, monkeypatch, capfd)
    assert (status, written) == (2, [*alone, ""])
    assert error.startswith("error: standard input:3 has ") and "on_long='split'" in error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a cat .".encode("utf-16"), "standard input is UTF-16, not UTF-8"),
        (b"caf\xe9 .\n", "standard input:1: not valid UTF-8"),
        (b"\x1f\x8b\x08rest", "standard input is compressed with gzip"),
    ],
)
def test_program_refuses_what_is_no_text(exported, monkeypatch, capfd, content, message):
    status, written, error = _run_program(exported, content, monkeypatch, capfd)
    assert (status, written) == (2, []) and error.startswith(f"error: {message}")
