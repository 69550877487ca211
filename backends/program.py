"""The lowered program: the plain data between the compiler and the runtime.

A program is what is left of a graph once every fused group is a named kernel: a list of calls over named values with
sizes that may depend on named symbols. It imports nothing heavy, so that a saved model is read without the compiler;
its records are named tuples, which take a third of a dataclass's time to define and to make.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from tilewright.backends.sizes import Dim

ENTRY = "main"
"""Name of the main region, which is the executable's function."""

HOST_CALL = "tilewright.host_call"
"""Name of the packed function through which the executable calls the host: `host_call(function, *inputs)`.

The function returns its results, and as the last item the numbers of the symbols that they define.
"""

EXPECT = "tilewright.expect"
"""Name of the packed function that fails unless a condition holds: `expect(condition, message)`."""

FITS_MEMORY = "tilewright.fits_memory"
"""Name of the packed function that refuses a computed shape that no array can have: `fits_memory(shape)`."""

SAME_COUNT = "tilewright.same_count"
"""Name of the packed function that refuses a reshape to another number of elements: `same_count(old, new)`."""


class TensorSpec(NamedTuple):
    """Element type (a name in `tilewright.ir.types.DTYPES`) and sizes of one tensor."""

    dtype: str
    dims: tuple[Dim, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(str(d) for d in self.dims)}]"


class Port(NamedTuple):
    """An input or output: the `name` the user sees and the `value` that the steps see."""

    name: str
    value: str
    spec: TensorSpec


class Result(NamedTuple):
    """A value that a step or the table of constants defines."""

    value: str
    spec: TensorSpec


class Note(NamedTuple):
    """For the ledger: names of source nodes, schedule rule, arithmetic operations per call and their element type.

    `gathered` are the positions of inputs of which a call reads only a few rows.
    """

    sources: tuple[str, ...] = ()
    rule: str = ""
    dtype: str = "float32"
    flops: Dim = 0
    gathered: tuple[int, ...] = ()


class KernelCall(NamedTuple):
    """`kernel(*inputs, *outputs, *scalars)`: the callee writes into outputs that the caller allocates."""

    kernel: str
    inputs: tuple[str, ...]
    outputs: tuple[Result, ...]
    scalars: tuple[Dim, ...] = ()
    note: Note = Note()


class View(NamedTuple):
    """The same bytes under other sizes; nothing is copied."""

    source: str
    result: Result


class Bind(NamedTuple):
    """From here on the symbols stand for the elements of the int64 vector `source`."""

    source: str
    symbols: tuple[str, ...]


class Expect(NamedTuple):
    """The model fails with `message` unless the bool scalar `condition` is true."""

    condition: str
    message: str


class HostCall(NamedTuple):
    """A node that runs its reference on the host; `text` is a one-node graph in the text form of `tilewright.ir`.

    `symbols` are sizes that the node needs to know beside its inputs, `defined` those that its results define.
    """

    text: str
    inputs: tuple[str, ...]
    outputs: tuple[Result, ...]
    symbols: tuple[str, ...] = ()
    defined: tuple[str, ...] = ()
    note: Note = Note()


class ControlCall(NamedTuple):
    """Runs regions of the program: for "if" the first or the second, for "loop" the only one, again and again.

    Inputs and outputs are those of the operator; `carried` is how many values a loop hands on. `symbols` and `defined`
    are as in `HostCall`: the regions need the former.
    """

    kind: str
    regions: tuple[str, ...]
    carried: int
    inputs: tuple[str, ...]
    outputs: tuple[Result, ...]
    symbols: tuple[str, ...] = ()
    defined: tuple[str, ...] = ()
    note: Note = Note()


Step: TypeAlias = "KernelCall | View | Bind | Expect | HostCall | ControlCall"


