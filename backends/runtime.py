"""Runs an executable with TVM's small runtime library: no compiler, no frontend, no torch is imported here."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tilewright.backends.control import RegionFunction, control
from tilewright.backends.passage import Inlet, outlet
from tilewright.backends.pool import Pool
from tilewright.backends.program import (
    ControlCall,
    HostCall,
    Program,
    Region,
    TensorSpec,
)
from tilewright.backends.sizes import Dim
from tilewright.backends.values import Array, ffi, to_result, to_tensor, to_value
from tilewright.ir.errors import BuildError, InputError
from tilewright.ir.types import HELD

HostFunction = Callable[[Sequence[Array], Sequence[int]], Sequence[Array]]
"""Takes the arrays of a host call's inputs and the numbers of its symbols, and returns the arrays of its outputs."""

_CPU, _DEVICE_INDEX, _POOLED = 1, 0, 2  # DLPack's device type, the device, TVM's AllocatorType::kPooled
_SIZES_BEFORE_CLEARING = 16


@dataclass(frozen=True, slots=True)
class Executable:
    """A built program: `library` is a shared object with all kernels, `bytecode` the VM's instructions."""

    library: bytes
    bytecode: bytes


class Machine:
    """A virtual machine with a program's regions as functions, and the functions of the host that its steps call."""

    def __init__(self, virtual: Any, program: Program, weights: Any, functions: Sequence[HostFunction]) -> None:
        self.virtual, self._weights = virtual, weights
        named = {region.name: region for region in program.regions}
        run = {name: self.function(region) for name, region in named.items()}
        hosts = iter(functions)
        self._hosts = ffi().convert(
            [
                _packed(step, control(step, named, run) if isinstance(step, ControlCall) else _on_arrays(next(hosts)))
                for step in program.calls_out()
            ]
        )

    def handles(self) -> list[int]:
        """What tells the functions of the host apart, in the order of `program.calls_out()`."""
        return [function.__chandle__() for function in self._hosts]

    def function(self, region: Region) -> RegionFunction:
        """The region as a function of values and the numbers of its symbols."""
        call, item = self.virtual[region.name], ffi().get_global_func("ffi.ArrayGetItem")
        places = range(len(region.outputs))

        def run(values: Sequence[Any], numbers: Sequence[int]) -> Sequence[Any]:
            sizes = (ffi().Shape(numbers),) if region.symbols else ()
            results = call(*values, *sizes, self._weights, self._hosts)
            return [item(results, i) for i in places]  # iterating over TVM's array takes three times as long

        return run


def places(symbols: Sequence[str], specs: Sequence[TensorSpec]) -> list[tuple[int, int]]:
    """For each symbol one array and axis whose size it is."""
    found: dict[Dim, tuple[int, int]] = {}
    for i, spec in enumerate(specs):
        for axis, dim in enumerate(spec.dims):
            found.setdefault(dim, (i, axis))
    return [found[s] for s in symbols]


def _require_shapes(results: Sequence[Any], specs: Sequence[TensorSpec]) -> None:
    """Kernels read what they are given as it was declared: raises ValueError for any other shape."""
    for result, spec in zip(results, specs, strict=True):
        if spec.dtype in HELD:
            continue
        shape = tuple(map(int, result.shape))
        known = len(shape) == len(spec.dims)
        if not known or any(isinstance(d, int) and d != size for d, size in zip(spec.dims, shape, strict=True)):
            raise ValueError(f"a step of the program gave a result of shape {list(shape)} for {list(spec.dims)}")


def _packed(step: HostCall | ControlCall, function: RegionFunction) -> Any:
    """What the VM calls for a step: it takes the numbers of its symbols, then its inputs."""
    defined = places(step.defined, [result.spec for result in step.outputs])

    def call(numbers: Any, *values: Any) -> Any:
        results = [_own(result, values) for result in function(values, numbers)]
        _require_shapes(results, [result.spec for result in step.outputs])
        return ffi().convert([*results, ffi().Shape([int(results[i].shape[axis]) for i, axis in defined])])

    return ffi().convert(call)


def _own(result: Any, given: Sequence[Any]) -> Any:
    """The result, copied if it lies in the memory of what was given, which the VM uses again."""
    array = to_result(result)
    shared = any(np.may_share_memory(array, to_result(value)) for value in given)
    return to_value(array.copy()) if shared else result


def _on_arrays(function: HostFunction) -> RegionFunction:
    return lambda values, numbers: [to_value(a) for a in function([to_result(v) for v in values], numbers)]


