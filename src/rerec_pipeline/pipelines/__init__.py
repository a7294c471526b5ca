"""Wiring only: what happens is in the packages below, nodes and pipelines say in which order."""
