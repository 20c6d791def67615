# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Augmentations of sentence pairs: neighbours joined, case changed, numbers and names varied, placeholders.

Each is a pure function of pairs `(source, target)` and a random generator; none changes the pairs it is given.
How addresses and numbers stay right: they are placeholders while a text is translated (`dims_hf.models.copied_text`),
and `mask_names`, `mask_copied` and `place_addresses` show a model where those belong. Numbers of one or two digits are
tokens (`max_digits`), and `vary_numbers` shows a model all of them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence

from dims_hf.models.copied_text import COPIED, PLACEHOLDERS


Pair = tuple[str, str]

_NUMBER = re.compile(r"\d+")
_NAME = re.compile(r"\b[A-ZÄÖÜ][a-zäöüß]{2,}\b")

# Names nobody has seen, so that rare pieces are copied too.
_SYLLABLES = (
    "ba bel da dor el fen ga har is jo ka lin ma mir na nor ol per qui ra ri sa sen ta tu ul va vin wen yo zam"
)

# English and German, with places for one or two addresses.
_ADDRESSES = (
    ("You can find more information at {0}.", "Weitere Informationen finden Sie unter {0}."),
    ("Visit {0} for details.", "Besuchen Sie {0} für weitere Einzelheiten."),
    ("Please write to {0}.", "Bitte schreiben Sie an {0}."),
    ("Send me an e-mail at {0} and I will answer.", "Schick mir eine E-Mail an {0}, dann antworte ich."),
    ("My address is {0}.", "Meine Adresse ist {0}."),
    ("Is {0} your new address?", "Ist {0} deine neue Adresse?"),
    ("Our website is {0}.", "Unsere Website ist {0}."),
    ("Have you seen {0}?", "Hast du {0} gesehen?"),
    ("The pictures are on {0} now.", "Die Bilder sind jetzt auf {0}."),
    ("Go to {0} and click on the link.", "Geh auf {0} und klicke auf den Link."),
    ("You can order it from {0}, if you like.", "Wenn Sie möchten, können Sie es bei {0} bestellen."),
    ("I read about it on {0} yesterday.", "Ich habe gestern auf {0} davon gelesen."),
    ("{0} is not working today.", "{0} funktioniert heute nicht."),
    ("Contact us: {0}", "Kontakt: {0}"),
    ("See {0} or {1}.", "Siehe {0} oder {1}."),
    ("Write to {0} or call us.", "Schreiben Sie an {0} oder rufen Sie uns an."),
    ("Tom's e-mail address is {0}, and Mary's is {1}.", "Toms E-Mail-Adresse ist {0}, und Marias ist {1}."),
    ("The document can be downloaded from {0} ({1}).", "Das Dokument kann von {0} heruntergeladen werden ({1})."),
    ("Did you send the report to {0}?", "Hast du den Bericht an {0} geschickt?"),
    ("Do not open {0}, it is dangerous.", "Öffne {0} nicht, das ist gefährlich."),
    ("If you have any questions, please send them to {0}.", "Wenn Sie Fragen haben, schicken Sie sie bitte an {0}."),
    ("Register at {0} before Monday.", "Melden Sie sich vor Montag auf {0} an."),
    ("I forgot my password for {0}.", "Ich habe mein Passwort für {0} vergessen."),
    ("Follow {0} for the latest news.", "Folgen Sie {0} für die neuesten Nachrichten."),
)


def concatenate_neighbours(
    pairs: Sequence[Pair], share: float, rng: random.Random, *, most: int = 3, max_words: int = 60
) -> Iterator[Pair]:
    """
    Two to `most` pairs in a row as one, so that a model also sees several sentences at a time.

    Args:
        pairs (`Sequence[Pair]`): in the order of their document.
        share (`float`): how many to make, as a share of `pairs`.
        rng (`random.Random`): chooses where and how many.
        most (`int`): sentences of the longest.
        max_words (`int`): longer results (on either side) are left out.
    """
    for _ in range(round(share * len(pairs))):
        count = rng.randint(2, most)
        start = rng.randrange(max(1, len(pairs) - count + 1))
        joined = tuple(" ".join(side) for side in zip(*pairs[start : start + count], strict=True))
        if max(len(side.split()) for side in joined) <= max_words:
            yield joined


def change_case(pairs: Iterable[Pair], share: float, rng: random.Random) -> Iterator[Pair]:
    """A copy of about `share` of the pairs, half of them in CAPITALS, half in lower case, both sides alike."""
    for source, target in pairs:
        if rng.random() < share:
            change = rng.choice((str.upper, str.lower))
            yield change(source), change(target)


