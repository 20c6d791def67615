# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The corpus for both directions: what is in it, that an interrupted build ends the same, and that none are mixed."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from dims_hf.data import building, load_corpus
from dims_hf.data.building import CorpusSettings, build_corpus


@pytest.fixture
def settings(tmp_path, sentences) -> CorpusSettings:
    english, german = sentences[: len(sentences) // 2], sentences[len(sentences) // 2 :]
    german = [text.replace("Maria", "Mary") for text in german]
    folder = tmp_path / "corpus"
    folder.mkdir()
    for language, texts in (("en", english), ("de", german)):
        for split, lines in (("train", texts[:70]), ("valid", texts[70:80]), ("test", texts[60:64])):
            (folder / f"{split}.{language}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return CorpusSettings([folder], tmp_path / "built", vocab_size=1800, valid_size=6)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_corpus_has_both_directions_without_held_out_sentences(settings):
    report = build_corpus(settings)
    assert report["pairs"]["valid"] == 6 and report["pairs"]["left_out"] == {"held_out": 4, "copied": 22}
    assert report["pairs"]["train"]["corpus"] == 44
    total = sum(report["pairs"]["train"].values())
    assert report["both"] == {"train": 2 * total, "valid": 12}
    both = load_corpus(settings.output_dir / "both", "source", "target", splits=("train", "valid"))
    pairs = load_corpus(settings.output_dir / "pairs", "en", "de", splits=("train", "valid"))
    for split in ("train", "valid"):
        one_way = set(zip(pairs[split]["source"], pairs[split]["target"], strict=True))
        expected = {(f">>de<< {source}", target) for source, target in one_way}
        expected |= {(f">>en<< {target}", source) for source, target in one_way}
        assert set(zip(both[split]["source"], both[split]["target"], strict=True)) == expected
    tokenizer = AutoTokenizer.from_pretrained(settings.output_dir / "tokenizer")
    assert len(tokenizer) == report["tokenizer"]["vocab_size"]
    assert tokenizer.tokenize(">>de<< The 2000 letters")[1:4] != [] and ">>en<<" in tokenizer.get_vocab()
    assert json.loads((settings.output_dir / "report.json").read_text()) == report


@pytest.mark.parametrize("stage", ["_make_pairs", "_make_tokenizer", "_make_both"])
def test_interrupted_build_ends_like_an_uninterrupted_one(settings, tmp_path, monkeypatch, stage):
    whole = replace(settings, output_dir=tmp_path / "whole")
    report = build_corpus(whole)
    make = getattr(building, stage)

    def interrupted(folder: Path, *args) -> dict:
        make(folder, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(building, stage, interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_corpus(settings)
    before = {name for name in files(settings.output_dir) if not name.startswith(".")}
    assert before < set(files(whole.output_dir))
    done = {name: (settings.output_dir / name).stat().st_mtime_ns for name in before}
    assert build_corpus(settings) == report
    assert files(settings.output_dir) == files(whole.output_dir)
    kept = [name for name in before if "/" in name]
    assert all((settings.output_dir / name).stat().st_mtime_ns == done[name] for name in kept)


def test_other_settings_or_files_in_the_same_folder_are_refused(settings):
    build_corpus(settings)
    with pytest.raises(ValueError, match="holds a corpus with another vocab_size and seed. Choose another output_dir"):
        build_corpus(replace(settings, vocab_size=1900, seed=2))
    path = settings.data[0] / "valid.de"
    path.write_text(path.read_text(encoding="utf-8").replace("Haus", "Heim"), encoding="utf-8")
    with pytest.raises(ValueError, match="another data"):
        build_corpus(settings)


def test_corpus_whose_settings_are_gone_is_never_used_again(settings):
    build_corpus(settings)
    path = settings.output_dir / "settings.json"
    kept = path.read_text(encoding="utf-8")
    for damaged in ("[1]", "{", "[" * 99_999):
        path.write_text(damaged, encoding="utf-8")
        with pytest.raises(ValueError, match="settings.json is damaged: .* Choose another output_dir, or remove that"):
            build_corpus(settings)
    path.unlink()
    with pytest.raises(ValueError, match="without the settings.json that says how .* Put settings.json back"):
        build_corpus(replace(settings, seed=2))
    path.write_text(kept, encoding="utf-8")
    build_corpus(settings)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "train.de").unlink(), r"There is no .*train\.de\. Pass folders"),
        (lambda folder: (folder / "valid.en").write_text("one\n"), r"valid\.en has 1 lines, .*valid\.de 10\. Align"),
    ],
)
def test_missing_and_unequal_files_are_refused(settings, spoil, message):
    spoil(settings.data[0])
    with pytest.raises(ValueError, match=message):
        build_corpus(settings)


