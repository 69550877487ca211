"""From the start of a cold Python process to the first result of a saved model, beside onnxruntime with its file."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tilewright as tw
from benchmarks.contenders import ONNXRUNTIME, OURS
from benchmarks.feed import save_feed
from benchmarks.process import python
from benchmarks.table import Row, Rows, held
from examples.model_zoo import feeds, fetch

MODEL = "minilm-l6-v2-int8"
SECONDS_LIMIT, MEBIBYTES_LIMIT = 0.35, 120.0
RUNS = 7


def run(threads: int | None) -> Rows:
    """One row each: medians of several cold starts. `MiB beside` is the peak memory without the saved file's size."""
    path = fetch(MODEL)["model.onnx"]
    with tempfile.TemporaryDirectory(prefix="tilewright-") as folder:
        saved, feed = Path(folder, "model.tw"), Path(folder, "feed")
        model = tw.compile(path, threads=threads, check=False)
        model.save(saved)
        arrays: dict[str, Any] = feeds(MODEL)[0]
        save_feed(feed, arrays)
        ours = start(OURS, saved, feed, model.threads)
        theirs = start(ONNXRUNTIME, path, feed, model.threads)
    return [held(held(ours, "seconds", limit=SECONDS_LIMIT), "MiB beside", limit=MEBIBYTES_LIMIT), theirs]


def start(runtime: str, model: Path, feed: Path, threads: int) -> Row:
    """Start a process `RUNS` times that loads the model and runs it on `feed`."""
    arguments = (runtime, str(model), str(feed), str(threads))
    runs = [timed(arguments) for _ in range(RUNS)]
    memory = statistics.median(r["mebibytes"] for r in runs)
    return {
        "runtime": runtime,
        "seconds": statistics.median(r["seconds"] for r in runs),
        "MiB": memory,
        "MiB beside": memory - model.stat().st_size / 2**20,
    }


def timed(arguments: Sequence[str]) -> Mapping[str, float]:
    """`seconds` run from before the process is started to its first result: all processes share the monotonic clock."""
    started = time.monotonic()
    found = python("benchmarks.first_result", *arguments)
    return {**found, "seconds": found["done"] - started}
