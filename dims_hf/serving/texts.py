# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What a request's text goes through: paragraphs and sentences for the model, markup that stays."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from html import escape, unescape
from html.parser import HTMLParser


# Elements whose content is no text.
_CODE = frozenset(("script", "style", "code", "pre", "kbd", "samp", "var", "textarea"))


def open_translator(model: str, *, threads: int | None = None) -> Callable[[list[str]], list[str]]:
    """
    A function from texts to their translations, blank ones kept and overlong ones split at ends of sentences.

    Args:
        model (`str`): folder of a checkpoint or of an export.
        threads (`int`, *optional*): processor threads.

    Raises:
        ValueError: nothing at that place, or a damaged model.
    """
    from dims_hf.translation import open_runtime, translate_texts

    runtime = open_runtime(model, threads=threads)

    def translate(texts: list[str]) -> list[str]:
        return [translation.text for translation in translate_texts(runtime, texts, on_long="split")]

    return translate


class _Parts(HTMLParser):
    """Cuts HTML into markup, which stays byte for byte, and texts."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.parts: list[tuple[str, bool]] = []
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag, as it was written."""
        if tag in _CODE:
            self._inside.append(tag)
        self._add(self.get_starttag_text() or "", is_text=False)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag without content, as it was written."""
        self._add(self.get_starttag_text() or "", is_text=False)

    def handle_endtag(self, tag: str) -> None:
        """The end of an element."""
        if tag in self._inside:
            while self._inside.pop() != tag:
                pass
        self._add(f"</{tag}>", is_text=False)

    def handle_data(self, data: str) -> None:
        """Text, unless it is code."""
        self._add(data, is_text=not self._inside)

    def handle_entityref(self, name: str) -> None:
        """A character by its name is part of the text around it."""
        self._add(f"&{name};", is_text=not self._inside)

    def handle_charref(self, name: str) -> None:
        """A character by its number, as well."""
        self._add(f"&#{name};", is_text=not self._inside)

    def handle_comment(self, data: str) -> None:
        """Comments stay."""
        self._add(f"<!--{data}-->", is_text=False)

    def handle_decl(self, decl: str) -> None:
        """So do declarations."""
        self._add(f"<!{decl}>", is_text=False)

    def handle_pi(self, data: str) -> None:
        """And processing instructions."""
        self._add(f"<?{data}>", is_text=False)

    def unknown_decl(self, data: str) -> None:
        """And sections of character data."""
        self._add(f"<![{data}]>", is_text=False)

    def _add(self, part: str, *, is_text: bool) -> None:
        if self.parts and self.parts[-1][1] == is_text:
            part = self.parts.pop()[0] + part
        self.parts.append((part, is_text))


async def translate_html(text: str, translate: Callable[[Sequence[str]], Awaitable[list[str]]]) -> str:
    """
    HTML with its texts translated; tags, comments and code stay as they are, and so does white space around texts.

    Args:
        text (`str`): HTML, a page or a part of one.
        translate (`Callable`): translates texts.
    """
    parser = _Parts()
    parser.feed(text)
    parser.close()
    texts = [unescape(part) for part, is_text in parser.parts if is_text]
    wanted = [part for part in texts if any(character.isalnum() for character in part)]
    translations = iter(await translate([part.strip() for part in wanted]))
    done = []
    for part, is_text in parser.parts:
        plain = unescape(part)
        if is_text and any(character.isalnum() for character in plain):
            start, end = len(plain) - len(plain.lstrip()), len(plain.rstrip())
            part = plain[:start] + escape(next(translations), quote=False) + plain[end:]
        done.append(part)
    return "".join(done)
