"""Recipes: data + configuration + training on real data, the same from a notebook, from the command line and under torchrun."""
