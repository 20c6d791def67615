# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""ONNX exports of tiny Imputers: alignments and tokens of `generate()`, padding, int8, limits and refusals."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from dims_hf import CMLMConfig, CMLMForConditionalGeneration, ImputerConfig, ImputerForConditionalGeneration
from dims_hf.export import OnnxTranslator, export_onnx, onnx_decoding, write_graphs
from dims_hf.export.onnx_export import choose_graph
from dims_hf.export.onnx_graphs import ImputerGraph
from dims_hf.export.shortlist import Shortlist


onnxruntime = pytest.importorskip("onnxruntime", reason="needs the onnx extra")
pytest.importorskip("onnx", reason="needs the onnx extra")

SIZES = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 28,
    "max_position_embeddings": 48,
}
IMPORTED = {"suppress_special_tokens": False, "mask_token_id": 3}
SENTENCES = ["the small dog sees the old cat .", "a cat .", "a dog .", "der Hund"]


def _make_model(tokenizer: Any, *, seed: int = 0, legacy_adjacency: bool = False, **fields: Any) -> Any:
    """Wide random weights, and positions that count: the predictions differ from place to place."""
    config = ImputerConfig(vocab_size=len(tokenizer), initializer_range=0.2, **{**SIZES, **fields})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ImputerForConditionalGeneration(config).eval()
    with torch.no_grad():
        for stack in (model.get_encoder(), model.get_decoder()):
            stack.embed_positions.weight.mul_(8)
    model.generation_config.legacy_adjacency = legacy_adjacency
    return model


def _random_batch(vocab_size: int, longest: int = 14) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([3, 9, longest, 5, longest, 8])
    is_token = torch.arange(longest) < lengths.unsqueeze(1)
    ids = torch.randint(6, vocab_size, is_token.shape, generator=torch.Generator().manual_seed(5))
    ids[:, 0] = 0
    ids[torch.arange(6), lengths - 1] = 2
    return ids.masked_fill(~is_token, 1), is_token.long()


@pytest.mark.parametrize(
    ("num_iterations", "legacy_adjacency", "fields"),
    [
        (1, False, {}),
        (1, False, {"upsample_ratio": 3, "activation_function": "gelu", **IMPORTED}),
        (2, False, {"upsample_ratio": 1}),
        (4, False, {}),
        (4, False, {"update_all_positions": True}),
        (4, True, {"upsample_ratio": 3}),
        (5, True, {"update_all_positions": True, **IMPORTED}),
        # longer than the alignments of most sentences
        (20, False, IMPORTED),
    ],
)
def test_graphs_give_the_alignments_tokens_and_scores_of_generate(
    tiny_tokenizer, tmp_path, num_iterations: int, legacy_adjacency: bool, fields: dict
):
    model = _make_model(tiny_tokenizer, legacy_adjacency=legacy_adjacency, **fields)
    described = write_graphs(model, tmp_path, num_iterations=num_iterations)
    assert list(described["graphs"]) == (["model"] if num_iterations == 1 else ["encoder", "decoder"])
    translator = OnnxTranslator(tmp_path, threads=1)
    batch = _random_batch(model.config.vocab_size)
    arrays = [array.numpy() for array in batch]
    expected = model.generate(*batch, num_iterations=num_iterations, return_dict_in_generate=True, output_history=True)
    sequences, scores = translator.generate(*arrays)
    assert sequences.tolist() == expected.sequences.tolist()
    np.testing.assert_allclose(scores, expected.sequences_scores.numpy(), atol=1e-4)
    alignments = translator.align(*arrays)
    assert alignments.tolist() == expected.history[-1].token_ids.tolist()
    assert (alignments == model.config.pad_token_id).sum() >= (~arrays[1].astype(bool)).sum()
    # else the blocks would not matter
    assert len(set(alignments[4].tolist())) > 4


@pytest.mark.parametrize("num_iterations", [1, 4])
def test_blank_penalty_is_in_the_graphs(tiny_tokenizer, tmp_path, num_iterations: int):
    model = _make_model(tiny_tokenizer)
    batch = _random_batch(model.config.vocab_size)
    arrays = [array.numpy() for array in batch]
    with torch.no_grad():
        # a blank a little likelier than what is predicted most, or there would be none
        likeliest = [id for id in model.generate(*batch, num_iterations=1).flatten().tolist() if id > 2]
        likeliest = max(set(likeliest), key=likeliest.count)
        model.model.shared.weight[model.config.blank_token_id] = 1.01 * model.model.shared.weight[likeliest]
    plain = model.generate(*batch, num_iterations=num_iterations).tolist()
    model.generation_config.blank_penalty = 2.0
    assert write_graphs(model, tmp_path, num_iterations=num_iterations)["settings"]["blank_penalty"] == 2.0
    expected = model.generate(*batch, num_iterations=num_iterations, return_dict_in_generate=True)
    sequences, scores = OnnxTranslator(tmp_path, threads=1).generate(*arrays)
    assert sequences.tolist() == expected.sequences.tolist() != plain
    np.testing.assert_allclose(scores, expected.sequences_scores.numpy(), atol=1e-4)


