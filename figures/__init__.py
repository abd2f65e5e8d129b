"""The course's drawings: `figures/<name>.py` draws `figures/<name>.svg`, `python -m figures` redraws all."""
