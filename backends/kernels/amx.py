"""Products of float32 on the tiles of AMX, as precise as multiply-adds, from numbers in pieces of bfloat16.

A float32 has 24 bits of precision and a bfloat16 has 8: the first 8 bits, those that follow, and the rest are three
pieces, whose sum is the number exactly. Of the nine products of two numbers' pieces, six are summed, in float32; those
left out are together about as large as the last bit of the product (Henry, Tang and Heinecke, "Leveraging the bfloat16
artificial intelligence datatype for higher-precision computations", 2019). Integers of 8 bits are a single piece. AMX
multiplies up to sixteen times as many bfloat16 as the vector units do float32.

What is infinite has no pieces: products with it are NaN. Pieces below 2**-126 count as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import tirx

from tilewright.backends.kernels.loops import Expr, Index, Loops, index
from tilewright.backends.kernels.packing_pieces import DEPTH, PIECES, ROWS, SIDE

TILE = ROWS * DEPTH  # elements of a tile of pieces

TOGETHER = {PIECES: ((2, 0), (1, 0), (0, 0), (0, 2), (0, 1), (1, 1)), 1: ((2, 0), (1, 0), (0, 0))}
"""Which pieces of A and of B are multiplied, by the number of B's; neighbours share one of them, which stays loaded."""

_HALVES = [(row, column) for row in range(2) for column in range(2)]  # of a block of sums, in tiles 0 to 3
_LEFT, _RIGHT = (4, 5), (6, 7)  # the tiles of a piece

_SHAPE = """
@tilewright_amx_shape = private constant [64 x i8] [{bytes}], align 64
declare void @llvm.x86.ldtilecfg(ptr)
define void @tilewright_amx_begin() alwaysinline {{
  call void @llvm.x86.ldtilecfg(ptr @tilewright_amx_shape)
  ret void
}}
"""
_END = """
declare void @llvm.x86.tilerelease()
define void @tilewright_amx_end() alwaysinline {
  call void @llvm.x86.tilerelease()
  ret void
}
"""
_STORED = "declare void @llvm.x86.tilestored64(i8 immarg, ptr, i64)"
_FUNCTION = """
{declarations}
define void @{name}({parameters}) alwaysinline {{
{body}
  ret void
}}
"""


def begin(k: Loops) -> None:
    """Sets all tiles to their full size for a task, which finishes with `end`."""
    shape = bytes([1, 0, *[0] * 14, *[2 * DEPTH, 0] * 8, *[0] * 16, *[ROWS] * 8, *[0] * 8])
    k.runs_on("AMX")
    k.include(_SHAPE.format(bytes=", ".join(f"i8 {byte}" for byte in shape)))
    _call(k, "tilewright_amx_begin")


def end(k: Loops) -> None:
    """Gives the tiles back, which the system would have to keep whenever the thread rests."""
    k.include(_END)
    _call(k, "tilewright_amx_end")


@dataclass(frozen=True)
class Tiles:
    """Pieces of a pair of tiles. From the element `first` on, bytes from row to row, to the second tile, to a piece."""

    first: Expr
    row: Index = 2 * DEPTH
    second: Index = 2 * TILE
    piece: Index = 4 * TILE


def multiply(k: Loops, steps: Index, a: Callable[[Expr], Tiles], b: Callable[[Expr], Expr], pieces: int,
             sums: Expr, between: Callable[[Expr, int], None]) -> None:  # fmt: skip
    """As `multiply_in_tiles`, and puts the sums into a block of `SIDE` rows of `SIDE` from the element `sums` on."""
    multiply_in_tiles(k, steps, a, b, pieces, between)
    store_tiles(k, sums)


def multiply_in_tiles(
    k: Loops, steps: Index, a: Callable[[Expr], Tiles], b: Callable[[Expr], Expr], pieces: int,
    between: Callable[[Expr, int], None], rows: int = 2, columns: int = 2,
) -> None:  # fmt: skip
    """Sums over so many steps of `DEPTH` products, which stay in the tiles; what follows next need not wait for them.

    `a(step)` are the left numbers' pieces. `b(step)` is the first element of a pair of tiles of the right ones, which
    have so many `pieces`, one behind the other. `between(step, number)` emits other work between the
    `len(TOGETHER[pieces])` groups of products of a step, which take far longer than it. `rows` is 1 where only the
    first tile of each pair of the left numbers counts, `columns` of the right ones; that takes half as long.
    """
    _zero(k)
    with k.serial(steps, name="d") as d:
        left = a(d)
        distances = [index(distance) for distance in (left.row, left.second, left.piece)]
        for number in range(len(TOGETHER[pieces])):
            name = f"tilewright_amx_multiply_{rows}_{columns}_{pieces}_{number}"
            k.include(_group(name, pieces, number, rows, columns))
            _call(k, name, tirx.address_of(left.first), tirx.address_of(b(d)), *distances)
            between(d, number)


