# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What becomes of source texts before they are token ids: blank, overlong, impossible ones. Travels with a model."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from .copied_text import hide_copied, knows_placeholders, show_copied, split_emoji


ON_BLANK = ("keep", "error")
ON_LONG = ("error", "truncate", "split", "skip")

# Drawn as nothing, or as a sign that something is lost, although Unicode calls them letters, marks or symbols:
# fillers, joiners, variation selectors, noncharacters, what is reserved for more of them, replacement characters, `▁`.
_INVISIBLE = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2065, 0x2581, 0x2800, 0x3164, 0xFFA0, 0xFFFC, 0xFFFD}
_INVISIBLE |= {*range(0x180B, 0x1810), *range(0xFDD0, 0xFDF0), *range(0xFE00, 0xFE10), *range(0xFFF0, 0xFFF9)}
_INVISIBLE |= {*range(0x13430, 0x13440), *range(0xE0000, 0xE1000)}
_INVISIBLE |= {plane | last for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF)}
_INVISIBLE_CATEGORIES = {"Cc", "Cf", "Zs", "Zl", "Zp", "Co"}
# Signs of numbers and of text, which Unicode counts among the controls beside them.
_VISIBLE = {*range(0x0600, 0x0606), 0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x110BD, 0x110CD}

# An end of a sentence: its mark, what may close after it, and white space; East Asian marks need no white space.
_SENTENCE_END = re.compile(r"""(?:[.!?…]+["'”’»«)\]]*(?=\s)|[。！？]+[」』”’）]*|\n+)""")
# After these a full stop ends no sentence; nor does it after a single letter or a number of two digits (3. Mai).
_ABBREVIATIONS = frozenset(
    "art bzw ca cf co dr etc fig fr gen hr inc jr lt ltd mme mr mrs ms no nr op prof resp sen sgt sr st str usw vgl vs"
    .split()
)  # fmt: skip
_LAST_WORD = re.compile(r"(\w+)\.$")
# Abbreviations are words of capitals too: a text is shouted where there are two words.
_WORD = re.compile(r"[^\W\d_]{2,}")
_FIRST_LETTER = re.compile(r"((?:^|[.!?…]\s)[^\w]*)(\w)")
# Where a sentence that is too long may be cut: the white space stays with the word before it.
_WORD_END = re.compile(r"(?<=[\s，；：、])(?!\s)")


class PreparedSources(NamedTuple):
    """
    Sources as token ids, in pieces that fit the model; see [`prepare_sources`].

    Args:
        pieces (`list[list[int]]`): ids `<s> … </s>` of everything to translate, in the order of the texts.
        owners (`list[int]`): for each piece, the number of the text that it belongs to, ascending.
        left_out (`dict[int, str]`): texts without a piece: number -> "blank" or "long". Their translation is empty.
        copied (`dict[int, list[str]]`): number of a text -> what placeholders stand for in it, if there are any; see
            [`show_copied`](models.copied_text.show_copied).
        shouted (`frozenset[int]`): numbers of the texts in capitals, which are translated in lower case.
        around (`dict[int, tuple[str, str]]`): number of a text -> emoji before and after it, if there are any.
    """

    pieces: list[list[int]]
    owners: list[int]
    left_out: dict[int, str]
    copied: dict[int, list[str]]
    shouted: frozenset[int] = frozenset()
    around: Mapping[int, tuple[str, str]] = MappingProxyType({})


def is_blank(text: str) -> bool:
    """Whether nothing of `text` can be seen: white space, controls, and characters such as U+200B or a BOM."""
    return all(map(_is_invisible, text))


def _is_invisible(character: str) -> bool:
    """Whether nothing is left of a character in the tokenizers made here either."""
    code = ord(character)
    return code in _INVISIBLE or (unicodedata.category(character) in _INVISIBLE_CATEGORIES and code not in _VISIBLE)


def is_shouted(text: str) -> bool:
    """
    Whether a text of two words or more is all in capitals; what is copied is a placeholder by then.

    ```python
    >>> is_shouted("KEEP OUT!"), is_shouted("UNESCO"), is_shouted("I am"), is_shouted("WRITE TO a@b.com")
    (True, False, False, False)

    ```"""
    return text.isupper() and len(_WORD.findall(text)) > 1


