"""Tinytown: a small simulated town told in English and German at once, always the same for the same seed.

    translation_pairs   sentences with their translation, gold alignment and coreference        pairs.py
    parse               a sentence back to its meaning, None for what Tinytown cannot say        parse.py
    stories             stories that are consistent, with states, labels, spans                  stories.py
    questions           questions about a story and their answers                                questions.py
    check_story         which sentences of any text are grammatical, consistent, true            stories.py
    instructions        what to do, about which story, with a reference answer                   instructions.py
    judge, Labeller     scores of a response; a simulated person who prefers                     judge.py, labeller.py

The words are in lexicon.py and verbs.py, the grammar in grammar.py, the laws of the world in rules.py: tables to read.
"""

from course_lib.data.tinytown.instructions import Instruction, instructions, iterate_instructions
from course_lib.data.tinytown.judge import Scores, judge
from course_lib.data.tinytown.labeller import Labeller, Responder
from course_lib.data.tinytown.pairs import Pair, iterate_pairs, translation_pairs
from course_lib.data.tinytown.parse import parse
from course_lib.data.tinytown.questions import Question, questions
from course_lib.data.tinytown.stories import Story, check_story, iterate_stories, stories
from course_lib.data.tinytown.telling import Settings
from course_lib.data.tinytown.world import World

__all__ = ["Instruction", "Labeller", "Pair", "Question", "Responder", "Scores", "Settings", "Story", "World", "check_story",
           "instructions", "iterate_instructions", "iterate_pairs", "iterate_stories", "judge", "parse", "questions",
           "stories", "translation_pairs"]
