"""Plain loop nests in TIR: a builder that turns Python `with` blocks into one PrimFunc.

    k = Loops("scale")
    n = k.dim("n")
    x, y = k.buffer("x", (n, 64)), k.buffer("y", (n, 64))
    with k.parallel(n) as i, k.vectorized(64) as j:
        k.store(y, (i, j), x[i, j] * 2.0)
    func = k.func()

Every index is int64. Loops may have dynamic extents, except vectorized and unrolled ones. A scratch buffer lives in the
block that allocates it: allocate inside a parallel loop what each task needs for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any, TypeAlias

import tvm
from tvm import tirx

# TVM has no type information: these names say what is meant.
Expr: TypeAlias = Any
Buffer: TypeAlias = Any
Stmt: TypeAlias = Any
Index: TypeAlias = int | Expr
Condition: TypeAlias = bool | Expr

REQUIRES = "tilewright.requires"  # the attribute of a function that tells whether it checks anything by itself
_TASKS = "tilewright_pool_tasks"  # see pool.ll
ON_STACK = 1 << 10  # bytes, below which TVM keeps an array of a task on the stack
TURN = 8  # steps of a sum between two prefetches: often enough for all that comes later, and cheap beside the steps
FORK_WORK = 500_000  # multiply-adds that take several times as long as sharing them out


def dtype_of(value: Expr) -> str:
    """The dtype of a scalar expression, such as "float32" or "bool"."""
    return str(value.ty.dtype)


def itemsize(buffer: Buffer) -> int:
    """Bytes of an element."""
    return _bytes_of(str(buffer.ty.dtype))


def _bytes_of(dtype: str) -> int:
    return -(-int(tvm.DataType(dtype).bits) // 8)


def const(value: float, dtype: str) -> Expr:
    """An immediate of the given dtype."""
    return tirx.const(value, dtype)


def index(value: Index) -> Expr:
    """`value` as an int64 expression: index arithmetic never mixes widths."""
    if isinstance(value, int):
        return tirx.IntImm("int64", value)
    return value if dtype_of(value) == "int64" else tirx.Cast("int64", value)


def quotient(a: Index, b: Index) -> Index:
    """a // b for numbers known not to be negative, which is far cheaper than for any; an int when both are."""
    return a // b if isinstance(a, int) and isinstance(b, int) else tirx.truncdiv(index(a), index(b))


def remainder(a: Index, b: Index) -> Index:
    """a % b, likewise."""
    return a % b if isinstance(a, int) and isinstance(b, int) else tirx.truncmod(index(a), index(b))


def ceildiv(a: Index, b: int) -> Index:
    """a / b rounded up, for a not negative; an int when `a` is one."""
    return quotient(a + (b - 1), b)


def product(sizes: Iterable[Index]) -> Index:
    """All sizes multiplied; an int when all are."""
    return reduce(lambda a, b: a * b, sizes, 1)


def minimum(a: Index, b: Index) -> Index:
    """The smaller index; an int when both are."""
    return min(a, b) if isinstance(a, int) and isinstance(b, int) else tirx.min(index(a), index(b))


