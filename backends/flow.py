"""Which step of a program feeds which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from tilewright.backends.program import ControlCall, HostCall, KernelCall, Program, Region, View

CallStep: TypeAlias = KernelCall | HostCall | ControlCall


def call_steps(region: Region | Program) -> tuple[CallStep, ...]:
    """The steps that call something, in order."""
    return tuple(step for step in region.steps if isinstance(step, CallStep))


def sources(program: Program) -> tuple[tuple[int, ...], ...]:
    """For each of `call_steps(program)` the positions of those whose results it reads.

    What a region gets from outside counts as a result of the step that runs the region.
    """
    runners = _runners(program)
    found: list[tuple[int, ...]] = []
    for region in (program.main, *program.regions):
        runner = runners.get(region.name)
        makers = {} if runner is None else {port.value: runner for port in region.inputs}
        for step in region.steps:
            if isinstance(step, View) and step.source in makers:
                makers[step.result.value] = makers[step.source]
            elif isinstance(step, CallStep):
                makers.update((result.value, len(found)) for result in step.outputs)
                found.append(tuple(sorted({makers[value] for value in step.inputs if value in makers})))
    return tuple(found)


def _runners(program: Program) -> Mapping[str, int]:
    """The position of the step that runs each region."""
    steps = enumerate(call_steps(program))
    return {name: place for place, step in steps if isinstance(step, ControlCall) for name in step.regions}
