"""Chapter 03, Bahdanau attention: its exercises in order."""

from course_lib.exercises.ch03 import additive, aligner, dot, error_rate, reversal, softmax

EXERCISES = (
    additive.EXERCISE,
    dot.EXERCISE,
    softmax.EXERCISE,
    error_rate.EXERCISE,
    aligner.EXERCISE,
    reversal.EXERCISE,
)
