"""Compiles a model in a process of its own: `python -m benchmarks.compile_once MODEL.onnx [SAVED.tw]`.

`seconds` run from the import to the compiled model, without the check.
"""

from __future__ import annotations

import json
import sys
import time


def main(path: str, saved: str = "") -> None:
    start = time.perf_counter()
    import tilewright as tw

    model = tw.compile(path, check=False)
    seconds = time.perf_counter() - start
    if saved:
        model.save(saved)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
