"""The runtimes that are compared, and how each loads a model: the settings are all here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

Feed = Mapping[str, NDArray[Any]]
Run = Callable[[Feed], Any]
Load = Callable[[Path, int], Run]

OURS = "Tilewright"
ONNXRUNTIME, PATIENT, SINGLE = "onnxruntime", "onnxruntime, no spinning", "onnxruntime, 1 thread"
OPENVINO, ROUNDING = "OpenVINO", "OpenVINO, 8-bit activations"


def load_tilewright(path: Path, threads: int) -> Run:
    """A saved model, or one that is compiled first."""
    import tilewright as tw

    model = tw.load(path, threads=threads) if path.suffix == ".tw" else tw.compile(path, threads=threads, check=False)
    return model.run


def load_onnxruntime(path: Path, threads: int, spinning: bool = True) -> Run:
    """`spinning`: whether its threads burn time after a run, so that they need not be woken for the next."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return partial(session.run, None)


def load_openvino(path: Path, threads: int, rounding: bool = False) -> Run:
    """`rounding`: whether it may round the activations that 8-bit weights multiply, as it does by default."""
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }
    settings |= {} if rounding else {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()
    return partial(request.infer, share_inputs=True)


LOADERS: Mapping[str, Load] = {
    OURS: load_tilewright,
    ONNXRUNTIME: load_onnxruntime,
    PATIENT: partial(load_onnxruntime, spinning=False),
    SINGLE: lambda path, threads: load_onnxruntime(path, 1),
    OPENVINO: load_openvino,
    ROUNDING: partial(load_openvino, rounding=True),
}


def peers(threads: int, narrow: bool = False) -> tuple[str, ...]:
    """On one thread onnxruntime has none that could spin. `narrow`: whether the model has weights of 8 bits."""
    found = (ONNXRUNTIME, OPENVINO) if threads == 1 else (ONNXRUNTIME, PATIENT, SINGLE, OPENVINO)
    return (*found, ROUNDING) if narrow else found


def is_onnxruntime(name: str) -> bool:
    return name.startswith(ONNXRUNTIME)


def outputs(results: Any) -> list[NDArray[Any]]:
    """What a run returned as a list: some runtimes give their outputs by name."""
    return list(results.values()) if isinstance(results, Mapping) else list(results)


def failures() -> tuple[type[Exception], ...]:
    """What a runtime raises for a model that it cannot load or run."""
    from tilewright.frontend.onnx_file import refusals
    from tilewright.ir.errors import CompilerError

    return (*refusals(), CompilerError, ImportError, TypeError, KeyError)
