"""Matrix products of many shapes, with every tail, for several register tiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.kernels.built import NATIVE, Array, Built, hollow, normal
from tests.kernels.guarded import before_a_forbidden_page
from tilewright.backends.kernels import gemm as gemm_module
from tilewright.backends.kernels.amx_bytes import STEP
from tilewright.backends.kernels.amx_gemm import tile_on_amx
from tilewright.backends.kernels.amx_pieces import pieces_tile
from tilewright.backends.kernels.gemm import batched_gemm
from tilewright.backends.kernels.loops import Index, Loops
from tilewright.backends.kernels.matmul import matmul
from tilewright.backends.kernels.packing import pack_b, packed_b_shape
from tilewright.backends.kernels.packing_pieces import PIECES, SIDE, pack_pieces, packed_pieces_shape, pieces_of
from tilewright.backends.kernels.packing_quads import pack_quads, packed_quads_shape
from tilewright.backends.kernels.scaled import pack_scaled_b, packed_scaled_b_shape
from tilewright.backends.kernels.summation import BLOCK, Blocks
from tilewright.backends.kernels.tile import Tile, Vectors, choose_tile
from tilewright.backends.target import parse_target
from tilewright.backends.tvm_adapter import compile_function
from tilewright.backends.values import aligned_empty
from tilewright.ir.quads import QUAD

AVX2 = Vectors(lanes=8, registers=16)


def rows_of(tile: Tile) -> list[int]:
    """Every tail, and counts around those that share a pass over the weights."""
    return [*range(1, tile.rows + 2), 37, 132, 133, 300]


def dense(tile: Tile, columns: int, depth: int, known: int | None = None) -> Built:
    """x W + bias, for a known number of rows, or any."""
    k = Loops("dense")
    rows = known or k.dim("rows")
    x, w = k.buffer("x", (rows, depth)), k.buffer("w", (-(-columns // tile.columns), depth, tile.columns))
    bias, y = k.buffer("bias", (columns,)), k.buffer("y", (rows, columns))
    matmul(
        k, tile, rows, columns, depth,
        x, w, lambda i, j, value: k.store(y, (i, j), value + bias[j]),
    )  # fmt: skip
    return Built(k)


def check_close(result: Array, a: Array, b: Array, extra: Array | float = 0) -> None:
    """Within the error bound of a sum of products."""
    exact = a.astype(np.float64) @ b.astype(np.float64) + extra
    bound = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64) + np.abs(extra)
    assert (np.abs(result - exact) <= 1e-6 * bound + 1e-30).all()


@pytest.fixture(params=["near", "far", "deep"])
def steps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As weights that caches keep, as those that they keep a block of, and as those that are multiplied in steps."""
    monkeypatch.setattr(gemm_module, "_FAR", 1 << 60 if request.param == "near" else 0)
    monkeypatch.setattr(gemm_module, "DEEP", 0 if request.param == "deep" else 1 << 60)
    monkeypatch.setattr(gemm_module, "_BLOCKS", 0)


@pytest.mark.usefixtures("steps")
@pytest.mark.parametrize("rows", [1, 4, 12, 60])
def test_long_sums_are_precise(rows: int) -> None:
    """One by one, 4096 positive numbers lose some bits more than in blocks."""
    tile, depth = choose_tile(NATIVE, 24), 4096
    x, w = (np.abs(normal(*shape, seed=seed)) for seed, shape in enumerate([(rows, depth), (depth, 24)]))
    result = dense(tile, 24, depth)(x, pack_b(w, tile.columns), np.zeros(24, np.float32), hollow(rows, 24))
    exact = x.astype(np.float64) @ w
    assert (np.abs(result - exact) <= 1e-6 * exact).all()


def test_blocks_of_sums() -> None:
    """Every step is in one piece, none is long, and none begins behind the end."""
    for last in [*range(512, 3000), 8705, 67841]:
        blocks = Blocks.of((), last)
        assert blocks is not None
        assert (blocks.pieces - 1) * blocks.length < last <= blocks.pieces * blocks.length
        assert blocks.length <= 2 * BLOCK
    assert Blocks.of((3, 3), 64) == Blocks((3,), (3,), 1, 64)
    assert Blocks.of((31,), 124) == Blocks((31,), (), 1, 124)
    assert Blocks.of((3,), 700) == Blocks((3,), (), 3, 240)
    assert Blocks.of((3, 3), 16) is None


