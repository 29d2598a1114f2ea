from __future__ import annotations

import pytest

from smtpx import smtplib


@pytest.fixture(autouse=True)
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own name, without asking a resolver for it."""
    monkeypatch.setattr(smtplib.socket, "getfqdn", lambda: "client.example.org")
