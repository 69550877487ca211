"""Importing is cheap, and running a saved model never imports what compiled it."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMPILER = ("onnx", "onnxruntime", "sympy", "networkx", "torch", "tvm")


def modules_after(code: str) -> set[str]:
    """The modules that a fresh process has imported once `code` has run."""
    code += "\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_the_package_itself_imports_nothing() -> None:
    imported = {name for name in modules_after("import tilewright") if name.startswith(("numpy", "tilewright"))}
    assert imported == {"tilewright"}


@pytest.mark.parametrize("code", ["import tilewright; tilewright.load", "import tilewright.backends.artifact"])
def test_loading_leaves_the_compiler_out(code: str) -> None:
    assert modules_after(code).isdisjoint(COMPILER)


def test_help_of_the_command_line_leaves_the_compiler_out() -> None:
    code = "import contextlib, tilewright.cli\nwith contextlib.suppress(SystemExit): tilewright.cli.main(['--help'])"
    assert modules_after(code).isdisjoint(COMPILER)


def test_public_names_are_there() -> None:
    import tilewright

    assert [name for name in tilewright.__all__ if not hasattr(tilewright, name)] == []
    assert dir(tilewright) == tilewright.__all__


def test_unknown_names_are_refused() -> None:
    import tilewright

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = tilewright.nothing