def test_blank_penalty_is_divided_as_int8_rows_are(tiny_tokenizer, tmp_path):
    model, logits = _make_model(tiny_tokenizer), []
    arrays = [array.numpy() for array in _random_batch(model.config.vocab_size)]
    for penalty in (0.0, 2.0):
        model.generation_config.blank_penalty = penalty
        write_graphs(model, tmp_path / str(penalty), num_iterations=1, int8=True)
        session = onnxruntime.InferenceSession(tmp_path / str(penalty) / "model.onnx")
        inputs = dict(zip((value.name for value in session.get_inputs()), arrays))
        found = dict(zip(names := ["logits", "logit_scale"], session.run(names, inputs)))
        logits.append(found["logits"] * found["logit_scale"])
    difference = np.zeros_like(logits[0])
    difference[:, model.config.blank_token_id] = 2.0
    np.testing.assert_allclose(logits[0] - logits[1], difference, atol=1e-5)


def test_a_shortlist_does_not_go_with_a_blank_penalty(tiny_tokenizer):
    model = _make_model(tiny_tokenizer)
    model.generation_config.blank_penalty = 2.0
    assert choose_graph(model, "auto") == "built"
    with pytest.raises(ValueError, match="A shortlist does not go with a blank_penalty"):
        choose_graph(model, "auto", has_shortlist=True)


def test_settings_of_the_model_change_the_tokens(tiny_tokenizer, tmp_path):
    """Each rule of the translator decides something on these weights."""
    outputs = set()
    for legacy_adjacency, update_all in ((False, False), (True, False), (False, True)):
        model = _make_model(tiny_tokenizer, legacy_adjacency=legacy_adjacency, update_all_positions=update_all)
        write_graphs(model, tmp_path, num_iterations=4)
        translator = OnnxTranslator(tmp_path, threads=1)
        batch = [array.numpy() for array in _random_batch(model.config.vocab_size, longest=15)]
        outputs |= {str(translator.align(*batch, num_iterations=passes).tolist()) for passes in (1, 4, 7)}
    # one pass is the same for all three
    assert len(outputs) == 1 + 3 * 2


@pytest.mark.parametrize(("num_iterations", "int8"), [(1, False), (1, True), (4, False), (4, True)])
def test_sentence_alone_and_in_a_padded_batch_gets_the_same_tokens(
    tiny_tokenizer, tmp_path, num_iterations: int, int8: bool
):
    model = _make_model(tiny_tokenizer)
    write_graphs(model, tmp_path, num_iterations=num_iterations, int8=int8)
    translator = OnnxTranslator(tmp_path, threads=1)
    batch = [array.numpy() for array in _random_batch(model.config.vocab_size)]
    together = translator.generate(*batch)[0].tolist()
    assert len({tuple(row) for row in together}) == 6
    for ids, mask, row in zip(*batch, together):
        width = mask.sum()
        alone = translator.generate(ids[None, :width], mask[None, :width])[0][0].tolist()
        assert alone == [token for token in row if token != 1]


def test_one_pass_without_scores_gives_the_same_tokens(tiny_tokenizer, tmp_path):
    write_graphs(_make_model(tiny_tokenizer), tmp_path, num_iterations=1)
    translator = OnnxTranslator(tmp_path, threads=1)
    batch = [array.numpy() for array in _random_batch(len(tiny_tokenizer))]
    with_scores, without = translator.generate(*batch), translator.generate(*batch, with_scores=False)
    assert with_scores[0].tolist() == without[0].tolist()
    assert not without[1].any() and with_scores[1].all()


@pytest.mark.parametrize("num_iterations", [1, 3])
def test_int8_export_is_verified_measured_and_translates(tiny_tokenizer, tmp_path, num_iterations: int):
    described = export_onnx(
        _make_model(tiny_tokenizer),
        tiny_tokenizer,
        tmp_path / "out",
        int8=True,
        num_iterations=num_iterations,
        sentences=SENTENCES,
        references=SENTENCES,
    )
    assert described == json.loads((tmp_path / "out" / "export.json").read_text())
    assert described["model_type"] == "imputer" and described["verification"]["num_tokens"] > 100
    assert 0.5 < described["agreement"]["tokens"] <= 1
    assert set(described["quality"]["bleu"]) == {"fp32", "int8"}
    assert len(OnnxTranslator(tmp_path / "out").translate(SENTENCES)) == len(SENTENCES)


