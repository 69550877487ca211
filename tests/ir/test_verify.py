"""Each rule of the IR, broken once."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pytest

from tilewright.ir import Graph, Node, Value, apply, apply_op, constant, input_value, symbol, tensor
from tilewright.ir.errors import VerifyError
from tilewright.ir.ops import TABLE
from tilewright.ir.verify import verify

X = input_value("x", tensor("float32", "n", 2))


BROKEN = {
    "it reads <input y": Graph((X,), (apply("add", X, input_value("y", X.type)),)),
    "is not an input of the graph": Graph((), (X,)),
    "listed as an input": Graph((apply("neg", X),), (X,)),
    "two inputs are called 'x'": Graph((X, input_value("x", X.type)), ()),
    "two outputs are called 'a'": Graph((X,), (X, X), ("a", "a")),
    "the data of <constant": Graph((), (Value(tensor("float32", 3), data=np.zeros(2, dtype=np.float32)),)),
    "nothing says how much m is": Graph((X,), (apply("range", start=0, step=1, size=symbol("m"), dtype="int64"),)),
    "which no attribute may be": Graph((X,), (apply("pad", X, before=(0, 0), after=(0, 0), value=np.float32(1)),)),
}


@pytest.mark.parametrize("message", BROKEN)
def test_broken_rule(message: str) -> None:
    with pytest.raises(VerifyError) as caught:
        verify(BROKEN[message])
    assert message in str(caught.value)


def test_stored_types_are_checked() -> None:
    node = Node(TABLE["softmax"], (X,), MappingProxyType({"axis": 1}), "layer 7")
    wrong = Value(tensor("float32", 5, 2), node, 0)
    object.__setattr__(node, "results", (wrong,))
    with pytest.raises(VerifyError, match=r"its results are float32\[5, 2\], but float32\[n, 2\] is inferred.*layer 7"):
        verify(Graph((X,), (wrong,)))


def test_attributes_are_complete() -> None:
    node = Node(TABLE["softmax"], (X,), MappingProxyType({}))
    object.__setattr__(node, "results", (Value(X.type, node, 0),))
    with pytest.raises(VerifyError, match="softmax needs the attribute axis"):
        verify(Graph((X,), node.results))


def test_a_body_captures_nothing() -> None:
    inner = input_value("a", X.type)
    body = Graph((inner,), (apply("add", inner, X),))
    with pytest.raises(VerifyError, match="which is not an input of the graph"):
        verify(Graph((X,), apply_op("fused", X, body=body)))


def test_what_keeps_the_rules() -> None:
    inner = input_value("a", X.type)
    body = Graph((inner,), (apply("mul", inner, constant(2.0, "float32")), apply("sizes", dims=(symbol("n"),))))
    results = apply_op("fused", X, body=body)
    verify(Graph((X, input_value("unused", tensor("bool"))), (*results, X)))
