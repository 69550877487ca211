"""Timings that anyone can repeat; see `python -m benchmarks --help`."""
