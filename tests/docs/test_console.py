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

from .test_docs import PAGES, world

# What a page has you save, so that whoever follows it has it too.
FILE = re.compile(r"[Ss]ave [^\n]* as `([\w.]+)`:\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = {name: content for path in PAGES for name, content in FILE.findall(path.read_text("utf-8"))}
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
    for name, content in FILES.items():
        _ = Path(name).write_text(content, "utf-8")
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


@pytest.mark.parametrize(("line", "printed"), commands())
def test_a_file_that_a_command_reads_is_one_that_you_were_told_to_save(line: str, printed: str):
    read = set(re.findall(r"(?<!--fix )\b\w+\.(?:eml|csv)\b", line))
    assert read <= FILES.keys() | {"bounce.eml"}, printed  # That one is of your mail system.


def test_the_documentation_has_commands() -> None:
    assert len(commands()) >= 8
