"""What is wrong with a model: collected while it is read, and reported at once."""

from __future__ import annotations

from tilewright.ir.errors import CompilerError, ImportModelError, UnsupportedError


class UnfinishedError(Exception):
    """A value that was asked for could not be made, for a reason that has been noted."""


class EndlessModelError(ImportModelError):
    """Reading the model would not end: it stops at once, where other failures wait for the report."""


class Problems:
    """Everything that is not supported, by what it is, and the first failure of another kind."""

    def __init__(self) -> None:
        self._unsupported: dict[str, dict[str, None]] = {}
        self._failure: CompilerError | None = None

    def reject(self, problem: str, place: str) -> None:
        """Note something unsupported, and where it is."""
        self._unsupported.setdefault(problem, {})[place] = None

    def fail(self, error: CompilerError) -> None:
        """Note a failure: the first one is reported."""
        self._failure = self._failure or error

    def __bool__(self) -> bool:
        return bool(self._unsupported) or self._failure is not None

    def report(self) -> None:
        """Raise UnsupportedError that lists everything unsupported, or the first failure, if there is any."""
        if self._unsupported:
            found = "; ".join(f"{problem}: {', '.join(places)}" for problem, places in self._unsupported.items())
            raise UnsupportedError(f"the model uses what is not supported yet. {found}")
        if self._failure is not None:
            raise self._failure
