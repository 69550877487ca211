"""Real models beside onnxruntime: in turn, in one process, on the same number of threads and the same inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import tilewright as tw
from benchmarks.table import Row, Rows, held
from examples.model_zoo import feeds, fetch
from tilewright.timing import compare

MODELS = ("minilm-l6-v2-int8", "ppocr-cls", "ppocrv4-det", "ddddocr-det", "magika")
FLOORS = {("minilm-l6-v2-int8", 0): 1.0}  # by model and index of the size: the least acceptable ratio


def run(threads: int | None, seconds: float, names: Sequence[str] | None = None) -> Rows:
    """One row for each model and size; `ratio` is onnxruntime's time over ours, the median over pairs of runs."""
    return [row for name in names or MODELS for row in bench(name, threads, seconds)]


def bench(name: str, threads: int | None, seconds: float) -> Iterator[Row]:
    path = fetch(name)["model.onnx"]
    model = tw.compile(path, threads=threads)
    original = session(path, model.threads)
    for number, feed in enumerate(feeds(name)):
        compared = compare(partial(model.run, feed), partial(original.run, None, feed), seconds)
        row: Row = {
            "model": name,
            "sizes": sizes(feed),
            "threads": model.threads,
            "ours ms": compared.ours.median * 1e3,
            "fastest ms": compared.ours.fastest * 1e3,
            "onnxruntime ms": compared.theirs.median * 1e3,
            "ratio": compared.ratio,
            "quartiles": f"{compared.low:.2f} to {compared.high:.2f}",
        }
        yield held(row, "ratio", floor=FLOORS.get((name, number)))


def session(path: Path, threads: int) -> Any:
    """An onnxruntime session that runs each operator on `threads` threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def sizes(feed: Mapping[str, np.ndarray[Any, Any]]) -> str:
    """The shape of the first input, e.g. `1x128`."""
    return "x".join(map(str, next(iter(feed.values())).shape))
