"""Benchmarks: each bar of docs/results.md as a ratio against a plainly written reference."""
