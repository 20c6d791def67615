# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The sentence rules: for each, its English patterns, what may fill them, and how German says it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import german as de, lexicon as lex
from .english import Pattern, gender_named_by
from .german import Address, Clause, VerbGroup, join
from .lexicon import GermanNoun, GermanVerb, Noun, Phrase
from .modes import Modes


# English modal -> German ones, for "you" and for others
_ASK = {
    "can you": ("können",),
    "could you": ("könnten",),
    "do you have to": ("müssen",),
    "do you want to": ("wollen", "möchten"),
}
_ALLOW = {"can": ("können",), "must": ("müssen",), "should": ("sollten",), "may": ("dürfen",)}
_PLAN = {"has": ("müssen",), "wants": ("wollen", "möchten")}
_WH = {"why": ("warum", "wieso"), "when": ("wann",), "where": ("wo",)}
_KNOW = {"why": ("warum", "wieso"), "whether": ("ob",), "that": ("dass",)}
_CONNECTORS = {"but it is too": ("aber", "zu"), "and it is very": ("und", "sehr")}
_WITHOUT_I = tuple(subject for subject in lex.SUBJECTS if subject.person[0] == "3")


class Speaker:
    """Says the slots of one sentence in German, asking `modes` wherever German offers a choice."""

    def __init__(self, slots: Mapping[str, Any], modes: Modes) -> None:
        self.slots = slots
        self.modes = modes

    @property
    def you(self) -> Address:
        """The address that this target uses throughout."""
        return self.modes.choose("address", de.ADDRESSES)

    @property
    def person(self) -> str:
        """The person of the subject, as in `lexicon.PERSONS`."""
        return self.slots["subject"].person

    def _subject(self) -> lex.GermanPerson:
        named = {gender_named_by(self.slots.get(key)) for key in ("det", "det2", "pron")} - {None}
        variants = [found for found in self.slots["subject"].german if not named or found.gender in named]
        return self.modes.choose("subject", variants)

    @property
    def subject(self) -> str:
        """The subject in the nominative."""
        return self._subject().nominative

    @property
    def subject_dative(self) -> str:
        """The subject in the dative."""
        return self._subject().dative

    @property
    def subject_again(self) -> str:
        """The pronoun for the subject once it has been named."""
        if self.person in ("1s", "1p"):
            return self.subject
        return "sie" if self.person == "3p" else de.PRONOUNS[self._subject().gender]

    def noun(self, number: str = "") -> GermanNoun:
        """The German noun chosen for field `noun` or `noun2`."""
        return self.modes.choose("noun" + number, self.slots["noun" + number].german)

    def object(self, case: str = "acc", number: str = "") -> str:
        """The noun phrase of the fields `det`, `adj` and `noun`, or of their second set."""
        word = self.slots["det" + number]
        stem = self.you.possessive if word == "your" else de.DETERMINERS[word]
        return de.noun_phrase(stem, self.slots.get("adj" + number), self.noun(number), case)

    def it(self) -> str:
        """The pronoun that takes up the noun."""
        return de.PRONOUNS[self.noun().gender]

    def phrase(self, key: str) -> str:
        """A German counterpart of the phrase in field `key`; empty where the pattern has no such field."""
        found: Phrase | None = self.slots.get(key)
        return self.modes.choose(key, found.german) if found else ""

    def one_of(self, key: str, table: Mapping[str, Sequence[str]]) -> str:
        """A German counterpart, from `table`, of the word in field `key`."""
        return self.modes.choose(key, table[self.slots[key]])

    def verb(self, key: str = "verb") -> GermanVerb:
        """The German verb chosen for field `key`."""
        return self.modes.choose(key, self.slots[key].german)

    def past(self, key: str = "verb") -> VerbGroup:
        """The past of the subject's verb: preterite or perfect, the same throughout the sentence."""
        tense = self.modes.choose("tense", (de.preterite, de.perfect))
        return tense(self.verb(key), self.person)

    def you_past(self, key: str = "verb") -> VerbGroup:
        """The past of a verb whose subject is "you"."""
        return de.perfect(self.verb(key), self.you.person)

    def you_present(self, key: str = "verb") -> VerbGroup:
        """The present of a verb whose subject is "you"."""
        return de.present(self.verb(key), self.you.person)

    def you_object(self, key: str) -> str:
        """ "You" as the object of the verb in field `key`."""
        return self.you.dative if self.slots[key].case == "dat" else self.you.accusative

    def imperative(self) -> tuple[str, str]:
        """The command and what follows it at the end ("mach …", "zu")."""
        verb, you = self.verb(), self.you
        forms = {"2s": verb.imperative, "2p": de.present(verb, "2p").finite, "3p": verb.bare_infinitive + " Sie"}
        return forms[you.person], verb.prefix


