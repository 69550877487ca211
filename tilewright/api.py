"""The way through: read, improve, build, check. Every arrow is one call, and nothing goes back up."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tilewright.ir.errors import CheckError, CompilerError

if TYPE_CHECKING:
    from tilewright.backends.compiled import CompiledModel
    from tilewright.backends.target import Target
    from tilewright.checking import Feeds
    from tilewright.frontend import Imported
    from tilewright.ir.agreement import CheckReport
    from tilewright.ir.graph import Graph
    from tilewright.ir.op import Array

Progress: TypeAlias = Callable[[str], object]
NATIVE = "llvm -mcpu=native"
PRECISIONS = ("fp32",)


def compile(
    model: Any,
    target: str = NATIVE,
    inputs: Feeds | None = None,
    precision: str = "fp32",
    threads: int | None = None,
    database: str | Path | None = None,
    check: bool = True,
    strict: bool = False,
    shapes: Mapping[str, int] | None = None,
    progress: Progress | None = None,
) -> CompiledModel:
    """Compile a model to native code and check it against the original.

    `model`: path of an .onnx file, its bytes, an onnx.ModelProto, or a `tw.Graph`.
    `target`: `llvm -mcpu=native`, `llvm -mcpu=NAME -mattr=+a,-b -num-cores=N`.
    `inputs`: one feed {name: array} or several, for the check; by default random ones that suit the model.
    `precision`: what to compute in; so far "fp32", as the model says. `database`: none yet.
    `threads`: by default what the container's quota and affinity allow, or TILEWRIGHT_NUM_THREADS.
    `check`: compare with onnxruntime (for a graph: the interpreter); the outcome is in `check_report`.
    `strict`: a node that would run on the host is an error.
    `shapes`: sizes for symbols, e.g. {"batch": 1}, to compile for these alone.
    `progress`: called with one line when a stage begins, and for each kernel that is built.

    Raises a subclass of `tw.errors.CompilerError`: for a model that cannot be read or built, an unknown target, inputs
    that do not fit, or, as CheckError, outputs that differ from the original's.
    """
    from tilewright import backends, frontend
    from tilewright.backends.threads import checked_threads

    say = progress or _silent
    _refuse_what_is_not_there_yet(precision, database)
    parsed = backends.parse_target(target)
    threads = None if threads is None else checked_threads(threads)
    identity = frontend.identity(model, shapes)

    @functools.cache
    def imported() -> Imported:
        say("reading the model")
        found = _read(model, shapes)
        if frontend.identity(model, shapes) != identity:
            what = model if isinstance(model, (str, os.PathLike)) else "The model"
            raise CompilerError(f"{what} has changed since its compile began.", hint="Compile it again")
        return found

    with _collector_waiting():
        kept = backends.Kept(identity, parsed, strict)
        compiled = kept.load(threads, lambda: imported().graph)
    if compiled is None:
        compiled = _build(imported(), parsed, threads, strict, say)
        kept.save(compiled)
    else:
        say("found the compiled model in the cache")
    if check:
        original = imported()
        say("checking against the original")
        compiled.check_report = _compare(compiled, original, inputs, None)
        _refuse_difference(compiled.check_report)
    return compiled


def _read(model: Any, shapes: Mapping[str, int] | None) -> Imported:
    with _collector_waiting():
        from tilewright.frontend import read

        return read(model, shapes=shapes)


def _build(imported: Imported, target: Target, threads: int | None, strict: bool, say: Progress) -> CompiledModel:
    with _collector_waiting():
        from tilewright import backends, passes

    note_built = backends.foresee(imported.graph, target)
    say(f"improving {len(imported.graph.nodes)} operators")
    with _collector_waiting():
        graph = passes.run(imported.graph, passes_for(target))
    say(f"building {len(graph.nodes)} steps for {target}")
    compiled = backends.compile_graph(
        graph,
        target,
        threads=threads,
        strict=strict,
        source=lambda: imported.graph,
        progress=functools.partial(_say_built, say),
    )
    note_built()
    return compiled


def passes_for(target: Target) -> Sequence[Callable[[Graph], Graph]]:
    """The passes in order, as they suit a machine."""
    from tilewright import passes

    return passes.pipeline_for(any_quads=target.sums_neighbours, splits_images=target.multiplies_tiles)


@contextlib.contextmanager
def _collector_waiting() -> Iterator[None]:
    """Python's cycle collector waits while much is made that stays, or goes without it: it would look at all again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _silent(line: str) -> None:
    """No progress is wanted."""


