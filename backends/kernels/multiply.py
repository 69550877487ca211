"""The innermost loop of matrix kernels: the products that are added up in a register tile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import tirx

from tilewright.backends.kernels.fused import multiply_add
from tilewright.backends.kernels.loops import TURN, Buffer, Expr, Index, Loops, index, quotient
from tilewright.backends.kernels.quads import SpareQuads
from tilewright.backends.kernels.ranges import nested
from tilewright.backends.kernels.summation import Blocks
from tilewright.backends.kernels.tile import SUMS, TOGETHER, Meanwhile, Out, Tile

Load = Callable[..., Expr]
Accumulators = list[Buffer]  # one buffer for each column of registers


def multiply(
    k: Loops,
    tile: Tile,
    rows: int,
    depth: Index | Sequence[Index],
    a: Load,
    b: Load,
    out: Out,
    spare: SpareQuads | None = None,
    meanwhile: Meanwhile | None = None,
) -> None:
    """out(r, v, lane, sum over d of a(r, d) * b(d, c)) for r < rows and c = v * tile.lanes + lane, all in registers.

    With several extents as `depth` the sum goes over all of them: a(r, *place), b(*place, c). Where `tile.steps` = n,
    the last extent is a multiple of n, B is [depth / n, columns * n] with what is multiplied together side by side, and
    both are loads of one element, whose neighbours are loaded with it. Few rows have too few independent sums to hide
    the latency of a multiply-add: they keep several per element. Long sums of floats are made in blocks. `spare` are
    quads that are multiplied once more; `meanwhile` asks for what comes later, in tiles or halves, over one extent.
    """
    *outer, last = depth if isinstance(depth, Sequence) else (depth,)
    inner = quotient(last, tile.steps)
    meanwhile = meanwhile if 2 * rows >= tile.rows else None  # no second long loop for the few rows left over
    product = _Product(k, tile, rows, a, b, meanwhile, _adds_in_place(tile, outer))
    blocks = Blocks.of(outer, inner) if tile.dtype == "float32" else None
    sums = product.sums(outer, inner) if blocks is None else product.sums_in_blocks(blocks, inner)
    if spare is not None:
        with k.serial(k.let("count", spare.count()), name="e") as e:
            product.step((spare.row(e),), sums[0], k.let("quad", spare.place(e)))
    product.write(sums, out)


@dataclass(frozen=True)
class _Product:
    """What `multiply` multiplies; several `Accumulators` are those of steps in turn."""

    k: Loops
    tile: Tile
    rows: int
    a: Load
    b: Load
    meanwhile: Meanwhile | None
    in_place: bool

    def sums_in_blocks(self, blocks: Blocks, last: int) -> list[Accumulators]:
        """As `sums`, in blocks of all extents."""
        totals = self._zeros("total")
        with nested(self.k, blocks.outside) as lead, self.k.serial(blocks.pieces, name="piece") as piece:
            start = piece * blocks.length
            sums = self.sums(blocks.within, blocks.count(last, start), lead, start)
            for v, total in enumerate(totals):
                with self.k.unrolled(self.rows) as r, self.k.vectorized(self.tile.lanes) as lane:
                    place = r * self.tile.lanes + lane
                    self.k.store(total, (place,), total[place] + _of_all(sums, v, place))
        return [totals]

    def sums(
        self, extents: Sequence[Index], count: Index, lead: Sequence[Expr] = (), start: Index = 0
    ) -> list[Accumulators]:
        """Over all of `extents` and `count` steps from `start` on, where the first extents are at `lead`."""
        k = self.k
        splits = max(1, SUMS // (self.rows * self.tile.vectors))
        together = max(splits, 1 + self.in_place) if self.meanwhile is None else TURN
        sums = [self._zeros(f"sum{s}") for s in range(splits)]
        whole = quotient(count, together)
        with nested(k, extents) as rest:
            place = (*lead, *rest)
            with k.serial(whole, name="d") as turn:
                if self.meanwhile is not None:
                    self.meanwhile(quotient(start, TURN) + turn)
                for s in range(together):
                    self.step((*place, start + turn * together + s), sums[s % splits])
            if together > 1:
                with k.serial(count - whole * together, name="d") as d:
                    self.step((*place, start + whole * together + d), sums[0])
        return sums

    def step(self, place: Sequence[Expr], sums: Accumulators, left: Expr | None = None) -> None:
        """Adds what A has at `place`, or at `left`, times what B has at `place`."""
        if self.tile.steps > 1:
            self._add_neighbours(place, sums, left)
        elif self.in_place:
            self._add_in_place(place, sums)
        else:
            self._add(place, sums)

    def _add_neighbours(self, place: Sequence[Expr], sums: Accumulators, left: Expr | None) -> None:
        lanes, steps, multiplied = self.tile.lanes, self.tile.steps, TOGETHER[self.tile.dtype][1]
        with self.k.unrolled(self.rows, name="r") as r:
            *lead, last = place if left is None else (left,)
            factor = multiplied.broadcast(self.k, self.a(r, *lead, last * steps), lanes)
            for v, total in enumerate(sums):
                first = self.b(*place, v * lanes * steps)
                multiplied.accumulate(self.k, total, r * lanes, factor, first, adds=self.tile.fuses)

    def _add_in_place(self, place: Sequence[Expr], sums: Accumulators) -> None:
        vectors = [self._vector(place, v) for v in range(len(sums))]
        with self.k.unrolled(self.rows, name="r") as r:
            loaded = self.a(r, *place)
            factor = loaded if len(vectors) == 1 else self.k.let("a", loaded)
            for vector, total in zip(vectors, sums, strict=True):
                multiply_add(self.k, self.tile.registers, total, r * self.tile.lanes, factor, vector)

    def _add(self, place: Sequence[Expr], sums: Accumulators) -> None:
        k, lanes = self.k, self.tile.lanes
        with k.unrolled(self.rows, name="r") as r:
            factor = k.let("a", self.a(r, *place))
            for v, total in enumerate(sums):
                with k.vectorized(lanes) as lane:
                    spot = r * lanes + lane
                    k.store(total, (spot,), total[spot] + factor * self.b(*place, lane + v * lanes))

    def _vector(self, place: Sequence[Expr], v: int) -> Expr:
        """One of the vectors that B has at `place`."""
        lanes = self.tile.lanes
        loaded = self.k.local("b", (lanes,), "float32")
        with self.k.vectorized(lanes) as lane:
            self.k.store(loaded, (lane,), self.b(*place, lane + v * lanes))
        return tirx.BufferLoad(loaded, [tirx.Ramp(index(0), index(1), lanes)])

    def write(self, sums: list[Accumulators], out: Out) -> None:
        """out(r, v, lane, sum) for all elements."""
        for v in range(self.tile.vectors):
            with self.k.unrolled(self.rows) as r, self.k.vectorized(self.tile.lanes) as lane:
                out(r, v, lane, _of_all(sums, v, r * self.tile.lanes + lane))

    def _zeros(self, name: str) -> Accumulators:
        """LLVM keeps them in registers once the loop over rows is unrolled."""
        size = self.rows * self.tile.lanes
        buffers = [self.k.local(f"{name}_{v}", (size,), self.tile.sums) for v in range(self.tile.vectors)]
        for buffer in buffers:
            with self.k.unrolled(self.rows) as r, self.k.vectorized(self.tile.lanes) as lane:
                self.k.store(buffer, (r * self.tile.lanes + lane,), 0)
        return buffers


def _adds_in_place(tile: Tile, outer: Sequence[Index]) -> bool:
    """Whether sums wander otherwise: with one vector to multiply, or several where loops follow each other.

    Those stay in registers as well here, which must be enough: without, each is loaded where it is multiplied.
    """
    fits = (tile.rows + 1) * tile.vectors + 1 < tile.registers
    return tile.fuses and tile.dtype == "float32" and (tile.vectors == 1 or (bool(outer) and fits))


def _of_all(sums: list[Accumulators], v: int, place: Expr) -> Expr:
    total = sums[0][v][place]
    for other in sums[1:]:
        total = total + other[v][place]
    return total
