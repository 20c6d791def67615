# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Round trips, determinism, special tokens, saving and comparing of the tokenizer."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import unicodedata
from pathlib import Path
from random import Random

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from dims_hf.data import (
    BLANK_TOKEN,
    SPECIAL_TOKENS,
    add_blank,
    check_same_tokenizer,
    save_tokenizer,
    tokenizer_fingerprint,
    train_tokenizer,
)
from dims_hf.data.tokenizer import text_normalizer
from dims_hf.models.source_text import is_blank


ROOT = Path(__file__).parents[3]

# Clean text, as it stands in corpora; every test sentence of Tatoeba joins it where the corpus is at hand.
CLEAN = [
    "Tom doesn't know what he's talking about.",
    "„Wie geht’s?“, fragte Maria – und lächelte.",
    "I paid €1,250.50 (20% off) at 14:35 on 3/4/2019!",
    "Er heißt Jürgen; Größe: 1,85 m, Straße des 17. Juni.",
    "Mr. O'Neill's e-mail, and/or the AT&T invoice #7?",
    "Ça va? Où est l’hôtel «Étoile»?",
    "漢字とかな、한국어。",
]

UNICODE = {
    "plain": "Tom bought the old house.",
    "umlauts": "Größenwahn übermalt die Hündin – ÄÖÜ äöü ß ẞ",
    "quotes": "„Haus“, ‚Haus‘, “Haus”, «Haus», 'Haus', \"Haus\"",
    "apostrophes": "Don't! 'tis the dogs' l''x rock 'n' roll Tom’s ’round",
    "punctuation": "Was?! ... -- !!! (a/b) [c] {d} e_f #g @h 50%; a:b",
    "digits": "2000 77 1,000.50 3½ 1990er A4 ٣٤",
    "emoji": "Hallo 😀👩🏽 🇩🇪!",
    "cjk": "漢字とかな 한국어、中文。",
    "symbols": "€5 + $3 = <x> ~ ^ | \\ ° ₂ ²",
    "signs that NFKC would change": "m² 3½ x⁻¹ H₂O … ™ ℃ № I´m 1ª",
    "looks like a byte token": "<0x41> <0xE2>",
    "looks like a special token": "<s>ten euros</s> <pad> <unk> <mask> <blank> a</s>",
    "one character": "x",
    "one mark": ".",
}


@pytest.mark.parametrize("text", UNICODE.values(), ids=UNICODE.keys())
def test_decode_of_encoded_unicode_returns_the_text(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert tokenizer.unk_token_id not in ids


# What the normaliser changes, and into what.
CHANGED = {
    "blanks": ("  a  b   c ", "a b c"),
    "tab, line ends": ("a\tb\nc\r\nd\v\fe\n", "a b c d e"),
    "Unicode white space": ("a\u00a0b\u2028c\u2029d\u0085e\u3000f\u202fg\u1680h\u2003\u2009i", "a b c d e f g h i"),
    "blank inside tokens": ("a▁b ▁c▁", "a b c"),
    "lost characters": ("a\ufffdb\ufffc", "a b"),
    "braille blank": ("a\u2800b", "a b"),
    "byte order mark": ("\ufeffabc", "abc"),
    "zero width": ("a\u200bb\u200c\u200d\u2060c", "abc"),
    "soft hyphen": ("Do\u00adnau\u00addampf", "Donaudampf"),
    "controls": ("a\x00b\x07c\x1bd\x7fe\x9f", "abcde"),
    "marks of direction": ("\u200eab\u200f \u202acd\u202c \u2066e\u2069\u061c", "ab cd e"),
    "variation selectors": ("❤\ufe0f a\U000e0100", "❤ a"),
    "tags": ("🏴\U000e0067\U000e0062\U000e007f x", "🏴 x"),
    "fillers": ("a\u3164b\u115f\u1160c\uffa0", "abc"),
    "joiner between a letter and its accent": ("e\u034f\u0301", "é"),
    "private use": ("a\ue000b\uf8ff\U00100000", "ab"),
    "full width": ("ＡＢＣ，１２！", "ABC,12!"),
    "ligatures": ("ﬁne ﬂow ĳ", "fine flow ij"),
    "mathematical letters": ("\U0001d456", "i"),
    "decomposed": (unicodedata.normalize("NFD", "Größe"), "Größe"),
}


@pytest.mark.parametrize(("text", "clean"), CHANGED.values(), ids=CHANGED.keys())
def test_unclean_text_has_the_ids_of_clean_text(tokenizer, text, clean):
    ids = tokenizer(text)["input_ids"]
    assert ids == tokenizer(clean)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == clean


@pytest.mark.parametrize("text", ["", " ", "\u00a0\t\n", "\ufeff", "\u200b \u200e", "\u3164", "▁", "\ufffd"])
def test_text_with_nothing_visible_has_no_token(tokenizer, text):
    assert tokenizer(text)["input_ids"] == [0, 2]


def test_normalizer_changes_nothing_twice():
    normalize = text_normalizer().normalize_str
    for code in (*range(0xD800), *range(0xE000, 0x20000), *range(0xE0000, 0xE0200)):
        once = normalize(f"a{chr(code)}b")
        assert normalize(once) == once, hex(code)


def test_what_is_blank_to_a_reader_is_what_the_normalizer_leaves_nothing_of():
    normalize = text_normalizer().normalize_str
    ends = (plane | last for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF))
    # every character of the plane that texts are made of, and of the others those that are nothing
    codes = {*range(0xD800), *range(0xE000, 0x10000), *range(0x110B0, 0x110D0), *range(0x13420, 0x13450), *ends}
    codes |= {*range(0x1BCA0, 0x1BCA8), *range(0x1D170, 0x1D180), *range(0xE0000, 0xE0200)}
    assert [hex(code) for code in sorted(codes) if is_blank(chr(code)) != (normalize(chr(code)) == "")] == []


