"""From kernel texts and a program to one executable, through the cache and the build processes."""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tilewright.backends import pool
from tilewright.backends.cache import Store, digest
from tilewright.backends.link import link
from tilewright.backends.program import Program
from tilewright.backends.runtime import Executable
from tilewright.backends.target import Target
from tilewright.backends.workers import Job, prestart, run_jobs
from tilewright.ir.errors import BuildError, TargetError
from tilewright.ir.graph import Graph
from tilewright.ir.show import show

EMITTER = "tilewright.backends.rules:emit_text"
_ADAPTER = "tilewright.backends.tvm_adapter"
_PEAKS = "tilewright.backends.peak"
Progress = Callable[[int, int], None]
"""Called with how many of how many are built."""


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """A kernel to build: its name, unique for its text, and the text form of its body.

    `scalars` are the sizes that a call of it passes beside the arrays, as the caller knows them.
    """

    name: str
    text: str
    scalars: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BuiltKernel:
    """Object code that defines the kernel `name`, the schedule rule behind it, and how it wants each input packed."""

    name: str
    object: bytes
    rule: str
    packings: Any


def foresee(graph: Graph, target: Target, store: Store | None = None) -> Callable[[], None]:
    """Before the passes improve a model's graph: where it was not built before, the build processes start meanwhile.

    Call the result once it is built.
    """
    store = store or Store()
    key = digest("model", show(graph), str(target))
    if target.kind == "llvm" and store.get(key) is None:
        with contextlib.suppress(OSError):  # if it cannot start, whoever needs it will say so
            prestart()
    return lambda: store.put(key, b"")


def build_kernels(
    specs: Sequence[KernelSpec],
    target: Target,
    *,
    emitter: str = EMITTER,
    store: Store | None = None,
    progress: Progress | None = None,
) -> dict[str, BuiltKernel]:
    """Every kernel by name, from the cache or built in parallel; `progress` hears of those that have to be built.

    `emitter` names the function that a worker calls as `emitter(text, name, target)` and whose result has `func`
    (a tirx.PrimFunc), `rule` and `packings`. Raises BuildError that names each kernel that could not be built.
    """
    _refuse_unbuildable(target)
    jobs = {
        digest("kernel", emitter, spec.name, spec.text, str(target)): Job(
            f"kernel {spec.name}", f"{_ADAPTER}:build_kernel", (emitter, spec.text, spec.name, target)
        )
        for spec in specs
    }
    results = _cached_jobs(jobs, store or Store(), preload=(emitter.partition(":")[0],), progress=progress)
    return {spec.name: kernel for spec, kernel in zip(specs, results, strict=True)}


def build_executable(
    program: Program, kernels: Mapping[str, bytes], target: Target, *, store: Store | None = None
) -> Executable:
    """Link the object code of `kernels`, by name, with what runs the program. Raises BuildError."""
    _refuse_unbuildable(target)
    missing = [name for name in program.kernels() if name not in kernels]
    if missing:
        raise BuildError(f"The program calls kernels that were not built: {', '.join(missing)}.")
    store = store or Store()
    text = json.dumps(program.to_json())
    jobs = {
        digest("program", text, str(target)): Job("the program", f"{_ADAPTER}:compile_program", (program, target)),
        digest("peaks", str(target)): Job("the peak probes", f"{_PEAKS}:build", (target,)),
        digest("pool", pool.source()): Job("the thread pool", f"{_ADAPTER}:assemble", (pool.source(),)),
    }
    (bytecode, sizes), peaks, threads = _cached_jobs(jobs, store)
    objects = {name: kernels[name] for name in program.kernels()}
    objects |= {"tilewright_peaks": peaks, "tilewright_pool": threads}
    if sizes:
        objects["tilewright_sizes"] = sizes
    library = _cached(digest("library", *objects, *objects.values()), store, lambda: link(objects))
    store.prune_at_times()
    return Executable(library, bytecode)


def _refuse_unbuildable(target: Target) -> None:
    if target.kind != "llvm":
        raise TargetError(f"Building for '{target}' is not supported yet.", hint="Use a target that starts with 'llvm'")


def _cached_jobs(
    jobs: Mapping[str, Job], store: Store, preload: Sequence[str] = (), progress: Progress | None = None
) -> list[Any]:
    """The jobs' values, in order; jobs are keyed by the address of their value in the store."""
    found = {key: data for key in jobs if (data := store.get(key)) is not None}
    missing = [key for key in jobs if key not in found]

    def keep(index: int, value: Any) -> None:
        found[missing[index]] = pickle.dumps(value)
        store.put(missing[index], found[missing[index]])
        if progress is not None:
            progress(sum(key in found for key in missing), len(missing))

    run_jobs([jobs[key] for key in missing], preload=preload, keep=keep)
    return [pickle.loads(found[key]) for key in jobs]


def _cached(key: str, store: Store, make: Callable[[], bytes]) -> bytes:
    data = store.get(key)
    if data is None:
        data = make()
        store.put(key, data)
    return data
