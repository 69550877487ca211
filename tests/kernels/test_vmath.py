"""Every elementary function over the whole range of float32, against numpy in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from tests.frontend.onnx_text import model
from tests.kernels.built import TARGET, Array, Built, hollow
from tilewright.backends.kernels import vmath
from tilewright.backends.kernels.loops import Expr, Loops
from tilewright.frontend import read
from tilewright.ir.ops.rational import rational_sigmoid, rational_tanh

SPECIAL = np.array(
    [0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1.17549435e-38, 88.72283, 88.72284, -87.34, -103.97, -104,
     3.4e38, -3.4e38, 0.625, -0.625, 475 / 512, 1e-20, -1e-20], np.float32)  # fmt: skip
EVERY_4099TH = np.arange(0, 2**32, 4099, dtype=np.uint64).astype(np.uint32).view(np.float32)
ARGUMENTS = np.concatenate([SPECIAL, EVERY_4099TH, np.linspace(-110, 110, 200_001, dtype=np.float32)])


def sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0, small, 1) / (1 + small))


def erf(x: Array) -> Array:
    return np.array([math.erf(v) for v in x])


FUNCTIONS: dict[str, tuple[Callable[[Expr], Expr], Callable[[Array], Array], float]] = {
    "exp": (vmath.exp, np.exp, 1.1),
    "log": (vmath.log, np.log, 1.0),
    "tanh": (vmath.tanh, np.tanh, 2.0),
    "erf": (vmath.erf, erf, 2.0),
    "sigmoid": (vmath.sigmoid, sigmoid, 3.0),
}


def computed(function: Callable[[Expr], Expr], x: Array) -> Array:
    k = Loops("function")
    n = k.dim("n")
    source, result = k.buffer("source", (n,)), k.buffer("result", (n,))
    k.lanes(n, 16, lambda j: k.store(result, (j,), function(source[j])))
    return Built(k)(x, hollow(*x.shape))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_is_as_stated(name: str) -> None:
    function, reference, ulps = FUNCTIONS[name]
    with np.errstate(all="ignore"):
        exact = reference(ARGUMENTS.astype(np.float64))
        rounded = exact.astype(np.float32)
    result = computed(function, ARGUMENTS)
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(result[~finite], rounded[~finite])
    distance = np.abs(result[finite].astype(np.float64) - exact[finite])
    if name == "sigmoid":
        far = ARGUMENTS[finite] < -87
        assert not result[finite][far].any()
        distance[far] = 0
    assert (distance / np.spacing(np.abs(rounded[finite]))).max() <= ulps


def test_exp_or_zero() -> None:
    x = np.concatenate([np.linspace(-86.9, 87, 1001), [-87.1, -200, -np.inf, np.nan]]).astype(np.float32)
    expected = np.where(x < -87, 0, np.exp(x.astype(np.float64)))
    np.testing.assert_allclose(computed(vmath.exp_or_zero, x), expected, rtol=2e-7)


def test_gelu() -> None:
    x = np.concatenate([np.linspace(-20, 20, 400_001), [1e30, -1e30, np.inf, np.nan]]).astype(np.float32)
    exact = np.array([0.5 * v * math.erfc(-v * math.sqrt(0.5)) for v in x.astype(np.float64)])
    result = computed(vmath.gelu, x)
    np.testing.assert_allclose(result, exact, rtol=3e-6, atol=1e-7)
    near = (x > -5) & (x < 0)
    np.testing.assert_allclose(result[near], exact[near], rtol=3e-6)
    assert np.isnan(computed(vmath.gelu, np.float32([-np.inf]))).all()  # 0 times infinity, as in the definition


RATIONAL: dict[str, tuple[Callable[[Expr], Expr], Callable[[Array], Array], Callable[[Array], Array], float]] = {
    "Sigmoid": (vmath.rational_sigmoid, rational_sigmoid, sigmoid, 1.7e-7),
    "Tanh": (vmath.rational_tanh, rational_tanh, np.tanh, 3.3e-7),
}


@pytest.mark.skipif(not TARGET.has("fma"), reason="onnxruntime's last bits are others without multiply-adds")
@pytest.mark.parametrize("name", RATIONAL)
def test_bits_are_those_of_onnxruntime(name: str) -> None:
    function, reference, exact, error = RATIONAL[name]
    usual = np.random.default_rng(0).normal(scale=4, size=1_000_000).astype(np.float32)
    x = np.concatenate([ARGUMENTS, usual, np.array([9, -9, 18, -18, 1e-38, -1e-38], np.float32)])
    wanted = read(model(f"(float[n] x) => (float[n] y) {{ y = {name}(x) }}", 17)).original({"x": x})[0]
    with np.errstate(all="ignore"):
        found, referred = computed(function, x), reference(x)
        np.testing.assert_allclose(found, exact(x.astype(np.float64)), rtol=0, atol=error)
    for ours in (found, referred):
        np.testing.assert_array_equal(ours, wanted)
        np.testing.assert_array_equal(np.signbit(ours[~np.isnan(x)]), np.signbit(wanted[~np.isnan(x)]))


def test_unfused_products_are_rounded_before_they_are_added() -> None:
    k = Loops("function")
    n = k.dim("n")
    x, y, z, result = (k.buffer(name, (n,)) for name in ("x", "y", "z", "result"))
    k.lanes(n, 16, lambda j: k.store(result, (j,), vmath.unfused(x[j] * y[j]) + z[j]))
    a, b, c = np.random.default_rng(0).normal(size=(3, 1001)).astype(np.float32)
    np.testing.assert_array_equal(Built(k)(a, b, c, hollow(1001)), a * b + c)
    once = (a.astype(np.float64) * b + c).astype(np.float32)
    assert np.count_nonzero(once != a * b + c) > 100


@pytest.mark.parametrize("by", [6, 0.7, -1.4142135, 49, 2.0**40 + 2.0**17])
def test_division_by_a_constant_is_rounded_right(by: float) -> None:
    """For all mantissas but one in millions, signs, infinities and NaN; to a unit among the smallest."""
    assert vmath.has_quick_quotient(by)
    mantissas = (np.arange(2**23, dtype=np.uint32) | 0x3F800000).view(np.float32)
    wrong = np.flatnonzero(computed(lambda x: vmath.divided(x, by), mantissas) != mantissas / np.float32(by))
    assert len(wrong) <= 1
    others = ARGUMENTS[~np.isin(ARGUMENTS.view(np.uint32) & 0x7FFFFF, wrong)]
    with np.errstate(all="ignore"):
        expected = others / np.float32(by)
    result = computed(lambda x: vmath.divided(x, by), others)
    tiny = np.abs(expected) < 1e-30
    np.testing.assert_array_equal(result[~tiny], expected[~tiny])
    assert np.array_equal(np.signbit(result)[~np.isnan(expected)], np.signbit(expected)[~np.isnan(expected)])
    assert np.abs(result[tiny].view(np.int32) - expected[tiny].view(np.int32)).max() <= 1


def test_multiples_have_their_quotients() -> None:
    """What comes out even is exact: positions that are divided and rounded down stay where they are."""
    for by in (3, 7, 41, 49, 1000):
        multiples = np.arange(-4000, 4000, dtype=np.float32) * by
        np.testing.assert_array_equal(computed(lambda x, by=by: vmath.divided(x, by), multiples), multiples / by)


@pytest.mark.parametrize("by", [0, 4, -0.5, 1e30, 1e-30, math.inf, math.nan])
def test_constants_by_which_the_processor_divides(by: float) -> None:
    assert not vmath.has_quick_quotient(by)
