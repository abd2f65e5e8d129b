"""The synchronous grammar of Tinytown as data: how a clause is said in English and in German at once.

`word:12` is a word that belongs to the link groups 1 and 2; words of the two languages that share a group
are aligned. Group 1 is the finite verb, 2 the negation, 3 the right bracket of the German clause
(participle, infinitive or separable prefix). UPPER CASE names are slots and verb forms, filled in by
templates.py.
"""

from course_lib.data.tinytown.lexicon import rows

# The verb by tense: in English plain, negated, asked; in German finite verb and right bracket; `-` is none.
#   Mia found … | Mia hat … gefunden    Mia did not find … | Mia hat … nicht gefunden    Did Mia find …?
_TENSES = """
past        PAST:13             did:1 not:2 BASE:3            did:1 BASE:3            HAS         PARTICIPLE:3
perfect     had:1 PP:3          had:1 not:2 PP:3              had:1 PP:3              HAD         PARTICIPLE:3
present     BE:1 ING:13         BE:1 not:2 ING:13             BE:1 ING:13             PRESENT     PREFIX:3
future      will:1 BASE:3       will:1 not:2 BASE:3           will:1 BASE:3           werden      INFINITIVE:3
can         can:1 BASE:3        cannot:12 BASE:3              can:1 BASE:3            können      INFINITIVE:3
could       could:1 BASE:3      could:1 not:2 BASE:3          could:1 BASE:3          konnte      INFINITIVE:3
must        must:1 BASE:3       -                             must:1 BASE:3           müssen      INFINITIVE:3
had to      had:1 to:1 BASE:3   -                             -                       musste      INFINITIVE:3
should      should:1 BASE:3     should:1 not:2 BASE:3         should:1 BASE:3         sollte      INFINITIVE:3
want        WANT:1 to BASE:3    DO:1 not:2 want:1 to BASE:3   DO:1 want:1 to BASE:3   wollen      INFINITIVE:3
wanted      wanted:1 to BASE:3  did:1 not:2 want:1 to BASE:3  did:1 want:1 to BASE:3  wollte      INFINITIVE:3
state       THIRD:1             DO:1 not:2 BASE:1             DO:1 BASE:1             PRESENT     -
state past  PAST:1              did:1 not:2 BASE:1            did:1 BASE:1            PRETERITE   -
be          BE:1                BE:1 not:2                    BE:1                    PRESENT     -
was         WAS:1               WAS:1 not:2                   WAS:1                   PRETERITE   -
infinitive  to:4 BASE:3         -                             -                       -           ZU:34
imperative  BASE:13             -                             -                       IMPERATIVE  PREFIX:3
"""
TENSES = {name: tuple(None if cell == "-" else cell for cell in cells) for name, *cells in rows(_TENSES)}

