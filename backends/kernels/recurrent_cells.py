"""One step of each recurrent cell, after the operator rows `lstm`, `gru` and `rnn`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tilewright.backends.kernels.activations import PROGRAMS, Formula, Program
from tilewright.backends.kernels.loops import Buffer, Expr
from tilewright.backends.kernels.recurrent import Task

Place = Callable[[Expr], tuple[Expr, ...]]
Apply = Callable[[Buffer, Place], None]


def functions(
    task: Task, attrs: Mapping[str, Any], direction: int, count: int, programs: Mapping[str, Program] = PROGRAMS
) -> list[Apply]:
    """The activations of a direction: each changes a row of a buffer in place. The third, the cell's, does not clip."""
    b, k = task.b, task.k

    def activate(number: int, buffer: Buffer, place: Place) -> None:
        name, alpha, beta = (attrs[what][number] for what in ("activations", "alpha", "beta"))
        for target, formula in programs[name]:

            def run(j: Expr, target: str = target, formula: Formula = formula) -> None:
                value = formula(b, buffer[place(j)], task.spare[j], alpha, beta)
                k.store(*((buffer, place(j)) if target == "x" else (task.spare, (j,))), value)

            task.each(run)

    def function(i: int) -> Apply:
        def apply(buffer: Buffer, place: Place) -> None:
            if attrs["clip"] is not None and i < 2:
                _clip(task, buffer, place, attrs["clip"])
            activate(direction * count + i, buffer, place)

        return apply

    return [function(i) for i in range(count)]


def _clip(task: Task, buffer: Buffer, place: Place, clip: float) -> None:
    task.each(lambda j: task.k.store(buffer, place(j), task.b.maximum(buffer[place(j)], -clip)))
    task.each(lambda j: task.k.store(buffer, place(j), task.b.minimum(buffer[place(j)], clip)))


def _finish_gate(task: Task, r: Expr, g: int, function: Apply, more: Callable[[Expr], Expr] | None = None) -> None:
    """gates[r, g] = function(gates[r, g] + what x adds + more)."""

    def complete(j: Expr) -> None:
        place = task.place(r, g, j)
        total = task.gates[place] + task.added[place[1]]
        task.k.store(task.gates, place, total if more is None else total + more(j))

    task.each(complete)
    function(task.gates, lambda j: task.place(r, g, j))


class Lstm:
    """Gates i, o, f, c; states H and C; parameters are the peepholes of i, o and f."""

    programs = PROGRAMS

    def __init__(self, task: Task, attrs: Mapping[str, Any], direction: int) -> None:
        self.task = task
        self.f, self.g, self.h = functions(task, attrs, direction, 3, self.programs)
        self.coupled = attrs["input_forget"]
        self.hidden, self.cell = task.states

    def step(self, s: Expr) -> None:
        self.task.multiply(s, self.hidden, 0, 4)
        self.task.rows(s, 0, 4, self.row, last=True)

    def row(self, r: Expr) -> None:
        """What comes after the product."""
        task, k, gates, cell = self.task, self.task.k, self.task.gates, self.cell
        self.finish(r, 0, self.f, peephole=True)
        if not self.coupled:
            self.finish(r, 2, self.f, peephole=True)
        self.finish(r, 3, self.g, peephole=False)
        task.each(lambda j: k.store(cell, (r, j), self.remembered(r, j)))
        self.finish(r, 1, self.f, peephole=True)
        task.each(lambda j: k.store(self.hidden, (r, j), cell[r, j]))
        self.h(self.hidden, lambda j: (r, j))
        task.each(lambda j: k.store(self.hidden, (r, j), gates[task.place(r, 1, j)] * self.hidden[r, j]))

    def remembered(self, r: Expr, j: Expr) -> Expr:
        """The new cell state."""
        kept, new = self.terms(r, j)
        return kept + new

    def terms(self, r: Expr, j: Expr) -> tuple[Expr, Expr]:
        """What stays of the cell state and what is added."""
        i, forget, new = (self.task.gates[self.task.place(r, g, j)] for g in (0, 2, 3))
        return (1.0 - i if self.coupled else forget) * self.cell[r, j], i * new

    def finish(self, r: Expr, g: int, function: Apply, *, peephole: bool) -> None:
        """The gate from its part of the product."""
        task = self.task
        looks = peephole and task.parameters > 0
        _finish_gate(task, r, g, function, (lambda j: task.parameter(g, j) * self.cell[r, j]) if looks else None)


class Gru:
    """Gates z, r, h; the state H; the parameter, if there is one, is the bias of h that the reset gate multiplies."""

    def __init__(self, task: Task, attrs: Mapping[str, Any], direction: int) -> None:
        self.task, self.hidden = task, task.states[0]
        self.f, self.g = functions(task, attrs, direction, 2)
        self.linear = task.parameters > 0
        self.reset = task.k.scratch("reset", (task.count, task.padded), task.layer.dtype)

    def step(self, s: Expr) -> None:
        task = self.task
        task.multiply(s, self.hidden, 0, 3 if self.linear else 2)
        if self.linear:
            task.rows(s, 0, 3, self._whole_row, last=True)
            return
        task.rows(s, 0, 2, self._reset_row, last=False)
        task.multiply(s, self.reset, 2, 1)
        task.rows(s, 2, 1, self._update, last=True)

    def _whole_row(self, r: Expr) -> None:
        task = self.task
        self._gates(r)

        def scale(j: Expr) -> None:
            place = task.place(r, 2, j)
            inner = task.gates[place] + task.parameter(0, j)
            task.k.store(task.gates, place, task.gates[task.place(r, 1, j)] * inner)

        task.each(scale)
        self._update(r)

    def _reset_row(self, r: Expr) -> None:
        task = self.task
        self._gates(r)
        task.each(lambda j: task.k.store(self.reset, (r, j), task.gates[task.place(r, 1, j)] * self.hidden[r, j]))

    def _gates(self, r: Expr) -> None:
        for g in (0, 1):
            _finish_gate(self.task, r, g, self.f)

    def _update(self, r: Expr) -> None:
        task = self.task
        _finish_gate(task, r, 2, self.g)

        def body(j: Expr) -> None:
            z, new = task.gates[task.place(r, 0, j)], task.gates[task.place(r, 2, j)]
            task.k.store(self.hidden, (r, j), (1.0 - z) * new + z * self.hidden[r, j])

        task.each(body)


class Rnn:
    """One gate, which is the new state."""

    def __init__(self, task: Task, attrs: Mapping[str, Any], direction: int) -> None:
        self.task, self.hidden = task, task.states[0]
        (self.f,) = functions(task, attrs, direction, 1)

    def step(self, s: Expr) -> None:
        self.task.multiply(s, self.hidden, 0, 1)
        self.task.rows(s, 0, 1, self._row, last=True)

    def _row(self, r: Expr) -> None:
        task = self.task
        _finish_gate(task, r, 0, self.f)
        task.each(lambda j: task.k.store(self.hidden, (r, j), task.gates[task.place(r, 0, j)]))
