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


def tables() -> str:
    """Where to look and to add, and the ways of a message."""
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    return design[design.index("### Where to look") : design.index("## Rules")]


def test_what_the_tables_name_is_where_they_say():
    homes = re.findall(r"`(\w+)(?:\(\))?` (?:of|in|\()\s*`([\w/]+\.py)`", tables())
    assert len(homes) > 5
    for name, path in homes:
        text = (PACKAGE / path).read_text(encoding="utf-8")
        assert re.search(rf"^(?:def |class )?{name}\b", text, re.MULTILINE), (name, path)


def test_each_file_and_each_way_that_the_tables_name_is_there():
    paths = re.findall(r"`(\w+/[\w/]+\.py)`", tables())
    assert [path for path in paths if not (PACKAGE / path).exists()] == []
    ways = re.findall(r"^\| `(\w+)`", tables(), re.MULTILINE)
    code = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.glob("_[cs]*/**/*.py"))
    assert len(ways) >= 7
    assert [way for way in ways if not re.search(rf"\b(?:def|class) {way}\b", code)] == []
