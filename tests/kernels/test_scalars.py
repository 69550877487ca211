"""Scalar operations with numpy's meaning, and how tensors are read and reduced."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import sympy
import tvm
from tvm import tirx

from tests.kernels.built import TARGET, Built, hollow
from tilewright.backends.kernels.expr import Namespace
from tilewright.backends.kernels.loops import Expr, Loops
from tilewright.backends.tvm_adapter import tvm_target
from tilewright.ir import dims

B = Namespace({})
EDGES = np.array([0, -0.0, 1, -1, 0.5, 1.5, 2.5, -2.5, 7.25, -7.25, np.inf, -np.inf, np.nan, 1e30], np.float32)
X, Y = (a.ravel().copy() for a in np.meshgrid(EDGES, EDGES))

BINARY: dict[str, tuple[Callable[[Expr, Expr], Expr], Callable[..., object]]] = {
    "minimum": (B.minimum, np.minimum),
    "maximum": (B.maximum, np.maximum),
    "floormod": (B.floormod, np.mod),
    "fmod": (B.fmod, np.fmod),
    "select": (lambda x, y: B.select(B.logical_and(x > 0.0, B.not_equal(y, 1)), x, y),
               lambda x, y: np.where((x > 0) & (y != 1), x, y)),
    "max with a number": (lambda x, y: B.maximum(x, 0.0), lambda x, y: np.maximum(x, 0)),
    "number with min": (lambda x, y: B.minimum(6.0, y), lambda x, y: np.minimum(6, y)),
    "round": (lambda x, y: B.round(x), lambda x, y: np.round(x)),
    "isinf": (lambda x, y: B.cast(B.isinf(x), "float32"), lambda x, y: np.isinf(x)),
    "isnan": (lambda x, y: B.cast(B.isnan(x), "float32"), lambda x, y: np.isnan(x)),
    "square": (lambda x, y: B.pow(x, 2.0), lambda x, y: np.square(x)),
    "not equal": (lambda x, y: B.cast(B.not_equal(x, y), "float32"), lambda x, y: x != y),
    "equal": (lambda x, y: B.cast(B.equal(x, y), "float32"), lambda x, y: x == y),
    "not less": (lambda x, y: B.cast(B.logical_not(x < y), "float32"), lambda x, y: ~(x < y)),
    "to bool": (lambda x, y: B.cast(B.cast(x, "bool"), "float32"), lambda x, y: x.astype(bool)),
    "xor": (lambda x, y: B.cast(B.logical_xor(x > 0.0, y > 0.0), "float32"), lambda x, y: (x > 0) ^ (y > 0)),
    "trunc": (lambda x, y: B.trunc(x), lambda x, y: np.trunc(x)),
}  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
def test_scalar(name: str) -> None:
    compute, reference = BINARY[name]
    k = Loops("scalar")
    n = k.dim("n")
    x, y, z = k.buffer("x", (n,)), k.buffer("y", (n,)), k.buffer("z", (n,))
    k.lanes(n, 16, lambda i: k.store(z, (i,), compute(x[i], y[i])))
    with np.errstate(all="ignore"):
        expected = np.asarray(reference(X, Y), np.float32)
    np.testing.assert_array_equal(Built(k)(X, Y, hollow(X.size)), expected)


def lowered(compute: Callable[[Expr], Expr]) -> str:
    """What LLVM gets of 16 elements at once. TVM names the loop over a vector's elements, where it makes one, v_s."""
    k = Loops("vector")
    x, y = k.buffer("x", (16,)), k.buffer("y", (16,))
    with k.vectorized(16) as lane:
        k.store(y, (lane,), compute(x[lane]))
    cpu = tvm_target(TARGET)
    module = tirx.transform.BindTarget(cpu.with_host(cpu))(tvm.IRModule({"vector": k.func()}))
    return str(tirx.transform.VectorizeLoop(True)(module))


VECTORS: dict[str, Callable[[Expr], Expr]] = {
    "round": B.round,
    "isnan": lambda x: B.select(B.isnan(x), 1.0, x),
    "maximum": lambda x: B.maximum(x, x * x),
    "minimum": lambda x: B.minimum(x, x * x),
    "not less": lambda x: B.select(B.logical_not(x < x * x), 1.0, x),
    "sigmoid": B.sigmoid,
    "exp": B.exp,
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_stay_vectors(name: str) -> None:
    assert "v_s" not in lowered(VECTORS[name])


def test_what_is_no_vector_is_seen() -> None:
    assert "v_s" in lowered(tirx.nearbyint)


def test_tensors_are_read_through_stages() -> None:
    """A stage is computed where it is read; a reduction must be made first."""
    k = Loops("stages")
    n = k.dim("n")
    x, y = k.buffer("x", (n, 4)), k.buffer("y", (n,))
    b = Namespace({"n": n})
    doubled = b.stage((n, 4), "float32", lambda i, j: b.buffer(x, (n, 4), "float32")(i, j) * 2.0)
    total = b.reduce("max", (n,), (4,), "float32", lambda index, reduced: doubled(*index, *reduced))
    with pytest.raises(ValueError, match="before"):
        total(0)
    with k.serial(n) as i:
        k.store(y, (i,), total.initial)
        with k.serial(4) as j:
            k.store(y, (i,), total.fold(y[i], total.term((i,), (j,))))
    total.bind_buffer(y)
    assert total.is_placed
    assert b.reductions == [total]
    data = np.array([[1, 5, 2, 3], [-4, -3, np.nan, -1]], np.float32)
    np.testing.assert_array_equal(Built(k)(data, hollow(2)), [10, np.nan])


def test_sizes_and_tables() -> None:
    k = Loops("sizes")
    n = k.dim("n")
    y = k.buffer("y", (n,), "int64")
    b = Namespace({"n": n})
    size = dims.symbol("n")
    table = b.tensor_const(np.array([3, 1, 4], np.int64))
    with k.serial(n) as i:
        k.store(y, (i,), table(b.floormod(i, 3)) * b.dim(dims.floordiv(size * size + 1, 2) + sympy.Min(size, 5)))
    numbers = Built(k)(np.zeros(4, np.int64))
    assert numbers.tolist() == [3 * 12, 12, 4 * 12, 3 * 12]
