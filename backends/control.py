"""Control flow at run time: which region runs, and how often."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tilewright.backends import values
from tilewright.backends.program import ControlCall, Region, TensorSpec
from tilewright.backends.sizes import evaluate, symbols
from tilewright.ir.types import numpy_dtype

RegionFunction = Callable[[Sequence[Any], Sequence[int]], Sequence[Any]]
"""Takes values as the virtual machine has them and the numbers of the region's symbols, and returns values."""


def control(step: ControlCall, regions: Mapping[str, Region], run: Mapping[str, RegionFunction]) -> RegionFunction:
    """The function behind a step of control flow."""
    return (_branch if step.kind == "if" else _loop)(step, regions, run)


def _branch(step: ControlCall, regions: Mapping[str, Region], run: Mapping[str, RegionFunction]) -> RegionFunction:
    calls = [_with_numbers(step, regions[name], run[name]) for name in step.regions]

    def branch(given: Sequence[Any], numbers: Sequence[int]) -> Sequence[Any]:
        condition, *captured = given
        return calls[0 if values.to_result(condition).item() else 1](captured, numbers)

    return branch


def _loop(step: ControlCall, regions: Mapping[str, Region], run: Mapping[str, RegionFunction]) -> RegionFunction:
    (name,) = step.regions
    body = _with_numbers(step, regions[name], run[name])
    specs = [result.spec for result in step.outputs[step.carried :]]

    def loop(given: Sequence[Any], numbers: Sequence[int]) -> Sequence[Any]:
        trips, again, *rest = given
        carried, captured = rest[: step.carried], rest[step.carried :]
        collected: list[list[Any]] = [[] for _ in specs]
        trip, limit = 0, values.to_result(trips).item()
        while trip < limit and values.to_result(again).item():
            number = values.to_value(np.array(trip, np.int64))
            again, *made = body([number, again, *carried, *captured], numbers)
            carried = made[: step.carried]
            for rows, row in zip(collected, made[step.carried :], strict=True):
                rows.append(row)
            trip += 1
        sizes = dict(zip(step.symbols, map(int, numbers), strict=True))
        return [*carried, *(_stacked(rows, spec, sizes) for rows, spec in zip(collected, specs, strict=True))]

    return loop


def _with_numbers(step: ControlCall, region: Region, run: RegionFunction) -> RegionFunction:
    """The region as a function of all symbols of the step, of which it wants some."""
    wanted = [step.symbols.index(symbol) for symbol in region.symbols]
    return lambda given, numbers: run(given, [int(numbers[i]) for i in wanted])


def _stacked(rows: Sequence[Any], spec: TensorSpec, sizes: Mapping[str, int]) -> Any:
    """What a loop collected, along a new first axis; without any row, sizes that only a row would tell are zero."""
    if rows:
        return values.to_value(np.stack([values.to_result(row) for row in rows]))
    shape = (evaluate(d, sizes) if symbols([d]) <= set(sizes) else 0 for d in spec.dims[1:])
    return values.to_value(np.empty((0, *shape), numpy_dtype(spec.dtype)))