class Runner:
    """One loaded executable with its weights. Calls from several threads take turns.

    `weights` maps each constant's value name to its array; arrays that are aligned and writable are used in place.
    `hosts` are the functions of the program's host calls, in order.
    """

    def __init__(
        self, program: Program, executable: Executable, weights: Mapping[str, Array], hosts: Sequence[HostFunction]
    ) -> None:
        library, self._pool = _load_library(executable.library)
        self._program, self._host_functions = program, hosts
        self._module = _load(executable.bytecode, library)
        self._weights = ffi().convert([to_value(weights[c.value]) for c in program.constants])
        self._main = self._machine().function(program.main)
        self._inlets = [Inlet(port) for port in program.inputs]
        self._outlets = [outlet(*pair) for pair in zip(program.outputs, program.borrowed_outputs(), strict=True)]
        self._held_sizes = places(program.main.symbols, [port.spec for port in program.inputs])
        self._clear = ffi().get_global_func("vm.builtin.memory_manager.clear")
        self._sizes: set[tuple[tuple[int, ...], ...]] = set()
        self._lock = threading.Lock()

    def _machine(self) -> Machine:
        virtual = self._module["vm_load_executable"]()
        virtual["vm_initialization"](_CPU, _DEVICE_INDEX, _POOLED)
        return Machine(virtual, self._program, self._weights, self._host_functions)

    def __call__(self, arrays: Sequence[Array], threads: int) -> list[Array]:
        """Run on arrays that fit the program's inputs. Raises InputError where sizes do not fit each other."""
        with self._lock:
            self._forget_old_sizes(tuple(a.shape for a in arrays))
        return self._run(self._main, arrays, threads)

    def profile(self, arrays: Sequence[Array], threads: int, watch: Callable[..., int]) -> list[int]:
        """Run once in a second VM that calls `watch(function, name, before, result, *arguments)` around every call.

        Returns the handles of the functions that the steps of `calls_out` are given.
        """
        machine = self._machine()
        machine.virtual["set_instrument"](ffi().convert(watch))
        self._run(machine.function(self._program.main), arrays, threads)
        return machine.handles()

    def kernel(self, name: str, arguments: Sequence[Array | int], threads: int, times: int = 1) -> Callable[[], None]:
        """Calls one kernel `times` times, on arrays, which it may write, and numbers, as within one call of a model."""
        function = self._module.get_function(name, query_imports=True)
        values = [a if isinstance(a, int) else to_tensor(a) for a in arguments]

        def call() -> None:
            with self._lock:
                self._pool.use(threads)
                for _ in range(times):
                    function(*values)

        return call

    def _run(self, main: RegionFunction, arrays: Sequence[Array], threads: int) -> list[Array]:
        numbers = [arrays[i].shape[axis] for i, axis in self._held_sizes]
        with self._lock:
            values = [take(a) for take, a in zip(self._inlets, arrays, strict=True)]
            self._pool.use(threads)
            try:
                results = main(values, numbers)
            except (ValueError, TypeError, RuntimeError, AssertionError, IndexError) as error:
                raise InputError(f"The model could not run on these inputs: {error}.") from error
            return [give(v) for give, v in zip(self._outlets, results, strict=True)]

    def _forget_old_sizes(self, sizes: tuple[tuple[int, ...], ...]) -> None:
        """TVM's allocator keeps a free buffer of every size it has ever seen: let go when there were many."""
        if sizes in self._sizes:
            return
        if len(self._sizes) == _SIZES_BEFORE_CLEARING:
            self._sizes.clear()
            self._clear()
        self._sizes.add(sizes)


def _load(bytecode: bytes, library: Any) -> Any:
    module = ffi().get_global_func("ffi.Module.load_from_bytes.relax.VMExecutable")(bytecode)
    module.import_module(library)
    return module


def _load_library(library: bytes) -> tuple[Any, Pool]:
    """Map a shared object from memory, with threads of its own; the file is gone again once it is mapped."""
    descriptor, path = tempfile.mkstemp(suffix=".so", prefix="tilewright-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(library)
        return ffi().load_module(path, keep_module_alive=False), Pool(path)
    except (RuntimeError, OSError) as error:
        hint = "Set TMPDIR to a folder that allows programs to be run from it."
        raise BuildError(f"The kernels could not be loaded from {path}: {error}.", hint=hint) from error
    finally:
        Path(path).unlink()
