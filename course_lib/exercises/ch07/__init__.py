"""Chapter 07, BERT's pre-training: its exercises in order."""

from course_lib.exercises.ch07 import blanks, counting, filling, hiding, pairing, rows

EXERCISES = (
    hiding.EXERCISE,
    blanks.EXERCISE,
    rows.EXERCISE,
    counting.EXERCISE,
    pairing.EXERCISE,
    filling.EXERCISE,
)
