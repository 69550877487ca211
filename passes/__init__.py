"""Graph in, graph out: each pass is a function in a file of its own; `pipeline` has their order.

The passes are imported from their modules, e.g. `tilewright.passes.simplify.simplify`.
"""

from __future__ import annotations

from tilewright.passes.pipeline import PIPELINE, pipeline_for, run

__all__ = ["PIPELINE", "pipeline_for", "run"]
