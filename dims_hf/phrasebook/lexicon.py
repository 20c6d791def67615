# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The words of the phrasebook: English entries with their German counterparts, gender, inflection and meaning groups.

Each table is plain text, one entry a line. Several German words behind one English entry are equally good: choosing
among them is one of the ways in which a phrasebook sentence has more than one valid translation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


PERSONS = ("1s", "2s", "3s", "1p", "2p", "3p")


@dataclass(frozen=True)
class GermanNoun:
    """A German noun in the singular; `gender` is "m", "f" or "n"."""

    word: str
    gender: str


@dataclass(frozen=True)
class Noun:
    """An English noun, its German counterparts, the adjectives and the predicates ("it is too …") that suit it."""

    english: str
    german: tuple[GermanNoun, ...]
    group: str
    adjectives: tuple[Adjective, ...]
    predicates: tuple[Adjective, ...]


@dataclass(frozen=True)
class Adjective:
    """`stem` takes the endings ("teur"), `plain` stands after "sein" ("teuer"); `scale` groups opposites."""

    english: str
    plain: str
    stem: str
    scale: str


@dataclass(frozen=True)
class GermanVerb:
    """Every form of a German verb that the grammar uses.

    `present` has one form per entry of `PERSONS`; `preterite` is the first person singular; `prefix` is the separable
    prefix or the empty string; `fixed` is material that stands before the verb ("nach Hause").
    """

    prefix: str
    fixed: str
    bare_infinitive: str
    present: tuple[str, ...]
    preterite: str
    participle: str
    auxiliary: str
    imperative: str

    @property
    def infinitive(self) -> str:
        """The infinitive with its prefix: "aufmachen"."""
        return self.prefix + self.bare_infinitive


@dataclass(frozen=True)
class Verb:
    """An English verb with its German counterparts and the English nouns that it takes as an object."""

    english: str
    past: str
    german: tuple[GermanVerb, ...]
    objects: tuple[Noun, ...]
    flags: frozenset[str]
    case: str = "acc"


@dataclass(frozen=True)
class GermanPerson:
    """A person as a German noun phrase in the nominative and the dative; `gender` is "m", "f", or "" where open."""

    nominative: str
    dative: str
    gender: str


@dataclass(frozen=True)
class Subject:
    """An English subject other than "you"; `person` is one of `PERSONS`."""

    english: str
    person: str
    german: tuple[GermanPerson, ...]


@dataclass(frozen=True)
class Phrase:
    """An English phrase with fixed German counterparts (times, places, feelings, …)."""

    english: str
    german: tuple[str, ...]
    tone: str = "any"


def _rows(table: str) -> list[list[str]]:
    """The cells of each entry; an indented line continues the entry above it."""
    lines = table.strip().replace("\n    ", " ").splitlines()
    return [[" ".join(cell.split()) for cell in line.split("|")] for line in lines]


def _options(cell: str) -> tuple[str, ...]:
    return tuple(option.strip() for option in cell.split(","))


# English | German | stem for the endings where it differs | scale (an adjective never meets its own scale again)
_ADJECTIVES = """
new         | neu         |      | age
old         | alt         |      | age
modern      | modern      |      | age
big         | groß        |      | size
small       | klein       |      | size
expensive   | teuer       | teur | price
cheap       | billig      |      | price
beautiful   | schön       |      | beauty
red         | rot         |      | colour
blue        | blau        |      | colour
green       | grün        |      | colour
black       | schwarz     |      | colour
white       | weiß        |      | colour
brown       | braun       |      | colour
fast        | schnell     |      | speed
slow        | langsam     |      | speed
loud        | laut        |      | sound
quiet       | ruhig       |      | sound
heavy       | schwer      |      | weight
salty       | salzig      |      | salt
spicy       | scharf      |      | salt
dry         | trocken     |      | salt
long        | lang        |      | length
short       | kurz        |      | length
interesting | interessant |      | interest
boring      | langweilig  |      | interest
important   | wichtig     |      | weight
funny       | lustig      |      | interest
strange     | seltsam     |      | interest
difficult   | schwierig   |      | effort
delicious   | lecker      |      | taste
sweet       | süß         |      | taste
fresh       | frisch      |      | fresh
warm        | warm        |      | heat
cold        | kalt        |      | heat
dark        | dunkel      | dunkl | shade
bright      | hell        |      | shade
comfortable | bequem      |      | comfort
dirty       | schmutzig   |      | clean
"""

