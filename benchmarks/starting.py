"""From the start of a cold Python process to the first result of a saved model, beside onnxruntime with its file."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import tilewright as tw
from benchmarks.process import python
from benchmarks.table import Row, Rows, held
from examples.model_zoo import feeds, fetch

MODEL = "minilm-l6-v2-int8"
SECONDS_LIMIT, MEBIBYTES_LIMIT = 0.35, 120.0
RUNS = 7
OURS = """
import tilewright as tw
def load(path, threads):
    return tw.load(path, threads=threads).run
"""
THEIRS = """
import onnxruntime
def load(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda feed: session.run(None, feed)
"""
# The peak comes from VmHWM: getrusage would count the parent's memory too, as it was before the new program began.
FIRST_RESULT = """
import json, sys, time
import numpy as np
load(sys.argv[1], int(sys.argv[3]))(dict(np.load(sys.argv[2])))
done = time.monotonic()
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"done": done, "kilobytes": int(peak.split()[1])}))
"""


def run(threads: int | None) -> Rows:
    """One row each: medians of several cold starts. `MiB beside` is the peak memory without the saved file's size."""
    path = fetch(MODEL)["model.onnx"]
    with tempfile.TemporaryDirectory(prefix="tilewright-") as folder:
        saved, feed = Path(folder, "model.tw"), Path(folder, "feed.npz")
        model = tw.compile(path, threads=threads, check=False)
        model.save(saved)
        arrays: dict[str, Any] = feeds(MODEL)[0]
        np.savez(feed, **arrays)
        ours = start("tilewright", OURS, saved, feed, model.threads)
        theirs = start("onnxruntime", THEIRS, path, feed, model.threads)
    return [held(held(ours, "seconds", limit=SECONDS_LIMIT), "MiB beside", limit=MEBIBYTES_LIMIT), theirs]


def start(name: str, load: str, model: Path, feed: Path, threads: int) -> Row:
    """Start a process `RUNS` times that loads the model with `load` and runs it on `feed`."""
    runs = [python(load + FIRST_RESULT, str(model), str(feed), str(threads)) for _ in range(RUNS)]
    memory = statistics.median(r["kilobytes"] for r in runs) / 1024
    return {
        "runtime": name,
        "seconds": statistics.median(r["done"] - r["started"] for r in runs),
        "MiB": memory,
        "MiB beside": memory - model.stat().st_size / 2**20,
    }
