"""The test cases that ship with ONNX: models with inputs, expected outputs and tolerances.

Kinds: "node" (one operator each, and its definition as a function), "simple", "pytorch-converted", "pytorch-operator"
and "real" (whole networks with weights made up by the graph, which the package keeps as light/*.onnx).
"""

from __future__ import annotations

import fcntl
import hashlib
import pickle
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, TypeProto, numpy_helper
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

from tilewright.backends.cache import default_folder

KINDS = ("real", "node", "simple", "pytorch-converted", "pytorch-operator")
_LIGHT = "onnx/backend/test/data/light/"
_EXPANDED = re.compile(r"_expanded(_ver\d+)?$")
DataSets = Sequence[tuple[Sequence[Any], Sequence[Any]]]


@dataclass(frozen=True)
class Case:
    """A model, what to feed it and what must come out.

    `operator`: what a node case is about, with its domain before the name unless that is ONNX's own; "" for whole
    models. `expanded`: the operator is written as its definition as a function. `opsets`: version by domain.
    `content`: the pickled model and data, which only the process that runs the case unpacks.
    """

    name: str
    kind: str
    operator: str
    expanded: bool
    opsets: Mapping[str, int]
    rtol: float
    atol: float
    content: bytes

    @cached_property
    def unpacked(self) -> tuple[ModelProto, DataSets]:
        model, data_sets = pickle.loads(self.content)
        return onnx.load_from_string(model), data_sets

    @property
    def model(self) -> ModelProto:
        return self.unpacked[0]

    @property
    def data_sets(self) -> DataSets:
        """Inputs and outputs in the model's order: arrays; lists for sequences; None for an empty optional."""
        return self.unpacked[1]

    @property
    def version(self) -> int:
        """The opset version of the operator's domain."""
        domain = self.operator.rpartition(".")[0]
        return self.opsets.get(domain, 0)


def load_cases() -> list[Case]:
    """Every case, from the cache folder or, the first time, generated, which takes half a minute."""
    path = default_folder() / f"onnx-cases-{_version()}.pickle"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process generates, the others wait for it
        if not path.exists():
            with warnings.catch_warnings(action="ignore"):  # the cases divide by zero on purpose
                _write(path, pickle.dumps(list(collected())))
        cases: list[Case] = pickle.loads(path.read_bytes())
    return cases


def _version() -> str:
    """Of the cases: ONNX's version, numpy's, which makes the data, and this file's."""
    source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    return f"{onnx.__version__}-{np.__version__}-{source}"


def _write(path: Path, data: bytes) -> None:
    """All or nothing, whatever happens in the middle."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
    Path(file.name).replace(path)


def collected() -> Iterator[Case]:
    """Every case that the onnx package generates or holds."""
    for kind in KINDS:
        tests = sorted(load_model_tests(kind=kind), key=lambda test: test.name)
        operators = {test.name: _only_operator(test.model) for test in tests if kind == "node"}
        for test in tests:
            model, data_sets = _from_files(test) if kind != "node" else (test.model, test.data_sets)
            assert model is not None and data_sets is not None
            plain_sets = [([_array(v) for v in given], [_array(v) for v in made]) for given, made in data_sets]
            base = _EXPANDED.sub("", test.name)
            yield Case(
                test.name,
                kind,
                operators.get(base, ""),
                base != test.name and base in operators,
                {_domain(entry.domain): entry.version for entry in model.opset_import},
                test.rtol,
                test.atol,
                pickle.dumps((model.SerializeToString(), plain_sets)),
            )


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def _only_operator(model: ModelProto | None) -> str:
    """Of a node case. Those that write an operator as a function have more nodes; they are named by their base."""
    assert model is not None
    node = model.graph.node[0]
    domain = _domain(node.domain)
    return f"{domain}.{node.op_type}" if domain else node.op_type


def _array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def _from_files(test: TestCase) -> tuple[ModelProto, DataSets]:
    if test.model_dir is None:
        return _light(test)
    folder = Path(test.model_dir)
    model = onnx.load(folder / "model.onnx")
    sets = []
    for data in sorted(folder.glob("test_data_set_*")):
        given = [_read(path, model.graph.input[i].type) for i, path in enumerate(_numbered(data, "input"))]
        made = [_read(path, model.graph.output[i].type) for i, path in enumerate(_numbered(data, "output"))]
        sets.append((given, made))
    return model, sets


def _numbered(folder: Path, name: str) -> Iterator[Path]:
    return (folder / f"{name}_{i}.pb" for i in range(len(list(folder.glob(f"{name}_*.pb")))))


def _read(path: Path, type: TypeProto) -> Any:
    values: list[Any] = []
    Runner._load_proto(Runner.__new__(Runner), str(path), values, type)
    return values[0]


def _light(test: TestCase) -> tuple[ModelProto, DataSets]:
    """A network whose input ONNX's runner makes up, and whose output the package holds."""
    assert test.url is not None and test.url.startswith(_LIGHT)
    path = Path(onnx.__file__).parent.parent / test.url
    model = onnx.load(path)
    initialized = {tensor.name for tensor in model.graph.initializer}
    given = [Runner.generate_dummy_data(v) for v in model.graph.input if v.name not in initialized]
    outputs = enumerate(model.graph.output)
    made = [_read(path.with_name(f"{path.stem}_output_{i}.pb"), value.type) for i, value in outputs]
    return model, [(given, made)]