# group | attributive adjectives | predicates for "it is too …" and "it is very …"
_GROUPS = """
vehicle   | new, old, red, blue, green, black, small, big, fast, dirty     | expensive, slow, small, big, loud, old
device    | new, old, black, white, small, expensive, modern               | expensive, slow, old, loud
gadget    | new, old, black, white, small, expensive, modern               | expensive, old, heavy, big
carry     | new, old, black, red, green, small, beautiful, expensive       | small, expensive, heavy
container | new, old, black, red, big, small, heavy                        | small, big, heavy, old
text      | long, short, interesting, boring, important, funny, strange    | long, short, boring, strange, difficult
food      | delicious, fresh, warm, cold, small, big                       | cold, small, big, dry
meal      | delicious, fresh, warm, cold, big                              | cold, salty, spicy
drink     | warm, cold, sweet, fresh, big                                  | cold, sweet, warm
furniture | new, old, big, small, white, brown, beautiful, modern          | expensive, big, small, old, heavy
seat      | new, old, big, small, white, brown, comfortable, modern        | expensive, big, small, old, heavy
home      | new, old, big, small, beautiful, bright, quiet                 | expensive, small, dark, loud
clothing  | new, old, red, blue, green, black, white, warm, beautiful      | expensive, small, big, long, short
paper     | new, old, important, long                                      | long, difficult
ticket    | new, cheap, expensive                                          | expensive
picture   | new, old, beautiful, strange, funny, big                       | small, big, dark
song      | new, old, beautiful, funny, long                               | long, loud, slow
scheme    | new, interesting, boring, important, strange                   | difficult, boring, strange
outing    | long, short, interesting, boring, funny                        | expensive, long, boring
"""

