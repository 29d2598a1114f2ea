"""Whoever follows the first pages to the end gets there: a real server, and real programs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.cli.command import environment
from tests.cli.test_serve import serving

from .test_docs import ROOT

START = (ROOT / "docs" / "start.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```$\n\n```text\n(.*?)^```$", START, re.M | re.S)
SERVERS = re.findall(r"^\$ smtpx serve(.*)$", START, re.M)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def ran(program: str, home: Path, smtp: str) -> str:
    """What a program of the page prints, in a process of its own, with the server's true port."""
    _ = (home / "program.py").write_text(program.replace("smtp://localhost:1025", smtp), "utf-8")
    return subprocess.run(
        [sys.executable, "-W", "error", "program.py"],
        cwd=home,
        env=environment(home),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=True,
    ).stdout


def test_the_first_mail_arrives_and_is_in_the_inbox(home: Path):
    program, printed = PROGRAMS[0]
    with serving(home) as (_, smtp, inbox):
        assert ran(program, home, smtp) == printed
        with urllib.request.urlopen(f"{inbox}api/messages", timeout=30) as answer:
            (message,) = json.load(answer)["messages"]
    assert message["subject"] == "Grüße aus Köln"
    assert message["breaches"] == 0


def test_the_refusal_is_met(home: Path):
    program, printed = PROGRAMS[1]
    fault = re.search(r'--fault "(.*)"', SERVERS[1])
    assert fault is not None
    with serving(home, "--no-inbox", "--fault", fault[1]) as (_, smtp, _inbox):
        assert ran(program, home, smtp) == printed


def test_the_page_shows_where_the_server_listens_by_default():
    from smtpx.cli import serve

    given = serve.parser().parse_args([])
    assert f"SMTP   smtp://{given.smtp}\ninbox  http://{given.http}/\n" in START
