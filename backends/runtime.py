"""Runs an executable with TVM's small runtime library: no compiler, no frontend, no torch is imported here."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import math
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.backends.pool import Pool
from tilewright.backends.program import ENTRY, FITS_MEMORY, HOST_CALL, SAME_COUNT, Program
from tilewright.ir.errors import BuildError, InputError
from tilewright.ir.types import numpy_dtype

Array = NDArray[Any]
HostFunction = Callable[..., Sequence[Array]]
"""Takes the arrays of a host call's inputs, then the numbers of its symbols, and returns the arrays of its outputs."""

ALIGNMENT = 64
"""Kernels load and store whole vectors: what they are given starts at a multiple of this many bytes."""

_BFLOAT16 = "bfloat16"
_CPU, _DEVICE_INDEX, _POOLED = 1, 0, 2  # DLPack's device type, the device, TVM's AllocatorType::kPooled
_SIZES_BEFORE_CLEARING = 16
_TOO_MANY = 2**40  # elements


@dataclass(frozen=True, slots=True)
class Executable:
    """A built program: `library` is a shared object with all kernels, `bytecode` the VM's instructions."""

    library: bytes
    bytecode: bytes


@functools.cache
def ffi() -> ModuleType:
    """The `tvm_ffi` package with TVM's runtime libraries loaded, in a process that may or may not have TVM itself."""
    with _hidden("torch"):
        import tvm_ffi
    _library("libtvm_runtime.so")
    _library("libtvm_runtime_extra.so")
    tvm_ffi.register_global_func(HOST_CALL, lambda function, *values: function(*values), override=True)
    tvm_ffi.register_global_func(FITS_MEMORY, _fits_memory, override=True)
    tvm_ffi.register_global_func(SAME_COUNT, _same_count, override=True)
    return tvm_ffi


def _fits_memory(shape: Sequence[int]) -> None:
    if any(size < 0 for size in shape) or math.prod(shape) >= _TOO_MANY:
        raise ValueError(f"no array can have the shape {list(shape)}, which the model computed")


def _same_count(old: int, new: int) -> None:
    if old != new:
        raise ValueError(f"an array of {old} elements cannot be reshaped to one of {new}")


@functools.cache
def _library(name: str) -> ctypes.CDLL:
    specification = importlib.util.find_spec("tvm")
    if specification is None or not specification.submodule_search_locations:
        raise BuildError("TVM's runtime library was not found.", hint="Install the apache-tvm package.")
    folder = Path(specification.submodule_search_locations[0], "lib")
    return ctypes.CDLL(str((folder / name).resolve()), ctypes.RTLD_GLOBAL)


@contextlib.contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Make `import name` fail, unless the module is already there: tvm_ffi imports torch (180 MB) if it can."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # the documented way to block an import
    try:
        yield
    finally:
        del sys.modules[name]


def aligned_empty(shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """An uninitialised array whose first byte is at a multiple of `ALIGNMENT`."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    buffer = np.empty(size + ALIGNMENT, np.uint8)
    start = -address(buffer) % ALIGNMENT
    return buffer[start : start + size].view(dtype).reshape(shape)


def address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def aligned(array: Array) -> Array:
    """`array` itself where kernels can use it in place, else an aligned copy."""
    flags = array.flags
    if flags.c_contiguous and flags.writeable and array.__array_interface__["data"][0] % ALIGNMENT == 0:
        return array
    copy = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def to_tensor(array: Array) -> Any:
    """The array as a TVM tensor over the same bytes, or over an aligned copy."""
    if array.dtype.name == _BFLOAT16:  # of which numpy's DLPack knows nothing
        return _viewed(to_tensor(array.view(np.uint16)), _BFLOAT16)
    return ffi().from_dlpack(aligned(array) if array.size else _compact(array))


def to_array(tensor: Any) -> Array:
    """A numpy view of a TVM tensor, which it keeps alive."""
    if str(tensor.dtype) == _BFLOAT16:
        return np.from_dlpack(_viewed(tensor, "uint16")).view(numpy_dtype(_BFLOAT16))
    return np.from_dlpack(tensor)


def _viewed(tensor: Any, dtype: str) -> Any:
    """The same bytes as elements of another dtype of the same width."""
    return ffi().get_global_func("runtime.TVMTensorCreateView")(tensor, tensor.shape, ffi().dtype(dtype), 0)


def _compact(array: Array) -> Array:
    """An array without elements, with the strides that TVM calls compact, which numpy's are not."""
    strides = [int(np.prod(array.shape[axis + 1 :])) * array.itemsize for axis in range(array.ndim)]
    return np.lib.stride_tricks.as_strided(aligned_empty(array.shape, array.dtype), strides=strides)


class Runner:
    """One loaded executable with its weights. Calls from several threads take turns.

    `weights` maps each constant's value name to its array; arrays that are aligned and writable are used in place.
    `hosts` are the functions of the program's host calls, in order.
    """

    def __init__(
        self, program: Program, executable: Executable, weights: Mapping[str, Array], hosts: Sequence[HostFunction]
    ) -> None:
        library, self._pool = _load_library(executable.library)
        self._module = _load(executable.bytecode, library)
        self._entry = self._machine()[ENTRY]
        self._weights = ffi().convert([to_tensor(weights[c.value]) for c in program.constants])
        self._hosts = ffi().convert([_wrapped(function) for function in hosts])
        self._borrowed = program.borrowed_outputs()
        self._clear = ffi().get_global_func("vm.builtin.memory_manager.clear")
        self._sizes: set[tuple[tuple[int, ...], ...]] = set()
        self._lock = threading.Lock()

    def _machine(self) -> Any:
        machine = self._module["vm_load_executable"]()
        machine["vm_initialization"](_CPU, _DEVICE_INDEX, _POOLED)
        return machine

    def __call__(self, arrays: Sequence[Array], threads: int) -> list[Array]:
        """Run on arrays that fit the program's inputs. Raises InputError where sizes do not fit each other."""
        with self._lock:
            self._forget_old_sizes(tuple(a.shape for a in arrays))
        return self._run(self._entry, arrays, threads)

    def profile(self, arrays: Sequence[Array], threads: int, watch: Callable[..., int]) -> None:
        """Run once in a second VM that calls `watch(function, name, before, result, *arguments)` around every call."""
        machine = self._machine()
        machine["set_instrument"](ffi().convert(watch))
        self._run(machine[ENTRY], arrays, threads)

    def call(self, name: str, arguments: Sequence[Array | int], threads: int) -> None:
        """Call one kernel of the library on arrays, which it may write, and numbers."""
        function = self._module.get_function(name, query_imports=True)
        values = [a if isinstance(a, int) else to_tensor(a) for a in arguments]
        with self._lock:
            self._pool.use(threads)
            function(*values)

    def _run(self, entry: Callable[..., Any], arrays: Sequence[Array], threads: int) -> list[Array]:
        tensors = [to_tensor(a) for a in arrays]
        with self._lock:
            self._pool.use(threads)
            try:
                results = entry(*tensors, self._weights, self._hosts)
            except (ValueError, TypeError, RuntimeError, AssertionError, IndexError) as error:
                raise InputError(f"The model could not run on these inputs: {error}.") from error
        return [to_array(t).copy() if b else to_array(t) for t, b in zip(results, self._borrowed, strict=True)]

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


def _wrapped(function: HostFunction) -> Any:
    """A host function as a packed function over tensors, followed by sizes."""

    def call(*values: Any) -> Any:
        arguments = (v if isinstance(v, int) else to_array(v) for v in values)
        return ffi().convert([to_tensor(array) for array in function(*arguments)])

    return ffi().convert(call)
