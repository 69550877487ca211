"""What undoes windows: values put back where they were greatest, and columns put back into images."""

from __future__ import annotations

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.slicing import padded
from tilewright.ir import dims
from tilewright.ir.graph import Value


def max_unpool(c: Call) -> Value:
    """Indices count in the shape that the windows come from; a greater `output_shape` adds zeros at the ends."""
    x, places = c[0], c[1]
    rank = x.rank - 2
    kernel = c.required(c.integers("kernel_shape"), "kernel_shape")
    strides, pads = c.integers("strides") or (1,) * rank, c.integers("pads") or (0,) * 2 * rank
    if rank < 1 or (len(kernel), len(strides), len(pads)) != (rank, rank, 2 * rank):
        raise c.malformed(f"has a kernel, strides or pads that do not fit {rank} spatial axes")
    sizes = [
        dims.add(dims.product([dims.sub(size, 1), strides[i]]), kernel[i] - pads[i] - pads[rank + i])
        for i, size in enumerate(x.shape[2:])
    ]
    whole = (*x.shape[:2], *sizes)
    zeros = c.expand(c.constant(0, x.dtype), (dims.product(whole),))
    flat = (c.reshape(v, (v.type.size,)) for v in (places, x))
    result = c.reshape(c.apply("scatter_elements", zeros, *flat, axis=0), whole)
    wanted = c.moved_dims("output_shape", 2)
    if wanted is None:
        return result
    if len(wanted) != x.rank:
        raise c.malformed(f"has an output_shape of {len(wanted)} sizes for {x.rank} axes")
    return padded(c, result, (0,) * x.rank, [dims.sub(a, b) for a, b in zip(wanted, whole, strict=True)])


def col2im(c: Call) -> Value:
    sizes = c.sizes(c[1], "an image shape")
    kernel = c.sizes(c[2], "a block shape")
    rank = len(kernel)
    return c.apply(
        "fold",
        c[0],
        kernel=kernel,
        strides=c.integers("strides") or (1,) * rank,
        pads=c.integers("pads") or (0,) * 2 * rank,
        dilations=c.integers("dilations") or (1,) * rank,
        sizes=sizes,
    )


TABLE = {"Col2Im": col2im, "MaxUnpool": max_unpool}
