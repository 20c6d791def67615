# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Trimming the tokenizer of a pre-trained encoder, and joining it with that of targets."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from dims_hf import SourceTargetTokenizer
from dims_hf.data import (
    check_same_tokenizer,
    join_tokenizers,
    save_tokenizer,
    tokenizer_fingerprint,
    train_tokenizer,
    trim_tokenizer,
)
from tests.fixtures.encoders import more_sentences
from tests.fixtures.teachers import make_sources


KINDS = ("wordpiece", "bpe", "unigram")
NAMES = {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
SOURCES = make_sources(60)


def tokens(tokenizer: Tokenizer, text: str) -> list[str]:
    return tokenizer.encode(text, add_special_tokens=False).tokens


@pytest.fixture
def joined(encoder_tokenizers, tiny_tokenizer) -> SourceTargetTokenizer:
    return join_tokenizers(encoder_tokenizers["wordpiece"], tiny_tokenizer, SOURCES)


@pytest.mark.parametrize("kind", KINDS)
def test_texts_of_the_corpus_are_cut_as_before_with_fewer_tokens(kind, encoder_tokenizers):
    full = encoder_tokenizers[kind]
    trimmed = trim_tokenizer(full, SOURCES)
    for text in SOURCES:
        assert tokens(trimmed, text) == full.tokenize(text)
    removed = set(full.get_vocab()) - set(trimmed.get_vocab())
    assert removed and set(trimmed.get_vocab()) < set(full.get_vocab())
    # what is left out is what only the other sentences need
    assert any(set(full.tokenize(text)) & removed for text in more_sentences())


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_come_first_and_others_keep_their_order(kind, encoder_tokenizers):
    full = encoder_tokenizers[kind]
    trimmed = trim_tokenizer(full, SOURCES)
    vocab = trimmed.get_vocab()
    kept = sorted(vocab, key=vocab.__getitem__)
    assert [vocab[token] for token in kept] == list(range(len(kept)))
    assert kept[:5] == [full.cls_token, full.pad_token, full.sep_token, full.unk_token, full.mask_token]
    old = [full.get_vocab()[token] for token in kept[5:]]
    assert old == sorted(old)
    encoding = trimmed.encode("the cat")
    assert (encoding.ids[0], encoding.ids[-1]) == (0, 2) and len(encoding.ids) > 2


@pytest.mark.parametrize("kind", KINDS)
def test_words_that_were_not_in_the_corpus_are_spelt(kind, encoder_tokenizers):
    full, trimmed = encoder_tokenizers[kind], trim_tokenizer(encoder_tokenizers[kind], SOURCES)
    assert "answered" not in " ".join(SOURCES)
    for word in ("answered", "travelled"):
        assert "".join(tokens(trimmed, word)).replace("##", "") == "".join(full.tokenize(word)).replace("##", "")
        assert full.unk_token not in tokens(trimmed, word)


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_special_tokens_in_a_text_are_text(kind, encoder_tokenizers, tiny_tokenizer):
    joined = join_tokenizers(encoder_tokenizers[kind], tiny_tokenizer, SOURCES)
    name = encoder_tokenizers[kind].sep_token
    ids = joined(f"a {name} b")["input_ids"]
    assert ids[0] == 0 and ids[-1] == 2 and 2 not in ids[1:-1]


def test_unknown_characters_of_a_unigram_model_are_as_before(encoder_tokenizers):
    full, texts = encoder_tokenizers["unigram"], ["the small ☂dog", "☂☂ sees☂ a cat"]
    trimmed = trim_tokenizer(full, texts)
    for text in texts:
        assert [id_ == 3 for id_ in trimmed.encode(text).ids] == [
            id_ == full.unk_token_id for id_ in full(text)["input_ids"]
        ]


def hand_made_bpe() -> PreTrainedTokenizerFast:
    words = [*"abcdx", "ab", "abc", "cd", "bc", "xa", "xab", *NAMES.values()]
    merges = [("a", "b"), ("c", "d"), ("ab", "c"), ("b", "c"), ("x", "a"), ("xa", "b"), ("x", "ab")]
    model = models.BPE(vocab={word: index for index, word in enumerate(words)}, merges=merges)
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), **NAMES)


def test_merges_on_the_way_to_a_token_stay_and_others_go():
    # "abc" is a + b, then ab + c; "xab" would need x + ab (or xa + b)
    trimmed = json.loads(trim_tokenizer(hand_made_bpe(), ["abc"]).to_str())["model"]
    assert list(trimmed["vocab"]) == [*NAMES.values(), *"abcdx", "ab", "abc"]
    assert [tuple(merge) for merge in trimmed["merges"]] == [("a", "b"), ("ab", "c")]