@pytest.mark.usefixtures("steps")
@pytest.mark.parametrize(
    ("machine", "columns", "depth"),
    [
        (NATIVE, 768, 64), (NATIVE, 100, 33), (NATIVE, 5, 7), (NATIVE, 48, 1), (AVX2, 50, 20), (AVX2, 128, 40),
        (NATIVE, 101, 1050), (NATIVE, 5, 3000), (AVX2, 64, 1024),  # several steps
    ],
)  # fmt: skip
def test_dense(machine: Vectors, columns: int, depth: int) -> None:
    tile = choose_tile(machine, columns)
    kernel = dense(tile, columns, depth)
    w, bias = normal(depth, columns, seed=1), normal(columns, seed=2)
    for rows in rows_of(tile):
        x = normal(rows, depth, seed=rows)
        result = kernel(x, pack_b(w, tile.columns), bias, hollow(rows, columns))
        check_close(result, x, w, bias)


@pytest.mark.usefixtures("steps")
@pytest.mark.parametrize(("machine", "columns", "depth"), [(NATIVE, 96, 40), (NATIVE, 100, 600), (AVX2, 50, 20)])
def test_dense_of_known_rows(machine: Vectors, columns: int, depth: int) -> None:
    """The last rows have a tile of their own."""
    w, bias = normal(depth, columns, seed=1), normal(columns, seed=2)
    for rows in (1, 5, 11, 12, 13, 20, 23, 61, 133):
        tile, x = choose_tile(machine, columns, rows=rows), normal(rows, depth, seed=rows)
        result = dense(tile, columns, depth, rows)(x, pack_b(w, tile.columns), bias, hollow(rows, columns))
        check_close(result, x, w, bias)


@pytest.fixture
def amx_tile() -> Tile:
    if not NATIVE.amx:
        pytest.skip("this processor has no AMX, or the system does not let us use it")
    return Tile(12, SIDE, NATIVE.lanes, fuses=True, registers=NATIVE.registers, amx=NATIVE.amx, amx_rows=4)


@pytest.mark.parametrize(
    ("columns", "depth"), [(768, 64), (100, 33), (48, 20), (101, 1050), (30, 1536), (600, 1600), (32, 2400)]
)
def test_dense_on_amx(amx_tile: Tile, columns: int, depth: int) -> None:
    """With tails of all kinds, several passes over the rows, and several groups of columns."""
    kernel = dense(amx_tile, columns, depth)
    w, bias = normal(depth, columns, seed=1), normal(columns, seed=2)
    for rows in [*rows_of(amx_tile), 16, 17, 31, 32, 33, 96, 128, 129, 500]:
        x = before_a_forbidden_page(normal(rows, depth, seed=rows))
        result = aligned_empty((rows, columns), x.dtype)
        kernel.run(x, pack_b(w, amx_tile.columns), bias, result)
        check_close(result, x, w, bias)


@pytest.mark.parametrize("columns", [96, 101, 20])
@pytest.mark.parametrize("depth", [64, 33, 20, 700])
@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "run-time"])
def test_dense_in_pieces(amx_tile: Tile, columns: int, depth: int, *, dynamic: bool) -> None:
    """For weights that are stored in pieces: few rows and many, with tails of all kinds."""
    tile, w, bias = replace(amx_tile, in_pieces=True), normal(depth, columns, seed=1), normal(columns, seed=2)
    packed = before_a_forbidden_page(pack_pieces(w))
    built = in_pieces(tile, None, columns, depth) if dynamic else None
    for rows in [0, 1, 15, 16, 17, 31, 32, 33, 48, 49, 64, 200, 777]:
        kernel = built or in_pieces(tile, rows, columns, depth)
        x = before_a_forbidden_page(normal(rows, depth, seed=rows)) if rows else normal(rows, depth)
        result = aligned_empty((rows, columns), x.dtype)
        kernel.run(x, packed, bias, result)
        check_close(result, x, w, bias)