def _say_built(say: Progress, done: int, total: int) -> None:
    say(f"building kernels: {done} of {total}")


def _refuse_what_is_not_there_yet(precision: str, database: str | Path | None) -> None:
    if precision not in PRECISIONS:
        raise CompilerError(f"precision {precision!r} is not supported; supported: {', '.join(PRECISIONS)}")
    if database is not None:
        raise CompilerError("a tuning database is not supported yet; leave `database` out")


def _refuse_difference(report: CheckReport) -> None:
    if report.passed:
        return
    failures = "; ".join(map(str, report.failures))
    if report.undetermined:
        raise CheckError(
            "the compiled model cannot be checked: on none of the inputs that were tried do the original's own results "
            f"stay within the tolerance {report.tolerance:g} when its weights change in their last bits: {failures}",
            hint="Try other inputs with inputs={name: array}; check=False returns the model all the same",
        )
    raise CheckError(
        f"the compiled model is not the same function as the original (tolerance {report.tolerance:g}): {failures}",
        hint="This is a bug of the compiler; check=False returns the model all the same",
    )


def read(model: Any, shapes: Mapping[str, int] | None = None) -> Graph:
    """The graph of a model, as imported, before any pass. Raises CompilerError for a model that cannot be read."""
    from tilewright import frontend

    return frontend.read(model, shapes=shapes).graph


def check(
    compiled: CompiledModel, model: Any, inputs: Feeds | None = None, tolerance: float | None = None
) -> CheckReport:
    """Compare a compiled (or loaded) model with the original, on `inputs` or on random ones that suit the model.

    The report says whether it passed; differing raises nothing. `tolerance` is relative to each output's largest
    magnitude, by default 1e-4, or 1e-3 where the model itself quantizes activations, more where it computes in 16-bit
    floats. Without a tolerance, a model that quantizes activations may be off by twice what the original moves when
    its weights change in their last bits, if on other inputs it is not. Raises CheckError when `model` has other inputs
    or outputs, InputError for a tolerance above 1e-2 and for `inputs` that the original does not take.
    """
    from tilewright import frontend

    return _compare(compiled, frontend.read(model), inputs, tolerance)


def _compare(compiled: CompiledModel, imported: Imported, inputs: Feeds | None, tolerance: float | None) -> CheckReport:
    from tilewright.checking import compare

    graph = imported.graph
    _require_same("inputs", [p.name for p in compiled.inputs], [v.name for v in graph.inputs])
    _require_same("outputs", [p.name for p in compiled.outputs], graph.output_names)

    def run(feed: Mapping[str, Array]) -> Sequence[Array]:
        results = compiled.run(feed)
        return [results[name] for name in graph.output_names]

    original, ports, fits = imported.original, compiled.inputs, compiled.accepts
    nudged = original.nudged
    return compare(run, original, graph, ports, inputs=inputs, tolerance=tolerance, fits=fits, nudged=nudged)


def _require_same(what: str, ours: Sequence[str], theirs: Sequence[str]) -> None:
    if set(ours) != set(theirs):
        raise CheckError(
            f"the compiled model was made from another one: its {what} are {', '.join(ours) or 'none'}, "
            f"the original's {', '.join(theirs) or 'none'}"
        )


def load(path: str | Path, threads: int | None = None) -> CompiledModel:
    """A model saved with `m.save(path)`, without the compiler.

    Raises ArtifactError when the file is damaged, or was built for a CPU with features that this one lacks.
    """
    with _collector_waiting():
        from tilewright.backends.artifact import load as load_artifact

        return load_artifact(path, threads=threads)
