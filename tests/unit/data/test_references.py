# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Several targets of a source: lists in JSONL, pairs that are joined, and their encoding."""

from __future__ import annotations

import json

import pytest
from datasets import Dataset

from dims_hf.data import corpus_fingerprint, encode_corpus, load_corpus
from dims_hf.data.corpora import join_references


ROWS = [
    ("the cat", ["die Katze", "der Kater"]),
    ("the dog", "der Hund"),
    ("the cat", ["die Katze", "die Mieze"]),
    ("a house", ["ein Haus"]),
]


@pytest.fixture
def corpus(tmp_path):
    lines = [json.dumps({"translation": {"en": source, "de": target}}) + "\n" for source, target in ROWS]
    (tmp_path / "train.jsonl").write_text("".join(lines), encoding="utf-8")
    (tmp_path / "valid.jsonl").write_text(lines[1], encoding="utf-8")
    return tmp_path


def test_every_target_of_a_list_is_a_pair(corpus):
    train = load_corpus(corpus, "en", "de")["train"]
    assert list(zip(train["source"], train["target"], strict=True)) == [
        ("the cat", "die Katze"), ("the cat", "der Kater"), ("the dog", "der Hund"), ("the cat", "die Katze"),
        ("the cat", "die Mieze"), ("a house", "ein Haus"),
    ]  # fmt: skip
    assert "references" not in train.column_names


def test_pairs_of_a_source_are_joined_each_target_once_and_read_again(corpus):
    splits = load_corpus(corpus, "en", "de", max_references=3)
    train = splits["train"]
    assert list(train["source"]) == ["the cat", "the dog", "a house"]
    assert list(train["references"]) == [["die Katze", "der Kater", "die Mieze"], ["der Hund"], ["ein Haus"]]
    assert list(train["target"]) == ["die Katze", "der Hund", "ein Haus"]
    assert "references" not in splits["valid"].column_names
    again = load_corpus(splits, "en", "de", max_references=3)["train"]
    assert again.to_dict() == train.to_dict()
    two = load_corpus(corpus, "en", "de", max_references=2)["train"]
    assert list(two["references"])[0] == ["die Katze", "der Kater"]
    assert corpus_fingerprint(two) != corpus_fingerprint(train)


def test_bad_targets_are_refused_where_they_stand(corpus):
    path = corpus / "train.jsonl"
    for bad, message in (([], "list of 'de' sentences is empty"), (["gut", 3], "is 3, not a string")):
        path.write_text(json.dumps({"translation": {"en": "x", "de": bad}}) + "\n", encoding="utf-8")
        with pytest.raises(ValueError, match=f"train.jsonl:1: .*{message}"):
            load_corpus(corpus, "en", "de")
    lines = [{"en": "x", "de": ["a", "b"]}, {"en": "y", "de": ["c", " "]}]
    path.write_text("".join(json.dumps({"translation": row}) + "\n" for row in lines), encoding="utf-8")
    with pytest.raises(ValueError, match=r"train.jsonl:2 \('de'\): the sentence is empty"):
        load_corpus(corpus, "en", "de")
    with pytest.raises(ValueError, match="max_references is 0"):
        load_corpus(corpus, "en", "de", max_references=0)


def test_targets_are_encoded_and_those_too_long_left_out(tiny_tokenizer):
    pairs = Dataset.from_dict(
        {
            "source": ["the cat"] * 3 + ["the dog"],
            "target": ["die Katze schläft heute im Haus .", "Katze", "Hund", "Hund"],
        }
    )
    joined = join_references(pairs, 3)
    longest = len(tiny_tokenizer("Katze")["input_ids"])
    limits = {"max_source_length": 40, "vocab_size": len(tiny_tokenizer)}
    encoded = encode_corpus(joined, tiny_tokenizer, max_target_length=longest, drop_too_long=True, **limits)
    ids = {text: tiny_tokenizer(text)["input_ids"] for text in ("Katze", "Hund")}
    kept = [ids[text] for text in ("Katze", "Hund") if len(ids[text]) <= longest]
    assert list(encoded["references"])[0] == kept and list(encoded["labels"])[0] == ids["Katze"]
    with pytest.raises(ValueError, match="too long"):
        encode_corpus(joined, tiny_tokenizer, max_target_length=longest, **limits)
