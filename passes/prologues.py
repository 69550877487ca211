"""Which operators before a convolution or a product are worth computing on the way to it: its prologue.

What is written to memory and read again costs more than computing a cheap operator a few times, if there is much of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from tilewright.ir import dims
from tilewright.ir.graph import Node, Value
from tilewright.ir.op import Kind
from tilewright.ir.vectors import made_in_vectors
from tilewright.passes.costly import is_costly, is_scalar

SPLIT_OUTPUTS, SPLIT_TERMS = 16, 64  # of a convolution with which splitting its image pays
COLOURS = 8  # channels of an image, at most, that a convolution puts last where it copies rows
SMALL_MATRIX = 1 << 15  # elements of a matrix that may be read again for each few rows of an image
LARGE_IMAGE = 1 << 17  # elements of an image that is better not written and read again between two operators
LEAST_ROWS = 16  # of an image, which threads share where they go on with a product
IMAGE_RANK = 4  # of an image with two axes beside batch and channels
FILTERED = 3  # taps of a window along each axis, of which neighbours are computed together, vectors of channels at once
CHANNELS = 16  # at least, of what is computed or joined on the way to a contraction, and of its results
JOINED_IMAGES = 6  # at most, that one convolution reads as one: each has loops of its own there
JOINED_ROWS = 32  # and that one product does
LARGE_ROWS = 1 << 16  # elements of such rows that are better not written and read again
READS = 12  # of elements for one that is made, at most: kernels with long expressions take long to compile
MATRIX_OF_MADE = 1 << 17  # elements of a matrix that may be read again for each few rows that are made


def prepares(nodes: Sequence[Node], reader: Node, *, splits_images: bool) -> bool:
    """Whether `nodes`, which make the image of a convolution or the rows of a product, are computed on the way.

    `splits_images`: whether the machine's convolutions read each element of an image once.
    """
    if reads_weights(nodes, reader):
        return False
    if reader.op.name == "matmul":
        return _multiplies_many_rows(reader) and _makes_vectors(nodes, JOINED_ROWS)
    if _reads_colours(reader) and _turns_planes(nodes, reader.inputs[0].rank):
        return True
    if _reads_large_windows(reader) and _makes_vectors(nodes, JOINED_IMAGES):
        return True
    return splits_images and _reads_each_once(reader) and _is_cheap_on_one_shape(nodes)


def _reads_each_once(reader: Node) -> bool:
    """Whether a convolution, on a machine that splits its image, reads each element of the image once."""
    if not _is_plain_conv(reader):
        return False
    image, weights = reader.inputs[:2]
    outputs, *terms = weights.shape
    if image.rank > IMAGE_RANK:
        return False
    return bool(outputs >= SPLIT_OUTPUTS and math.prod(terms) >= SPLIT_TERMS)


def _reads_colours(reader: Node) -> bool:
    """Whether it is a convolution of an image of few channels."""
    if not _is_plain_conv(reader):
        return False
    channels = reader.inputs[0].shape[-1]
    return isinstance(channels, int) and 1 < channels <= COLOURS


def _reads_large_windows(reader: Node) -> bool:
    """Whether it is a convolution that reads a large image a few times, in vectors of channels."""
    if not _is_plain_conv(reader):
        return False
    (image, weights), attrs = reader.inputs[:2], reader.attrs
    if weights.shape[2:] != (FILTERED, FILTERED) or {*attrs["strides"], *attrs["dilations"]} != {1}:
        return False
    channels = image.shape[-1], weights.shape[0]
    return _is_large(image, LARGE_IMAGE) and all(isinstance(count, int) and count >= CHANNELS for count in channels)


def reads_weights(nodes: Iterable[Node], contraction: Node) -> bool:
    """Whether some read the constant that the contraction multiplies by, which its kernel has in another layout."""
    constants = [v for v in contraction.inputs[1:2] if v.is_constant]
    return any(v in node.inputs for node in nodes for v in constants)


def has_constant_matrix(node: Node) -> bool:
    return node.op.name == "matmul" and node.inputs[1].is_constant and node.inputs[1].rank == 2


def _multiplies_many_rows(reader: Node) -> bool:
    """Whether it multiplies a large matrix of rows with a small constant one."""
    left, right = reader.inputs
    alike = left.dtype == right.dtype == reader.results[0].dtype == "float32"
    if not alike or not has_constant_matrix(reader) or math.prod(right.shape) > MATRIX_OF_MADE:
        return False
    if left.rank < 2 or not isinstance(left.shape[-1], int):
        return False
    return min(right.shape) >= CHANNELS and _is_large(left, LARGE_ROWS)


def _is_large(value: Value, least: int) -> bool:
    """Whether it has so many elements, as far as is known; a batch of unknown size counts as 1."""
    batch, *others = value.shape
    known = [size for size in others if isinstance(size, int)]
    each = batch if isinstance(batch, int) else 1
    return len(known) < len(others) or math.prod(known) * each >= least


def _makes_vectors(nodes: Sequence[Node], most: int) -> bool:
    """Whether these are cheap for a vector of channels, which last; they may join so many values."""
    if any(map(is_costly, nodes)) or not made_in_vectors(nodes, CHANNELS):
        return False
    joined = (len(node.inputs) for node in nodes if node.op.name == "concat")
    whole = all(_resizes_by_whole_numbers(node) for node in nodes if node.op.name == "resize")
    return whole and max(joined, default=0) <= most and _reads(nodes) <= READS


def _resizes_by_whole_numbers(node: Node) -> bool:
    """As numbers that are known while compiling."""
    (batch, *old, channels), (new_batch, *new, new_channels) = node.inputs[0].shape, node.results[0].shape
    if len(node.inputs) > 1 or 0 in old or not dims.same_shape((batch, channels), (new_batch, new_channels)):
        return False
    factors = [dims.floordiv(b, a) for a, b in zip(old, new, strict=True)]
    whole = [dims.product(pair) for pair in zip(old, factors, strict=True)]
    return all(isinstance(factor, int) for factor in factors) and dims.same_shape(new, whole)


def _reads(nodes: Sequence[Node]) -> int:
    """How often an element of what the nodes make reads an element of anything: each use computes a value again."""
    made: dict[Value, int] = {}
    pending = set(nodes)
    while pending:
        ready = {n for n in pending if not any(v.node in pending for v in n.inputs)}
        for node in ready:
            each = [made.get(v, 1) for v in node.inputs]
            made[node.results[0]] = max(each) if node.op.name == "concat" else sum(each)
        pending -= ready
    return max(made.values(), default=0)


def _is_plain_conv(node: Node) -> bool:
    """A convolution in one group with channels last and constant weights."""
    if node.op.name != "conv" or not node.attrs["channels_last"] or node.attrs["groups"] > 1:
        return False
    image, weights = node.inputs[:2]
    return weights.is_constant and image.dtype == "float32"


def _turns_planes(nodes: Sequence[Node], rank: int) -> bool:
    """Whether these are the transpose that puts channels last, and perhaps cheap elementwise operators."""
    turns = [node for node in nodes if node.op.kind is not Kind.ELEMENTWISE]
    if len(turns) != 1 or turns[0].op.name != "transpose" or any(map(is_costly, nodes)):
        return False
    return bool(turns[0].attrs["perm"] == (0, *range(2, rank), 1))


def is_depthwise(node: Node) -> bool:
    """A depthwise convolution of images, channels last."""
    if node.op.name != "conv" or not node.attrs["channels_last"]:
        return False
    image, weights = node.inputs[:2]
    each = 1 < node.attrs["groups"] == image.shape[-1] == weights.shape[0]
    return each and image.rank == IMAGE_RANK and image.dtype == "float32" and weights.is_constant


def is_small_product(node: Node, left: Value) -> bool:
    """Whether `left` is multiplied with a matrix of which many passes take no time beside what they save."""
    if node.op.name != "matmul" or node.inputs[0] is not left:
        return False
    right = node.inputs[1]
    alike = left.dtype == right.dtype == node.results[0].dtype == "float32"
    if not alike or not right.is_constant or right.rank != 2 or math.prod(right.shape) > SMALL_MATRIX:
        return False
    rows = left.shape[1]
    return not (isinstance(rows, int) and rows < LEAST_ROWS) and _is_large(left, LARGE_IMAGE)


def _is_cheap_on_one_shape(nodes: Sequence[Node]) -> bool:
    """Whether these are cheap elementwise operators, of scalars and of values of one shape."""
    read = [v for node in nodes for v in (*node.inputs, *node.results) if not is_scalar(v)]
    alike = all(dims.same_shape(v.shape, read[0].shape) for v in read)
    return alike and all(n.op.kind is Kind.ELEMENTWISE and not is_costly(n) for n in nodes)