# The order of the parts, first English, below it German. FIN is the first English verb word and the German
# finite verb, REST the other English verb words; NPS are the objects in the order of the verb's frame, PRON
# the object pronouns; NEG is nicht; RIGHT closes the German bracket; SREL and OREL are relative clauses on
# subject and object.
_ORDERS = """
main             SUBJ SREL FIN REST NPS OREL HOW WHERE WHEN COMP
                 SUBJ SREL FIN PRON WHEN NPS NEG HOW WHERE RIGHT OREL COMP
front when       WHEN SUBJ SREL FIN REST NPS OREL HOW WHERE COMP
                 WHEN FIN SUBJ SREL PRON NPS NEG HOW WHERE RIGHT OREL COMP
front where      WHERE SUBJ SREL FIN REST NPS OREL HOW WHEN COMP
                 WHERE FIN SUBJ SREL PRON WHEN NPS NEG HOW RIGHT OREL COMP
inverted         SUBJ SREL FIN REST NPS OREL HOW WHERE WHEN COMP
                 FIN SUBJ SREL PRON WHEN NPS NEG HOW WHERE RIGHT OREL COMP
sub              SUBJ SREL FIN REST NPS OREL HOW WHERE WHEN COMP
                 SUBJ SREL PRON WHEN NPS NEG HOW WHERE RIGHT FIN OREL COMP
question         FIN SUBJ REST NPS OREL HOW WHERE WHEN COMP
                 FIN SUBJ PRON WHEN NPS NEG HOW WHERE RIGHT OREL COMP
wh when          WHEN FIN SUBJ REST NPS HOW WHERE
                 WHEN FIN SUBJ PRON NPS NEG HOW WHERE RIGHT
wh where         WHERE FIN SUBJ REST NPS HOW WHEN
                 WHERE FIN SUBJ PRON WHEN NPS NEG HOW RIGHT
wh object        OBJ FIN SUBJ REST HOW WHERE WHEN
                 OBJ FIN SUBJ WHEN NEG HOW WHERE RIGHT
object relative  OBJ SUBJ FIN REST HOW WHERE WHEN
                 OBJ SUBJ WHEN NEG HOW WHERE RIGHT FIN
infinitive       FIN REST NPS OREL HOW WHERE WHEN
                 PRON WHEN NPS NEG HOW WHERE RIGHT OREL
imperative       FIN REST NPS OREL HOW WHERE WHEN
                 FIN PRON WHEN NPS NEG HOW WHERE RIGHT OREL
please           please:9 FIN REST NPS OREL HOW WHERE WHEN
                 bitte:9 FIN PRON WHEN NPS NEG HOW WHERE RIGHT OREL
"""
_LINES = rows(_ORDERS)
ORDERS = {name: (english, german)
          for (name, english), (german,) in zip(_LINES[::2], _LINES[1::2], strict=True)}

# The objects of each frame, English and German with the case; this "to" has no German word.
FRAMES = {
    "itr": ("", ""), "go": ("", ""), "be": ("", ""), "that": ("", ""), "to": ("", ""),
    "acc": ("OBJ", "OBJ.acc"),
    "dat": ("OBJ", "OBJ.dat"),
    "put": ("OBJ", "OBJ.acc"),
    "give": ("REC OBJ", "REC.dat OBJ.acc"),
    "return": ("OBJ to REC", "REC.dat OBJ.acc"),
}

# What opens the slots that hold clauses.
COMPLEMENTS = {"that": ("that:8 COMP", ", dass:8 COMP"), "to": ("COMP", ", COMP")}
RELATIVES = {"SREL": ("SREL", ", SREL ,"), "OREL": ("OREL", ", OREL")}

# Between two clauses: English, German, the order of the clause that follows.
JOINS = {
    "and": ("and:1", "und:1", "main"),
    "but": (", but:1", ", aber:1", "main"),
    "so": (", so:1", ", deshalb:1", "inverted"),
    "because": ("because:1", ", weil:1", "sub"),
    "although": ("although:1", ", obwohl:1", "sub"),
    "when": ("when:1", ", als:1", "sub"),
    "if": ("if:1", ", wenn:1", "sub"),
    "before": ("before:1", ", bevor:1", "sub"),
    "after": ("after:1", ", nachdem:1", "sub"),
}

# Finite forms of the auxiliaries: I, you, he/she/it, we, they.
PERSONS = ("1s", "2s", "3s", "1p", "3p")
AUXILIARIES = {
    "haben": "habe hast hat haben haben", "hatte": "hatte hattest hatte hatten hatten",
    "sein": "bin bist ist sind sind", "war": "war warst war waren waren",
    "werden": "werde wirst wird werden werden",
    "können": "kann kannst kann können können", "konnte": "konnte konntest konnte konnten konnten",
    "müssen": "muss musst muss müssen müssen", "musste": "musste musstest musste mussten mussten",
    "wollen": "will willst will wollen wollen", "wollte": "wollte wolltest wollte wollten wollten",
    "sollte": "sollte solltest sollte sollten sollten",
    "BE": "am are is are are", "WAS": "was were was were were",
}