def multiply_bytes(k: Loops, steps: int, a: Callable[[Expr], Tiles], b: Callable[[Expr], Tiles], sums: Expr) -> None:
    """Sums of products of uint8 with int8, of 64 in each step, in a block of int32 as `multiply` has it of float32.

    `a(step)` and `b(step)` are pairs of tiles: of rows, and of columns with four neighbours of each.
    """
    name = "tilewright_amx_multiply_bytes"
    k.include(_bytes(name))
    _zero(k)
    with k.serial(steps, name="d") as d:
        left, right = a(d), b(d)
        places = [tirx.address_of(tiles.first) for tiles in (left, right)]
        _call(k, name, *places, *(index(n) for n in (left.row, left.second, right.row, right.second)))
    store_tiles(k, sums)


def store_pieces(k: Loops, x: Expr, y: Expr, to: Expr, pieces: int = PIECES) -> None:
    """The pieces of the float32 vectors x and y, x[i] beside y[i], from the element `to` on, as rows of tiles."""
    name = f"tilewright_pieces_{pieces}"
    k.include(_pieces(name, pieces))
    _call(k, name, x, y, tirx.address_of(to), index(4 * TILE))


def store_row_of_pieces(k: Loops, x: Expr, y: Expr, to: Expr, apart: Index) -> None:
    """The pieces of the float32 vectors x and y, one after the other, from the element `to` on, so many bytes apart."""
    name = "tilewright_row_of_pieces"
    k.include(_pieces(name, PIECES, in_order=True))
    _call(k, name, x, y, tirx.address_of(to), index(apart))


def load_rest(k: Loops, element: Callable[[Expr], Expr], count: Index) -> tuple[Expr, Expr]:
    """Two vectors of fewer numbers than a step has: `element(i)` for i < count, and zeros."""
    padded = k.local("padded", (DEPTH,))
    with k.vectorized(DEPTH) as lane:
        k.store(padded, (lane,), 0)
    k.lanes(count, ROWS, lambda lane: k.store(padded, (lane,), element(lane)))
    x, y = (tirx.BufferLoad(padded, [tirx.Ramp(index(i), index(1), ROWS)]) for i in (0, ROWS))
    return x, y


def _call(k: Loops, name: str, *arguments: Expr) -> None:
    k.emit(tirx.Evaluate(tirx.call_extern("void", name, *arguments)))


def _zero(k: Loops) -> None:
    name = "tilewright_amx_zero"
    body = [f"  call void @llvm.x86.tilezero(i8 {tile})" for tile in range(len(_HALVES))]
    k.include(_function(name, "", body, "declare void @llvm.x86.tilezero(i8 immarg)"))
    _call(k, name)


def store_tiles(k: Loops, sums: Expr) -> None:
    """The sums, as a block of `SIDE` rows of `SIDE` from the element `sums` on."""
    name, body = "tilewright_amx_store", []
    for tile, (row, column) in enumerate(_HALVES):
        body.append(f"  %p{tile} = getelementptr float, ptr %sums, i64 {(row * SIDE + column) * ROWS}")
        body.append(f"  call void @llvm.x86.tilestored64(i8 {tile}, ptr %p{tile}, i64 {4 * SIDE})")
    k.include(_function(name, "ptr %sums", body, _STORED))
    _call(k, name, tirx.address_of(sums))


def _group(name: str, pieces: int, number: int, rows: int, columns: int) -> str:
    """Loads what a group of products needs that the one before it has not, and multiplies."""
    groups = TOGETHER[pieces]
    before = groups[number - 1] if number else (None, None)
    left, right = groups[number]
    body: list[str] = []
    if right != before[1]:
        body.append(f"  %right = getelementptr i8, ptr %b, i64 {4 * TILE * right}")
        body += _loads("right", _RIGHT[:columns], str(2 * DEPTH), str(2 * TILE))
    if left != before[0]:
        body.append(f"  %distance = mul i64 %piece, {left}")
        body.append("  %left = getelementptr i8, ptr %a, i64 %distance")
        body += _loads("left", _LEFT[:rows], "%row", "%second")
    body += _products("tdpbf16ps", rows, columns)
    if number == len(groups) - 1:
        body += _idle_store(_RIGHT[columns - 1])
    declared = "\n".join([_declared("tdpbf16ps"), _STORED])
    return _function(name, "ptr %a, ptr %b, i64 %row, i64 %second, i64 %piece", body, declared)