def in_pieces(tile: Tile, rows: int | None, columns: int, depth: int) -> Built:
    """x W + bias, for a W in pieces."""
    k = Loops("dense")
    count: Index = k.dim("rows") if rows is None else rows
    x, w = k.buffer("x", (count, depth)), k.buffer("w", packed_pieces_shape(depth, columns), "uint16")
    bias, y = k.buffer("bias", (columns,)), k.buffer("y", (count, columns))
    matmul(k, tile, count, columns, depth, x, w, lambda i, j, value: k.store(y, (i, j), value + bias[j]))
    return Built(k)


def test_pieces_sum_up() -> None:
    """To the numbers themselves, but for those that are too small."""
    random = np.random.default_rng(0)
    numbers = normal(5000) * (10.0 ** random.integers(-30, 38, 5000)).astype(np.float32)
    pieces = [(piece.astype(np.uint32) << 16).view(np.float32).astype(np.float64) for piece in pieces_of(numbers)]
    assert len(pieces) == PIECES
    np.testing.assert_array_equal(sum(pieces), numbers)


def test_products_on_amx_keep_all_bits(amx_tile: Tile) -> None:
    """A product alone is right but for the last two bits, whatever its factors' sizes."""
    depth = columns = 32
    random = np.random.default_rng(0)
    x, w = np.zeros((500, depth), np.float32), np.zeros((depth, columns), np.float32)
    x[:, 7] = normal(500) * 10.0 ** random.integers(-12, 13, 500)
    w[7] = normal(columns, seed=1) * 10.0 ** random.integers(-12, 13, columns)
    result = dense(amx_tile, columns, depth)(x, pack_b(w, columns), np.zeros(columns, np.float32), hollow(500, columns))
    exact = x.astype(np.float64) @ w.astype(np.float64)
    assert (np.abs(result - exact) <= 2.0**-22 * np.abs(exact)).all()


def test_long_sums_on_amx_are_precise(amx_tile: Tile) -> None:
    """As those of the vector units, which sum in blocks."""
    depth = 4096
    x, w = (np.abs(normal(*shape, seed=seed)) for seed, shape in enumerate([(60, depth), (depth, 32)]))
    result = dense(amx_tile, 32, depth)(x, pack_b(w, amx_tile.columns), np.zeros(32, np.float32), hollow(60, 32))
    exact = x.astype(np.float64) @ w
    assert (np.abs(result - exact) <= 1e-6 * exact).all()


@pytest.mark.parametrize("scaled", [False, True])
def test_products_on_amx_are_built_everywhere(*, scaled: bool) -> None:
    """Even where they cannot run."""
    k, tile = Loops("product"), Tile(12, SIDE, 16, fuses=True, amx=2, amx_rows=20)
    rows = k.dim("rows")
    shape = packed_scaled_b_shape(70, 100, SIDE) if scaled else packed_b_shape(70, 100, SIDE)
    x, w = k.buffer("x", (rows, 70)), k.buffer("w", shape, "int8" if scaled else "float32")
    y = k.buffer("y", (rows, 100))
    matmul(k, tile, rows, 100, 70, x, w, lambda i, j, value: k.store(y, (i, j), value), scaled=scaled)
    assert compile_function(k.func(), k.name, parse_target("llvm -mcpu=sapphirerapids"))


def test_amx_is_for_matrices_that_are_worth_it() -> None:
    """Splitting rows costs as much as multiplying them by a few columns, and splitting columns likewise."""
    machine = Vectors(amx=2)
    tile = tile_on_amx(machine, 768, 768, None)
    assert tile is not None
    assert 12 < tile.amx_rows < 128
    assert tile_on_amx(machine, 768, 768, tile.amx_rows) == tile
    assert tile_on_amx(machine, 768, 768, tile.amx_rows - 1) is None
    assert tile_on_amx(machine, 16, 256, None) is None
    assert tile_on_amx(machine, 256, 16, None) is None
    assert tile_on_amx(Vectors(), 768, 768, None) is None


