"""Matrix products and Einstein sums."""

from __future__ import annotations

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.elementwise import same
from tilewright.frontend.onnx_ops.indexing import index_along
from tilewright.frontend.onnx_ops.shape import broadcast_shape
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value


def gemm(c: Call) -> Value:
    """alpha * A @ B + beta * C; factors of 1 vanish."""
    a, b = c[0], c[1]
    if a.rank != 2 or b.rank != 2:
        raise c.malformed(f"multiplies tensors of {a.rank} and {b.rank} axes instead of matrices")
    a = c.transpose(a, (1, 0)) if c.flag("transA") else a
    b = c.transpose(b, (1, 0)) if c.flag("transB") else b
    result = weighted(c, c.apply("matmul", a, b), c.real("alpha", 1.0))
    bias = c.optional(2)
    return result if bias is None else c.apply("add", result, weighted(c, bias, c.real("beta", 1.0)))


def weighted(c: Call, x: Value, factor: float) -> Value:
    return x if factor == 1.0 else c.apply("mul", x, factor)


class Term:
    """A value whose axes have letters."""

    def __init__(self, value: Value, letters: str) -> None:
        self.value, self.letters = value, letters

    def size(self, letter: str) -> Dim:
        size: Dim = self.value.shape[self.letters.index(letter)]
        return size

    def sum_away(self, c: Call, keep: set[str]) -> Term:
        """Without the letters that nobody needs."""
        axes = [i for i, letter in enumerate(self.letters) if letter not in keep]
        value = c.reduce("sum", self.value, axes, keepdims=False)
        return Term(value, "".join(x for x in self.letters if x in keep))

    def arrange(self, c: Call, *groups: str) -> Value:
        """Axes in the order of the groups, each group one axis."""
        value = c.transpose(self.value, [self.letters.index(x) for x in "".join(groups)])
        return c.reshape(value, [dims.product(self.size(x) for x in group) for group in groups])


def einsum(c: Call) -> Value:
    """Operands are multiplied two at a time, each product a batched matrix product."""
    inputs, output = parse_equation(c)
    terms = [diagonal(c, value, letters) for value, letters in zip(c.variadic(), inputs, strict=True)]
    while len(terms) > 1:
        a, b, *rest = terms
        keep = set(output).union(*(t.letters for t in rest))
        terms = [multiply(c, a.sum_away(c, keep | set(b.letters)), b.sum_away(c, keep | set(a.letters)), keep), *rest]
    last = terms[0].sum_away(c, set(output))
    return c.transpose(last.value, [last.letters.index(x) for x in output])


def diagonal(c: Call, value: Value, letters: str) -> Term:
    """The operand with each letter once: where one comes again, the elements whose places along both axes are equal."""
    for letter in dict.fromkeys(letters):
        while letters.count(letter) > 1:
            first, second = letters.index(letter), letters.rindex(letter)
            places = index_along(c, value.shape[first], first, value.rank)
            shape = [1 if axis == second else size for axis, size in enumerate(value.shape)]
            value = c.apply("gather_elements", value, c.expand(places, shape), axis=second)
            value = c.reshape(value, [size for axis, size in enumerate(value.shape) if axis != second])
            letters = letters[:second] + letters[second + 1 :]
    return Term(value, letters)


def multiply(c: Call, a: Term, b: Term, keep: set[str]) -> Term:
    batch = "".join(x for x in a.letters if x in b.letters and x in keep)
    summed = "".join(x for x in a.letters if x in b.letters and x not in keep)
    rows = "".join(x for x in a.letters if x not in b.letters)
    columns = "".join(x for x in b.letters if x not in a.letters)
    product = c.apply("matmul", a.arrange(c, batch, rows, summed), b.arrange(c, batch, summed, columns))
    if batch:
        sizes = broadcast_shape(c, [a.size(x) for x in batch], [b.size(x) for x in batch])
    else:
        sizes = ()
    return Term(
        c.reshape(product, (*sizes, *(a.size(x) for x in rows), *(b.size(x) for x in columns))), batch + rows + columns
    )


def parse_equation(c: Call) -> tuple[list[str], str]:
    """Letters of each operand and of the result; an ellipsis becomes capital letters that are not in use."""
    equation = c.text("equation", "").replace(" ", "")
    left, arrow, right = equation.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(c.inputs):
        raise c.malformed(f"has the equation '{equation}' for {len(c.inputs)} operands")
    spare = [x for x in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if x not in equation]
    lengths = [value.rank - len(text.replace("...", "")) for value, text in zip(c.variadic(), inputs, strict=True)]
    widest = max((n for n, text in zip(lengths, inputs, strict=True) if "..." in text), default=0)
    if any(n < 0 or (n > 0 and "..." not in text) for n, text in zip(lengths, inputs, strict=True)) or widest > len(
        spare
    ):
        raise c.malformed(f"has the equation '{equation}', which does not fit the axes of its operands")
    dots = "".join(spare[:widest])
    inputs = [text.replace("...", dots[widest - n :]) for n, text in zip(lengths, inputs, strict=True)]
    output = right.replace("...", dots) if arrow else dots + implicit_output(left)
    check_letters(c, inputs, output)
    return inputs, output


def implicit_output(left: str) -> str:
    """Without an arrow: the letters that come once, in alphabetical order."""
    return "".join(sorted(x for x in set(left) if x.isalpha() and left.count(x) == 1))


def check_letters(c: Call, inputs: list[str], output: str) -> None:
    if not all(text.isalpha() or not text for text in (*inputs, output)) or not set(output) <= set("".join(inputs)):
        raise c.malformed(f"has an equation that cannot be read: '{c.text('equation', '')}'")
    if len(set(output)) != len(output):
        raise c.malformed("names an axis of its result twice")


TABLE = {"Einsum": einsum, "Gemm": gemm, "MatMul": same("matmul", 2)}
