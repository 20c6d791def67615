# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Documents: everything but the texts stays byte for byte, and placeholders are never touched."""

from __future__ import annotations

import random

import pytest

from dims_hf.translation.documents import kind_of, read_document, translate_document


def _shout(texts: list[str]) -> list[str]:
    return [text.upper() for text in texts]


def _translated(source: str, kind: str) -> str:
    return translate_document(source.encode(), kind, _shout).decode()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.md", "markdown"), ("A.HTM", "html"), ("x/y.srt", "srt"), ("de.po", "po"), ("a.txt", "text"), ("-", "text")],
)
def test_kind_of_goes_by_the_suffix(name: str, kind: str):
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("One. Two.  Three.\n\n\n  Four\n", "ONE. TWO.  THREE.\n\n\n  FOUR\n"),
        ("a long\r\nline.\r\n\r\nb", "A LONG\r\nLINE.\r\n\r\nB"),
        ("see https://a.b/c and %s of {name}", "SEE https://a.b/c AND %s OF {name}"),
        ("mail me@x.org, 100 %", "MAIL me@x.org, 100 %"),
        (f"{'long ' * 12}\nline. Next\nline.", f"{'LONG ' * 12} LINE. NEXT LINE."),
        ("", ""),
        ("12 + 3\n", "12 + 3\n"),
    ],
)
def test_paragraphs_keep_white_space_and_placeholders(source: str, expected: str):
    assert _translated(source, "paragraphs") == expected


MARKDOWN = """---
title: stays
---
# A title

Some *bold words* and `code here`, a [link text](http://a.b/c_d "tip") and <http://x.y>.
A second line &amp; an ![image](i.png) here.

> quoted words
> go on

- item one
- [ ] item two

| head | other |
|------|-------|
| cell | more  |

```python
print("code")
```

    indented code

<div>raw html</div>

[ref]: http://a.b/ref
"""

SHOUTED = """---
title: stays
---
# A TITLE

SOME *BOLD WORDS* AND `code here`, A [LINK TEXT](http://a.b/c_d "tip") AND <http://x.y>.
A SECOND LINE &amp; AN ![image](i.png) HERE.

> QUOTED WORDS GO ON

- ITEM ONE
- [ ] ITEM TWO

| HEAD | OTHER |
|------|-------|
| CELL | MORE  |

```python
print("code")
```

    indented code

<div>raw html</div>

[ref]: http://a.b/ref
"""


def test_markdown_translates_texts_and_nothing_else():
    pytest.importorskip("markdown_it")
    assert _translated(MARKDOWN, "markdown") == SHOUTED
    windows = MARKDOWN.replace("\n", "\r\n")
    assert _translated(windows, "markdown") == SHOUTED.replace("\n", "\r\n")


def test_markdown_signs_that_a_translation_brings_are_escaped():
    pytest.importorskip("markdown_it")
    written = translate_document(b"two words", "markdown", lambda texts: ["a_b *c* [d]" for _ in texts])
    assert written == rb"a\_b \*c\* \[d\]"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("- [ ] buy milk\n- [x] sleep\n", "- [ ] BUY MILK\n- [x] SLEEP\n"),
        ("A word[^1] and more.[^note]\n\n[^1]: two words\n", "A WORD[^1] AND MORE.[^note]\n\n[^1]: TWO WORDS\n"),
        ("> [!NOTE]\n> read this\n", "> [!NOTE]\n> READ THIS\n"),
        ("so $a_1 * b_1$ is big\n\n$$\nx_1\n$$\n", "SO $a_1 * b_1$ IS BIG\n\n$$\nx_1\n$$\n"),
        ("from $5 to $6, or $a$.\n", "FROM $5 TO $6, OR $a$.\n"),
        ("see `$x$ and` this\n", "SEE `$x$ and` THIS\n"),
        (
            "see [the cat] and [a dog][] in [b][c]\n\n[the cat]: x\n[a dog]: y\n[c]: z\n",
            "SEE [the cat] AND [a dog][] IN [B][c]\n\n[the cat]: x\n[a dog]: y\n[c]: z\n",
        ),
        ("---\n\nfirst part\n\n---\n\nthe rest\n", "---\n\nFIRST PART\n\n---\n\nTHE REST\n"),
        ('+++\ntitle = "a"\n+++\n\nthe rest\n', '+++\ntitle = "a"\n+++\n\nTHE REST\n'),
        ("| a \\| b | c |\n|---|---|\n| d | e |\n", "| A \\| B | C |\n|---|---|\n| D | E |\n"),
        ("> [!warning]\n> read\n\n:::note\nthis\n:::\n", "> [!warning]\n> READ\n\n:::note\nTHIS\n:::\n"),
    ],
)
def test_markdown_beyond_the_standard_stays(source, expected):
    assert _translated(source, "markdown") == expected


