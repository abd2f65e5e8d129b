"""Chapter 04, self-attention: its exercises in order."""

from course_lib.exercises.ch04 import counting, heads, masked, multihead, regression, root, scaled

EXERCISES = (
    scaled.EXERCISE,
    root.EXERCISE,
    masked.EXERCISE,
    heads.EXERCISE,
    counting.EXERCISE,
    multihead.EXERCISE,
    regression.EXERCISE,
)
