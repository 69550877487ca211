"""What a model costs before it runs, in each runtime: memory, loading, the first run; and what compiling it takes."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import compiling
from benchmarks.contenders import ONNXRUNTIME, OPENVINO, OURS
from benchmarks.feed import save_feed
from benchmarks.process import DiedError, python
from examples.model_zoo import feeds, fetch

RUNTIMES = (OURS, ONNXRUNTIME, OPENVINO)


@dataclass(frozen=True)
class Start:
    """Of a process that loads a model and runs it once: its peak memory, and seconds of loading and of that run."""

    mebibytes: float = 0.0
    load: float = 0.0
    first: float = 0.0
    failure: str = ""


@dataclass(frozen=True)
class Costs:
    """`fresh` and `cached` are seconds of compiling, with an empty cache and with a full one."""

    model: str
    threads: int
    failure: str = ""
    fresh: float = 0.0
    cached: float = 0.0
    starts: Mapping[str, Start] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def costs(name: str, threads: int, runs: int) -> Costs:
    """At the first of the model's sizes; the median of `runs` processes for each runtime."""
    path = fetch(name)["model.onnx"]
    with tempfile.TemporaryDirectory(prefix="tilewright-") as folder:
        saved, feed = Path(folder, "model.tw"), Path(folder, "feed")
        arrays: dict[str, Any] = feeds(name)[0]
        save_feed(feed, arrays)
        try:
            fresh, cached = compiling.seconds(path, saved)
        except DiedError as error:
            return Costs(name, threads, failure=str(error))
        starts = {r: start(r, saved if r == OURS else path, feed, threads, runs) for r in RUNTIMES}
    return Costs(name, threads, fresh=fresh, cached=cached, starts=starts)


def start(runtime: str, model: Path, feed: Path, threads: int, runs: int) -> Start:
    arguments = (runtime, str(model), str(feed), str(threads))
    try:
        found = [python("benchmarks.first_result", *arguments) for _ in range(runs)]
    except DiedError as error:
        return Start(failure=str(error))
    return Start(*(statistics.median(f[key] for f in found) for key in ("mebibytes", "load", "first")))


def bare_mebibytes() -> float:
    """What a process takes that has imported numpy and nothing else."""
    return float(python("benchmarks.first_result")["mebibytes"])
