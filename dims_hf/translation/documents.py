# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Documents: finds the texts of paragraphs, Markdown, HTML, SRT and PO, and writes back everything else byte for byte.

A document is its source with slots; a slot is a stretch whose text is translated. Markup and placeholders inside a
text cut it into parts that are translated one by one, so that they cannot be lost.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape, unescape
from pathlib import PurePath

from dims_hf._files import check_kind
from dims_hf.models.paragraphs import cut_sentences, find_paragraphs, is_worded


_SUFFIXES = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".srt": "srt",
    ".po": "po",
    ".pot": "po",
}


@dataclass(frozen=True)
class Slot:
    """
    A stretch of a document whose text is translated.

    Args:
        start, end (`int`): characters of the source that the translation replaces.
        text (`str`): what is translated.
        write (`Callable[[str], str]`): makes of the translation what stands in the document: escapes, line breaks.
        is_wrapped (`bool`): whether line breaks mean no more than blanks, so that sentences run over them.
    """

    start: int
    end: int
    text: str
    write: Callable[[str], str] = str
    is_wrapped: bool = False


@dataclass(frozen=True)
class Document:
    """
    A text with its slots, in order and apart from each other.

    Args:
        source (`str`): the whole document.
        slots (`list[Slot]`): what is translated of it.
    """

    source: str
    slots: list[Slot]

    def fill(self, translations: Sequence[str]) -> str:
        """The document with a translation in each slot."""
        parts, end = [], 0
        for slot, translation in zip(self.slots, translations, strict=True):
            # what no slot covers goes out byte for byte
            parts += [self.source[end : slot.start], slot.write(translation)]
            end = slot.end
        return "".join([*parts, self.source[end:]])


def kind_of(name: str) -> str:
    """The kind of a document by the suffix of its file; `text` (a sentence per line) for any other."""
    return _SUFFIXES.get(PurePath(name).suffix.lower(), "text")


def translate_document(
    raw: bytes, kind: str, translate: Callable[[list[str]], list[str]], *, name: str = "the document"
) -> bytes:
    """
    Translates a document; bytes that are not text go out as they came in.

    Args:
        raw (`bytes`): the document, in UTF-8.
        kind (`str`): `paragraphs`, `markdown`, `html`, `srt` or `po`.
        translate (`Callable[[list[str]], list[str]]`): translates sentences; called once, each sentence given once.
        name (`str`, *optional*): what errors call the document.

    Raises:
        ValueError: the document is in another encoding or binary, or no such kind is known.
    """
    document = cut_document(raw, kind, name=name)
    return document.join(translate(document.sentences) if document.sentences else [])


@dataclass(frozen=True)
class CutDocument:
    """
    A document cut into sentences.

    Args:
        document ([`Document`]): with its slots.
        parts (`list[list[tuple[str, bool]]]`): of each slot, and whether each is a sentence.
    """

    document: Document
    parts: list[list[tuple[str, bool]]]

    @property
    def sentences(self) -> list[str]:
        """What is translated, each sentence once, in order."""
        # in the order of the document; menus and footers repeat, and are translated once
        return list(dict.fromkeys(text for parts in self.parts for text, is_sentence in parts if is_sentence))

    def join(self, translations: Sequence[str]) -> bytes:
        """The document with the translations of `sentences`."""
        known = dict(zip(self.sentences, translations, strict=True))
        filled = ["".join(known[text] if is_sentence else text for text, is_sentence in parts) for parts in self.parts]
        return self.document.fill(filled).encode("utf-8", "surrogateescape")


def cut_document(raw: bytes, kind: str, *, name: str = "the document") -> CutDocument:
    """
    Cuts a document into sentences and what stays; arguments and errors of [`translate_document`].
    """
    check_kind(raw, name)
    document = read_document(raw.decode("utf-8", "surrogateescape"), kind)
    return CutDocument(document, [list(cut_sentences(slot.text, slot.is_wrapped)) for slot in document.slots])


