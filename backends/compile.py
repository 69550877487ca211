"""A fused graph and a target in, a compiled model out."""

from __future__ import annotations

from collections.abc import Callable

from tilewright.backends import lower
from tilewright.backends.build import Progress, build_executable, build_kernels
from tilewright.backends.compiled import CompiledModel
from tilewright.backends.target import Target
from tilewright.ir.graph import Graph


def compile_graph(
    graph: Graph,
    target: Target,
    *,
    threads: int | None = None,
    strict: bool = False,
    source: Callable[[], Graph] | None = None,
    progress: Progress | None = None,
) -> CompiledModel:
    """Compile a graph that `passes.fuse` has grouped.

    `source` gives the graph that the user sees as `m.graph`; `progress` hears of the kernels that are built.
    Raises BuildError for a kernel that cannot be built, or, when `strict`, for a node that would run on the host.
    """
    if strict:
        lower.refuse_host(lower.host_nodes(graph))
    specs = lower.kernel_specs(graph)
    built = build_kernels(tuple({spec.name: spec for spec in specs.values()}.values()), target, progress=progress)
    lowered = lower.lower(graph, specs, built)
    executable = build_executable(lowered.program, {name: kernel.object for name, kernel in built.items()}, target)
    shown = source or (lambda: graph)
    return CompiledModel(lowered.program, executable, lowered.weights, target, threads=threads, graph=shown)
