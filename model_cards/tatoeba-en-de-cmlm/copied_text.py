# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What is copied instead of translated: URLs, e-mail addresses, host names, @names, numbers, variables, emoji.

Travels with a model.

They give way to placeholders before a text is translated, and come back letter by letter afterwards; a model has
learnt where they belong from a corpus with placeholders for names and numbers.
"""

import re
from collections.abc import Sequence
from typing import Any


PLACEHOLDERS = "◰◱◲◳◴◵◶◷"
"""Stand for what is copied; each is a token of its own in tokenizers trained on corpora with them."""

# Each begins where no other could, so that a long run of letters is read once.
_PATH = r"[^\s<>\"«»]*[^\s<>\"«».,;:!?)\]}'’“”…]"
_URL = rf"(?<!\w)(?:https?://|ftp://|www\.){_PATH}"
_EMAIL = r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
# Of one case, so that a sentence that begins without a blank before it ("Berlin.At noon") is no host.
_DOMAINS = "com|org|net|de|eu|io|gov|edu|uk|at|ch|info"
_HOST = rf"(?<![\w.-])(?:[a-z0-9-]+\.)+(?-i:{_DOMAINS}|{_DOMAINS.upper()})\b(?:/{_PATH})?"
_HANDLE = r"(?<![\w@])@\w+"
# Three digits or more, with what may stand between them, a sign, and a currency that few vocabularies have. Fewer are
# words: a plural, an article, a day of the month.
_BETWEEN = r"[.,:'’/-]"
_CURRENCY = "[€£¥₹₽]"
_NUMBER = (
    rf"(?<![\w.,:'’/])(?<!\w-)[-+−]?{_CURRENCY}?(?=(?:{_BETWEEN}?\d){{3}})\d+(?:{_BETWEEN}\d+)*"
    rf"(?!\w|{_BETWEEN}\d)(?:\s?{_CURRENCY})?"
)
# An international telephone number: a country's digits and at least one more group.
_PHONE = r"(?<!\w)\+\d+(?:[ ./-]?\(\d+\)|[ ./-]\d+)+(?!\w)"

# Directives of format strings and names in braces, which stand for words. Tags do not: they enclose some.
# A width begins with another digit than the flag 0: a long run of zeros is read in one way, and once.
DIRECTIVE = r"(?-i:%(?:\([\w.]+\)|\d+\$)?[-+#0]*(?:[1-9]\d*)?(?:\.\d+)?[hlLqz]*[diouxXeEfFgGcrsa](?!\w)|%%)"
"""Pattern of a directive of a format string, in its own case."""

_VARIABLE = r"\$?\{\{?[ ]?[\w.:!-]*[ ]?\}?\}"
# One picture may be several characters: skin tones, joiners, selectors, two letters or tags of a flag, keycaps.
_PICTURE = r"[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff]"
_MODIFIER = r"[\ufe0f\u200d\U0001f3fb-\U0001f3ff\U0001f1e6-\U0001f1ff\U000e0020-\U000e007f]"
_ONE_EMOJI = rf"(?:[\d#*]\ufe0f?\u20e3|{_PICTURE}(?:{_MODIFIER}|(?<=\u200d){_PICTURE})*)"
_EMOJI = rf"{_ONE_EMOJI}(?:\s*{_ONE_EMOJI})*"

ADDRESS = re.compile(f"{_URL}|{_EMAIL}|{_HOST}|{_HANDLE}", re.IGNORECASE)
"""URLs, e-mail addresses, host names and @names."""

COPIED = re.compile(
    f"{ADDRESS.pattern}|{DIRECTIVE}|{_VARIABLE}|{_EMOJI}|{_PHONE}|{_NUMBER}|[{PLACEHOLDERS}]", re.IGNORECASE
)
"""What is copied: addresses, variables, emoji, numbers of three digits or more, placeholders that were typed."""

_EMOJI_RUN = re.compile(_EMOJI)


def split_emoji(text: str) -> tuple[str, str, str]:
    """
    Emoji before and after a text, which are no part of its sentences, with the white space beside them.

    Returns:
        `tuple[str, str, str]`: what stands before the text, the text, what stands after it. Emoji alone are a text.
    """
    runs = [match.span() for match in _EMOJI_RUN.finditer(text)]
    start, end = 0, len(text)
    if runs and not text[: runs[0][0]].strip():
        start = runs[0][1]
        start += len(text[start:]) - len(text[start:].lstrip())
    if runs and not text[runs[-1][1] :].strip():
        end = len(text[: runs[-1][0]].rstrip())
    if not any(map(str.isalpha, text[start:end])):
        return "", text, ""
    return text[:start], text[start:end], text[end:]


def knows_placeholders(tokenizer: Any) -> bool:
    """
    Whether every placeholder is a token of its own, as for models that have learnt to place them.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): or anything that is called alike and puts one token before and after.
    """
    ids = tokenizer([" ".join(PLACEHOLDERS)])["input_ids"][0]
    return len(set(ids)) == len(ids) == len(PLACEHOLDERS) + 2


def hide_copied(text: str) -> tuple[str, list[str]]:
    """
    Puts placeholders in the place of what is copied.

    Args:
        text (`str`): source text.

    Returns:
        `tuple[str, list[str]]`: the text with placeholders, in their order (after the last one the first again), and
        what they stand for.
    """
    copied: list[str] = []

    def hide(match: re.Match[str]) -> str:
        copied.append(match[0])
        return _sign(len(copied) - 1)

    return COPIED.sub(hide, text), copied


def show_copied(translation: str, copied: Sequence[str]) -> str:
    """
    Puts back what was copied: everything exactly once, whatever the model did with the placeholders.

    Args:
        translation (`str`): of a text from [`hide_copied`]. Placeholders beyond those of the source are dropped.
        copied (`Sequence[str]`): what they stand for. What has no place in the translation is added at its end.
    """
    waiting = list(enumerate(copied))

    def show(match: re.Match[str]) -> str:
        # the first that waits: after the last placeholder they begin again, and one sign stands for several
        for position, (index, original) in enumerate(waiting):
            if _sign(index) == match[0]:
                del waiting[position]
                return original
        return ""

    shown = re.sub(f"[{PLACEHOLDERS}]", show, translation)
    # never lost: a link at the end is better than none
    return " ".join([*shown.split(), *(original for _, original in waiting)])


def _sign(index: int) -> str:
    return PLACEHOLDERS[index % len(PLACEHOLDERS)]


__all__ = [
    "ADDRESS",
    "COPIED",
    "DIRECTIVE",
    "PLACEHOLDERS",
    "hide_copied",
    "knows_placeholders",
    "show_copied",
    "split_emoji",
]
