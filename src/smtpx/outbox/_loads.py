"""What a worker sends: one message for some of its recipients, made of what it claimed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TypeAlias, cast

from smtpx.envelope import Envelope
from smtpx.errors import SMTPError
from smtpx.marking import Alone
from smtpx.merging import Template

from ._claiming import Ticket
from ._preparing import date_field, stamped
from ._queue import Claimed, Contents
from ._spool import Spool
from ._stored import envelope_of
from .states import LedgerCorrupt, LedgerUnavailable

__all__ = ["Item", "Load", "item_of", "load_of", "loads_of"]


class Load:
    """Deliveries that go together, in one mail transaction."""

    __slots__ = ("deliveries", "is_noted")

    def __init__(self, deliveries: Sequence[Claimed]) -> None:
        self.deliveries = deliveries
        self.is_noted = False
        """What became of it has been handed to the ledger."""

    @property
    def tickets(self) -> list[Ticket]:
        """What its deliveries are claimed by."""
        return [delivery.ticket for delivery in self.deliveries]


class _Octets(bytes):
    """Content that knows its load: equal contents of two messages are not the same."""

    load: Load


class _Alone(_Octets, Alone):
    """The same, of which nothing else is to be in doubt."""


class _Spooled(Iterable[bytes]):
    """Content in the spool, that knows its load; what is read as it is sent goes alone."""

    def __init__(self, load: Load, stamps: bytes, spool: Spool, digest: bytes, size: int) -> None:
        self.load = load
        self._stamps = stamps
        self._spool = spool
        self._digest = digest
        self._size = size

    def __iter__(self) -> Iterator[bytes]:
        if self._stamps:
            yield self._stamps
        yield from self._spool.pieces(self._digest, self._size)


Item: TypeAlias = tuple["_Octets | _Spooled", Envelope]


def load_of(message: object) -> Load:
    """The load of a content that was given to `send_many`."""
    if isinstance(message, (_Octets, _Spooled)):
        return message.load
    raise AssertionError(f"send_many told of what it was not given: {message!r:.60}")


def loads_of(claimed: Sequence[Claimed]) -> list[Load]:
    """Put those together that have one content; a copy of a template goes alone."""
    together: dict[object, list[Claimed]] = {}
    for delivery in claimed:
        name = delivery.number if delivery.template else delivery.message
        together.setdefault(name, []).append(delivery)
    return [Load(deliveries) for deliveries in together.values()]


def item_of(load: Load, contents: Contents, spool: Spool | None, *, alone: bool) -> Item:
    """What `send_many` is given for a load; it goes `alone` where its doubt is to be held.

    Raises:
        LedgerUnavailable: its content is out of reach for this worker.
        SMTPError: it cannot be made; the message itself is at fault.
    """
    first = load.deliveries[0]
    digest = first.content or b""
    octets, size = contents.get(digest, (first.octets, 0))
    if octets is None and digest not in contents:
        raise LedgerCorrupt("the content of the message is not where it was kept")
    if octets is None and spool is None:
        raise LedgerUnavailable("the content is in a spool, and this worker has none: give spool=")
    kind = _Alone if alone and first.hold else _Octets
    if octets is not None and first.template:
        octets, envelope = _copy(first, octets)
        return _with_load(kind(octets), load), envelope
    envelope = envelope_of(
        first.sender,
        [(delivery.recipient, delivery.wishes) for delivery in load.deliveries],
        first.options,
    )
    if octets is None:
        spooled = _Spooled(load, first.stamps, cast("Spool", spool), digest, size)
        return spooled, envelope
    return _with_load(kind(first.stamps + octets), load), envelope


def _with_load(content: _Octets, load: Load) -> _Octets:
    content.load = load
    return content


def _copy(delivery: Claimed, source: bytes) -> tuple[bytes, Envelope]:
    """One recipient's copy of a template."""
    template = _template(source, delivery.options)
    try:
        octets, envelope = template.render(json.loads(delivery.data or "{}"))
    except SMTPError:
        raise
    except (ValueError, TypeError) as error:
        raise LedgerCorrupt(f"the values of a copy cannot be read: {error}") from error
    date = date_field(delivery.created)
    return stamped(octets, delivery.message_id or "", date), envelope


@lru_cache(maxsize=16)
def _template(source: bytes, options: str | None) -> Template:
    given: str | None = None if options is None else json.loads(options)["sender"]
    return Template.parse(source, sender=given)
