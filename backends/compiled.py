"""A compiled model: what the user calls."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.backends.host import host_functions
from tilewright.backends.program import Program
from tilewright.backends.runtime import Executable, Runner
from tilewright.backends.signature import Signature, TensorInfo, describe
from tilewright.backends.sizes import Dim, evaluate, symbols
from tilewright.backends.target import Target, cpu_features, cpu_model
from tilewright.backends.threads import checked_threads, default_threads
from tilewright.backends.values import Array
from tilewright.ir.errors import CompilerError, InputError, TargetError
from tilewright.ir.types import numpy_dtype

if TYPE_CHECKING:
    from tilewright.backends.ledger import Report
    from tilewright.ir.agreement import CheckReport
    from tilewright.ir.graph import Graph


class CompiledModel:
    """Native code with its weights. May be called from several threads: they take turns.

    `check_report` is set by the check that follows a compile.
    """

    check_report: CheckReport | None = None

    def __init__(
        self,
        program: Program,
        executable: Executable,
        weights: Mapping[str, Array],
        target: Target,
        *,
        threads: int | None = None,
        graph: Callable[[], Graph] | None = None,
    ) -> None:
        """`weights` holds the array of each of the program's constants, packed as its kernels want it.

        `threads`: by default those that the container grants. Raises InputError for a number that is not positive.
        """
        self.program, self.executable, self.weights, self.target = program, executable, weights, target
        self.threads = default_threads() if threads is None else checked_threads(threads)
        self._graph = graph
        self._signature = Signature(program)
        self._boxed = tuple(port.spec.dtype == "object" for port in program.outputs)
        self._output_names = tuple(port.name for port in program.outputs)
        self._runner = Runner(program, executable, weights, host_functions(program))
        here = cpu_features()
        self._missing = sorted(target.features - here) if here else []  # not every system tells
        self._last_shapes: tuple[tuple[int, ...], ...] | None = None

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        return self._signature.infos

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        return describe(self.program.outputs)

    @property
    def graph(self) -> Graph:
        """The graph of the model as imported.

        Raises CompilerError for a loaded model, which keeps only its program. Where the compiled model was in the
        cache, the graph is read when it is first asked for: that fails if the file has gone or changed meanwhile.
        """
        if self._graph is None:
            raise CompilerError("A model that was loaded from a saved file has no graph.", hint="Compile the original")
        return self._graph()

    def __call__(self, *arrays: Any, **named: Any) -> Any:
        """One array, or a tuple if there are several outputs; torch tensors when given torch tensors.

        Raises InputError for inputs that do not fit the model.
        """
        results = self._call(self._signature.in_order(arrays, named))
        return results[0] if len(results) == 1 else tuple(results)

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs by name, for inputs by name.

        Raises InputError for inputs that do not fit the model, TargetError where this processor cannot run it.
        """
        return dict(zip(self._output_names, self._call(self._signature.in_order((), inputs)), strict=True))

    def accepts(self, inputs: Mapping[str, Any]) -> bool:
        """Whether the inputs fit the model, as far as their types and sizes tell before a run."""
        try:
            self._signature.arrays(self._signature.in_order((), inputs))
        except InputError:
            return False
        return True

    def _call(self, values: Sequence[Any]) -> Sequence[Any]:
        torch = sys.modules.get("torch")
        if torch is None or not any(isinstance(value, torch.Tensor) for value in values):
            return self._run(values)
        results = self._run([_from_torch(v) if isinstance(v, torch.Tensor) else v for v in values])
        return [torch.from_dlpack(array) for array in results]

    def _run(self, values: Sequence[Any]) -> list[Array]:
        self._require_processor()
        arrays = self._signature.arrays(values)
        self._last_shapes = tuple(a.shape for a in arrays)
        results = self._runner(arrays, self.threads)
        return [a.item() if boxed else a for a, boxed in zip(results, self._boxed, strict=True)]

    def _require_processor(self) -> None:
        """Raises TargetError where kernels would end the process with an unknown instruction."""
        if self._missing:
            raise TargetError(
                f"The model was compiled for a processor with {', '.join(self._missing)}, which this one "
                f"({cpu_model()}) lacks, or the system does not grant: it cannot run here.",
                hint="Compile it with check=False and save it for the other machine, or for '-mcpu=native'",
            )

    def report(self, inputs: Mapping[str, Any] | None = None, repeats: int = 10, *, profile: bool = True) -> Report:
        """The ledger, a row for each kernel: on `inputs`, or on zeros of the sizes of the latest call (or 1).

        `profile`: run the model `repeats` times, and measure each kernel and what the machine can do at most. Without
        it nothing runs: the rows say what would, where it comes from and which rule wrote it.
        """
        from tilewright.backends import probes, profiling
        from tilewright.backends.ledger import Report

        values = self._zeros() if inputs is None else self._signature.in_order((), inputs)
        arrays = self._signature.arrays(values)
        shapes = {name: a.shape for name, a in zip(self._signature.names, arrays, strict=True)}
        if not profile:
            return Report(profiling.rows(self.program, arrays), shapes, 0.0, probes.Peaks(self.threads, 0.0, 0.0))
        self._require_processor()
        seconds = min(self._timed(arrays) for _ in range(max(repeats, 2)))
        rows, calls = profiling.profile(self.program, self._runner, arrays, self.threads, repeats)
        peaks = probes.measure(self._runner, self.target.lanes(32), self.threads)
        return Report(rows, shapes, seconds, peaks, calls)

    def _zeros(self) -> list[Array]:
        shapes = self._last_shapes or tuple(_smallest(info.shape) for info in self.inputs)
        return [_zeros(info, shape) for info, shape in zip(self.inputs, shapes, strict=True)]

    def _timed(self, arrays: Sequence[Array]) -> float:
        start = time.perf_counter()
        self._runner(arrays, self.threads)
        return time.perf_counter() - start

    def save(self, path: str | Path) -> None:
        """Write the model into one file, which `tilewright.load` reads. Raises ArtifactError if that fails."""
        from tilewright.backends import artifact

        artifact.save(self, path)


def _zeros(info: TensorInfo, shape: Sequence[int]) -> Array:
    if info.dtype == "object":
        raise InputError(f"There are no zeros for the input '{info.name}', which is no tensor.", hint="Give inputs")
    return np.full(shape, "", object) if info.dtype == "string" else np.zeros(shape, numpy_dtype(info.dtype))


def _smallest(dims: Sequence[Dim]) -> tuple[int, ...]:
    ones = dict.fromkeys(symbols(dims), 1)
    return tuple(evaluate(dim, ones) for dim in dims)


def _from_torch(tensor: Any) -> Array:
    if tensor.device.type != "cpu":
        raise InputError(f"A torch tensor on {tensor.device} was given.", hint="Move it to main memory with .cpu()")
    array: Array = tensor.detach().contiguous().numpy()
    return array
