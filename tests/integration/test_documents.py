# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Documents of 200 sentences through `dims-hf translate` and the shipped student; paragraphs in the pipeline."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import pipeline

from dims_hf import Adaptive, translate_adaptively
from dims_hf.cli.main import main
from dims_hf.models.paragraphs import cut_paragraphs
from dims_hf.translation import quality_flags, translate_texts
from dims_hf.translation.documents import translate_document
from dims_hf.translation.torch_runtime import TorchRuntime


ROOT = Path(__file__).resolve().parents[2]
MODEL = str(ROOT / "model_cards" / "tatoeba-en-de-dims")
# What a translation must bring back as it was.
SIGNS = ("%s", "{name}", "<b>", "&amp;", "%(count)d", "https://example.org/a?b=1", "${HOME}", "%1$s")


def _strings() -> list[str]:
    sentences = (ROOT / "tests" / "data" / "everyday.en").read_text(encoding="utf-8").split("\n")[:200]
    plain = [re.sub(r"[<>&*_`\[\]|{}%\"\\]|\S*[@/]\S*|\S+\.(?=\w)\S+", "", sentence) for sentence in sentences]
    return [" ".join(f"{text} {SIGNS[row % len(SIGNS)]} here.".split()) for row, text in enumerate(plain)]


def _as_markdown(strings: list[str]) -> str:
    return "---\ntitle: Keep me\n---\n\n# Head\n\n" + "\n".join(
        f"- {text} `code {row}` [link](http://a.b/{row} 'tip')\n" for row, text in enumerate(strings)
    )


def _as_html(strings: list[str]) -> str:
    rows = "\n".join(f"<p id=\"p{row}\" class='x'>{text}</p><!-- {row} -->" for row, text in enumerate(strings))
    return f"<!DOCTYPE html>\n<html><head><style>p {{}}</style></head>\r\n<body>\n{rows}\n</body></html>\n"


def _as_srt(strings: list[str]) -> str:
    times = [f"00:{row // 60:02}:{row % 60:02},000 --> 00:{row // 60:02}:{row % 60:02},900" for row in range(200)]
    return "".join(
        f"{row + 1}\n{time}\n{text}\n\n" for row, (time, text) in enumerate(zip(times, strings, strict=True))
    )


def _as_po(strings: list[str]) -> str:
    return 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n\n' + "\n".join(
        f'#: a.c:{row}\n#, c-format\nmsgctxt "c{row}"\nmsgid "{text}"\nmsgstr ""\n' for row, text in enumerate(strings)
    )


# suffix -> how a document is made, and what of it is no text: must be there in this order afterwards
KINDS = {
    "md": (_as_markdown, r"`[^`]*`|\]\([^)]*\)|^- |^---\ntitle: Keep me\n---\n|\n"),
    "html": (_as_html, r"<!--.*?-->|<style>.*?</style>|<(?!b>)[^<>]*>|[\r\n]+"),
    "srt": (_as_srt, r"^\d+\n\d\d:.*\n|\n\n"),
    "po": (_as_po, r"^#.*\n|^msgctxt .*\n|^msgid .*\n|^msgstr |^\"Content.*\n"),
}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", KINDS)
def test_two_hundred_strings_keep_their_markup_and_placeholders(suffix: str, tmp_path: Path, monkeypatch):
    if suffix == "md":
        pytest.importorskip("markdown_it")
    make, markup = KINDS[suffix]
    strings = _strings()
    assert len(strings) == 200
    source, target = tmp_path / f"F.{suffix}", tmp_path / f"G.{suffix}"
    source.write_bytes(make(strings).encode() + b"\n# \xff\xfe\x80 \n")
    assert main(["translate", "--model", MODEL, "--input", str(source), "--output", str(target)]) == 0
    before, after = (path.read_bytes().decode("utf-8", "surrogateescape") for path in (source, target))
    assert re.findall(markup, before, re.M) == re.findall(markup, after, re.M)
    for sign in SIGNS:
        assert before.count(sign) <= after.count(sign) <= 2 * before.count(sign), sign  # twice: msgid and msgstr
    assert target.read_bytes().endswith(b"\n# \xff\xfe\x80 \n")
    assert sum(text.split(".")[0] in after for text in strings) <= (200 if suffix == "po" else 20)


@pytest.mark.slow
def test_catalogue_of_two_hundred_messages_is_read_by_polib(tmp_path: Path):
    polib = pytest.importorskip("polib")
    strings = _strings()
    (tmp_path / "F.po").write_text(_as_po(strings), encoding="utf-8")
    files = ["--input", str(tmp_path / "F.po"), "--output", str(tmp_path / "G.po")]
    assert main(["translate", "--model", MODEL, *files]) == 0
    entries = list(polib.pofile(str(tmp_path / "G.po")))
    assert [entry.msgid for entry in entries] == strings
    for row, entry in enumerate(entries):
        assert SIGNS[row % len(SIGNS)] in entry.msgstr and entry.msgstr.endswith(".")


