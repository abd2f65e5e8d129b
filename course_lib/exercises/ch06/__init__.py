"""Chapter 06, byte-pair encoding: its exercises in order."""
