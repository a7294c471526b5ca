"""Runs the cells of an experiment: each a process of its own, recorded when all of it is there."""
