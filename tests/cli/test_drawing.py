"""What is drawn on a terminal, and what stands in a pipe: the same, plain and complete."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from smtpx.cli import _drawing
from smtpx.testing import Server
from tests.bounces import reports

from .command import environment
from .conftest import Run

POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has no pseudo-terminals")
RICH = pytest.mark.skipif(find_spec("rich") is None, reason="rich is not installed: extra `cli`")
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
COLOUR = re.compile(r"\x1b\[[0-9;]*[34][0-9][0-9;]*m")
SAID = ("bob+news@example.org", "staff@example.org", "bad mailbox", "network", "5.1.1", "2 reports")


@pytest.fixture
def spool(home: Path) -> Path:
    path = home / "spool"
    mail = b"From mailer Mon Nov 29\n" + reports.POSTFIX.replace(b"\r\n", b"\n") + b"\n"
    _ = path.write_bytes(mail * 2)
    return path


def on_a_terminal(home: Path, *words: str, width: int, **variables: str) -> str:
    """What the command writes to a terminal that is so wide."""
    pty, fcntl, termios = (import_module(each) for each in ("pty", "fcntl", "termios"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, width, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "smtpx", *words],
        cwd=home,
        env=environment(home, **{"TERM": "xterm", **variables}),
        stdout=theirs,
        stderr=theirs,
        stdin=subprocess.DEVNULL,
    )
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 65536):
            said += piece
    except OSError:
        pass  # Linux's way to say that nobody has it open any more.
    finally:
        os.close(ours)
        _ = process.wait(60)
    return said.decode()


@POSIX
@RICH
def test_a_table_fits_its_terminal(spool: Path, home: Path) -> None:
    drawn = ESCAPE.sub("", on_a_terminal(home, "bounces", "spool", width=100))
    assert max(map(len, drawn.splitlines())) <= 100
    assert "─" in drawn
    assert "recipient" in drawn  # a heading
    assert all(each in drawn for each in SAID)


@POSIX
def test_a_table_is_a_list_where_it_would_be_too_narrow(spool: Path, home: Path) -> None:
    said = on_a_terminal(home, "bounces", "spool", width=40)
    assert "recipient   bob+news@example.org\r\naction      failed\r\n" in said
    assert all(each in said for each in SAID)


@POSIX
def test_a_terminal_that_can_draw_nothing(spool: Path, home: Path) -> None:
    said = on_a_terminal(home, "bounces", "spool", width=100, TERM="dumb", LANG="C.UTF-8")
    assert "\x1b" not in said
    assert all(each in said for each in SAID)


@POSIX
def test_no_colour_is_drawn_where_none_is_wanted(home: Path) -> None:
    words = ("send", "smtp://127.0.0.1:9", "nothing.eml")
    assert COLOUR.search(on_a_terminal(home, *words, width=100))
    assert not COLOUR.search(on_a_terminal(home, *words, width=100, NO_COLOR="1"))


def test_a_pipe_has_plain_columns(spool: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    done = run("bounces", "spool")
    assert "\x1b" not in done.out
    assert all(each in done.out for each in SAID)
    assert len(done.out.splitlines()) == 5  # nothing is wrapped, and there are no headings


def test_nothing_is_drawn_over_in_a_pipe(
    home: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where colours are wanted of all programs, as in many a CI."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    _ = (home / "rows.csv").write_text("address\nbob@example.net\n")
    _ = (home / "letter.eml").write_bytes(b"From: ann@example.org\nTo: {{address}}\n\nhi\n")
    with Server() as server:
        done = run("send", server.url, "--merge", "rows.csv", "letter.eml")
    assert done.code == 0
    assert "\r" not in done.err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@RICH
@pytest.mark.parametrize("width", [10**7, 100, 40, 2])
def test_a_bar_stays_on_one_line(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    terminal = Terminal()
    with _drawing.bar(terminal, 10) as drawn:
        assert drawn is not None
        drawn.show(3, "3 of 10, 1 refused, 612 a minute, [red]1:41 left")
    lines = [ESCAPE.sub("", line) for line in re.split(r"[\r\n]+", terminal.getvalue())]
    assert any("3 of 10, 1 refused"[: width - 2] in line for line in lines)
    assert ("━" in terminal.getvalue()) is (width >= 100)
    assert len(terminal.getvalue()) < 10_000
    assert max(map(len, lines)) <= width


def test_without_a_terminal_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    streams: list[Any] = [io.StringIO(), Terminal()]
    monkeypatch.setenv("TERM", "dumb")
    for stream in streams:
        with _drawing.bar(stream, 10) as drawn:
            assert drawn is None
