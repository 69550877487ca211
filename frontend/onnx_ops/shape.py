"""Operators that ask for shapes or change them without moving elements."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.computed import choose, element, is_listed, vector, with_ones, without_listed
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value


def shape_of(c: Call) -> Value:
    """Bounds beyond the ends are clamped, as in a Python slice."""
    start = c.integer("start", 0)
    end = c.integer("end", c[0].rank)
    return c.sizes_value(c[0].shape[start:end])


def size_of(c: Call) -> Value:
    return c.reshape(c.sizes_value([c[0].type.size]), ())


def quotient(numerator: Sequence[Dim], denominator: Sequence[Dim]) -> Dim:
    """Product over product, equal factors cancelled first: what -1 stands for in a reshape."""
    left, right = list(numerator), []
    for factor in denominator:
        if factor in left:
            left.remove(factor)
        else:
            right.append(factor)
    return dims.floordiv(dims.product(left), dims.product(right))


def reshape(c: Call) -> Value:
    """0 copies a size of the input (unless allowzero), -1 is worked out."""
    x = c[0]
    target = list(written_out(c, x, list(c.sizes(c[1], "a shape"))))
    if not c.flag("allowzero"):
        if any(d == 0 and axis >= x.rank for axis, d in enumerate(target)):
            raise c.malformed(f"copies sizes of axes that its input, of {x.rank} axes, does not have")
        target = [x.shape[axis] if d == 0 else d for axis, d in enumerate(target)]
    if target.count(-1) > 1 or any(isinstance(d, int) and d < -1 for d in target):
        raise c.malformed(f"has the impossible shape {target}")
    if -1 in target:
        place = target.index(-1)
        others = target[:place] + target[place + 1 :]
        if 0 in others:
            raise c.malformed(f"has the shape {target}, in which -1 could be anything")
        target[place] = quotient(x.shape, others)
    return c.reshape(x, target)


def written_out(c: Call, x: Value, target: list[Dim]) -> list[Dim]:
    """The target of a reshape with numbers for what is computed and may turn out to be 0 or -1 when the model runs."""
    places = [i for i, d in enumerate(target) if dims.computed_symbols([d])]
    if not places:
        return target
    numbers = {i: element(c, c[1], i) for i in places}
    if not c.flag("allowzero"):
        for i in (i for i in places if i < x.rank):
            copied = choose(c, c.apply("equal", numbers[i], 0), c.size_value(x.shape[i]), numbers[i])
            target[i] = c.size(copied, "a shape")
            numbers[i] = copied
    if -1 not in target:  # any of the computed ones may be it
        sizes = [choose(c, c.apply("less", numbers[i], 0), 1, numbers[i]) for i in places]
        fixed = c.size_value(dims.product(d for i, d in enumerate(target) if i not in places))
        others = reduce(lambda a, b: c.apply("mul", a, b), sizes, fixed)
        rest = c.apply("div", c.size_value(x.type.size), c.apply("maximum", others, 1))
        for i in places:
            target[i] = c.size(choose(c, c.apply("less", numbers[i], 0), rest, numbers[i]), "a shape")
    return target


def flatten(c: Call) -> Value:
    x, axis = c[0], c.integer("axis", 1)
    if not -x.rank <= axis <= x.rank:
        raise c.malformed(f"has the axis {axis}, but its tensor has {x.rank} axes")
    cut = axis + x.rank if axis < 0 else axis
    return c.reshape(x, (dims.product(x.shape[:cut]), dims.product(x.shape[cut:])))


def squeeze(c: Call) -> Value:
    x, computed = c[0], c.computed(1)
    if computed is not None:
        listed = is_listed(c, vector(c, computed), x.rank)
        return without_listed(c, x, listed, c.static(dims.product(computed.shape), "a number of axes"))
    given = c.moved_ints("axes", 1)
    if given is None:
        return without_ones(c, x)
    axes = c.axes(given, x.rank)
    return c.reshape(x, [d for i, d in enumerate(x.shape) if i not in axes])


def without_ones(c: Call, x: Value) -> Value:
    """Without the axes of size 1. How many axes the result has must not depend on sizes that are not known.

    These are taken to be other than 1 or, where what follows does not fit that, the first (a batch, as a rule) to be
    1; and the model expects them to be so.
    """
    unknown = [i for i, d in enumerate(x.shape) if may_be_one(d)]
    dropped = unknown[: c.choice()] if unknown else []
    squeezed = c.reshape(x, [d for i, d in enumerate(x.shape) if d != 1 and i not in dropped])
    kept = [x.shape[i] for i in unknown if i not in dropped]
    return expect_no_ones(c, squeezed, kept) if kept else squeezed


def expect_no_ones(c: Call, x: Value, sizes: Sequence[Dim]) -> Value:
    """`x`, where none of the sizes is 1."""
    ones = c.cast(c.apply("equal", c.sizes_value(sizes), c.constant(1, "int64")), "int64")
    none = c.apply("less", c.reduce("max", ones, (0,), keepdims=False), c.constant(1, "int64"))
    message = f"{c.source} drops axes of size 1, and was compiled for other sizes {', '.join(map(dims.to_text, sizes))}"
    names = [str(d) for d in sizes if not isinstance(d, int) and d.is_Symbol and not dims.is_computed(d.name)]
    if names:
        message += f"; to compile for 1, fix the size with shapes={{'{names[0]}': 1}}"
    return c.apply("expect", x, none, message=message)


def may_be_one(size: Dim) -> bool:
    """Whether a size that depends on others can be 1, as far as is known. No size is negative."""
    return not isinstance(size, int) and (size - 1).is_positive is not True


def unsqueeze(c: Call) -> Value:
    x, computed = c[0], c.computed(1)
    if computed is not None:
        return with_ones(c, x, vector(c, computed), c.static(dims.product(computed.shape), "a number of axes"))
    given = c.required(c.moved_ints("axes", 1), "axes")
    axes = c.axes(given, x.rank + len(given))
    rest = iter(x.shape)
    return c.reshape(x, [1 if i in axes else next(rest) for i in range(x.rank + len(axes))])


def transpose(c: Call) -> Value:
    x = c[0]
    perm = c.integers("perm")
    if perm is not None and sorted(perm) != list(range(x.rank)):
        raise c.malformed(f"has the permutation {list(perm)} for a tensor of {x.rank} axes")
    return c.transpose(x, range(x.rank - 1, -1, -1) if perm is None else perm)


def broadcast_shape(c: Call, a: Sequence[Dim], b: Sequence[Dim]) -> tuple[Dim, ...]:
    rank = max(len(a), len(b))
    left, right = ([1] * (rank - len(s)) + list(s) for s in (a, b))
    merged = [dims.broadcast(x, y) for x, y in zip(left, right, strict=True)]
    if any(d is None for d in merged):
        raise c.malformed(f"cannot broadcast the shapes {list(a)} and {list(b)}")
    return tuple(d for d in merged if d is not None)


def expand(c: Call) -> Value:
    """Broadcasting goes both ways: sizes of the target may be 1."""
    target = c.sizes(c[1], "a shape")
    if any(isinstance(d, int) and d < 0 for d in target):
        raise c.malformed(f"has the impossible shape {list(target)}")
    return c.expand(c[0], broadcast_shape(c, c[0].shape, stretched(c, c[0], target)))


def stretched(c: Call, x: Value, target: Sequence[Dim]) -> list[Dim]:
    """The target of an expansion, with the size of `x` where a computed one turns out to be 1 when the model runs."""
    sizes = list(target)
    for i, old in enumerate(x.shape, len(target) - x.rank):
        if i >= 0 and not isinstance(old, int) and dims.computed_symbols([target[i]]):
            wanted = element(c, c[1], i)
            sizes[i] = c.size(choose(c, c.apply("equal", wanted, 1), c.size_value(old), wanted), "a shape")
    return sizes


def tile(c: Call) -> Value:
    repeats = c.sizes(c[1], "repeats")
    if len(repeats) != c[0].rank:
        raise c.malformed(f"has {len(repeats)} repeats for {c[0].rank} axes")
    return c[0] if all(r == 1 for r in repeats) else c.apply("tile", c[0], repeats=repeats)


def concat(c: Call) -> Value:
    values = c.variadic()
    axis = c.axis(c.integer("axis", 1), values[0].rank)
    return values[0] if len(values) == 1 else c.apply("concat", *values, axis=axis)


def split(c: Call) -> tuple[Value, ...]:
    """Sizes are an attribute before opset 13, then an input; without them, equal parts, the last maybe smaller."""
    x = c[0]
    axis = c.axis(c.integer("axis", 0), x.rank)
    count = len(c.wanted)
    sizes = c.moved_dims("split", 1)
    if sizes is None:
        part = dims.ceildiv(x.shape[axis], count)
        sizes = (*[part] * (count - 1), dims.sub(x.shape[axis], dims.product([part, count - 1])))
    if len(sizes) != count or c.integer("num_outputs", count) != count:
        raise c.malformed(f"has {count} outputs for {c.integer('num_outputs', len(sizes))} parts")
    return (x,) if count == 1 else c.apply_all("split", x, axis=axis, sizes=sizes)


def depth_to_space(c: Call) -> Value:
    batch, depth, height, width = four_axes(c)
    block = block_size(c)
    channels = dims.floordiv(depth, block * block)
    mode = c.text("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise c.malformed(f"has the mode '{mode}', not DCR or CRD")
    parts = (block, block, channels) if mode == "DCR" else (channels, block, block)
    perm = (0, 3, 4, 1, 5, 2) if mode == "DCR" else (0, 1, 4, 2, 5, 3)
    cut = c.transpose(c.reshape(c[0], (batch, *parts, height, width)), perm)
    return c.reshape(cut, (batch, channels, dims.product([height, block]), dims.product([width, block])))


def space_to_depth(c: Call) -> Value:
    batch, channels, height, width = four_axes(c)
    block = block_size(c)
    rows, columns = dims.floordiv(height, block), dims.floordiv(width, block)
    perm = (0, 3, 5, 1, 2, 4) if c.text("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    cut = c.transpose(c.reshape(c[0], (batch, channels, rows, block, columns, block)), perm)
    return c.reshape(cut, (batch, dims.product([channels, block * block]), rows, columns))


def four_axes(c: Call) -> tuple[Dim, ...]:
    if c[0].rank != 4:
        raise c.malformed(f"has a tensor of {c[0].rank} axes instead of 4")
    return c[0].shape


def block_size(c: Call) -> int:
    block = c.integer("blocksize", 0)
    if block < 1:
        raise c.malformed(f"has the block size {block}")
    return block


TABLE = {
    "Concat": concat,
    "DepthToSpace": depth_to_space,
    "Expand": expand,
    "Flatten": flatten,
    "Reshape": reshape,
    "Shape": shape_of,
    "Size": size_of,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