def test_document_as_json_lines_has_its_sentences_in_order(tiny: SimpleNamespace, tmp_path: Path):
    (tmp_path / "in.html").write_text("<p>a cat <b>sleeps</b>. a dog.</p><p>a cat</p>", encoding="utf-8")
    files = ["--input", str(tmp_path / "in.html"), "--output", str(tmp_path / "out.jsonl"), "--format", "jsonl"]
    assert main(["translate", "--model", str(tiny.folder), *files]) == 0
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [record["source"] for record in records] == ["a cat", "sleeps", "a dog."]
    runtime = TorchRuntime(tiny.model, tiny.tokenizer)
    for record in records:
        (translation,) = translate_texts(runtime, [record["source"]])
        assert record["translation"] == translation.text
        assert record["confidence"] == pytest.approx(translation.confidence, abs=1e-5)
        assert record["flags"] == quality_flags(record["source"], translation)


PARAGRAPHS = (
    "a cat.  the dog!\n\n  see https://a.b/c and %s of {name} .\n\n\n"
    "- a small dog\r\n\tthe house today\n \n" + "the old cat " * 5 + "\nsleeps. a dog\n"
)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_pipeline_keeps_what_is_between_the_sentences_of_paragraphs(tiny: SimpleNamespace, batch_size: int):
    translate = pipeline("translation", model=tiny.model, tokenizer=tiny.tokenizer)
    parts = cut_paragraphs(PARAGRAPHS)
    assert "".join(part for part, _ in parts) == PARAGRAPHS.replace("cat \nsleeps", "cat  sleeps")
    single = {part: translate(part)[0]["translation_text"] for part, is_sentence in parts if is_sentence}
    assert list(single)[:3] == ["a cat.", "the dog!", "see"]
    expected = "".join(single[part] if is_sentence else part for part, is_sentence in parts)
    result = translate(["a cat", PARAGRAPHS], batch_size=batch_size)
    assert result[1]["translation_text"] == expected
    assert result[0] == translate("a cat")[0]
    document = translate_document(PARAGRAPHS.encode(), "paragraphs", lambda texts: [single[text] for text in texts])
    assert document.decode() == expected


def test_pipeline_takes_paragraphs_as_it_is_told(tiny: SimpleNamespace):
    translate = pipeline("translation", model=tiny.model, tokenizer=tiny.tokenizer)
    one, two = (translate(text)[0]["translation_text"] for text in ("a cat.", "the dog!"))
    (joined,) = translate("a cat.   the dog!", paragraphs=True)
    assert joined["translation_text"] == f"{one}   {two}"
    assert translate("a cat.\nthe dog!", paragraphs=False) == translate("a cat. the dog!")
    assert translate(" a cat.\n") == translate("a cat.")
    assert translate("12\n\n34") == [{"translation_text": "12\n\n34", "score": None}]
    assert translate("\n \n", paragraphs=True) == [{"translation_text": "", "score": None}]
    candidates = translate("a cat.\nthe dog!", length_beam_size=3, num_return_sequences=2)
    singles = [translate(text, length_beam_size=3, num_return_sequences=2) for text in ("a cat.", "the dog!")]
    for rank in (0, 1):
        texts = [each[rank]["translation_text"] for each in singles]
        assert candidates[rank]["translation_text"] == "\n".join(texts)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_pipeline_confidence_is_that_of_the_library(tiny: SimpleNamespace, batch_size: int):
    translate = pipeline("translation", model=tiny.model, tokenizer=tiny.tokenizer, return_confidence=True)
    plain = pipeline("translation", model=tiny.model, tokenizer=tiny.tokenizer)
    texts = ["the small dog sees the old cat .", "", "a cat sleeps in the house . \n\n a dog ."]
    runtime = TorchRuntime(tiny.model, tiny.tokenizer)
    for settings in ({}, {"collapse_repeats": False}):
        results = translate(texts, batch_size=batch_size, **settings)
        assert [{name: each[name] for name in ("translation_text", "score")} for each in results] == plain(
            texts, **settings
        )
        for result in results:
            sources = [sentence["source"] for sentence in result["sentences"]]
            for sentence, ours in zip(result["sentences"], translate_texts(runtime, sources, **settings), strict=True):
                assert sentence["translation"] == ours.text
                assert sentence["flags"] == quality_flags(sentence["source"], ours)
                expected = None if ours.left_out else pytest.approx(ours.confidence, abs=2e-4)
                assert sentence["confidence"] == expected
    assert (results[1]["confidence"], results[1]["flags"]) == (None, [])
    assert len(results[2]["sentences"]) == 2
    assert translate("a dog .", return_confidence=False) == plain("a dog .")


def test_adaptive_names_are_public():
    assert Adaptive(0.5, num_iterations=4).threshold == 0.5 and callable(translate_adaptively)
