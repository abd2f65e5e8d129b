"""Tinytown's German and English against tables and sentences written by hand."""

import pytest

from course_lib.data.tinytown import parse, translation_pairs
from course_lib.data.tinytown.chunks import NAMES
from course_lib.data.tinytown.lexicon import words
from course_lib.data.tinytown.pairs import detokenise, draw_sentences
from course_lib.data.tinytown.phrases import CASES, NOUNS, german_noun, noun_phrase
from course_lib.data.tinytown.realise import realise

# One line for each phenomenon; the German is written by hand, not copied from the program.
BY_HAND = """
Mia found the red ball. | Mia hat den roten Ball gefunden.
Yesterday Mia found a red ball in the garden. | Gestern hat Mia einen roten Ball im Garten gefunden.
Mia did not find the ball. | Mia hat den Ball nicht gefunden.
Mia did not find a ball. | Mia hat keinen Ball gefunden.
Mia did not buy any red apples. | Mia hat keine roten Äpfel gekauft.
Tom bought two fresh apples. | Tom hat zwei frische Äpfel gekauft.
Tom is opening the door. | Tom macht die Tür auf.
Tom is laughing because Mia is opening the door. | Tom lacht, weil Mia die Tür aufmacht.
Tom went to the station. | Tom ist zum Bahnhof gegangen.
Tom went into the old house. | Tom ist ins alte Haus gegangen.
Anna put the book on the table. | Anna hat das Buch auf den Tisch gelegt.
Anna found the book on the table. | Anna hat das Buch auf dem Tisch gefunden.
The book is under the bed. | Das Buch ist unter dem Bett.
Mia gave the tired boy her new key. | Mia hat dem müden Jungen ihren neuen Schlüssel gegeben.
Mia returned the umbrella to Tom. | Mia hat Tom den Regenschirm zurückgegeben.
The boy helped his mother. | Der Junge hat seiner Mutter geholfen.
The dog followed us. | Der Hund ist uns gefolgt.
Anna and Ben had to work. | Anna und Ben mussten arbeiten.
I cannot open the box. | Ich kann die Kiste nicht aufmachen.
You should visit your aunt. | Du solltest deine Tante besuchen.
We will arrive tomorrow. | Wir werden morgen ankommen.
Does Mia like the cake? | Mag Mia den Kuchen?
Who has the coat? | Wer hat den Mantel?
What did Tom throw away? | Was hat Tom weggeworfen?
Where is the white horse? | Wo ist das weiße Pferd?
When did Leo call his sister? | Wann hat Leo seine Schwester angerufen?
Open the window! | Mach das Fenster auf!
Please give me the heavy bag. | Bitte gib mir die schwere Tasche.
Mia was tired, so she slept. | Mia war müde, deshalb hat sie geschlafen.
Because Mia was tired, she slept. | Weil Mia müde war, hat sie geschlafen.
If Tom can help us, we will tidy the kitchen. | Wenn Tom uns helfen kann, werden wir die Küche aufräumen.
After Mia had lost the chair, Tom found it. | Nachdem Mia den Stuhl verloren hatte, hat Tom ihn gefunden.
Tom lost the clock and Mia found it. | Tom hat die Uhr verloren und Mia hat sie gefunden.
Tom sold the bike because it was broken. | Tom hat das Fahrrad verkauft, weil es kaputt war.
Mia threw it away. | -
Anna ate the pear that Tom had bought. | Anna hat die Birne gegessen, die Tom gekauft hatte.
The doctor who called Ben is hungry. | Die Ärztin, die Ben angerufen hat, ist hungrig.
Ben knows that the keys are in the box. | -
Ben knows that the key is in the box. | Ben weiß, dass der Schlüssel in der Kiste ist.
Lena tried to read the newspaper. | Lena hat versucht, die Zeitung zu lesen.
Lena forgot to tidy the kitchen. | Lena hat vergessen, die Küche aufzuräumen.
Lena woke up when Finn sang loudly. | Lena ist aufgewacht, als Finn laut gesungen hat.
Mia slept because she was ill. | -
Mia slept because she was sick, and Tom worked. | Mia hat geschlafen, weil sie krank war, und Tom hat gearbeitet.
"""
LINES = [line.split(" | ") for line in BY_HAND.strip().splitlines()]


