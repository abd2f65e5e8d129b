"""Draw meanings: sentences of a wished size whose German and English determine each other.

Only `random.Random(seed).random()` is used, whose numbers are the same on every platform and Python version.
"""

from collections.abc import Callable

from course_lib.data.tinytown import tables as T
from course_lib.data.tinytown.lexicon import POSITIONS
from course_lib.data.tinytown.phrases import (
    NOUNS,
    NP,
    PLACE_PREPOSITIONS,
    PREDICATES,
    Phrase,
    both,
    fixed,
    name,
    noun_phrase,
    prepositional,
    pronoun,
)
from course_lib.data.tinytown.realise import Clause
from course_lib.data.tinytown.verbs import VERBS

POSSESSIVE = {"he": "his", "she": "her", "they": "their", "I": "my", "you": "your", "we": "our"}
SPEAKERS = ("I", "you", "we", "I", "we")
THIRD = ("he", "she", "they", "he", "she")
AUXILIARY_TENSES = frozenset(("past", "perfect", "future", "can", "could", "must", "had to", "should", "want",
                              "wanted"))
# How often (in 20) each time frame is drawn for a free clause.
FRAMES = ("past",) * 10 + ("present",) * 5 + ("future",) * 2 + ("modal",) * 2 + ("past modal",)
MODALS = {"modal": ("can", "must", "should", "want"), "past modal": ("could", "had to", "wanted")}
MODAL_TENSES = frozenset(MODALS["modal"] + MODALS["past modal"])
NEVER_NEGATED = ("must", "had to")