def _front_or_not(say: Speaker, clause: Clause, adverbial: str, place: int = 0) -> str:
    """The adverbial in front, or at index `place` of the middle field."""
    if not adverbial:
        return clause.main()
    if say.modes.choose("order", ("subject first", "adverbial first")) == "adverbial first":
        return clause.main(adverbial)
    middle = (*clause.middle[:place], adverbial, *clause.middle[place:])
    return Clause(clause.subject, clause.verb, middle).main()


def _two_clauses(say: Speaker, main: Clause, conjunction: str, subordinate: Clause) -> str:
    if say.modes.choose("order", ("main first", "subordinate first")) == "main first":
        return f"{main.main()}, {subordinate.final(conjunction)}"
    return f"{subordinate.final(conjunction)}, {main.inverted()}"


def _that(say: Speaker, main: str, clause: Clause) -> str:
    """ "…, dass er kommt" or "…, er kommt"."""
    order = say.modes.choose("order", ("dass", "verb second"))
    return f"{main}, {clause.final('dass')}" if order == "dass" else f"{main}, {clause.main()}"


def _past_report(say: Speaker) -> str:
    return _front_or_not(say, Clause(say.subject, say.past(), (say.object(),)), say.phrase("time"))


def _past_place(say: Speaker) -> str:
    return _front_or_not(say, Clause(say.subject, say.past(), (say.object(),)), say.phrase("place"), place=1)


def _did_you(say: Speaker) -> str:
    return Clause(say.you.nominative, say.you_past(), (say.phrase("time"), say.object())).inverted()


def _wh_did_you(say: Speaker) -> str:
    return join(say.one_of("wh", _WH), _did_you(say))


def _can_you(say: Speaker) -> str:
    group = de.modal(say.one_of("ask", _ASK), say.verb(), say.you.person)
    return Clause(say.you.nominative, group, (say.phrase("time"), say.object())).inverted()


def _may_subject(say: Speaker) -> str:
    group = de.modal("dürfen", say.verb(), say.person)
    return Clause(say.subject, group, (say.phrase("time"), say.object())).inverted()


def _you_modal(say: Speaker) -> str:
    group = de.modal(say.one_of("modal", _ALLOW), say.verb(), say.you.person)
    return _front_or_not(say, Clause(say.you.nominative, group, (say.object(),)), say.phrase("time"))


def _favour_if(say: Speaker) -> str:
    main = Clause(say.subject, de.present(say.verb("favour"), say.person), (say.you_object("favour"),))
    wish = de.modal("wollen", say.verb(), say.you.person)
    return _two_clauses(say, main, "wenn", Clause(say.you.nominative, wish, (say.object(),)))


def _feeling_because(say: Speaker) -> str:
    return _because_you(say, Clause(say.subject, de.copula(say.person, say.phrase("feeling"))))


def _reward_because(say: Speaker) -> str:
    wish = de.modal("möchten", say.verb("favour"), say.person)
    return _because_you(say, Clause(say.subject, wish, (say.you_object("favour"),)))


def _because_you(say: Speaker, main: Clause) -> str:
    """A reason with "weil" on either side of the main clause, or with "denn" behind it."""
    reason = Clause(say.you.nominative, say.you_past(), (say.object(),))
    order = say.modes.choose("order", ("weil after", "weil before", "denn"))
    if order == "denn":
        return f"{main.main()}, denn {reason.main()}"
    if order == "weil after":
        return f"{main.main()}, {reason.final('weil')}"
    return f"{reason.final('weil')}, {main.inverted()}"


def _when_past(say: Speaker) -> str:
    main = Clause(say.subject, say.past(), ("gerade", say.object()))
    return _two_clauses(say, main, "als", Clause(say.you.nominative, say.you_past("event")))


def _you_were_when(say: Speaker) -> str:
    main = Clause(say.you.nominative, de.copula(say.you.person, say.phrase("state"), past=True))
    return _two_clauses(say, main, "als", Clause(say.subject, say.past(), (say.object(),)))


def _found_while(say: Speaker) -> str:
    found, busy = say.past(), say.past("verb2")
    first, again = say.subject, say.subject_again
    order = say.modes.choose("order", ("main first", "subordinate first"))
    main = Clause(first if order == "main first" else again, found, (say.object(),))
    during = Clause(again if order == "main first" else first, busy, (say.object(number="2"),))
    return _two_clauses(say, main, "als", during)