@pytest.mark.parametrize("text", ["Tom\ufdd0 is\U0001fffe here.", "Tom is\U00013430 here.\U0010ffff"])
def test_noncharacters_change_no_sentence(tokenizer, text):
    assert tokenizer(text)["input_ids"] == tokenizer("Tom is here.")["input_ids"]


@pytest.mark.parametrize("name", ["tatoeba-en-de-cmlm", "tatoeba-en-de-dims"])
def test_shipped_tokenizer_has_the_normalizer_and_encodes_clean_text_as_it_did(name):
    folder = ROOT / "model_cards" / name
    tokenizer = AutoTokenizer.from_pretrained(folder)
    spec = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    ours = train_tokenizer(["a b"], 60)
    assert spec["normalizer"] == json.loads(ours.backend_tokenizer.to_str())["normalizer"]
    assert tokenizer.split_special_tokens
    before = _with_nfc_alone(spec)
    shared = ROOT.parent / "shared/data/tatoeba-de-en"
    texts = CLEAN + [line for path in sorted(shared.glob("test.[de][en]")) for line in path.read_text().splitlines()]
    assert tokenizer(texts)["input_ids"] == [encoding.ids for encoding in before.encode_batch(texts)]


def _with_nfc_alone(spec: dict) -> Tokenizer:
    before = Tokenizer.from_str(json.dumps({**spec, "normalizer": {"type": "NFC"}}))
    before.encode_special_tokens = True
    return before


def test_names_of_special_tokens_are_text_after_saving_and_loading_too(tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    alone = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    alone.encode_special_tokens = True
    for text in ("<s>ten euros</s>", "<mask>", "a <pad> b", "<unk>", "</s><s>", "x <blank>"):
        ids = tokenizer(text)["input_ids"]
        assert (ids[0], ids[-1]) == (0, 2) and min(ids[1:-1]) > 4
        assert loaded(text)["input_ids"] == alone.encode(text).ids == ids
        assert loaded.decode(ids, skip_special_tokens=True) == alone.decode(ids) == text


def test_decode_of_decomposed_text_returns_it_composed(tokenizer):
    text = unicodedata.normalize("NFD", "Größe über é")
    decoded = tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True)
    assert text != decoded == unicodedata.normalize("NFC", text)


def test_character_without_token_or_bytes_becomes_unk(bpe):
    ids = bpe("Tom 漢 Tom")["input_ids"]
    assert ids.count(bpe.unk_token_id) == 1
    assert not any(token.startswith("<0x") for token in bpe.get_vocab())


