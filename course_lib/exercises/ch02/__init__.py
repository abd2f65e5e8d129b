"""Chapter 02, recurrent sequence to sequence: its exercises in order."""

from course_lib.exercises.ch02 import beam, decoder_batch, dictionary, gru, padded_loss, recurrence

EXERCISES = (
    gru.EXERCISE,
    padded_loss.EXERCISE,
    decoder_batch.EXERCISE,
    recurrence.EXERCISE,
    beam.EXERCISE,
    dictionary.EXERCISE,
)
