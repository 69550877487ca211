"""How long compiling takes in a fresh process: with an empty cache, and with everything in the cache."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.process import python
from benchmarks.table import Row, Rows, held
from examples.model_zoo import fetch

MODELS = ("minilm-l6-v2-int8", "ppocr-cls", "ppocrv4-det", "ddddocr-det", "magika")
FRESH_LIMIT, CACHED_LIMIT = 10.0, 2.0  # seconds, of the models below
LIMITED = frozenset({"minilm-l6-v2-int8"})


def run(names: Sequence[str] = MODELS) -> Rows:
    """Two rows for each model; `seconds` run from `import tilewright` to the compiled model, without the check."""
    return [row for name in names for row in bench(name)]


def bench(name: str) -> Rows:
    fresh, cached = seconds(fetch(name)["model.onnx"])
    return [_row(name, "empty", fresh, FRESH_LIMIT), _row(name, "full", cached, CACHED_LIMIT)]


def seconds(path: Path, saved: Path | None = None) -> tuple[float, float]:
    """Of a compile with an empty cache, and of another with what that left there; `saved` is where the model goes."""
    with tempfile.TemporaryDirectory(prefix="tilewright-") as cache:
        names = [str(path), *([str(saved)] if saved else [])]
        fresh, cached = (python("benchmarks.compile_once", *names, TILEWRIGHT_CACHE=cache) for _ in range(2))
    return fresh["seconds"], cached["seconds"]


def _row(name: str, cache: str, seconds: float, limit: float) -> Row:
    row: Row = {"model": name, "cache": cache, "seconds": seconds}
    return held(row, "seconds", limit=limit if name in LIMITED else None)
