"""What the pictures of the ledger share: text, colours for time, names as they are shown."""

from __future__ import annotations

import re
from html import escape

_COLD, _WARM, _HOT = (255, 243, 205), (249, 140, 60), (160, 16, 40)
_DIGEST = re.compile(r"_[0-9a-f]{10}$")


def text(x: float, y: float, content: str, kind: str = "", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}"{more}>{escape(content)}</text>'


def heat(part: float) -> str:
    """A colour for a time, as a part of the longest: the root of it, so that short ones can be told apart."""
    root = min(max(part, 0.0), 1.0) ** 0.5
    low, high, place = (_COLD, _WARM, 2 * root) if root < 0.5 else (_WARM, _HOT, 2 * root - 1)
    red, green, blue = (round(a + (b - a) * place) for a, b in zip(low, high, strict=True))
    return f"#{red:02x}{green:02x}{blue:02x}"


def is_dark(part: float) -> bool:
    """Whether a text on that colour has to be light."""
    return part > 0.4


def short_name(kernel: str) -> str:
    """A kernel's name without its digest."""
    return _DIGEST.sub("", kernel)


def cut(content: str, length: int) -> str:
    return content if len(content) <= length else f"{content[: length - 1]}…"


def duration(seconds: float) -> str:
    """With three digits, in the unit that suits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