@pytest.mark.parametrize("english, german", [line for line in LINES if line[1] != "-"])
def test_sentences_translated_by_hand(english, german):
    assert detokenise(realise(parse(english)).de) == german
    assert detokenise(realise(parse(german, "de")).en) == english


PHRASES = {  # nominative, accusative, dative
    ("the", ("red",), "ball", False): "der rote Ball · den roten Ball · dem roten Ball",
    ("the", ("old",), "lamp", False): "die alte Lampe · die alte Lampe · der alten Lampe",
    ("the", ("new",), "book", False): "das neue Buch · das neue Buch · dem neuen Buch",
    ("the", ("big",), "ball", True): "die großen Bälle · die großen Bälle · den großen Bällen",
    ("a", ("red",), "ball", False): "ein roter Ball · einen roten Ball · einem roten Ball",
    ("a", ("old",), "lamp", False): "eine alte Lampe · eine alte Lampe · einer alten Lampe",
    ("a", ("new", "white"), "shirt", False): "ein neues weißes Hemd · ein neues weißes Hemd · einem neuen weißen Hemd",
    ("no", ("heavy",), "key", False): "kein schwerer Schlüssel · keinen schweren Schlüssel · keinem schweren Schlüssel",
    ("no", (), "apple", True): "keine Äpfel · keine Äpfel · keinen Äpfeln",
    ("", ("fresh",), "pear", True): "frische Birnen · frische Birnen · frischen Birnen",
    ("two", ("small",), "cup", True): "zwei kleine Tassen · zwei kleine Tassen · zwei kleinen Tassen",
    ("our", ("big",), "dog", False): "unser großer Hund · unseren großen Hund · unserem großen Hund",
    ("her", ("tired",), "sister", False): "ihre müde Schwester · ihre müde Schwester · ihrer müden Schwester",
    ("my", ("tired",), "horse", False): "mein müdes Pferd · mein müdes Pferd · meinem müden Pferd",
    ("the", ("nice",), "boy", False): "der nette Junge · den netten Jungen · dem netten Jungen",
    ("three", (), "boy", True): "drei Jungen · drei Jungen · drei Jungen",
    ("the", (), "key", True): "die Schlüssel · die Schlüssel · den Schlüsseln",
    ("the", (), "cake", True): "die Kuchen · die Kuchen · den Kuchen",
}


@pytest.mark.parametrize("key, forms", PHRASES.items())
def test_declension(key, forms):
    assert [" ".join(case.de) for case in noun_phrase(*key).cases] == forms.split(" · ")


def test_every_adjective_ending_is_the_strong_one_unless_the_determiner_has_it():
    """The rule of thumb of German grammars, another formulation than the tables: one word carries the strong ending."""
    strong = {("m", "nom"): "er", ("m", "acc"): "en", ("m", "dat"): "em", ("n", "nom"): "es", ("n", "acc"): "es",
              ("n", "dat"): "em", ("f", "nom"): "e", ("f", "acc"): "e", ("f", "dat"): "er"}
    for word, noun in NOUNS.items():
        for det in ("the", "a", "no", "my", "your", "our", "his", "her", "their"):
            for k, case in enumerate(CASES):
                determiner, adjective, _ = noun_phrase(det, ("small",), word, False).cases[k].de
                bare = determiner in ("ein", "kein", "mein", "dein", "unser", "sein", "ihr")
                weak = "e" if case == "nom" or (case == "acc" and noun.gender != "m") else "en"
                assert adjective == "klein" + (strong[noun.gender, case] if bare else weak), (determiner, adjective, word)


