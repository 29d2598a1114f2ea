from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.integrations.django.setting_up import database_by, mail_by, set_up
from tests.outbox.conftest import postgres_server as postgres_server

set_up()


@pytest.fixture
def mailer() -> Iterator[Callable[..., None]]:
    """Say the options of the backend, for the rest of the test."""
    with ExitStack() as stack:

        def say(**options: Any) -> None:
            stack.enter_context(mail_by(**options))

        yield say


@pytest.fixture(
    params=["sqlite", pytest.param("postgres", marks=pytest.mark.xdist_group("postgres"))]
)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Django's connection to an empty database of its own, the alias ``default``."""
    if request.param == "sqlite":
        said = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "project.db")}
    else:
        url = urlsplit(request.getfixturevalue("postgres_server").database())
        said = {"ENGINE": "django.db.backends.postgresql", "NAME": url.path[1:]}
        said |= {"HOST": url.hostname, "PORT": str(url.port), "USER": url.username}
    with database_by(**said) as connection:
        yield connection