class Sampler:
    """Draws clauses and sentences; `rich` is the chance of every optional word (adjective, adverbial)."""

    def __init__(self, random: Callable[[], float], with_held_out: bool = False):
        self.random = random
        self.tables = T.tables(with_held_out)
        self.rich = 0.3
        self.used: list[str] = []

    def pick(self, items):
        """One item of a non-empty sequence."""
        return items[int(self.random() * len(items))]

    # --- noun phrases -----------------------------------------------------------------------------------

    def fresh(self, words) -> str:
        """A word that this sentence has not used yet."""
        used, random, n = self.used, self.random, len(words)
        word = words[int(random() * n)]
        tries = 1
        while word in used and tries < 20:
            word = words[int(random() * n)]
            tries += 1
        used.append(word)
        return word

    def adjectives(self, word: str) -> tuple[str, ...]:
        r = self.random()
        if r > self.rich:
            return ()
        colours, qualities = self.tables.colours[word], self.tables.qualities[word]
        if colours and qualities and r < 0.3 * self.rich:
            return self.pick(qualities), self.pick(colours)
        both_kinds = colours + qualities
        return (self.pick(both_kinds),) if both_kinds else ()

    def thing(self, word: str, owner: NP | None, negated: bool = False) -> NP:
        """A noun phrase for an object: the ball, a red ball, his ball, two balls, balls."""
        noun, r = NOUNS[word], self.random()
        adjectives = self.adjectives(word)
        person = "person" in noun.tags
        if person:
            if "kin" in noun.tags:
                owned = POSSESSIVE.get(owner.pronoun if owner else "") if r < 0.6 else None
                return noun_phrase(owned or self.pick(("my", "your", "our")), adjectives, word, False)
            return noun_phrase("the", adjectives, word, False)
        if r < 0.45 or ("animal" in noun.tags and r < 0.6):
            return noun_phrase("the", adjectives, word, False)
        if "mass" in noun.tags:
            return noun_phrase(POSSESSIVE.get(owner.pronoun if owner else "", "the"), adjectives, word, False)
        if r < 0.72:
            return noun_phrase("no" if negated else "a", adjectives, word, False)
        if r < 0.86 or not noun.en_plural:
            own = owner and r < 0.83
            det = POSSESSIVE.get(owner.pronoun, "the") if own else self.pick(("my", "your", "our"))
            return noun_phrase(det, adjectives, word, False)
        if negated:
            return noun_phrase("no", adjectives, word, True)
        if r < 0.91 and "broken" not in adjectives:  # had broken cups: the verb or the adjective?
            return noun_phrase("", adjectives, word, True)
        return noun_phrase("two" if r < 0.94 else "three" if r < 0.96 else "the", adjectives, word, True)

    def named(self) -> NP:
        return name(self.fresh(T.SKEWED_NAMES))

    def person(self, third: bool = True, speakers: bool = True) -> NP:
        """A subject that is a person; `third` allows he, she and they, `speakers` I, you and we."""
        r = self.random()
        if r < 0.55:
            return self.named()
        if r < 0.72:
            word = self.fresh(T.PEOPLE)
            det = self.pick(("my", "your", "our")) if "kin" in NOUNS[word].tags else "the"
            return noun_phrase(det, self.adjectives(word), word, False)
        if r < 0.80:
            return both(self.named(), self.named())
        if r < 0.90:
            return pronoun(self.pick(SPEAKERS)) if speakers else self.named()
        return pronoun(self.pick(THIRD)) if third else self.named()

    def someone(self, subject: NP, alone: bool, word: str = "") -> NP:
        """A person as object, perhaps `word`; `alone` allows a pronoun that stands for nobody in the sentence."""
        r = self.random()
        if r < 0.5:
            return self.named()
        if r < 0.75 or not alone:
            return self.thing(word or self.fresh(T.PEOPLE), subject)
        key = self.pick(("I", "you", "we", "he", "she"))
        return pronoun(key) if subject.key[0] in ("name", "noun") else self.named()

    def place(self, goal: bool = False) -> Phrase:
        word = self.fresh(T.GOALS if goal else T.PLACES)
        en, de = PLACE_PREPOSITIONS[word]
        r = self.random()
        np = noun_phrase("the" if r < 0.92 else "our", self.adjectives(word), word, False)
        if not goal:
            return prepositional(en, de, "dat", np)
        if "enter" in NOUNS[word].tags and r < 0.5:
            return prepositional("into", "in", "acc", np)
        return prepositional("to", "zu", "dat", np)

    def position(self, case: str, first: int = 0) -> Phrase:
        """On the table | auf dem Tisch (where something is) or auf den Tisch (where it is put)."""
        en, de, kind = self.pick(POSITIONS[first:])
        word = self.fresh(T.POSITION_NOUNS[kind])
        np = noun_phrase("the", self.adjectives(word), word, False)
        return prepositional("into" if (en, case) == ("in", "acc") else en, de, case, np)

    # --- clauses ----------------------------------------------------------------------------------------

    def event(self, verb: str, tense: str, subject: NP, when: str | None = None, alone: bool = True,
              plain: bool = False, negated: bool = False) -> Clause:
        """A clause with an event verb: its objects, and unless `plain` perhaps where, how and when."""
        v = VERBS[verb]
        if tense == "present" and verb in T.MOMENTARY:
            tense, when = "past", when and "past"
        frame, obj, rec, where, how, at = v.frame, None, None, None, None, None
        if frame in ("acc", "dat", "put", "give", "return"):
            word = self.fresh(self.tables.objects[verb])
            person = "person" in NOUNS[word].tags
            obj = self.someone(subject, alone, word) if person else self.thing(word, subject, negated)
            if verb == "break" and "broken" in obj.key[2]:  # what is broken cannot break
                obj = noun_phrase("the", (), word, False)
            if frame in ("give", "return"):
                rec = self.someone(subject, alone and frame == "give")
            elif frame == "put":
                where = self.position("acc")
        elif frame == "go":
            where = self.place(goal=True)
        if not plain:
            if where is None and verb in T.WITH_PLACE and self.random() < self.rich * 0.8:
                where = self.place()
            if where is None and not negated and T.HOW[verb] and self.random() < self.rich * 0.7:
                how = fixed(self.pick(T.HOW[verb]))
            if when and self.random() < self.rich:
                at = fixed(self.fresh(T.WHEN[when]))
        if tense in MODAL_TENSES and verb in T.UNWANTED:
            tense = "past" if tense in MODALS["past modal"] else "future"
        return Clause(verb, tense, negated, subject, obj, rec, where, how, at)

    def being(self, subject: NP, noun: str, past: bool, negated: bool = False) -> Clause:
        """Somebody or something is or was …; `noun` selects the adjectives (see tables.py)."""
        if noun == "person" and subject.key[0] == "noun":
            noun += " " + subject.key[3]
        adjective = self.pick(self.tables.predicates[noun])
        return Clause("be", "was" if past else "be", negated, subject, how=PREDICATES[adjective])

    def thing_as_subject(self, bare: bool = False) -> tuple[NP, str]:
        """A thing or an animal as subject; `bare` without adjectives."""
        word = self.fresh(T.THINGS_TO_BE if self.random() < 0.7 else T.ANIMALS)
        noun, r = NOUNS[word], self.random()
        adjectives = () if bare else self.adjectives(word)
        if r < 0.12 and noun.en_plural:
            return noun_phrase("the", adjectives, word, True), word
        det = "the" if r < 0.75 else self.pick(("my", "your", "our"))
        return noun_phrase(det, adjectives, word, False), word

    def state(self, past: bool, third: bool, plain: bool = False) -> Clause:
        """A clause about how things are: being …, being somewhere, having, liking, needing, knowing."""
        r, negated = self.random(), self.random() < 0.15
        if r < (0.35 if third else 0.55):  # in longer sentences what things are like is said as a reason only
            clause = self.being(self.person(third), "person", past, negated)
        elif r < 0.55:
            subject, word = self.thing_as_subject(bare=True)
            if self.tables.predicates[word]:
                clause = self.being(subject, word, past, negated)
            else:
                clause = Clause("be", "was" if past else "be", negated, subject,
                                where=self.position("dat", 3))
        elif r < 0.75:
            s = self.random()
            if s < 0.5:
                subject, word = self.thing_as_subject()
                where = self.position("dat", 0 if "portable" in NOUNS[word].tags else 3)
            else:
                subject, where = (self.person(third) if s < 0.8 else self.thing_as_subject()[0]), self.place()
            clause = Clause("be", "was" if past else "be", negated, subject, where=where)
        else:
            verb = self.pick(T.STATES) if past or self.random() < 0.8 else "know"
            subject = self.person(third, speakers=False)
            clause = self.event(verb, "state past" if past else "state", subject, None, third, True, negated)
            return clause
        if past and not plain and self.random() < self.rich * 0.5:
            clause = clause._replace(when=fixed(self.fresh(T.WHEN["past"])))
        return clause

    def free(self, frame: str, third: bool = True, plain: bool = False, happening: bool = False) -> Clause:
        """Any clause in a time frame (past, present, future, modal, past modal).

        `third` allows he, she, they that stand for nobody in the sentence; `plain` leaves out where, how
        and when; `happening` asks for an event that did happen.
        """
        r = 1.0 if happening else self.random()
        if frame in ("past", "present") and r < 0.22:
            return self.state(frame == "past", third, plain)
        if frame == "present" and r < 0.5:
            return self.state(False, third, plain)
        tense = frame if frame not in MODALS else self.pick(MODALS[frame])
        when = "past" if frame in ("past", "past modal") else "present" if frame == "present" else "future"
        negated = not happening and self.random() < 0.14 and tense not in NEVER_NEGATED
        if self.random() < 0.07 and tense in ("past", "present", "future"):
            subject, word = self.thing_as_subject()
            tags = NOUNS[word].tags
            if "animal" in tags:
                return self.event(self.pick(T.EVENTS_OF_ANIMALS), tense, subject, when, third, plain, negated)
            if "break" in tags and tense == "past":
                return self.event("break2", tense, subject, when, third, plain, negated)
        subject = self.person(third, speakers=tense in AUXILIARY_TENSES)
        verbs = T.SHORT_EVENTS if self.random() < 0.12 else T.EVENTS_OF_PEOPLE
        return self.event(self.pick(verbs), tense, subject, when, third, plain, negated)
