"""Invent a small story: who is where with what, what happens, what is so in the end."""

from collections.abc import Callable, Iterator

from course_lib.data.tinytown.lexicon import POSITIONS
from course_lib.data.tinytown.phrases import (
    NOUNS,
    NP,
    PLACE_PREPOSITIONS,
    PREDICATES,
    Phrase,
    both,
    name,
    noun_phrase,
    prepositional,
    pronoun,
)
from course_lib.data.tinytown.realise import Clause
from course_lib.data.tinytown.settings import (
    CONTAINERS,
    EVENTS,
    OPENABLE,
    PEOPLE,
    PLACES,
    SURFACES,
    THINGS,
    Settings,
)
from course_lib.data.tinytown.tables import tables
from course_lib.data.tinytown.verbs import VERBS
from course_lib.data.tinytown.world import GENDER, MOODS, World, spot_of


class Teller:
    """Makes one story's sentences; `world` is the truth they are made from."""

    def __init__(self, random: Callable[[], float], settings: Settings):
        self.random, self.settings, self.world = random, settings, World()
        self.people = self.draw(PEOPLE[:settings.names], self.count(settings.people))
        self.things = self.draw(THINGS[:settings.nouns], self.count(settings.things))
        if random() < 0.2:
            self.things[-1] = self.pick(OPENABLE)
        self.places = self.draw(PLACES[:settings.places], 2)
        self.adjective: dict[str, tuple[str, ...]] = {}
        self.owner: dict[str, str] = {}  # who had a thing first
        self.subject = ""  # of the sentence before

    def pick(self, items):
        return items[int(self.random() * len(items))]

    def count(self, limits: tuple[int, int]) -> int:
        return limits[0] + int(self.random() * (limits[1] - limits[0] + 1))

    def draw(self, items, n: int) -> list:
        """`n` different items."""
        left = list(items)
        return [left.pop(int(self.random() * len(left))) for _ in range(n)]

    # --- noun phrases -----------------------------------------------------------------------------------

    def who(self, person: str) -> NP:
        """The subject of a sentence: the name, or he or she for the subject of the sentence before."""
        if person == self.subject and self.random() < self.settings.pronouns:
            return pronoun(GENDER[person])
        return name(person)

    def the(self, thing: str) -> NP:
        adjectives = self.adjective.get(thing, ())
        return noun_phrase("the", adjectives if adjectives and self.random() < 0.3 else (), thing, False)

    def new(self, thing: str, det: str = "a") -> NP:
        """The first mention of a thing: a ball, a red ball."""
        words = tables(True).colours[thing] + tables(True).qualities[thing]
        fitting = [w for w in words if w not in ("empty", "dirty")]
        adjectives = (self.pick(fitting),) if fitting and self.random() < self.settings.adjectives else ()
        self.adjective[thing] = adjectives if adjectives != ("broken",) else ()  # it may be repaired
        return noun_phrase(det, adjectives, thing, False)

    def at(self, place: str) -> Phrase:
        return prepositional(*PLACE_PREPOSITIONS[place], "dat", noun_phrase("the", (), place, False))

    def to(self, place: str) -> Phrase:
        room = "room" in NOUNS[place].tags
        how = ("into", "in", "acc") if room else ("to", "zu", "dat")
        return prepositional(*how, noun_phrase("the", (), place, False))

    def spot(self, case: str) -> Phrase:
        """On the table, or in one of the story's boxes that is not closed."""
        boxes = [t for t in self.things if t in CONTAINERS and self.world.get("open", t) is not False]
        boxed = boxes and self.random() < 0.6
        en, de, noun = ("in", "in", self.pick(boxes)) if boxed else self.pick(SURFACES)
        en = "into" if (en, case) == ("in", "acc") else en
        return prepositional(en, de, case, noun_phrase("the", (), noun, False))

    # --- the parts of a story ---------------------------------------------------------------------------

    def lines(self) -> Iterator[tuple[Clause, bool | None]]:
        """The clauses of the story in order, and for closing lines whether they are true (None before).

        Tell each to the world before asking for the next.
        """
        for clause in self.setting():
            self.subject = self.world.entity(clause.subj)
            yield clause, None
        for _ in range(self.count(self.settings.events)):
            clause = self.event()
            if clause is not None:
                self.subject = self.world.entity(clause.subj)
                yield clause, None
        seen: list[Clause] = []
        for _ in range(self.count(self.settings.closing)):
            clause = self.closing()
            if clause is None or clause in seen:
                continue
            seen.append(clause)
            false = self.falsified(clause) if self.random() < self.settings.false_closing else None
            yield (clause, True) if false is None else (false, False)

    def setting(self) -> list[Clause]:
        """Where the people are, who has what."""
        clauses, random = [], self.random
        people = self.people
        if random() < 0.85:
            here, there = self.places
            if len(people) > 1 and random() < 0.7:
                two = both(name(people[0]), name(people[1]))
                clauses.append(Clause("be", "was", False, two, where=self.at(here)))
                rest = people[2:]
            else:
                rest = people
            for person in rest:
                place = here if random() < 0.7 else there
                clauses.append(Clause("be", "was", False, name(person), where=self.at(place)))
        for thing in self.things:
            r = random()
            if thing in OPENABLE:
                clauses.append(Clause("be", "was", False, noun_phrase("the", (), thing, False),
                                      how=PREDICATES["open" if r < 0.5 else "closed"]))
                self.adjective[thing] = ()
            elif r < 0.6 or not clauses:
                self.owner[thing] = self.pick(people)
                clauses.append(Clause("have", "state past", False, name(self.owner[thing]), self.new(thing)))
            else:
                where = self.spot("dat") if r < 0.8 else self.at(self.places[0])
                clauses.append(Clause("be", "was", False, self.new(thing, "the"), where=where))
        return clauses

    def event(self) -> Clause | None:
        """An event that the world allows, or None when none was found."""
        for _ in range(12):
            verb = self.pick(EVENTS)
            clause = self.bind(verb)
            if clause is not None:
                return clause
        return None

    def bind(self, verb: str) -> Clause | None:
        """Find people and things for a verb."""
        frame, world, random = VERBS[verb].frame, self.world, self.random
        subject, obj, rec, where = self.pick(self.people), None, None, None
        if (verb == "laugh" and world.get("mood", subject) != "happy") or (
                verb == "cry" and world.get("mood", subject) != "sad"):
            return None
        if frame in ("acc", "give", "return", "put"):
            thing = self.pick(self.things)
            if (thing in OPENABLE) != (verb in ("open", "close")):
                return None
            if verb == "break" and "break" not in NOUNS[thing].tags:
                return None
            if verb == "repair" and not world.get("broken", thing):
                return None
            if verb in ("give", "show", "return", "put", "lose", "hide", "throw"):
                subject = world.holder(thing)
                if subject is None:
                    return None
            obj = self.the(thing)
            if verb == "put":  # things lie or stand: legen or stellen
                tags = NOUNS[thing].tags
                verb = "put" if "lay" in tags else "place" if "stand" in tags else ""
            if not verb or (verb == "return" and self.owner.get(thing) in (None, subject)):
                return None
        if frame in ("give", "return"):
            others = [p for p in self.people if p != subject and world.same_place(p, subject)
                      and (verb != "return" or p == self.owner[thing])]
            if not others:
                return None
            rec = name(self.pick(others))
        if frame == "put":
            where = self.spot("acc")
        elif frame == "go":
            if world.get("at", subject) is None:
                return None
            where = self.to(self.pick([p for p in self.places if p != world.get("at", subject)]))
        elif verb in ("find", "lose", "hide") and world.get("at", subject) and random() < 0.3:
            where = self.at(world.get("at", subject))
        c = Clause(verb, "past", False, name(subject), obj, rec, where)
        before = dict(world.facts)
        fits = world.happen(c, subject)
        world.facts = before  # it happens when it is told
        return c._replace(subj=self.who(subject)) if fits else None

    def closing(self) -> Clause | None:
        """A true line about how things are now."""
        world, random = self.world, self.random
        for _ in range(8):
            r = random()
            if r < 0.5:
                thing = self.pick(self.things)
                kind, value = world.where(thing)
                if kind == "held":
                    return Clause("have", "state", False, name(value), self.the(thing))
                where = self.where_said(thing)
                if where is not None:
                    return Clause("be", "be", False, self.the(thing), where=where)
            elif r < 0.7:
                person = self.pick(self.people)
                place = world.get("at", person)
                if place:
                    return Clause("be", "be", False, name(person), where=self.at(place))
            elif r < 0.9:
                person = self.pick(self.people)
                mood = world.get("mood", person)
                if mood:
                    return Clause("be", "be", False, name(person), how=PREDICATES[mood])
            else:
                thing = self.pick(self.things)
                for kind, yes, no in (("open", "open", "closed"), ("broken", "broken", None)):
                    value = world.get(kind, thing)
                    word = yes if value else no if value is False else None
                    if word:
                        it = noun_phrase("the", (), thing, False)
                        return Clause("be", "be", False, it, how=PREDICATES[word])
        return None

    def where_said(self, thing: str) -> Phrase | None:
        """The adverbial that says where a thing is."""
        kind, value = self.world.where(thing)
        if kind == "at" and value:
            return self.at(value)
        if kind != "in":
            return None
        *preposition, word = value.split()
        preposition = " ".join(preposition)
        german = next(de for en, de, _ in POSITIONS if en == preposition)
        return prepositional(preposition, german, "dat", noun_phrase("the", (), word, False))

    def falsified(self, c: Clause) -> Clause | None:
        """The closing line made false by somebody or something else in it; None when that cannot be."""
        if c.subj.key[0] == "name" and c.how is None:
            if c.verb == "have":
                others = [p for p in self.people if p != c.subj.key[1]]
            else:
                here = spot_of(c.where)[1]
                others = [p for p in self.people if self.world.get("at", p) not in (None, here)]
            return c._replace(subj=name(self.pick(others))) if others else None
        if c.how is not None:
            word = c.how.en[0]
            other = {"open": "closed", "closed": "open"}.get(word)
            if word in MOODS:
                other = self.pick([mood for mood in MOODS if mood != word])
            return c._replace(how=PREDICATES[other]) if other else c._replace(negated=True)
        return c._replace(negated=True)
