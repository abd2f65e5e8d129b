"""Chapter 09, GPT: its exercises in order."""

from course_lib.exercises.ch09 import cached, next_word, nucleus

EXERCISES = (next_word.EXERCISE, nucleus.EXERCISE, cached.EXERCISE)
