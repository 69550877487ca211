"""Every call into TVM that tends to change between its releases: targets, object code, the Relax VM program.

Only worker processes import this module: the compiler never loads TVM into the user's process.
"""

from __future__ import annotations

import ast
import importlib
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tvm
from tvm import relax, tirx

from tilewright.backends.build import BuiltKernel
from tilewright.backends.kernels.loops import REQUIRES
from tilewright.backends.program import (
    EXPECT,
    FITS_MEMORY,
    HOST_CALL,
    SAME_COUNT,
    Bind,
    ControlCall,
    Expect,
    HostCall,
    KernelCall,
    Port,
    Program,
    Region,
    Result,
    Step,
    TensorSpec,
    View,
)
from tilewright.backends.sizes import Dim, parse_dim, symbols
from tilewright.backends.target import KNOWN_FEATURES, Target
from tilewright.ir.dims import is_computed
from tilewright.ir.errors import BuildError
from tilewright.ir.types import HELD

# Without RewriteDataflowReshape, which insists on SBlock kernels; calls are already in destination-passing form.
_PIPELINE = (
    relax.transform.RemovePurityChecking(),
    relax.transform.StaticPlanBlockMemory(),
    relax.transform.LowerAllocTensor(),
    relax.transform.KillAfterLastUse(),
    relax.transform.LowerRuntimeBuiltin(),
    relax.transform.ComputePrimValue(),
    relax.transform.VMShapeLower(),
    relax.transform.AttachGlobalSymbol(),
)


def _after(transforms: Sequence[Any], place: Any, added: Any) -> tuple[Any, ...]:
    """The transforms with `added` behind the one that is named as `place`."""
    at = [t.info.name for t in transforms].index(place.info.name) + 1
    return (*transforms[:at], added, *transforms[at:])


# What plain loops need. The default pipeline is made for scheduled blocks; some of its passes (common subexpressions,
# loop partition) fail on loops with run-time sizes, and LLVM does their work as well.
_LOOPS_PIPELINE = (
    tirx.transform.FlattenBuffer(),
    tirx.transform.BF16ComputeLegalize(),
    tirx.transform.VectorizeLoop(True),
    tirx.transform.UnrollLoop(),
    tirx.transform.StmtSimplify(),
    tirx.transform.RemoveNoOp(),
    tirx.transform.AnnotateEntryFunc(),
    tirx.transform.SplitHostDevice(),
    tirx.transform.MakePackedAPI(),
    tirx.transform.BF16StorageLegalize(),
    tirx.transform.LowerTVMBuiltin(),
    tirx.transform.LowerIntrin(),
)

# The program has checked what it calls kernels with; TVM's checks of each argument would be half of the code.
_UNCHECKED_PIPELINE = _after(_LOOPS_PIPELINE, tirx.transform.MakePackedAPI(), tirx.transform.SkipAssert())


# Loop strength reduction takes half of LLVM's time on unrolled tiles, whose addresses it does not improve. Constants
# of what follows a tile, as relu's zero, are not worth a register across its loop: sums would go to memory instead.
_OPTIONS = ("-disable-lsr:bool=true", "-disable-machine-licm:bool=true")


def tvm_target(target: Target, effort: int = 3) -> Any:
    """TVM's target, for code on which LLVM spends an effort of 0 to 3.

    The features are spelled out: a virtual machine may hide some that the CPU's name promises.
    """
    cpu = tvm.target.codegen.llvm_get_system_cpu() if target.cpu == "native" else target.cpu
    attributes = [("+" if f in target.features else "-") + f for f in sorted(KNOWN_FEATURES)]
    machine = {"mcpu": cpu, "mattr": attributes, "num-cores": target.cores}
    return tvm.target.Target({"kind": "llvm", **machine, "opt-level": effort, "cl-opt": list(_OPTIONS)})


