"""Arrays on their way to the virtual machine."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.built import Array, normal, unaligned
from tilewright.backends.passage import Inlet
from tilewright.backends.program import Port, TensorSpec
from tilewright.backends.values import address


@pytest.fixture
def inlet() -> Inlet:
    return Inlet(Port("x", "x", TensorSpec("float32", ("n", 64))))


def entered(inlet: Inlet, array: Array) -> Array:
    return np.from_dlpack(inlet(array))


def test_large_arrays_are_used_where_they_lie(inlet: Inlet) -> None:
    x = unaligned(normal(1000, 64))
    assert address(entered(inlet, x)) == address(x)


@pytest.mark.parametrize("case", ["small", "read only", "other strides", "between elements"])
def test_others_are_copied(inlet: Inlet, case: str) -> None:
    x = normal(4 if case == "small" else 1000, 64)
    if case == "read only":
        x.flags.writeable = False
    elif case == "other strides":
        x = np.asfortranarray(x)
    elif case == "between elements":
        x = np.frombuffer(bytearray(b" " + x.tobytes()), np.uint8)[1:].view(np.float32).reshape(x.shape)
    found = entered(inlet, x)
    assert address(found) != address(x)
    np.testing.assert_array_equal(found, x)
