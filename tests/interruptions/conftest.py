"""What every test of interruptions needs."""

from __future__ import annotations

import logging
import sys

import pytest


@pytest.fixture(autouse=True)
def nothing_is_kept_of_an_interrupted_finaliser(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest keeps its exception, and with its frames the places and sockets that they had."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)


@pytest.fixture(autouse=True)
def nothing_is_kept_of_what_asyncio_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a task whose exception nobody took, pytest would keep the record, and so its frames."""
    monkeypatch.setattr(logging.getLogger("asyncio"), "propagate", False)
