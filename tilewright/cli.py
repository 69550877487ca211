"""The command line: `tilewright compile | run | check | bench | inspect`.

Results go to standard output (`--json`: one JSON object), progress to standard error. Exit codes: 0 done, 1 the compiled model differs
from the original, 2 an error in what was asked or in the model.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tilewright import __version__
from tilewright.ir.errors import CheckError, CompilerError, InputError

DONE, DIFFERS, FAILED = 0, 1, 2
Args = argparse.Namespace
SAVED = ".tw"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    args = _parser().parse_args(argv)
    try:
        code: int = args.command(args)
        return code
    except CompilerError as error:
        if args.debug:
            raise
        print(f"error: {error}" if not args.json else json.dumps({"error": str(error)}), file=sys.stderr)
        return DIFFERS if isinstance(error, CheckError) else FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tilewright", description="Compile neural networks to tuned, checked native code.")
    parser.add_argument("--version", action="version", version=f"tilewright {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add(commands, "compile", _compile, "compile a model, check it and save it", _model, _building, _output)
    _add(commands, "run", _run, "run a model on arrays, or on random ones", _model, _building, _feeding)
    _add(commands, "check", _check, "compare a compiled model with its original", _model, _building, _saved, _feeding)
    _add(commands, "bench", _bench, "time a model beside onnxruntime", _model, _building, _feeding, _timing)
    _add(commands, "inspect", _inspect, "show the graph of a model", _model, _inspecting)
    return parser


def _add(commands: Any, name: str, command: Callable[[Args], int], help: str, *options: Callable[[Any], None]) -> None:
    parser = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    for add in options:
        add(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object, for machines")
    parser.add_argument("--debug", action="store_true", help="show the Python traceback of an error")
    parser.set_defaults(command=command)


def _model(parser: Any) -> None:
    parser.add_argument("model", type=Path, help="an .onnx file, or a .tw file saved by `compile`")


def _building(parser: Any) -> None:
    parser.add_argument("--target", default="llvm -mcpu=native", help="default: %(default)s")
    parser.add_argument("--threads", type=int, help="default: what the container's quota and affinity allow")
    parser.add_argument("--shape", action="append", default=[], metavar="NAME=SIZE", help="fix a symbolic size")
    parser.add_argument("--strict", action="store_true", help="refuse nodes that would run on the host")


def _output(parser: Any) -> None:
    parser.add_argument("-o", "--output", type=Path, help="where to save the compiled model (default: MODEL.tw)")
    parser.add_argument("--no-check", action="store_true", help="do not compare with the original")


def _saved(parser: Any) -> None:
    parser.add_argument("--compiled", type=Path, help="a saved .tw file to check instead of compiling anew")


def _feeding(parser: Any) -> None:
    parser.add_argument("--input", action="append", default=[], metavar="NAME=FILE.npy", help="an input; others are random")
    parser.add_argument("--size", action="append", default=[], metavar="NAME=SIZE", help="a symbolic size of random inputs")
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs")
    parser.add_argument("--save", type=Path, metavar="FILE.npz", help="where to put the outputs (run)")


def _timing(parser: Any) -> None:
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to measure (default: %(default)s)")
    parser.add_argument("--profile", action="store_true", help="also show the time of each kernel")


def _inspecting(parser: Any) -> None:
    parser.add_argument("--shape", action="append", default=[], metavar="NAME=SIZE", help="fix a symbolic size")
    parser.add_argument("--passes", action="store_true", help="show the graph after the passes")
    parser.add_argument("--summary", action="store_true", help="counts of operators instead of the graph")


def _compile(args: Args) -> int:
    compiled = _compiled(args, check=not args.no_check)
    output = args.output or args.model.with_suffix(SAVED)
    compiled.save(output)
    report = compiled.check_report
    data = {"saved": str(output), "bytes": output.stat().st_size, "check": report.to_json() if report else None}
    _print(args, data, f"{report or 'Not checked.'}\nSaved {output} ({output.stat().st_size / 2**20:.1f} MiB).")
    return DONE


def _run(args: Args) -> int:
    compiled = _compiled(args, check=False)
    results = compiled.run(_feed(args, compiled))
    if args.save:
        np.savez(args.save, **results)
    data = {name: {"dtype": str(a.dtype), "shape": list(a.shape)} for name, a in results.items()}
    lines = [f"{name}: {a.dtype}{list(a.shape)}\n{np.array2string(a, threshold=20)}" for name, a in results.items()]
    _print(args, {"outputs": data, "saved": str(args.save) if args.save else None}, "\n".join(lines))
    return DONE


def _check(args: Args) -> int:
    import tilewright as tw

    compiled = tw.load(args.compiled, threads=args.threads) if args.compiled else _compiled(args, check=False)
    given = args.input or args.size
    report = tw.check(compiled, args.model, inputs=_feed(args, compiled) if given else None)
    _print(args, report.to_json(), str(report))
    return DONE if report.passed else DIFFERS


def _bench(args: Args) -> int:
    from tilewright import timing
    from tilewright.frontend import read

    compiled = _compiled(args, check=False)
    feed = _feed(args, compiled)
    if args.model.suffix == SAVED:
        timed: Any = timing.measure(lambda: compiled.run(feed), args.seconds)
        data, text = {"ours": vars(timed)}, f"{timed.median * 1e3:.2f} ms (no original to compare with)"
    else:
        original = read(args.model).original_session(compiled.threads)
        timed = timing.compare(lambda: compiled.run(feed), lambda: original(feed), args.seconds)
        data, text = timed.to_json(), f"tilewright against onnxruntime, {compiled.threads} threads: {timed}"
    report = compiled.report(feed) if args.profile else None
    _print(args, {**data, "threads": compiled.threads, "kernels": report and report.to_json()}, f"{report or ''}{text}")
    return DONE


def _inspect(args: Args) -> int:
    import tilewright as tw
    from tilewright import passes

    graph = tw.read(args.model, shapes=_sizes(args.shape))
    graph = passes.run(graph, passes.PIPELINE) if args.passes else graph
    counts = dict(Counter(node.op.name for node in graph.nodes).most_common())
    ports = {
        "inputs": {v.name: str(v.type) for v in graph.inputs},
        "outputs": {name: str(v.type) for name, v in zip(graph.output_names, graph.outputs, strict=True)},
    }
    summary = "\n".join(f"{count:6d}  {name}" for name, count in counts.items())
    _print(args, {**ports, "operators": counts}, summary if args.summary else str(graph))
    return DONE


def _compiled(args: Args, check: bool) -> Any:
    """The model of the command line, compiled, or loaded where it is a saved one."""
    import tilewright as tw

    if args.model.suffix == SAVED:
        return tw.load(args.model, threads=args.threads)
    with _progress(quiet=args.json) as say:
        return tw.compile(
            args.model,
            args.target,
            threads=args.threads,
            shapes=_sizes(args.shape),
            strict=args.strict,
            check=check,
            progress=say,
        )


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str], None]]:
    """A spinner with the stage and the time, on standard error."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as bar:
        task = bar.add_task("starting")
        yield lambda line: bar.update(task, description=line)


def _feed(args: Args, compiled: Any) -> dict[str, Any]:
    """The arrays given with --input, and random ones for the other inputs."""
    from tilewright.draw import draw_ports

    given = dict(_array(text) for text in args.input)
    drawn = draw_ports(compiled, _sizes(args.size), np.random.default_rng(args.seed), given)
    return {**drawn, **given}


def _array(text: str) -> tuple[str, Any]:
    name, separator, path = text.rpartition("=")
    if not separator:
        raise InputError(f"--input {text!r} is not of the form NAME=FILE.npy")
    try:
        return name, np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"--input {text!r} cannot be read: {error}") from error


def _sizes(texts: Sequence[str]) -> dict[str, int]:
    """NAME=SIZE options as a mapping. Raises InputError."""
    sizes: dict[str, int] = {}
    for text in texts:
        name, _, size = text.rpartition("=")
        if not name or not size.isdigit():
            raise InputError(f"{text!r} is not of the form NAME=SIZE")
        sizes[name] = int(size)
    return sizes


def _print(args: Args, data: Mapping[str, Any], text: str) -> None:
    print(json.dumps(data) if args.json else text)


if __name__ == "__main__":
    sys.exit(main())