def lower_sentences(text: str) -> str:
    """
    A text in lower case, but for the first letters of its sentences.

    ```python
    >>> lower_sentences("KEEP OUT! DO NOT ENTER.")
    'Keep out! Do not enter.'

    ```"""
    return _FIRST_LETTER.sub(lambda match: match[1] + match[2].upper(), text.lower())


def split_sentences(text: str) -> list[str]:
    """
    Sentences of `text`, white space around them dropped, nothing else; a text without an end mark is one sentence.

    ```python
    >>> split_sentences("Mr. Smith is here. Are you? 你好。再见")
    ['Mr. Smith is here.', 'Are you?', '你好。', '再见']

    ```"""
    sentences, start = [], 0
    for end in _SENTENCE_END.finditer(text):
        # `start` stays, so that the next end is that of both
        if not _is_abbreviated(text[start : end.end()]):
            sentences.append(text[start : end.end()].strip())
            start = end.end()
    sentences.append(text[start:].strip())
    return [sentence for sentence in sentences if not is_blank(sentence)]


def _is_abbreviated(sentence: str) -> bool:
    """Whether the full stop that `sentence` ends with belongs to its last word: Dr., J., 3."""
    word = _LAST_WORD.search(sentence)
    return word is not None and (
        word[1].lower() in _ABBREVIATIONS
        or (len(word[1]) == 1 and word[1].isalpha())
        or (len(word[1]) <= 2 and word[1].isdigit())
    )


def check_policies(on_blank: str, on_long: str) -> None:
    """
    Refuses what is no policy for source texts.

    Raises:
        ValueError: for a name outside [`ON_BLANK`] or [`ON_LONG`].
    """
    for name, value, known in (("on_blank", on_blank, ON_BLANK), ("on_long", on_long, ON_LONG)):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}.")


def prepare_sources(
    texts: Sequence[str],
    tokenizer: Any,
    max_length: int,
    on_blank: str = "keep",
    on_long: str = "error",
    *,
    name: Callable[[int], str] = "text {}".format,
) -> PreparedSources:
    """
    Token ids of `texts`, blank and overlong ones as the policies say.

    Args:
        texts (`Sequence[str]`): source texts.
        tokenizer (`PreTrainedTokenizerBase`): of the model.
        max_length (`int`): most tokens of a piece, `<s>` and `</s>` counted (`config.max_source_length`).
        on_blank (`str`): `keep` (a blank text stays blank) or `error`.
        on_long (`str`): `error`, `truncate` (cut at `max_length`), `split` (at ends of sentences, a sentence that is
            too long between words; the pieces are translated one by one), or `skip` (an empty
            translation).
        name (`Callable`): how errors call the text of a number, such as `lambda i: f"in.txt:{i + 1}"`.

    Returns:
        [`PreparedSources`].

    Raises:
        ValueError: for a bare string, something that is not text, an unknown policy, or a text that a policy refuses.
    """
    check_policies(on_blank, on_long)
    if isinstance(texts, str):
        raise ValueError("The texts are one string. Pass a list of texts, [text] for a single one.")
    texts = list(texts)
    _check_texts(texts, name)
    texts, copied, around = _without_copied(texts, tokenizer)
    shouted = frozenset(number for number, text in enumerate(texts) if is_shouted(text))
    texts = [lower_sentences(text) if number in shouted else text for number, text in enumerate(texts)]
    pieces, owners, left_out = [], [], {}
    # what a text of characters that the tokenizer drops comes to
    nothing = _encode(tokenizer, [""])[0]
    for number, (text, ids) in enumerate(zip(texts, _encode(tokenizer, texts) if texts else [], strict=True)):
        if is_blank(text) or ids == nothing:
            if on_blank == "error":
                raise ValueError(f"{name(number)} is blank: {text!r}. Remove it, or use on_blank='keep'.")
            left_out[number] = "blank"
        elif len(ids) > max_length and on_long == "skip":
            left_out[number] = "long"
        else:
            fitting = [ids] if len(ids) <= max_length else _fit(text, tokenizer, max_length, on_long, name(number))
            pieces += fitting
            owners += [number] * len(fitting)
    return PreparedSources(pieces, owners, left_out, copied, shouted, around)