# English | German | group
_NOUNS = """
car            | das Auto, der Wagen                            | vehicle
motorcycle     | das Motorrad, die Maschine                     | vehicle
bicycle        | das Fahrrad                                    | vehicle
truck          | der Lastwagen, der Laster                      | vehicle
van            | der Lieferwagen, der Transporter               | vehicle
boat           | das Boot                                       | vehicle
computer       | der Computer, der Rechner                      | device
TV             | der Fernseher, das Fernsehgerät                | device
printer        | der Drucker                                    | device
radio          | das Radio                                      | device
laptop         | der Laptop, das Notebook                       | gadget
camera         | die Kamera, der Fotoapparat                    | gadget
cell phone     | das Handy                                      | gadget
wallet         | die Geldbörse, der Geldbeutel, das Portemonnaie | carry
key            | der Schlüssel                                  | carry
umbrella       | der Schirm, der Regenschirm                    | carry
watch          | die Uhr                                        | carry
ring           | der Ring                                       | carry
notebook       | das Notizbuch, das Heft                        | carry
envelope       | der Umschlag, das Kuvert                       | carry
cup            | die Tasse, der Becher                          | carry
pen            | der Stift, der Kugelschreiber                  | carry
backpack       | der Rucksack                                   | container
suitcase       | der Koffer                                     | container
bag            | die Tasche                                     | container
box            | die Kiste, der Karton                          | container
letter         | der Brief                                      | text
report         | der Bericht                                    | text
book           | das Buch                                       | text
novel          | der Roman                                      | text
poem           | das Gedicht                                    | text
magazine       | die Zeitschrift, das Magazin                   | text
message        | die Nachricht                                  | text
story          | die Geschichte, die Erzählung                  | text
article        | der Artikel, der Beitrag                       | text
advertisement  | die Anzeige, das Inserat                       | text
speech         | die Rede, die Ansprache                        | text
cake           | der Kuchen, die Torte                          | food
cookie         | der Keks, das Plätzchen                        | food
bread roll     | das Brötchen, die Semmel                       | food
pizza          | die Pizza                                      | food
pancake        | der Pfannkuchen                                | food
soup           | die Suppe                                      | meal
salad          | der Salat                                      | meal
fish           | der Fisch                                      | meal
breakfast      | das Frühstück                                  | meal
dinner         | das Abendessen                                 | meal
lunch          | das Mittagessen                                | meal
dessert        | der Nachtisch, das Dessert, die Nachspeise     | meal
coffee         | der Kaffee                                     | drink
tea            | der Tee                                        | drink
juice          | der Saft                                       | drink
lemonade       | die Limonade                                   | drink
sofa           | das Sofa, die Couch                            | seat
armchair       | der Sessel                                     | seat
table          | der Tisch                                      | furniture
chair          | der Stuhl                                      | seat
lamp           | die Lampe                                      | furniture
closet         | der Schrank                                    | furniture
bed            | das Bett                                       | seat
carpet         | der Teppich                                    | furniture
mirror         | der Spiegel                                    | furniture
apartment      | die Wohnung, das Apartment                     | home
room           | das Zimmer, der Raum                           | home
house          | das Haus                                       | home
kitchen        | die Küche                                      | home
garage         | die Garage                                     | home
office         | das Büro                                       | home
coat           | der Mantel                                     | clothing
jacket         | die Jacke                                      | clothing
shirt          | das Hemd                                       | clothing
blouse         | die Bluse                                      | clothing
skirt          | der Rock                                       | clothing
dress          | das Kleid                                      | clothing
sweater        | der Pullover                                   | clothing
hat            | der Hut                                        | clothing
cap            | die Mütze, die Kappe                           | clothing
scarf          | der Schal                                      | clothing
tie            | die Krawatte, der Schlips                      | clothing
suit           | der Anzug                                      | clothing
contract       | der Vertrag                                    | paper
form           | das Formular, der Vordruck                     | paper
invoice        | die Rechnung                                   | paper
list           | die Liste                                      | paper
train ticket   | die Fahrkarte, das Zugticket                   | ticket
concert ticket | die Konzertkarte, das Konzertticket            | ticket
photo          | das Foto, die Aufnahme                         | picture
painting       | das Gemälde, das Bild                          | picture
poster         | das Poster, das Plakat                         | picture
drawing        | die Zeichnung                                  | picture
song           | das Lied, der Song                             | song
movie          | der Film                                       | song
plan           | der Plan                                       | scheme
idea           | die Idee, der Einfall                          | scheme
trip           | die Reise, der Ausflug                         | outing
party          | die Party, das Fest, die Feier                 | outing
job            | der Job, die Stelle                            | scheme
gift           | das Geschenk                                   | carry
offer          | das Angebot                                    | scheme
meeting        | die Besprechung, das Treffen                   | scheme
talk           | der Vortrag, das Referat                       | scheme
exercise       | die Übung, die Aufgabe                         | scheme
"""

# infinitive ("~" after a separable prefix) | er-form | preterite | participle | du-imperative | auxiliary
_STRONG_VERBS = """
lesen           | liest      | las          | gelesen         | lies     |
schreiben       |            | schrieb      | geschrieben     |          |
unterschreiben  |            | unterschrieb | unterschrieben  |          |
finden          |            | fand         | gefunden        |          |
verlieren       |            | verlor       | verloren        |          |
vergessen       | vergisst   | vergaß       | vergessen       | vergiss  |
verstehen       |            | verstand     | verstanden      |          |
essen           | isst       | aß           | gegessen        | iss      |
trinken         |            | trank        | getrunken       |          |
waschen         | wäscht     | wusch        | gewaschen       |          |
schließen       |            | schloss      | geschlossen     |          |
an~ziehen       |            | zog          | gezogen         |          |
tragen          | trägt      | trug         | getragen        |          |
bekommen        |            | bekam        | bekommen        |          |
erhalten        | erhält     | erhielt      | erhalten        |          |
an~nehmen       | nimmt      | nahm         | genommen        | nimm     |
aus~leihen      |            | lieh         | geliehen        |          |
leihen          |            | lieh         | geliehen        |          |
weg~werfen      | wirft      | warf         | geworfen        | wirf     |
zurück~geben    | gibt       | gab          | gegeben         | gib      |
geben           | gibt       | gab          | gegeben         | gib      |
bringen         |            | brachte      | gebracht        |          |
singen          |            | sang         | gesungen        |          |
helfen          | hilft      | half         | geholfen        | hilf     |
an~rufen        |            | rief         | gerufen         |          |
ein~laden       | lädt       | lud          | geladen         |          |
backen          | backt      | backte       | gebacken        |          |
streichen       |            | strich       | gestrichen      |          |
kommen          |            | kam          | gekommen        |          | sein
an~kommen       |            | kam          | gekommen        |          | sein
ein~treffen     | trifft     | traf         | getroffen       | triff    | sein
zurück~kommen   |            | kam          | gekommen        |          | sein
zurück~kehren   |            | kehrte       | gekehrt         |          | sein
beraten         | berät      | beriet       | beraten         |          |
fahren          | fährt      | fuhr         | gefahren        |          | sein
verlassen       | verlässt   | verließ      | verlassen       |          |
gehen           |            | ging         | gegangen        |          | sein
herein~kommen   |            | kam          | gekommen        |          | sein
weg~gehen       |            | ging         | gegangen        |          | sein
auf~wachen      |            | wachte       | gewacht         |          | sein
auf~stehen      |            | stand        | gestanden       |          | sein
"""

