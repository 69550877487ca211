"""The text of a kernel: its fused graph, and which inputs are weights, whose layout the kernel may choose.

It is all that a worker needs to build the kernel, and what the cache knows it by.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tilewright.ir.dims import is_computed, symbol, symbols_of
from tilewright.ir.graph import Graph, Value, constant
from tilewright.ir.parse import parse
from tilewright.ir.show import show


@dataclass(frozen=True)
class Weights:
    """Positions of those inputs of a body that are constants of the model, and how some of them may be stored.

    `scaled` are 8-bit integers times a scale for each column (`scaled.column_scales`); `spare` has those of 8 bits
    whose products may be summed in fours, and how many of these are multiplied twice (`ir.quads.spare_quads`).
    """

    positions: frozenset[int] = frozenset()
    scaled: frozenset[int] = frozenset()
    spare: Mapping[int, int] = field(default_factory=dict)

    def __str__(self) -> str:
        quads = (f"{position}:{count}" for position, count in sorted(self.spare.items()))
        lines = (("weights", sorted(self.positions)), ("scaled", sorted(self.scaled)), ("quads", quads))
        return "".join(f"{' '.join((name, *map(str, found)))}\n" for name, found in lines)

    @classmethod
    def parse(cls, text: str) -> Weights:
        """Inverse of `str`."""
        positions, scaled, quads = (line.split()[1:] for line in text.splitlines())
        pairs = (pair.split(":") for pair in quads)
        return cls(frozenset(map(int, positions)), frozenset(map(int, scaled)), {int(i): int(n) for i, n in pairs})


def write(body: Graph, weights: Weights) -> tuple[str, Mapping[str, str]]:
    """The text, and what the symbols of computed sizes in it are called in `body`.

    What does not matter to the kernel is left out, so that all layers of a model share one: the names of constants, and
    of computed sizes.
    """
    names = _short_names(body)
    text = show(body.substitute({v: constant(v.data, v.dtype) for v in body.constants if v.name}))
    renamed = re.sub(r"\b_\w+", lambda found: names.get(found[0], found[0]), text)
    if names and _means_the_same(body, _parsed(renamed), names):
        text = renamed
    else:
        names = {}
    return str(weights) + text, {short: name for name, short in names.items()}


def _means_the_same(body: Graph, other: Graph, names: Mapping[str, str]) -> bool:
    """Whether the same sizes come out under new names: type rules choose the shorter text of two equal sizes."""
    sizes = {name: symbol(short) for name, short in names.items()}
    pairs = zip(_results(body), _results(other), strict=True)
    return all(a.type.bind(sizes) == b.type for a, b in pairs)


def _results(body: Graph) -> list[Value]:
    return [result for node in body.nodes for result in node.results]


def _short_names(body: Graph) -> dict[str, str]:
    """Computed symbols numbered in the order of their names, by which the type rules choose between equal sizes."""
    found = sorted((s for s in symbols(body) if is_computed(s)), key=lambda name: (len(name), name))
    return {name: f"_{number}" for number, name in enumerate(found)}


def read(text: str) -> tuple[Graph, Weights]:
    """Inverse of `write`. Raises ParseError."""
    *head, body = text.split("\n", 3)
    return _parsed(body), Weights.parse("\n".join(head))


@functools.lru_cache(maxsize=1 << 10)
def _parsed(text: str) -> Graph:
    """The graph of a text: the layers of a model share theirs."""
    return parse(text)


def name_of(body: Graph, text: str) -> str:
    """A C identifier that says what the kernel does and is unique for its text."""
    ops = "_".join(dict.fromkeys(node.op.name for node in body.nodes))
    return f"{re.sub('[^a-z0-9_]', '', ops)[:48]}_{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def symbols(body: Graph) -> tuple[str, ...]:
    """The symbolic sizes that a kernel for `body` needs to know, sorted."""
    values = (*body.inputs, *(r for node in body.nodes for r in node.results))
    return tuple(sorted(symbols_of(d for value in values for d in value.shape) | _attribute_symbols(body)))


def _attribute_symbols(body: Graph) -> set[str]:
    attrs = [a for node in body.nodes for a in node.attrs.values()]
    flat = [x for a in attrs for x in (a if isinstance(a, tuple) else (a,))]
    return symbols_of(x for x in flat if hasattr(x, "free_symbols"))


def scalar_symbols(body: Graph) -> tuple[str, ...]:
    """Those symbols that are not plainly a size of an input or output: the kernel takes them as extra arguments."""
    plain = {str(d) for value in (*body.inputs, *body.outputs) for d in value.shape if not isinstance(d, int)}
    return tuple(s for s in symbols(body) if s not in plain)
