"""Each of the requirements U1 to U36 has a test that names it."""

from __future__ import annotations

import re
from pathlib import Path

NAMED = re.compile(r"def test_((?:u[0-9]+_)+)")


def test_each_requirement_has_a_test_that_names_it() -> None:
    found: set[int] = set()
    for folder in ("cli", "inbox"):
        for path in (Path(__file__).parents[1] / folder).glob("test_*.py"):
            for names in NAMED.findall(path.read_text(encoding="utf-8")):
                found |= {int(number) for number in re.findall(r"[0-9]+", names)}
    assert found >= set(range(1, 37))