# English | past | German | flags | objects (groups with "@", single nouns without)
# flags: shed = got rid of for a reason, gain = comes into one's hands, long = lasts, tidy = lasts, and things turn up,
# sudden = happens meanwhile, place = may happen anywhere, where = one may ask where, nice / bad = a good / bad deed,
# care = may be asked for, reject = may be forbidden
_VERBS = """
sell       | sold       | verkaufen                       | shed care reject              |
      @vehicle, @furniture, @seat, computer, TV, laptop, camera, painting, house, boat
buy        | bought     | kaufen                          | gain care where               |
      @vehicle, @furniture, @seat, @device, @gadget, @clothing, @ticket, umbrella, watch, ring, backpack, suitcase,
      bag, book, novel, magazine, painting, gift
repair     | repaired   | reparieren                      | long care tidy nice           |
      @vehicle, @device, laptop, camera, watch, umbrella, lamp, chair, table, bed
use        | used       | benutzen, verwenden             | care reject                   | @device, laptop, camera
wash       | washed     | waschen                         | long care reject tidy nice    |
      car, truck, van, bicycle, motorcycle, coat, jacket, shirt, dress, sweater, scarf
clean      | cleaned    | putzen                          | long care tidy nice           |
      @home, car, bicycle, motorcycle, mirror
lose       | lost       | verlieren                       | sudden place where bad reject |
      wallet, key, umbrella, watch, ring, notebook, pen, cell phone, camera, hat, cap, scarf, @ticket, letter,
      contract, invoice, list, backpack, bag
find       | found      | finden                          | gain sudden place where nice  |
      wallet, key, umbrella, watch, ring, notebook, pen, cell phone, camera, hat, cap, scarf, @ticket, letter,
      contract, invoice, list, backpack, bag
forget     | forgot     | vergessen                       | place where bad reject        |
      wallet, key, umbrella, watch, ring, notebook, pen, cell phone, camera, hat, cap, scarf, coat, jacket,
      @ticket, list, backpack, bag
look for   | looked for | suchen                          | long tidy care                |
      wallet, key, umbrella, watch, ring, notebook, pen, cell phone, camera, hat, cap, scarf, coat, jacket,
      @ticket, letter, contract, invoice, list, backpack, bag
read       | read       | lesen                           | long care reject              |
      letter, report, book, novel, poem, magazine, message, story, article, advertisement, contract, list
write      | wrote      | schreiben                       | long care                     |
      letter, report, book, novel, poem, message, story, article, advertisement, speech, list
understand | understood | verstehen                       |                               |
      letter, report, book, novel, poem, message, story, article, speech, contract, plan, idea, exercise, movie
translate  | translated | übersetzen                      | long care nice                |
      letter, report, book, novel, poem, message, story, article, speech, contract
sign       | signed     | unterschreiben, unterzeichnen   | care reject                   |
      letter, contract, form, invoice, list
open       | opened     | öffnen, auf~machen              | care reject                   |
      suitcase, bag, backpack, box, letter, envelope, closet, umbrella, gift
close      | closed     | schließen, zu~machen            | care reject                   |
      suitcase, bag, backpack, box, closet, umbrella, book, garage, office, kitchen
turn on    | turned on  | ein~schalten, an~machen         | care reject                   |
      @device, laptop, camera, lamp, cell phone
turn off   | turned off | aus~schalten, aus~machen        | care reject                   |
      @device, laptop, camera, lamp, cell phone
put on     | put on     | an~ziehen                       | care reject                   |
      coat, jacket, shirt, dress, sweater, suit
try on     | tried on   | an~probieren                    | care                          |
      coat, jacket, shirt, dress, sweater, suit, hat, cap, ring
wear       | wore       | tragen                          | care reject                   | @clothing, ring, watch
eat        | ate        | essen                           | long place care reject where  | @food, @meal
bake       | baked      | backen                          | long care nice                |
      cake, cookie, pizza, bread roll, pancake
cook       | cooked     | kochen                          | long care nice                | soup, fish, dinner, lunch
taste      | tasted     | probieren, kosten               | care reject                   |
      @food, soup, salad, fish, dessert, coffee, tea, juice, lemonade
order      | ordered    | bestellen                       | gain care where               |
      @food, soup, salad, fish, dessert, @drink, @clothing, @furniture, @seat, @ticket, computer, laptop, printer, book
drink      | drank      | trinken                         | long place where care reject  | @drink
receive    | received   | bekommen, erhalten              | gain                          |
      letter, message, gift, job, offer, invoice, contract, report, form
accept     | accepted   | an~nehmen                       | care reject                   | job, offer, gift, plan
pick up    | picked up  | ab~holen                        | care reject nice              |
      @ticket, car, van, bicycle, motorcycle, letter, gift, suitcase, key, cake, pizza, suit, dress
need       | needed     | brauchen, benötigen             |                               |
      wallet, key, umbrella, @device, laptop, camera, @vehicle, contract, form, list, pen, notebook, coat,
      jacket, scarf, suitcase, backpack
sing       | sang       | singen                          | long care                     | song
hear       | heard      | hören                           | place where                   | song, speech, story, talk
park       | parked     | parken, ab~stellen              | care where                    | car, van, truck, motorcycle
rent       | rented     | mieten                          | gain                          |
      apartment, room, house, garage, office, car, van, boat
borrow     | borrowed   | aus~leihen                      | gain                          |
      @vehicle, laptop, camera, book, novel, magazine, umbrella, suit, tie
hide       | hid        | verstecken                      | care reject where bad         |
      wallet, key, gift, letter, ring, photo, box, contract
pack       | packed     | packen                          | long care tidy                |
      suitcase, bag, backpack, box
throw away | threw away | weg~werfen                      | shed care reject bad          |
      @clothing, sofa, armchair, chair, lamp, carpet, mirror, poster, magazine, list, box
return     | returned   | zurück~geben                    | shed care nice                |
      @clothing, @gadget, book, novel, watch, ring, umbrella
change     | changed    | ändern                          | care reject                   |
      plan, contract, report, speech, list, letter
plan       | planned    | planen                          | long care                     |
      trip, party, meeting, talk, dinner
prepare    | prepared   | vor~bereiten                    | long care nice                |
      trip, party, meeting, talk, speech, exercise, dinner, lunch, breakfast, dessert
correct    | corrected  | korrigieren, verbessern         | long care nice                |
      letter, report, exercise, article, speech, list
paint      | painted    | streichen                       | long care tidy                |
      house, kitchen, room, garage, chair, table, closet, office
delete     | deleted    | löschen                         | care reject bad               |
      message, photo, list, report
"""