def test_agreement_of_alignments_counts_positions_and_no_padding(tiny_tokenizer, tmp_path, monkeypatch):
    from dims_hf.export.onnx_export import agreement

    write_graphs(_make_model(tiny_tokenizer), tmp_path, num_iterations=1)
    (tmp_path / "tokenizer.json").write_text(tiny_tokenizer.backend_tokenizer.to_str(), encoding="utf-8")
    exact, other = OnnxTranslator(tmp_path, threads=1), OnnxTranslator(tmp_path, threads=1)
    assert agreement(exact, other, SENTENCES)["tokens"] == 1
    align = other.align

    def align_wrongly(*batch: np.ndarray) -> np.ndarray:
        """The first position of each alignment is another one."""
        alignments = align(*batch)
        alignments[:, 0] = 0
        return alignments

    monkeypatch.setattr(other, "align", align_wrongly)
    num_positions = 2 * sum(map(len, exact.encode(SENTENCES)))
    assert agreement(exact, other, SENTENCES)["tokens"] == pytest.approx(1 - len(SENTENCES) / num_positions)


def test_graph_that_differs_from_pytorch_is_refused_and_leaves_nothing(tiny_tokenizer, tmp_path, monkeypatch):
    right = ImputerGraph._joint_bias
    monkeypatch.setattr(ImputerGraph, "_joint_bias", lambda self, attention: right(self, attention) + 1)
    with pytest.raises(ValueError, match="do not give PyTorch's tokens.*Nothing was written"):
        export_onnx(_make_model(tiny_tokenizer), tiny_tokenizer, tmp_path / "out", num_iterations=1)
    assert list(tmp_path.iterdir()) == []


def test_translator_with_another_rule_is_refused_and_leaves_nothing(tiny_tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_decoding, "_select_apart", onnx_decoding._select_legacy)
    with pytest.raises(ValueError, match="do not give PyTorch's tokens.*Nothing was written"):
        export_onnx(_make_model(tiny_tokenizer), tiny_tokenizer, tmp_path / "out", num_iterations=4)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("num_iterations", [1, 3])
def test_source_whose_alignment_does_not_fit_is_refused(tiny_tokenizer, tmp_path, num_iterations: int):
    export_onnx(_make_model(tiny_tokenizer), tiny_tokenizer, tmp_path / "out", num_iterations=num_iterations)
    translator = OnnxTranslator(tmp_path / "out", threads=1)
    assert translator.max_source_length == 24
    rows = [[0, *[7] * 22, 2], [0, *[7] * 23, 2]]
    longest, overlong = translator.pad(rows[:1]), translator.pad(rows)
    assert translator.generate(*longest)[0].shape[0] == 1
    with pytest.raises(
        ValueError, match=r"Row 1 has 25 tokens, .* at most 24 \(an alignment has 2 positions per token.*48\)\. Split"
    ):
        translator.generate(*overlong)
    text = translator.tokenizer.decode([7] * 22)
    assert len(translator.tokenizer.encode(text).ids) == 25
    with pytest.raises(ValueError, match=r"sources\[1\] has 25 tokens, the model takes at most 24"):
        translator.translate(["a cat .", text])


def test_settings_an_imputer_cannot_follow_are_refused(tiny_tokenizer, tmp_path):
    write_graphs(_make_model(tiny_tokenizer), tmp_path, num_iterations=1)
    translator = OnnxTranslator(tmp_path, threads=1)
    batch = [array.numpy() for array in _random_batch(len(tiny_tokenizer))]
    for options, message in [
        ({"length_beam_size": 3}, "predicts no length.*Leave out length_beam_size"),
        ({"target_lengths": np.arange(1, 7)}, "predicts no length.*and target_lengths"),
        ({"num_iterations": 2}, "decodes in one pass.*--num-iterations 2"),
        ({"num_iterations": 0}, "num_iterations must be an integer >= 1, got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            translator.generate(*batch, **options)


def test_align_of_a_model_that_predicts_lengths_is_refused(tiny_tokenizer, tmp_path):
    config = CMLMConfig(vocab_size=len(tiny_tokenizer), **SIZES)
    write_graphs(CMLMForConditionalGeneration(config).eval(), tmp_path, num_iterations=1)
    with pytest.raises(ValueError, match="writes no alignments"):
        OnnxTranslator(tmp_path, threads=1).align(np.array([[0, 7, 2]]), np.ones((1, 3), np.int64))


@pytest.mark.parametrize("num_iterations", [1, 4])
def test_shortlist_limits_an_imputer_and_all_ids_do_not(tiny_tokenizer, tmp_path, num_iterations: int):
    model = _make_model(tiny_tokenizer)
    size, blank = model.config.vocab_size, model.config.blank_token_id
    by_source = np.random.default_rng(3).integers(6, size, (size, 3), dtype=np.int32)
    write_graphs(
        model, tmp_path, num_iterations=num_iterations, shortlist=Shortlist(by_source, np.array([blank], np.int32))
    )
    batch = [part.numpy() for part in _random_batch(size)]
    exact = OnnxTranslator(tmp_path, threads=1, shortlist=False).generate(*batch)[0]
    expected = model.generate(*map(torch.from_numpy, batch), num_iterations=num_iterations)
    assert exact.tolist() == expected.tolist()
    alignments = OnnxTranslator(tmp_path, threads=1).align(*batch)
    for ids, row in zip(batch[0], alignments.tolist(), strict=True):
        own = {*by_source[ids].ravel().tolist(), blank}
        assert {token for token in row if token != 1} <= own
