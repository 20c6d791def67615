# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""ONNX exports of tiny models: the tokens of `generate()`, int8, refusals that leave nothing behind, overwriting."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import PreTrainedConfig

from dims_hf import MODELS
from dims_hf.export import OnnxTranslator, export_onnx, onnx_translator, write_graphs
from dims_hf.export.folders import check_model
from dims_hf.export.onnx_graphs import TABLE, TranslationGraph
from dims_hf.export.standalone import standalone_source


pytest.importorskip("onnxruntime", reason="needs the onnx extra")
pytest.importorskip("onnx", reason="needs the onnx extra")

SENTENCES = ["the small dog sees the old cat .", "a cat sleeps in the house today .", "a dog .", "der Hund"]
REFERENCES = ["der kleine Hund sieht die alte Katze .", "eine Katze schläft heute im Haus .", "ein Hund .", "the dog"]


def _make_model(family, tokenizer, **fields):
    sizes = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 28}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 4}
    lengths = {"max_position_embeddings": 48, "max_target_length": 16}
    config = MODELS[family][0](
        vocab_size=len(tokenizer), initializer_range=0.5, **{**sizes, **heads, **lengths, **fields}
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MODELS[family][2](config).eval()


def _random_batch(vocab_size):
    generator = torch.Generator().manual_seed(5)
    lengths = torch.tensor([3, 9, 14, 5, 14, 8])
    is_token = torch.arange(14) < lengths.unsqueeze(1)
    ids = torch.randint(5, vocab_size, is_token.shape, generator=generator)
    ids[:, 0] = 0
    ids[torch.arange(6), lengths - 1] = 2
    return ids.masked_fill(~is_token, 1), is_token.long()


@pytest.mark.parametrize(
    ("family", "num_iterations", "fields"),
    [
        ("cmlm", 1, {}),
        ("cmlm", 4, {}),
        ("cmlmc", 1, {"activation_function": "gelu"}),
        ("cmlmc", 4, {}),
        ("cmlm", 1, {"suppress_special_tokens": False, "mask_token_id": 3}),
        ("cmlmc", 5, {"suppress_special_tokens": False, "mask_token_id": 3}),
    ],
)
def test_graphs_give_the_tokens_and_scores_of_generate(tiny_tokenizer, tmp_path, family, num_iterations, fields):
    model = _make_model(family, tiny_tokenizer, **fields)
    write_graphs(model, tmp_path, num_iterations=num_iterations)
    translator = OnnxTranslator(tmp_path, threads=1)
    input_ids, attention_mask = _random_batch(model.config.vocab_size)
    target_lengths, equal_lengths = torch.tensor([1, 2, 30, 7, 46, 5]), torch.tensor([4, 9, 4, 4, 9, 4])
    outputs = []
    for options in (
        {"length_beam_size": 1},
        {"length_beam_size": 3},
        {"target_lengths": target_lengths},
        {"target_lengths": equal_lengths},
    ):
        expected = model.generate(
            input_ids,
            attention_mask,
            num_iterations=num_iterations,
            collapse_repeats=False,
            return_dict_in_generate=True,
            **options,
        )
        sequences, scores = translator.generate(input_ids.numpy(), attention_mask.numpy(), **options)
        assert sequences.tolist() == expected.sequences.tolist()
        np.testing.assert_allclose(scores, expected.sequences_scores.numpy(), atol=1e-4)
        outputs.append(sequences.tolist())
    # else the settings would not matter, and any of them would do
    assert len({str(output) for output in outputs}) == 4


@pytest.mark.parametrize(("num_iterations", "int8"), [(1, False), (1, True), (3, True)])
def test_sentence_alone_and_in_a_padded_batch_gets_the_same_tokens(tiny_tokenizer, tmp_path, num_iterations, int8):
    model = _make_model("cmlm", tiny_tokenizer)
    write_graphs(model, tmp_path, num_iterations=num_iterations, int8=int8)
    translator = OnnxTranslator(tmp_path, threads=1)
    batch = [array.numpy() for array in _random_batch(model.config.vocab_size)]
    together = translator.generate(*batch, length_beam_size=3)[0].tolist()
    for ids, mask, row in zip(*batch, together):
        width = mask.sum()
        alone = translator.generate(ids[None, :width], mask[None, :width], length_beam_size=3)[0][0].tolist()
        assert alone == [token for token in row if token != 1]


def test_one_pass_without_scores_gives_the_same_tokens(tiny_tokenizer, tmp_path):
    write_graphs(_make_model("cmlm", tiny_tokenizer), tmp_path, num_iterations=1)
    translator = OnnxTranslator(tmp_path)
    batch = [array.numpy() for array in _random_batch(len(tiny_tokenizer))]
    with_scores, without = translator.generate(*batch), translator.generate(*batch, with_scores=False)
    assert with_scores[0].tolist() == without[0].tolist()
    assert not without[1].any() and with_scores[1].all()


@pytest.mark.parametrize("num_iterations", [1, 2])
def test_int8_export_is_small_measured_and_translates(tiny_tokenizer, tmp_path, num_iterations):
    model = _make_model("cmlm", tiny_tokenizer)
    options = {"num_iterations": num_iterations, "sentences": SENTENCES, "references": REFERENCES}
    described = {
        int8: export_onnx(model, tiny_tokenizer, tmp_path / str(int8), int8=int8, **options) for int8 in (False, True)
    }
    assert described[True] == json.loads((tmp_path / "True" / "export.json").read_text())
    assert set(described[True]["quality"]["bleu"]) == {"fp32", "int8"}
    assert set(described[False]["quality"]["bleu"]) == {"fp32"}
    assert "brevity penalty" in (tmp_path / "True" / "README.md").read_text(encoding="utf-8")
    assert described[True]["agreement"]["tokens"] > 0.5
    sizes = [(tmp_path / str(int8) / "weights.bin").stat().st_size for int8 in (False, True)]
    assert sizes[1] < sizes[0]
    assert len(OnnxTranslator(tmp_path / "True").translate(SENTENCES)) == len(SENTENCES)


@pytest.mark.parametrize("int8", [False, True])
def test_token_embedding_is_stored_once_for_all_graphs(tiny_tokenizer, tmp_path, int8):
    model = _make_model("cmlm", tiny_tokenizer, d_model=64)
    write_graphs(model, tmp_path, num_iterations=2, int8=int8)
    table = model.model.shared.weight.detach().numpy()
    blob = (tmp_path / "weights.bin").read_bytes()
    if int8:
        from dims_hf.export.onnx_builder import quantize_rows

        table = quantize_rows(table)[0]
    assert blob.count(table.tobytes()) == 1
    assert blob.count(np.ascontiguousarray(table.T).tobytes()) == 0
    name = TABLE + (".int8" if int8 else "")
    assert all(name.encode() in (tmp_path / f"{graph}.onnx").read_bytes() for graph in ("encoder", "decoder"))


def test_export_that_differs_from_pytorch_is_refused_and_leaves_nothing(tiny_tokenizer, tmp_path, monkeypatch):
    """A graph with another bias is a valid graph: only the comparison can tell."""
    right = TranslationGraph._joint_bias
    monkeypatch.setattr(TranslationGraph, "_joint_bias", lambda self, attention: right(self, attention) + 1)
    with pytest.raises(ValueError, match="do not give PyTorch's tokens.*Nothing was written"):
        export_onnx(_make_model("cmlm", tiny_tokenizer), tiny_tokenizer, tmp_path / "new" / "out", num_iterations=1)
    assert list(tmp_path.iterdir()) == []


def test_export_whose_text_differs_is_refused(tiny_tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_translator, "collapse", lambda row: row[:-2])
    with pytest.raises(ValueError, match="does not give the pipeline's text"):
        export_onnx(_make_model("cmlm", tiny_tokenizer), tiny_tokenizer, tmp_path / "out", num_iterations=1)
    assert list(tmp_path.iterdir()) == []


def test_former_export_is_replaced_only_when_asked(tiny_tokenizer, tmp_path):
    model, out = _make_model("cmlm", tiny_tokenizer), tmp_path / "out"
    export_onnx(model, tiny_tokenizer, out, num_iterations=2)
    with pytest.raises(ValueError, match=r"exists.*--overwrite"):
        export_onnx(model, tiny_tokenizer, out, num_iterations=1)
    assert (out / "encoder.onnx").is_file()
    export_onnx(model, tiny_tokenizer, out, num_iterations=1, overwrite=True)
    names = {path.name for path in out.iterdir()}
    assert {"model.onnx", "weights.bin", "export.json", "tokenizer.json", "onnx_translator.py", "README.md"} <= names
    assert "encoder.onnx" not in names
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_folder_that_is_no_export_is_never_replaced(tiny_tokenizer, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="not an export"):
        export_onnx(_make_model("cmlm", tiny_tokenizer), tiny_tokenizer, tmp_path, num_iterations=1, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_checksums_name_every_file_but_the_description(tiny_tokenizer, tmp_path):
    import hashlib

    described = export_onnx(_make_model("cmlm", tiny_tokenizer), tiny_tokenizer, tmp_path / "out", num_iterations=1)
    files = {path.name: path for path in Path(tmp_path / "out").iterdir() if path.name != "export.json"}
    found = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    assert described["sha256"] == found
    assert files["onnx_translator.py"].read_text(encoding="utf-8") == standalone_source()


@pytest.mark.parametrize(
    ("fields", "change", "message"),
    [
        ({"activation_function": "tanh"}, {}, "'tanh' has no ONNX form"),
        ({}, {"num_iterations": 0}, "num_iterations must be >= 1, got 0"),
    ],
)
def test_export_of_what_has_no_graph_is_refused(tiny_tokenizer, tmp_path, fields, change, message):
    with pytest.raises(ValueError, match=message):
        export_onnx(_make_model("cmlm", tiny_tokenizer, **fields), tiny_tokenizer, tmp_path / "out", **change)
    assert list(tmp_path.iterdir()) == []


def test_family_without_graphs_and_legacy_attention_are_refused(tiny_tokenizer, tmp_path):
    legacy = _make_model("cmlmc", tiny_tokenizer, legacy_unmasked_attn_no_pad_mask=True)
    with pytest.raises(ValueError, match="attends to padding"):
        write_graphs(legacy, tmp_path / "out", num_iterations=1)
    other = _make_model("cmlm", tiny_tokenizer)
    other.config.model_type = "later"
    with pytest.raises(ValueError, match=r"type 'later' cannot be exported to ONNX.* cmlm, cmlmc"):
        write_graphs(other, tmp_path / "out", num_iterations=1)


def test_settings_a_graph_cannot_follow_are_refused(tiny_tokenizer, tmp_path):
    export_onnx(_make_model("cmlm", tiny_tokenizer), tiny_tokenizer, tmp_path / "out", num_iterations=1)
    translator = OnnxTranslator(tmp_path / "out")
    for options, message in [
        ({"num_iterations": 2}, "decodes in one pass.*--num-iterations 2"),
        ({"num_iterations": 0}, "num_iterations must be an integer >= 1, got 0"),
        ({"length_beam_size": 0}, "length_beam_size must be an integer >= 1, got 0"),
        ({"batch_tokens": 0}, "batch_tokens must be >= 1, got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            translator.translate(["a cat"], **options)
    batch = np.array([[0, 7, 2], [0, 8, 2]]), np.ones((2, 3), np.int64)
    for lengths, message in [
        ([0, 3], "between 1 and 46 content tokens, got 0 to 3"),
        ([3, 47], "between 1 and 46 content tokens, got 3 to 47"),
        ([3], r"one integer per sentence \(2\), got shape \(1,\)"),
        ([3.0, 4.0], "of float64"),
    ]:
        with pytest.raises(ValueError, match=f"target_lengths must .*{message}"):
            translator.generate(*batch, target_lengths=np.array(lengths))
    for sources, message in [
        ("a cat", "texts are one string"),
        (["a cat", " "], r"sources\[1\] is blank"),
        (["a cat " * 40], r"sources\[0\] has \d+ tokens, the model takes at most 48"),
    ]:
        with pytest.raises(ValueError, match=message):
            translator.translate(sources, on_blank="error")
    assert translator.translate([]) == []


def test_autoregressive_models_and_other_precisions_are_refused(tiny_model):
    with pytest.raises(
        ValueError, match="SimpleNamespace is autoregressive, and these exports are for one-pass models"
    ):
        check_model(SimpleNamespace(config=PreTrainedConfig()))
    check_model(tiny_model)
    with pytest.raises(ValueError, match="Export it in float32 from the CPU"):
        check_model(tiny_model.half())