# English | past | German | objects: something handed to somebody, who stands in the dative
_GIVING_VERBS = """
give       | gave       | geben                           |
      @carry, @gadget, letter, book, magazine, @ticket, @picture, suitcase, bag, box, list, contract, cookie,
      juice
show       | showed     | zeigen                          |
      @home, @carry, @picture, letter, report, book, poem, list, contract, plan, car, boat, laptop, camera, movie
send       | sent       | schicken, senden                |
      letter, message, report, article, book, gift, @ticket, photo, form, invoice, list, contract, suitcase
lend       | lent       | leihen, borgen                  |
      car, bicycle, van, motorcycle, laptop, camera, book, novel, umbrella, suit, tie, scarf, coat, backpack, pen
bring      | brought    | bringen                         |
      @food, soup, salad, @drink, letter, key, umbrella, gift, chair, lamp, form, invoice, suitcase, coat, jacket
"""

# English | past | German | case | flag: help = while "you" do something, reward = after it
_FAVOURS = """
help         | helped         | helfen                  | dat | help
support      | supported      | unterstützen            | acc | help
advise       | advised        | beraten                 | acc | help
accompany    | accompanied    | begleiten               | acc | help
call         | called         | an~rufen                | acc | help
visit        | visited        | besuchen                | acc | help
thank        | thanked        | danken                  | dat | reward
invite       | invited        | ein~laden               | acc | reward
pay          | paid           | bezahlen                | acc | reward
praise       | praised        | loben                   | acc | reward
congratulate | congratulated  | gratulieren             | dat | reward
reward       | rewarded       | belohnen                | acc | reward
"""