class Region(NamedTuple):
    """A part of the program that is a function of its own: `name(*inputs, [symbols], weights, host_functions)`.

    Every symbol is a plain size of some input that is not held on the host, one of `symbols`, whose numbers are handed
    over, or defined by a step before its use. Steps are in execution order.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    steps: tuple[Step, ...]
    symbols: tuple[str, ...] = ()


class Program(NamedTuple):
    """The main region, those that its control flow runs, and the constants that all of them read."""

    main: Region
    constants: tuple[Result, ...]
    regions: tuple[Region, ...] = ()

    @property
    def inputs(self) -> tuple[Port, ...]:
        return self.main.inputs

    @property
    def outputs(self) -> tuple[Port, ...]:
        return self.main.outputs

    @property
    def steps(self) -> tuple[Step, ...]:
        """Those of all regions, each once."""
        return tuple(step for region in (self.main, *self.regions) for step in region.steps)

    def kernels(self) -> tuple[str, ...]:
        """Names of the kernels that are called, each once, in order of first use."""
        return tuple(dict.fromkeys(s.kernel for s in self.steps if isinstance(s, KernelCall)))

    def host_calls(self) -> tuple[HostCall, ...]:
        return tuple(s for s in self.steps if isinstance(s, HostCall))

    def calls_out(self) -> tuple[HostCall | ControlCall, ...]:
        """The steps that call a function of the host, in the order of those functions."""
        return tuple(s for s in self.steps if isinstance(s, HostCall | ControlCall))

    def borrowed_outputs(self) -> tuple[bool, ...]:
        """For each output: does it share its bytes with an input, a constant or an earlier output?"""
        roots = {step.result.value: step.source for step in self.main.steps if isinstance(step, View)}
        owned_elsewhere = {port.value for port in self.inputs} | {constant.value for constant in self.constants}
        calls = (step for step in self.main.steps if isinstance(step, ControlCall))
        owned_elsewhere |= {result.value for step in calls for result in step.outputs}  # may hand on what it is given
        flags = []
        for port in self.outputs:
            value = port.value
            while value in roots:
                value = roots[value]
            flags.append(value in owned_elsewhere)
            owned_elsewhere.add(value)
        return tuple(flags)

    def to_json(self) -> dict[str, Any]:
        regions = [_region_to_json(region) for region in (self.main, *self.regions)]
        return {"regions": regions, "constants": _plain(self.constants)}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Program:
        """Inverse of `to_json`, also after a trip through JSON text. Raises KeyError or TypeError on other data."""
        main, *regions = (_region(r) for r in data["regions"])
        return Program(main, _results(data["constants"]), tuple(regions))


def _plain(value: Any) -> Any:
    """The records within `value` as dictionaries."""
    if hasattr(value, "_asdict"):
        return {name: _plain(held) for name, held in value._asdict().items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _region_to_json(region: Region) -> dict[str, Any]:
    data: dict[str, Any] = _plain(region)
    for entry, step in zip(data["steps"], region.steps, strict=True):
        entry["step"] = type(step).__name__
    return data


def _region(data: Mapping[str, Any]) -> Region:
    inputs, outputs = (tuple(_port(p) for p in data[name]) for name in ("inputs", "outputs"))
    return Region(data["name"], inputs, outputs, tuple(_step(s) for s in data["steps"]), tuple(data["symbols"]))


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


def _call(data: Mapping[str, Any]) -> tuple[Any, ...]:
    """Inputs, outputs, symbols, defined symbols and note of a call of the host."""
    names = (tuple(data[name]) for name in ("symbols", "defined"))
    return (tuple(data["inputs"]), _results(data["outputs"]), *names, _note(data["note"]))


def _step(data: Mapping[str, Any]) -> Step:
    match data["step"]:
        case "View":
            return View(data["source"], _result(data["result"]))
        case "Bind":
            return Bind(data["source"], tuple(data["symbols"]))
        case "Expect":
            return Expect(data["condition"], data["message"])
        case "HostCall":
            return HostCall(data["text"], *_call(data))
        case "ControlCall":
            return ControlCall(data["kind"], tuple(data["regions"]), data["carried"], *_call(data))
        case "KernelCall":
            outputs, scalars = _results(data["outputs"]), tuple(data["scalars"])
            return KernelCall(data["kernel"], tuple(data["inputs"]), outputs, scalars, _note(data["note"]))
    raise KeyError(f"unknown step {data['step']!r}")