def test_special_tokens_have_the_five_first_ids(tokenizer):
    assert (
        tokenizer.convert_ids_to_tokens(range(5))
        == list(SPECIAL_TOKENS)
        == ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    )
    ids = [tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id]
    assert [*ids, tokenizer.mask_token_id] == [0, 1, 2, 3, 4]
    assert set(tokenizer.all_special_tokens) == set(SPECIAL_TOKENS)


def test_call_adds_bos_and_eos_on_both_sides(tokenizer):
    encoded = tokenizer("Tom", text_target="Maria!")
    assert set(encoded) == {"input_ids", "attention_mask", "labels"}
    for key in ("input_ids", "labels"):
        ids = encoded[key]
        assert (ids[0], ids[-1]) == (0, 2)
        assert not set(ids[1:-1]) & {0, 1, 2, 3, 4}
    assert tokenizer.decode([4, *ids[1:-1]]).startswith("<mask>")


def test_word_has_the_same_token_with_and_without_punctuation(bpe):
    for text in ("Haus Haus. Haus! Haus, Haus... Haus? Haus: Haus; Haus) Haus“",):
        tokens = bpe.tokenize(text)
        assert tokens.count("▁Haus") == 10
    assert bpe.tokenize("like doesn't like")[1:2] == ["▁doesn't"]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_training_twice_in_other_processes_and_orders_gives_the_same_tokenizer(sentences, tmp_path, kind):
    path = tmp_path / "texts.json"
    path.write_text(json.dumps(sentences[::-1]), encoding="utf-8")
    program = (
        "import json, sys; from dims_hf.data import train_tokenizer, tokenizer_fingerprint\n"
        "texts = json.load(open(sys.argv[1], encoding='utf-8'))\n"
        "print(tokenizer_fingerprint(train_tokenizer(texts, 450, kind=sys.argv[2], byte_fallback=True)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(path), kind], cwd=ROOT, capture_output=True, text=True, check=True
    )
    here = train_tokenizer(sentences, 450, kind=kind, byte_fallback=True)
    assert run.stdout.strip() == tokenizer_fingerprint(here)


def test_vocab_size_is_met_when_the_texts_suffice(sentences, bpe):
    assert len(bpe) == 200
    assert len(train_tokenizer(sentences, 420, byte_fallback=True)) == 420


def test_vocab_size_too_large_for_the_texts_gives_a_smaller_vocabulary_and_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        tokenizer = train_tokenizer(["ab ab"], 100)
    assert tokenizer.convert_ids_to_tokens(range(5, len(tokenizer))) == ["a", "b", "▁", "ab", "▁ab"]
    assert "only 10 of the 100 tokens" in caplog.text


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"vocab_size": 8},
            r"vocab_size=8 is too small: 5 special tokens, 0 byte tokens and 4 characters need at least 9",
        ),
        (
            {"vocab_size": 264, "byte_fallback": True},
            r"256 byte tokens and 4 characters need at least 265.*byte_fallback",
        ),
        ({"vocab_size": 50, "kind": "wordpiece"}, r"Unknown tokenizer kind 'wordpiece'. Use 'bpe' or 'unigram'"),
        ({"vocab_size": 1110, "max_digits": 3}, r"4 characters, and 1110 groups of digits .* need at least 1119"),
        ({"vocab_size": 50, "max_digits": 4}, r"max_digits=4 must lie between 1 and 3, for kind='bpe'"),
        ({"vocab_size": 50, "max_digits": 0}, r"max_digits=0 must lie between 1 and 3"),
        ({"vocab_size": 50, "max_digits": 2, "kind": "unigram"}, r"for kind='bpe'"),
        ({"vocab_size": 50, "texts": []}, r"no text to train"),
        ({"vocab_size": 50, "texts": [" ", "\u200b", ""]}, r"no text to train"),
    ],
)
def test_train_tokenizer_impossible_request_is_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        train_tokenizer(**{"texts": ["abc abc"], **kwargs})


def test_byte_fallback_is_the_default_from_4000_tokens_on(sentences):
    assert "<0x00>" in train_tokenizer(sentences, 4000).get_vocab()
    assert "<0x00>" not in train_tokenizer(sentences, 3999).get_vocab()


