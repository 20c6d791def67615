# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Paragraphs cut into sentences to translate and everything between them, which stays as it is. Travels with a model.

A text is a list of parts, each with whether it is a sentence; joined, the parts are the text again.
"""

import re
from collections.abc import Iterator

from .copied_text import DIRECTIVE
from .source_text import split_sentences


# What stays as it is inside any text: tags, entities, addresses, format directives, names in braces. An e-mail address
# begins where no letter is before it, or an escape: a long word is read once.
PLACEHOLDER = re.compile(
    rf"""</?[A-Za-z][^<>]*>|&\#?\w+;|(?:(?:https?|ftp)://|www\.)[^\s<>"')\]]*[^\s<>"')\].,;:!?]
    |(?:(?<![\w.+-])|(?<=\\[nrt]))[\w.+-]+@[\w-]+\.[\w.-]+
    |{DIRECTIVE}|\$?\{{\{{?[^{{}}\n]*\}}?\}}|\\{{1,2}}[nrt]|[\udc80-\udcff]+""",
    re.VERBOSE,
)

# A line at least this long was broken because it was full, and not because something ended.
_WRAPPED_WIDTH = 50
_PARAGRAPH = re.compile(r"\S(?:.|\n(?!\s*\n)|\r(?!\n?\s*\n))*")


def find_paragraphs(text: str) -> Iterator[tuple[int, int, bool]]:
    """
    Paragraphs of `text`, which end at blank lines.

    Returns:
        `Iterator[tuple[int, int, bool]]`: first character, end, and whether a sentence may run over the line breaks
        inside, as where lines are long.
    """
    for match in _PARAGRAPH.finditer(text):
        yield match.start(), match.end(), max(map(len, match[0].splitlines())) >= _WRAPPED_WIDTH


def cut_paragraphs(text: str) -> list[tuple[str, bool]]:
    """
    Parts of a text of paragraphs, and whether each is a sentence to translate.

    ```python
    >>> cut_paragraphs("Hello %s.  Who?\\n\\n- 12")
    [('Hello', True), (' ', False), ('%s', False), ('.', False), ('  ', False), ('Who?', True), ('\\n\\n', False), \
('- 12', False)]

    ```"""
    parts: list[tuple[str, bool]] = []
    end = 0
    for start, stop, is_wrapped in find_paragraphs(text):
        parts += [(text[end:start], False), *cut_sentences(text[start:stop], is_wrapped)]
        end = stop
    return [part for part in [*parts, (text[end:], False)] if part[0]]


def cut_sentences(text: str, is_wrapped: bool) -> Iterator[tuple[str, bool]]:
    """
    Parts of a stretch of text, and whether each is a sentence to translate; placeholders are none, nor what has no
    letter.

    Args:
        text (`str`): the stretch.
        is_wrapped (`bool`): whether line breaks mean no more than blanks, so that sentences run over them.
    """
    end = 0
    for placeholder in PLACEHOLDER.finditer(text):
        yield from _cut_plain(text[end : placeholder.start()], is_wrapped)
        yield placeholder[0], False
        end = placeholder.end()
    yield from _cut_plain(text[end:], is_wrapped)


def is_worded(text: str) -> bool:
    """Whether there is a letter in `text`, and thus something to translate."""
    return any(character.isalpha() for character in text)


def _cut_plain(text: str, is_wrapped: bool) -> Iterator[tuple[str, bool]]:
    # one for one, so that places in `flat` are places in `text`
    flat = re.sub(r"[\r\n]", " ", text) if is_wrapped else text
    end = 0
    for sentence in split_sentences(flat):
        start = flat.index(sentence, end)
        yield text[end:start], False
        end = start + len(sentence)
        yield sentence if is_worded(sentence) else text[start:end], is_worded(sentence)
    yield text[end:], False


__all__ = ["PLACEHOLDER", "cut_paragraphs", "cut_sentences", "find_paragraphs", "is_worded"]
