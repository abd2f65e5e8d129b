"""Chapter 12, supervised fine-tuning: its exercises in order."""

from course_lib.exercises.ch12 import cleaning, counting, hearing, narrow, stopping, turns

EXERCISES = (
    turns.EXERCISE,
    stopping.EXERCISE,
    hearing.EXERCISE,
    narrow.EXERCISE,
    counting.EXERCISE,
    cleaning.EXERCISE,
)