def _idle_store(tile: int) -> list[str]:
    """Stores a tile that nobody reads.

    Where some 140 products or more go by without a store, the next one empties the pipeline: blocks of 6 to 12 steps
    take a fifth longer (Intel, Sapphire Rapids and later, measured).
    """
    return [
        "  %idle = alloca [64 x i8], align 64",
        f"  call void @llvm.x86.tilestored64(i8 {tile}, ptr %idle, i64 0)",
    ]


def _bytes(name: str) -> str:
    """Loads two pairs of tiles, and multiplies."""
    body = _loads("a", _LEFT, "%row", "%second") + _loads("b", _RIGHT, "%brow", "%bsecond") + _products("tdpbusd")
    parameters = "ptr %a, ptr %b, i64 %row, i64 %second, i64 %brow, i64 %bsecond"
    return _function(name, parameters, body, _declared("tdpbusd"))


def _loads(first: str, tiles: tuple[int, ...], row: str, second: str) -> list[str]:
    """Loads a pair of tiles, or the first of one, from the pointer `first` on."""
    return [
        f"  %{first}_second = getelementptr i8, ptr %{first}, i64 {second}",
        *(
            f"  call void @llvm.x86.tileloadd64(i8 {tile}, ptr %{first}{number}, i64 {row})"
            for tile, number in zip(tiles, ("", "_second"), strict=False)
        ),
    ]


def _products(instruction: str, rows: int = 2, columns: int = 2) -> list[str]:
    """Adds the products of both pairs to the tiles of sums, of so many rows and columns of tiles."""
    halves = ((tile, row, column) for tile, (row, column) in enumerate(_HALVES) if row < rows and column < columns)
    operands = (f"i8 {tile}, i8 {_LEFT[row]}, i8 {_RIGHT[column]}" for tile, row, column in halves)
    return [f"  call void @llvm.x86.{instruction}({each})" for each in operands]


def _declared(instruction: str) -> str:
    return (
        "declare void @llvm.x86.tileloadd64(i8 immarg, ptr, i64)\n"
        f"declare void @llvm.x86.{instruction}(i8 immarg, i8 immarg, i8 immarg)"
    )


def _pieces(name: str, pieces: int, *, in_order: bool = False) -> str:
    """The upper halves of what is left of x and y, as often as there are pieces; side by side, or those of y behind.

    The second one is rounded: what is left then has either sign, so that products that are not summed cancel out. The
    first is cut off, or the greatest numbers would become infinite.
    """
    v, i, halves = f"<{ROWS} x float>", f"<{ROWS} x i32>", f"<{2 * ROWS} x i16>"
    uppers = f"<{2 * ROWS} x i32> <{', '.join(f'i32 {number}' for number in range(1, 4 * ROWS, 2))}>"
    body: list[str] = []
    for p in range(pieces):
        rounding = 1 << 15 if p == 1 else 0
        for number in "xy":
            body += [
                f"  %{number}bits{p} = bitcast {v} %{number}{p} to {i}",
                f"  %{number}near{p} = add {i} %{number}bits{p}, splat (i32 {rounding})",
                f"  %{number}upper{p} = and {i} %{number}near{p}, splat (i32 -65536)",
                f"  %{number}piece{p} = bitcast {i} %{number}upper{p} to {v}",
                f"  %{number}{p + 1} = fsub {v} %{number}{p}, %{number}piece{p}",
            ]
        if in_order:
            body += [
                f"  %xhalves{p} = bitcast {i} %xnear{p} to {halves}",
                f"  %yhalves{p} = bitcast {i} %ynear{p} to {halves}",
                f"  %both{p} = shufflevector {halves} %xhalves{p}, {halves} %yhalves{p}, {uppers}",
            ]
        else:
            body += [
                f"  %lower{p} = lshr {i} %xnear{p}, splat (i32 16)",
                f"  %both{p} = or {i} %lower{p}, %yupper{p}",
            ]
        body += [
            f"  %distance{p} = mul i64 %apart, {p}",
            f"  %place{p} = getelementptr i8, ptr %to, i64 %distance{p}",
            f"  store {halves if in_order else i} %both{p}, ptr %place{p}, align {2 if in_order else 64}",
        ]
    return _function(name, f"{v} %x0, {v} %y0, ptr %to, i64 %apart", body)


def _function(name: str, parameters: str, body: Sequence[str], declarations: str = "") -> str:
    return _FUNCTION.format(name=name, parameters=parameters, body="\n".join(body), declarations=declarations)