def _like_but(say: Speaker) -> str:
    """ "mögen" with the thing as object, or "gefallen" with the thing as subject."""
    if say.modes.choose("like", ("mögen", "gefallen")) == "mögen":
        forms = {"1s": "mag", "3s": "mag", "1p": "mögen", "3p": "mögen"}
        liking = Clause(say.subject, VerbGroup(forms[say.person], "", ""), (say.object(),)).main()
    else:
        liking = join(say.object("nom"), "gefällt", say.subject_dative)
    return join(liking + ",", _description(say))


def _description(say: Speaker) -> str:
    connector, degree = _CONNECTORS[say.slots["conn"]]
    return join(connector, say.it(), "ist", degree, say.slots["pred"].plain)


def _bought_and(say: Speaker) -> str:
    return f"{_past_report(say)}, {_description(say)}"


def _gave_you(say: Speaker) -> str:
    clause = Clause(say.subject, say.past(), (say.you.dative, say.object()))
    return _front_or_not(say, clause, say.phrase("time"), place=1)


def _hope_that(say: Speaker) -> str:
    hope = {"1s": "hoffe", "3s": "hofft", "1p": "hoffen", "3p": "hoffen"}[say.person]
    group = de.modal("können", say.verb(), say.you.person)
    clause = Clause(say.you.nominative, group, (say.phrase("time"), say.object()))
    return _that(say, join(say.subject, hope), clause)


def _think_spot(say: Speaker) -> str:
    think = {"1s": "glaube", "3s": "glaubt", "1p": "glauben", "3p": "glauben"}[say.person]
    clause = Clause(say.object("nom"), VerbGroup("liegt", "", "liegt"), (say.phrase("spot"),))
    return _that(say, join(say.subject, think), clause)


def _know_why(say: Speaker) -> str:
    know = {"2s": "weißt", "2p": "wisst", "3p": "wissen"}[say.you.person]
    clause = Clause(say.subject, say.past(), (say.phrase("time"), say.object()))
    return f"{know} {say.you.nominative}, {clause.final(say.one_of('know', _KNOW))}"


def _told_me(say: Speaker) -> str:
    tell = lex.TELL.german[0]
    group = say.modes.choose("tense", (de.preterite, de.perfect))(tell, say.person)
    clause = Clause(say.you.nominative, say.you_past(), (say.phrase("time"), say.object()))
    return f"{Clause(say.subject, group, ('mir',)).main()}, {clause.final('dass')}"


def _please(say: Speaker, closing: str = "") -> str:
    command, tail = say.imperative()
    return join("bitte", command, say.phrase("time"), say.object(), closing, tail)


def _please_not(say: Speaker) -> str:
    return _please(say, closing="nicht")


def _please_before(say: Speaker) -> str:
    before = Clause(say.you.nominative, say.you_present("event"))
    return f"{_please(say)}, {before.final('bevor')}"


def _plan(say: Speaker) -> Clause:
    return Clause(say.subject, de.modal(say.one_of("plan", _PLAN), say.verb(), say.person), (say.object(),))


def _plan_before(say: Speaker) -> str:
    return _two_clauses(say, _plan(say), "bevor", Clause(say.you.nominative, say.you_present("event")))


def _plan_because(say: Speaker) -> str:
    clause = Clause(say.it(), VerbGroup("ist", f"zu {say.slots['pred'].plain}", f"zu {say.slots['pred'].plain} ist"))
    reason = say.modes.choose("reason", ("weil", "denn"))
    return f"{_plan(say).main()}, " + (clause.final("weil") if reason == "weil" else f"denn {clause.main()}")


def _thanks_for(say: Speaker) -> str:
    """ "jemandem danken für" or "sich bei jemandem bedanken für"."""
    forms = {"1s": "danke", "3s": "dankt", "1p": "danken", "3p": "danken"}
    if say.modes.choose("thanks", ("danken", "sich bedanken")) == "danken":
        return join(say.subject, forms[say.person], say.you.dative, "für", say.object())
    reflexive = de.REFLEXIVES[say.person]
    return join(say.subject, "be" + forms[say.person], reflexive, "bei", say.you.dative, "für", say.object())


@dataclass(frozen=True)
class Rule:
    """One template. `allowed` lists what may stand in a field where the lexicon alone does not decide it."""

    name: str
    patterns: tuple[Pattern, ...]
    translate: Callable[[Speaker], str]

    def german(self, slots: Mapping[str, Any], modes: Modes) -> str:
        """One translation of `slots`, with the choices that `modes` makes."""
        text = self.translate(Speaker(slots, modes))
        mark = self.patterns[0].text[-1]
        return text[0].upper() + text[1:] + mark


