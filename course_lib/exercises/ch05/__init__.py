"""Chapter 05, the Transformer: its exercises in order."""

from course_lib.exercises.ch05 import cached, counting, decoder, language, norm, order, waves

EXERCISES = (
    waves.EXERCISE,
    decoder.EXERCISE,
    cached.EXERCISE,
    order.EXERCISE,
    norm.EXERCISE,
    counting.EXERCISE,
    language.EXERCISE,
)
