"""What every test of interruptions needs."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True, scope="module")
def nothing_is_kept(nothing_is_kept_of_an_interrupted_finaliser: None) -> None:
    """See tests/conftest.py."""


@pytest.fixture(autouse=True)
def nothing_is_kept_of_what_asyncio_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a task whose exception nobody took, pytest would keep the record, and so its frames."""
    monkeypatch.setattr(logging.getLogger("asyncio"), "propagate", False)