def read_document(source: str, kind: str) -> Document:
    """
    Finds the texts of a document.

    Raises:
        ValueError: no such kind is known.
    """
    if kind not in _READERS:
        raise ValueError(f"Unknown kind of document {kind!r}. Use {', '.join(_READERS)}.")
    return Document(source, [slot for slot in _READERS[kind](source) if is_worded(slot.text)])


# ---- paragraphs and HTML -----------------------------------------------------------------------------------------


def _read_paragraphs(source: str) -> Iterator[Slot]:
    for start, end, is_wrapped in find_paragraphs(source):
        yield Slot(start, end, source[start:end], is_wrapped=is_wrapped)


_HTML_MARKUP = re.compile(
    r"""<!--.*?(?:-->|\Z)|<!\[CDATA\[.*?(?:\]\]>|\Z)|<\?.*?(?:\?>|\Z)|<![^>]*>
    |</?[A-Za-z](?:[^<>"']|"[^"]*"|'[^']*')*>""",
    re.VERBOSE | re.DOTALL,
)
_TAG_NAME = re.compile(r"<(/?)([A-Za-z][\w:-]*)")
_CLOSED_BY_ITSELF = frozenset("area base br col embed hr img input link meta source track wbr".split())
# Elements whose content is no text for readers of another language; in the first, nothing is markup but their end.
_RAW = frozenset("script style textarea".split())
_CODE = _RAW | frozenset("code pre kbd samp var template svg math".split())
_ATTRIBUTE = re.compile(r"""([^\s=<>"'/]+)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+))?""")
# Elements that may do without their own end: name -> tags that end them.
_BLOCKS = frozenset(
    "address article aside blockquote details div dl fieldset figure footer form h1 h2 h3 h4 h5 h6 header hr main nav "
    "ol p pre section table ul".split()
)
_ENDED_BY = {
    "li": {"li"},
    "p": _BLOCKS,
    **dict.fromkeys(("dt", "dd"), {"dt", "dd"}),
    **dict.fromkeys(("td", "th"), {"td", "th", "tr", "tbody", "tfoot"}),
    "tr": {"tr", "tbody", "tfoot"},
    **dict.fromkeys(("thead", "tbody", "tfoot"), {"tbody", "tfoot"}),
    **dict.fromkeys(("caption", "colgroup"), {"colgroup", "thead", "tbody", "tfoot", "tr"}),
    **dict.fromkeys(("option", "optgroup"), {"option", "optgroup"}),
}


def _read_html(source: str) -> Iterator[Slot]:
    """Texts between tags, outside of code and of elements with `translate="no"`."""
    end, elements = 0, _OpenElements()
    while markup := _HTML_MARKUP.search(source, end):
        if not elements.is_kept and markup.start() > end:
            yield _html_slot(source, end, markup.start())
        end = markup.end()
        if raw := elements.step(markup[0]):
            closing = re.compile(f"</{raw}(?=[\\s/>])", re.IGNORECASE).search(source, end)
            end = closing.start() if closing else len(source)
    if not elements.is_kept and end < len(source):
        yield _html_slot(source, end, len(source))


