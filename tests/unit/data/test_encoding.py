# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Encoding of a corpus, and the ids and lengths it refuses."""

from __future__ import annotations

import logging

import pytest
from datasets import Dataset

from dims_hf.data import encode_corpus


PAIRS = [
    ("Tom.", "Tom!"),
    ("the old house", "das alte Haus"),
    ("Tom bought the red car.", "Tom kaufte das rote Auto!"),
]


@pytest.fixture
def pairs() -> Dataset:
    return Dataset.from_dict({"source": [pair[0] for pair in PAIRS], "target": [pair[1] for pair in PAIRS]})


def encode(pairs, tokenizer, **kwargs):
    limits = {"max_source_length": 64, "max_target_length": 64, "vocab_size": len(tokenizer)}
    return encode_corpus(pairs, tokenizer, **{**limits, **kwargs})


def test_encode_corpus_gives_index_and_ids_of_both_sides(pairs, bpe):
    encoded = encode(pairs, bpe)
    assert encoded.column_names == ["index", "input_ids", "labels"]
    assert list(encoded["index"]) == [0, 1, 2]
    assert encoded[1]["input_ids"] == bpe("the old house")["input_ids"]
    assert encoded[1]["labels"] == bpe("das alte Haus")["input_ids"]
    assert encoded[0]["input_ids"] == [0, *bpe.convert_tokens_to_ids(["▁Tom", "."]), 2]


def test_encode_corpus_is_the_same_in_small_batches(pairs, bpe, monkeypatch):
    whole = encode(pairs, bpe).to_dict()
    monkeypatch.setattr("dims_hf.data.encoding._BATCH_SIZE", 2)
    assert encode(pairs, bpe).to_dict() == whole


def test_encode_corpus_ignores_the_tokenizer_s_own_limit(bpe):
    long = " ".join(["Tom"] * 40)
    assert bpe.model_max_length == 32
    encoded = encode(Dataset.from_dict({"source": [long], "target": [long]}), bpe)
    assert len(encoded[0]["input_ids"]) == len(encoded[0]["labels"]) == 42


@pytest.mark.parametrize(("limit", "side"), [("max_source_length", "source"), ("max_target_length", "target")])
def test_encode_corpus_sentence_too_long_is_refused_with_its_row(pairs, bpe, limit, side):
    lengths = [len(bpe(pair[0 if side == "source" else 1])["input_ids"]) for pair in PAIRS]
    longest = max(lengths)
    assert lengths.index(longest) == 2
    encode(pairs, bpe, **{limit: longest})
    message = rf"Row 2: the {side} has {longest} tokens .* at most {longest - 1} \(1 of 3 .*drop_too_long=True"
    with pytest.raises(ValueError, match=message):
        encode(pairs, bpe, **{limit: longest - 1})


def test_encode_corpus_drop_too_long_keeps_the_index_and_counts(pairs, bpe, caplog):
    first_too_long = Dataset.from_dict({"source": pairs["source"][::-1], "target": pairs["target"][::-1]})
    with caplog.at_level(logging.WARNING):
        encoded = encode(first_too_long, bpe, max_source_length=6, drop_too_long=True)
    assert list(encoded["index"]) == [1, 2]
    assert encoded[0]["labels"] == bpe("das alte Haus")["input_ids"]
    assert "Dropped 1 of 3 pairs longer than 6 source or 64 target tokens" in caplog.text


def test_encode_corpus_id_out_of_range_is_refused_with_row_and_token(pairs, bpe):
    ids = [max(bpe(pair[0])["input_ids"]) for pair in PAIRS]
    row = next(row for row, largest in enumerate(ids) if largest >= max(ids))
    encode(pairs, bpe, vocab_size=200)
    token = bpe.convert_ids_to_tokens(max(ids))
    with pytest.raises(
        ValueError, match=rf"Row {row}: the source has token id {max(ids)} \('{token}'\).*{max(ids)}\."
    ):
        encode(pairs, bpe, vocab_size=max(ids))


def test_encode_corpus_without_bos_and_eos_is_refused(pairs, bpe):
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(bpe.backend_tokenizer.to_str())
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    bare = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    with pytest.raises(ValueError, match="Row 0: the source is not encoded as <s> … </s>.*train_tokenizer"):
        encode(pairs, bare)


@pytest.mark.parametrize(
    ("rows", "kwargs", "message"),
    [
        ({"source": ["Tom"], "target": [""]}, {}, "Row 0: the target has no token: nothing in it can be seen. Remove"),
        ({"source": ["Tom", "\u200b\ufeff "], "target": ["Tom"] * 2}, {}, "Row 1: the source has no token"),
        ({"source": ["Tom", None], "target": ["Tom"] * 2}, {}, "Row 1: the source is no text but NoneType. Remove"),
        ({"source": [], "target": []}, {}, "None of the 0 pairs is left"),
        (
            {"source": ["Tom"], "target": ["Tom"]},
            {"max_source_length": 2, "drop_too_long": True},
            "None of the 1 pairs",
        ),
    ],
)
def test_encode_corpus_nothing_to_learn_from_is_refused(bpe, rows, kwargs, message):
    with pytest.raises(ValueError, match=message):
        encode(Dataset.from_dict(rows), bpe, **kwargs)


def test_encode_corpus_logs_the_share_of_unknown_tokens_per_side(bpe, caplog):
    rows = Dataset.from_dict({"source": ["Tom"], "target": ["Tom 漢"]})
    with caplog.at_level(logging.INFO):
        encode(rows, bpe)
    # "▁Tom" on the left; "▁Tom", "▁" and one <unk> on the right.
    messages = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert messages == [
        ("INFO", "1 sources, 1 tokens, 0 of them <unk> (0.000 %)."),
        ("WARNING", "1 targets, 3 tokens, 1 of them <unk> (33.333 %)."),
    ]


def test_encode_corpus_sources_alone_are_encoded_and_dropped_by_their_own_length(pairs, bpe, caplog):
    limits = {"max_source_length": 64, "max_target_length": 64, "vocab_size": len(bpe)}
    sources = pairs.remove_columns("target")
    encoded = encode_corpus(sources, bpe, **limits)
    assert encoded.column_names == ["index", "input_ids"]
    assert list(encoded["input_ids"]) == list(encode_corpus(pairs, bpe, **limits)["input_ids"])
    longest = max(map(len, encoded["input_ids"]))
    kept = encode_corpus(sources, bpe, **{**limits, "max_source_length": longest - 1}, drop_too_long=True)
    assert 0 < len(kept) < len(encoded) and "sentences longer than" in caplog.text
