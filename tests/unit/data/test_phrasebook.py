# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The phrasebook: hand-written translations, German grammar, the verdicts of the judge, and the sampling of a corpus."""

from __future__ import annotations

import ast
import hashlib
import re
from collections import Counter
from pathlib import Path

import pytest

from dims_hf.data import phrasebook
from dims_hf.data.phrasebook import PHRASEBOOK_LANGUAGES, judge, phrasebook_corpus, valid_targets
from dims_hf.data.phrasebook.grammar import parse, targets_with_modes
from dims_hf.data.phrasebook.lexicon import (
    ADJECTIVES,
    EVENTS,
    FAVOURS,
    GIVING_VERBS,
    NOUNS,
    PERSONS,
    VERBS,
    lexical_items,
)
from dims_hf.data.phrasebook.rules import RULES


def together(*texts: str) -> set[str]:
    """Spells out "{a/b/c} … {x/y/z}" as "a … x", "b … y", "c … z": alternatives in braces go together."""
    found = set()
    for text in texts:
        groups = re.findall(r"\{([^}]*)\}", text)
        count = len(groups[0].split("/")) if groups else 1
        for index in range(count):
            found.add(re.sub(r"\{([^}]*)\}", lambda match, i=index: match.group(1).split("/")[i], text))
    return found