def test_html_translates_texts_and_nothing_else():
    source = (
        '<!DOCTYPE html>\n<html lang="en"><head><title>a title</title><style>p {color: red}</style>\n'
        "<script>var a = '<b>no</b>';</script></head>\n<body><!-- no -->\n"
        '<p class="x > y">One <b>bold</b> word &amp; two.<br>gr&uuml;n &lt;tag&gt;</p>\n'
        '<pre>keep <b>this</b></pre><span translate="no">Name <i>x</i></span> end</body></html>\n'
    )
    expected = (
        '<!DOCTYPE html>\n<html lang="en"><head><title>A TITLE</title><style>p {color: red}</style>\n'
        "<script>var a = '<b>no</b>';</script></head>\n<body><!-- no -->\n"
        '<p class="x > y">ONE <b>BOLD</b> WORD &amp; TWO.<br>GRÜN &lt;TAG&gt;</p>\n'
        '<pre>keep <b>this</b></pre><span translate="no">Name <i>x</i></span> END</body></html>\n'
    )
    assert _translated(source, "html") == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('<script>x = "<script>"; a<b</script><p>one</p>', '<script>x = "<script>"; a<b</script><p>ONE</p>'),
        ("<STYLE>a > b {}</style>one<script>'</p>'", "<STYLE>a > b {}</style>ONE<script>'</p>'"),
        ('<ul><li translate="no">a<li>b</ul>c', '<ul><li translate="no">a<li>B</ul>C'),
        ('<ul><li>a<li translate="no">b</ul>c', '<ul><li>A<li translate="no">b</ul>C'),
        ('<p translate="no">a<p>b<td>c', '<p translate="no">a<p>B<td>C'),
        ('<tr><td translate="no">a<td>b<tr><th>c', '<tr><td translate="no">a<td>B<tr><th>C'),
        ('<div translate="no"><p>a</div>b</div>c', '<div translate="no"><p>a</div>B</div>C'),
        ("<code>a<code>b</code>c</code>d", "<code>a<code>b</code>c</code>D"),
        ("<b>a</i>b</b>", "<b>A</i>B</b>"),
        ("<?php if ($a > 3) { echo 'x'; } ?><p>a", "<?php if ($a > 3) { echo 'x'; } ?><p>A"),
        ("<thead translate=no><tr><th>a<tbody><tr><td>b", "<thead translate=no><tr><th>a<tbody><tr><td>B"),
        ("<colgroup translate='no'><col><tr><td>a", "<colgroup translate='no'><col><tr><td>A"),
        ("<p title='do not translate=no'>a</p>", "<p title='do not translate=no'>A</p>"),
    ],
)
def test_html_of_hasty_authors_and_scripts_leaves_nothing_out(source, expected):
    assert _translated(source, "html") == expected


def test_html_signs_that_a_translation_brings_are_escaped():
    assert translate_document(b"<p>two words</p>", "html", lambda _: ["a < b & c"]) == b"<p>a &lt; b &amp; c</p>"


