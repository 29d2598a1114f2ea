"""A project as `django-admin` makes it, with what docs/django-outbox.md says and no more."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from smtpx.testing import Server
from tests.integrations.django.setting_up import HAS_MAILERS

PAGE = Path(__file__).parents[3] / "docs" / "django-outbox.md"
URL = "submission://user:secret@mail.example.com"


def settings(url: str) -> str:
    """The block of the page for this Django."""
    page = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (said,) = [block for block in blocks[:2] if ("MAILERS" in block) == HAS_MAILERS]
    assert URL in said
    app = 'INSTALLED_APPS += ["smtpx.integrations.django"]\n'
    return str(said.replace(URL, url)) + app


def printed() -> str:
    """What the page shows of the states."""
    page = PAGE.read_text(encoding="utf-8")
    (shown,) = re.findall(r"outbox status\n(.*?)^\$", page, re.MULTILINE | re.DOTALL)
    return str(shown)


@pytest.mark.slow  # `make test-integrations` runs it
@pytest.mark.timeout(120)
def test_the_page_is_enough(tmp_path: Path):
    def manage(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "manage.py", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONUTF8": "1"},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    start = [sys.executable, "-m", "django", "startproject", "shop", str(tmp_path)]
    _ = subprocess.run(start, check=True, cwd=tmp_path, timeout=60)
    with Server() as server:
        with (tmp_path / "shop" / "settings.py").open("a", encoding="utf-8") as file:
            _ = file.write(settings(server.url))
        _ = manage("migrate", "smtpx")
        sends = (
            "from django.core.mail import send_mail\n"
            "from django.db import transaction\n"
            "with transaction.atomic():\n"
            "    send_mail('hi', 'hello', 'shop@example.org', ['bob@example.net'])\n"
        )
        _ = manage("shell", "-c", sends)
        assert server.messages == []
        _ = manage("smtpx", "outbox", "run", "--until-empty")
        assert [each.recipients for each in server.messages] == [("bob@example.net",)]
        assert manage("smtpx", "outbox", "status") == printed()
