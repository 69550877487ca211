"""What a program takes for granted about sizes, checked in each new combination of its inputs' sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tilewright.backends.program import Bind, Expect, Program, Result, Step, View
from tilewright.backends.sizes import Dim, evaluate, symbols
from tilewright.ir.errors import InputError


@dataclass(frozen=True, slots=True)
class Expectations:
    """`differences` are sizes that must not be negative, `views` pairs of shapes with as many elements each.

    Those that depend on what a step defines are left to the run.
    """

    differences: tuple[str, ...]
    views: tuple[tuple[tuple[Dim, ...], tuple[Dim, ...]], ...]

    @staticmethod
    def of(program: Program) -> Expectations:
        steps = program.main.steps  # those of other regions may never run
        results = [result for step in steps for result in _results(step)]
        shapes = {port.value: port.spec.dims for port in program.inputs}
        shapes.update((result.value, result.spec.dims) for result in (*program.constants, *results))
        differences = (d for result in results for d in result.spec.dims if isinstance(d, str) and "-" in d)
        views = ((shapes[step.source], step.result.spec.dims) for step in steps if isinstance(step, View))
        moved = (pair for pair in views if symbols([*pair[0], *pair[1]]))
        return Expectations(tuple(dict.fromkeys(differences)), tuple(dict.fromkeys(moved)))

    def check(self, sizes: Mapping[str, int]) -> None:
        """Raises InputError if the sizes, by symbol, do not fit each other."""
        for dim in self.differences:
            if _known([dim], sizes) and evaluate(dim, sizes) < 0:
                raise InputError(f"A result would have the size {dim} = {evaluate(dim, sizes)}, for {_listed(sizes)}.")
        for old, new in self.views:
            if _known([*old, *new], sizes) and _count(old, sizes) != _count(new, sizes):
                raise InputError(
                    f"An array of shape [{_shape(old)}] has {_count(old, sizes)} elements, so that it cannot be "
                    f"reshaped to [{_shape(new)}], for {_listed(sizes)}."
                )


def _results(step: Step) -> Iterator[Result]:
    if not isinstance(step, Bind | Expect):
        yield from (step.result,) if isinstance(step, View) else step.outputs


def _known(dims: Sequence[Dim], sizes: Mapping[str, int]) -> bool:
    return symbols(dims) <= set(sizes)


def _count(shape: Sequence[Dim], sizes: Mapping[str, int]) -> int:
    return math.prod(evaluate(dim, sizes) for dim in shape)


def _shape(dims: Sequence[Dim]) -> str:
    return ", ".join(map(str, dims))


def _listed(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} = {size}" for name, size in sizes.items())