# English | past | German | flag: away = what one does after everything else
_EVENTS = """
come home       | came home       | nach Hause kommen           |
arrive          | arrived         | an~kommen, ein~treffen      |
call            | called          | an~rufen                    |
come back       | came back       | zurück~kommen, zurück~kehren |
knock           | knocked         | klopfen                     |
come in         | came in         | herein~kommen               |
wake up         | woke up         | auf~wachen                  |
get up          | got up          | auf~stehen                  |
leave           | left            | gehen, weg~gehen            | away
go to bed       | went to bed     | ins Bett gehen              | away
go to work      | went to work    | zur Arbeit gehen            | away
drive home      | drove home      | nach Hause fahren           | away
leave the house | left the house  | das Haus verlassen          | away
"""

# English | person | German nominative/dative, one or more | gender
_SUBJECTS = """
I                | 1s | ich/mir                               |
we               | 1p | wir/uns                               |
my brother       | 3s | mein Bruder/meinem Bruder             | m
my sister        | 3s | meine Schwester/meiner Schwester      | f
my mother        | 3s | meine Mutter/meiner Mutter            | f
my father        | 3s | mein Vater/meinem Vater               | m
my uncle         | 3s | mein Onkel/meinem Onkel               | m
my aunt          | 3s | meine Tante/meiner Tante              | f
our son          | 3s | unser Sohn/unserem Sohn               | m
our daughter     | 3s | unsere Tochter/unserer Tochter        | f
my grandmother   | 3s | meine Großmutter/meiner Großmutter, meine Oma/meiner Oma | f, f
my grandfather   | 3s | mein Großvater/meinem Großvater, mein Opa/meinem Opa     | m, m
Anna             | 3s | Anna/Anna                             | f
Maria            | 3s | Maria/Maria                           | f
Lena             | 3s | Lena/Lena                             | f
Paul             | 3s | Paul/Paul                             | m
Thomas           | 3s | Thomas/Thomas                         | m
Peter            | 3s | Peter/Peter                           | m
my friend        | 3s | mein Freund/meinem Freund, meine Freundin/meiner Freundin | m, f
my neighbor      | 3s | mein Nachbar/meinem Nachbarn, meine Nachbarin/meiner Nachbarin | m, f
my boss          | 3s | mein Chef/meinem Chef, meine Chefin/meiner Chefin | m, f
our teacher      | 3s | unser Lehrer/unserem Lehrer, unsere Lehrerin/unserer Lehrerin | m, f
the doctor       | 3s | der Arzt/dem Arzt, die Ärztin/der Ärztin | m, f
my parents       | 3p | meine Eltern/meinen Eltern            |
the children     | 3p | die Kinder/den Kindern                |
"""

_PAST_TIMES = """
yesterday            | gestern
yesterday morning    | gestern Morgen, gestern früh
yesterday evening    | gestern Abend
this morning         | heute Morgen, heute früh
last week            | letzte Woche
two days ago         | vor zwei Tagen
three days ago       | vor drei Tagen
a week ago           | vor einer Woche
an hour ago          | vor einer Stunde
on Monday            | am Montag
on Tuesday           | am Dienstag
on Sunday            | am Sonntag
"""

