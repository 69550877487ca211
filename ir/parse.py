"""Reads the text form of graphs that `show` writes.

    graph     = "graph" "(" [input {"," input}] ")" "{" {statement} "return" [output {"," output}] "}"
    input     = name ":" type
    statement = name "=" "constant" type data | name {"," name} "=" call
    call      = operator "(" [name {"," name}] ")" [attrs] [":" type {"," type}]
    attrs     = "{" key "=" value {"," key "=" value} "}"
    output    = [name "="] name
    type      = dtype "[" [size {"," size}] "]"
    data      = scalar | "[" scalars "]" | "#" number | "zeros" | "ones" | "arange" | "random" "(" seed ")"
    value     = None | True | False | float | string | size | "(" values ")" | graph

Line breaks are spaces. A comment starts with "# " and ends with the line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Graph, Value, apply_op, constant, input_value
from tilewright.ir.op import Array
from tilewright.ir.show import quoted
from tilewright.ir.tokens import Tokens
from tilewright.ir.types import DTYPES, FLOATS, TensorType, numpy_dtype

_WORDS = {"None": None, "True": True, "False": False, "inf": float("inf"), "nan": float("nan")}
_Item = TypeVar("_Item")


def parse(text: str, constants: Mapping[int, Array] | None = None) -> Graph:
    """The graph that `text` describes; `constants` holds the data of large ones, as `show.tabulate` gave it.

    Raises ParseError, with the line, for text that is not a graph; TypeInferenceError for operators that do not fit
    together, and UnsupportedError for unknown ones, also with the line.
    """
    tokens = Tokens(text)
    graph = _Parser(tokens, constants or {}).graph()
    tokens.finish()
    return graph


class _Parser:
    """Recursive descent; one for the whole text, with a scope of names for each graph in it."""

    def __init__(self, tokens: Tokens, constants: Mapping[int, Array]) -> None:
        self.tokens = tokens
        self.constants = constants
        self._dims: dict[str, Dim] = {}

    def graph(self) -> Graph:
        tokens, scope = self.tokens, _Scope(self.tokens)
        tokens.expect("graph")
        inputs = self._list("(", ")", lambda: self._input(scope))
        tokens.expect("{")
        while not tokens.accept("return"):
            self._statement(scope)
        outputs = [] if tokens.at("}") else self._separated(lambda: self._output(scope))
        tokens.expect("}")
        names = [name or value.name or f"output{place}" for place, (name, value) in enumerate(outputs)]
        return Graph(tuple(inputs), tuple(value for _, value in outputs), tuple(names))

    def _input(self, scope: _Scope) -> Value:
        name = self.tokens.name()
        self.tokens.expect(":")
        return scope.define(name, input_value(_plain(name), self._type()))

    def _statement(self, scope: _Scope) -> None:
        names = self._separated(self.tokens.name)
        self.tokens.expect("=")
        line = self.tokens.line
        word = self.tokens.name()
        if word == "constant" and not self.tokens.at("("):
            scope.define(names[0], self._constant(_plain(names[0]), line))
            return
        inputs = self._list("(", ")", lambda: scope.find(self.tokens.name()))
        attrs = dict(self._list("{", "}", self._attribute)) if self.tokens.at("{") else {}
        results = apply_op(word, *inputs, source=f"line {line}", **attrs)
        if self.tokens.accept(":"):
            self._check_types(results, line)
        if len(names) != len(results):
            raise self.tokens.error(f"{word} has {len(results)} results, but {len(names)} names are given", line)
        for name, value in zip(names, results, strict=True):
            scope.define(name, value)

    def _check_types(self, results: Sequence[Value], line: int) -> None:
        stated = self._separated(self._type)
        found = [value.type for value in results]
        if len(stated) != len(found) or not all(s.matches(f) for s, f in zip(stated, found, strict=True)):
            raise self.tokens.error(
                f"the types are {', '.join(map(str, found))}, not {', '.join(map(str, stated))}", line
            )

    def _output(self, scope: _Scope) -> tuple[str, Value]:
        name = self.tokens.name()
        if self.tokens.accept("="):
            return _plain(name), scope.find(self.tokens.name())
        return "", scope.find(name)

    def _attribute(self) -> tuple[str, Any]:
        key = self.tokens.name()
        self.tokens.expect("=")
        return key, self._value()

    def _value(self) -> Any:
        tokens = self.tokens
        if tokens.at("graph"):
            return self.graph()
        if tokens.text in _WORDS:
            return _WORDS[tokens.take()]
        if tokens.text.startswith('"'):
            return json.loads(tokens.take())
        if tokens.at("(") and tokens.is_tuple():
            return tuple(self._list("(", ")", self._value))
        return self._number()

    def _number(self) -> Any:
        """A float, or a size."""
        text = self.tokens.expression()
        literal = _literal(text)
        return self._dim(text) if literal is None else literal

    def _dim(self, text: str) -> Dim:
        if text not in self._dims:
            try:
                self._dims[text] = dims.parse(text)
            except ValueError as error:
                raise self.tokens.error(str(error)) from error
        return self._dims[text]

    def _type(self) -> TensorType:
        dtype = self.tokens.name()
        if dtype not in DTYPES:
            raise self.tokens.error(f"{dtype} is not an element type; known are {', '.join(DTYPES)}")
        return TensorType(dtype, tuple(self._list("[", "]", lambda: self._dim(self.tokens.expression()))))

    def _constant(self, name: str, line: int) -> Value:
        type = self._type()
        if not type.is_static:
            raise self.tokens.error(f"a constant of the type {type} has no definite size", line)
        data = self._data(type, line).astype(numpy_dtype(type.dtype), copy=False)
        if data.size != type.size:
            raise self.tokens.error(f"{type.size} elements are needed for {type}, not {data.size}", line)
        return constant(data if data.shape == type.shape else data.reshape(type.shape), name=name)

    def _data(self, type: TensorType, line: int) -> Array:
        tokens = self.tokens
        if tokens.accept("#"):
            return self._table_entry(int(tokens.take()), line)
        if tokens.text in ("zeros", "ones", "arange"):
            made = getattr(np, tokens.take())
            return np.asarray(made(type.size))
        if tokens.accept("random"):
            (seed,) = self._list("(", ")", lambda: int(tokens.take()))
            return _random(type, seed)
        items = self._list("[", "]", self._scalar) if tokens.at("[") else [self._scalar()]
        return np.array(items, dtype=numpy_dtype(type.dtype))

    def _table_entry(self, number: int, line: int) -> Array:
        if number not in self.constants:
            raise self.tokens.error(f"the data of constant #{number} was not given", line)
        return self.constants[number]

    def _scalar(self) -> Any:
        text = ("-" if self.tokens.accept("-") else "") + self.tokens.take()
        if text.startswith('"'):
            return json.loads(text)
        if text in _WORDS and _WORDS[text] is not None:
            return _WORDS[text]
        literal = _literal(text)
        if literal is None:
            raise self.tokens.error(f"{text} is not an element of a constant")
        return literal

    def _list(self, opening: str, closing: str, item: Callable[[], _Item]) -> list[_Item]:
        """Items between brackets; a comma may follow the last."""
        self.tokens.expect(opening)
        items: list[_Item] = []
        while not self.tokens.accept(closing):
            items.append(item())
            if not self.tokens.at(closing):
                self.tokens.expect(",")
        return items

    def _separated(self, item: Callable[[], _Item]) -> list[_Item]:
        items = [item()]
        while self.tokens.accept(","):
            items.append(item())
        return items


class _Scope:
    """The names of one graph."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._values: dict[str, Value] = {}

    def define(self, name: str, value: Value) -> Value:
        key = _key(name)
        if key in self._values:
            raise self._tokens.error(f"{name} is defined twice")
        self._values[key] = value
        return value

    def find(self, name: str) -> Value:
        key = _key(name)
        if key not in self._values:
            raise self._tokens.error(f"{name} is not defined")
        return self._values[key]


def _key(name: str) -> str:
    """One spelling for `x` and `"x"`."""
    return quoted(_plain(name)) if name.startswith('"') else name


def _plain(name: str) -> str:
    """A name without its quotes."""
    return str(json.loads(name)) if name.startswith('"') else name


def _literal(text: str) -> int | float | None:
    """The number that `text` is, or None."""
    unsigned = text.removeprefix("-")
    if unsigned.isdecimal():
        return int(text)
    if not unsigned[:1].isdecimal() and unsigned not in ("inf", "nan"):
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _random(type: TensorType, seed: int) -> Array:
    """Normal floats, integers of -8 to 7 (0 to 15 if unsigned), fair bools."""
    generator = np.random.default_rng(seed)
    if type.dtype in FLOATS:
        return generator.standard_normal(type.size)
    if type.dtype == "bool":
        return generator.integers(0, 2, type.size)
    return (
        generator.integers(-8, 8, type.size) if type.dtype.startswith("int") else generator.integers(0, 16, type.size)
    )