def join_pieces(prepared: PreparedSources, translations: Sequence[str], num_texts: int) -> list[str]:
    """
    A translation for each text from those of its pieces, with what was copied, in capitals where the text was; empty
    where it was left out.

    Pieces were cut between words: there is one blank between two of them, and none beside an empty one.
    """
    owned: list[list[str]] = [[] for _ in range(num_texts)]
    for owner, text in zip(prepared.owners, translations, strict=True):
        owned[owner].append(text.strip())
    joined = [" ".join(filter(None, texts)) for texts in owned]
    for owner in prepared.shouted:
        joined[owner] = joined[owner].upper()
    for owner, copied in prepared.copied.items():
        if owned[owner]:
            joined[owner] = show_copied(joined[owner], copied)
    for owner, (before, after) in prepared.around.items():
        if owned[owner]:
            joined[owner] = f"{before}{joined[owner]}{after}"
    return joined


def encode_rows(
    tokenizer: Any,
    texts: Sequence[str],
    *,
    truncation: bool = False,
    max_length: int | None = None,
    verbose: bool = True,
) -> Mapping[str, list[list[int]]]:
    """Rows of ids by a tokenizer of the tokenizers library, asked for as from one of transformers."""
    rows = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    if truncation and max_length is not None:
        # the last id is `</s>`, which stays
        rows = [row if len(row) <= max_length else [*row[: max_length - 1], row[-1]] for row in rows]
    return {"input_ids": rows}


def _without_copied(
    texts: list[str], tokenizer: Any
) -> tuple[list[str], dict[int, list[str]], dict[int, tuple[str, str]]]:
    """Texts with placeholders for what is copied, where the model has learnt them, and without emoji around them."""
    parts = [split_emoji(text) for text in texts]
    hidden = [hide_copied(text) for _, text, _ in parts]
    around = {number: (before, after) for number, (before, _, after) in enumerate(parts) if before or after}
    copied = {number: found for number, (_, found) in enumerate(hidden) if found}
    if not (copied or around) or not knows_placeholders(tokenizer):
        return texts, {}, {}
    return [text for text, _ in hidden], copied, around


def _check_texts(texts: Sequence[str], name: Callable[[int], str]) -> None:
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"{name(number)} is no text but {type(text).__name__}. Pass str.")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError(
                f"{name(number)} holds half of a surrogate pair, which is no character. Decode its file as the "
                "encoding that it was written in."
            )


def _encode(tokenizer: Any, texts: list[str], **options: Any) -> list[list[int]]:
    # `verbose` warns of texts above model_max_length, which are dealt with here.
    return tokenizer(texts, verbose=False, **options)["input_ids"]


def _fit(text: str, tokenizer: Any, max_length: int, on_long: str, name: str) -> list[list[int]]:
    """Pieces of at most `max_length` tokens of a longer text."""
    if on_long == "error":
        length = len(_encode(tokenizer, [text])[0])
        raise ValueError(
            f"{name} has {length} tokens, the model takes at most {max_length} (the rest would be more than the "
            f"position table of the model holds). Shorten it, or use on_long='split', 'truncate' or 'skip'."
        )
    cut = {"truncation": True, "max_length": max_length}
    if on_long == "truncate":
        return _encode(tokenizer, [text], **cut)
    return _encode(tokenizer, list(_fitting_parts(text, tokenizer, max_length)), **cut)


def _fitting_parts(text: str, tokenizer: Any, max_length: int) -> Iterator[str]:
    """Sentences of a text; those that are too long in parts of as many words as fit."""
    for sentence in split_sentences(text):
        current = ""
        for word in _WORD_END.split(sentence):
            if _is_fitting(current + word, tokenizer, max_length):
                current += word
                continue
            # the last part stays open: the next words may still fit
            *whole, current = filter(None, [current, *_halve(word, tokenizer, max_length)])
            yield from whole
        yield current


def _halve(word: str, tokenizer: Any, max_length: int) -> list[str]:
    """Parts of one long word, each of which fits unless it is a single character."""
    if len(word) < 2 or _is_fitting(word, tokenizer, max_length):
        return [word]
    middle = len(word) // 2
    return [*_halve(word[:middle], tokenizer, max_length), *_halve(word[middle:], tokenizer, max_length)]


def _is_fitting(text: str, tokenizer: Any, max_length: int) -> bool:
    return len(_encode(tokenizer, [text])[0]) <= max_length


__all__ = [
    "ON_BLANK",
    "ON_LONG",
    "PreparedSources",
    "check_policies",
    "is_blank",
    "is_shouted",
    "join_pieces",
    "lower_sentences",
    "prepare_sources",
    "split_sentences",
]
