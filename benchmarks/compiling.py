"""How long compiling takes in a fresh process: with an empty cache, and with everything in the cache."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

from benchmarks.models import MODELS
from benchmarks.process import python
from benchmarks.table import Row, Rows, held
from examples.model_zoo import fetch

FRESH_LIMIT, CACHED_LIMIT = 10.0, 2.0  # seconds, of the models below
LIMITED = frozenset({"minilm-l6-v2-int8"})
COMPILE = """
import json, sys, time
start = time.perf_counter()
import tilewright as tw
tw.compile(sys.argv[1], check=False)
print(json.dumps({"seconds": time.perf_counter() - start}))
"""


def run(names: Sequence[str] | None = None) -> Rows:
    """Two rows for each model; `seconds` run from `import tilewright` to the compiled model, without the check."""
    return [row for name in names or MODELS for row in bench(name)]


def bench(name: str) -> Rows:
    path = str(fetch(name)["model.onnx"])
    with tempfile.TemporaryDirectory(prefix="tilewright-") as cache:
        fresh = python(COMPILE, path, TILEWRIGHT_CACHE=cache)
        cached = python(COMPILE, path, TILEWRIGHT_CACHE=cache)
    return [
        _row(name, "empty", fresh["seconds"], FRESH_LIMIT),
        _row(name, "full", cached["seconds"], CACHED_LIMIT),
    ]


def _row(name: str, cache: str, seconds: float, limit: float) -> Row:
    row: Row = {"model": name, "cache": cache, "seconds": seconds}
    return held(row, "seconds", limit=limit if name in LIMITED else None)
