"""Without make the same is done: the words of `tools.dev` are those of the Makefile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tools import dev

MAKEFILE = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")


def recipe(target: str) -> list[str]:
    """The commands of a target, without make's own marks."""
    (found,) = re.findall(rf"^{re.escape(target)}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    return [line.strip().removeprefix("@").replace("$(BIN)/", "") for line in found.splitlines()]


@pytest.mark.parametrize("name", dev.COMMANDS)
def test_the_same_is_run(name: str):
    assert [" ".join(run) for run in dev.COMMANDS[name].runs] == recipe(name)


@pytest.mark.parametrize(
    ("name", "stamps"),
    [
        ("demo", ["demo-ready"]),
        ("test", ["ready"]),
        ("lint", ["ready", "bench-ready", "lint-ready"]),
        ("docs", ["ready", "docs-ready"]),
    ],
)
def test_the_same_is_installed(name: str, stamps: list[str]):
    by_make = [
        sorted(set(re.findall(r"--group \S+|--editable \S+", line.replace('"', ""))))
        for stamp in stamps
        for line in recipe(f"$(VENV)/{stamp}")
        if " install " in line and "--upgrade" not in line
    ]
    by_dev = [
        sorted(set(re.findall(r"--group \S+|--editable \S+", " ".join(words))))
        for words in dev.COMMANDS[name].installs
    ]
    assert by_dev == by_make


def test_what_it_cannot_do_it_says(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        _ = dev.main(["tset"])
    assert "invalid choice: 'tset'" in capsys.readouterr().err
