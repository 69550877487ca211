"""Object files in, one shared library out, with whatever linker the machine has."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tilewright.ir.errors import BuildError

_LINKERS = ("ld", "ld.lld", "ld.gold", "ld.mold")
_DRIVERS = ("cc", "gcc", "clang")
_TIMEOUT_SECONDS = 120


def linker_command() -> list[str]:
    """How to call the first linker found. Raises BuildError, which says what to install, if there is none."""
    for name in _LINKERS:
        if path := shutil.which(name):
            return [path, "-shared"]
    for name in _DRIVERS:
        if path := shutil.which(name):
            return [path, "-shared", "-nostdlib"]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc", "-shared", "-nostdlib"]
    raise BuildError(
        "No linker was found, neither ld, lld, cc, gcc, clang nor Python's ziglang package.",
        hint="Run 'pip install ziglang', or install binutils or a C compiler.",
    )


def link(objects: Mapping[str, bytes]) -> bytes:
    """One shared library from object code by name.

    Objects refer to each other and to functions of the C library, which the process that loads the result has anyway:
    the library names no other library. Raises BuildError with the linker's own words.
    """
    with tempfile.TemporaryDirectory(prefix="tilewright-") as folder:
        for name, code in objects.items():
            Path(folder, f"{name}.o").write_bytes(code)
        output = Path(folder, "library.so")
        arguments = Path(folder, "arguments")
        arguments.write_text("\n".join(f"{name}.o" for name in objects))
        _run([*linker_command(), "-o", output.name, f"@{arguments.name}"], folder)
        return output.read_bytes()


def _run(command: list[str], folder: str) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"The linker ({' '.join(command)}) did not run: {error}.") from error
    if done.returncode:
        raise BuildError(f"The linker ({' '.join(command)}) failed: {done.stderr.strip() or done.stdout.strip()}.")