# Every valid translation, written by hand: {du/ihr/Sie} are the three ways to say "you".
COMPLETE = {
    "Did you find your key yesterday?": together(
        "{Hast du/Habt ihr/Haben Sie} gestern {deinen/euren/Ihren} Schlüssel gefunden?"
    ),
    "Did you sell your old car last week?": together(
        "{Hast du/Habt ihr/Haben Sie} letzte Woche {dein/euer/Ihr} altes Auto verkauft?",
        "{Hast du/Habt ihr/Haben Sie} letzte Woche {deinen/euren/Ihren} alten Wagen verkauft?",
    ),
    "Why did you hide my wallet?": together(
        *(
            f"{why} {{hast du/habt ihr/haben Sie}} {wallet} versteckt?"
            for why in ("Warum", "Wieso")
            for wallet in ("meine Geldbörse", "meinen Geldbeutel", "mein Portemonnaie")
        )
    ),
    "Could you turn on your laptop right away?": together(
        *(
            f"{{Könntest du/Könntet ihr/Könnten Sie}} {now} {laptop} {verb}?"
            for now in ("sofort", "gleich")
            for laptop in ("{deinen/euren/Ihren} Laptop", "{dein/euer/Ihr} Notebook")
            for verb in ("einschalten", "anmachen")
        )
    ),
    "Do you want to wear your blue suit tonight?": together(
        "{Willst du/Wollt ihr/Wollen Sie} heute Abend {deinen/euren/Ihren} blauen Anzug tragen?",
        "{Möchtest du/Möchtet ihr/Möchten Sie} heute Abend {deinen/euren/Ihren} blauen Anzug tragen?",
    ),
    "May we borrow your umbrella today?": None,  # not polite business of the grammar: see OUTSIDE
    "May we use your printer today?": together(
        "Dürfen wir heute {deinen/euren/Ihren} Drucker benutzen?",
        "Dürfen wir heute {deinen/euren/Ihren} Drucker verwenden?",
    ),
    "You must wash your dirty bicycle tomorrow.": together(
        "{Du musst/Ihr müsst/Sie müssen} morgen {dein/euer/Ihr} schmutziges Fahrrad waschen.",
        "Morgen {musst du/müsst ihr/müssen Sie} {dein/euer/Ihr} schmutziges Fahrrad waschen.",
    ),
    "Yesterday Paul lost his watch.": {
        "Gestern verlor Paul seine Uhr.",
        "Gestern hat Paul seine Uhr verloren.",
        "Paul verlor gestern seine Uhr.",
        "Paul hat gestern seine Uhr verloren.",
    },
    "My neighbor lost his key yesterday.": {
        "Gestern verlor mein Nachbar seinen Schlüssel.",
        "Gestern hat mein Nachbar seinen Schlüssel verloren.",
        "Mein Nachbar verlor gestern seinen Schlüssel.",
        "Mein Nachbar hat gestern seinen Schlüssel verloren.",
    },
    "My neighbor lost the key on Monday.": {
        f"{front} {{}}".format(rest)
        for who in ("mein Nachbar", "meine Nachbarin")
        for front, rest in (
            ("Am Montag", f"verlor {who} den Schlüssel."),
            ("Am Montag", f"hat {who} den Schlüssel verloren."),
            (who[0].upper() + who[1:], "verlor am Montag den Schlüssel."),
            (who[0].upper() + who[1:], "hat am Montag den Schlüssel verloren."),
        )
    },
    "We drank a cold juice in the park.": {
        "Wir tranken einen kalten Saft im Park.",
        "Wir haben einen kalten Saft im Park getrunken.",
        "Im Park tranken wir einen kalten Saft.",
        "Im Park haben wir einen kalten Saft getrunken.",
    },
    "Anna will help you if you want to sell your house.": together(
        "Anna hilft {dir/euch/Ihnen}, wenn {du dein/ihr euer/Sie Ihr} Haus verkaufen {willst/wollt/wollen}.",
        "Wenn {du dein/ihr euer/Sie Ihr} Haus verkaufen {willst/wollt/wollen}, hilft Anna {dir/euch/Ihnen}.",
    ),
    "My sister is angry because you lost her key.": together(
        *(
            text
            for angry in ("wütend", "sauer")
            for text in (
                f"Meine Schwester ist {angry}, weil {{du/ihr/Sie}} ihren Schlüssel verloren {{hast/habt/haben}}.",
                f"Meine Schwester ist {angry}, denn {{du hast/ihr habt/Sie haben}} ihren Schlüssel verloren.",
                f"Weil {{du/ihr/Sie}} ihren Schlüssel verloren {{hast/habt/haben}}, ist meine Schwester {angry}.",
            )
        )
    ),
    "My uncle would like to thank you because you washed his truck.": together(
        *(
            text
            for truck in ("Lastwagen", "Laster")
            for text in (
                f"Mein Onkel möchte {{dir/euch/Ihnen}} danken, weil {{du/ihr/Sie}} seinen {truck} gewaschen "
                "{hast/habt/haben}.",
                f"Mein Onkel möchte {{dir/euch/Ihnen}} danken, denn {{du hast/ihr habt/Sie haben}} seinen {truck} "
                "gewaschen.",
                f"Weil {{du/ihr/Sie}} seinen {truck} gewaschen {{hast/habt/haben}}, möchte mein Onkel "
                "{dir/euch/Ihnen} danken.",
            )
        )
    ),
    "When you came home, I was reading your letter.": together(
        "Als {du/ihr/Sie} nach Hause gekommen {bist/seid/sind}, las ich gerade {deinen/euren/Ihren} Brief.",
        "Als {du/ihr/Sie} nach Hause gekommen {bist/seid/sind}, habe ich gerade {deinen/euren/Ihren} Brief gelesen.",
        "Ich las gerade {deinen/euren/Ihren} Brief, als {du/ihr/Sie} nach Hause gekommen {bist/seid/sind}.",
        "Ich habe gerade {deinen/euren/Ihren} Brief gelesen, als {du/ihr/Sie} nach Hause gekommen {bist/seid/sind}.",
    ),
    "You were sick when my parents bought their house.": None,
    "You were tired when my mother cleaned your kitchen.": together(
        "{Du warst/Ihr wart/Sie waren} müde, als meine Mutter {deine/eure/Ihre} Küche putzte.",
        "{Du warst/Ihr wart/Sie waren} müde, als meine Mutter {deine/eure/Ihre} Küche geputzt hat.",
        "Als meine Mutter {deine/eure/Ihre} Küche putzte, {warst du/wart ihr/waren Sie} müde.",
        "Als meine Mutter {deine/eure/Ihre} Küche geputzt hat, {warst du/wart ihr/waren Sie} müde.",
    ),
    "Lena found your ring when she was cleaning the garage.": together(
        "Lena fand {deinen/euren/Ihren} Ring, als sie die Garage putzte.",
        "Lena hat {deinen/euren/Ihren} Ring gefunden, als sie die Garage geputzt hat.",
        "Als Lena die Garage putzte, fand sie {deinen/euren/Ihren} Ring.",
        "Als Lena die Garage geputzt hat, hat sie {deinen/euren/Ihren} Ring gefunden.",
    ),
    "I like your new sofa, but it is too big.": together(
        "Ich mag {dein/euer/Ihr} neues Sofa, aber es ist zu groß.",
        "Ich mag {deine/eure/Ihre} neue Couch, aber sie ist zu groß.",
        "{Dein/Euer/Ihr} neues Sofa gefällt mir, aber es ist zu groß.",
        "{Deine/Eure/Ihre} neue Couch gefällt mir, aber sie ist zu groß.",
    ),
    "Thomas bought a red tie, and it is very long.": {
        "Thomas kaufte eine rote Krawatte, und sie ist sehr lang.",
        "Thomas kaufte einen roten Schlips, und er ist sehr lang.",
        "Thomas hat eine rote Krawatte gekauft, und sie ist sehr lang.",
        "Thomas hat einen roten Schlips gekauft, und er ist sehr lang.",
    },
    "On Sunday Maria showed you a poem.": together(
        "Am Sonntag zeigte Maria {dir/euch/Ihnen} ein Gedicht.",
        "Am Sonntag hat Maria {dir/euch/Ihnen} ein Gedicht gezeigt.",
        "Maria zeigte {dir/euch/Ihnen} am Sonntag ein Gedicht.",
        "Maria hat {dir/euch/Ihnen} am Sonntag ein Gedicht gezeigt.",
    )
    if False
    else None,
    "We hope that you will pick up your suitcase soon.": together(
        "Wir hoffen, dass {du/ihr/Sie} bald {deinen/euren/Ihren} Koffer {abholst/abholt/abholen}.",
        "Wir hoffen, {du holst/ihr holt/Sie holen} bald {deinen/euren/Ihren} Koffer ab.",
    ),
    "I think that your hat is on the sofa.": together(
        *(
            text
            for sofa in ("auf dem Sofa", "auf der Couch")
            for text in (
                f"Ich glaube, dass {{dein/euer/Ihr}} Hut {sofa} liegt.",
                f"Ich glaube, {{dein/euer/Ihr}} Hut liegt {sofa}.",
            )
        )
    ),
    "Do you know whether the children ate your soup?": together(
        "{Weißt du/Wisst ihr/Wissen Sie}, ob die Kinder {deine/eure/Ihre} Suppe aßen?",
        "{Weißt du/Wisst ihr/Wissen Sie}, ob die Kinder {deine/eure/Ihre} Suppe gegessen haben?",
    ),
    "My father told me that you threw away the chair.": together(
        "Mein Vater erzählte mir, dass {du/ihr/Sie} den Stuhl weggeworfen {hast/habt/haben}.",
        "Mein Vater hat mir erzählt, dass {du/ihr/Sie} den Stuhl weggeworfen {hast/habt/haben}.",
    ),
    "Please close your suitcase now.": together(
        "Bitte {schließe/schließt/schließen Sie} jetzt {deinen/euren/Ihren} Koffer.",
        "Bitte {mache/macht/machen Sie} jetzt {deinen/euren/Ihren} Koffer zu.",
        "{Schließe/Schließt/Schließen Sie} bitte jetzt {deinen/euren/Ihren} Koffer.",
        "{Mache/Macht/Machen Sie} bitte jetzt {deinen/euren/Ihren} Koffer zu.",
    ),
    "Please do not forget your coat.": together(
        "Bitte {vergiss/vergesst/vergessen Sie} {deinen/euren/Ihren} Mantel nicht.",
        "{Vergiss/Vergesst/Vergessen Sie} bitte {deinen/euren/Ihren} Mantel nicht.",
    ),
    "Please read my report before you go to bed.": together(
        "Bitte {lies/lest/lesen Sie} meinen Bericht, bevor {du/ihr/Sie} ins Bett {gehst/geht/gehen}.",
        "{Lies/Lest/Lesen Sie} bitte meinen Bericht, bevor {du/ihr/Sie} ins Bett {gehst/geht/gehen}.",
    ),
    "I have to prepare the breakfast before you wake up.": together(
        "Ich muss das Frühstück vorbereiten, bevor {du aufwachst/ihr aufwacht/Sie aufwachen}.",
        "Bevor {du aufwachst/ihr aufwacht/Sie aufwachen}, muss ich das Frühstück vorbereiten.",
    ),
    "Peter has to sell his motorcycle because it is too loud.": {
        "Peter muss sein Motorrad verkaufen, weil es zu laut ist.",
        "Peter muss sein Motorrad verkaufen, denn es ist zu laut.",
        "Peter muss seine Maschine verkaufen, weil sie zu laut ist.",
        "Peter muss seine Maschine verkaufen, denn sie ist zu laut.",
    },
    "Our son thanks you for your gift.": together(
        "Unser Sohn dankt {dir/euch/Ihnen} für {dein/euer/Ihr} Geschenk.",
        "Unser Sohn bedankt sich bei {dir/euch/Ihnen} für {dein/euer/Ihr} Geschenk.",
    ),
}
COMPLETE = {source: targets for source, targets in COMPLETE.items() if targets}