class _OpenElements:
    """The elements around a place in HTML."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._kept: list[bool] = []

    @property
    def is_kept(self) -> bool:
        """Whether what stands here stays as it is."""
        return bool(self._kept) and self._kept[-1]

    def step(self, markup: str) -> str | None:
        """Takes the next markup; the name of an element in which nothing else is markup, where it opens one."""
        tag = _TAG_NAME.match(markup)
        if tag is None:
            return None
        name = tag[2].lower()
        if tag[1]:
            self._close(name)
            return None
        while self._names and name in _ENDED_BY.get(self._names[-1], ()):
            self._close(self._names[-1])
        if name in _CLOSED_BY_ITSELF or markup.endswith("/>"):
            return None
        self._kept.append(self.is_kept or name in _CODE or _is_untranslated(markup))
        self._names.append(name)
        return name if name in _RAW else None

    def _close(self, name: str) -> None:
        """Closes an element, and all that was opened in it; an end without a beginning is nothing."""
        if name in self._names:
            last = len(self._names) - 1 - self._names[::-1].index(name)
            del self._names[last:], self._kept[last:]


def _is_untranslated(tag: str) -> bool:
    """Whether an element says `translate="no"` of itself."""
    attributes = _ATTRIBUTE.findall(tag)
    return any(name.lower() == "translate" and value.strip("\"'").lower() == "no" for name, value in attributes)


_LETTER_ENTITY = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|nbsp|#39|#34);)#?\w+;")


def _html_slot(source: str, start: int, end: int) -> Slot:
    # Entities of markup signs are placeholders; others are letters ("&uuml;") and read as such.
    text = _LETTER_ENTITY.sub(lambda entity: unescape(entity[0]), source[start:end])
    return Slot(start, end, text, _escape_html, is_wrapped=True)


def _escape_html(text: str) -> str:
    """Escapes what a translation brought; placeholders were escaped already."""
    parts, end = [], 0
    for kept in re.finditer(r"&\#?\w+;|</?[A-Za-z][^<>]*>", text):
        parts += [escape(text[end : kept.start()], quote=False), kept[0]]
        end = kept.end()
    return "".join([*parts, escape(text[end:], quote=False)])


# ---- Markdown ----------------------------------------------------------------------------------------------------

# YAML, which does not begin with a blank line as what follows a rule does, or TOML
_FRONT_MATTER = re.compile(
    r"\ufeff?(?:---\r?\n(?![ \t]*\r?\n).*?\n(?:---|\.\.\.)|\+\+\+\r?\n.*?\n\+\+\+)\s*?\n", re.DOTALL
)
# From the bracket that closes a link's text to the end of the link.
_LINK_END = re.compile(r"\](?:\((?:[^()\\]|\\.|\((?:[^()\\]|\\.)*\))*\)|\[[^\]]*\])?")
# A link that names its target by its own text: the bracket, or one with an empty one behind it.
_SELF_NAMED_LINK = re.compile(r"\[(?:[^\[\]\\]|\\.|\[[^\]]*\])*\](?![(\[])|\[(?:[^\[\]\\]|\\.)*\](?=\[\])")
_IMAGE = re.compile(r"!\[(?:[^\[\]\\]|\\.|\[[^\]]*\])*\](?:\((?:[^()\\]|\\.|\((?:[^()\\]|\\.)*\))*\)|\[[^\]]*\])?")
# Beyond CommonMark: boxes of task lists, footnotes, alerts of GitHub, containers, bars in table cells, formulas (by
# the rule of pandoc for single dollars).
_MARKDOWN_KEPT = re.compile(
    r"\[[ xX]\](?=[ \t])|\[\^[^\]\s]+\]:?|\[!\w+\]|(?m:^[ \t]*:::[^\n]*)|\\\||"
    r"\$\$[^$]+\$\$|(?<![\\$\w])\$(?=\S)[^$\n]*(?<=[^\s\\])\$(?!\d)"
)
_MARKDOWN_SIGNS = re.compile(r"([*_`\[\]<])")


def _read_markdown(source: str) -> Iterator[Slot]:
    """Texts of paragraphs, headings, list items and table cells; code, addresses and HTML stay."""
    from markdown_it import MarkdownIt

    front = _FRONT_MATTER.match(source)
    offset = front.end() if front else 0
    lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", source[offset:])
    starts = [offset]
    for line in lines:
        starts.append(starts[-1] + len(line))
    cursor, last = offset, offset
    # unjoined, entities and escapes are tokens of their own, told by how they were written
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"]).disable("text_join")
    for token in parser.parse(source[offset:]):
        if token.map:
            # never back: a block's tokens may overlap in lines with those before
            cursor = max(cursor, starts[token.map[0]])
            last = starts[min(token.map[1], len(starts) - 1)]
        if token.type == "inline":
            walk = _InlineWalk(source, cursor, last)
            for child in token.children or []:
                walk.step(child.type, child.content, child.markup)
            yield from walk.finish()
            cursor = walk.cursor


class _InlineWalk:
    """Finds the texts of a block's inline tokens in its source, which the parser gives without their places."""

    def __init__(self, source: str, cursor: int, limit: int) -> None:
        self.source, self.cursor, self.limit = source, cursor, limit
        self._kept = [match.span() for match in _MARKDOWN_KEPT.finditer(source, cursor, limit)]
        self._slots: list[Slot] = []
        self._run: list[tuple[int, int, str]] = []
        self._is_autolink = False

    def step(self, kind: str, content: str, markup: str) -> None:
        """One inline token, the next in order."""
        if kind == "text" and not self._is_autolink:
            self._add_text(content)
        elif kind == "softbreak":
            self._pass(self.source.find("\n", self.cursor, self.limit), 1)
        else:
            self._end_run()
            self._skip(kind, content, markup)

    def finish(self) -> list[Slot]:
        """All slots of the block."""
        self._end_run()
        return self._slots

    def _add_text(self, content: str) -> None:
        start = self.source.find(content, self.cursor, self.limit) if content else -1
        if start < 0 and "|" in content:
            # the parser has taken the backslashes from the bars of a table's cell
            content = content.replace("|", "\\|")
            start = self.source.find(content, self.cursor, self.limit)
        if start < 0:
            return
        end = start + len(content)
        for kept_start, kept_end in self._kept:
            # what is kept may begin or end in another token
            if start < kept_end and kept_start < end:
                self._append(start, kept_start)
                self._end_run()
                start = max(start, kept_end)
        self._append(start, end)
        self.cursor = end

    def _append(self, start: int, end: int) -> None:
        if start < end:
            self._run.append((start, end, self.source[start:end]))

    def _skip(self, kind: str, content: str, markup: str) -> None:
        if kind == "link_open":
            self._is_autolink = markup in ("autolink", "linkify")
            start = self.source.find("<" if self._is_autolink else "[", self.cursor, self.limit)
            if link := _SELF_NAMED_LINK.match(self.source, max(start, 0), self.limit):
                # translated, it would name nothing
                self._kept.append(link.span())
            self._pass(start, 1)
        elif kind == "link_close":
            self._pass_link_end()
        elif kind == "image":
            image = _IMAGE.search(self.source, self.cursor, self.limit)
            self.cursor = image.end() if image else self.cursor
        elif kind == "code_inline":
            self._pass(self.source.find(markup, self.cursor, self.limit), len(markup))
            # behind the content, which may hold shorter runs of the same sign
            self._pass(self.source.find(markup, self.cursor + len(content), self.limit), len(markup))
        elif kind == "hardbreak":
            self._pass(self.source.find("\n", self.cursor, self.limit), 1)
        else:  # emphasis, raw HTML, escapes and entities
            sign = content if kind == "html_inline" else markup
            self._pass(self.source.find(sign, self.cursor, self.limit) if sign else -1, len(sign))

    def _pass_link_end(self) -> None:
        if self._is_autolink:
            self._is_autolink = False
            self._pass(self.source.find(">", self.cursor, self.limit), 1)
            return
        end = _LINK_END.search(self.source, self.cursor, self.limit)
        self.cursor = end.end() if end else self.cursor

    def _pass(self, start: int, size: int) -> None:
        if start >= 0:
            self.cursor = start + size

    def _end_run(self) -> None:
        """The texts since the last markup are one slot: a sentence may run over line breaks."""
        if self._run:
            text, end = "", self._run[0][0]
            for start, next_end, content in self._run:
                between = self.source[end:start]
                # what stands before a line of a quotation is no white space
                text += (between if not between.strip() else " ") + content
                end = next_end
            self._slots.append(Slot(self._run[0][0], end, text, _escape_markdown(text), is_wrapped=True))
            self._run = []