def build_kernel(emitter: str, text: str, name: str, target: Target) -> BuiltKernel:
    """Emit and compile one kernel; see `build.build_kernels`."""
    module, _, function = emitter.partition(":")
    emitted = getattr(importlib.import_module(module), function)(text, name, target)
    return BuiltKernel(name, compile_function(emitted.func, name, target), emitted.rule, emitted.packings)


def compile_function(function: Any, name: str, target: Target) -> bytes:
    """ELF object code of a `tirx.PrimFunc`, callable under `name`."""
    return compile_functions({name: function}, target)


def compile_functions(functions: Mapping[str, Any], target: Target) -> bytes:
    """ELF object code of several `tirx.PrimFunc`s, each callable under its name."""
    named = {name: f.with_attr("global_symbol", name) for name, f in functions.items()}
    return _object_code(named, tvm_target(target))


def _object_code(functions: Mapping[Any, Any], cpu: Any) -> bytes:
    """ELF object code of PrimFuncs by name or GlobalVar, for one of TVM's targets."""
    module = tirx.transform.BindTarget(cpu.with_host(cpu))(tvm.IRModule(dict(functions)))
    return _written(tvm.get_global_func("target.build.llvm")(_lowered(module), cpu), "kernel.o")


def _lowered(module: Any) -> Any:
    """Loops as LLVM takes them. Vector loops that TVM cannot turn into vectors are left to LLVM's own vectoriser.

    TVM 0.27 fails on products of two scalars, in a vector loop, that hold variables within variables, and loses a
    variable of the loop that is read within such.
    """
    transforms = _LOOPS_PIPELINE if _requires(module) else _UNCHECKED_PIPELINE
    try:
        return _through(module, transforms)
    except tvm.error.InternalError as error:
        if not any(reason in str(error) for reason in ("Let cannot bind", "are used, but are not passed in")):
            raise
        return _through(module, _replaced(transforms, tirx.transform.VectorizeLoop(False)))


def _requires(module: Any) -> bool:
    """Whether a function checks more than its arguments."""
    return any(bool(f.attrs.get(REQUIRES, True)) for f in module.functions.values())


def _replaced(transforms: Iterable[Any], other: Any) -> list[Any]:
    """The transforms with `other` in the place of that of the same name."""
    return [other if t.info.name == other.info.name else t for t in transforms]


def _through(module: Any, transforms: Iterable[Any]) -> Any:
    for transform in transforms:
        module = transform(module)
    return module


def assemble(source: str) -> bytes:
    """ELF object code of a module in LLVM's intermediate language."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "module.ll")
        path.write_text(source)
        return _written(tvm.runtime.load_module(str(path)), "module.o")


def _written(module: Any, name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        module.write_to_file(str(path))
        return path.read_bytes()


def compile_program(program: Program, target: Target) -> tuple[bytes, bytes]:
    """The VM's bytecode, and object code of the functions that compute its sizes (empty if it needs none)."""
    module = _ProgramBuilder(program).build()
    with tvm_target(target):
        module = _through(module, _PIPELINE)
    builder = relax.ExecBuilder()
    rest = relax.vm_build._vmcodegen(builder, module)
    functions = {gv: f for gv, f in rest.functions.items() if isinstance(f, tirx.PrimFunc)}
    cpu = tvm_target(target, effort=0)  # some numbers once a call: not worth the time
    return _written(builder.get().mod, "program.bin"), _object_code(functions, cpu) if functions else b""


