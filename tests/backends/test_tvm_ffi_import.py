"""What importing tvm_ffi leaves for later is there when somebody asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import sys
from tilewright.backends.tvm_ffi_import import import_tvm_ffi
tvm_ffi = import_tvm_ffi()
later = ["importlib.metadata", "tvm_ffi.cpp.extension", "tvm_ffi._optional_torch_c_dlpack", "hashlib", "subprocess"]
print([name for name in later if name in sys.modules])
try:
    tvm_ffi.cpp.load_inline()
except TypeError as error:
    print(error)
from tvm_ffi.cpp import extension
print(hasattr(extension, "no_such_thing"), hasattr(extension, "_build_impl"), extension.load.__module__)
from tvm_ffi.cpp.extension import load_inline
from tvm_ffi._optional_torch_c_dlpack import load_torch_c_dlpack_extension
print(load_inline.__module__, load_torch_c_dlpack_extension.__module__, import_tvm_ffi() is tvm_ffi)
"""


def test_builders_are_imported_when_called() -> None:
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=True, env={"PYTHONPATH": path}
    )
    loaded, error, attributes, modules = done.stdout.splitlines()
    assert loaded == "[]"
    assert error.startswith("load_inline() missing")
    assert attributes == "False True tvm_ffi.cpp.extension"
    assert modules == "tvm_ffi.cpp.extension tvm_ffi._optional_torch_c_dlpack True"


def test_torch_that_is_there_already_gets_what_tvm_ffi_adds() -> None:
    code = "import sys\nfrom unittest.mock import MagicMock\n"
    code += "sys.modules['torch'] = MagicMock(Tensor=type('Tensor', (), {'__dlpack_c_exchange_api__': 0}))\n"
    code += "from tilewright.backends.tvm_ffi_import import import_tvm_ffi\nimport_tvm_ffi()\n"
    code += "print(type(sys.modules['tvm_ffi._optional_torch_c_dlpack']).__name__)"
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env={"PYTHONPATH": path}
    )
    assert done.stdout == "module\n", done.stderr
