"""A program of two hand-written kernels with a dynamic size, a view and a host call: the whole path in little."""

from __future__ import annotations

import ctypes
import os
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from tilewright.backends.program import (
    ENTRY,
    HostCall,
    KernelCall,
    Note,
    Port,
    Program,
    Region,
    Result,
    TensorSpec,
    View,
)
from tilewright.backends.target import Target
from tilewright.backends.values import Array

EMITTER = "tests.backends.hand_written:emit"
ROWS = TensorSpec("float32", ("n", 32))
HOST_TEXT = "graph(i0: float32[n, 32]) {\n  %0 = abs(i0)\n  return o0=%0\n}\n"

MAIN = Region(
    ENTRY,
    inputs=(Port("x", "x", ROWS),),
    outputs=(
        Port("result", "d", ROWS),
        Port("halves", "v", TensorSpec("float32", ("2*n", 16))),
        Port("same", "x", ROWS),
        Port("weight", "w", TensorSpec("float32", (32,))),
    ),
    steps=(
        KernelCall("plus_one", ("x",), (Result("a", ROWS),), (), Note(("/add",), "elementwise", "float32", "32*n")),
        KernelCall("scale", ("a", "w"), (Result("b", ROWS),), ("n // 2 + 1",), Note(("/scale",), "elementwise")),
        View("b", Result("v", TensorSpec("float32", ("2*n", 16)))),
        HostCall(HOST_TEXT, ("b",), (Result("c", ROWS),), (), (), Note(("/abs",), "host")),
        KernelCall("plus_one", ("c",), (Result("d", ROWS),)),
    ),
)
PROGRAM = Program(MAIN, constants=(Result("w", TensorSpec("float32", (32,))),))
WEIGHTS = {"w": np.linspace(-1, 1, 32, dtype=np.float32)}


def expected(x: Array) -> dict[str, Array]:
    b = (x + 1) * WEIGHTS["w"] * np.float32(len(x) // 2 + 1)
    return {"result": np.abs(b) + 1, "halves": b.reshape(-1, 16), "same": x, "weight": WEIGHTS["w"]}


@dataclass(frozen=True)
class Emitted:
    func: Any
    rule: str = "elementwise"
    packings: tuple[None, ...] = ()


def emit(text: str, name: str, target: Target) -> Emitted:
    """The kernel called `text`; some of them misbehave."""
    return Emitted(_KERNELS[text]())


def _plus_one() -> Any:
    from tilewright.backends.kernels.loops import Loops

    k = Loops("plus_one")
    n = k.dim("n")
    x, y = k.buffer("x", (n, 32)), k.buffer("y", (n, 32))
    with k.parallel(n) as i, k.vectorized(32) as j:
        k.store(y, (i, j), x[i, j] + 1.0)
    return k.func()


def _scale() -> Any:
    from tvm import tirx

    from tilewright.backends.kernels.loops import Loops

    k = Loops("scale")
    n, factor = k.dim("n"), k.dim("factor")
    x, w, y = k.buffer("x", (n, 32)), k.buffer("w", (32,)), k.buffer("y", (n, 32))
    with k.serial(n) as i, k.vectorized(32) as j:
        k.store(y, (i, j), x[i, j] * w[j] * tirx.Cast("float32", factor))
    return k.func()


_BEEN_HERE: list[str] = []


def crash() -> None:
    ctypes.string_at(0)


def say(text: str) -> None:
    _BEEN_HERE.append(text)
    os.write(2, text.encode())


def say_and_crash(text: str) -> None:
    say(text)
    crash()


def crash_unless_first() -> str:
    """Crashes in a process that ran another job before."""
    if _BEEN_HERE:
        crash()
    return "first"


def hang() -> None:
    time.sleep(60)


def fail() -> None:
    raise ZeroDivisionError("no such kernel")


def double(value: int) -> int:
    return 2 * value


def child_id() -> int:
    time.sleep(0.1)
    return os.getpid()


def process_id() -> int:
    return os.getppid()


_KERNELS = {"plus_one": _plus_one, "scale": _scale, "crash": crash, "fail": fail}
