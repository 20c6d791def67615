# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Lexical shortlists: model 1 on three pairs by hand, what is always kept, graphs that look at listed ids alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from dims_hf import MODELS
from dims_hf.export import (
    OnnxTranslator,
    Shortlist,
    build_shortlist,
    corpus_shortlist,
    export_onnx,
    shortlist as shortlist_module,
    write_graphs,
)
from dims_hf.export.onnx_builder import LISTED_GROUP, GraphBuilder, WeightStore
from dims_hf.export.shortlist import frequent_targets, lexical_probabilities, likeliest_targets


SOURCE_TEXTS = ["the small dog sees the old cat .", "a cat sleeps in the house today ."]
TARGET_TEXTS = ["der kleine Hund sieht die alte Katze .", "eine Katze schläft heute im Haus ."]

# das Haus / the house, das Buch / the book, ein Buch / a book
DAS, HAUS, BUCH, EIN, THE, HOUSE, BOOK, A = range(5, 13)
SOURCES = [[0, DAS, HAUS, 2], [0, DAS, BUCH, 2], [0, EIN, BUCH, 2]]
TARGETS = [[0, THE, HOUSE, 2], [0, THE, BOOK, 2], [0, A, BOOK, 2]]


def _table(num_iterations):
    arrays = lexical_probabilities(SOURCES, TARGETS, 13, num_iterations=num_iterations)
    return {(source, target): value for source, target, value in zip(*(array.tolist() for array in arrays))}


@pytest.mark.parametrize("chunk", [1, 2, 10])
def test_model_1_on_three_pairs_gives_hand_computed_probabilities(monkeypatch, chunk):
    """
    First three sources share every target token equally. Then t(the | <s>, das, Haus) = 1/3, 1/2, 1/2 gives Haus
    3/8 of "the", and t(house | …) = 1/6, 1/4, 1/2 gives it 6/11 of "house": 11/27 and 16/27 of what it yields.
    """
    monkeypatch.setattr(shortlist_module, "_CHUNK_PAIRS", chunk)
    first, second = _table(1), _table(2)
    assert [first[0, target] for target in (THE, HOUSE, BOOK, A)] == pytest.approx([1 / 3, 1 / 6, 1 / 3, 1 / 6])
    assert [first[DAS, target] for target in (THE, HOUSE, BOOK)] == pytest.approx([1 / 2, 1 / 4, 1 / 4])
    assert [second[HAUS, target] for target in (THE, HOUSE)] == pytest.approx([11 / 27, 16 / 27])
    assert (HAUS, BOOK) not in second and (2, THE) not in second
    for source in (0, DAS, HAUS, BUCH, EIN):
        assert sum(value for (name, _), value in second.items() if name == source) == pytest.approx(1)


def test_likeliest_targets_come_first_ties_by_id_and_rows_end_with_the_source():
    arrays = lexical_probabilities(SOURCES, TARGETS, 13)
    table = likeliest_targets(*arrays, 13, 2)
    assert table.shape == (13, 3) and table.dtype == np.int32
    assert table[[DAS, HAUS, EIN]].tolist() == [[THE, HOUSE, DAS], [HOUSE, THE, HAUS], [A, BOOK, EIN]]
    assert table[[1, THE]].tolist() == [[1, 1, 1], [THE, THE, THE]]
    tied = (np.array([5, 5, 5]), np.array([7, 9, 11]), np.array([0.3, 0.4, 0.3]))
    assert likeliest_targets(*tied, 13, 2)[5].tolist() == [9, 7, 5]


def test_frequent_targets_are_counted_without_specials():
    assert frequent_targets([*TARGETS, [0, 3, 3, 3, BOOK, 2]], 13, [0, 2, 3], 2).tolist() == [BOOK, THE]
    assert frequent_targets(TARGETS, 13, [0, 2], 100).tolist() == [THE, BOOK, HOUSE, A]
    assert frequent_targets(TARGETS, 13, [0, 2], 0).tolist() == []


def test_shortlist_keeps_frequent_ids_and_the_specials_that_can_be_written():
    options = {"vocab_size": 14, "special_ids": [0, 1, 2, 3, 4, 13], "per_token": 1, "frequent": 1}
    trained = build_shortlist(SOURCES, TARGETS, suppressed_ids=[0, 1, 2, 4], **options)
    assert trained.always.tolist() == [3, THE, 13]
    assert trained.settings == {"per_token": 1, "frequent": 1}
    imported = build_shortlist(SOURCES, TARGETS, suppressed_ids=[4], **options)
    assert imported.always.tolist() == [0, 1, 2, 3, THE, 13]
    assert imported.always.dtype == np.int32


