"""From text back to meaning, in either language: guess the meaning, say it again, and compare.

The grammar's own tables say which verb and tense a group of verb words can be; the frame says what the noun
phrases are; generation then judges every ending and the place of every word. So parsing is exact: it
succeeds on the sentences that Tinytown can say, and on no others.

>>> parse("Mia found the red ball.").clauses[0].verb
'find'
>>> parse("Mia found ball the red.") is None
True
"""

from course_lib.data.tinytown.chunks import Chunk, Chunker, tokenise, uncapitalised
from course_lib.data.tinytown.clauses import Context, Roles, Unreadable, order_of, readings
from course_lib.data.tinytown.grammar import JOINS
from course_lib.data.tinytown.phrases import relative_pronoun
from course_lib.data.tinytown.realise import Clause, Sentence, ends_in_clause, say
from course_lib.data.tinytown.shapes import NoSuchForm
from course_lib.data.tinytown.templates import glue
from course_lib.data.tinytown.verbs import VERBS

_JOIN_WORDS = tuple({JOINS[j][k].split()[-1].split(":")[0]: j for j in JOINS} for k in (0, 1))
_TO_WORDS = frozenset(form for v in VERBS.values() if v.frame == "to"
                      for form in (v.base, v.past, v.pp, v.ing))
_PARTICLES = frozenset(v.particle for v in VERBS.values() if v.particle)


def parse(text: str | list[str] | tuple[str, ...], language: str = "en") -> Sentence | None:
    """The meaning of an English ("en") or German ("de") sentence, or None when the grammar cannot say it so.

    Takes text or tokens. realise(parse(text)) says the same sentence in both languages.
    """
    if language not in ("en", "de"):
        raise ValueError(f'language: got {language!r}, expected "en" or "de"')
    tokens = tokenise(text) if isinstance(text, str) else list(text)
    if len(tokens) < 3 or tokens[-1] not in (".", "?", "!") or not tokens[0][0].isupper():
        return None
    try:
        return _Reader(uncapitalised(tokens), language).sentence()
    except Unreadable:
        return None


