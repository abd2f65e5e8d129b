"""Grading a class: submissions are read as data, answers run in a sandbox, and judging happens outside of it."""
