"""Chapter 09, GPT: its exercises in order."""

from course_lib.exercises.ch09 import accumulation, cached, induction, next_word, nucleus, paying, probable

EXERCISES = (
    next_word.EXERCISE,
    nucleus.EXERCISE,
    cached.EXERCISE,
    paying.EXERCISE,
    induction.EXERCISE,
    probable.EXERCISE,
    accumulation.EXERCISE,
)