def test_marks_of_byte_order_and_carriage_returns_are_no_text_and_other_encodings_are_named(settings):
    expected = build_corpus(settings)
    made = files(settings.output_dir)
    path = settings.data[0] / "train.en"
    lines = path.read_text(encoding="utf-8")
    path.write_bytes(b"\xef\xbb\xbf" + lines.replace("\n", "\r\n").encode())
    # the same text, and so the same corpus
    assert build_corpus(settings) == expected and files(settings.output_dir) == made
    path.write_bytes(lines.encode("utf-16"))
    with pytest.raises(ValueError, match="train.en is UTF-16, not UTF-8. Convert it"):
        build_corpus(settings)


def test_mixed_corpora_have_every_pair_once_and_the_first_ones_held_out_pairs(settings, tmp_path):
    build_corpus(settings)
    mix = runpy.run_path(str(Path(__file__).parents[3] / "training/mix_corpora.py"))["main"]
    other = tmp_path / "other"
    other.mkdir()
    lines = {"en": ["A cat.", "Tom bought the old house."], "de": ["Eine Katze.", "Tom kaufte „das alte Haus“ nicht!"]}
    for language, texts in lines.items():
        (other / f"train.{language}").write_text("\n".join(texts * 2) + "\n", encoding="utf-8")
    first = settings.output_dir / "pairs"
    mix(
        ["--data", str(first), str(other), "--source_lang", "en", "--target_lang", "de"]
        + ["--output_dir", str(tmp_path / "mixed")]
    )
    mixed, raw = (load_corpus(folder, "en", "de", splits=("train", "valid")) for folder in (tmp_path / "mixed", first))
    pairs = list(zip(mixed["train"]["source"], mixed["train"]["target"], strict=True))
    expected = set(zip(raw["train"]["source"], raw["train"]["target"], strict=True)) | set(
        zip(*lines.values(), strict=True)
    )
    assert len(pairs) == len(set(pairs)) and set(pairs) == expected
    assert list(mixed["valid"]["target"]) == list(raw["valid"]["target"])


def write_pairs(folder: Path, pairs: list[tuple[str, str]]) -> None:
    """The same pairs as a corpus's train and valid files."""
    for split in ("train", "valid"):
        for side, language in enumerate(("en", "de")):
            text = "".join(f"{pair[side]}\n" for pair in pairs)
            (folder / f"{split}.{language}").write_text(text, encoding="utf-8")


def test_pairs_with_long_targets_are_written_as_often_as_is_said(tmp_path):
    mix = runpy.run_path(str(Path(__file__).parents[3] / "training/mix_corpora.py"))["main"]
    pairs = [("A cat.", "Eine Katze."), ("A cat sat here.", "Da saß eine Katze."), ("One cat.", "Genau eine Katze.")]
    write_pairs(tmp_path, pairs)
    command = ["--data", str(tmp_path), "--source_lang", "en", "--target_lang", "de"]
    mix([*command, "--output_dir", str(tmp_path / "mixed"), "--long_copies", "3", "--long_words", "3"])
    mixed = load_corpus(tmp_path / "mixed", "en", "de", splits=("train", "valid"))
    targets = [target for _, target in pairs]
    assert sorted(mixed["train"]["target"]) == sorted([targets[0], *3 * targets[1:]])
    assert list(mixed["valid"]["target"]) == targets
    with pytest.raises(SystemExit):
        mix([*command, "--output_dir", str(tmp_path / "mixed"), "--long_copies", "0"])