class _Reader:
    """Parses one sentence: cuts it into clauses, and clauses into a main part and what is nested in it."""

    def __init__(self, tokens: list[str], language: str):
        self.tokens, self.end, self.german = tokens, tokens[-1], language == "de"
        self.chunks = Chunker(tokens, language).read()

    def sentence(self) -> Sentence:
        """The whole sentence."""
        first, spans = self._cut()
        clauses: list[Clause] = []
        orders: list[str] = []
        at, opens = 0, False
        for k, (join, start, stop) in enumerate(spans):
            if start >= stop:
                raise Unreadable
            before = tuple(self.tokens[at:self.chunks[start][2]])
            if before != (glue(join if k else first, opens, k == 0)[self.german] if k or first else ()):
                raise Unreadable
            place = JOINS[join][2] if join else "inverted" if k else "sub" if first else "main"
            clause, order = self._clause(self.chunks[start:stop], place, Context(clauses[0] if k else None))
            clauses.append(clause)
            orders.append(order)
            at, opens = self.chunks[stop - 1][3], ends_in_clause(clause, order)
        joins = tuple(join for join, _, _ in spans[1:])
        return Sentence(tuple(clauses), tuple(orders), joins, first, self.end)

    def _cut(self) -> tuple[str, list[tuple[str, int, int]]]:
        """The opening conjunction, and for each clause (join, its first chunk, the chunk after its last)."""
        joins = _JOIN_WORDS[self.german]
        words = [c[1] if c[0] == "word" else None for c in self.chunks]
        first = joins.get(words[0], "")
        spans, start, join = [], 1 if first else 0, ""
        for k in range(start, len(words)):
            if words[k] in joins:
                spans.append((join, start, k - 1 if words[k - 1] == "," else k))
                start, join = k + 1, joins[words[k]]
            elif words[k] == "," and first and not spans and self._main_clause_at(k + 1, words):
                spans.append((join, start, k))
                start, join = k + 1, ""
        spans.append((join, start, len(words)))
        return first, spans

    def _main_clause_at(self, k: int, words: list) -> bool:
        """Whether the main clause after a first subordinate one begins here, in German with its verb."""
        joins = _JOIN_WORDS[self.german]
        if k == len(words) or words[k] in joins:
            return False
        return not self.german or words[k] not in (None, "dass", "zu")

    def _clause(self, chunks: list[Chunk], place: str, context: Context,
                start: int | None = None) -> tuple[Clause, str]:
        """The meaning and order of a clause; `start` is its first token when that is none of its chunks'."""
        own, slot, inner = (self._split_german if self.german else self._split_english)(chunks)
        if not own:
            raise Unreadable
        tokens = self.tokens[chunks[0][2] if start is None else start:chunks[-1][3]]
        order = order_of(own, place, self.end, context.relative)
        for reading in self._readings(own):
            if (VERBS[reading.verb].frame in ("that", "to")) != (slot == "comp"):
                continue
            if (reading.tense == "imperative") != (order in ("imperative", "please")):
                continue
            try:
                clause = Roles(own, reading, order, context, self.german).clause()
                clause = self._with_nested(clause, slot, inner) if slot else clause
                if self._says(clause, order) == tokens:
                    return clause, order
            except Unreadable:
                continue
        raise Unreadable

    def _says(self, clause: Clause, order: str) -> list[str]:
        """The clause in this language."""
        said: tuple[list[str], list[str]] = ([], [])
        try:
            say(clause, order, *said, [])
        except NoSuchForm:
            raise Unreadable from None
        return said[self.german]

    def _readings(self, chunks: list[Chunk]):
        """What the verb words can be; German negation is told by nicht or kein."""
        words = [value for kind, value, _, _ in chunks if kind == "word" and value not in ("please", "bitte")]
        if not self.german:
            return readings(0).get(tuple(words), ())
        negated = "nicht" in words
        if negated:
            words.remove("nicht")
        nouns = [value for kind, value, _, _ in chunks if kind == "np" and value[0] == "noun"]
        negated = negated or any(dets == ("no",) for _, dets, *_ in nouns)
        found = readings(1).get(tuple(words), ())
        if not found and ("adj", "broken") in [c[:2] for c in chunks]:  # kaputt is also a verb's prefix
            found = readings(1).get((*words, "kaputt"), ())
            chunks[:] = [c for c in chunks if c[:2] != ("adj", "broken")]
        return [r._replace(negated=negated) for r in found]

    def _with_nested(self, clause: Clause, slot: str, inner: list[Chunk]) -> Clause:
        """The clause with the clause nested in it."""
        if slot == "comp":
            if VERBS[clause.verb].frame == "to":
                nested, _ = self._clause(inner, "infinitive", Context(owner=clause.subj))
            else:
                nested, _ = self._clause(inner[1:], "sub", Context(clause))
            return clause._replace(comp=nested)
        head = clause.obj if slot == "orel" else clause.subj
        if head is None or head.key[0] != "noun" or len(inner) < 2:
            raise Unreadable
        english = "who" if head.pronoun in ("he", "she") else "that"
        context = Context(clause, relative=relative_pronoun(english, head.gender))
        nested, _ = self._clause(inner[1:], "relative", context, inner[0][2])
        return clause._replace(**{slot: nested})

    def _split_german(self, chunks: list[Chunk]) -> tuple[list[Chunk], str, list[Chunk]]:
        """The clause's own chunks, the slot of the nested clause, its chunks with what opens it."""
        comma = next((k for k, c in enumerate(chunks) if c[1] == ","), None)
        if comma is None or comma + 1 == len(chunks):
            return chunks, "", []
        if chunks[comma + 1][0] != "rel":
            return chunks[:comma], "comp", chunks[comma + 1:]
        close = next((k for k in range(comma + 1, len(chunks)) if chunks[k][1] == ","), None)
        if close is None:
            return chunks[:comma], "orel", chunks[comma + 1:]
        return chunks[:comma] + chunks[close + 1:], "srel", chunks[comma + 1:close]

    def _split_english(self, chunks: list[Chunk]) -> tuple[list[Chunk], str, list[Chunk]]:
        for k, (kind, value, _, _) in enumerate(chunks):
            if not k:
                continue
            after_word = kind == "word" and chunks[k - 1][0] == "word"
            if after_word and (value == "that" or (value == "to" and chunks[k - 1][1] in _TO_WORDS)):
                return chunks[:k], "comp", chunks[k:]
            if value in ("that", ("wh", "who")) and chunks[k - 1][0] == "np":
                if any(c[0] == "word" for c in chunks[:k]):
                    return chunks[:k], "orel", chunks[k:]
                end = self._relative_end(chunks, k + 1)
                return chunks[:k] + chunks[end:], "srel", chunks[k:end]
        return chunks, "", []

    @staticmethod
    def _relative_end(chunks: list[Chunk], k: int) -> int:
        """Where the relative clause of a subject ends: before the verb that is not its own."""
        needs = None  # verb words still to come in the relative clause
        for j in range(k, len(chunks)):
            if chunks[j][0] != "word" or chunks[j][1] in _PARTICLES or chunks[j][1] == "not":
                continue
            if needs is None:
                needs = chunks[j][1] in ("did", "had")
            elif needs:
                needs = False
            else:
                return j
        return len(chunks)
