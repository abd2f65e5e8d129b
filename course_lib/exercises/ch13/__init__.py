"""Chapter 13, learning from preferences: its exercises in order."""

from course_lib.exercises.ch13 import advantages, distance, gaming, grading, preferring, scoring, strengths, surrogate

EXERCISES = (
    strengths.EXERCISE,
    advantages.EXERCISE,
    surrogate.EXERCISE,
    distance.EXERCISE,
    preferring.EXERCISE,
    grading.EXERCISE,
    gaming.EXERCISE,
    scoring.EXERCISE,
)
