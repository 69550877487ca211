"""Damaged, unsafe and unsupported models give one clear error, from Python and from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

import tilewright as tw
from examples.hostile import MODELS, compile_limited, write

EXPECTED = {
    "an unknown operator": "my.own.Frobnicate",
    "a truncated file": "model.onnx",
    "a cycle": "Add (output 'a'), Relu (output 'b')",
    "a shape of 2^40 elements": "1099511627776",
    "weights that claim 2^40 elements": "tensor 'w'",
    "a missing external file": "weights.bin",
    "an external path that leaves the folder": "'../secret.bin', which is not inside",
    "an external path from the root": "'/etc/hostname', which is not inside",
}


def test_all_are_listed() -> None:
    assert list(MODELS) == list(EXPECTED)


@pytest.mark.parametrize(("name", "expected"), EXPECTED.items(), ids=EXPECTED)
def test_hostile_from_python(name: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(tw.errors.CompilerError) as raised:
        tw.compile(write(name, tmp_path))
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("name", "expected"), EXPECTED.items(), ids=EXPECTED)
def test_hostile_from_the_command_line(name: str, expected: str, tmp_path: Path) -> None:
    done = compile_limited(write(name, tmp_path))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert expected in done.stderr
    assert not list(tmp_path.rglob("*.tw"))
