"""Chapter 08, BERT's fine-tuning: its exercises in order."""

from course_lib.exercises.ch08 import aligning, paying, pooling, reading, spans, windows

EXERCISES = (
    aligning.EXERCISE,
    spans.EXERCISE,
    windows.EXERCISE,
    pooling.EXERCISE,
    paying.EXERCISE,
    reading.EXERCISE,
)
