"""Multiply-adds in assembly language: the numbers of a fused multiply-add, and sums that stay in their registers."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tvm
from tvm import tirx

from tests.kernels.built import NATIVE, TARGET, Built, hollow
from tilewright.backends.kernels.fused import multiply_add
from tilewright.backends.kernels.gemm import gemm
from tilewright.backends.kernels.loops import Loops, index
from tilewright.backends.kernels.multiply import multiply
from tilewright.backends.kernels.tile import choose_tile
from tilewright.backends.tvm_adapter import _lowered, tvm_target

pytestmark = pytest.mark.skipif(not NATIVE.fuses, reason="this processor has no fused multiply-add")


@pytest.mark.parametrize("loads", [True, False], ids=["loads", "loaded"])
def test_one_rounding(*, loads: bool) -> None:
    lanes = NATIVE.lanes
    k = Loops("fused")
    a, b, c = k.buffer("a", (1,)), k.buffer("b", (lanes,)), k.buffer("c", (lanes,))
    sums = k.local("sums", (lanes,))
    with k.vectorized(lanes) as lane:
        k.store(sums, (lane,), -1)
    every = tirx.Ramp(index(0), index(1), lanes)
    multiply_add(
        k, NATIVE.registers, sums, index(0), a[0] if loads else k.let("factor", a[0]), tirx.BufferLoad(b, [every])
    )
    with k.vectorized(lanes) as lane:
        k.store(c, (lane,), sums[lane])
    factor, other = np.array([1 + 2**-12], np.float32), np.full(lanes, 1 - 2**-12, np.float32)
    np.testing.assert_array_equal(Built(k)(factor, other, hollow(lanes)), np.full(lanes, -(2.0**-24), np.float32))


@pytest.mark.skipif(NATIVE.registers == 16, reason="this processor has no AVX-512")
def test_a_number_in_memory_is_broadcast_as_it_is_multiplied() -> None:
    """It is that of the moment, though memory holds others before and after."""
    lanes, count = NATIVE.lanes, 8
    k = Loops("changing")
    a, b, c = k.buffer("a", (count,)), k.buffer("b", (lanes,)), k.buffer("c", (lanes,))
    sums, held = k.local("sums", (lanes,)), k.local("held", (2,))
    every = tirx.Ramp(index(0), index(1), lanes)
    with k.vectorized(lanes) as lane:
        k.store(sums, (lane,), 0)
    for number in range(count):
        k.store(held, (number % 2,), a[number] + 1)
        multiply_add(k, NATIVE.registers, sums, index(0), held[number % 2], tirx.BufferLoad(b, [every]))
    with k.vectorized(lanes) as lane:
        k.store(c, (lane,), sums[lane])
    assert assembly(k).count(f"1to{lanes}") >= count
    numbers, other = np.arange(count, dtype=np.float32), np.arange(lanes, dtype=np.float32)
    np.testing.assert_array_equal(Built(k)(numbers, other, hollow(lanes)), (numbers.sum() + count) * other)


def test_sums_of_one_vector_stay_in_their_registers() -> None:
    tile, k = choose_tile(NATIVE, NATIVE.lanes), Loops("narrow")
    a, b, c = (
        k.buffer("a", (tile.rows, 512)),
        k.buffer("b", (512, tile.columns)),
        k.buffer("c", (tile.rows, tile.columns)),
    )
    multiply(k, tile, tile.rows, 512, lambda r, d: a[r, d], lambda d, j: b[d, j],
             lambda r, _, lane, total: k.store(c, (r, lane), total))  # fmt: skip
    loop = sums_in(k)
    assert loop.count("vfmadd231ps") >= tile.rows - 1
    assert not re.search(r"vmov\w+\s+%[yz]mm\d+,.*\(%rsp", loop)


@pytest.mark.parametrize("rows", [24, 31, None])
def test_sums_of_a_tile_stay_on_the_stack(rows: int | None) -> None:
    """TVM would ask for workspace memory, and give it back, around every tile."""
    tile, k = choose_tile(NATIVE, 128, rows=rows), Loops("product")
    count = rows or k.dim("rows")
    a, b = k.buffer("a", (count, 40)), k.buffer("b", (128 // tile.columns, 40, tile.columns))
    c = k.buffer("c", (count, 128))
    gemm(k, tile, count, 128, 40, a, b, lambda i, j, value: k.store(c, (i, j), value))
    assert "vfmadd" in assembly(k)
    assert "AllocWorkspace" not in assembly(k)


def sums_in(k: Loops) -> str:
    """The instructions from the first multiply-add of a kernel to its last."""
    shown = assembly(k)
    places = [match.start() for match in re.finditer("vfmadd", shown)]
    return shown[places[0] : places[-1] + 12]


def assembly(k: Loops) -> str:
    """The whole kernel."""
    cpu = tvm_target(TARGET)
    module = tirx.transform.BindTarget(cpu.with_host(cpu))(tvm.IRModule({k.name: k.func()}))
    return str(tvm.get_global_func("target.build.llvm")(_lowered(module), cpu).inspect_source("asm"))
