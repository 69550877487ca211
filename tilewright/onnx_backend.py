"""Tilewright through ONNX's own backend interface, for tools and tests that speak it.

    import tilewright.onnx_backend as backend
    y, = backend.run_model(model, [x])
    globals().update(onnx.backend.test.BackendTest(backend.TilewrightBackend, __name__).test_cases)

The one module outside `frontend` that imports onnx: whoever calls this interface has it already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import IR_VERSION, ModelProto, NodeProto, TypeProto, ValueInfoProto, defs, helper, shape_inference
from onnx.backend.base import Backend, BackendRep, Device, DeviceType, namedtupledict

from tilewright import api
from tilewright.backends.compiled import CompiledModel
from tilewright.ir.errors import CompilerError, InputError, TargetError

_DEFAULT_DOMAINS = ("", "ai.onnx")
_TOLERANCES = ("rtol", "atol")  # ONNX's test runner hands its own settings to `prepare` as well


class Prepared(BackendRep):
    """A compiled model that takes its inputs by position; `model` is the compiled model itself."""

    def __init__(self, model: CompiledModel, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self.model = model
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs in the model's order, as a tuple that also takes an output's name as index.

        `inputs`: one array, several in the order of the model's inputs without an initializer, or a mapping by name.
        Raises InputError for inputs that do not fit the model.
        """
        results = self.model.run(self._by_name(inputs))
        outputs: Any = namedtupledict("Outputs", list(self._outputs))
        made: tuple[Any, ...] = outputs(*(results[name] for name in self._outputs))
        return made

    def _by_name(self, inputs: Any) -> dict[str, Any]:
        if isinstance(inputs, Mapping):
            return dict(inputs)
        values = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
        if len(values) != len(self._inputs):
            raise InputError(
                f"{len(values)} inputs were given; the model takes {len(self._inputs)}: {', '.join(self._inputs)}."
            )
        return dict(zip(self._inputs, values, strict=True))


class TilewrightBackend(Backend):
    """ONNX's backend interface. Only the CPU is there."""

    @classmethod
    def is_compatible(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether the model can be read: all its operators, types and sizes are supported."""
        if not cls.supports_device(device):
            return False
        try:
            api.read(model, shapes=kwargs.get("shapes"))
        except CompilerError:
            return False
        return True

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> Prepared:
        """Compile a model. `kwargs` are those of `tilewright.compile`, but nothing is checked unless `check=True`.

        Raises CompilerError, as `tilewright.compile` does, and TargetError for another device than the CPU.
        """
        if not cls.supports_device(device):
            raise TargetError(f"The device '{device}' is not supported.", hint="Use 'CPU'")
        options = {name: value for name, value in kwargs.items() if name not in _TOLERANCES}
        compiled = api.compile(model, **{"check": False, **options})
        sparse = (tensor.values for tensor in model.graph.sparse_initializer)
        initialized = {tensor.name for tensor in (*model.graph.initializer, *sparse)}
        inputs = [value.name for value in model.graph.input if value.name not in initialized]
        return Prepared(compiled, inputs, [value.name for value in model.graph.output])

    @classmethod
    def run_model(cls, model: ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
        """Compile and run a model once."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[Any, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Compile and run one operator on arrays, one for each input that the node names.

        `outputs_info`: element type and shape of each output, by default inferred. `opset_version`: of the node's
        domain, by default the newest. The rest goes to `prepare`.
        """
        version = kwargs.pop("opset_version", None)
        values = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
        return cls.run_model(model_of(node, values, outputs_info, version), values, device, **kwargs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether `device`, such as "CPU" or "CUDA:1", is a CPU."""
        try:
            return bool(Device(device).type == DeviceType.CPU)
        except (AttributeError, ValueError):
            return False


def model_of(
    node: NodeProto,
    inputs: Sequence[Any],
    outputs_info: Sequence[tuple[Any, tuple[int, ...]]] | None,
    version: int | None,
) -> ModelProto:
    """A model of one node. Raises InputError where the arrays are not as many as the inputs that the node names."""
    names = [name for name in node.input if name]
    if len(names) != len(inputs):
        raise InputError(f"{len(inputs)} inputs were given; {node.op_type} has {len(names)}: {', '.join(names)}.")
    given = [helper.make_value_info(name, type_of(value)) for name, value in zip(names, inputs, strict=True)]
    made = [name for name in node.output if name]
    if outputs_info is None:
        wanted = [ValueInfoProto(name=name) for name in made]
    else:
        wanted = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
            for name, (dtype, shape) in zip(made, outputs_info, strict=True)
        ]
    graph = helper.make_graph([node], node.op_type, given, wanted)
    model = helper.make_model(graph, opset_imports=opset_imports(node.domain, version), ir_version=IR_VERSION)
    return shape_inference.infer_shapes(model) if outputs_info is None else model


def opset_imports(domain: str, version: int | None) -> list[Any]:
    """ONNX's own domain and the node's, which is of the version asked for."""
    newest = defs.onnx_opset_version()
    if domain in _DEFAULT_DOMAINS:
        return [helper.make_opsetid("", version or newest)]
    known = [schema.since_version for schema in defs.get_all_schemas() if schema.domain == domain]
    return [helper.make_opsetid("", newest), helper.make_opsetid(domain, version or max(known, default=1))]


def type_of(value: Any) -> TypeProto:
    """The type of an array, or of a list of arrays of one element type."""
    if isinstance(value, list):
        elements = {type_of(np.asarray(v)).tensor_type.elem_type for v in value}
        if len(elements) != 1:
            raise InputError("A list must hold arrays of one element type, at least one.")
        return helper.make_sequence_type_proto(helper.make_tensor_type_proto(elements.pop(), None))
    array = np.asarray(value)
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


is_compatible = TilewrightBackend.is_compatible
prepare = TilewrightBackend.prepare
run_model = TilewrightBackend.run_model
run_node = TilewrightBackend.run_node
supports_device = TilewrightBackend.supports_device