def _rule(translate: Callable[[Speaker], str], patterns: Sequence[str], allowed: Mapping[str, Sequence[Any]]) -> Rule:
    name = translate.__name__.lstrip("_")
    return Rule(name, tuple(Pattern(text, allowed) for text in patterns), translate)


def _nouns(*groups: str) -> tuple[Noun, ...]:
    return tuple(noun for noun in lex.NOUNS.values() if noun.group in groups)


_SMALL_THINGS = _nouns("carry", "gadget", "clothing", "ticket", "paper") + tuple(
    lex.NOUNS[name] for name in ("letter", "report", "book", "novel", "magazine")
)
_GIFTS = tuple(lex.NOUNS[name] for name in lex.THANKED_FOR)
_LIKED = tuple(noun for noun in lex.NOUNS.values() if noun.predicates and noun.group not in ("paper", "ticket"))
_NICE = ("new", "old", "beautiful", "delicious", "fresh", "warm", "interesting", "important", "funny", "long", "short")
# what one may want help with, and the times that may open an English sentence
_TASKS = tuple(verb for verb in lex.with_flag("care") if verb.flags & {"tidy", "nice", "shed", "gain"})
_LATER = tuple(time for time in lex.FUTURE_TIMES if time.english != "right away")
_ANY = ("your", "your", "own", "my", "the", "a")
_MINE_OR_YOURS = ("your", "your", "own", "the")
_NP = "{det}{adj} {noun}"