def test_srt_translates_cues_and_nothing_else():
    source = (
        "1\r\n00:00:01,000 --> 00:00:02,500\r\nI went\r\nhome <i>late</i>.\r\n\r\n"
        "2\r\n00:00:03,000 --> 00:00:04,000\r\n- who?\r\n- me\r\n"
    )
    expected = (
        "1\r\n00:00:01,000 --> 00:00:02,500\r\nI WENT HOME <i>LATE</i>.\r\n\r\n"
        "2\r\n00:00:03,000 --> 00:00:04,000\r\n- WHO?\r\n- ME\r\n"
    )
    assert _translated(source, "srt") == expected


PO = r"""# a comment
msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\n"

#: a.c:1
#, c-format
msgid "open %s, {name} and <b>it</b>\n"
msgstr ""

msgctxt "menu"
msgid "say \"hi\""
msgstr "sag \"hallo\""

msgid ""
"long "
"text"
msgstr ""

msgid "one file"
msgid_plural "%d files"
msgstr[0] ""
msgstr[1] ""

#~ msgid "old"
#~ msgstr ""
"""


def test_po_fills_what_has_no_translation_and_nothing_else():
    expected = (
        PO.replace('it</b>\\n"\nmsgstr ""', 'it</b>\\n"\nmsgstr "OPEN %s, {name} AND <b>IT</b>\\n"')
        .replace('"text"\nmsgstr ""', '"text"\nmsgstr "LONG TEXT"')
        .replace('msgstr[0] ""\nmsgstr[1] ""', 'msgstr[0] "ONE FILE"\nmsgstr[1] "%d FILES"')
    )
    assert _translated(PO, "po") == expected


def test_po_is_read_by_polib():
    polib = pytest.importorskip("polib")
    entries = {entry.msgid: entry for entry in polib.pofile(_translated(PO, "po")) if not entry.obsolete}
    assert entries["long text"].msgstr == "LONG TEXT"
    assert entries["one file"].msgstr_plural == {0: "ONE FILE", 1: "%d FILES"}


@pytest.mark.parametrize("kind", ["paragraphs", "markdown", "html", "srt", "po"])
def test_documents_that_nothing_is_done_to_stay_byte_for_byte(kind: str):
    if kind == "markdown":
        pytest.importorskip("markdown_it")
    generator = random.Random(kind)
    pieces = [MARKDOWN, PO, "<p>a<b", "&#1;", "\r\n", "\n\n", "`", "[", "](", "\ufeff", "1\n00:00:01,0 --> 2\n", "é "]
    pieces += ["*", "- ", "> ", '"', "\\", "msgid ", "word. ", "\x0b", "<!--", "|", "~~~\n", "\t"]
    for _ in range(60):
        raw = "".join(generator.choices(pieces, k=12)).encode() + b"\xff\xfe tail"
        document = read_document(raw.decode("utf-8", "surrogateescape"), kind)
        assert all(slot.start <= slot.end for slot in document.slots)
        assert all(one.end <= two.start for one, two in zip(document.slots, document.slots[1:], strict=False))
        marked = document.fill(["\0"] * len(document.slots)).replace('"\0"', "\0")
        assert marked.split("\0") == list(_outside(document))
        written = translate_document(raw, kind, lambda texts: ["x" for _ in texts])
        assert b"\xff\xfe" in written


def _outside(document):
    end = 0
    for slot in document.slots:
        yield document.source[end : slot.start]
        end = slot.end
    yield document.source[end:]


def test_translate_document_gives_each_sentence_once_and_refuses_what_is_no_text():
    seen = []
    translate_document(b"Same. Same. Other.", "paragraphs", lambda texts: seen.extend(texts) or texts)
    assert seen == ["Same.", "Other."]
    with pytest.raises(ValueError, match="the document is UTF-16"):
        translate_document("a".encode("utf-16"), "paragraphs", _shout)
    with pytest.raises(ValueError, match="Unknown kind of document 'pdf'"):
        translate_document(b"a", "pdf", _shout)