def test_saved_tokenizer_loads_with_auto_tokenizer_and_gives_the_same_ids(tokenizer, tmp_path):
    tokenizer(["a", "a b c"], padding=True, truncation=True, max_length=3)
    save_tokenizer(tokenizer, tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not {"auto_map", "is_local"} & set(config)
    stored = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert stored["padding"] is None and stored["truncation"] is None
    assert {path.name for path in tmp_path.iterdir()} == {"tokenizer.json", "tokenizer_config.json"}
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    check_same_tokenizer(tokenizer, loaded)
    assert loaded.model_max_length == 256
    for text in UNICODE.values():
        assert loaded(text).data == tokenizer(text).data
        assert loaded.decode(loaded(text)["input_ids"], skip_special_tokens=True) == text


def test_saved_tokenizer_loads_where_dims_hf_is_not_importable(bpe, tmp_path):
    save_tokenizer(bpe, tmp_path)
    program = (
        "import sys; sys.modules['dims_hf'] = None; from transformers import AutoTokenizer\n"
        "print(AutoTokenizer.from_pretrained(sys.argv[1])('Tom bought the red car.')['input_ids'])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout) == bpe("Tom bought the red car.")["input_ids"]


def test_check_same_tokenizer_accepts_equal_and_names_the_first_difference(sentences, bpe):
    check_same_tokenizer(bpe, train_tokenizer(sentences, 200, max_length=64))
    other = train_tokenizer([text.replace("T", "Q") for text in sentences], 200)
    teacher, student = bpe.convert_ids_to_tokens(range(200)), other.convert_ids_to_tokens(range(200))
    first = next(index for index in range(200) if teacher[index] != student[index])
    assert first > 5
    message = rf"id {first} is {teacher[first]!r} in the teacher's vocabulary \(200 tokens\) and {student[first]!r} in"
    with pytest.raises(ValueError, match=message):
        check_same_tokenizer(bpe, other)


def test_check_same_tokenizer_shorter_vocabulary_names_the_first_missing_token(sentences, bpe):
    shorter = train_tokenizer(sentences, 190)
    token = bpe.convert_ids_to_tokens(190)
    with pytest.raises(ValueError, match=rf"id 190 is {token!r} .*200 tokens.* and missing in .*190 tokens.*Use the"):
        check_same_tokenizer(bpe, shorter)


def test_check_same_tokenizer_same_tokens_other_merges_is_refused(bpe):
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    spec = json.loads(bpe.backend_tokenizer.to_str())
    spec["model"]["merges"] = spec["model"]["merges"][::-1]
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(spec)))
    with pytest.raises(ValueError, match="other merges or scores"):
        check_same_tokenizer(bpe, other)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("normalizer", {"type": "Lowercase"}),
        ("pre_tokenizer", {"type": "WhitespaceSplit"}),
        ("post_processor", None),
    ],
)
def test_check_same_tokenizer_same_tokens_other_rules_is_refused(bpe, name, value):
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    spec = {**json.loads(bpe.backend_tokenizer.to_str()), name: value}
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(spec)))
    with pytest.raises(ValueError, match=f"200 tokens but another {name}, so the same text would"):
        check_same_tokenizer(bpe, other)


