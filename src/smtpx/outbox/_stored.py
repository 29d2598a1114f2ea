"""Values as the ledger has them: envelopes, replies and states as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from smtpx.addresses import Address
from smtpx.envelope import BodyType, DeliverBy, Envelope, Notify, Recipient, Ret
from smtpx.replies import Reply

from .states import LedgerCorrupt

__all__ = [
    "envelope_of",
    "moment",
    "options_text",
    "reply_of",
    "reply_text",
    "wishes_text",
]

_FIRST = datetime(1, 1, 1, tzinfo=UTC).timestamp()
_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


def moment(seconds: float) -> datetime:
    """A time of the ledger, in UTC; of what is before or after all years, their first or last."""
    return datetime.fromtimestamp(min(max(seconds, _FIRST), _LAST), UTC)


def reply_text(reply: Reply | None) -> str | None:
    """A reply as the server wrote it; no database takes a NUL in text."""
    return None if reply is None else reply.raw.decode("latin-1").replace("\0", "?")


def reply_of(text: str | None) -> Reply | None:
    """The reply that `reply_text` has written."""
    return None if text is None else Reply(text.encode("latin-1"))


def options_text(envelope: Envelope) -> str | None:
    """What an envelope says besides the addresses; ``None`` where that is nothing."""
    options: dict[str, Any] = {}
    if envelope.body is not None:
        options["body"] = envelope.body.value
    if envelope.ret is not None:
        options["ret"] = envelope.ret.value
    if envelope.deliver_by is not None:
        by = envelope.deliver_by
        options["deliver_by"] = [by.seconds, by.returned, by.trace]
    if isinstance(envelope.hold, datetime):
        options["hold"] = envelope.hold.isoformat()
    elif envelope.hold is not None:
        options["hold"] = envelope.hold
    for name in ("envid", "auth", "priority"):
        if (value := getattr(envelope, name)) is not None:
            options[name] = value
    for name in ("require_tls", "drop_unsupported"):
        if getattr(envelope, name):
            options[name] = True
    return json.dumps(options) if options else None


def wishes_text(recipient: Recipient) -> str | None:
    """What is asked for one recipient alone; ``None`` where that is nothing."""
    if not recipient.has_options:
        return None
    since = recipient.unchanged_since
    return json.dumps(
        {
            "notify": None if recipient.notify is None else recipient.notify.value,
            "orcpt": recipient.orcpt,
            "unchanged_since": None if since is None else since.isoformat(),
        }
    )


def envelope_of(
    sender: str, recipients: Iterable[tuple[str, str | None]], options: str | None
) -> Envelope:
    """The envelope of a message for some of its recipients, each with its wishes.

    Raises:
        LedgerCorrupt: it is none.
    """
    try:
        everyone = [_recipient(address, wishes) for address, wishes in recipients]
        if options is None:
            return Envelope(sender or None, everyone)
        return Envelope(sender or None, everyone, **_options(json.loads(options)))
    except (ValueError, TypeError, KeyError, ArithmeticError) as error:
        raise LedgerCorrupt(f"an envelope in the ledger cannot be read: {error}") from error


def _recipient(address: str, wishes: str | None) -> Recipient:
    parsed = Address.parse(address, bare_local_part=True)
    if wishes is None:
        return Recipient(parsed)
    wish: Mapping[str, Any] = json.loads(wishes)
    since = wish["unchanged_since"]
    return Recipient(
        parsed,
        notify=None if wish["notify"] is None else Notify(wish["notify"]),
        orcpt=wish["orcpt"],
        unchanged_since=None if since is None else datetime.fromisoformat(since),
    )


def _options(stored: dict[str, Any]) -> dict[str, Any]:
    options = dict(stored)
    if "body" in options:
        options["body"] = BodyType(options["body"])
    if "ret" in options:
        options["ret"] = Ret(options["ret"])
    if "deliver_by" in options:
        seconds, returned, trace = options["deliver_by"]
        options["deliver_by"] = DeliverBy(seconds, returned, trace)
    if isinstance(options.get("hold"), str):
        options["hold"] = datetime.fromisoformat(options["hold"])
    return options