def test_small_matrices_are_stored_in_pieces() -> None:
    """Those that stay in the second-level cache, if there are rows enough."""
    machine = Vectors(amx=2)
    tile = pieces_tile(machine, 128, 128, 128)
    assert tile is not None
    assert tile.in_pieces
    assert pieces_tile(machine, 256, 256, 256) == tile
    assert pieces_tile(machine, 128, 128, 16) is None
    assert pieces_tile(machine, 768, 768, 1000) is None
    assert pieces_tile(machine, 32, 2048, 1000) is None
    assert pieces_tile(machine, 16, 96, 1000) is None
    assert pieces_tile(Vectors(), 128, 128, 128) is None


@pytest.mark.usefixtures("steps")
@pytest.mark.parametrize("weights", ["int8", "int16"])
@pytest.mark.parametrize(("columns", "depth"), [(768, 64), (100, 34), (5, 6), (48, 2), (101, 1050)])
def test_pairs(columns: int, depth: int, weights: str) -> None:
    """Sums of products of 16-bit integers are exact."""
    tile = choose_tile(NATIVE, columns, "int16")
    k = Loops("pairs")
    rows, shape = k.dim("rows"), packed_b_shape(depth, columns, tile.columns, tile.steps)
    x, w, y = (
        k.buffer("x", (rows, depth), "int16"),
        k.buffer("w", shape, weights),
        k.buffer("y", (rows, columns), "int32"),
    )
    matmul(k, tile, rows, columns, depth, x, w, lambda i, j, value: k.store(y, (i, j), value))
    kernel, random = Built(k), np.random.default_rng(depth)
    matrix = random.integers(-128, 128, (depth, columns)).astype(weights)
    for count in rows_of(tile):
        left = random.integers(-(2**15), 2**15, (count, depth)).astype(np.int16)
        result = kernel(left, pack_b(matrix, tile.columns, tile.steps), np.zeros((count, columns), np.int32))
        np.testing.assert_array_equal(result, left.astype(np.int32) @ matrix.astype(np.int32))


