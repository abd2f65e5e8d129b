"""Tinytown: a small simulated town told in English and German at once, always the same for the same seed."""

from course_lib.data.tinytown.pairs import Pair, iterate_pairs, translation_pairs
from course_lib.data.tinytown.parse import parse

__all__ = ["Pair", "iterate_pairs", "parse", "translation_pairs"]