def test_added_tokens_stay_where_the_corpus_has_them():
    full = hand_made_bpe()
    full.add_tokens(["d d", "unused"])
    trimmed = trim_tokenizer(full, ["cd d", "d dab"])
    assert tokens(trimmed, "d dab") == ["d d", "ab"] == full.tokenize("d dab")
    assert "unused" not in trimmed.get_vocab()


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        (SimpleNamespace(), r"has no tokenizer\.json\. Only fast"),
        (
            PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))),
            r"is a WordLevel model.*WordPiece, BPE, Unigram",
        ),
        (
            PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), cls_token="<s>", pad_token="<pad>"),
            r"has no sep_token and no unk_token and no mask_token\. Take the encoder",
        ),
    ],
)
def test_tokenizers_that_cannot_be_trimmed_are_refused(tokenizer, message):
    with pytest.raises(ValueError, match=message):
        trim_tokenizer(tokenizer, ["a"])


def test_target_tokenizer_with_other_special_ids_is_refused(encoder_tokenizers):
    with pytest.raises(ValueError, match=r"has the ids .* Use one made by train_tokenizer"):
        join_tokenizers(encoder_tokenizers["bpe"], hand_made_bpe(), SOURCES)


def test_sources_and_targets_are_encoded_by_their_own_side(joined, encoder_tokenizers, tiny_tokenizer):
    text, target = "The small dog sleeps .", "der kleine Hund"
    assert joined.tokenize(text) == encoder_tokenizers["wordpiece"].tokenize(text)
    assert joined.encode(text) == joined(text)["input_ids"]
    assert joined(text_target=target)["input_ids"] == tiny_tokenizer(target)["input_ids"]
    both = joined([text], text_target=[target])
    assert both["input_ids"] == [joined(text)["input_ids"]]
    assert both["labels"] == [tiny_tokenizer(target)["input_ids"]]
    assert len(joined) == len(tiny_tokenizer) != len(joined.source_tokenizer)
    assert joined.decode(both["labels"][0], skip_special_tokens=True) == target


def test_batches_are_padded_and_cut_as_asked(joined):
    batch = joined(["the cat", "the small old cat sees a dog ."], padding=True, return_tensors="pt")
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert batch["input_ids"][0].eq(1).sum() == batch["attention_mask"][0].eq(0).sum() > 0
    joined.padding_side = "left"
    left = joined(["the cat", "the small old cat sees a dog ."], padding=True, return_tensors="pt")
    assert left["input_ids"][0, 0] == 1
    assert len(joined("the small old cat sees a dog .", truncation=True, max_length=4)["input_ids"]) == 4


def test_tokenizer_comes_back_from_its_folder_without_trust(joined, tmp_path):
    save_tokenizer(joined, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"tokenizer.json", "source_tokenizer.json", "tokenization_source_target.py"} <= names
    again = AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=False)
    assert type(again) is SourceTargetTokenizer
    assert again(SOURCES)["input_ids"] == joined(SOURCES)["input_ids"]
    assert again(text_target="der Hund")["input_ids"] == joined(text_target="der Hund")["input_ids"]
    assert tokenizer_fingerprint(again) == tokenizer_fingerprint(joined)
    check_same_tokenizer(again, joined)
    (tmp_path / "source_tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"source_tokenizer\.json is missing"):
        AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=False)


def test_other_sources_are_another_tokenizer(joined, encoder_tokenizers, tiny_tokenizer):
    other = join_tokenizers(encoder_tokenizers["wordpiece"], tiny_tokenizer, SOURCES[:2])
    assert tokenizer_fingerprint(other) != tokenizer_fingerprint(joined)
    with pytest.raises(ValueError, match=r"does not match the teacher's: id"):
        check_same_tokenizer(joined, other)
    with pytest.raises(ValueError, match=r"Only one of teacher and student has a source tokenizer"):
        check_same_tokenizer(joined, tiny_tokenizer)


def test_blank_is_added_to_the_targets(encoder_tokenizers):
    target = train_tokenizer(["der Hund"], 60, with_blank=True)
    joined = join_tokenizers(encoder_tokenizers["bpe"], target, SOURCES)
    assert joined.convert_tokens_to_ids("<blank>") == 5
    assert "<blank>" not in joined.source_tokenizer.get_vocab()
