"""Arithmetic on sizes: numbers and symbols agree, and text reads back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tilewright.ir import Dim, dims, symbol

N, M = symbol("n"), symbol("m")
VALUES = {"n": 6, "m": 4}
LEAVES: st.SearchStrategy[Any] = st.integers(-5, 9) | st.sampled_from((N, M))
COMBINE = (dims.add, dims.sub, dims.minimum, dims.maximum, lambda a, b: dims.product((a, b)))


def _grown(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    combined = st.builds(lambda f, a, b: f(a, b), st.sampled_from(COMBINE), children, children)
    divide = st.sampled_from((dims.floordiv, dims.ceildiv, dims.mod))
    return combined | st.builds(lambda f, a, b: f(a, b), divide, children, st.integers(1, 4))


SIZES = st.recursive(LEAVES, _grown, max_leaves=5)


@given(SIZES)
def test_text_reads_back(dim: Dim) -> None:
    again = dims.parse(dims.to_text(dim))
    assert dims.to_text(dims.parse(dims.to_text(again))) == dims.to_text(again)
    assert dims.evaluate(again, VALUES) == dims.evaluate(dim, VALUES)


@given(SIZES, SIZES, st.integers(1, 4))
def test_symbols_behave_as_their_numbers(a: Dim, b: Dim, c: int) -> None:
    x, y = dims.evaluate(a, VALUES), dims.evaluate(b, VALUES)
    assert dims.evaluate(dims.add(a, b), VALUES) == x + y
    assert dims.evaluate(dims.sub(a, b), VALUES) == x - y
    assert dims.evaluate(dims.product((a, b)), VALUES) == x * y
    assert dims.evaluate(dims.floordiv(a, c), VALUES) == x // c
    assert dims.evaluate(dims.ceildiv(a, c), VALUES) == -(-x // c)
    assert dims.evaluate(dims.mod(a, c), VALUES) == x % c
    assert dims.evaluate(dims.minimum(a, b), VALUES) == min(x, y)
    assert dims.evaluate(dims.maximum(a, b), VALUES) == max(x, y)
    assert dims.evaluate(dims.bind(a, {"n": 6}), {"m": 4}) == x
    assert not dims.equal(a, b) or x == y


@given(SIZES)
def test_numbers_are_ints(dim: Dim) -> None:
    assume(not dims.symbols_of([dim]))
    assert type(dim) is int


@pytest.mark.parametrize(
    ("dim", "wanted"),
    [
        (dims.floordiv(dims.product((2, N)), 2), N),
        (dims.floordiv(dims.add(dims.product((2, N)), 1), 2), N),
        (dims.mod(dims.product((4, N)), 2), 0),
        (dims.floordiv(dims.product((N, M)), M), N),
        (dims.sub(dims.add(N, 3), N), 3),
        (dims.ceildiv(N, 1), N),
    ],
)
def test_what_can_be_proved_is_simplified(dim: Dim, wanted: Dim) -> None:
    assert dims.equal(dim, wanted)


def test_broadcast() -> None:
    assert dims.broadcast(1, N) == N
    assert dims.broadcast(N, 1) == N
    assert dims.broadcast(3, 3) == 3
    assert dims.broadcast(N, 3) == 3
    assert dims.broadcast(2, 3) is None
    assert dims.broadcast(N, M) == dims.broadcast(M, N)


@pytest.mark.parametrize("text", ["", "1.5", "True", "f(n)", "n +", "n @ m", "min()", "a.b", "'n'", "n ** 2"])
def test_other_text_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        dims.parse(text)


@given(st.text())
def test_any_name_of_a_model_becomes_a_symbol(name: str) -> None:
    assert dims.parse(dims.symbol_name(name)) == symbol(dims.symbol_name(name))


def test_a_symbol_without_a_size_is_named() -> None:
    with pytest.raises(KeyError, match="m"):
        dims.evaluate(dims.add(N, M), {"n": 1})
    with pytest.raises(TypeError, match="is not a size"):
        dims.as_dim(1.5)
