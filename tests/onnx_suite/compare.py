"""What an operator gave beside what it should have given, by the rules of ONNX's own test runner, or stricter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_TWO_UNITS = {"bfloat16": 2.0**-6}  # ONNX's runner allows two units in the last place


def assert_all_same(got: Sequence[Any], wanted: Sequence[Any], rtol: float, atol: float) -> None:
    """Raises AssertionError that names the output which differs."""
    assert len(got) == len(wanted), f"{len(got)} outputs instead of {len(wanted)}"
    for index, (value, right) in enumerate(zip(got, wanted, strict=True)):
        assert_same(value, right, rtol, atol, f"output {index}")


def assert_same(got: Any, wanted: Any, rtol: float, atol: float, what: str) -> None:
    """Arrays of the same shape, type and values; lists, dictionaries and None alike."""
    if wanted is None:
        assert got is None, f"{what} is {got!r} instead of nothing"
    elif isinstance(wanted, list | tuple):
        assert isinstance(got, list | tuple), f"{what} is a {type(got).__name__}, not a list"
        assert len(got) == len(wanted), f"{what} has {len(got)} elements instead of {len(wanted)}"
        for index, (value, right) in enumerate(zip(got, wanted, strict=True)):
            assert_same(value, right, rtol, atol, f"{what}, element {index}")
    elif isinstance(wanted, Mapping):
        assert got == wanted, f"{what} is {got!r} instead of {wanted!r}"
    else:
        assert_same_array(got, np.asarray(wanted), rtol, atol, what)


def assert_same_array(got: Any, wanted: np.ndarray[Any, Any], rtol: float, atol: float, what: str) -> None:
    array = np.asarray(got)
    assert array.shape == wanted.shape, f"{what} has shape {array.shape} instead of {wanted.shape}"
    if wanted.dtype.kind in "OUST":
        assert array.dtype.kind in "OUST", f"{what} has type {array.dtype} instead of strings"
        assert array.astype(str).tolist() == wanted.astype(str).tolist(), f"{what} is {array!r} instead of {wanted!r}"
        return
    assert array.dtype == wanted.dtype, f"{what} has type {array.dtype} instead of {wanted.dtype}"
    rtol = max(rtol, _TWO_UNITS.get(wanted.dtype.name, 0.0))
    if wanted.dtype.kind not in "biufc":  # the small types of ml_dtypes, with which numpy cannot subtract
        array, wanted = array.astype(np.float32), wanted.astype(np.float32)
    np.testing.assert_allclose(array, wanted, rtol=rtol, atol=atol, err_msg=what)
