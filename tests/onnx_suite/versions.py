"""Which versions of an ONNX operator the frontend reads."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from onnx import defs

from tilewright.frontend.onnx_model import NEWEST, OLDEST
from tilewright.frontend.onnx_ops import TABLE, converter


@functools.cache
def schemas() -> Mapping[str, tuple[int, ...]]:
    """The versions of every operator that ONNX defines, oldest first, by its name with the domain before it."""
    versions: dict[str, set[int]] = {}
    for schema in defs.get_all_schemas_with_history():
        if not schema.deprecated:
            versions.setdefault(full_name(schema.domain, schema.name), set()).add(schema.since_version)
    return {name: tuple(sorted(since)) for name, since in versions.items()}


def full_name(domain: str, name: str) -> str:
    return f"{domain}.{name}" if domain not in ("", "ai.onnx") else name


def tabled() -> set[str]:
    """The operators for which the frontend has a row of its own."""
    return set(TABLE)


def versions_read(operator: str) -> tuple[int, ...]:
    """The versions that a model of a supported opset can mean and that are read.

    An operator without a row is read through its definition as a function, or by the host, in all of its versions.
    One that ONNX does not define, such as those of com.microsoft, has one version.
    """
    known = schemas().get(operator, (1,))
    if "." not in operator:
        oldest = max((v for v in known if v <= OLDEST), default=0)
        known = tuple(v for v in known if oldest <= v <= NEWEST)
    if operator not in TABLE:
        return known
    return tuple(v for v in known if converter(operator, max(v, OLDEST) if "." not in operator else v) is not None)
