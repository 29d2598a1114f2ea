"""Outboxes as the commands open them, and what their states come to."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import smtpx
from smtpx.cli._accounts import Account
from smtpx.cli._exits import Exit, Stop
from smtpx.outbox import (
    LedgerCorrupt,
    LedgerMisconfigured,
    LedgerTooNew,
    LedgerUnavailable,
    Outbox,
    State,
)

__all__ = ["client_of", "deliveries", "ledger"]


@contextmanager
def ledger(url: str, **options: Any) -> Generator[Outbox]:
    """An outbox; what is wrong with it ends the command.

    Raises:
        Stop: it cannot be opened, or used.
    """
    try:
        with Outbox(url, **options) as outbox:
            yield outbox
    except (LedgerMisconfigured, LedgerTooNew, LedgerCorrupt) as error:
        raise Stop(str(error), Exit.CONFIGURATION) from None
    except LedgerUnavailable as error:
        raise Stop(str(error), Exit.LATER) from None


def client_of(account: Account, connections: int, **options: Any) -> smtpx.Client:
    """A client with so many connections, unless the account says how many it may have."""
    said: dict[str, Any] = {**account.options, **options}
    return smtpx.Client(
        account.endpoint,
        credentials=account.credentials,
        pool=account.pool or smtpx.PoolLimits(open=connections, idle=connections),
        **said,
    )


def deliveries(counts: Mapping[State, int]) -> Exit:
    """What the states of many recipients come to, as the worst of them."""
    seen = {state for state, count in counts.items() if count}
    if seen & {State.IN_DOUBT, State.SENDING}:
        return Exit.IN_DOUBT
    if not seen - {State.ACCEPTED}:
        return Exit.DONE
    if State.ACCEPTED in seen:
        return Exit.PARTLY
    return Exit.LATER if State.WAITING in seen else Exit.NOBODY_ACCEPTED
