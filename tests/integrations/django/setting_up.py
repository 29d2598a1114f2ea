"""Django, set up once for each process of the tests; without it, those that need it are skipped."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

django = pytest.importorskip("django", reason="Django is not installed: group `integrations`")

BACKEND = "smtpx.integrations.django.EmailBackend"
HAS_MAILERS = django.VERSION >= (6, 1)


def set_up() -> None:
    from django.conf import settings

    if settings.configured:
        return
    said: dict[str, Any] = {"MAILERS": {}} if HAS_MAILERS else {"EMAIL_BACKEND": BACKEND}
    settings.configure(
        SECRET_KEY="for tests",
        USE_TZ=True,
        INSTALLED_APPS=["smtpx.integrations.django"],
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