def vary_numbers(pairs: Iterable[Pair], share: float, rng: random.Random) -> Iterator[Pair]:
    """
    Copies of pairs whose numbers agree on both sides, with other numbers of as many digits in their place; a pair with
    numbers gives `share` copies on average (a share above 1 makes several).
    """
    for source, target in pairs:
        numbers = _NUMBER.findall(source)
        if not numbers or sorted(numbers) != sorted(_NUMBER.findall(target)):
            continue
        for _ in range(_draw_count(share, rng)):
            table = {number: _random_number(len(number), rng) for number in numbers}
            yield tuple(_NUMBER.sub(lambda match, table=table: table[match[0]], side) for side in (source, target))


def vary_names(pairs: Sequence[Pair], share: float, rng: random.Random) -> Iterator[Pair]:
    """
    Copies of about `share` of the pairs with other names in the place of theirs: half of them names of other pairs,
    half made of syllables, so that names are copied that no corpus has.
    """
    names = sorted({name for pair in pairs for name in shared_names(pair)})
    for pair in pairs:
        shared = shared_names(pair) if rng.random() < share else []
        if shared:
            others = [rng.choice(names) if rng.random() < 0.5 else _made_up_name(rng) for _ in shared]
            yield replace_words(pair[0], shared, others), replace_words(pair[1], shared, others)


def mask_names(pairs: Iterable[Pair], share: float, rng: random.Random) -> Iterator[Pair]:
    """
    Copies of about `share` of the pairs with placeholders for names: a model learns from them where what a placeholder
    stands for belongs.
    """
    for pair in pairs:
        shared = shared_names(pair)[: len(PLACEHOLDERS)] if rng.random() < share else []
        if shared:
            signs = rng.sample(PLACEHOLDERS, len(shared))
            yield replace_words(pair[0], shared, signs), replace_words(pair[1], shared, signs)


def mask_copied(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """
    Pairs with placeholders for addresses and numbers, beside those that they have already. Numbers are the same where
    their digits are: 1,250.50 is 1.250,50. Left out are pairs whose sides have different ones, or more than there are
    placeholders.
    """
    for source, target in pairs:
        copied = [_digits_or_all(match[0]) for match in COPIED.finditer(source)]
        wanted = [_digits_or_all(match[0]) for match in COPIED.finditer(target)]
        if sorted(copied) != sorted(wanted) or len(copied) > len(PLACEHOLDERS):
            continue
        free = [sign for sign in PLACEHOLDERS if sign not in copied]
        signs: dict[str, list[str]] = {}
        for original in copied:
            signs.setdefault(original, []).append(original if original in PLACEHOLDERS else free.pop(0))
        yield _replace_copied(source, signs), _replace_copied(target, signs)


def place_addresses(count: int, rng: random.Random, *, english_first: bool = True) -> Iterator[Pair]:
    """`count` English-German pairs (German-English unless `english_first`) about web and mail addresses."""
    for _ in range(count):
        pair = rng.choice(_ADDRESSES)
        signs = rng.sample(PLACEHOLDERS, 2)
        english, german = (side.format(*signs) for side in pair)
        yield (english, german) if english_first else (german, english)


def shared_names(pair: Pair) -> list[str]:
    """
    Words with a capital that stand once on either side of a pair, in the order of the source: names, mostly. The first
    word of the source is none, it may have its capital from there.
    """
    source, target = (_NAME.findall(side) for side in pair)
    first = _NAME.match(pair[0])
    return [
        word
        for word in source
        if source.count(word) == 1 and target.count(word) == 1 and not (first and first[0] == word)
    ]


def replace_words(text: str, words: Sequence[str], others: Sequence[str]) -> str:
    """`text` with each of `words`, where it stands as a word of its own, replaced by the one of `others`."""
    if not words:
        return text
    table = dict(zip(words, others, strict=True))
    return re.sub(rf"\b(?:{'|'.join(map(re.escape, words))})\b", lambda match: table[match[0]], text)


def _replace_copied(text: str, signs: dict[str, list[str]]) -> str:
    waiting = {original: iter(those) for original, those in signs.items()}
    return COPIED.sub(lambda match: next(waiting[_digits_or_all(match[0])]), text)


def _digits_or_all(copied: str) -> str:
    """What tells copied texts apart: the digits of a number, an address as it is."""
    return re.sub(r"\D", "", copied) if re.fullmatch(r"\d[\d\W]*", copied) else copied


def _draw_count(share: float, rng: random.Random) -> int:
    return int(share) + (rng.random() < share - int(share))


def _random_number(num_digits: int, rng: random.Random) -> str:
    """A number of so many digits that does not start with a zero."""
    return str(rng.randint(10 ** (num_digits - 1), 10**num_digits - 1)) if num_digits > 1 else str(rng.randint(2, 9))


def _made_up_name(rng: random.Random) -> str:
    return "".join(rng.choice(_SYLLABLES.split()) for _ in range(rng.randint(2, 3))).capitalize()