class Loops:
    """Builds one PrimFunc. Statements go to the innermost open block, in program order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._dims: list[Expr] = []
        self._params: list[Buffer] = []
        self._blocks: list[list[Stmt]] = [[]]
        self._requires = False
        self._included: dict[str, None] = {}
        self.units: dict[str, None] = {}

    # Parameters

    def dim(self, name: str) -> Expr:
        """A dynamic size: read from a parameter's shape, or a trailing int64 argument if it is no plain dim of any."""
        self._dims.append(tirx.Var(name, "int64"))
        return self._dims[-1]

    def buffer(self, name: str, shape: Sequence[Index], dtype: str = "float32") -> Buffer:
        """A tensor parameter: row-major; aliases no other parameter. Of a model's input only elements are aligned."""
        extents, alignment = [index(s) for s in shape], _bytes_of(dtype)
        self._params.append(tirx.decl_buffer(extents, dtype, name, data_alignment=alignment, layout=None))
        return self._params[-1]

    def func(self) -> tirx.PrimFunc:
        """The finished function: the buffers, then the dims that no buffer shape binds."""
        bound = [d for p in self._params for d in p.shape]
        scalars = [d for d in self._dims if not any(d.same_as(b) for b in bound)]
        body = _sequence(self._blocks[0])
        for source in self._included:
            body = tirx.AttrStmt(const(0, "int32"), "pragma_import_llvm", tvm.ir.StringImm(source), body)
        func = tirx.PrimFunc([*self._params, *scalars], body)
        func = func.with_attr({"global_symbol": self.name, "tirx.noalias": True, REQUIRES: self._requires})
        module = tvm.IRModule({self.name: func})
        return tirx.transform.ConvertSSA()(module)[self.name]  # a body may be duplicated, or an expression used twice

    # Loops and branches

    def serial(self, extent: Index, start: Index = 0, name: str = "i") -> _Loop:
        """for start <= i < start + extent."""
        return self._loop(tirx.stmt.ForKind.SERIAL, extent, start, name)

    def unrolled(self, extent: int, start: Index = 0, name: str = "u") -> _Loop:
        """A serial loop replaced by its iterations."""
        return self._loop(tirx.stmt.ForKind.UNROLLED, extent, start, name)

    def vectorized(self, extent: int, start: Index = 0, name: str = "v") -> _Loop:
        """A loop executed as single vector instructions of `extent` lanes."""
        kind = tirx.stmt.ForKind.VECTORIZED if extent > 1 else tirx.stmt.ForKind.SERIAL
        return self._loop(kind, extent, start, name)

    @contextmanager
    def parallel(self, extent: Index, worth: Condition = True, name: str = "p") -> Iterator[Expr]:
        """A loop whose iterations run on all threads, in contiguous shares, when `worth` holds; otherwise serially.

        `worth` weighs the work against a fork (about 1 us among threads that are awake). The pool is told how many
        tasks there are before the loop begins, a single one where it is not worth it.
        """
        if worth is not False:
            count = index(extent) if worth is True else tirx.Select(worth, index(extent), index(1))
            self.emit(tirx.Evaluate(tirx.call_extern("int32", _TASKS, count)))
        with self._loop(
            tirx.stmt.ForKind.PARALLEL if worth is not False else tirx.stmt.ForKind.SERIAL, extent, 0, name
        ) as p:
            yield p

    def lanes(self, extent: Index, lanes: int, body: Callable[[Expr], None]) -> None:
        """`body(j)` for j in [0, extent): vectors of `lanes`, then one at a time for the rest."""
        whole = quotient(extent, lanes)
        if not (isinstance(whole, int) and whole == 0):
            with self.serial(whole) as block, self.vectorized(lanes) as lane:
                body(block * lanes + lane)
        rest = extent - whole * lanes
        if not (isinstance(rest, int) and rest == 0):
            with self.serial(rest) as j:
                body(j + whole * lanes)

    @contextmanager
    def when(self, condition: Condition) -> Iterator[None]:
        """The block runs if the condition holds; a Python bool decides now."""
        with self._block() as block:
            yield
        if isinstance(condition, bool):
            self._blocks[-1].extend(block if condition else [])
        else:
            self.emit(tirx.IfThenElse(condition, _sequence(block), None))

    def branch(self, condition: Condition, then: Callable[[], None], otherwise: Callable[[], None]) -> None:
        """What `then` emits if the condition holds, else what `otherwise` emits; a Python bool decides now."""
        if isinstance(condition, bool):
            (then if condition else otherwise)()
            return
        with self._block() as first:
            then()
        with self._block() as second:
            otherwise()
        self.emit(tirx.IfThenElse(condition, _sequence(first), _sequence(second)))

    def indices(self, flat: Expr, shape: Sequence[Index]) -> list[Expr]:
        """The indices of element `flat` of a row-major array, as variables."""
        found = []
        for size in reversed(shape[1:]):
            found.append(self.let("at", index(remainder(flat, size))))
            flat = quotient(flat, size)
        return [*(self.let("at", index(flat)) for _ in shape[:1]), *reversed(found)]

    # Statements

    def emit(self, *statements: Stmt) -> None:
        """Append statements to the innermost open block."""
        self._blocks[-1].extend(statements)

    def store(self, buffer: Buffer, indices: Sequence[Index], value: Expr | float) -> None:
        """buffer[indices] = value, a number being converted to the buffer's dtype."""
        dtype = str(buffer.ty.dtype)
        value = const(value, dtype) if isinstance(value, bool | int | float) else value
        self.emit(tirx.BufferStore(buffer, value, [index(i) for i in indices]))

    def prefetch(self, buffer: Buffer, indices: Sequence[Index], level: int = 1) -> None:
        """Brings the cache line of an element near, to the cache of that level, without waiting for it.

        One past the end does no harm.
        """
        place = tirx.address_of(buffer[tuple(index(i) for i in indices)])
        read, locality, data = (tirx.IntImm("int32", n) for n in (0, 4 - level, 1))  # as llvm.prefetch takes them
        self.emit(tirx.Evaluate(tirx.call_intrin("void", "tirx.prefetch", place, read, locality, data)))

    def let(self, name: str, value: Expr) -> Expr:
        """A variable that holds the value until the block ends."""
        var = tirx.Var(name, value.ty)
        self.emit(tirx.stmt.Bind(var, value))
        return var

    def local(self, name: str, shape: Sequence[int], dtype: str = "float32") -> Buffer:
        """A small array of the task, on the stack if below `ON_STACK`. Constant indices make registers of it."""
        return self.scratch(name, shape, dtype)

    def scratch(self, name: str, shape: Sequence[Index], dtype: str = "float32") -> Buffer:
        """Workspace memory from the thread's pool, 64-byte aligned, uninitialised."""
        buffer = tirx.decl_buffer([index(s) for s in shape], dtype, name, scope="global", layout=None)
        self.emit(tirx.AllocBuffer(buffer))
        return buffer

    def view(self, buffer: Buffer, shape: Sequence[Index]) -> Buffer:
        """The same memory under another shape with as many elements."""
        name, dtype = f"{buffer.name}_view", str(buffer.ty.dtype)
        view = tirx.decl_buffer([index(s) for s in shape], dtype, name, data=buffer.data, layout=None)
        self.emit(tirx.DeclBuffer(view, data=buffer.data))
        return view

    def require(self, condition: Condition, message: str) -> None:
        """The kernel fails with `message` unless the condition holds."""
        if condition is not True:
            self._requires = True
            kind, text = tvm.ir.StringImm("ValueError"), tvm.ir.StringImm(message)
            test = tirx.const(condition, "bool") if isinstance(condition, bool) else condition
            # TVM 0.27 forwards the arguments in this order, whatever its signature says.
            self.emit(tirx.AssertStmt(test, kind, [text]))

    def include(self, *sources: str) -> None:
        """Functions in LLVM's language that the kernel calls, each source by itself."""
        self._included.update(dict.fromkeys(sources))

    def runs_on(self, unit: str) -> None:
        """Notes, for the ledger, what the kernel runs on beside the vector units."""
        self.units[unit] = None

    def block(self) -> list[tirx.Stmt]:
        """The innermost open block."""
        return self._blocks[-1]

    # Internals

    def _loop(self, kind: tirx.stmt.ForKind, extent: Index, start: Index, name: str) -> _Loop:
        return _Loop(self, kind, extent, start, name)

    @contextmanager
    def _block(self) -> Iterator[list[Stmt]]:
        self._blocks.append([])
        yield self._blocks[-1]
        self._blocks.pop()


class _Loop:
    """One open `for`: entering gives the loop variable, leaving emits the loop."""

    def __init__(self, loops: Loops, kind: tirx.stmt.ForKind, extent: Index, start: Index, name: str) -> None:
        self._loops, self._kind, self._extent, self._start = loops, kind, extent, start
        self._var = tirx.Var(name, "int64")

    def __enter__(self) -> Expr:
        self._loops._blocks.append([])
        return self._var

    def __exit__(self, *error: object) -> None:
        body = self._loops._blocks.pop()
        if error[0] is None:
            self._loops.emit(tirx.For(self._var, index(self._start), index(self._extent), self._kind, _sequence(body)))


def _sequence(statements: list[Stmt]) -> Stmt:
    if len(statements) == 1:
        return statements[0]
    return tirx.SeqStmt(statements) if statements else tirx.Evaluate(const(0, "int32"))
