"""Which packages are installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tilewright.ir.errors import BuildError


def tvm_folder() -> Path:
    """Where its Python package is, which is not imported. Raises BuildError."""
    specification = importlib.util.find_spec("tvm")
    if specification is None or not specification.submodule_search_locations:
        raise BuildError("TVM's runtime library was not found.", hint="Install the apache-tvm package.")
    return Path(specification.submodule_search_locations[0])


def package_version(name: str) -> str:
    """By the name of its folder of metadata, which may lie beside TVM's; or else from the metadata: 30 ms more."""
    found = list(tvm_folder().parent.glob(f"{name.replace('-', '_')}-*.dist-info"))
    if len(found) == 1:
        return found[0].stem.partition("-")[2]
    import importlib.metadata

    return importlib.metadata.version(name)
