"""The lowered program: the plain data between the compiler and the runtime.

A program is what is left of a graph once every fused group is a named kernel: a list of calls over named values with
sizes that may depend on named symbols. It imports nothing heavy, so that a saved model is read without the compiler.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from tilewright.backends.sizes import Dim

ENTRY = "main"
"""Name of the executable's function: `main(*inputs, weights, host_functions)`."""

HOST_CALL = "tilewright.host_call"
"""Name of the packed function through which the executable calls the host: `host_call(function, *inputs)`."""

FITS_MEMORY = "tilewright.fits_memory"
"""Name of the packed function that refuses a computed shape that no array can have: `fits_memory(shape)`."""

SAME_COUNT = "tilewright.same_count"
"""Name of the packed function that refuses a reshape to another number of elements: `same_count(old, new)`."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Element type (a name in `tilewright.ir.types.DTYPES`) and sizes of one tensor."""

    dtype: str
    dims: tuple[Dim, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(str(d) for d in self.dims)}]"


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: the `name` the user sees and the `value` that the steps see."""

    name: str
    value: str
    spec: TensorSpec


@dataclass(frozen=True, slots=True)
class Result:
    """A value that a step or the table of constants defines."""

    value: str
    spec: TensorSpec


@dataclass(frozen=True, slots=True)
class Note:
    """For the ledger: names of source nodes, schedule rule, arithmetic operations per call and their element type.

    `gathered` are the positions of inputs of which a call reads only a few rows.
    """

    sources: tuple[str, ...] = ()
    rule: str = ""
    dtype: str = "float32"
    flops: Dim = 0
    gathered: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class KernelCall:
    """`kernel(*inputs, *outputs, *scalars)`: the callee writes into outputs that the caller allocates."""

    kernel: str
    inputs: tuple[str, ...]
    outputs: tuple[Result, ...]
    scalars: tuple[Dim, ...] = ()
    note: Note = field(default_factory=Note)


@dataclass(frozen=True, slots=True)
class View:
    """The same bytes under other sizes; nothing is copied."""

    source: str
    result: Result


@dataclass(frozen=True, slots=True)
class Bind:
    """From here on the symbols stand for the elements of the int64 vector `source`."""

    source: str
    symbols: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HostCall:
    """A node that runs its reference on the host; `text` is a one-node graph in the text form of `tilewright.ir`.

    `symbols` are sizes that the node needs to know beside its inputs. A plain symbol that first appears in the sizes of
    an output is defined by what the call returns.
    """

    text: str
    inputs: tuple[str, ...]
    outputs: tuple[Result, ...]
    symbols: tuple[str, ...] = ()
    note: Note = field(default_factory=Note)


Step: TypeAlias = "KernelCall | View | Bind | HostCall"


@dataclass(frozen=True, slots=True)
class Program:
    """Steps in execution order. Every symbol is a plain size of some input, or defined by a step before its use."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    constants: tuple[Result, ...]
    steps: tuple[Step, ...]

    def kernels(self) -> tuple[str, ...]:
        """Names of the kernels that are called, each once, in order of first use."""
        return tuple(dict.fromkeys(s.kernel for s in self.steps if isinstance(s, KernelCall)))

    def host_calls(self) -> tuple[HostCall, ...]:
        return tuple(s for s in self.steps if isinstance(s, HostCall))

    def borrowed_outputs(self) -> tuple[bool, ...]:
        """For each output: does it share its bytes with an input, a constant or an earlier output?"""
        roots = {step.result.value: step.source for step in self.steps if isinstance(step, View)}
        owned_elsewhere = {port.value for port in self.inputs} | {constant.value for constant in self.constants}
        flags = []
        for port in self.outputs:
            value = port.value
            while value in roots:
                value = roots[value]
            flags.append(value in owned_elsewhere)
            owned_elsewhere.add(value)
        return tuple(flags)

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        for entry, step in zip(data["steps"], self.steps, strict=True):
            entry["step"] = type(step).__name__
        return data

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Program:
        """Inverse of `to_json`, also after a trip through JSON text. Raises KeyError or TypeError on other data."""
        return Program(
            tuple(_port(p) for p in data["inputs"]),
            tuple(_port(p) for p in data["outputs"]),
            _results(data["constants"]),
            tuple(_step(s) for s in data["steps"]),
        )


def _spec(data: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(data["dtype"], tuple(data["dims"]))


def _port(data: Mapping[str, Any]) -> Port:
    return Port(data["name"], data["value"], _spec(data["spec"]))


def _result(data: Mapping[str, Any]) -> Result:
    return Result(data["value"], _spec(data["spec"]))


def _results(data: Iterable[Mapping[str, Any]]) -> tuple[Result, ...]:
    return tuple(_result(r) for r in data)


def _note(data: Mapping[str, Any]) -> Note:
    return Note(tuple(data["sources"]), data["rule"], data["dtype"], data["flops"], tuple(data["gathered"]))


def _step(data: Mapping[str, Any]) -> Step:
    match data["step"]:
        case "View":
            return View(data["source"], _result(data["result"]))
        case "Bind":
            return Bind(data["source"], tuple(data["symbols"]))
        case "HostCall":
            outputs, names = _results(data["outputs"]), tuple(data["symbols"])
            return HostCall(data["text"], tuple(data["inputs"]), outputs, names, _note(data["note"]))
        case "KernelCall":
            outputs, scalars = _results(data["outputs"]), tuple(data["scalars"])
            return KernelCall(data["kernel"], tuple(data["inputs"]), outputs, scalars, _note(data["note"]))
    raise KeyError(f"unknown step {data['step']!r}")
