"""Is the compiled model the same function as the original? Both run on the same inputs; their outputs are compared."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from tilewright.backends.signature import TensorInfo
from tilewright.draw import (
    Choice,
    Sizes,
    baked_choices,
    few_sequences,
    index_limits,
    random_inputs,
    size_choices,
    suited_choices,
)
from tilewright.ir.agreement import CheckReport, OutputCheck, compare_kind, compare_value, worst
from tilewright.ir.errors import InputError
from tilewright.ir.graph import Graph
from tilewright.ir.op import Array
from tilewright.spread import Compare, Compared, Feed, Nudged, Run, with_spreads

Feeds = Feed | Sequence[Feed]

TOLERANCES = {"float32": 1e-4, "quantized": 1e-3, "float16": 2e-3, "states of a batch": 1e-2, "bfloat16": 1e-2}
"""Greatest error relative to an output's largest magnitude, by the coarsest numbers that a model computes with.

A difference in the last bit becomes a whole step where activations are rounded to 8 bits. Where they are the states of
recurrent layers, onnxruntime has one scale for several sequences of a batch; how many depends on its threads. 16-bit
floats are rounded after each operator, to 11 and 8 bits.
"""
LARGEST_TOLERANCE = 1e-2
DRAWS = 3
MOST_REDRAWN = 5  # times, until there is an input on which the two are alike


def tolerance_for(graph: Graph) -> float:
    """The tolerance that suits the model as imported: wider only where the model itself computes coarsely."""
    computed = {r.dtype for n in graph.nodes for r in n.results if not all(v.is_constant for v in n.inputs)}
    batched = any(n.op.name == "quantized_lstm" and n.inputs[0].shape[1] != 1 for n in graph.nodes)
    coarse = ["quantized"] * _rounds(graph) + ["states of a batch"] * batched
    return max(TOLERANCES[name] for name in ("float32", *coarse, *computed) if name in TOLERANCES)


def compare(
    compiled: Run,
    original: Run,
    graph: Graph,
    ports: Sequence[TensorInfo],
    *,
    inputs: Feeds | None = None,
    tolerance: float | None = None,
    seed: int = 0,
    fits: Callable[[Feed], bool] = lambda feed: True,
    nudged: Nudged = lambda seed: None,
) -> CheckReport:
    """Run both and compare; `graph` is the model as imported, `ports` are the inputs of the compiled one.

    `fits` tells of drawn inputs whether their sizes make sense: those that do not are tried if no others are taken,
    since onnxruntime itself can crash on sizes that make negative ones.
    `nudged(seed)` is the original with weights that differ in their last bits: it is asked how far its own results move
    where those of the two differ, as a model that rounds activations to 8 bits can turn a last bit into any error.
    `inputs`: one feed {name: array} or several; by default random ones, of several sizes, that suit the model.
    Raises InputError when the tolerance is above 1e-2, or when the original takes none of the inputs that were tried.
    """
    given, tolerance = tolerance, tolerance_for(graph) if tolerance is None else tolerance
    if not 0 <= tolerance <= LARGEST_TOLERANCE:
        raise InputError(f"a tolerance of {tolerance:g} proves nothing; it has to be from 0 to {LARGEST_TOLERANCE:g}")
    compare_one = compare_kind if _is_random(graph) else compare_value
    nudged = nudged if given is None and _rounds(graph) else lambda seed: None
    draws = _Draws(original, graph, ports, fits, functools.partial(_meets, compiled, _expected(graph)))
    compared: list[Compared] = []
    for draw in range(1 if inputs is not None else MOST_REDRAWN):
        try:
            pairs = draws.pairs(seed + draw) if inputs is None else _asked(original, inputs, ports)
        except InputError:
            if draw == 0:
                raise
            break
        runs = [Compared(f, w, _compare_run(compiled, f, w, graph.output_names, compare_one)) for f, w in pairs]
        compared += with_spreads(runs, nudged, tolerance, compare_one)
        alike = sum(each.alike(tolerance) for each in compared)
        if alike or not all(c.passes(tolerance) for each in compared for c in each.checks):
            break
    outputs = (worst(checks, tolerance) for checks in zip(*(each.checks for each in compared), strict=True))
    return CheckReport(tuple(outputs), tolerance, len(compared), alike, draws.unsuited)


def _rounds(graph: Graph) -> bool:
    """Whether the model rounds activations to integers: then a last bit can become any error."""
    return any(node.op.name == "quantize" and not node.inputs[0].is_constant for node in graph.nodes)


def _expected(graph: Graph) -> set[str]:
    """What the model says where it was compiled in one of two ways and the inputs ask for the other."""
    inner = (a for n in graph.nodes for a in n.attrs.values() if isinstance(a, Graph))
    return {n.attrs["message"] for n in graph.nodes if n.op.name == "expect"}.union(*map(_expected, inner))


def _meets(compiled: Run, expected: Collection[str], feed: Feed) -> bool:
    """Whether the inputs are of the kind that the model was compiled for."""
    if not expected:
        return True
    try:
        compiled(feed)
    except InputError as error:
        return not any(message in error.message for message in expected)
    return True


def _is_random(graph: Graph) -> bool:
    """Whether each run gives other numbers."""
    inner = (a for n in graph.nodes for a in n.attrs.values() if isinstance(a, Graph))
    unseeded = any(n.op.name == "random" and n.attrs["seed"] is None for n in graph.nodes)
    return unseeded or any(map(_is_random, inner))


def _compare_run(
    compiled: Run, feed: Feed, expected: Sequence[Array], names: Sequence[str], compare_one: Compare
) -> list[OutputCheck]:
    """One check for each output. Inputs that the original takes but the compiled model refuses are a difference."""
    shapes = ", ".join(f"{name} {list(np.shape(array))}" for name, array in feed.items()) or "none"
    try:
        results = compiled(feed)
    except InputError as error:
        problem = f"the compiled model refuses inputs that the original takes: {error}"
        return [OutputCheck(name, float("inf"), shapes, problem=problem) for name in names]
    return [compare_one(name, got, want, shapes) for name, got, want in zip(names, results, expected, strict=True)]


def _asked(original: Run, inputs: Feeds, ports: Sequence[TensorInfo]) -> list[tuple[Feed, Sequence[Array]]]:
    """The inputs that were given, with what the original makes of them."""
    return [(feed, original(feed)) for feed in _given(inputs, ports)]


def _given(inputs: Feeds, ports: Sequence[TensorInfo]) -> list[Feed]:
    feeds = [inputs] if isinstance(inputs, Mapping) else list(inputs)
    if not feeds or not all(isinstance(feed, Mapping) for feed in feeds):
        raise InputError("inputs to check with have to be {name: array}, or a list of at least one such mapping")
    objects = {port.name for port in ports if port.dtype == "object"}
    return [{name: x if name in objects else np.asarray(x) for name, x in feed.items()} for feed in feeds]


@dataclass
class _Draws:
    """Random inputs of sizes that the original takes; `unsuited` counts those that are not what `meets` asks for."""

    original: Run
    graph: Graph
    ports: Sequence[TensorInfo]
    fits: Callable[[Feed], bool]
    meets: Callable[[Feed], bool]
    unsuited: int = 0

    def pairs(self, seed: int) -> list[tuple[Feed, Sequence[Array]]]:
        """Inputs with what the original makes of them."""
        refusals: list[str] = []
        rng, found = np.random.default_rng(seed), False
        for choices in filter(None, (suited_choices(self.graph), tuple(baked_choices(self.graph)))):
            likely = [feed for feed in _random_feeds(self.graph, self.ports, rng, choices) if self.fits(feed)]
            found = found or bool(likely)
            if accepted := list(islice(self._accepted(likely, refusals), DRAWS)):
                return accepted
        unlikely = () if found else _random_feeds(self.graph, self.ports, rng, suited_choices(self.graph))
        if accepted := list(islice(self._accepted(unlikely, refusals), DRAWS)):
            return accepted
        reason = f"the original takes none of the inputs that were drawn; at last it said: {''.join(refusals[-1:])}"
        if self.unsuited:
            reason = "none of the inputs that were drawn is of the kind that the model was compiled for"
        raise InputError(
            reason, hint="Give inputs that it takes with inputs={name: array}, or compile with check=False"
        )

    def _accepted(self, feeds: Iterable[Feed], refusals: list[str]) -> Iterator[tuple[Feed, Sequence[Array]]]:
        """Inputs that the original takes; what it says to the others goes to `refusals`."""
        for feed in feeds:
            try:
                expected = self.original(feed)
            except InputError as error:
                refusals.append(error.message)
                continue
            if self.meets(feed):
                yield feed, expected
            else:
                self.unsuited += 1


def _random_feeds(
    graph: Graph, ports: Sequence[TensorInfo], rng: np.random.Generator, choices: Sequence[Choice]
) -> Iterator[Feed]:
    limits = index_limits(graph)
    drawn: list[Sizes] = list(size_choices(ports, choices, few_sequences(graph)))
    for sizes in drawn * DRAWS if len(drawn) == 1 else drawn:
        yield random_inputs(ports, sizes, rng, limits)
