"""Convolutions and pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value
from tilewright.ir.ops.windows import Window


@dataclass(frozen=True)
class Windows:
    """Kernel, strides and dilations of the spatial axes, with the padding that `auto_pad` comes to."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[Dim, ...]

    @property
    def extents(self) -> tuple[int, ...]:
        """Size of each window once dilated."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def taps(self) -> int:
        return dims.static_product(self.kernel)


def windows(c: Call, x: Value, kernel: Sequence[Dim] | None = None) -> Windows:
    """The windows over x [N, C, spatial...]; `kernel` where the weights tell its size."""
    rank = x.rank - 2
    if rank < 1:
        raise c.malformed(f"needs a batch, a channel and a spatial axis, but its input has {x.rank} axes")
    sizes = [c.static(k, "a kernel size") for k in c.integers("kernel_shape") or kernel or ()]
    strides = c.integers("strides") or (1,) * rank
    dilations = c.integers("dilations") or (1,) * rank
    for name, values in (("kernel_shape", sizes), ("strides", strides), ("dilations", dilations)):
        if len(values) != rank or any(v < 1 for v in values):
            raise c.malformed(f"has {name} {list(values)} for {rank} spatial axes")
    bare = Windows(tuple(sizes), strides, dilations, ())
    return Windows(bare.kernel, strides, dilations, padding(c, bare, x.shape[2:]))


def padding(c: Call, window: Windows, sizes: Sequence[Dim]) -> tuple[Dim, ...]:
    """All begins, then all ends. SAME makes ceil(size / stride) results, an odd element at the end (UPPER) or start."""
    mode = c.text("auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = c.integers("pads") or (0,) * 2 * len(sizes)
        if len(pads) != 2 * len(sizes):
            raise c.malformed(f"has {len(pads)} pads for {len(sizes)} spatial axes")
        return pads
    if mode == "VALID":
        return (0,) * 2 * len(sizes)
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise c.malformed(f"has the unknown auto_pad '{mode}'")
    totals = [same_padding(*axis) for axis in zip(sizes, window.strides, window.extents, strict=True)]
    return halved(totals, upper=mode == "SAME_UPPER")


def same_padding(size: Dim, stride: int, extent: int) -> Dim:
    if stride == 1:
        return extent - 1
    steps = dims.sub(dims.ceildiv(size, stride), 1)
    return dims.maximum(dims.sub(dims.add(dims.product([steps, stride]), extent), size), 0)


def halved(totals: Sequence[Dim], *, upper: bool) -> tuple[Dim, ...]:
    less = [dims.floordiv(total, 2) for total in totals]
    more = [dims.sub(total, half) for total, half in zip(totals, less, strict=True)]
    return (*less, *more) if upper else (*more, *less)


def with_bias(c: Call) -> tuple[Value, ...]:
    bias = c.optional(2)
    return (c[0], c[1]) if bias is None else (c[0], c[1], bias)


def convolution(c: Call, x: Value, w: Value, *bias: Value) -> Value:
    window = windows(c, x, w.shape[2:])
    return c.apply(
        "conv",
        x,
        w,
        *bias,
        strides=window.strides,
        pads=window.pads,
        dilations=window.dilations,
        groups=c.integer("group", 1),
    )


def conv(c: Call) -> Value:
    return convolution(c, *with_bias(c))


def conv_transpose(c: Call) -> Value:
    """`output_shape` and SAME choose the padding: what the full result has too much is cut off."""
    x, w = c[0], c[1]
    rank = x.rank - 2
    extra = c.integers("output_padding") or (0,) * rank
    wanted = c.integers("output_shape")
    mode = c.text("auto_pad", "NOTSET")
    window = windows(c, x, w.shape[2:])
    pads = window.pads
    if wanted is not None or mode.startswith("SAME"):
        sizes = wanted[-rank:] if wanted else [dims.product(p) for p in zip(x.shape[2:], window.strides, strict=True)]
        full = full_sizes(window, x.shape[2:], extra)
        pads = halved([dims.sub(f, s) for f, s in zip(full, sizes, strict=True)], upper=mode == "SAME_UPPER")
    short = [min(p, 0) if isinstance(p, int) else 0 for p in pads]
    grown = tuple(e - short[i] - short[rank + i] for i, e in enumerate(extra))
    return c.apply(
        "conv_transpose",
        *with_bias(c),
        strides=window.strides,
        pads=tuple(p if not isinstance(p, int) else max(p, 0) for p in pads),
        dilations=window.dilations,
        groups=c.integer("group", 1),
        output_padding=grown,
    )


def full_sizes(window: Windows, sizes: Sequence[Dim], extra: Sequence[int]) -> list[Dim]:
    """Result sizes of a transposed convolution before anything is cut off."""
    return [
        dims.add(dims.product([dims.sub(size, 1), stride]), extent, more)
        for size, stride, extent, more in zip(sizes, window.strides, window.extents, extra, strict=True)
    ]


def max_pool(c: Call) -> tuple[Value, ...]:
    """Of bytes, too. Indices count from the start of the whole tensor."""
    best = pooled(c, "max_pool", c[0])
    if not any(c.wanted[1:]):
        return (best,)
    return best, pooled(c, "max_pool_places", c[0], best, column_major=c.flag("storage_order"))


def average_pool(c: Call) -> Value:
    return pooled(c, "avg_pool", c[0], count_include_pad=c.flag("count_include_pad"))


def pooled(c: Call, name: str, *values: Value, **attrs: bool) -> Value:
    window = windows(c, values[0])
    return c.apply(
        name,
        *values,
        kernel=window.kernel,
        strides=window.strides,
        pads=window.pads,
        dilations=window.dilations,
        ceil_mode=c.flag("ceil_mode"),
        **attrs,
    )


def power_norm(c: Call, x: Value, combine: str, axes: Sequence[int]) -> Value:
    """(sum |x|^p)^(1/p) over axes."""
    p = float(c.integer("p", 2))
    return root(c, c.reduce(combine, c.apply("pow", c.apply("abs", x), p), axes), p)


def root(c: Call, x: Value, p: float) -> Value:
    if p == 0:
        raise c.malformed("has p = 0")
    return c.apply("pow", x, 1 / p)


def lp_pool(c: Call) -> Value:
    """(sum |x|^p)^(1/p) over windows: the mean times the taps, where zeros stand for all that is outside."""
    x, p, window = c[0], float(c.integer("p", 2)), windows(c, c[0])
    powers = c.apply("pow", c.apply("abs", x), p)
    mean = c.apply(
        "avg_pool",
        powers,
        kernel=window.kernel,
        strides=window.strides,
        pads=reaching(window, x.shape[2:]) if c.flag("ceil_mode") else window.pads,
        dilations=window.dilations,
        count_include_pad=True,
    )
    return root(c, c.apply("mul", mean, float(window.taps)), p)


def reaching(window: Windows, sizes: Sequence[Dim]) -> tuple[Dim, ...]:
    """Pads with which as many windows fit wholly as there are with ceil_mode."""
    rank = len(sizes)
    ends: list[Dim] = []
    columns = zip(window.kernel, window.strides, window.dilations, window.pads[:rank], window.pads[rank:], strict=True)
    for size, column in zip(sizes, columns, strict=True):
        axis = Window(*column)
        steps = dims.product([dims.sub(axis.count_ceil(size), 1), axis.stride])
        ends.append(dims.maximum(axis.after, dims.sub(dims.add(steps, axis.extent), dims.add(size, axis.before))))
    return (*window.pads[:rank], *ends)


def spatial(c: Call) -> tuple[int, ...]:
    if c[0].rank < 3:
        raise c.malformed(f"needs a spatial axis, but its input has {c[0].rank} axes")
    return tuple(range(2, c[0].rank))


TABLE = {
    "AveragePool": average_pool,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "GlobalAveragePool": lambda c: c.reduce("mean", c[0], spatial(c)),
    "GlobalLpPool": lambda c: power_norm(c, c[0], "sum", spatial(c)),
    "GlobalMaxPool": lambda c: c.reduce("max", c[0], spatial(c)),
    "LpPool": lp_pool,
    "MaxPool": max_pool,
}
