"""Timings that anyone can repeat; see `python -m benchmarks --help`.

`models` is the survey of docs/benchmarks.md: `cases` says what is measured, `survey` starts a process for each case, in
which `measure` plays the `rounds` of the `contenders`; `page`, `chart` and `summary` show what was found.
"""
