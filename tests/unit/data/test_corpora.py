# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Every form of corpus gives the same data set; every bad one is refused with file, line and fix."""

from __future__ import annotations

import json
import logging
import sys
import types
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from dims_hf.data import corpus_fingerprint, load_corpus, load_sentences


ENGLISH = ["Tom is here.", "The dog saw you.", "It is \u2028 late."]
GERMAN = ["Tom ist hier.", "Der Hund sah dich.", "Es ist \u0085 spät."]


def write_text(folder: Path, english=ENGLISH, german=GERMAN, splits=("train", "valid", "test")) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split in splits:
        (folder / f"{split}.en").write_bytes(("\n".join(english) + "\n").encode())
        (folder / f"{split}.de").write_bytes(("\n".join(german) + "\n").encode())
    return folder


def write_jsonl(path: Path, english=ENGLISH, german=GERMAN, **extra) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"translation": {"en": en, "de": de}} for en, de in zip(english, german, strict=True)]
    for name, values in extra.items():
        rows = [{**row, name: value} for row, value in zip(rows, values, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def as_lists(corpus: DatasetDict) -> dict:
    return {split: rows.to_dict() for split, rows in corpus.items()}


# ---- what is read -------------------------------------------------------------------------------------------------


def test_load_corpus_folder_of_text_gives_source_and_target(tmp_path):
    corpus = load_corpus(str(write_text(tmp_path)), "en", "de")
    assert as_lists(corpus) == dict.fromkeys(("train", "valid", "test"), {"source": ENGLISH, "target": GERMAN})


def test_load_corpus_other_direction_exchanges_the_sides(tmp_path):
    corpus = load_corpus(write_text(tmp_path), "de", "en")
    assert corpus["train"].to_dict() == {"source": GERMAN, "target": ENGLISH}


def test_load_corpus_jsonl_in_every_form_equals_the_folder_of_text(tmp_path):
    expected = as_lists(load_corpus(write_text(tmp_path / "text"), "en", "de"))
    folder = tmp_path / "json"
    files = {split: write_jsonl(folder / f"{split}.jsonl") for split in ("train", "valid", "test")}
    for data in (folder, str(folder), files, list(files.values())):
        assert as_lists(load_corpus(data, "en", "de")) == expected


def test_load_corpus_single_file_is_the_split_asked_for(tmp_path):
    path = write_jsonl(tmp_path / "news.jsonl")
    assert list(load_corpus(str(path), "en", "de", splits=("test",))) == ["test"]
    assert list(load_corpus(str(path), "en", "de", required=("train",))) == ["train"]


def test_load_corpus_validation_and_dev_are_valid(tmp_path):
    for name in ("validation", "dev"):
        folder = write_text(tmp_path / name, splits=("train", name))
        assert list(load_corpus(folder, "en", "de")) == ["train", "valid"]
        write_jsonl(tmp_path / f"json-{name}" / "train.jsonl")
        write_jsonl(tmp_path / f"json-{name}" / f"{name}.jsonl")
        assert list(load_corpus(tmp_path / f"json-{name}", "en", "de")) == ["train", "valid"]


def test_load_corpus_strips_blanks_byte_order_mark_and_carriage_returns(tmp_path):
    (tmp_path / "train.en").write_bytes(b"\xef\xbb\xbf Tom \r\n\tMary")
    (tmp_path / "train.de").write_bytes("Tom\r\nMaria\u00a0\r\n".encode())
    corpus = load_corpus(tmp_path, "en", "de", splits=("train",))
    assert corpus["train"].to_dict() == {"source": ["Tom", "Mary"], "target": ["Tom", "Maria"]}


def test_load_corpus_near_file_or_key_becomes_a_column(tmp_path):
    text = write_text(tmp_path / "text")
    (text / "test.near").write_text("1\n0\n1\n", encoding="utf-8")
    for split in ("train", "valid"):
        write_jsonl(tmp_path / "json" / f"{split}.jsonl")
    write_jsonl(tmp_path / "json" / "test.jsonl", near=[1, 0, 1])
    for folder in (text, tmp_path / "json"):
        corpus = load_corpus(folder, "en", "de")
        assert corpus["test"].column_names == ["source", "target", "near"]
        assert list(corpus["test"]["near"]) == [1, 0, 1]
        assert corpus["train"].column_names == ["source", "target"]


def test_load_corpus_max_examples_keeps_the_first_with_their_columns(tmp_path):
    folder = write_text(tmp_path)
    (folder / "test.near").write_text("1\n0\n1\n", encoding="utf-8")
    corpus = load_corpus(folder, "en", "de", max_examples={"train": 1, "test": 2, "valid": 99})
    assert [len(corpus[split]) for split in ("train", "valid", "test")] == [1, 3, 2]
    assert corpus["test"].to_dict() == {"source": ENGLISH[:2], "target": GERMAN[:2], "near": [1, 0]}


def test_load_corpus_test_split_may_be_missing_in_training_only(tmp_path):
    folder = write_text(tmp_path, splits=("train", "valid"))
    assert list(load_corpus(folder, "en", "de")) == ["train", "valid"]
    with pytest.raises(ValueError, match="has no split 'test'; it has 'train', 'valid'"):
        load_corpus(folder, "en", "de", required=("train", "test"))
    with pytest.raises(ValueError, match="no 'test' in 'en' and 'de'.*'test.en'.*holds 'train.de', 'train.en'"):
        load_corpus(folder, "en", "de", splits=("test",))


def test_load_corpus_drop_bad_rows_leaves_them_out_and_counts(tmp_path, caplog):
    folder = write_text(tmp_path, ["a", "b", "c <mask>", "d"], ["A", " ", "C", "D"], splits=("train",))
    (folder / "train.near").write_text("0\n0\n0\n1\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        corpus = load_corpus(folder, "en", "de", splits=("train",), drop_bad_rows=True)
    assert corpus["train"].to_dict() == {"source": ["a", "d"], "target": ["A", "D"], "near": [0, 1]}
    assert "Dropped 2 of 4 pairs" in caplog.text and "train.en" in caplog.text


# ---- what is refused ----------------------------------------------------------------------------------------------


def text_with(**files: bytes):
    """A corpus of text files some of which are replaced (name with "_" for "."), or left out (None)."""

    def write(folder: Path) -> Path:
        write_text(folder)
        for name, content in files.items():
            path = folder / name.replace("_", ".")
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_bytes(content)
        return folder

    return write


def jsonl_with(line: str):
    """A JSONL corpus whose second line is replaced."""

    def write(folder: Path) -> Path:
        path = write_jsonl(folder / "train.jsonl")
        lines = path.read_text(encoding="utf-8").split("\n")
        lines[1] = line
        path.write_text("\n".join(lines), encoding="utf-8")
        return write_jsonl(folder / "valid.jsonl").parent

    return write


ENGLISH_TEXT = "The cat is not with you and that is the end of it.\n" * 10
GERMAN_TEXT = "Die Katze ist nicht mit dem Hund und das ist auch zu sehen.\n" * 10

BAD_CORPORA = {
    "missing language file": (
        text_with(train_de=None),
        r"train\.de: no such file.* has train in 'en'.*Add the file",
    ),
    "missing language of another split": (
        text_with(valid_en=None),
        r"valid\.en: no such file.* has valid in 'de'",
    ),
    "missing split": (
        text_with(valid_en=None, valid_de=None),
        r"has no split 'valid'; it has 'train', 'test'\. Add the missing files",
    ),
    "unequal line counts": (
        text_with(train_de=b"Eins.\nZwei.\n"),
        r"train\.en has 3 lines but .*train\.de has 2\. Line n .* make the counts equal",
    ),
    "empty line": (
        text_with(train_de=b"Eins.\n\nDrei.\n"),
        r"train\.de:2: the sentence is empty\. Correct it, remove the pair on both sides",
    ),
    "blank line at the end": (
        text_with(train_en=b"One.\nTwo.\n \n"),
        r"train\.en:3: the sentence is empty\.",
    ),
    "invalid utf-8": (
        text_with(train_de="Eins.\nzwölf\ndrei\n".encode("latin-1")),
        r"train\.de:2: not valid UTF-8 \(byte 0xf6\)\. Convert the file, e\.g\. .iconv",
    ),
    "special token": (
        text_with(test_en=b"One.\nTwo.\nA <mask> here.\n"),
        r"test\.en:3: the sentence contains '<mask>', .*Correct it",
    ),
    "end token": (
        text_with(valid_de=b"</s>\nZwei.\nDrei.\n"),
        r"valid\.de:1: the sentence contains '</s>'",
    ),
    "empty file": (
        text_with(train_en=b"", train_de=b""),
        r"train\.en has no sentences\. Put at least one pair",
    ),
    "swapped files": (
        text_with(train_en=GERMAN_TEXT.encode(), train_de=ENGLISH_TEXT.encode()),
        r"train\.en should be 'en' but reads like 'de', and .*train\.de the other way round.*swap",
    ),
    "side file with other length": (
        text_with(test_near=b"1\n0\n"),
        r"test\.near has 2 lines but .*test\.en has 3\. Give it one 0 or 1 per pair",
    ),
    "side file with other values": (
        text_with(test_near=b"1\nyes\n0\n"),
        r"test\.near:2: 'yes' is neither 0 nor 1\. Correct the line",
    ),
    "malformed json": (
        jsonl_with('{"translation": {"en": "a"'),
        r"train\.jsonl:2: not valid JSON \(.* at column \d+\)\. The file must hold one",
    ),
    "empty json line": (jsonl_with(""), r"train\.jsonl:2: empty line\. The file must hold"),
    "json list": (jsonl_with("[1]"), r"train\.jsonl:2: no object under the key 'translation', only a list\."),
    "no translation key": (
        jsonl_with('{"en": "a", "de": "b"}'),
        r"train\.jsonl:2: no object under the key 'translation', only the keys 'en', 'de'\.",
    ),
    "language key missing": (
        jsonl_with('{"translation": {"en": "a", "nl": "b"}}'),
        r"train\.jsonl:2: no language 'de' in this row, only 'en', 'nl'\. Add it, or ask for",
    ),
    "not a string": (
        jsonl_with('{"translation": {"en": 5, "de": "b"}}'),
        r"train\.jsonl:2: the 'en' sentence is 5, not a string\. Put it in quotes",
    ),
    "empty json sentence": (
        jsonl_with('{"translation": {"en": "a", "de": " "}}'),
        r"train\.jsonl:2 \('de'\): the sentence is empty",
    ),
    "side key in some rows only": (
        jsonl_with('{"translation": {"en": "a", "de": "b"}, "near": 1}'),
        r"train\.jsonl:1: 'near' is None, neither 0 nor 1\. Give every row",
    ),
    "missing folder": (
        lambda folder: write_text(folder) / "nowhere",
        r"no file or folder '.*nowhere'; .* holds .*'train\.en'.*Correct the path",
    ),
    "missing json file": (
        lambda folder: {"train": write_jsonl(folder / "a.jsonl"), "valid": folder / "b.jsonl"},
        r"no file '.*b\.jsonl'; .* holds 'a\.jsonl'\. Add it",
    ),
    "json file without a split name": (
        lambda folder: [write_jsonl(folder / "a.jsonl")],
        r"a\.jsonl' starts with no split name\. Name the files train\*\.jsonl",
    ),
    "two json files for a split": (
        lambda folder: [write_jsonl(folder / "valid.jsonl"), write_jsonl(folder / "dev.jsonl")],
        r"dev\.jsonl' is a second file for split 'valid'\.",
    ),
    "unknown split in a dict": (
        lambda folder: {"training": write_jsonl(folder / "a.jsonl")},
        r"Unknown split 'training' in data\. Use 'train', 'valid', 'test'",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD_CORPORA.values(), ids=BAD_CORPORA.keys())
def test_load_corpus_bad_corpus_is_refused_with_file_line_and_fix(tmp_path, make, message):
    with pytest.raises(ValueError, match=message):
        load_corpus(make(tmp_path), "en", "de")


BAD_REQUESTS = {
    "same language": (("en", "en"), {}, "both 'en'. Give two languages"),
    "no language": (("en", ""), {}, "target_lang is ''. Give the language's file suffix"),
    "language not there": (("en", "fr"), {}, r"train\.fr: no such file.* train in 'de', 'en'.*target_lang='fr'"),
    "unknown split": (("en", "de"), {"splits": ("dev",)}, "Unknown split 'dev'. Use 'train', 'valid', 'test'"),
    "no examples": (("en", "de"), {"max_examples": {"train": 0}}, "max_examples for 'train' is 0. Use 1 or more"),
}


@pytest.mark.parametrize(("languages", "kwargs", "message"), BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_load_corpus_bad_request_is_refused(tmp_path, languages, kwargs, message):
    with pytest.raises(ValueError, match=message):
        load_corpus(write_text(tmp_path), *languages, **kwargs)


def test_load_corpus_swapped_check_accepts_right_files_and_foreign_names(tmp_path):
    english, german = ENGLISH_TEXT.strip().split("\n"), GERMAN_TEXT.strip().split("\n")
    load_corpus(write_text(tmp_path, english, german), "en", "de")
    load_corpus(tmp_path, "de", "en")
    # One side in the wrong language is not a swap, e.g. a copy task or a corpus full of names.
    load_corpus(write_text(tmp_path / "copy", english, english), "en", "de")


# ---- the Hub and the embedded corpus ------------------------------------------------------------------------------


def hub(monkeypatch, result) -> list:
    """Stands in for `datasets.load_dataset`: returns (or raises) `result` and records its arguments."""
    calls = []

    def load_dataset(*args):
        calls.append(args)
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    return calls


def pairs(english=ENGLISH, german=GERMAN) -> Dataset:
    return Dataset.from_dict({"translation": [{"en": en, "de": de} for en, de in zip(english, german, strict=True)]})


@pytest.mark.parametrize(
    ("data", "config", "expected"),
    [
        ("wmt14", None, ("wmt14", None)),
        ("user/opus_books:de-en", None, ("user/opus_books", "de-en")),
        ("user/opus_books", "de-en", ("user/opus_books", "de-en")),
    ],
)
def test_load_corpus_hub_data_set_is_loaded_with_its_config(monkeypatch, tmp_path, data, config, expected):
    monkeypatch.chdir(tmp_path)
    calls = hub(monkeypatch, DatasetDict({"train": pairs(), "validation": pairs(), "extra": pairs()}))
    corpus = load_corpus(data, "en", "de", data_config=config, max_examples={"train": 2})
    assert calls == [expected]
    assert as_lists(corpus) == {
        "train": {"source": ENGLISH[:2], "target": GERMAN[:2]},
        "valid": {"source": ENGLISH, "target": GERMAN},
    }


def test_load_corpus_hub_problems_are_refused_by_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    hub(monkeypatch, ConnectionError("Couldn't reach\nthe Hub"))
    with pytest.raises(
        ValueError, match="no file or folder 'user/name', and as a Hub data set .*ConnectionError: Could"
    ):
        load_corpus("user/name", "en", "de")
    hub(monkeypatch, DatasetDict({"train": Dataset.from_dict({"text": ["a"]})}))
    with pytest.raises(ValueError, match=r"name \[train\] has no column 'translation', only 'text'"):
        load_corpus("name", "en", "de")
    hub(monkeypatch, DatasetDict({"extra": pairs()}))
    with pytest.raises(ValueError, match="'name' has no split 'train', 'valid', 'test'; it has 'extra'"):
        load_corpus("name", "en", "de")
    hub(monkeypatch, DatasetDict({"train": pairs(["a", ""], ["A", "B"]), "validation": pairs()}))
    with pytest.raises(ValueError, match=r"name \[train\] row 1 \('en'\): the sentence is empty.*drop_bad_rows"):
        load_corpus("name", "en", "de")
    assert len(load_corpus("name", "en", "de", drop_bad_rows=True)["train"]) == 1
    with pytest.raises(ValueError, match=r"name \[train\] row 0: no language 'fr' in this row, only .*'de'"):
        load_corpus("name", "en", "fr")


@pytest.mark.parametrize("data", ["a/b/c", "/nowhere/x", "./name", "../name", "name.jsonl", "here/name"])
def test_load_corpus_missing_path_does_not_ask_the_hub(monkeypatch, tmp_path, data):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    calls = hub(monkeypatch, ConnectionError())
    with pytest.raises(ValueError, match=f"There is no file or folder '{data}'.*Correct the path"):
        load_corpus(data, "en", "de")
    assert not calls


@pytest.fixture
def phrasebook(monkeypatch) -> list[dict]:
    """Stands in for the embedded corpus, whose own tests are elsewhere; records the sizes asked for."""
    calls = []

    def phrasebook_corpus(**sizes):
        calls.append(sizes)
        return {split: [("the dog", "der Hund")] * sizes.get(split, 2) for split in ("train", "valid", "test")}

    module = types.SimpleNamespace(PHRASEBOOK_LANGUAGES=("en", "de"), phrasebook_corpus=phrasebook_corpus)
    monkeypatch.setitem(sys.modules, "dims_hf.phrasebook", module)
    return calls


def test_load_corpus_phrasebook_generates_the_sizes_asked_for(phrasebook):
    corpus = load_corpus("phrasebook", "en", "de", splits=("train", "test"), max_examples={"train": 5})
    assert phrasebook == [{"train": 5}]
    assert {split: len(rows) for split, rows in corpus.items()} == {"train": 5, "test": 2}
    assert corpus["train"][4] == {"source": "the dog", "target": "der Hund"}


@pytest.mark.parametrize("split", ["valid", "test"])
def test_load_corpus_phrasebook_more_held_out_pairs_than_training_leaves_out_is_refused(phrasebook, split):
    load_corpus("phrasebook", "en", "de", splits=(split,), max_examples={split: 500, "train": 501})
    with pytest.raises(ValueError, match=f"max_examples for '{split}' is 501.*only 500 sentences.*phrasebook --out"):
        load_corpus("phrasebook", "en", "de", splits=(split,), max_examples={split: 501})
    assert len(phrasebook) == 1


def test_load_corpus_phrasebook_in_other_languages_is_refused(phrasebook):
    with pytest.raises(ValueError, match="'phrasebook' translates 'en' to 'de', not 'de' to 'en'"):
        load_corpus("phrasebook", "de", "en")
    assert not phrasebook


# ---- fingerprint --------------------------------------------------------------------------------------------------


def test_corpus_fingerprint_changes_with_every_sentence_split_and_side():
    base = Dataset.from_dict({"source": ["a", "b"], "target": ["A", "B"]})
    others = [
        {"source": ["a", "c"], "target": ["A", "B"]},
        {"source": ["a", "b"], "target": ["A", "C"]},
        {"source": ["b", "a"], "target": ["B", "A"]},
        {"source": ["A", "B"], "target": ["a", "b"]},
        {"source": ["a\nb"], "target": ["A\nB"]},
    ]
    prints = {corpus_fingerprint(Dataset.from_dict(rows)) for rows in others}
    prints |= {corpus_fingerprint(base), corpus_fingerprint({"train": base}), corpus_fingerprint({"test": base})}
    assert len(prints) == len(others) + 3
    assert corpus_fingerprint(base) == corpus_fingerprint(base.add_column("near", [0, 1]))
    assert all(len(value) == 12 for value in prints)


def test_load_sentences_reads_a_file_and_the_folder_around_it_alike(tmp_path):
    path = tmp_path / "train.en"
    path.write_text(" One dog. \nTwo cats.\nThree.\n", encoding="utf-8")
    expected = ["One dog.", "Two cats.", "Three."]
    assert list(load_sentences(path, "en")["source"]) == list(load_sentences(tmp_path, "en")["source"]) == expected
    assert list(load_sentences(path, "en", max_examples=2)["source"]) == expected[:2]
    assert corpus_fingerprint(load_sentences(path, "en")) != corpus_fingerprint(
        load_sentences(path, "en", max_examples=2)
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("One.\n\nTwo.\n", r"mono\.en:2: the sentence is empty"),
        ("a <mask> b\n", "special token"),
        ("", "no sentences"),
    ],
)
def test_load_sentences_bad_file_is_refused_with_its_line(tmp_path, content, message):
    path = tmp_path / "mono.en"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_sentences(path, "en")


def test_load_sentences_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"train\.fr"):
        load_sentences(tmp_path, "fr")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("Hello.\n".encode("utf-16"), "UTF-16"),
        ("Hello.\n".encode("utf-16").decode("latin1").encode(), "NUL|UTF-16"),
        (b"Hel\0lo.\n", "NUL"),
        ("\u200b\n".encode(), "is empty"),
        (b"\x1f\x8b\x08\0", "compressed with gzip"),
        (b"PAR1\0\0", "a Parquet file"),
    ],
)
def test_load_corpus_what_is_no_text_is_recognised(tmp_path: Path, content: bytes, words: str):
    (tmp_path / "train.en").write_bytes(content)
    (tmp_path / "train.de").write_bytes(b"Hallo.\n")
    with pytest.raises(ValueError, match=words):
        load_corpus(tmp_path, "en", "de", splits=("train",))


def test_load_corpus_carriage_returns_alone_end_lines(tmp_path: Path):
    (tmp_path / "train.en").write_bytes(b"\xef\xbb\xbfHello.\rGood morning.\r")
    (tmp_path / "train.de").write_bytes(b"Hallo.\rGuten Morgen.\r")
    assert load_corpus(tmp_path, "en", "de", splits=("train",))["train"]["source"][:] == ["Hello.", "Good morning."]


@pytest.mark.parametrize(
    "bad", ['{"en": null, "de": "x"}', '{"en": "\\ud800", "de": "x"}', '{"en": "\\u0000", "de": "x"}']
)
def test_load_corpus_null_and_damaged_rows_are_refused_or_dropped(tmp_path: Path, bad: str):
    good = '{"translation": {"en": "Hello.", "de": "Hallo."}}\n'
    (tmp_path / "train.jsonl").write_text(good + f'{{"translation": {bad}}}\n')
    with pytest.raises(ValueError, match=r"train.jsonl:2 \('en'\): the sentence "):
        load_corpus(tmp_path, "en", "de", splits=("train",))
    kept = load_corpus(tmp_path, "en", "de", splits=("train",), drop_bad_rows=True)["train"]
    assert kept["source"][:] == ["Hello."]


def test_load_corpus_pairs_that_are_there_twice_are_refused(tmp_path: Path):
    write_jsonl(write_text(tmp_path, splits=("train", "valid")) / "valid.json")
    assert list(load_corpus(tmp_path, "en", "de", splits=("train",))) == ["train"]
    with pytest.raises(ValueError, match=r"has its 'valid' pairs twice: 'valid.en' with 'valid.de', and 'valid.json'"):
        load_corpus(tmp_path, "en", "de")


@pytest.mark.parametrize("line", ["[" * 100_000, '{"translation": ' + "9" * 5000 + "}"])
def test_load_corpus_json_that_no_reader_takes_is_one_line(tmp_path: Path, line: str):
    (tmp_path / "train.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match="train.jsonl:1: not valid JSON"):
        load_corpus(tmp_path, "en", "de", splits=("train",))


def test_load_corpus_takes_loaded_data_sets_and_its_own_result(tmp_path: Path):
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_list([{"translation": {"en": "Hello.", "de": "Hallo."}}])
    loaded = load_corpus(DatasetDict({"train": rows}), "en", "de", splits=("train",))
    assert loaded["train"]["target"][:] == ["Hallo."]
    assert load_corpus(loaded, "en", "de", splits=("train",))["train"]["source"][:] == ["Hello."]
    with pytest.raises(ValueError, match="has no column 'translation', only 'text'"):
        load_corpus({"train": Dataset.from_dict({"text": ["a"]})}, "en", "de", splits=("train",))


def test_load_corpus_home_of_nobody_is_one_line():
    with pytest.raises(ValueError, match="~nouser.*whole path"):
        load_corpus("~nouser/corpus", "en", "de")