def test_more_links_than_are_looked_at_thin_the_corpus(monkeypatch):
    monkeypatch.setattr(shortlist_module, "_MAX_LINKS", 40)
    thinned = lexical_probabilities(SOURCES, TARGETS, 13)
    whole = lexical_probabilities(SOURCES[::2], TARGETS[::2], 13)
    assert all(a.tolist() == b.tolist() for a, b in zip(thinned, whole))


@pytest.mark.parametrize(("sizes", "message"), [((0, 5), "per_token >= 1, got 0"), ((5, -1), "frequent >= 0, got -1")])
def test_shortlist_of_impossible_size_is_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        build_shortlist(SOURCES, TARGETS, vocab_size=13, special_ids=[], per_token=sizes[0], frequent=sizes[1])


def _make_model(family, tokenizer, **fields):
    config = MODELS[family][0](
        vocab_size=len(tokenizer),
        initializer_range=0.5,
        d_model=16,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        max_position_embeddings=48,
        max_target_length=16,
        **fields,
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
    return ids.masked_fill(~is_token, 1).numpy(), is_token.long().numpy()


def _drawn_shortlist(vocab_size, per_token=2):
    by_source = np.repeat(np.arange(vocab_size, dtype=np.int32)[:, None], per_token + 1, axis=1)
    drawn = np.random.default_rng(3).integers(0, vocab_size, (vocab_size - 5, per_token))
    by_source[5:, :per_token] = drawn
    return Shortlist(by_source, np.array([3, 40], np.int32))


@pytest.mark.parametrize(
    ("family", "num_iterations", "fields"),
    [
        ("cmlm", 1, {}),
        ("cmlm", 4, {}),
        ("cmlmc", 3, {}),
        ("cmlm", 1, {"suppress_special_tokens": False, "mask_token_id": 3}),
    ],
)
def test_graphs_with_all_ids_give_the_tokens_and_scores_of_generate(
    tiny_tokenizer, tmp_path, family, num_iterations, fields
):
    model = _make_model(family, tiny_tokenizer, **fields)
    size = model.config.vocab_size
    assert size % LISTED_GROUP, "else nothing would be padded"
    write_graphs(model, tmp_path, num_iterations=num_iterations, shortlist=_drawn_shortlist(size))
    translator = OnnxTranslator(tmp_path, threads=1, shortlist=False)
    batch = _random_batch(size)
    for options in ({"length_beam_size": 1}, {"length_beam_size": 3}):
        expected = model.generate(
            *map(torch.from_numpy, batch),
            num_iterations=num_iterations,
            collapse_repeats=False,
            return_dict_in_generate=True,
            **options,
        )
        sequences, scores = translator.generate(*batch, **options)
        assert sequences.tolist() == expected.sequences.tolist()
        np.testing.assert_allclose(scores, expected.sequences_scores.numpy(), atol=1e-4)


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("num_iterations", [1, 3])
def test_sentence_with_a_shortlist_is_the_same_alone_and_in_a_batch(tiny_tokenizer, tmp_path, num_iterations, int8):
    """Its batch mates list other ids, which it must not write."""
    model = _make_model("cmlm", tiny_tokenizer)
    shortlist = _drawn_shortlist(model.config.vocab_size)
    write_graphs(model, tmp_path, num_iterations=num_iterations, int8=int8, shortlist=shortlist)
    translator = OnnxTranslator(tmp_path, threads=1)
    batch = _random_batch(model.config.vocab_size)
    together, scores = translator.generate(*batch, length_beam_size=3)
    for ids, mask, row, score in zip(*batch, together.tolist(), scores):
        width = mask.sum()
        alone = translator.generate(ids[None, :width], mask[None, :width], length_beam_size=3)
        assert alone[0][0].tolist() == [token for token in row if token != 1]
        assert alone[1][0] == pytest.approx(score, abs=1e-5)
        own = {*shortlist.by_source[ids[:width]].ravel().tolist(), *shortlist.always.tolist()}
        content = {token for token in row[1:] if token not in (1, 2)}
        assert content and content <= own - set(model.suppressed_token_ids())
    exact = OnnxTranslator(tmp_path, threads=1, shortlist=False).generate(*batch, length_beam_size=3)[0]
    assert exact.tolist() != together.tolist()


def test_listed_ids_are_those_of_each_sentence_and_padded_to_groups(tiny_tokenizer, tmp_path):
    model = _make_model("cmlm", tiny_tokenizer)
    shortlist = _drawn_shortlist(model.config.vocab_size)
    write_graphs(model, tmp_path, num_iterations=1, shortlist=shortlist)
    input_ids, _ = _random_batch(model.config.vocab_size)
    ids, is_listed = OnnxTranslator(tmp_path).listed_ids(input_ids).values()
    assert len(ids) % LISTED_GROUP == 0 and is_listed.shape == (6, len(ids))
    for row, allowed in zip(input_ids, is_listed):
        wanted = {*shortlist.by_source[row].ravel().tolist(), *shortlist.always.tolist()}
        assert sorted(ids[allowed].tolist()) == sorted(wanted)
    whole = OnnxTranslator(tmp_path, shortlist=False).listed_ids(input_ids)
    assert whole["is_listed"].sum(axis=1).tolist() == [model.config.vocab_size] * 6
    write_graphs(model, tmp_path / "plain", num_iterations=1)
    assert OnnxTranslator(tmp_path / "plain").listed_ids(input_ids) == {}


@pytest.mark.parametrize("num_rows", [0, 1, 6])
def test_listed_projection_and_its_maximum_are_those_of_numpy(tmp_path, request, num_rows):
    if num_rows == 0:
        request.getfixturevalue("maxima_of_no_rows")
    ort = pytest.importorskip("onnxruntime", reason="needs the onnx extra")
    table = np.random.default_rng(0).normal(size=(100, 16)).astype(np.float32)
    ids = np.random.default_rng(1).permutation(100)[: 2 * LISTED_GROUP]
    rows = np.random.default_rng(2).normal(size=(num_rows, 16)).astype(np.float32)
    for quantized, tolerance in ((False, 1e-5), (True, 0.3)):
        builder = GraphBuilder(WeightStore("weights.bin"), quantized=quantized)
        x, chosen = builder.input("x", np.float32, ("M", 16)), builder.input("ids", np.int64, ("C",))
        logits, scale = builder.listed_projection(x, "table", table, chosen)
        largest, column = builder.max_and_argmax(logits, None)
        scaled = logits if scale is None else builder.op("Mul", logits, scale)
        for name, value, kind in (("logits", scaled, np.float32), ("raw", logits, np.float32)):
            builder.output(name, value, kind, ("M", "C"))
        builder.output("largest", largest, np.float32, ("M", 1))
        builder.output("column", column, np.int64, ("M", 1))
        builder.store.write(tmp_path)
        (tmp_path / "graph.onnx").write_bytes(builder.build("graph").SerializeToString())
        session = ort.InferenceSession(str(tmp_path / "graph.onnx"), providers=["CPUExecutionProvider"])
        found, raw, best, place = session.run(None, {"x": rows, "ids": ids})
        np.testing.assert_allclose(found, rows @ table[ids].T, atol=tolerance)
        assert place.tolist() == raw.argmax(axis=1)[:, None].tolist()
        assert best.tolist() == raw.max(axis=1, keepdims=True).tolist()


def test_corpus_shortlist_and_its_export_say_what_they_hold(tiny_tokenizer, tmp_path):
    for language, texts in (("en", SOURCE_TEXTS), ("de", TARGET_TEXTS)):
        (tmp_path / f"train.{language}").write_text("\n".join(texts) + "\n", encoding="utf-8")
    model = _make_model("cmlm", tiny_tokenizer)
    shortlist = corpus_shortlist(model, tiny_tokenizer, tmp_path, "en", "de", per_token=3, frequent=4)
    size = model.config.vocab_size
    assert shortlist.by_source.shape == (size, 4) and len(shortlist.always) == 4 + 1
    assert 3 in shortlist.always and not set(shortlist.always.tolist()) & set(model.suppressed_token_ids())
    assert shortlist.by_source[1].tolist() == [1] * 4

    out = tmp_path / "out"
    described = export_onnx(
        model,
        tiny_tokenizer,
        out,
        int8=True,
        num_iterations=1,
        sentences=SOURCE_TEXTS,
        references=TARGET_TEXTS,
        shortlist=shortlist,
    )
    listed = described["shortlist"]
    assert listed == json.loads((out / "export.json").read_text(encoding="utf-8"))["shortlist"]
    assert {name: listed[name] for name in ("per_token", "frequent", "num_always", "num_pairs")} == {
        "per_token": 3,
        "frequent": 4,
        "num_always": 5,
        "num_pairs": 2,
    }
    assert 5 < listed["mean_listed_ids"] < size and listed["agreement"]["lengths"] == 1
    assert set(described["quality"]["bleu"]) == {"fp32", "int8", "int8-shortlist"}
    assert "shortlist.npz" in described["sha256"]
    assert "--no-shortlist" in (out / "README.md").read_text(encoding="utf-8")
    with np.load(out / "shortlist.npz") as arrays:
        assert {name: arrays[name].dtype for name in arrays} == {"by_source": np.int32, "always": np.int32}
