"""The programs of docs/tasks.md, with a broker, a database and workers that are killed (U42)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from smtpx.outbox import Outbox, State
from smtpx.testing import Server
from tests.outbox.conftest import postgres_server as postgres_server
from tests.outbox.test_dispatchers import broker as broker

# Whole programs and workers: `make test-integrations` runs them.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PATHS = [os.environ.get("PYTHONPATH", "")]
PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"
_PROGRAMS = re.findall(
    r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)
_COMMANDS = re.findall(r"^\$ python -m (procrastinate .*)$", PAGE.read_text("utf-8"), re.MULTILINE)
PROCRASTINATE_SCHEMA, PROCRASTINATE_WORKER = (line.split() for line in _COMMANDS)
CELERY, CELERY_ORDER, CELERY_DJANGO = _PROGRAMS[:3]
PROCRASTINATE, PROCRASTINATE_ORDER = _PROGRAMS[3:5]
DBOS, DBOS_ORDER, DBOS_WORKER = _PROGRAMS[5:]


class Shop:
    """A program in a folder of its own."""

    def __init__(self, folder: Path, app: str, order: str, **variables: str) -> None:
        self.folder = folder
        _ = (folder / "shop.py").write_text(app, encoding="utf-8")
        self.order = order
        self.environment = {**os.environ, **variables}

    def run(self, *words: str) -> None:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def place(self, number: int) -> None:
        """Place an order of this number."""
        self.run("-c", self.order.replace("order-42", f"order-{number}"))

    @contextmanager
    def worker(self, *words: str) -> Generator[None, None, None]:
        """A worker that is killed in the end, with all that it has started."""
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield
        finally:
            os.killpg(process.pid, 9)
            _ = process.wait(timeout=30)


def wait_for(url: str, accepted: int) -> None:
    """Wait until the ledger says so: a worker killed before may have to send once more."""
    with Outbox(url) as outbox:
        end = time.monotonic() + 60
        while outbox.counts()[State.ACCEPTED] < accepted:
            assert time.monotonic() < end, outbox.counts()
            time.sleep(0.05)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="the system has no groups of processes")
def test_celery(broker: str, tmp_path: Path):
    _ = pytest.importorskip("celery", reason="Celery is not installed")
    with Server() as server:
        shop = Shop(tmp_path, CELERY, CELERY_ORDER, BROKER=broker, SMTPX_URL=server.url)
        ledger = f"sqlite:///{tmp_path}/mail.db"
        work = ("celery", "-A", "shop", "worker", "--beat", "--concurrency", "1", "-l", "ERROR")
        shop.place(1)
        shop.place(1)
        with shop.worker(*work):
            wait_for(ledger, 1)
        shop.place(2)
        shop.place(3)
        with shop.worker(*work):
            wait_for(ledger, 3)
        assert len(server.messages) == 3, "the same order, placed twice, is one mail"


DJANGO_SETTINGS = """
import os

from shop.mail import dispatcher

SECRET_KEY = "for tests"
USE_TZ = True
INSTALLED_APPS = ["smtpx.integrations.django"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "project.db"}}
"""
DJANGO_ORDER = """
import django

django.setup()
from django.core.mail import send_mail
from django.db import transaction

with transaction.atomic():
    send_mail("hi", "hello", "shop@example.org", ["bob@example.net"])
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="the system has no groups of processes")
def test_celery_with_django(broker: str, tmp_path: Path):
    _ = pytest.importorskip("celery", reason="Celery is not installed")
    django = pytest.importorskip("django", reason="Django is not installed")
    options = '{"url": os.environ["SMTPX_URL"], "outbox": {"dispatcher": dispatcher}}'
    backend = '"smtpx.integrations.django.EmailBackend"'
    if django.VERSION >= (6, 1):
        said = f'MAILERS = {{"default": {{"BACKEND": {backend}, "OPTIONS": {options}}}}}\n'
    else:
        said = f"EMAIL_BACKEND = {backend}\nSMTPX = {options}\n"
    project = tmp_path / "shop"
    project.mkdir()
    _ = (project / "__init__.py").write_text("", encoding="utf-8")
    _ = (project / "mail.py").write_text(CELERY_DJANGO, encoding="utf-8")
    _ = (project / "settings.py").write_text(DJANGO_SETTINGS + said, encoding="utf-8")
    with Server() as server:
        shop = Shop(tmp_path, "", DJANGO_ORDER, BROKER=broker, SMTPX_URL=server.url)
        (tmp_path / "shop.py").unlink()
        shop.environment["DJANGO_SETTINGS_MODULE"] = "shop.settings"
        shop.environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(tmp_path), *PATHS]))
        shop.run("-m", "django", "migrate", "-v0")
        shop.place(1)
        with shop.worker("celery", "-A", "shop.mail", "worker", "--beat", "--concurrency", "1"):
            wait_for(f"sqlite:///{tmp_path}/project.db", 1)
        assert len(server.messages) == 1


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="the system has no groups of processes")
@pytest.mark.xdist_group("postgres")
def test_procrastinate(postgres_server: Any, tmp_path: Path):
    _ = pytest.importorskip("procrastinate", reason="procrastinate is not installed")
    with Server() as server:
        url = postgres_server.database()
        app, order = PROCRASTINATE, PROCRASTINATE_ORDER
        shop = Shop(tmp_path, app, order, DATABASE=url, SMTPX_URL=server.url)
        shop.run("-m", *PROCRASTINATE_SCHEMA)
        shop.place(1)
        with shop.worker(*PROCRASTINATE_WORKER):
            wait_for(url, 1)
        shop.place(2)
        with shop.worker(*PROCRASTINATE_WORKER):
            wait_for(url, 2)
        assert len(server.messages) == 2


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="the system has no groups of processes")
@pytest.mark.xdist_group("postgres")
def test_dbos(postgres_server: Any, tmp_path: Path):
    _ = pytest.importorskip("dbos", reason="DBOS is not installed")
    with Server() as server:
        url = postgres_server.database()
        shop = Shop(tmp_path, DBOS, DBOS_ORDER, DATABASE=url, SMTPX_URL=server.url)
        _ = (tmp_path / "worker.py").write_text(DBOS_WORKER, encoding="utf-8")
        shop.place(1)
        shop.place(1)
        with shop.worker("worker"):
            wait_for(url, 1)
        assert len(server.messages) == 1, "the same order, placed twice, is one mail"
