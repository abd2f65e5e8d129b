"""Chapter 06, byte-pair encoding: its exercises in order."""

from course_lib.exercises.ch06 import counting, greedy, learning, replacing, streaming, vocabulary

EXERCISES = (
    replacing.EXERCISE,
    learning.EXERCISE,
    greedy.EXERCISE,
    counting.EXERCISE,
    streaming.EXERCISE,
    vocabulary.EXERCISE,
)