class _ProgramBuilder:
    """Writes each region of a program as a Relax function `name(*inputs, [symbols], weights, hosts)`.

    Weights and host functions come as two opaque arrays, so that the VM does not check each of them in each call.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.block = relax.BlockBuilder()

    def build(self) -> Any:
        for region in (self.program.main, *self.program.regions):
            _RegionBuilder(self.block, self.program, region).build()
        return self.block.get()


class _RegionBuilder:
    """Writes one region."""

    def __init__(self, block: Any, program: Program, region: Region) -> None:
        self.program, self.region, self.block = program, region, block
        self.symbols: dict[str, Any] = {}
        self.scalars: dict[str, Any] = {}
        self.values: dict[str, Any] = {}
        self.weights = relax.Var("weights", relax.ObjectType())
        self.hosts = relax.Var("hosts", relax.ObjectType())
        self.weight_index = {c.value: i for i, c in enumerate(program.constants)}
        self.host_index = {id(step): i for i, step in enumerate(program.calls_out())}
        self.dims = {result.value: result.spec.dims for result in _defined(program, region)}
        shown = symbols(d for port in program.inputs for d in port.spec.dims)
        self.checked = shown if region is program.main else set()  # before the run
        self.typed = {step.source for step in region.steps if isinstance(step, View)}
        self.typed |= {port.value for port in region.outputs}

    def build(self) -> None:
        native = [port for port in self.region.inputs if port.spec.dtype not in HELD]
        for port in native:
            self._declare(port.spec.dims)
        self._declare(self.region.symbols)
        for port in self.region.inputs:
            self.values[port.value] = relax.Var(port.value, self._type(port.spec))
        inputs = [self.values[port.value] for port in self.region.inputs]
        if self.region.symbols:
            inputs.append(relax.Var("sizes", relax.ShapeType([self.symbols[s] for s in self.region.symbols])))
        with self.block.function(self.region.name, [*inputs, self.weights, self.hosts]):
            for step in self.region.steps:
                self._step(step)
            self.block.emit_func_output(relax.Tuple([self._value(port.value) for port in self.region.outputs]))

    def _declare(self, dims: Iterable[Dim]) -> None:
        for dim in dims:
            if isinstance(dim, str) and dim.isidentifier() and dim not in self.symbols:
                self.symbols[dim] = tirx.Var(dim, "int64")

    def _step(self, step: Step) -> None:
        if isinstance(step, KernelCall):
            self._kernel(step)
        elif isinstance(step, View):
            self._view(step)
        elif isinstance(step, Bind):
            self._bind(step)
        elif isinstance(step, Expect):
            message = tvm.ir.StringImm(step.message)
            self._packed(EXPECT, [self._value(step.condition), message], relax.TupleType([]))
        else:
            self._host(step)

    def _kernel(self, step: KernelCall) -> None:
        inputs = [self._value(name) for name in step.inputs]
        outputs = [self._allocate(result) for result in step.outputs]
        scalars = [self._scalar(dim) for dim in step.scalars]
        self._packed(step.kernel, [*inputs, *outputs, *scalars], relax.TupleType([]))

    def _view(self, step: View) -> None:
        if 0 in step.result.spec.dims:  # which Relax would read as "the old size"
            self._allocate(step.result)
            return
        self._require_same_count(self.dims[step.source], step.result.spec.dims)
        shape = relax.ShapeExpr(self._dims(step.result.spec.dims))
        self.values[step.result.value] = self.block.emit(relax.op.reshape(self._value(step.source), shape))

    def _require_same_count(self, old: Sequence[Dim], new: Sequence[Dim]) -> None:
        """Sizes that inputs show are checked before the run (`expectations`), those that steps define here."""
        if symbols([*old, *new]) - self.checked:
            counts = [math.prod(self._dims(dims), start=tirx.IntImm("int64", 1)) for dims in (old, new)]
            numbers = [self.block.emit(relax.prim_value(count)) for count in counts]
            self._packed(SAME_COUNT, numbers, relax.TupleType([]))

    def _bind(self, step: Bind) -> None:
        self._declare(step.symbols)
        numbers = self._packed("vm.builtin.tensor_to_shape", [self._value(step.source)])
        self.block.match_cast(numbers, relax.ShapeType([self.symbols[s] for s in step.symbols]))

    def _allocate(self, result: Result) -> Any:
        shape = relax.ShapeExpr(self._dims(result.spec.dims))
        if any(map(is_computed, symbols(result.spec.dims))):
            self._packed(FITS_MEMORY, [shape], relax.TupleType([]))
        tensor = self.block.emit(relax.op.builtin.alloc_tensor(shape, result.spec.dtype, 0))
        self.values[result.value] = tensor
        return tensor

    def _host(self, step: HostCall | ControlCall) -> None:
        function = self._item(self.hosts, self.host_index[id(step)])
        arguments = [self._value(name) for name in step.inputs]
        sizes = relax.ShapeExpr([self.symbols[name] for name in step.symbols])
        returned = self._packed(HOST_CALL, [function, sizes, *arguments])
        if step.defined:
            self._declare(step.defined)
            numbers = self._item(returned, len(step.outputs))
            self.block.match_cast(numbers, relax.ShapeType([self.symbols[s] for s in step.defined]))
        for i, result in enumerate(step.outputs):
            item = self._item(returned, i)
            native = result.spec.dtype not in HELD
            self.values[result.value] = self.block.match_cast(item, self._type(result.spec)) if native else item

    def _value(self, name: str) -> Any:
        if name not in self.values:
            self.values[name] = self._weight(name)
        return self.values[name]

    def _weight(self, name: str) -> Any:
        """A constant as the VM sees it: opaque for kernels, typed where a step needs to know its sizes."""
        constant = self.program.constants[self.weight_index[name]]
        item = self._item(self.weights, self.weight_index[name])
        typed = name in self.typed and constant.spec.dtype not in HELD
        return self.block.match_cast(item, self._type(constant.spec)) if typed else item

    def _item(self, array: Any, index: int) -> Any:
        return self._packed("vm.builtin.tuple_getitem", [array, relax.prim_value(index)])

    def _packed(self, name: str, arguments: list[Any], result: Any = None) -> Any:
        return self.block.emit(relax.Call(relax.ExternFunc(name), arguments, None, [result or relax.ObjectType()]))

    def _scalar(self, dim: Dim) -> Any:
        """A size as an argument; expressions are computed once a call of the model, at first use."""
        if isinstance(dim, int):
            return relax.prim_value(tirx.IntImm("int64", dim))
        if dim not in self.scalars:
            self.scalars[dim] = self.block.emit(relax.prim_value(self._dim(dim)))
        return self.scalars[dim]

    def _type(self, spec: TensorSpec) -> Any:
        if spec.dtype in HELD:
            return relax.ObjectType()
        return relax.TensorType(self._dims(spec.dims), spec.dtype)

    def _dims(self, dims: Iterable[Dim]) -> list[Any]:
        return [self._dim(d) for d in dims]

    def _dim(self, dim: Dim) -> Any:
        if isinstance(dim, int):
            return tirx.IntImm("int64", dim)
        missing = symbols([dim]) - set(self.symbols)
        if missing:
            raise BuildError(f"The size '{dim}' uses {', '.join(sorted(missing))}, no plain size of any input.")
        return int64_expression(parse_dim(dim), self.symbols)


def _defined(program: Program, region: Region) -> Iterator[Port | Result]:
    yield from region.inputs
    yield from program.constants
    for step in region.steps:
        if isinstance(step, View):
            yield step.result
        elif not isinstance(step, Bind | Expect):
            yield from step.outputs


def int64_expression(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """TIR for the syntax tree of a size, given the TIR of its symbols."""
    match node:
        case ast.Constant(value=int(value)):
            return tirx.IntImm("int64", value)
        case ast.Name(id=name):
            return names[name]
        case ast.UnaryOp(operand=operand):
            return -int64_expression(operand, names)
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _fold(tirx.min if name == "min" else tirx.max, [int64_expression(a, names) for a in arguments])
        case ast.BinOp(left=left, op=operator, right=right):
            return _OPERATORS[type(operator)](int64_expression(left, names), int64_expression(right, names))
    raise BuildError(f"The size '{ast.unparse(node)}' cannot be computed at run time.")


def _fold(combine: Any, terms: list[Any]) -> Any:
    result = terms[0]
    for term in terms[1:]:
        result = combine(result, term)
    return result


_OPERATORS: dict[type[ast.operator], Any] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: tirx.floordiv,
    ast.Mod: tirx.floormod,
}
