"""Every ``$ smtpx`` line of the documentation runs, and prints what stands below it.

``...`` in what it prints is anything; alone on its line, any lines.
"""

from __future__ import annotations

import io
import re
import shlex
import sys
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from smtpx.cli import main
from smtpx.testing import Server
from tests.cli.command import LETTER

from .test_docs import PAGES, world

BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
__all__ = ["world"]


def commands() -> list[ParameterSet]:
    found: list[ParameterSet] = []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for block in BLOCK.finditer(text):
            for said in re.split(r"^\$ ", block[1], flags=re.MULTILINE):
                line, _, printed = said.partition("\n")
                if line.startswith("smtpx "):
                    found.append(pytest.param(line, printed, id=f"{path.name}: {line[:60]}"))
    return found


def pattern(printed: str) -> str:
    """A regular expression for what a block says is printed."""
    lines = [
        r"(?:.*\n)*" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + r"\n"
        for line in printed.splitlines()
    ]
    return "".join(lines)


@pytest.mark.parametrize(("line", "printed"), commands())
def test_what_is_said_to_be_printed_is(
    line: str,
    printed: str,
    world: dict[int, Server],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("HOME", "USERPROFILE", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    _ = Path("letter.eml").write_bytes(LETTER)
    _ = Path("bare.eml").write_bytes(b"Subject: bare\n\nhello\n")
    _ = Path("rows.csv").write_bytes(b"name,address\nBob,bob@example.net\nZoe,zoe@example.net\n")
    _ = Path("template.eml").write_bytes(
        b"From: ann@example.org\nTo: {{name}} <{{address}}>\nSubject: hi\n\nDear {{name}}\n"
    )
    words = shlex.split(line, comments=True)[1:]
    stdin = b""
    if "<" in words:
        stdin = Path(words[words.index("<") + 1]).read_bytes()
        del words[words.index("<") :]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
    _ = main(words)
    said = capsys.readouterr()
    # As a terminal shows them, but for the order: errors come first, or last.
    shown = (said.err + said.out, said.out + said.err)
    assert any(re.fullmatch(pattern(printed), each) for each in shown), shown[0]


def test_the_documentation_has_commands() -> None:
    assert len(commands()) >= 8