def test_save_tokenizer_that_fails_leaves_the_former_files_whole(sentences, bpe, tmp_path, monkeypatch):
    save_tokenizer(bpe, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr("dims_hf.data.tokenizer._clean_config", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_tokenizer(train_tokenizer(sentences, 190), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_tokenizer_fingerprint_depends_on_the_vocabulary_only(sentences, bpe):
    fingerprint = tokenizer_fingerprint(bpe)
    assert len(fingerprint) == 12 and int(fingerprint, 16) >= 0
    bpe(["a", "b c"], padding=True)
    assert tokenizer_fingerprint(bpe) == fingerprint
    assert tokenizer_fingerprint(train_tokenizer(sentences, 199)) != fingerprint


# ---- blank ----


@pytest.mark.parametrize(("kind", "vocab_size"), [("bpe", 120), ("unigram", 120), ("bpe", 420)])
def test_train_tokenizer_with_blank_gives_it_the_sixth_id(kind, vocab_size):
    texts = ["the old house is here .", "das alte Haus ist hier ."] * 3
    tokenizer = train_tokenizer(texts, vocab_size, kind=kind, byte_fallback=vocab_size > 300, with_blank=True)
    assert tokenizer.convert_ids_to_tokens(list(range(6))) == [*SPECIAL_TOKENS, BLANK_TOKEN]
    ids = tokenizer(texts[0])["input_ids"]
    assert 5 not in ids and tokenizer.decode(ids, skip_special_tokens=True) == texts[0]
    assert tokenizer.decode([0, 5, *ids[1:], 5], skip_special_tokens=True) == texts[0]
    before = len(tokenizer)
    add_blank(tokenizer)  # it has one
    assert len(tokenizer) == before


def test_add_blank_appends_it_to_an_existing_tokenizer(tmp_path):
    tokenizer = train_tokenizer(["the old house is here ."], 60)
    ids, size = tokenizer("the house")["input_ids"], len(tokenizer)
    add_blank(tokenizer)
    save_tokenizer(tokenizer, tmp_path)
    for each in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        assert each.convert_tokens_to_ids(BLANK_TOKEN) == size == len(each) - 1
        assert each("the house")["input_ids"] == ids
        assert each.decode([*ids, size], skip_special_tokens=True) == "the house"


# ---- numbers, directions ----


@pytest.fixture(scope="module")
def grouped(sentences):
    """A tokenizer that cuts numbers into groups of up to three digits, with two direction tokens."""
    return train_tokenizer(sentences, 1700, byte_fallback=True, max_digits=3, direction_tokens=[">>de<<", ">>en<<"])


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("7", ["▁", "7"]),
        ("2000", ["▁", "200", "0"]),
        ("1,250.5", ["▁", "1", ",", "250", ".", "5"]),
        ("14.350", ["▁", "14", ".", "350"]),
        ("555555", ["▁", "55", "555", "5"]),
        ("100000", ["▁", "100", "000"]),
        ("Tom4", ["▁Tom", "4"]),
    ],
)
def test_numbers_are_cut_into_groups_from_the_left(grouped, text, tokens):
    assert grouped.tokenize(text) == tokens


def test_numbers_come_back_and_those_below_eight_digits_have_no_equal_neighbours(grouped):
    random = Random(0)
    numbers = [str(number) for number in range(0, 10**6, 37)]
    numbers += [digit * size for digit in "0123456789" for size in range(1, 8)]
    numbers += ["".join(random.choices("01", k=random.randint(1, 7))) for _ in range(3000)]
    numbers += [f"{first}{first}" for first in range(100, 1000)]
    for number, ids in zip(numbers, grouped(numbers)["input_ids"], strict=True):
        assert all(left != right for left, right in zip(ids, ids[1:], strict=False)), number
        assert grouped.decode(ids, skip_special_tokens=True) == number


def test_fewer_digits_per_group_also_have_no_equal_neighbours(sentences):
    pairs = train_tokenizer(sentences, 600, byte_fallback=True, max_digits=2)
    single = train_tokenizer(sentences, 500, byte_fallback=True, max_digits=1)
    assert pairs.tokenize("1234") == ["▁", "12", "34"] and pairs.tokenize("1212") == ["▁", "1", "21", "2"]
    assert single.tokenize("120") == ["▁", "1", "2", "0"]


def test_direction_token_is_one_token_and_changes_nothing_else(grouped):
    plain = grouped("Tom bought 22 letters.")["input_ids"]
    directed = grouped(">>de<< Tom bought 22 letters.")["input_ids"]
    assert directed == [plain[0], grouped.convert_tokens_to_ids(">>de<<"), *plain[1:]]
    assert grouped.decode(directed, skip_special_tokens=True) == ">>de<< Tom bought 22 letters."


def test_vocabulary_with_groups_of_digits_is_as_large_as_asked_for(sentences):
    tokenizer = train_tokenizer(sentences, 1530, byte_fallback=True, max_digits=3, direction_tokens=[">>de<<"])
    assert len(tokenizer) == 1530 and "7" in tokenizer.get_vocab()


def test_large_vocabulary_has_a_token_for_every_printable_ascii_character(sentences):
    vocabulary = train_tokenizer(sentences, 4000).get_vocab()
    assert not [character for character in map(chr, range(0x21, 0x7F)) if character not in vocabulary]
