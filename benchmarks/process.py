"""Running a piece of Python in a fresh process, and what it cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any


def python(code: str, *arguments: str, **environment: str) -> Mapping[str, Any]:
    """Run `code` in a new process; the JSON object on its last line, with `started`, when the process was started.

    That time is comparable with `time.monotonic()` inside the process: it is the same clock for all processes.
    """
    command = [sys.executable, "-c", code, *arguments]
    started = time.monotonic()
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True)
    return {**json.loads(done.stdout.splitlines()[-1]), "started": started}
