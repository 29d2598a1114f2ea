"""The map of the design names every room, every word, and every file of the floors."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "smtpx"
FLOORS = ("_core", "_drivers", "_faces")


def test_the_map_names_every_file():
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    (drawn,) = re.findall(r"^```text\nsrc/smtpx/\n(.*?)^```$", design, re.MULTILINE | re.DOTALL)
    files = {path for floor in FLOORS for path in (PACKAGE / floor).rglob("*.py")}
    files |= {path for path in PACKAGE.glob("*.py") if path.stem != "__main__"}
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    names = {path.stem for path in files} | rooms
    assert names - set(re.findall(r"\w+", drawn)) == set()
