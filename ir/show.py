"""Graphs as text that `parse` reads back. The text is deterministic: it is what caches are keyed by.

    graph(x: float32[batch, 3], ids: int64[batch]) {
      scale = constant float32[] 0.5
      %0 = mul(x, scale)
      %1, %2 = top_k(%0) {k=2, axis=1}
      return y=%1, %2
    }

Attributes that have their default are left out. Results are numbered; an output that has a name of its own shows it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.graph import Graph, Node, Value
from tilewright.ir.op import Array
from tilewright.ir.types import FLOATS, TensorType

INLINE = 16  # constants of at most so many elements are written out
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_RESERVED = ("graph", "return")
_UNWRITTEN = ("complex64", "complex128", "object")


def show(graph: Graph, *, types: bool = False) -> str:
    """The text of `graph`; with `types`, the type of each result is written behind it.

    Constants of more than 16 elements, complex numbers and objects appear as a number: `tabulate` gives their data too.
    """
    return tabulate(graph, types=types)[0]


def tabulate(graph: Graph, *, types: bool = False) -> tuple[str, Mapping[int, Array]]:
    """The text of `graph` and the data of its large constants, by the numbers that the text gives them."""
    printer = _Printer(types)
    return printer.graph(graph, "") + "\n", printer.data


def quoted(name: str) -> str:
    """A name as it stands in the text: in quotes if it has odd characters."""
    return name if _PLAIN.fullmatch(name) and name not in _RESERVED else json.dumps(name)


class _Printer:
    """Writes one graph and the graphs in its attributes, numbering large constants throughout."""

    def __init__(self, types: bool) -> None:
        self.types = types
        self.data: dict[int, Array] = {}
        self._texts: dict[TensorType, str] = {}

    def graph(self, graph: Graph, indent: str) -> str:
        names = _names(graph)
        inputs = ", ".join(f"{names[v]}: {self.type(v.type)}" for v in graph.inputs)
        lines = [f"{names[v]} = constant {self.type(v.type)} {self.constant(v)}" for v in graph.constants]
        lines += (self.node(node, names, indent + "  ") for node in graph.nodes)
        lines.append(f"return {', '.join(_outputs(graph, names))}".rstrip())
        body = "".join(f"{indent}  {line}\n" for line in lines)
        return f"graph({inputs}) {{\n{body}{indent}}}"

    def node(self, node: Node, names: Mapping[Value, str], indent: str) -> str:
        results = ", ".join(names[v] for v in node.results)
        text = f"{results} = {node.op.name}({', '.join(names[v] for v in node.inputs)})"
        defaults = node.op.attrs
        given = [f"{k}={self.attribute(v, indent)}" for k, v in node.attrs.items() if not _same(v, defaults.get(k))]
        if given:
            text += f" {{{', '.join(given)}}}"
        if self.types:
            text += f" : {', '.join(self.type(v.type) for v in node.results)}"
        return text

    def constant(self, value: Value) -> str:
        data = np.asarray(value.data)
        if data.size > INLINE or value.dtype in _UNWRITTEN:
            number = len(self.data)
            self.data[number] = data
            return f"#{number}"
        items = [_scalar(item, value.dtype) for item in data.ravel()]
        return f"[{', '.join(items)}]" if value.rank else items[0]

    def attribute(self, value: Any, indent: str) -> str:
        if isinstance(value, Graph):
            return self.graph(value, indent)
        if isinstance(value, tuple):
            items = ", ".join(self.attribute(item, indent) for item in value)
            return f"({items},)" if len(value) == 1 else f"({items})"
        if value is None or isinstance(value, bool):
            return str(value)
        if isinstance(value, float):
            return repr(value)
        if isinstance(value, str):
            return json.dumps(value)
        return dims.to_text(dims.as_dim(value))

    def type(self, type: TensorType) -> str:
        if type not in self._texts:
            self._texts[type] = str(type)
        return self._texts[type]


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def _scalar(item: Any, dtype: str) -> str:
    if dtype == "string":
        return json.dumps(str(item))
    text = str(item)
    whole = (dtype in FLOATS or dtype.startswith("float")) and text.removeprefix("-").isdecimal()  # bfloat16 writes -0
    return f"{text}.0" if whole else text


def _names(graph: Graph) -> dict[Value, str]:
    """How each value is written: inputs and constants by name, made unique; results by number."""
    unique = _unique_names(graph)
    names = {value: quoted(next(unique)) for value in dict.fromkeys((*graph.inputs, *graph.constants))}
    results = (value for node in graph.nodes for value in node.results)
    names.update((value, f"%{number}") for number, value in enumerate(results))
    return names


def _unique_names(graph: Graph) -> Iterator[str]:
    taken: set[str] = set()
    for value in dict.fromkeys((*graph.inputs, *graph.constants)):
        name = next(n for n in _candidates(value.name or ("c" if value.is_constant else "x")) if n not in taken)
        taken.add(name)
        yield name


def _candidates(name: str) -> Iterable[str]:
    yield name
    number = 1
    while True:
        yield f"{name}_{number}"
        number += 1


def _outputs(graph: Graph, names: Mapping[Value, str]) -> Iterator[str]:
    for place, (value, name) in enumerate(zip(graph.outputs, graph.output_names, strict=True)):
        assumed = f"output{place}" if value.node else names[value]
        yield names[value] if quoted(name) == assumed else f"{quoted(name)}={names[value]}"
