"""Every error a user can meet: one clear paragraph each, one subclass a stage."""

from __future__ import annotations


class CompilerError(Exception):
    """Base of all errors raised on purpose.

    `node` is the graph node or value at fault, `source` where it came from in the model, `hint` what to do about it.
    """

    def __init__(
        self, message: str, *, node: str | None = None, source: str | None = None, hint: str | None = None
    ) -> None:
        self.message, self.node, self.source, self.hint = message, node, source, hint
        super().__init__(self.paragraph())

    def paragraph(self) -> str:
        """The whole error as one paragraph of plain sentences."""
        parts = [_sentence(self.message)]
        if self.node:
            parts.append(f"Node: {self.node}.")
        if self.source:
            parts.append(f"In the model: {self.source}.")
        if self.hint:
            parts.append(_sentence(self.hint))
        return " ".join(parts)


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?")) else text + "."


class TypeInferenceError(CompilerError):
    """An operator was given shapes, dtypes or attributes that it does not accept."""


class VerifyError(CompilerError):
    """A graph breaks a rule of the IR; the pass that made it is at fault."""


class ParseError(CompilerError):
    """The text form of a graph could not be read."""


class ImportModelError(CompilerError):
    """A model file is damaged, unsafe or malformed."""


class UnsupportedError(CompilerError):
    """The model uses something that is not supported; the message lists all of it."""


class PassError(CompilerError):
    """A pass failed or produced an invalid graph."""


class TargetError(CompilerError):
    """The target string is not one of the accepted forms, or names something unknown."""


class BuildError(CompilerError):
    """A kernel or the executable could not be built."""


class ArtifactError(CompilerError):
    """A saved model is damaged, too new, or built for another CPU."""


class InputError(CompilerError):
    """Arrays given to a model do not fit it, or a setting is out of range."""


class CheckError(CompilerError):
    """The compiled model does not agree with the original."""