_FUTURE_TIMES = """
tomorrow           | morgen
tomorrow morning   | morgen früh
tomorrow evening   | morgen Abend
today              | heute
tonight            | heute Abend
this afternoon     | heute Nachmittag
next week          | nächste Woche
on Friday          | am Freitag
on Saturday        | am Samstag, am Sonnabend
on the weekend     | am Wochenende
right away         | sofort, gleich
now                | jetzt
soon               | bald
later              | später
"""

_PLACES = """
on the train          | im Zug
at the train station  | am Bahnhof
at the airport        | am Flughafen
at the office         | im Büro
in the park           | im Park
in the city           | in der Stadt
in the car            | im Auto, im Wagen
at school             | in der Schule
at the library        | in der Bibliothek, in der Bücherei
at the hotel          | im Hotel
at the beach          | am Strand
at the restaurant     | im Restaurant, in der Gaststätte
in Berlin             | in Berlin
at the market         | auf dem Markt
"""

# where something small lies
_SPOTS = """
on the table          | auf dem Tisch
on the sofa           | auf dem Sofa, auf der Couch
under the bed         | unter dem Bett
in the kitchen        | in der Küche
in the car            | im Auto, im Wagen
next to the TV        | neben dem Fernseher, neben dem Fernsehgerät
in the closet         | im Schrank
at the office         | im Büro
on the chair          | auf dem Stuhl
behind the door       | hinter der Tür
"""

# how somebody feels about what somebody did; whether that suits a good deed, a bad one or any
_FEELINGS = """
happy        | froh, glücklich     | good
relieved     | erleichtert         | good
proud        | stolz               | good
sad          | traurig             | bad
angry        | wütend, sauer       | bad
disappointed | enttäuscht          | bad
worried      | besorgt, beunruhigt | bad
surprised    | überrascht          | any
confused     | verwirrt            | any
"""

# how or where somebody is
_STATES = """
tired        | müde
sick         | krank
at home      | zu Hause, daheim
in a hurry   | in Eile
hungry       | hungrig
on vacation  | im Urlaub
busy         | beschäftigt
in the city  | in der Stadt
at work      | bei der Arbeit
"""

_INSEPARABLE = ("be", "emp", "ent", "er", "ver", "zer", "über", "unter")
_NEEDS_E = ("t", "d", "ffn", "chn")
_SIBILANTS = ("s", "ß", "z", "x")


def _weak_participle(bare: str, stem: str, te: str) -> str:
    if bare.endswith("ieren") or bare.startswith(_INSEPARABLE):
        return stem + te
    return "ge" + stem + te


def _second_singular(stem: str, third: str, regular: bool) -> str:
    """The du-form: "kaufst", "öffnest", "putzt", "liest", "hältst"."""
    if regular:
        if stem.endswith(_SIBILANTS):
            return stem + "t"
        return stem + ("est" if stem.endswith(_NEEDS_E) else "st")
    if stem.endswith("t"):
        return third + "st"
    return third if third[:-1].endswith(_SIBILANTS) else third[:-1] + "st"


def _conjugate(citation: str, irregular: dict[str, list[str]]) -> GermanVerb:
    """Builds every form from a citation form such as "nach Hause kommen" or "auf~machen"."""
    fixed, _, last = citation.rpartition(" ")
    prefix, _, bare = last.rpartition("~")
    stem = bare[:-2] if bare.endswith("en") else bare[:-1]
    third, preterite, participle, imperative, auxiliary = irregular.get(last, [""] * 5)
    e = "e" if stem.endswith(_NEEDS_E) else ""
    regular = not third
    third = third or stem + e + "t"
    present = (stem + "e", _second_singular(stem, third, regular), third, bare, stem + e + "t", bare)
    return GermanVerb(
        prefix=prefix,
        fixed=fixed,
        bare_infinitive=bare,
        present=present,
        preterite=preterite or stem + e + "te",
        participle=prefix + (participle or _weak_participle(bare, stem, e + "t")),
        auxiliary=auxiliary or "haben",
        imperative=imperative or stem + "e",
    )


def _build_adjectives() -> dict[str, Adjective]:
    return {en: Adjective(en, plain, stem or plain, scale) for en, plain, stem, scale in _rows(_ADJECTIVES)}


def _german_noun(text: str) -> GermanNoun:
    article, word = text.split()
    return GermanNoun(word, {"der": "m", "die": "f", "das": "n"}[article])


