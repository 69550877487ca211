"""Which packages are installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tilewright.ir.errors import BuildError


def tvm_folder() -> Path:
    """Where its Python package is, which is not imported. Raises BuildError."""
    folder = _folder("tvm")
    if folder is None:
        raise BuildError("TVM's runtime library was not found.", hint="Install the apache-tvm package.")
    return folder


def tvm_version() -> str:
    """Raises ModuleNotFoundError where TVM has no metadata."""
    return package_version("tvm", "apache-tvm")


def package_version(module: str, distribution: str) -> str:
    """The version of the distribution that a module comes from. Raises ModuleNotFoundError where nothing tells.

    It is in the name of the folder of metadata beside the module. To read the metadata takes 30 ms more.
    """
    folder = _folder(module)
    pattern = f"{distribution.replace('-', '_')}-*.dist-info"
    found = list(folder.parent.glob(pattern)) if folder else []
    if len(found) == 1:
        return found[0].stem.partition("-")[2]
    import importlib.metadata

    return importlib.metadata.version(distribution)


def _folder(module: str) -> Path | None:
    """Where a package is, which is not imported."""
    specification = importlib.util.find_spec(module)
    if specification is None or not specification.submodule_search_locations:
        return None
    return Path(specification.submodule_search_locations[0])
