"""What the commands of the command line do: each prints its result and says whether the model passed."""

from __future__ import annotations

import json
from argparse import Namespace as Args
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import tilewright as tw
from tilewright import timing
from tilewright.api import passes_for
from tilewright.backends.compiled import CompiledModel
from tilewright.backends.program import ControlCall, HostCall, KernelCall
from tilewright.backends.signature import TensorInfo
from tilewright.backends.sizes import symbols
from tilewright.backends.target import parse_target
from tilewright.draw import index_limits, random_inputs, size_choices
from tilewright.ir.errors import InputError
from tilewright.ir.graph import Graph
from tilewright.ir.op import Array

SAVED = ".tw"
Say = Callable[[str], None]


def compile_command(args: Args) -> bool:
    output: Path = args.output or args.model.with_suffix(SAVED)
    if _is_saved(args.model):
        raise InputError(f"{args.model} is compiled already", hint="Give the .onnx file")
    _require_folder(output)
    with _progress(args) as say:
        compiled = _compiled(args, say, check=not args.no_check)
        compiled.save(output)
    report, size = compiled.check_report, output.stat().st_size
    data = {"saved": str(output), "bytes": size, "check": report.to_json() if report else None}
    _print(args, data, f"{report or 'Not checked.'}\nSaved {output} ({size / 2**20:.1f} MiB).")
    return True


def run_command(args: Args) -> bool:
    if args.save:
        _require_folder(args.save)
    with _progress(args) as say:
        compiled = _compiled(args, say)
        say("running")
        results = compiled.run(_feed(args, compiled))
    if args.save:
        _save_arrays(args.save, results)
    data = {name: {"dtype": str(a.dtype), "shape": list(a.shape)} for name, a in results.items()}
    lines = [f"{name}: {a.dtype}{list(a.shape)}\n{np.array2string(a, threshold=20)}" for name, a in results.items()]
    _print(args, {"outputs": data, "saved": str(args.save) if args.save else None}, "\n".join(lines))
    return True


def check_command(args: Args) -> bool:
    if _is_saved(args.model):
        raise InputError(
            f"{args.model} is a compiled model, which has to be compared with its original",
            hint=f"The command is: tilewright check MODEL.onnx --compiled {args.model}",
        )
    with _progress(args) as say:
        compiled = _compiled(args, say)
        say("comparing with the original")
        feed = _feed(args, compiled) if args.input or args.size else None
        report = tw.check(compiled, args.model, inputs=feed, tolerance=args.tolerance)
    _print(args, report.to_json(), str(report))
    return report.passed


def bench_command(args: Args) -> bool:
    files = [path for path in (args.trace, args.html) if path]
    for path in files:
        _require_folder(path)
    with _progress(args) as say:
        compiled = _compiled(args, say)
        feed = _feed(args, compiled)
        say("measuring")
        data, text = _alone(args, compiled, feed) if _is_saved(args.model) else _beside(args, compiled, feed)
        report = compiled.report(feed, profile=True) if args.profile or files else None
    if report and args.trace:
        _save_text(args.trace, json.dumps(report.to_trace()))
    if report and args.html:
        _save_text(args.html, report.to_html())
    ledger = report.to_json() if report else None
    _print(args, {**data, "threads": compiled.threads, "profile": ledger}, f"{report or ''}{text}")
    return True


def _alone(args: Args, compiled: CompiledModel, feed: Mapping[str, Array]) -> tuple[dict[str, Any], str]:
    timed = timing.measure(lambda: compiled.run(feed), args.seconds)
    text = f"{timed.median * 1e3:.3f} ms on {compiled.threads} threads (the original .onnx file would be run beside it)"
    return {"ours": timed.to_json()}, text


def _beside(args: Args, compiled: CompiledModel, feed: Mapping[str, Array]) -> tuple[dict[str, Any], str]:
    from tilewright import frontend

    original = frontend.read(args.model).original.with_threads(compiled.threads)
    timed = timing.compare(lambda: compiled.run(feed), lambda: original(feed), args.seconds)
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feed.items())
    return timed.to_json(), f"Tilewright beside onnxruntime, {compiled.threads} threads each, {shapes}: {timed}"


def inspect_command(args: Args) -> bool:
    if _is_saved(args.model):
        _inspect_saved(args)
    else:
        _inspect_graph(args)
    return True


def _inspect_graph(args: Args) -> None:
    from tilewright import passes
    from tilewright.ir.show import show

    with _progress(args) as say:
        say("reading the model")
        graph = tw.read(args.model, shapes=dict(args.shape))
        say("running the passes")
        if args.passes:
            graph = passes.run(graph, passes_for(parse_target("llvm -mcpu=native")))
    counts = dict(Counter(node.op.name for node in graph.nodes).most_common())
    ports = _graph_ports(graph)
    data = {**ports, "operators": counts}
    if args.summary:
        text = "\n".join([_listed(ports), "operators:", *(f"{count:6d}  {name}" for name, count in counts.items())])
    else:
        text = show(graph, types=args.types)
        data["graph"] = text
    _print(args, data, text)


def _graph_ports(graph: Graph) -> dict[str, dict[str, str]]:
    return {
        "inputs": {v.name: str(v.type) for v in graph.inputs},
        "outputs": {name: str(v.type) for name, v in zip(graph.output_names, graph.outputs, strict=True)},
    }