def _escape_markdown(source: str) -> Callable[[str], str]:
    """Escapes signs of markup that a translation has and its source has not."""
    # a sign that the source writes unescaped is markup to nobody
    known = set(_MARKDOWN_SIGNS.findall(source))

    def write(text: str) -> str:
        return _MARKDOWN_SIGNS.sub(lambda sign: sign[0] if sign[0] in known else "\\" + sign[0], text)

    return write


# ---- subtitles ---------------------------------------------------------------------------------------------------

_CUE = re.compile(
    r"^\d*[ \t]*\r?\n?[ \t]*\d+:\d\d:\d\d[,.]\d+[ \t]*-->[^\n]*\n((?:[ \t]*\S[^\n]*(?:\n|\Z))+)", re.MULTILINE
)
_SUBTITLE_WIDTH = 42


def _read_srt(source: str) -> Iterator[Slot]:
    """Cues as one text each, but a speaker's turn, which begins with a dash, by itself."""
    for cue in _CUE.finditer(source):
        start, turns = cue.start(1), re.split(r"(?m)^(?=[ \t]*[-–][ \t]*\w)", cue[1])
        for turn in turns:
            lines = turn.splitlines(keepends=True)
            body = turn.rstrip()
            dash = re.match(r"[ \t]*(?:[-–][ \t]*)?", body)
            indent = dash.end() if dash else 0
            end_of_line = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
            width = max([_SUBTITLE_WIDTH, *(len(line.rstrip()) for line in lines)])
            yield Slot(
                start + indent,
                start + len(body),
                " ".join(body[indent:].split()),
                _wrap(width, end_of_line) if len(lines) > 1 else str,
            )
            # turns split the cue without a gap
            start += len(turn)