def test_pairs_with_a_sentence_of_certain_files_are_left_out(tmp_path):
    mix = runpy.run_path(str(Path(__file__).parents[3] / "training/mix_corpora.py"))["main"]
    pairs = [("A cat.", "Eine Katze."), ("A dog.", "Ein Hund."), ("One cat.", "Genau eine Katze.")]
    write_pairs(tmp_path, [*pairs, ("At 14:35.", "Um 14:35 Uhr.")])
    files = [tmp_path / "held_out.en", tmp_path / "held_out.de"]
    for path, text in zip(files, ["One cat.\nA\nAt 14:35.\n", "Eine Katze.\n"], strict=True):
        path.write_text(text, encoding="utf-8")
    command = ["--data", str(tmp_path), "--source_lang", "en", "--target_lang", "de"]
    mix([*command, "--output_dir", str(tmp_path / "mixed"), "--without", *map(str, files)])
    mixed = load_corpus(tmp_path / "mixed", "en", "de", splits=("train", "valid"))
    assert list(mixed["train"]["source"]) == ["A dog."]
    assert len(mixed["valid"]) == 4


def test_line_breaks_inside_sentences_do_not_shift_the_sides(tmp_path):
    mix = runpy.run_path(str(Path(__file__).parents[3] / "training/mix_corpora.py"))["main"]
    lines = [
        {"translation": {"en": "One.\nTwo.", "de": "Eins.\nZwei."}},
        {"translation": {"en": "A.\nB.", "de": "A. B."}},
    ]
    for split in ("train", "valid"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    mix(
        [
            "--data",
            str(tmp_path),
            "--source_lang",
            "en",
            "--target_lang",
            "de",
            "--output_dir",
            str(tmp_path / "mixed"),
        ]
    )
    mixed = load_corpus(tmp_path / "mixed", "en", "de", splits=("train", "valid"))
    assert sorted(mixed["train"]["target"]) == ["A. B.", "Eins. Zwei."]
    assert list(mixed["valid"]["source"]) == ["One. Two.", "A. B."]


def test_held_out_files_that_are_no_text_are_refused(tmp_path, capsys):
    mix = runpy.run_path(str(Path(__file__).parents[3] / "training/mix_corpora.py"))["main"]
    words = [
        "--data",
        str(tmp_path),
        "--source_lang",
        "en",
        "--target_lang",
        "de",
        "--output_dir",
        str(tmp_path / "x"),
    ]
    with pytest.raises(SystemExit):
        mix([*words, "--without", "held_out.jsonl"])
    assert "--without takes text files with a sentence on each line, got held_out.jsonl" in capsys.readouterr().err


def test_copies_are_mixed_in_where_placeholders_show_a_model_what_its_teacher_copies_badly(tmp_path):
    mix = runpy.run_path(str(Path(__file__).parents[3] / "training/mix_corpora.py"))["main"]
    sides = {
        "distilled": [("A cat.", "Eine Katze."), ("It cost 250 euros.", "Es kostete 520 Euro.")],
        "raw": [("It cost 250 euros.", "Es hat 250 Euro gekostet."), ("A cat.", "Ein Kater."), ("◱ left.", "◱ ging.")],
    }
    for name, pairs in sides.items():
        (tmp_path / name).mkdir()
        write_pairs(tmp_path / name, pairs)
    corpora = ["--data", str(tmp_path / "distilled"), "--copies", str(tmp_path / "raw")]
    mix([*corpora, "--source_lang", "en", "--target_lang", "de", "--output_dir", str(tmp_path / "mixed")])
    mixed = load_corpus(tmp_path / "mixed", "en", "de", splits=("train", "valid"))
    pairs = set(zip(mixed["train"]["source"], mixed["train"]["target"], strict=True))
    assert pairs == {
        ("A cat.", "Eine Katze."), ("It cost ◰ euros.", "Es hat ◰ Euro gekostet."), ("◱ left.", "◱ ging."),
    }  # fmt: skip
    assert list(mixed["valid"]["source"]) == [source for source, _ in sides["distilled"]]