@pytest.fixture(scope="module")
def pairs():
    return translation_pairs(8000, seed=17)


def test_nouns_and_names_are_linked_to_their_translations(pairs):
    forms = {}
    for noun in NOUNS.values():
        forms[noun.en] = {german_noun(noun, False, case) for case in CASES}
        if noun.en_plural:
            forms[noun.en_plural] = {german_noun(noun, True, case) for case in CASES}
    forms |= {name: {name} for name in NAMES}
    seen = 0
    for p in pairs:
        for i, word in enumerate(p.en):
            if word in forms:
                linked = [p.de[j] for a, j in p.alignment if a == i]
                assert len(linked) == 1 and linked[0] in forms[word], p.en_text
                seen += 1
    assert seen > 10_000


def test_only_words_without_counterpart_are_not_linked(pairs):
    for p in pairs:
        left = {i for i, _ in p.alignment}
        right = {j for _, j in p.alignment}
        assert {p.en[i].lower() for i in range(len(p.en))} - {p.en[i].lower() for i in left} <= {"to"}, p.en_text
        assert {p.de[j] for j in range(len(p.de)) if j not in right} <= {","}, p.de_text


FINITE = words("hat haben habe hast hatte hatten hattest ist sind bin bist war waren warst wird werden werde wirst kann "
               "können kannst muss müssen musst will wollen willst sollte sollten solltest konnte konnten konntest musste "
               "mussten musstest wollte wollten wolltest")


def clauses(seed, n):
    """Sentences of one clause without relative, complement, question or request."""
    for s, _ in zip(draw_sentences(seed), range(n), strict=False):
        c = s.clauses[0]
        if len(s.clauses) == 1 and s.end == "." and s.orders[0] != "please" and not (c.comp or c.srel or c.orel):
            yield s, c, [w.lower() for w in realise(s).de]


def test_the_finite_verb_is_second_and_the_participle_last():
    fronted = plain = 0
    for s, c, said in clauses(5, 12_000):
        if c.tense not in ("past", "perfect", "future", "can", "could", "must", "had to", "should", "want", "wanted"):
            continue
        first = {"front when": c.when, "front where": c.where, "main": c.subj.cases[0]}[s.orders[0]]
        assert said[len(first.de)] in FINITE, said
        fronted, plain = fronted + (s.orders[0] != "main"), plain + 1
        if c.tense in ("past", "perfect"):
            assert said[-2].endswith(("t", "en")) and said[-2] not in FINITE, said
    assert fronted > 100 and plain > 1500


def test_the_finite_verb_is_last_in_subordinate_clauses():
    seen = 0
    for s, _ in zip(draw_sentences(6), range(12_000), strict=False):
        c = s.clauses[-1]
        if len(s.clauses) < 2 or s.orders[-1] != "sub" or c.comp or c.orel or c.srel or c.tense in ("present", "state"):
            continue
        last = realise(s).de[-2]
        assert last in (*FINITE, "brauchte", "brauchten", "mochte", "mochten", "kannte", "kannten", "wusste", "wussten")
        seen += 1
    assert seen > 1000


def test_there_are_enough_words_and_sentences(pairs):
    more = pairs + translation_pairs(20_000, seed=18)
    assert len({w.lower() for p in more for w in p.en}) >= 400
    assert len({w.lower() for p in more for w in p.de}) >= 400
    # of the two forms "Mia gave Tom the big ball." and "Mia will give Tom the big ball." alone
    given = [w for w, n in NOUNS.items() if "portable" in n.tags]
    kinds = [noun_phrase(det, (adjective,), w, False) for w in given for det in ("the", "a", "my", "your", "our")
             for adjective in ("big", "small", "old", "new", "beautiful", "heavy")]
    assert 2 * len(NAMES) * (len(NAMES) - 1) * len(kinds) * len(("give", "show", "bring")) > 10**6
