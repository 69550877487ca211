"""Every fixture: the text is as expected, a second run changes nothing, the result is valid and means the same."""

from __future__ import annotations

import zlib
from importlib import import_module

import numpy as np
import pytest

from tests.passes.cases import Case, all_cases
from tests.passes.meaning import assert_same_meaning, draw
from tilewright.ir.parse import parse
from tilewright.ir.show import show
from tilewright.ir.verify import verify
from tilewright.passes.narrow_products import NarrowProducts
from tilewright.passes.pipeline import Pass

CASES = all_cases()


def pass_of(case: Case) -> Pass:
    """A fixture file is named after its pass, perhaps with a part of it, or an option, behind: simplify_algebra."""
    name = case.file.stem
    if name == "narrow_products_quads":
        return NarrowProducts(any_quads=True)
    name = "simplify" if name.startswith("simplify") else name
    found: Pass = getattr(import_module(f"tilewright.passes.{name}"), name)
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.file.stem}: {case.title}")
def test_case(case: Case, update_golden: bool) -> None:
    run = pass_of(case)
    before = parse(case.before)
    after = run(before)
    if case.changes and update_golden:
        case.write(show(after).strip())
    else:
        assert show(after).strip() == (case.after or show(before).strip())
    verify(after)
    assert show(run(after)) == show(after), "a second run changes the graph"
    rng = np.random.default_rng(zlib.crc32(case.title.encode()))
    assert_same_meaning(before, after, [draw(v.type, rng) for v in before.inputs])


def test_every_pass_has_a_case_that_must_not_change() -> None:
    stems = {case.file.stem for case in CASES}
    assert stems == {case.file.stem for case in CASES if not case.changes}
