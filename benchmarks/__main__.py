"""`python -m benchmarks [models|gemm|streaming|compiling|starting ...]`: all of them by default.

Prints tables. `--json` prints the rows as one JSON object. Exits with 1 where a result misses its floor.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import compiling, gemm, models, starting, streaming
from benchmarks.cases import NAMES
from benchmarks.kernels_page import kernels_page
from benchmarks.table import Rows, missed, show
from tilewright.backends.threads import default_threads

Tables = Mapping[str, Rows]
BENCHMARKS: dict[str, Callable[[argparse.Namespace], Tables]] = {
    "models": lambda args: models.run(
        args.only, args.threads, args.quick, args.first_sizes, args.folder if args.write else None
    ),
    "gemm": lambda args: {"gemm": gemm.run(_thread_counts(args), 0.5 if args.quick else 3.0)},
    "streaming": lambda args: {"streaming": streaming.run(_thread_counts(args), 2.0 if args.quick else 10.0)},
    "compiling": lambda args: {"compiling": compiling.run(args.only or compiling.MODELS)},
    "starting": lambda args: {"starting": starting.run(max(args.threads) if args.threads else None)},
}


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if args.write:
        args.folder.mkdir(parents=True, exist_ok=True)  # before an hour is spent
    results: dict[str, Rows] = {}
    for name in args.benchmark:
        tables = BENCHMARKS[name](args)
        results |= tables
        for title, rows in tables.items():
            if not args.json:
                show(title, rows)
    others = {title: rows for title, rows in results.items() if title in BENCHMARKS}
    if args.write and len(others) == len(BENCHMARKS) - 1:  # all but the models
        (args.folder / "kernels.md").write_text(kernels_page(others))
    if args.json:
        print(json.dumps(results, indent=2))
    misses = [row for rows in results.values() for row in missed(rows)]
    if misses:
        print(f"{len(misses)} of these results miss their floor or limit.", file=sys.stderr)
    return 1 if misses else 0


def _thread_counts(args: argparse.Namespace) -> list[int]:
    """Those asked for; by default one thread, and all."""
    return args.threads or sorted({1, default_threads()})


def _benchmark(name: str) -> str:
    if name not in BENCHMARKS:
        raise argparse.ArgumentTypeError(f"there is no {name!r}, only {', '.join(BENCHMARKS)}")
    return name


def _model(name: str) -> str:
    if name not in NAMES:
        raise argparse.ArgumentTypeError(f"there is no {name!r}, only {', '.join(NAMES)}")
    return name


def _threads(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Time Tilewright beside onnxruntime and OpenVINO."
    )
    parser.add_argument(
        "benchmark", nargs="*", type=_benchmark, default=[*BENCHMARKS], metavar="NAME", help=", ".join(BENCHMARKS)
    )
    parser.add_argument(
        "--only",
        action="append",
        type=_model,
        metavar="MODEL",
        help="a model to measure; may be repeated (default: all)",
    )
    parser.add_argument(
        "--threads",
        action="append",
        type=_threads,
        help="may be repeated (default: 1, and what the container's quota and affinity allow)",
    )
    parser.add_argument("--quick", action="store_true", help="in shorter rounds")
    parser.add_argument("--first-sizes", action="store_true", help="only the first size of each model")
    parser.add_argument(
        "--write",
        action="store_true",
        help="write benchmarks.md, .json and .svg from `models`, kernels.md from the others",
    )
    parser.add_argument("--folder", type=Path, default=models.DOCS, help="where --write writes (default: docs)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


if __name__ == "__main__":
    sys.exit(main())
