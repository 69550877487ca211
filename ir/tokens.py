"""The words of the text form, with the place of each for error messages."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence

from tilewright.ir.errors import ParseError

_TOKEN = re.compile(
    r"""
    (?:\s+ | \#(?!\d)[^\n]*)*                              # spaces and comments
    (?P<token>
        "(?:[^"\\\n]|\\.)*"                                # string
      | %?[A-Za-z_][A-Za-z0-9_.]* | %\d+                   # name
      | \d+(?:\.\d*)?(?:[eE][+-]?\d+)?                     # number
      | // | [()\[\]{}=,:+\-*%#]                           # punctuation
      | $
    )
    """,
    re.VERBOSE,
)
_NAME = re.compile(r'["A-Za-z_]|%.')
_OPENING, _CLOSING = ("(", "[", "{"), (")", "]", "}")

_ENDING = (",", *_CLOSING)


class Tokens:
    """A cursor over the tokens of a text; `text` is the token at the cursor, "" at the end."""

    def __init__(self, source: str) -> None:
        self._tokens, starts = _split(source)
        self._lines = _lines(source, starts)
        self._place = 0

    @property
    def text(self) -> str:
        return self._tokens[self._place]

    @property
    def line(self) -> int:
        """The line of the token at the cursor, from 1."""
        return self._lines[self._place]

    def at(self, token: str) -> bool:
        return self._tokens[self._place] == token

    def take(self) -> str:
        """The token at the cursor, which moves on."""
        token = self._tokens[self._place]
        if not token:
            raise self.error("the text ends too early")
        self._place += 1
        return token

    def accept(self, token: str) -> bool:
        """Move past `token` if it is at the cursor."""
        found = self._tokens[self._place] == token
        self._place += found
        return found

    def expect(self, token: str) -> None:
        if not self.accept(token):
            raise self.error(f"{token} is expected instead of {self.text or 'the end'}")

    def name(self) -> str:
        """A name as it is written, perhaps in quotes."""
        if not _NAME.match(self.text):
            raise self.error(f"a name is expected instead of {self.text or 'the end'}")
        return self.take()

    def expression(self) -> str:
        """The text up to the comma or bracket that ends it."""
        start, depth = self._place, 0
        while self.text and (depth or self.text not in _ENDING):
            depth += (self.text in _OPENING) - (self.text in _CLOSING)
            self._place += 1
        if start == self._place:
            raise self.error(f"a value is expected instead of {self.text or 'the end'}")
        return "".join(self._tokens[start : self._place])

    def is_tuple(self) -> bool:
        """Whether the bracket at the cursor holds nothing, or a comma outside inner brackets."""
        depth = 0
        for place in range(self._place, len(self._tokens)):
            token = self._tokens[place]
            depth += (token in _OPENING) - (token in _CLOSING)
            if depth == 1 and token == ",":
                return True
            if depth == 0:
                return place == self._place + 1
        return False

    def finish(self) -> None:
        if self.text:
            raise self.error(f"{self.text} follows the end of the graph")

    def error(self, message: str, line: int | None = None) -> ParseError:
        """An error to raise at `line`, or at the cursor."""
        return ParseError(f"line {line or self.line}: {message}")


def _split(source: str) -> tuple[list[str], list[int]]:
    tokens: list[str] = []
    starts: list[int] = []
    end = 0
    while not tokens or tokens[-1]:
        match = _TOKEN.match(source, end)
        if match is None:
            place = len(source) - len(source[end:].lstrip())
            raise ParseError(f"line {_lines(source, [place])[0]}: {source[place]!r} has no meaning here")
        tokens.append(match["token"])
        starts.append(match.start("token"))
        end = match.end()
    return tokens, starts


def _lines(source: str, places: Sequence[int]) -> list[int]:
    """The line of each place, from 1."""
    breaks = [match.start() for match in re.finditer("\n", source)]
    return [bisect_left(breaks, place) + 1 for place in places]