def _inspect_saved(args: Args) -> None:
    compiled = tw.load(args.model)
    ports = {"inputs": _port_types(compiled.inputs), "outputs": _port_types(compiled.outputs)}
    steps = [step for step in compiled.program.steps if isinstance(step, KernelCall | HostCall | ControlCall)]
    kernels = [
        {"kernel": s.kernel if isinstance(s, KernelCall) else "", "by": s.note.rule, "from": list(s.note.sources)}
        for s in steps
    ]
    weights = sum(array.nbytes for array in compiled.weights.values())
    data = {**ports, "target": str(compiled.target), "weights": weights, "kernels": kernels}
    lines = [f"{k['kernel']:40s} {k['by']:12s} {', '.join(k['from'])}" for k in kernels]
    calls = Counter(k["by"] for k in kernels) if args.summary else None
    shown = [f"{count:6d}  {rule}" for rule, count in calls.most_common()] if calls else lines
    head = f"{_listed(ports)}\ntarget: {compiled.target}\nweights: {weights / 2**20:.1f} MiB\nkernels:"
    _print(args, data, "\n".join([head, *shown]))


def _port_types(ports: tuple[TensorInfo, ...]) -> dict[str, str]:
    return {p.name: str(p).removeprefix(f"{p.name}: ") for p in ports}


def _listed(ports: Mapping[str, Mapping[str, str]]) -> str:
    return "\n".join(f"{what}:\n" + "\n".join(f"  {n}: {t}" for n, t in named.items()) for what, named in ports.items())


def _is_saved(path: Path) -> bool:
    return path.suffix == SAVED


def _saved(args: Args) -> Path | None:
    """The saved model that the command line gives, if any."""
    given: Path | None = getattr(args, "compiled", None)
    return given or (args.model if _is_saved(args.model) else None)


def _compiled(args: Args, say: Say, check: bool = False) -> CompiledModel:
    """The model of the command line, compiled, or loaded where a saved one is given."""
    if saved := _saved(args):
        say("loading the model")
        return tw.load(saved, threads=args.threads)
    return tw.compile(
        args.model,
        args.target,
        threads=args.threads,
        shapes=dict(args.shape),
        strict=args.strict,
        check=check,
        progress=say,
    )


@contextmanager
def _progress(args: Args) -> Iterator[Say]:
    """What is being done and for how long, on standard error if that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    quiet = args.json or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=quiet) as bar:
        task = bar.add_task("starting")
        yield lambda line: bar.update(task, description=line)


def _feed(args: Args, compiled: CompiledModel) -> dict[str, Array]:
    """The arrays given with --input, and random ones that suit the model for its other inputs."""
    given = {name: _array(name, path) for name, path in args.input}
    sizes = _sizes(compiled.inputs, dict(args.size), given)
    limits = {} if _saved(args) else index_limits(compiled.graph)
    wanted = [port for port in compiled.inputs if port.name not in given]
    return {**random_inputs(wanted, sizes, np.random.default_rng(args.seed), limits), **given}


def _sizes(ports: tuple[TensorInfo, ...], asked: Mapping[str, int], given: Mapping[str, Array]) -> dict[str, int]:
    """A size for each symbol: as asked for, else as the given arrays have it, else any. Raises InputError."""
    names = symbols(dim for port in ports for dim in port.shape)
    if unknown := sorted(set(asked) - names):
        raise InputError(
            f"the model has no symbolic size called {', '.join(unknown)}",
            hint=f"Its symbolic sizes are: {', '.join(sorted(names)) or 'none'}",
        )
    shown: dict[str, int] = {}
    for port in ports:
        if port.name in given:
            shown.update((d, n) for d, n in zip(port.shape, given[port.name].shape, strict=False) if isinstance(d, str))
    if wrong := sorted(name for name in asked if shown.get(name, asked[name]) != asked[name]):
        raise InputError(f"the size {wrong[0]}={asked[wrong[0]]} is not that of the given arrays, {shown[wrong[0]]}")
    return {**next(size_choices(ports)), **shown, **asked}


def _array(name: str, path: str) -> Array:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"the input '{name}' cannot be read from '{path}': {error}",
            hint="Give an .npy file, as numpy.save writes it",
        ) from error
    if not isinstance(array, np.ndarray):
        raise InputError(
            f"'{path}' does not hold one array, for the input '{name}', but several", hint="Give an .npy file"
        )
    return array


def _require_folder(path: Path) -> None:
    """Say before the work that its result cannot be kept. Raises InputError."""
    if path.is_dir() or not path.parent.is_dir():
        reason = "it is a folder" if path.is_dir() else f"there is no folder '{path.parent}'"
        raise InputError(f"'{path}' cannot be written: {reason}")


def _save_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    try:
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
    except OSError as error:
        raise InputError(f"'{path}' cannot be written: {error.strerror or error}") from error


def _save_text(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"'{path}' cannot be written: {error.strerror or error}") from error


def _print(args: Args, data: Mapping[str, Any], text: str) -> None:
    print(json.dumps(data) if args.json else text)


COMMANDS: Mapping[str, Callable[[Args], bool]] = {
    "compile": compile_command,
    "run": run_command,
    "check": check_command,
    "bench": bench_command,
    "inspect": inspect_command,
}