def _build_nouns(adjectives: dict[str, Adjective]) -> dict[str, Noun]:
    groups = {
        name: tuple(tuple(adjectives[word] for word in _options(cell)) for cell in cells)
        for name, *cells in _rows(_GROUPS)
    }
    return {
        en: Noun(en, tuple(_german_noun(text) for text in _options(german)), group, *groups[group])
        for en, german, group in _rows(_NOUNS)
    }


def _objects(cell: str) -> tuple[Noun, ...]:
    chosen: dict[str, Noun] = {}
    for name in _options(cell):
        members = [noun for noun in NOUNS.values() if noun.group == name[1:]] if name[0] == "@" else [NOUNS[name]]
        chosen.update((noun.english, noun) for noun in members)
    return tuple(chosen.values())


def _german_verbs(cell: str) -> tuple[GermanVerb, ...]:
    return tuple(_conjugate(citation, IRREGULAR) for citation in _options(cell))


def _build_verbs() -> tuple[Verb, ...]:
    return tuple(
        Verb(en, past, _german_verbs(german), _objects(objects), frozenset(flags.split()))
        for en, past, german, flags, objects in _rows(_VERBS)
    )


def _build_giving_verbs() -> tuple[Verb, ...]:
    return tuple(
        Verb(en, past, _german_verbs(german), _objects(objects), frozenset())
        for en, past, german, objects in _rows(_GIVING_VERBS)
    )


def _build_favours() -> tuple[Verb, ...]:
    return tuple(
        Verb(en, past, _german_verbs(german), (), frozenset(flags.split()), case)
        for en, past, german, case, flags in _rows(_FAVOURS)
    )


def _build_events() -> tuple[Verb, ...]:
    return tuple(
        Verb(en, past, _german_verbs(german), (), frozenset(flags.split()))
        for en, past, german, flags in _rows(_EVENTS)
    )


def _build_subject(english: str, person: str, german: str, genders: str) -> Subject:
    forms = [option.split("/") for option in _options(german)]
    persons = zip(forms, _options(genders), strict=True)
    return Subject(english, person, tuple(GermanPerson(nom, dat, gender) for (nom, dat), gender in persons))


def _phrases(table: str) -> tuple[Phrase, ...]:
    return tuple(Phrase(english, _options(german), *tone) for english, german, *tone in _rows(table))


def with_flag(flag: str) -> tuple[Verb, ...]:
    """The verbs, favours and events that carry `flag`."""
    return tuple(verb for verb in VERBS + FAVOURS + EVENTS if flag in verb.flags)


def lexical_items() -> dict[str, int]:
    """Number of English entries of each table."""
    tables: dict[str, Iterable[object]] = {
        "nouns": NOUNS,
        "adjectives": ADJECTIVES,
        "verbs": VERBS + GIVING_VERBS + FAVOURS + EVENTS,
        "subjects": SUBJECTS,
        "times": PAST_TIMES + FUTURE_TIMES,
        "places": PLACES + SPOTS,
        "feelings and states": FEELINGS + STATES,
    }
    return {name: len(list(table)) for name, table in tables.items()}


# things one says thank you for
THANKED_FOR = _options(
    "letter, message, gift, cake, soup, dinner, breakfast, coffee, photo, offer, report, article, speech, talk, "
    "cookie, poem, story, idea, book, party"
)

IRREGULAR = {row[0]: row[1:] for row in _rows(_STRONG_VERBS)}
ADJECTIVES = _build_adjectives()
NOUNS = _build_nouns(ADJECTIVES)
VERBS = _build_verbs()
GIVING_VERBS = _build_giving_verbs()
FAVOURS = _build_favours()
EVENTS = _build_events()
TELL = Verb("tell", "told", _german_verbs("erzählen"), (), frozenset(), "dat")
SUBJECTS = tuple(_build_subject(*row) for row in _rows(_SUBJECTS))
PAST_TIMES = _phrases(_PAST_TIMES)
FUTURE_TIMES = _phrases(_FUTURE_TIMES)
PLACES = _phrases(_PLACES)
SPOTS = _phrases(_SPOTS)
FEELINGS = _phrases(_FEELINGS)
STATES = _phrases(_STATES)
