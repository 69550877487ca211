"""`python -m benchmarks [models|gemm|compiling|starting ...]`: all of them by default.

Prints one table for each. `--json` prints the rows as one JSON object. Exits with 1 where a result misses its floor.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

from benchmarks import compiling, gemm, models, starting
from benchmarks.table import Rows, missed, show

BENCHMARKS: dict[str, Callable[[argparse.Namespace], Rows]] = {
    "models": lambda args: models.run(args.threads, args.seconds, args.model),
    "gemm": lambda args: gemm.run(args.seconds),
    "compiling": lambda args: compiling.run(args.model),
    "starting": lambda args: starting.run(args.threads),
}


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    results = {}
    for name in args.benchmark:
        results[name] = BENCHMARKS[name](args)
        if not args.json:
            show(name, results[name])
    if args.json:
        print(json.dumps(results, indent=2))
    misses = [row for rows in results.values() for row in missed(rows)]
    if misses:
        print(f"{len(misses)} of these results miss their floor or limit.", file=sys.stderr)
    return 1 if misses else 0


def _benchmark(name: str) -> str:
    if name not in BENCHMARKS:
        raise argparse.ArgumentTypeError(f"there is no {name!r}, only {', '.join(BENCHMARKS)}")
    return name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Time Tilewright beside onnxruntime.")
    parser.add_argument(
        "benchmark", nargs="*", type=_benchmark, default=[*BENCHMARKS], metavar="NAME", help=", ".join(BENCHMARKS)
    )
    parser.add_argument("--model", action="append", help="models to time (default: those the README lists)")
    parser.add_argument("--threads", type=int, help="default: what the container's quota and affinity allow")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each pair (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


if __name__ == "__main__":
    sys.exit(main())
