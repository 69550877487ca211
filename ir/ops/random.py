"""Random numbers, drawn on the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_dtype, require_sizes
from tilewright.ir.types import FLOATS, TensorType, numpy_dtype

_DISTRIBUTIONS = ("uniform", "normal", "gumbel")


def _infer_random(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    result = TensorType(attrs["dtype"], attrs["shape"])
    require_dtype(result, FLOATS, "the result")
    require_sizes(attrs["shape"], "the shape")
    require(attrs["distribution"] in _DISTRIBUTIONS, f"distribution is {attrs['distribution']!r}, not a known one")
    return (result,)


def _ref_random(attrs: Attrs, *order: Array) -> Array:
    """With a seed, numpy's generator of 2006 (Mersenne twister), which is frozen: the same numbers for ever."""
    seed = attrs["seed"]
    legacy = np.random.RandomState(None if seed is None else _bits(seed))
    draw: Mapping[str, object] = {"uniform": legacy.uniform, "normal": legacy.normal, "gumbel": legacy.gumbel}
    function = draw[attrs["distribution"]]
    assert callable(function)
    return np.asarray(function(attrs["a"], attrs["b"], attrs["shape"])).astype(numpy_dtype(attrs["dtype"]))


def _bits(seed: float) -> int:
    """A seed may be any float, the generator takes integers: a small one as itself."""
    whole = 0 <= seed < 2**32 and seed == int(seed)
    return int(seed) if whole else int(np.float32(seed).view(np.uint32))


def _samples_random() -> list[Sample]:
    return [
        Sample((), {"shape": (3, 4), "dtype": "float32", "distribution": "uniform", "a": -1.0, "b": 2.0, "seed": 7.0}),
        Sample((), {"shape": (2,), "dtype": "float16", "distribution": "normal", "a": 0.0, "b": 1.0, "seed": 0.5}),
        Sample((), {"shape": (2, 2), "dtype": "float64", "distribution": "gumbel", "a": 0.0, "b": 1.0, "seed": 1.0}),
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "random",
        Kind.OPAQUE,
        _infer_random,
        _ref_random,
        None,
        (0, None),
        {
            "shape": REQUIRED,
            "dtype": REQUIRED,
            "distribution": REQUIRED,
            "a": 0.0,
            "b": 1.0,
            "seed": None,
            "node": "",
        },
        _samples_random,
        "Random numbers: uniform in [a, b), or normal or Gumbel of mean or mode a and scale b. With a seed they are "
        "the same in every run. `node` tells apart what draws numbers of its own. Inputs only order this after others.",
    ),
)