@pytest.mark.usefixtures("steps")
@pytest.mark.parametrize("large", [0, 1, 20])
@pytest.mark.parametrize(("columns", "depth"), [(768, 160), (100, 192), (5, 200), (8, 164), (101, 1060)])
def test_quads(columns: int, depth: int, large: int) -> None:
    """Sums of products of 8-bit integers are exact, also where two of them outgrow 16 bits."""
    random = np.random.default_rng(depth)
    matrix = random.integers(-64, 65, (depth, columns)).astype(np.int8)
    for quad in random.choice(depth // QUAD, large, replace=False):
        matrix[quad * QUAD : quad * QUAD + 2, random.integers(columns)] = random.choice([127, -128], 2)
    tile = choose_tile(NATIVE, columns, "uint8", spare=8 * -(-large // 8))
    k = Loops("quads")
    rows, shape = k.dim("rows"), packed_quads_shape(depth, columns, tile.columns, tile.spare)
    x, w, y = (
        k.buffer("x", (rows, depth), "uint8"),
        k.buffer("w", shape, "int8"),
        k.buffer("y", (rows, columns), "int32"),
    )
    matmul(k, tile, rows, columns, depth, x, w, lambda i, j, value: k.store(y, (i, j), value))
    kernel = Built(k)
    for count in rows_of(tile):
        left = random.integers(0, 256, (count, depth)).astype(np.uint8)
        left[0] = 255
        result = kernel(left, pack_quads(matrix, tile.columns, tile.spare), np.zeros((count, columns), np.int32))
        np.testing.assert_array_equal(result, left.astype(np.int32) @ matrix.astype(np.int32))


@pytest.mark.parametrize(("columns", "depth"), [(768, 64), (100, 68), (5, 124), (101, 1052)])
def test_quads_on_amx(amx_tile: Tile, columns: int, depth: int) -> None:
    """Sums are exact, and nothing is read beyond the last row."""
    tile = replace(amx_tile, dtype="uint8")
    k = Loops("quads")
    rows, shape = k.dim("rows"), packed_quads_shape(depth, columns, SIDE, 0, STEP)
    x, w = k.buffer("x", (rows, depth), "uint8"), k.buffer("w", shape, "int8")
    y = k.buffer("y", (rows, columns), "int32")
    matmul(k, tile, rows, columns, depth, x, w, lambda i, j, value: k.store(y, (i, j), value))
    kernel, random = Built(k), np.random.default_rng(depth)
    matrix = random.integers(-128, 128, (depth, columns)).astype(np.int8)
    packed = pack_quads(matrix, SIDE, 0, STEP)
    for count in [*rows_of(tile), 31, 32, 33, 64, 256, 257, 600]:
        left = before_a_forbidden_page(random.integers(0, 256, (count, depth)).astype(np.uint8))
        left[0] = 255
        result = aligned_empty((count, columns), np.dtype(np.int32))
        kernel.run(left, packed, result)
        np.testing.assert_array_equal(result, left.astype(np.int32) @ matrix.astype(np.int32))


@pytest.mark.parametrize("beside", [True, False], ids=["converted beside", "converted once"])
@pytest.mark.parametrize(("columns", "depth"), [(768, 200), (100, 33), (101, 1050), (5, 1)])
@pytest.mark.parametrize("rows", [None, 7, 50])
def test_scaled(rows: int | None, columns: int, depth: int, *, beside: bool) -> None:
    """Weights of 8 bits, with a scale for each column, give the products of the float32 weights that they stand for."""
    tile = choose_tile(NATIVE, columns, rows=rows)
    check_scaled(replace(tile, converts_beside=beside), columns, depth, rows)


@pytest.mark.parametrize(("columns", "depth"), [(768, 64), (100, 33), (101, 1050), (48, 1600)])
def test_scaled_on_amx(amx_tile: Tile, columns: int, depth: int) -> None:
    """Such weights are single pieces."""
    check_scaled(amx_tile, columns, depth)


def check_scaled(tile: Tile, columns: int, depth: int, known: int | None = None) -> None:
    k = Loops("scaled")
    rows = known or k.dim("rows")
    x = k.buffer("x", (rows, depth))
    w = k.buffer("w", packed_scaled_b_shape(depth, columns, tile.columns), "int8")
    y = k.buffer("y", (rows, columns))
    matmul(k, tile, rows, columns, depth, x, w, lambda i, j, value: k.store(y, (i, j), value), scaled=True)
    kernel, random = Built(k), np.random.default_rng(depth)
    scales = np.exp(random.uniform(-5, 0, columns)).astype(np.float32)
    matrix = random.integers(-128, 128, (depth, columns)).astype(np.float32) * scales
    packed = pack_scaled_b(matrix, tile.columns)
    for count in [known] if known else [*rows_of(tile), 2 * tile.rows + 1]:
        left = normal(count, depth, seed=count)
        check_close(kernel(left, packed, hollow(count, columns)), left, matrix)


def batched(transposed: bool) -> Built:
    k = Loops("batched")
    batch, rows, columns, depth = (k.dim(name) for name in ("batch", "rows", "columns", "depth"))
    right: tuple[Index, ...] = (columns, depth) if transposed else (depth, columns)
    a, b = k.buffer("a", (batch, 2, rows, depth)), k.buffer("b", (batch, 2, *right))
    c = k.buffer("c", (batch, 2, rows, columns))
    batched_gemm(
        k, choose_tile(NATIVE, columns), (batch, 2), rows, columns, depth,
        lambda n, h, i, d: a[n, h, i, d],
        lambda n, h, d, j: b[n, h, j, d] if transposed else b[n, h, d, j],
        lambda n, h, i, j, value: k.store(c, (n, h, i, j), value),
    )  # fmt: skip
    return Built(k)


@pytest.mark.parametrize("transposed", [False, True])
def test_batched(transposed: bool) -> None:
    kernel = batched(transposed)
    for batch, rows, columns, depth in [(1, 1, 1, 1), (2, 13, 37, 5), (1, 260, 70, 33), (3, 128, 64, 32)]:
        a, b = normal(batch, 2, rows, depth), normal(batch, 2, depth, columns, seed=1)
        right = np.ascontiguousarray(b.swapaxes(-1, -2)) if transposed else b
        check_close(kernel(a, right, hollow(batch, 2, rows, columns)), a, b)


@pytest.mark.parametrize("rows", [2, 7, 8, 264, 300, 384])
@pytest.mark.parametrize("machine", [NATIVE, AVX2, Vectors(lanes=8, registers=32)])
def test_batched_of_known_sizes(machine: Vectors, rows: int) -> None:
    """Rows are shared out evenly, and no task writes those of another, nor behind the end."""
    k, batch, columns, depth = Loops("known"), 2, 64, 12
    a, b = k.buffer("a", (batch, rows, depth)), k.buffer("b", (batch, depth, columns))
    y = k.buffer("y", (batch + 1, rows, columns))
    batched_gemm(
        k, choose_tile(machine, columns), (batch,), rows, columns, depth,
        lambda n, i, d: a[n, i, d], lambda n, d, j: b[n, d, j], lambda n, i, j, v: k.store(y, (n, i, j), v),
    )  # fmt: skip
    left, right = normal(batch, rows, depth), normal(batch, depth, columns, seed=1)
    result = Built(k)(left, right, np.full((batch + 1, rows, columns), 77, np.float32))
    check_close(result[:batch], left, right)
    assert (result[batch] == 77).all()


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (7, 4), (8, 4), (13, 5), (24, 6), (0, 6)])
def test_known_rows_are_shared_out_evenly(count: int, rows: int) -> None:
    assert Tile(6, 16, 8).for_rows(count).rows == rows


@pytest.mark.parametrize("places", [1, 49])
def test_rows_of_images(places: int) -> None:
    """There are as many to each of a number of images, and deep products choose between loops by their number."""
    k, columns, depth = Loops("images"), 384, 1536
    images, tile = k.dim("images"), choose_tile(NATIVE, columns)
    x, w = k.buffer("x", (images, places, depth)), k.buffer("w", packed_b_shape(depth, columns, tile.columns))
    y = k.buffer("y", (images * places, columns))
    flat = k.view(x, (images * places, depth))
    matmul(k, tile, images * places, columns, depth, flat, w, lambda i, j, v: k.store(y, (i, j), v))
    kernel, b = Built(k), normal(depth, columns, seed=1)
    for count in (1, 2, 30):
        a = normal(count, places, depth)
        result = kernel(a, pack_b(b, tile.columns), hollow(count * places, columns))
        check_close(result, a.reshape(-1, depth), b)


def test_everything_known() -> None:
    """Small products of known sizes stay on one thread."""
    k = Loops("small")
    tile = choose_tile(NATIVE, 9)
    x, w, y = k.buffer("x", (7, 3)), k.buffer("w", (1, 3, tile.columns)), k.buffer("y", (7, 9))
    matmul(k, tile, 7, 9, 3, x, w, lambda i, j, value: k.store(y, (i, j), value))
    assert "parallel" not in str(k.func())
    a, b = normal(7, 3), normal(3, 9, seed=1)
    check_close(Built(k)(a, pack_b(b, tile.columns), hollow(7, 9)), a, b)


def test_tiles_fit_the_registers() -> None:
    for machine in (Vectors(16, 32), Vectors(16, 32, halves=True), Vectors(8, 16), Vectors(4, 16)):
        for columns in (1, 16, 24, 40, 100, 384, 768, 1000):
            tile = choose_tile(machine, columns)
            assert tile.rows * tile.vectors + tile.vectors + 1 <= machine.registers
            assert tile.columns % tile.lanes == 0


@pytest.mark.parametrize(("columns", "lanes"), [(8, 8), (16, 16), (24, 8), (32, 8), (40, 8), (64, 16), (768, 16)])
def test_vectors_of_half_the_width_where_they_leave_less_empty(columns: int, lanes: int) -> None:
    tile = choose_tile(Vectors(16, 32, halves=True), columns)
    assert tile.lanes == lanes
    assert columns % tile.columns == 0
    assert choose_tile(Vectors(16, 32), columns).lanes == 16
    assert choose_tile(Vectors(16, 32, halves=True), columns, "int32").lanes == 16


def test_pack_b() -> None:
    packed = pack_b(np.arange(10, dtype=np.float32).reshape(2, 5), 4)
    assert packed.tolist() == [[[0, 1, 2, 3], [5, 6, 7, 8]], [[4, 0, 0, 0], [9, 0, 0, 0]]]
