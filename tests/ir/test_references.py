"""References against what is known from elsewhere: Python's arithmetic, formulas, and numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewright.ir import Array, apply_op, constant, type_of
from tilewright.ir.errors import TypeInferenceError
from tilewright.ir.ops import TABLE
from tilewright.ir.ops.erf import erf

NAN = math.nan


def _f32(items: Any) -> Array:
    return np.array(items, dtype=np.float32)


def _i8(items: Any) -> Array:
    return np.array(items, dtype=np.int8)


def _ref(name: str, *arrays: Any, **attrs: Any) -> Any:
    row = TABLE[name]
    results = row.run(row.complete(attrs), [np.asarray(a) for a in arrays])
    return results[0] if len(results) == 1 else results


@given(st.floats(-30, 30) | st.floats(-1, 1) | st.sampled_from((0.46875, 4.0, 6.0, -0.0, math.inf, -math.inf)))
def test_erf_is_right_to_the_last_digits(x: float) -> None:
    assert float(erf(np.asarray(x))) == pytest.approx(math.erf(x), rel=4e-16, abs=0)


def test_erf_of_nan_is_nan() -> None:
    assert np.isnan(erf(np.array([NAN]))).all()


@given(st.integers(-100, 100), st.integers(-100, 100).filter(bool))
def test_integer_division(x: int, y: int) -> None:
    assert int(_ref("div", x, y)) == math.trunc(x / y)
    assert int(_ref("mod", x, y)) == x % y
    assert int(_ref("mod", x, y, fmod=True)) == math.fmod(x, y)


@given(st.integers(-7, 7), st.integers(-3, 9))
def test_integer_powers(x: int, y: int) -> None:
    if x or y >= 0:
        assert int(_ref("pow", x, y)) == math.trunc(x**y)


def test_rounding_and_signs() -> None:
    assert _ref("round", _f32([0.5, 1.5, 2.5, -0.5, -1.5])).tolist() == [0, 2, 2, 0, -2]
    assert _ref("sign", _f32([-2, 0, 3])).tolist() == [-1, 0, 1]
    assert np.isnan(_ref("sign", _f32([NAN]))).all()
    assert _ref("sigmoid", _f32([-1000, 0, 1000])).tolist() == [0, 0.5, 1]
    assert _ref("cast", _f32([-1.9, 1.9]), to="int8").tolist() == [-1, 1]
    assert _ref("cast", _f32([0, 0.5, NAN]), to="bool").tolist() == [False, True, True]
    assert _ref("cast", np.array(["1.5", "-2"], dtype=object), to="float32").tolist() == [1.5, -2]
    assert _ref("cast", np.array([1, -2]), to="string").tolist() == ["1", "-2"]


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate: str) -> None:
    assert float(_ref("gelu", _f32(1), approximate=approximate)) == pytest.approx(0.8413447, abs=3e-4)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_half_precision_is_kept(dtype: str) -> None:
    x = np.linspace(-2, 2, 5).astype(dtype)
    for name, attrs in (("exp", {}), ("softmax", {"axis": 0}), ("reduce_mean", {"axes": (0,)}), ("gelu", {})):
        assert _ref(name, x, **attrs).dtype == dtype


def test_sums_of_halves_are_not_made_in_halves() -> None:
    assert _ref("reduce_mean", np.full(4096, 1.5, dtype=np.float16), axes=(0,)) == 1.5
    assert _ref("reduce_sum", np.full(200, 100, dtype=np.int8), axes=(0,)) == np.int64(20000).astype(np.int8)


def test_reductions_of_nothing() -> None:
    nothing = np.zeros((2, 0), dtype=np.float32)
    wanted = {"reduce_sum": 0.0, "reduce_prod": 1.0, "reduce_max": -math.inf, "reduce_min": math.inf}
    for name, value in wanted.items():
        assert _ref(name, nothing, axes=(1,)).tolist() == [value, value]
    assert _ref("reduce_max", np.array([True, False]), axes=(0,)).tolist() is True


def test_softmax_and_norms() -> None:
    x = _f32([[1, 2, 3], [1000, 1000, 1000]])
    wanted = np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum()
    np.testing.assert_allclose(_ref("softmax", x, axis=1), [wanted, [1 / 3] * 3], rtol=1e-6)
    np.testing.assert_allclose(_ref("log_softmax", x, axis=1), np.log([wanted, [1 / 3] * 3]), rtol=1e-6)
    scale, bias = _f32([1, 2, 3]), _f32([0, 0, 1])
    root = math.sqrt(2 / 3)
    np.testing.assert_allclose(
        _ref("layer_norm", x, scale, bias, axis=1, epsilon=0.0)[:1], [[-1 / root, 0, 3 / root + 1]], rtol=1e-6
    )
    np.testing.assert_allclose(
        _ref("rms_norm", x, scale, axis=1, epsilon=0.0)[:1], x[:1] * scale / math.sqrt(14 / 3), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("attrs", "wanted"),
    [
        ({}, [1, 3, 6]),
        ({"exclusive": True}, [0, 1, 3]),
        ({"reverse": True}, [6, 5, 3]),
        ({"exclusive": True, "reverse": True}, [5, 3, 0]),
    ],
)
def test_cumsum(attrs: dict[str, bool], wanted: list[int]) -> None:
    assert _ref("cumsum", np.array([1, 2, 3]), axis=0, **attrs).tolist() == wanted


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.booleans(), st.data())
def test_top_k_is_a_stable_sort(items: list[int], largest: bool, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, len(items)))
    values, places = _ref("top_k", np.array(items, dtype=np.uint8), k=k, axis=0, largest=largest)
    order = sorted(range(len(items)), key=lambda i: (-items[i] if largest else items[i], i))[:k]
    assert places.tolist() == order
    assert values.tolist() == [items[i] for i in order]


def test_arg_reductions_choose_among_equals() -> None:
    x = np.array([2, 5, 5, 2])
    assert [int(_ref(name, x, axis=0)) for name in ("argmax", "argmin")] == [1, 0]
    assert [int(_ref(name, x, axis=0, select_last=True)) for name in ("argmax", "argmin")] == [2, 3]


def test_quantize_rounds_to_even_and_saturates() -> None:
    x = _f32([-1000, -0.5, 0.5, 1.5, 2.5, 1000])
    assert _ref("quantize", x, _f32(1), np.uint8(10)).tolist() == [0, 10, 10, 12, 12, 255]
    assert _ref("dequantize", np.array([0, 10, 255], dtype=np.uint8), _f32(0.5), np.uint8(10)).tolist() == [
        -5,
        0,
        122.5,
    ]


def test_parameters_in_blocks() -> None:
    q = np.ones((1, 5), dtype=np.int8)
    result = _ref("dequantize", q, _f32([[1, 2, 3]]), _i8([[0, 1, 2]]), axis=1, block=2)
    assert result.tolist() == [[1, 1, 0, 0, -3]]


REFUSED: list[tuple[str, list[Array], dict[str, Any], str]] = [
    ("add", [_f32([1]), np.array([1])], {}, "different element types: float32, int64. .*Insert a cast"),
    ("exp", [np.array([1])], {}, "float16, bfloat16, float32, float64, not int64"),
    ("softmax", [_f32([1])], {"axis": 1}, "axis 1 is not one of the 1 axes"),
    ("softmax", [_f32([1])], {"axis": -1}, "axis -1 is not one of the 1 axes"),
    ("reduce_sum", [_f32([1])], {"axes": (0, 0)}, "names an axis twice"),
    ("where", [_f32([1]), _f32([1]), _f32([1])], {}, "the condition must be .*bool, not float32"),
    ("gelu", [_f32([1])], {"approximate": "erf"}, 'approximate is "erf"'),
    ("cast", [_f32([1])], {"to": "int3"}, "to is 'int3', which is not one of"),
    ("layer_norm", [_f32([[1]]), _f32([1, 2])], {"axis": 1, "epsilon": 0.0}, "must be equal, but they are 1 and 2"),
    ("top_k", [_f32([1])], {"k": 2, "axis": 0}, "k is 2, but axis 0 has 1 elements"),
    ("quantize", [_f32([1]), _f32(1), np.array(0)], {}, "the zero point must be .*not int64"),
    ("quantize", [_f32([1]), _f32([1]), _i8([0])], {}, "the scale must have 0 axes, not 1"),
    ("dequantize", [_i8([1, 2]), _f32([1])], {"axis": 0}, "must be equal, but they are 2 and 1"),
    ("range", [], {"start": 0, "step": 1, "size": -1, "dtype": "int64"}, "size holds the negative size -1"),
]


@pytest.mark.parametrize(("name", "arrays", "attrs", "message"), REFUSED)
def test_what_rows_refuse(name: str, arrays: list[Array], attrs: dict[str, Any], message: str) -> None:
    values = [constant(array, type_of(np.asarray(array)).dtype) for array in arrays]
    with pytest.raises(TypeInferenceError, match=message):
        apply_op(name, *values, **attrs)
