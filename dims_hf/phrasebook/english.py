# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The English side: fields such as `{verb.past}` or `{noun}`, what may stand in them, and how they read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .lexicon import ADJECTIVES, NOUNS, SUBJECTS, Subject, Verb


Slots = Mapping[str, Any]
FIELD = re.compile(r"\{(\w+)(?:\.(\w+))?\}")
# A field may depend on the ones before it: the noun on its verb, the adjective and the determiner on the noun.
ORDER = ("subject", "verb", "noun", "adj", "det", "pred", "verb2", "noun2", "adj2", "det2", "pron")

_AGREEMENT = {
    "is": ("am", "is", "are"),
    "was": ("was", "was", "were"),
    "likes": ("like", "likes", "like"),
    "hopes": ("hope", "hopes", "hope"),
    "thinks": ("think", "thinks", "think"),
    "wants": ("want to", "wants to", "want to"),
    "has": ("have to", "has to", "have to"),
    "thanks": ("thank", "thanks", "thank"),
}
_GERUNDS = {"put": "putting", "plan": "planning"}
_OWN = {"1s": ("my",), "1p": ("our",), "3p": ("their",)}
_PRONOUNS = {"1s": ("I",), "1p": ("we",), "3p": ("they",)}
_POSSESSIVE_GENDER = {"his": "m", "her": "f", "he": "m", "she": "f"}


def gender_named_by(word: str | None) -> str | None:
    """The gender that "his", "she", … tells about the subject."""
    return _POSSESSIVE_GENDER.get(word or "")


def _gerund(english: str) -> str:
    head, _, rest = english.partition(" ")
    stem = head[:-1] if head.endswith("e") and not head.endswith("ee") else head
    return _GERUNDS.get(head, stem + "ing") + (" " + rest if rest else "")


def _favour(english: str) -> str:
    head, _, rest = english.partition(" ")
    return " ".join(part for part in (head, "you", rest) if part)


def agree(word: str, subject: Subject) -> str:
    """The form of "is", "likes", … that goes with `subject`."""
    return _AGREEMENT[word][{"1s": 0, "3s": 1}.get(subject.person, 2)]


def own(subject: Subject) -> tuple[str, ...]:
    """The possessives that can refer back to `subject`: two where the English leaves its gender open."""
    genders = {person.gender for person in subject.german}
    return _OWN.get(subject.person) or tuple(word for word in ("his", "her") if gender_named_by(word) in genders)


def _pronouns(slots: Slots) -> tuple[str, ...]:
    subject: Subject = slots["subject"]
    genders = {person.gender for person in subject.german}
    named = {gender_named_by(slots.get(det)) for det in ("det", "det2")} - {None}
    genders = named if named else genders
    found = _PRONOUNS.get(subject.person)
    return found or tuple(word for word in ("he", "she") if gender_named_by(word) in genders)


def _determiners(allowed: Sequence[str], slots: Slots) -> tuple[str, ...]:
    subject = slots.get("subject")
    found: list[str] = []
    for word in allowed:
        found.extend(own(subject) if word == "own" else (word,))
    return tuple(found)


def options(field: str, slots: Slots, allowed: Mapping[str, Sequence[Any]]) -> Sequence[Any]:
    """What may stand in `field` once the fields before it are filled."""
    kind, number = field.rstrip("2"), "2" if field.endswith("2") else ""
    noun = slots.get("noun" + number)
    if kind == "noun" and field not in allowed:
        return [found for found in slots["verb" + number].objects if not number or found is not slots["noun"]]
    if kind == "adj":
        adjectives = tuple(adj for adj in noun.adjectives if adj.english in allowed.get(field, (adj.english,)))
        return (None,) * len(adjectives) + adjectives if adjectives else (None,)
    if kind == "feeling":
        unfit = {{"bad": "good", "nice": "bad"}.get(flag) for flag in slots["verb"].flags}
        return [found for found in allowed[field] if found.tone not in unfit]
    if kind == "pred":
        return [pred for pred in noun.predicates if not slots["adj"] or pred.scale != slots["adj"].scale]
    if kind == "det":
        return _determiners(allowed[field], slots)
    if kind == "pron":
        return _pronouns(slots)
    return SUBJECTS if field == "subject" and field not in allowed else allowed[field]


