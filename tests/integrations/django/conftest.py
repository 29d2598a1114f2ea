from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.integrations.django.setting_up import mail_by, set_up

set_up()


@pytest.fixture
def mailer() -> Iterator[Callable[..., None]]:
    """Say the options of the backend, for the rest of the test."""
    with ExitStack() as stack:

        def say(**options: Any) -> None:
            stack.enter_context(mail_by(**options))

        yield say
