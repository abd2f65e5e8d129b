"""Tinytown: a small simulated town told in English and German at once, always the same for the same seed.

    translation_pairs  sentences with their translation, gold alignment and coreference     pairs.py
    parse              a sentence back to its meaning, None for what nobody says so          parse.py
    stories            consistent stories, with states, moods, tags                          stories.py
    questions          questions about a story, their answers, and where these stand         questions.py
    check_story        which sentences of any text are grammatical, consistent, true         stories.py
    instructions       what to do, about which story, with a reference answer                instructions.py
    judge              how true, relevant, polite, brief, well-formed a response is          judge.py
    Responder          responses of every quality        Labeller   a person who prefers     labeller.py

Tables to read: the words in lexicon.py and verbs.py, the grammar in grammar.py, the laws of the world in
rules.py. How it works: sampler.py, plans.py and joins.py draw meanings; phrases.py, templates.py and
realise.py say them; chunks.py, clauses.py and parse.py read them; telling.py invents stories in the world
of world.py.
"""

from course_lib.data.tinytown.instructions import Instruction, instructions, iterate_instructions
from course_lib.data.tinytown.judge import Scores, judge
from course_lib.data.tinytown.labeller import Labeller, Responder
from course_lib.data.tinytown.pairs import Pair, iterate_pairs, translation_pairs
from course_lib.data.tinytown.parse import parse
from course_lib.data.tinytown.questions import Question, questions
from course_lib.data.tinytown.settings import Settings
from course_lib.data.tinytown.stories import Story, check_story, iterate_stories, stories
from course_lib.data.tinytown.world import World

__all__ = [
    "Instruction", "Labeller", "Pair", "Question", "Responder", "Scores", "Settings", "Story", "World",
    "check_story", "instructions", "iterate_instructions", "iterate_pairs", "iterate_stories", "judge",
    "parse", "questions", "stories", "translation_pairs",
]
