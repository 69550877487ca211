"""The command line: `tilewright compile | run | check | bench | inspect`.

Results go to standard output (with `--json` one JSON object, errors too), progress and errors to standard error.
Exit codes: 0 done, 1 the compiled model differs from the original, 2 an error, 130 interrupted, 141 output unread.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tilewright import __version__

DONE, DIFFERS, FAILED, INTERRUPTED, UNREAD = 0, 1, 2, 130, 141
Args = argparse.Namespace


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    args = _parser().parse_args(argv)
    try:
        passed = _run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more on its way out
        return UNREAD
    except Exception as error:
        if args.debug:
            raise
        return _report(error, args.json)
    return DONE if passed else DIFFERS


def _run(args: Args) -> bool:
    from tilewright import commands

    return commands.COMMANDS[args.command](args)


def _report(error: Exception, as_json: bool) -> int:
    """Say what went wrong in one paragraph; returns the exit code."""
    from tilewright.ir.errors import CheckError

    text = _paragraph(error)
    if as_json:
        print(json.dumps({"error": text, "kind": type(error).__name__}))
    else:
        print(f"error: {text}", file=sys.stderr)
    return DIFFERS if isinstance(error, CheckError) else FAILED


def _paragraph(error: Exception) -> str:
    from tilewright.ir.errors import CompilerError

    if isinstance(error, CompilerError):
        return str(error)
    if isinstance(error, MemoryError):
        return "There is not enough memory. Smaller sizes (--size, --shape) or fewer threads (--threads) need less."
    said = " ".join(str(error).split())
    return (
        f"Tilewright failed with an error that it does not know, {type(error).__name__}: {said}. This is a bug; "
        "the same command with --debug shows where. Please report it with that output."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tilewright", description="Compile neural networks to tuned, checked native code."
    )
    parser.add_argument("--version", action="version", version=f"tilewright {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")
    _add(commands, "compile", "compile a model, check it and save it", _model, _building, _output)
    _add(commands, "run", "run a model on arrays, or on random ones", _model, _building, _feeding, _results)
    _add(
        commands,
        "check",
        "compare a compiled model with its original",
        _original,
        _building,
        _saved,
        _feeding,
        _checking,
    )
    _add(commands, "bench", "time a model beside onnxruntime", _model, _building, _saved, _feeding, _timing)
    _add(commands, "inspect", "show the graph of a model, or what is in a saved one", _model, _inspecting)
    return parser


def _add(commands: Any, name: str, help: str, *options: Callable[[Any], None]) -> None:
    parser = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    for add in options:
        add(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object, for machines; no progress")
    parser.add_argument("--debug", action="store_true", help="show the Python traceback of an error")


def _model(parser: Any) -> None:
    parser.add_argument("model", type=Path, help="an .onnx file, or a .tw file saved by `compile`")


def _original(parser: Any) -> None:
    parser.add_argument("model", type=Path, help="an .onnx file, the original")


def _shapes(parser: Any) -> None:
    parser.add_argument(
        "--shape", action="append", default=[], type=size, metavar="NAME=SIZE", help="fix a symbolic size"
    )


def _building(parser: Any) -> None:
    parser.add_argument("--target", default="llvm -mcpu=native", help="default: %(default)s")
    parser.add_argument("--threads", type=int, help="default: what the container's quota and affinity allow")
    parser.add_argument("--strict", action="store_true", help="refuse nodes that would run on the host")
    _shapes(parser)


def _output(parser: Any) -> None:
    parser.add_argument("-o", "--output", type=Path, help="where to save the compiled model (default: MODEL.tw)")
    parser.add_argument("--no-check", action="store_true", help="do not compare with the original")


def _saved(parser: Any) -> None:
    parser.add_argument(
        "--compiled", type=Path, metavar="FILE.tw", help="a saved model to take instead of compiling anew"
    )


def _feeding(parser: Any) -> None:
    parser.add_argument(
        "--input", action="append", default=[], type=named, metavar="NAME=FILE.npy", help="an input; others are random"
    )
    parser.add_argument(
        "--size", action="append", default=[], type=size, metavar="NAME=SIZE", help="a symbolic size of random inputs"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs")


def _results(parser: Any) -> None:
    parser.add_argument("--save", type=Path, metavar="FILE.npz", help="where to put the outputs")


def _checking(parser: Any) -> None:
    parser.add_argument(
        "--tolerance", type=float, help="relative to an output's largest magnitude (default: 1e-4, by model)"
    )


def _timing(parser: Any) -> None:
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to measure (default: %(default)s)")
    parser.add_argument(
        "--profile",
        action="store_true",
        help="also measure each kernel: time, GFLOP/s, GB/s, share of the peaks",
    )
    parser.add_argument(
        "--trace", type=Path, metavar="FILE.json", help="write the profile as a timeline for Chrome or Perfetto"
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE.html", help="write the profile as a page: roofline, graph of kernels, table"
    )


def _inspecting(parser: Any) -> None:
    _shapes(parser)
    parser.add_argument("--passes", action="store_true", help="show the graph after the passes")
    parser.add_argument("--types", action="store_true", help="show the type of each value")
    parser.add_argument("--summary", action="store_true", help="counts of operators instead of the graph")


def named(text: str) -> tuple[str, str]:
    """NAME=VALUE. Raises ArgumentTypeError, for which argparse prints how the command is used."""
    name, _, value = text.rpartition("=")
    if not name or not value:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form NAME=VALUE")
    return name, value


def size(text: str) -> tuple[str, int]:
    """NAME=SIZE. Raises ArgumentTypeError."""
    name, value = named(text)
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"'{value}' in '{text}' is not a positive number")
    return name, int(value)


if __name__ == "__main__":
    sys.exit(main())
