"""The programs of the migration guides run, before and after, and send the same message."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from email.message import EmailMessage
from importlib.util import find_spec
from pathlib import Path

import pytest

from smtpx.testing import ReceivedMessage, Server

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "examples" / "migration"
# What the program before needs.
PACKAGES = {
    "aiosmtplib": "aiosmtplib",
    "django": "django",
    "fastapi_mail": "fastapi_mail",
    "flask_mail": "flask_mail",
    "redmail": "redmail",
    "smtplib": "smtplib",
    "yagmail": "yagmail",
}


def sent_by(program: Path) -> ReceivedMessage:
    users = dict.fromkeys(["ann", "ann@example.org"], "secret")
    with Server(users=users, require_authentication=True) as server:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", str(program)],
            env=os.environ | {"PORT": str(server.port), "PASSWORD": "secret"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        (message,) = server.messages
    return message


def words(message: EmailMessage) -> str:
    body = message.get_body(("plain", "html"))
    assert body is not None
    return " ".join(re.sub(r"<[^>]*>", "", body.get_content()).split())


@pytest.mark.parametrize("name", PACKAGES)
def test_before_and_after_send_the_same(name: str):
    if find_spec(PACKAGES[name]) is None:  # To import one may change things for the whole process.
        pytest.skip(f"{name} is not installed: see integrations")
    before = sent_by(PROGRAMS / f"{name}_before.py")
    after = sent_by(PROGRAMS / f"{name}_after.py")
    assert (before.sender, before.recipients) == (after.sender, after.recipients)
    assert before.parsed["From"] == after.parsed["From"]
    assert before.parsed["Subject"] == after.parsed["Subject"]
    to = [each.addr_spec for each in before.parsed["To"].addresses]  # Some make up a name.
    assert to == [each.addr_spec for each in after.parsed["To"].addresses]
    assert words(before.parsed) == words(after.parsed) == "Hello Bob"


def test_every_program_is_in_the_guide_and_runs():
    guide = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8")
    names = {path.stem.rpartition("_")[0] for path in PROGRAMS.glob("*.py")}
    assert names == set(PACKAGES)
    for path in PROGRAMS.glob("*.py"):
        assert f"../examples/migration/{path.name}" in guide