_RULES: tuple[tuple[Callable[[Speaker], str], tuple[str, ...], dict[str, Sequence[Any]]], ...] = (
    (
        _past_report,
        (f"{{subject}} {{verb.past}} {_NP} {{time}}.", f"{{time}} {{subject}} {{verb.past}} {_NP}."),
        {"verb": lex.VERBS, "det": _ANY, "time": lex.PAST_TIMES},
    ),
    (
        _past_place,
        (f"{{subject}} {{verb.past}} {_NP} {{place}}.",),
        {"verb": lex.with_flag("place"), "det": ("your", "own", "a"), "place": lex.PLACES},
    ),
    (
        _did_you,
        (f"did you {{verb.base}} {_NP} {{time}}?",),
        {"verb": lex.VERBS, "det": ("your", "my", "the"), "time": lex.PAST_TIMES},
    ),
    (
        _wh_did_you,
        (f"{{wh}} did you {{verb.base}} {_NP}?",),
        {"verb": lex.with_flag("where"), "det": ("your", "my", "the"), "wh": tuple(_WH)},
    ),
    (
        _can_you,
        (f"{{ask}} {{verb.base}} {_NP} {{time}}?",),
        {"verb": lex.with_flag("care"), "det": ("your", "my", "the"), "time": lex.FUTURE_TIMES, "ask": tuple(_ASK)},
    ),
    (
        _may_subject,
        (f"may {{subject}} {{verb.base}} {_NP} {{time}}?",),
        {"verb": lex.with_flag("care"), "det": ("your",), "time": lex.FUTURE_TIMES},
    ),
    (
        _you_modal,
        (f"you {{modal}} {{verb.base}} {_NP} {{time}}.", f"{{time}} you {{modal}} {{verb.base}} {_NP}."),
        {
            "verb": lex.with_flag("care"),
            "det": ("your", "my", "the"),
            "time": _LATER,
            "modal": tuple(_ALLOW),
        },
    ),
    (
        _favour_if,
        (
            f"{{subject}} will {{favour.you}} if you want to {{verb.base}} {_NP}.",
            f"if you want to {{verb.base}} {_NP}, {{subject}} will {{favour.you}}.",
        ),
        {"verb": _TASKS, "det": ("your", "your", "the", "a"), "favour": lex.with_flag("help")},
    ),
    (
        _feeling_because,
        (f"{{subject}} {{is}} {{feeling}} because you {{verb.past}} {_NP}.",),
        {"verb": lex.VERBS, "det": _MINE_OR_YOURS, "feeling": lex.FEELINGS},
    ),
    (
        _reward_because,
        (f"{{subject}} would like to {{favour.you}} because you {{verb.past}} {_NP}.",),
        {"verb": lex.with_flag("nice"), "det": ("your", "own", "the"), "favour": lex.with_flag("reward")},
    ),
    (
        _when_past,
        (
            f"{{subject}} {{was}} {{verb.ing}} {_NP} when you {{event.past}}.",
            f"when you {{event.past}}, {{subject}} {{was}} {{verb.ing}} {_NP}.",
        ),
        {"verb": lex.with_flag("long"), "det": _ANY, "event": lex.EVENTS},
    ),
    (
        _you_were_when,
        (
            f"you were {{state}} when {{subject}} {{verb.past}} {_NP}.",
            f"when {{subject}} {{verb.past}} {_NP}, you were {{state}}.",
        ),
        {"verb": lex.with_flag("long") + lex.with_flag("gain"), "det": ("your", "your", "own"), "state": lex.STATES},
    ),
    (
        _found_while,
        ("{subject} {verb.past} {det} {noun} when {pron} {was} {verb2.ing} {det2} {noun2}.",),
        {
            "verb": lex.with_flag("sudden"),
            "verb2": lex.with_flag("tidy"),
            "det": ("your", "your", "own"),
            "det2": ("the", "own"),
        },
    ),
    (
        _like_but,
        ("{subject} {likes} {det}{adj} {noun}, {conn} {pred}.",),
        {"noun": _LIKED, "det": ("your", "your", "the"), "conn": ("but it is too",)},
    ),
    (
        _bought_and,
        ("{subject} {verb.past} {det}{adj} {noun}, {conn} {pred}.",),
        {"verb": lex.with_flag("gain"), "det": ("a",), "conn": tuple(_CONNECTORS)},
    ),
    (
        _gave_you,
        (f"{{subject}} {{verb.past}} you {_NP} {{time}}.", f"{{time}} {{subject}} {{verb.past}} you {_NP}."),
        {"verb": lex.GIVING_VERBS, "det": ("the", "own", "a"), "time": lex.PAST_TIMES},
    ),
    (
        _hope_that,
        (f"{{subject}} {{hopes}} that you can {{verb.base}} {_NP} {{time}}.",),
        {"verb": lex.with_flag("care") + lex.with_flag("gain"), "det": _MINE_OR_YOURS, "time": lex.FUTURE_TIMES},
    ),
    (
        _think_spot,
        (f"{{subject}} {{thinks}} that {_NP} is {{spot}}.",),
        {"noun": _SMALL_THINGS, "det": ("your", "your", "my"), "spot": lex.SPOTS},
    ),
    (
        _know_why,
        (
            f"do you know {{know}} {{subject}} {{verb.past}} {_NP} {{time}}?",
            f"do you know {{know}} {{subject}} {{verb.past}} {_NP}?",
        ),
        {"verb": lex.VERBS, "det": ("your", "own", "own", "the"), "time": lex.PAST_TIMES, "know": tuple(_KNOW)},
    ),
    (
        _told_me,
        (
            f"{{subject}} told me that you {{verb.past}} {_NP} {{time}}.",
            f"{{subject}} told me that you {{verb.past}} {_NP}.",
        ),
        {"subject": _WITHOUT_I, "verb": lex.VERBS, "det": _MINE_OR_YOURS, "time": lex.PAST_TIMES},
    ),
    (
        _please,
        (f"please {{verb.base}} {_NP} {{time}}.",),
        {"verb": lex.with_flag("care"), "det": ("your", "my", "the"), "time": lex.FUTURE_TIMES},
    ),
    (
        _please_not,
        (f"please do not {{verb.base}} {_NP}.",),
        {"verb": lex.with_flag("reject"), "det": ("your", "my", "the")},
    ),
    (
        _please_before,
        (f"please {{verb.base}} {_NP} before you {{event.base}}.",),
        {"verb": lex.with_flag("care"), "det": ("your", "my", "the"), "event": lex.with_flag("away")},
    ),
    (
        _plan_before,
        (
            f"{{subject}} {{plan}} {{verb.base}} {_NP} before you {{event.base}}.",
            f"before you {{event.base}}, {{subject}} {{plan}} {{verb.base}} {_NP}.",
        ),
        {"verb": lex.with_flag("care"), "det": ("your", "own", "the"), "event": lex.EVENTS, "plan": tuple(_PLAN)},
    ),
    (
        _plan_because,
        ("{subject} {plan} {verb.base} {det}{adj} {noun} because it is too {pred}.",),
        {"verb": lex.with_flag("shed"), "det": ("own", "own", "your"), "plan": tuple(_PLAN)},
    ),
    (
        _thanks_for,
        ("{subject} {thanks} you for {det}{adj} {noun}.",),
        {"noun": _GIFTS, "det": ("your",), "adj": _NICE},
    ),
)
RULES = tuple(_rule(*row) for row in _RULES)
