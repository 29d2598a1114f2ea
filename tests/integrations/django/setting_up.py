"""Django, set up once for each process of the tests; without it, those that need it are skipped."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

django = pytest.importorskip("django", reason="Django is not installed: group `integrations`")

BACKEND = "smtpx.integrations.django.EmailBackend"
HAS_MAILERS = django.VERSION >= (6, 1)
_APPS = ("admin", "auth", "contenttypes", "sessions", "messages", "staticfiles")
_MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
_TEMPLATES = {
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {
        "context_processors": [
            "django.template.context_processors.request",
            "django.contrib.auth.context_processors.auth",
            "django.contrib.messages.context_processors.messages",
        ]
    },
}


def set_up() -> None:
    from django.conf import settings

    if settings.configured:
        return
    said: dict[str, Any] = {"MAILERS": {}} if HAS_MAILERS else {"EMAIL_BACKEND": BACKEND}
    settings.configure(
        SECRET_KEY="for tests",
        USE_TZ=True,
        INSTALLED_APPS=[*(f"django.contrib.{app}" for app in _APPS), "smtpx.integrations.django"],
        MIDDLEWARE=_MIDDLEWARE,
        TEMPLATES=[_TEMPLATES],
        ROOT_URLCONF="tests.integrations.django.urls",
        STATIC_URL="static/",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "mail.db"}},
        **said,
    )
    django.setup()


@contextmanager
def mail_by(**options: Any) -> Generator[None, None, None]:
    """Say the options of the backend in the way that this Django has."""
    from django.test import override_settings

    said: dict[str, Any] = {"SMTPX": options}
    if HAS_MAILERS:
        said = {"MAILERS": {"default": {"BACKEND": BACKEND, "OPTIONS": options}}}
    with override_settings(**said):
        yield


@contextmanager
def database_by(**said: Any) -> Generator[Any, None, None]:
    """Have the alias ``default`` be another database."""
    from django.db import connections

    before = connections.settings["default"]
    connections["default"].close()
    connections.settings["default"] = {**before, **said}
    del connections["default"]
    try:
        yield connections["default"]
    finally:
        connections["default"].close()
        connections.settings["default"] = before
        del connections["default"]


@contextmanager
def project_with_an_outbox(folder: Path) -> Generator[None, None, None]:
    """Have a database in the folder, and an outbox in it."""
    from django.core.management import call_command

    name = str(folder / "project.db")
    with (
        database_by(ENGINE="django.db.backends.sqlite3", NAME=name),
        mail_by(url="smtp://localhost", outbox={}),
    ):
        call_command("migrate", "smtpx", verbosity=0)
        yield
