"""Running a module in a fresh process, which may crash without harm to this one."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_LONGEST = 240


class DiedError(Exception):
    """The process ended without a result; the message says why, `said` is what it had printed until then."""

    def __init__(self, reason: str, said: str = "") -> None:
        super().__init__(reason)
        self.said = said


def python(module: str, *arguments: str, timeout: float = 1800.0, **environment: str) -> dict[str, Any]:
    """Run a module in a new process; returns the JSON object on its last line. Raises DiedError."""
    command = [sys.executable, "-m", module, *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**_inherited(), **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DiedError(f"no result after {timeout:.0f} s") from error
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise DiedError(_reason(done.returncode, done.stderr), done.stdout)
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def _inherited() -> dict[str, str]:
    """The environment, but that Python keeps the bytecode it makes: what is installed has it, and so is measured."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _reason(code: int, complaint: str) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return brief(_last_error(complaint)) or f"exit code {code}"


def _last_error(complaint: str) -> str:
    """The message of an exception that Python printed after its traceback, else the last line."""
    lines = complaint.strip().splitlines()
    tracebacks = [number for number, line in enumerate(lines) if line.startswith("Traceback")]
    if not tracebacks:
        return lines[-1] if lines else ""
    return "\n".join(itertools.dropwhile(lambda line: line.startswith(" "), lines[tracebacks[-1] + 1 :]))


def brief(text: object) -> str:
    """An error's message on one line, without its middle where it is long, and with files by name alone."""
    line = re.sub(r"(?<![\w/])/(?:[^\s/'\":,;]+/)+", "", " ".join(str(text).split()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
