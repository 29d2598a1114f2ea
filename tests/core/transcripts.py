"""Plays a transcript whole, line by line and byte by byte; all three must come to the same."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent
from typing import TypeVar

import pytest

from smtpx._core.connection import Connection
from smtpx._core.steps import Steps
from smtpx._wire.extensions import Extensions
from smtpx.errors import SMTPError
from smtpx.testing import Mode, Played, play
from smtpx.tls import Protection

T = TypeVar("T")


def connected(
    *keywords: str, lmtp: bool = False, tls: bool = False, local: bool = False
) -> Connection:
    """A connection past EHLO, with these extensions."""
    connection = Connection(lmtp=lmtp, local=local)
    lines = (keyword.partition(" ") for keyword in keywords)
    connection.extensions = Extensions({name: params for name, _, params in lines})
    connection.protection = Protection("TLSv1.3", "TLS_AES_256_GCM_SHA384") if tls else None
    return connection


def plays(make: Callable[[], Steps[T]], script: str) -> Played[T]:
    """Play the script in every mode; return what came of it whole."""
    whole, *others = (play(make(), dedent(script), mode) for mode in Mode)
    for other in others:
        assert (other.sent, other.writes) == (whole.sent, whole.writes)
    return whole


def fails(make: Callable[[], Steps[object]], script: str, kind: type[SMTPError]) -> SMTPError:
    """Play the script in every mode; each must raise `kind` at its very end."""
    errors: list[SMTPError] = []
    for mode in Mode:
        with pytest.raises(kind) as caught:
            _ = play(make(), dedent(script), mode)
        assert not getattr(caught.value, "__notes__", []), caught.value.__notes__
        errors.append(caught.value)
    assert len({str(error) for error in errors}) == 1
    return errors[0]
