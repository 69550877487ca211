from __future__ import annotations

import json

import pytest

from tests.backends.hand_written import PROGRAM
from tilewright.backends.program import Program
from tilewright.backends.sizes import evaluate, parse_dim, symbols


def test_json_round_trip() -> None:
    assert Program.from_json(json.loads(json.dumps(PROGRAM.to_json()))) == PROGRAM


def test_kernels_are_listed_once() -> None:
    assert PROGRAM.kernels() == ("plus_one", "scale")


def test_outputs_that_share_memory_with_inputs_constants_or_each_other() -> None:
    assert PROGRAM.borrowed_outputs() == (False, False, True, True)


@pytest.mark.parametrize(
    ("text", "value"),
    [("a*(b//2 + 1)", 12), ("min(a, b, 2)", 2), ("max(a, b) % 4", 1), ("-a + 2*b", 7), ("((b) // (2))", 2)],
)
def test_sizes(text: str, value: int) -> None:
    assert evaluate(text, {"a": 3, "b": 5, "c": 0} | ({"b": 7} if text.startswith("a*") else {})) == value


def test_symbols() -> None:
    assert symbols(["max(batch, 1)*seq", 3, "heads"]) == {"batch", "seq", "heads"}


@pytest.mark.parametrize("text", ["__import__('os')", "a.b", "a if b else c", "a +", "open(a)", "[1]", "a ** b"])
def test_nothing_but_sizes_is_evaluated(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_dim(text)