def _wrap(width: int, end_of_line: str) -> Callable[[str], str]:
    return lambda text: end_of_line.join(textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False))


# ---- catalogues of messages --------------------------------------------------------------------------------------

_PO_FIELD = re.compile(
    r"^(msgctxt|msgid|msgid_plural|msgstr(?:\[\d+\])?)[ \t]+"
    r'("(?:[^"\\\n]|\\.)*"(?:[ \t]*\r?\n[ \t]*"(?:[^"\\\n]|\\.)*")*)',
    re.MULTILINE,
)
_PO_STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_PO_ESCAPES = {"\\": "\\", '"': '"'}


def _read_po(source: str) -> Iterator[Slot]:
    """Messages without a translation: `msgstr` and `msgstr[0]` get that of `msgid`, further ones of the plural."""
    message, plural = "", ""
    for field in _PO_FIELD.finditer(source):
        value = "".join(_PO_STRING.findall(field[2]))
        if field[1] == "msgid":
            # a message without a plural has one form for all counts
            message = plural = value
        elif field[1] == "msgid_plural":
            plural = value
        # the header is the message of an empty `msgid`; what is translated already stays
        elif field[1].startswith("msgstr") and message and not value:
            text = message if field[1] in ("msgstr", "msgstr[0]") else plural
            yield Slot(field.start(2), field.end(2), _unescape_po(text), _quote_po)


def _unescape_po(text: str) -> str:
    """
    Quotes and backslashes as they are read; line breaks and tabs stay escapes, which are placeholders, and so do
    backslashes before a letter that would make one of them.
    """
    return re.sub(r'\\\\(?=[nrt])|\\([\\"])', lambda sign: _PO_ESCAPES[sign[1]] if sign[1] else sign[0], text)


def _quote_po(text: str) -> str:
    # line breaks, tabs and backslashes before their letters are escapes still, and stay so
    escaped = re.sub(r'(\\{1,2}[nrt])|\\|"', lambda sign: sign[1] or "\\" + sign[0], text)
    return f'"{escaped}"'


_READERS: dict[str, Callable[[str], Iterator[Slot]]] = {
    "paragraphs": _read_paragraphs,
    "markdown": _read_markdown,
    "html": _read_html,
    "srt": _read_srt,
    "po": _read_po,
}
