"""Loads a model in one runtime and runs it once, in a process of its own, to see what that takes.

`python -m benchmarks.first_result [RUNTIME MODEL FEED THREADS]`, with a feed that `save_feed` wrote; without arguments,
what numpy alone takes.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from benchmarks.contenders import LOADERS
from benchmarks.feed import load_feed


def main(arguments: list[str]) -> None:
    result = first_result(*arguments) if arguments else {}
    print(json.dumps({**result, "mebibytes": peak_mebibytes()}))


def first_result(runtime: str, model: str, feed: str, threads: str) -> dict[str, float]:
    """Seconds of loading, from the import of the runtime on, and of the first run; `done` is when that was over."""
    arrays = load_feed(Path(feed))
    start = time.monotonic()
    run = LOADERS[runtime](Path(model), int(threads))
    loaded = time.monotonic()
    run(arrays)
    done = time.monotonic()
    return {"load": loaded - start, "first": done - loaded, "done": done}


def peak_mebibytes() -> float:
    """The most memory that this process has had.

    From VmHWM: getrusage would count the parent's memory too, as it was before the new program began.
    """
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    main(sys.argv[1:])
