"""Names for the symbolic sizes of a model's inputs."""

from __future__ import annotations

from collections.abc import Mapping

from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.errors import ImportModelError

_ANONYMOUS = frozenset({"", "?", "-1", "None"})


class Symbols:
    """Sizes by the names that the model gives them. Equal names are one symbol; different names never share one.

    `bound` fixes some of them to numbers, by the model's name or the symbol's.
    """

    def __init__(self, bound: Mapping[str, int]) -> None:
        self._bound = dict(bound)
        self._names: dict[str, str] = {}
        self._used: set[str] = set()

    @property
    def names(self) -> Mapping[str, str]:
        """Symbols by the names in the model, without those that are bound."""
        return {name: symbol for name, symbol in self._names.items() if self._used.isdisjoint((name, symbol))}

    def size(self, name: str, input_name: str, axis: int) -> Dim:
        """The size called `name`, or one of its own for an axis without a name."""
        if name.strip() in _ANONYMOUS:
            name = f"{input_name}_d{axis}"
        if name not in self._names:
            self._names[name] = self._unique(dims.symbol_name(name))
        symbol = self._names[name]
        for key in (name, symbol):
            if key in self._bound:
                self._used.add(key)
                return self._bound[key]
        return dims.symbol(symbol)

    def is_one(self, name: str) -> bool:
        """Whether the size that the model calls so is fixed to 1."""
        return 1 in (self._bound.get(name), self._bound.get(self._names.get(name, "")))

    def _unique(self, name: str) -> str:
        taken = set(self._names.values())
        candidates = (name if n == 1 else f"{name}_{n}" for n in range(1, len(taken) + 2))
        return next(c for c in candidates if c not in taken)

    def require_all_bound(self) -> None:
        """Raises ImportModelError when a bound name is no size of the model, or is bound to no size."""
        unknown = sorted(set(self._bound) - self._used)
        if unknown:
            known = ", ".join(sorted(self._names)) or "none"
            raise ImportModelError(
                f"the model has no symbolic size called {', '.join(unknown)}", hint=f"Its symbolic sizes are: {known}"
            )
        for name, size in self._bound.items():
            if type(size) is not int or size < 1:
                raise ImportModelError(f"the size {name} cannot be {size!r}; it has to be a positive integer")
