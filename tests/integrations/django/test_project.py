"""Projects as `django-admin` makes them, with what the pages say and no more."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from smtpx.testing import Server
from tests.integrations.django.setting_up import HAS_MAILERS

DOCS = Path(__file__).parents[3] / "docs"
PAGE = DOCS / "django-outbox.md"
URL = "submission://mail.example.com"


def settings(url: str) -> str:
    """The block of the page for this Django."""
    (said,) = [block for block in blocks(PAGE.name)[:2] if ("MAILERS" in block) == HAS_MAILERS]
    assert URL in said
    app = 'INSTALLED_APPS += ["smtpx.integrations.django"]\n'
    return str(said.replace(URL, url)) + app


def printed() -> str:
    """What the page shows of the states."""
    page = PAGE.read_text(encoding="utf-8")
    (shown,) = re.findall(r"outbox status\n(.*?)^\$", page, re.MULTILINE | re.DOTALL)
    return str(shown)


def started(folder: Path, settings: str) -> Callable[..., str]:
    """Start a project; return its manage.py."""

    def manage(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "manage.py", *words],
            cwd=folder,
            env={**os.environ, "PYTHONUTF8": "1"},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    start = [sys.executable, "-m", "django", "startproject", "shop", str(folder)]
    _ = subprocess.run(start, check=True, cwd=folder, timeout=60)
    with (folder / "shop" / "settings.py").open("a", encoding="utf-8") as file:
        _ = file.write(settings)
    return manage


def blocks(page: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.slow  # `make test-integrations` runs it
@pytest.mark.timeout(120)
def test_what_the_page_shows_is_tested_by_djangos_own_runner(tmp_path: Path):
    """Its settings for this Django, its programs, each as a test, and the test that it shows."""
    shown = blocks("django.md")
    (setting,) = [block for block in shown[:2] if ("MAILERS" in block) == HAS_MAILERS]
    manage = started(tmp_path, setting)
    programs = [block for block in shown if "send" in block and "receiver" not in block]
    (tests,) = [block for block in programs if "def test_" in block]
    programs.remove(tests)
    assert any("asend_messages" in block for block in programs)
    written = "".join(
        f"    def test_{number}(self):\n        exec({block!r}, {{}})\n"
        for number, block in enumerate(programs)
    )
    code = f"{tests}\n\nclass Shown(MailTestCase, SimpleTestCase):\n{written}"
    _ = (tmp_path / "shop" / "tests.py").write_text(code, encoding="utf-8")
    said = manage("test", "--buffer")
    assert f"Ran {len(programs) + tests.count('def test_')} tests" in said


@pytest.mark.slow  # `make test-integrations` runs it
@pytest.mark.timeout(120)
@pytest.mark.parametrize("has_file", [True, False])
def test_what_the_page_of_the_outbox_shows_is_tested_by_djangos_own_runner(
    tmp_path: Path, has_file: bool
):
    """Its settings, with and without the file, and the test that it shows."""
    shown = blocks(PAGE.name)
    (database,) = [block for block in shown if "DATABASES = " in block]
    (tests,) = [block for block in shown if "def test_" in block]
    manage = started(tmp_path, settings(URL) + (database if has_file else ""))
    _ = (tmp_path / "shop" / "tests.py").write_text(tests, encoding="utf-8")
    if has_file:
        assert "Ran 1 test" in manage("test", "--buffer")
    else:
        with pytest.raises(AssertionError, match=r"DATABASES\['default'\] a .TEST.: ..NAME.: …"):
            _ = manage("test", "--buffer")


@pytest.mark.slow  # `make test-integrations` runs it
@pytest.mark.timeout(120)
def test_the_page_is_enough(tmp_path: Path):
    with Server(users={"user": "secret"}) as server:
        manage = started(tmp_path, settings(server.url))
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
