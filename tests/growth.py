"""How the work of a function grows, in calls of Python functions: the same in every run, unlike its time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def calls(function: Callable[[], object]) -> int:
    """The number of Python functions that a call of `function` calls."""
    count = 0

    def note(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


def grows_linearly(work: Callable[[int], Callable[[], object]], size: int) -> bool:
    """Whether three times the size makes about three times the work: `work(size)` prepares what is counted."""
    work(size)()  # whatever is done only once
    return calls(work(3 * size)) < 4 * calls(work(size))
