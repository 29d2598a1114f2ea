"""What every test of interruptions needs."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def nothing_is_kept_of_an_interrupted_finaliser(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest keeps its exception, and with its frames the places and sockets that they had."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
