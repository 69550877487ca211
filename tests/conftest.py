"""Settings for every test."""

from __future__ import annotations

from hypothesis import settings

# Machines that run tests are busy: slowness is no failure. The same examples are drawn each time.
settings.register_profile("tilewright", deadline=None, derandomize=True)
settings.load_profile("tilewright")