def _verb_surface(verb: Verb, form: str) -> str:
    forms = {"base": verb.english, "past": verb.past, "ing": _gerund(verb.english), "you": _favour(verb.english)}
    return forms[form]


def surfaces(kind: str, form: str, item: Any) -> tuple[str, ...]:
    """Every way in which `item` can read; only determiners and agreeing words have more than one."""
    if kind == "adj":
        return ("" if item is None else " " + item.english,)
    if kind in ("verb", "favour", "event"):
        return (_verb_surface(item, form),)
    if kind == "det":
        return ("a", "an") if item == "a" else (item,)
    if kind == "plan":
        return _AGREEMENT.get(item, (item,))
    return (item if isinstance(item, str) else item.english,)


def render(pattern: str, slots: Slots) -> str:
    """Fills `pattern`, then sets "a"/"an" and the capital."""

    def fill(match: re.Match[str]) -> str:
        field, form = match.group(1), match.group(2)
        if field in _AGREEMENT:
            return agree(field, slots["subject"])
        if field == "plan" and slots[field] in _AGREEMENT:
            return agree(slots[field], slots["subject"])
        return surfaces(field.rstrip("2"), form, slots[field])[0]

    text = re.sub(r"\ba (?=[aeiou])", "an ", FIELD.sub(fill, pattern))
    return text[0].upper() + text[1:]


def _vocabulary(field: str, allowed: Mapping[str, Sequence[Any]]) -> Sequence[Any]:
    """Everything that could stand in `field`, whatever the other fields hold."""
    kind = field.rstrip("2")
    if field in allowed and kind not in ("det", "adj"):
        return allowed[field]
    if kind == "noun":
        return tuple(NOUNS.values())
    if kind == "adj":
        return (None, *ADJECTIVES.values())
    if kind == "pred":
        return tuple(ADJECTIVES.values())
    if kind == "det":
        return ("your", "my", "our", "his", "her", "their", "the", "a")
    return SUBJECTS if kind == "subject" else ("I", "we", "he", "she", "they")


class Pattern:
    """One English sentence shape: `read` is the inverse of `render`."""

    def __init__(self, text: str, allowed: Mapping[str, Sequence[Any]]) -> None:
        self.text = text
        self.allowed = allowed
        found = [match.group(1) for match in FIELD.finditer(text) if match.group(1) not in _AGREEMENT]
        self.fields = sorted(found, key=lambda field: ORDER.index(field) if field in ORDER else len(ORDER))
        self._items: dict[str, dict[str, Any]] = {}
        pieces, end = [], 0
        for match in FIELD.finditer(text):
            pieces.append(re.escape(text[end : match.start()]))
            pieces.append(self._group(match.group(1), match.group(2)))
            end = match.end()
        self._regex = re.compile("".join(pieces) + re.escape(text[end:]))

    def _group(self, field: str, form: str) -> str:
        if field in _AGREEMENT:
            return "(?:" + "|".join(sorted(set(_AGREEMENT[field]))) + ")"
        kind = field.rstrip("2")
        items = {text: item for item in _vocabulary(field, self.allowed) for text in surfaces(kind, form, item)}
        self._items[field] = items
        return f"(?P<{field}>" + "|".join(re.escape(text) for text in sorted(items, key=len, reverse=True)) + ")"

    def read(self, source: str) -> dict[str, Any] | None:
        """The slots that render to `source`, or None where this is another pattern's sentence."""
        lowered = source[:1].lower() + source[1:]
        match = self._regex.fullmatch(lowered) or self._regex.fullmatch(source)
        if match is None:
            return None
        slots: dict[str, Any] = {}
        for field in self.fields:
            item = self._items[field][match.group(field)]
            if item not in options(field, slots, self.allowed):
                return None
            slots[field] = item
        return slots if render(self.text, slots) == source else None
