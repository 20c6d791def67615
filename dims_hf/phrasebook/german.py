# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""German word order and agreement: noun phrases, verb complexes and clauses built from lexicon entries."""

from __future__ import annotations

from dataclasses import dataclass

from .lexicon import PERSONS, Adjective, GermanNoun, GermanVerb


@dataclass(frozen=True)
class Address:
    """One way to say "you": its cases, the stem of its possessive and the verb form that it takes."""

    nominative: str
    accusative: str
    dative: str
    possessive: str
    person: str


ADDRESSES = (
    Address("du", "dich", "dir", "dein", "2s"),
    Address("ihr", "euch", "euch", "euer", "2p"),
    Address("Sie", "Sie", "Ihnen", "Ihr", "3p"),
)
DETERMINERS = {
    "the": "the",
    "a": "ein",
    "my": "mein",
    "our": "unser",
    "his": "sein",
    "her": "ihr",
    "their": "ihr",
}

_DEFINITE = {"nom": {"m": "der", "f": "die", "n": "das"}, "acc": {"m": "den", "f": "die", "n": "das"}}
_DETERMINER_ENDINGS = {"nom": {"m": "", "f": "e", "n": ""}, "acc": {"m": "en", "f": "e", "n": ""}}
_WEAK = {"nom": {"m": "e", "f": "e", "n": "e"}, "acc": {"m": "en", "f": "e", "n": "e"}}
_MIXED = {"nom": {"m": "er", "f": "e", "n": "es"}, "acc": {"m": "en", "f": "e", "n": "es"}}
PRONOUNS = {"m": "er", "f": "sie", "n": "es"}
REFLEXIVES = {"1s": "mich", "1p": "uns", "3s": "sich", "3p": "sich"}

_SEIN = ("bin", "bist", "ist", "sind", "seid", "sind")
_AUXILIARIES = {"haben": ("habe", "hast", "hat", "haben", "habt", "haben"), "sein": _SEIN}
_MODALS = {
    "können": ("kann", "kannst", "kann", "können", "könnt", "können"),
    "könnten": ("könnte", "könntest", "könnte", "könnten", "könntet", "könnten"),
    "müssen": ("muss", "musst", "muss", "müssen", "müsst", "müssen"),
    "sollten": ("sollte", "solltest", "sollte", "sollten", "solltet", "sollten"),
    "wollen": ("will", "willst", "will", "wollen", "wollt", "wollen"),
    "möchten": ("möchte", "möchtest", "möchte", "möchten", "möchtet", "möchten"),
    "dürfen": ("darf", "darfst", "darf", "dürfen", "dürft", "dürfen"),
}
_WAR = ("war", "warst", "war", "waren", "wart", "waren")


def join(*parts: str) -> str:
    """The parts that are not empty, with spaces between."""
    return " ".join(part for part in parts if part)


def noun_phrase(determiner: str, adjective: Adjective | None, noun: GermanNoun, case: str) -> str:
    """`determiner` is "the", "ein" or the stem of a possessive ("dein"); `case` is "nom" or "acc"."""
    if determiner == "the":
        article, endings = _DEFINITE[case][noun.gender], _WEAK
    else:
        ending = _DETERMINER_ENDINGS[case][noun.gender]
        stem = "eur" if determiner == "euer" and ending else determiner
        article, endings = stem + ending, _MIXED
    described = adjective.stem + endings[case][noun.gender] if adjective else ""
    return join(article, described, noun.word)


@dataclass(frozen=True)
class VerbGroup:
    """The finite verb, what closes a main clause (prefix, participle, infinitive), and the verb-final form of both."""

    finite: str
    tail: str
    final: str


def simple(verb: GermanVerb, form: str) -> VerbGroup:
    """A verb in one word, but for its prefix: "machte … auf", "aufmachte"."""
    return VerbGroup(form, join(verb.fixed, verb.prefix), join(verb.fixed, verb.prefix + form))


def present(verb: GermanVerb, person: str) -> VerbGroup:
    """ "macht … auf", "aufmacht"."""
    return simple(verb, verb.present[PERSONS.index(person)])


def preterite(verb: GermanVerb, person: str) -> VerbGroup:
    """First and third persons only: the second takes the perfect, as people speak."""
    plural = "n" if verb.preterite.endswith("e") else "en"
    return simple(verb, verb.preterite + (plural if person.endswith("p") else ""))


def perfect(verb: GermanVerb, person: str) -> VerbGroup:
    """ "hat … aufgemacht", "aufgemacht hat"."""
    auxiliary = _AUXILIARIES[verb.auxiliary][PERSONS.index(person)]
    return VerbGroup(auxiliary, join(verb.fixed, verb.participle), join(verb.fixed, verb.participle, auxiliary))


def modal(name: str, verb: GermanVerb, person: str) -> VerbGroup:
    """ "kann … aufmachen", "aufmachen kann"."""
    finite = _MODALS[name][PERSONS.index(person)]
    infinitive = join(verb.fixed, verb.infinitive)
    return VerbGroup(finite, infinitive, join(infinitive, finite))


def copula(person: str, predicate: str, *, past: bool = False) -> VerbGroup:
    """ "ist … froh", "froh ist"."""
    finite = (_WAR if past else _SEIN)[PERSONS.index(person)]
    return VerbGroup(finite, predicate, join(predicate, finite))


@dataclass(frozen=True)
class Clause:
    """Subject, verb group and what stands between them, in the order of the German middle field."""

    subject: str
    verb: VerbGroup
    middle: tuple[str, ...] = ()

    def main(self, front: str = "") -> str:
        """Verb second: the subject first, or `front` first and the subject behind the verb."""
        if not front:
            return join(self.subject, self.verb.finite, *self.middle, self.verb.tail)
        return join(front, self.inverted())

    def inverted(self) -> str:
        """Verb first: a question, or what follows a fronted clause."""
        return join(self.verb.finite, self.subject, *self.middle, self.verb.tail)

    def final(self, conjunction: str) -> str:
        """A subordinate clause."""
        return join(conjunction, self.subject, *self.middle, self.verb.final)
