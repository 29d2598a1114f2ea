"""The outbox of the blocking face."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from smtpx import Client
from smtpx.addresses import Address
from smtpx.endpoints import Endpoint
from smtpx.envelope import Envelope
from smtpx.errors import SMTPError
from smtpx.merging import Template
from smtpx.options import PoolLimits

from . import _asking, _claiming, _putting
from ._arguments import (
    amount,
    campaign_name,
    flag,
    key_of,
    limits_of,
    moment_of,
    number,
    one_of,
    seconds_of,
    state_of,
    text,
)
from ._delivering import Policy, Round
from ._opening import opened
from ._owning import Owner, Watcher
from ._preparing import AnyContent, Prepared, new_id, prepared
from ._putting import Terms
from ._schedule import Limit, Retries
from ._via import Via, check_via, hop_of
from .states import Delivery, Event, State, Submission

__all__ = ["Outbox"]

_LOG = logging.getLogger("smtpx.outbox")

Put: TypeAlias = (
    "AnyContent | tuple[AnyContent] | tuple[AnyContent, Envelope | None] "
    "| tuple[AnyContent, Envelope | None, str | None]"
)

_FIVE_DAYS = timedelta(days=5)
# Messages that `put_many` puts in by one transaction, and rows of `put_merge`.
_BATCH = 500
# Recipients that a dispatcher is woken for at once.
_WOKEN = 100
# Contents that are larger go to the spool, where there is one.
_LARGE = 256 * 1024
# Deliveries of one kind that are sent before those of the other kind have their turn.
_TURN = 4096
# Messages that may be on their way at once over a connection.
_WINDOW = {False: 16, True: 1}
# Seconds between two looks at the ledger, while there is nothing to do.
_LOOK = 0.25
# Seconds for which a server is left alone that could not be reached, at first and at the most.
_HELD, _HELD_MOST = 1.0, 300.0
# Seconds after which a message that is due, and that nobody has taken up, is called out again.
_OVERDUE = 30.0
# Rows that are read at once.
_PAGE = 500


class Outbox:
    """Mail that survives a crash: kept durably, sent by workers, accounted for by recipient.

    ::

        outbox = smtpx.Outbox("sqlite:///mail.db")
        id = outbox.put(message, key="order-42")
        outbox.run("submission://user:secret@mail.example.com")  # here, or in another process

    Threads may share it, and so may processes, each with an object of its own.
    """

    def __init__(
        self,
        url: str,
        *,
        retries: Retries | None = None,
        limits: Mapping[str, Limit] | None = None,
        lease: float = 30.0,
        spool: str | Path | None = None,
        patience: float = 30.0,
    ) -> None:
        """Open the ledger; its tables are made, or brought to the present version.

        `limits` say how fast destinations are sent to, by all processes together: by the domain
        of the recipients, or ``"*"`` for each next hop. A worker that shows no sign of life for
        `lease` seconds is dead, and others send what it had. Contents above 256 KiB are kept in
        the directory `spool`; with SQLite that is beside the file, with PostgreSQL it has to be one
        that all machines share, or is left out. `patience` is how many seconds to wait for
        transactions of others.

        Raises:
            ValueError, TypeError: an argument is wrong.
            LedgerUnavailable, LedgerTooNew, LedgerCorrupt: there is no ledger to be had there.
            ExtraMissing: PostgreSQL needs ``smtpx[postgres]``.
        """
        if retries is not None and not isinstance(retries, Retries):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise TypeError(f"retries: give a smtpx.outbox.Retries, not {type(retries).__name__}")
        amount("lease", lease)
        amount("patience", patience)
        checked = limits_of(limits)
        self._store, self._spool = opened(url, spool, patience)
        self._policy = Policy(retries or Retries(), checked, self._spool)
        self._lease = lease
        self._watcher = Watcher(self._store, lease)
        self._stopping = False
        self._round: Round | None = None
        self._url = url.partition(":")[0]

    def __repr__(self) -> str:
        return f"<Outbox {self._store}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the ledger; it is opened again when it is needed."""
        self._store.close()

    # What is put in

    def put(
        self,
        message: AnyContent,
        envelope: Envelope | None = None,
        *,
        key: str | None = None,
        not_before: datetime | None = None,
        expires: timedelta = _FIVE_DAYS,
        priority: int = 0,
        on_doubt: Literal["resend", "hold"] = "resend",
        campaign: str | None = None,
        connection: object = None,
    ) -> str:
        """Keep a message until it is delivered; return its id. Once this returns, it is durable.

        The message is an `EmailMessage`, which may do without an envelope, or bytes, a binary file
        or an iterable of bytes. Its Message-ID is fixed now, Date too; Bcc is left out.

        The same `key` gives the same id, for as long as the message is in the ledger. `not_before`
        and `expires` (counted from then, or from now) say when it is tried; of two that are due
        the one of the higher `priority` goes first. Where a crash, or a lost connection, leaves
        unknown whether it was accepted, it is sent again with the same Message-ID; or with
        `on_doubt="hold"` never twice, and `resolve` settles it.

        `connection` is the application's own, with a transaction under way: sqlite3, psycopg,
        SQLAlchemy or Django. The message is in the outbox once that is committed.

        Raises:
            IdempotencyConflict: the key was used for another message.
            LocalProtocolError, AddressError: the message cannot be sent at all.
            LedgerUnavailable: the database does not take it.
            ValueError, TypeError: an argument is wrong.
        """
        terms = _terms(not_before, expires, priority, on_doubt, campaign)
        one = prepared(message, _envelope_of(envelope), key_of("key", key))
        is_large = self._keep(one)
        if connection is None:
            (id,) = self._transact_put([one], terms, None, is_large)
        else:
            from ._borrowed import run_on

            (id,) = run_on(connection, self._store, _putting.put, [one], terms, None, is_large)
        return id

    def _keep(self, one: Prepared) -> bool:
        """Have a large content in the spool; True if it is one."""
        if self._spool is None or len(one.octets) <= _LARGE:
            return False
        self._spool.keep(one.digest, one.octets)
        return True

    def _transact_put(
        self, several: list[Prepared], terms: Terms, batch: str | None, are_large: bool
    ) -> list[str]:
        return self._store.transact(_putting.put, several, terms, batch, are_large)

    def put_many(
        self,
        messages: Iterable[Put],
        *,
        not_before: datetime | None = None,
        expires: timedelta = _FIVE_DAYS,
        priority: int = 0,
        on_doubt: Literal["resend", "hold"] = "resend",
        campaign: str | None = None,
    ) -> Iterator[str]:
        """Keep messages as they come; yield their ids. What was yielded is durable.

        An item is an `EmailMessage`, or a tuple of message, envelope and key, of which the last
        may be left out. Some hundred of them are one transaction.

        Raises:
            SMTPError, ValueError, TypeError: as `put`; those whose ids were not yielded are not in
                the outbox, unless they had been before.
        """
        terms = _terms(not_before, expires, priority, on_doubt, campaign)
        if isinstance(messages, (str, bytes, bytearray, memoryview, Mapping)) or not isinstance(
            messages, Iterable
        ):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            given = type(messages).__name__
            raise TypeError(f"messages: give an iterable of messages or tuples, not {given}")
        return self._put_many(iter(messages), terms)

    def _put_many(self, messages: Iterator[Put], terms: Terms) -> Iterator[str]:
        while several := [_prepared(item) for item in islice(messages, _BATCH)]:
            now = time.time()
            terms = terms._replace(now=now)
            large = [one for one in several if self._keep(one)]
            batch = new_id()
            if not large:
                yield from self._transact_put(several, terms, batch, False)
                continue
            for one in several:
                yield from self._transact_put([one], terms, None, one in large)

    def put_merge(
        self,
        template: Template,
        rows: Iterable[Mapping[str, Any]],
        *,
        not_before: datetime | None = None,
        expires: timedelta = _FIVE_DAYS,
        priority: int = 0,
        on_doubt: Literal["resend", "hold"] = "resend",
        campaign: str | None = None,
    ) -> str:
        """Keep a copy of a template for each row of values; return the id of them all.

        The template is stored once, and each copy is rendered when it is sent. The values of a
        row are what JSON has. Some hundred rows are one transaction. With a `campaign`, a call that
        broke off is repeated with the same rows: those that are in the outbox are passed over.

        Raises:
            IdempotencyConflict: the campaign was begun with other rows, or another template.
            LocalProtocolError, AddressError: a row's copy cannot be sent; those before it are in
                the outbox.
            LedgerUnavailable: the database does not take it.
            ValueError, TypeError: an argument is wrong.
        """
        from ._merging import merge

        terms = _terms(not_before, expires, priority, on_doubt, campaign)
        if not isinstance(template, Template):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise TypeError(f"template: give a smtpx.Template, not {type(template).__name__}")
        if isinstance(rows, (str, bytes, Mapping)) or not isinstance(rows, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise TypeError(f"rows: give an iterable of dicts, not {type(rows).__name__}")
        return merge(self._store, template, iter(rows), terms, _WOKEN)

    # What is asked, and decided

    def status(self, id: str) -> Submission:
        """All about one message, by recipient.

        Raises:
            NotInOutbox: there is none of that id.
        """
        text("id", id)
        return self._store.transact(_asking.status, id)

    def counts(self, campaign: str | None = None) -> dict[State, int]:
        """How many recipients are in each state: of a campaign, or of all that the ledger has."""
        name = campaign if campaign is None else campaign_name(campaign)
        return self._store.transact(_asking.counts, name)

    def find(
        self,
        *,
        state: State | None = None,
        recipient: str | Address | None = None,
        older_than: timedelta | None = None,
    ) -> Iterator[Delivery]:
        """Those deliveries that are in a state, for a recipient, or unchanged for so long."""
        address = None if recipient is None else _address(recipient)
        before = None if older_than is None else time.time() - seconds_of("older_than", older_than)
        return self._find(_asking.Sought(state_of("state", state), address, before))

    def _find(self, sought: _asking.Sought) -> Iterator[Delivery]:
        after = 0
        while page := self._store.transact(_asking.find, sought, after, _PAGE):
            after = page[-1][0]
            for _, delivery in page:
                yield delivery

    def cancel(self, id: str) -> int:
        """Send nothing of a message any more; return for how many recipients that is so.

        For others it may be on its way, or all is over: `status` tells.

        Raises:
            NotInOutbox: there is none of that id.
        """
        text("id", id)
        return self._store.transact(_asking.cancel, id, time.time())

    def retry(self, id: str, *, expires: timedelta = _FIVE_DAYS) -> int:
        """Try a message at once for those who wait, or for whom it was refused, has expired or was
        cancelled; return how many. It then has so long, at least.

        Raises:
            NotInOutbox: there is none of that id.
        """
        text("id", id)
        now = time.time()
        until = now + seconds_of("expires", expires)
        return self._store.transact(_asking.retry, id, now, until)

    def resolve(
        self, id: str, recipient: str | Address, outcome: Literal["accepted", "resend"]
    ) -> None:
        """Settle what is in doubt: it was accepted, or is to be sent again.

        Raises:
            NotInOutbox: nothing of that id is in doubt for that recipient.
        """
        text("id", id)
        one_of("outcome", outcome, "accepted", "resend")
        state = State.ACCEPTED if outcome == "accepted" else State.WAITING
        now = time.time()
        until = now + _FIVE_DAYS.total_seconds()
        self._store.transact(_asking.resolve, id, _address(recipient), state, now, until)

    def purge(self, *, older_than: timedelta) -> int:
        """Forget messages of which all is over for that long, their keys and their events; return
        how many. What waits, is on its way or in doubt stays.
        """
        now = time.time()
        before = now - seconds_of("older_than", older_than)
        purged = 0
        while True:
            some = self._store.transact(self._purge, before, now)
            if not some:
                return purged
            purged += some

    def _purge(self, before: float, now: float) -> Generator[Any, Any, int]:
        over, spooled = yield from _asking.purge(before, now)
        if self._spool is not None:
            # In the transaction: whoever puts the same content in again comes before, or after.
            for digest in spooled:
                self._spool.forget(digest)
        return over

    def events(self, after: int = 0) -> Iterator[Event]:
        """What has become of messages, in the order of their `cursor`, after one of those."""
        number("after", after, 0)
        return self._events(after)

    def _events(self, after: int) -> Iterator[Event]:
        while page := self._store.transact(_asking.events, after, _PAGE):
            yield from page
            after = page[-1].cursor

    def report(self, callback: Callable[[Event], object], *, name: str = "default") -> int:
        """Call back with each event that this `name` has not been told; return how many.

        An event is noted as told when the callback has returned. After a crash in between, it is
        told again.

        Raises:
            Exception: what the callback raises; the event will be told again.
        """
        if not callable(callback) or isinstance(callback, type):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"callback: give a function of an event, not {callback!r:.60}")
        text("name", name)
        _ = key_of("name", name)
        told = 0
        for event in self._events(self._store.transact(_asking.cursor_of, name)):
            _ = callback(event)
            self._store.transact(_asking.move_cursor, name, event.cursor)
            told += 1
        return told

    # What sends

    def run(
        self,
        via: Via,
        *,
        connections: int = 4,
        window: int | None = None,
        until_empty: bool = False,
    ) -> None:
        """Send what is due, and what will be, in this process, until `stop` or SIGTERM.

        `via` is a server's URL or a `Client`. Over each of so many `connections` up to `window`
        messages are on their way at once: as many can be in doubt after a crash. By default these
        are 16, and 1 of those whose doubt is held. With `until_empty` it returns when nothing is
        due. Any number of processes may do so at once.

        Raises:
            SMTPError: with `until_empty`, the server cannot be reached; what waits is kept.
            LedgerUnavailable: the database cannot be used; what was on its way is in doubt.
            ValueError, TypeError: an argument is wrong.
        """
        flag("until_empty", until_empty)
        working = _Working(self, via, connections, window)
        self._stopping = False
        with _stopped_by_sigterm(self), working:
            while not self._stopping:
                _ = self._watcher.reap()
                if working.rounds(None):
                    continue
                if until_empty:
                    if working.failure is not None:
                        raise working.failure
                    return
                self._rest(working)

    def _rest(self, working: _Working) -> None:
        """Wait until there may be something to do."""
        due = self._store.transact(_claiming.wait_until)
        seconds = _LOOK if due is None else min(max(due - time.time(), 0.02), _LOOK)
        time.sleep(max(seconds, working.pause))

    def stop(self) -> None:
        """Have `run` return, once what is on its way has been answered; from any thread."""
        self._stopping = True
        if self._round is not None:
            self._round.stopping = True

    def deliver(
        self, batch: str, via: Via, *, connections: int = 1, window: int | None = None
    ) -> None:
        """Send what is due of one batch: the id of a message, or what `reconcile` returned.

        For tasks of any engine that calls them at least once. It may be called late, twice, and at
        once; what somebody else sends is left to him.

        Raises:
            SMTPError: the server cannot be reached; what waits is kept.
            LedgerUnavailable: the database cannot be used.
        """
        text("batch", batch)
        with _Working(self, via, connections, window) as working:
            while working.rounds(batch):
                pass
            if working.failure is not None:
                raise working.failure

    def reconcile(self) -> list[str]:
        """Take from dead workers what they had; return the batches that nobody has taken up.

        For a timer, every half minute or so: each batch is to be given to `deliver`.
        """
        _ = self._watcher.reap()
        return self._store.transact(_claiming.overdue, time.time() - _OVERDUE, 10 * _PAGE)


class _Working:
    """A worker of the blocking face, as a context: it owns what it claims."""

    def __init__(self, outbox: Outbox, via: Via, connections: int, window: int | None) -> None:
        check_via(via)
        number("connections", connections, 1)
        if window is not None:
            number("window", window, 1)
        self._outbox = outbox
        self._store = outbox._store
        self._connections = connections
        self._windows = _WINDOW if window is None else {False: window, True: window}
        self._client: Any = via
        self._own: Client | None = None
        if isinstance(via, (str, Endpoint)):
            pool = PoolLimits(open=max(connections, 5))
            self._client = self._own = Client(via, pool=pool)
        self._hop = hop_of(self._client)
        self._owner: Owner | None = None
        self._failures = 0
        self.failure: SMTPError | None = None
        """Why the server could not be reached, the last time."""
        self.pause = 0.0
        """Seconds for which there is no use in trying."""

    def __enter__(self) -> Self:
        self._owner = Owner(self._store, self._outbox._lease)
        try:
            _ = self._owner.__enter__()
        except BaseException:
            self._close_client()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._owner is not None:
                self._owner.__exit__(kind, error, traceback)
        finally:
            self._close_client()

    def _close_client(self) -> None:
        if self._own is not None:
            self._own.close()

    def rounds(self, batch: str | None) -> int:
        """Send what is due of both kinds; the value is how many deliveries that were."""
        self.failure = None
        sent = 0
        for hold in (False, True):
            sent += self._round(hold, batch)
            if self.failure is not None:
                break
        return sent

    def _round(self, hold: bool, batch: str | None) -> int:
        if self._owner is None:
            raise AssertionError("a worker is entered first")
        a_round = Round(
            *(self._store, self._owner.id, self._outbox._policy),
            hold=hold,
            hop=self._hop,
            most=_TURN,
            batch=batch,
        )
        self._outbox._round = a_round
        a_round.stopping = self._outbox._stopping
        try:
            self._send(a_round, self._windows[hold])
        except _claiming.OwnerLost:
            # We had been stopped for longer than a lease, and others have what was ours.
            _LOG.warning("this worker was taken for dead, and begins anew")
            self._owner.__exit__(None, None, None)
            self._owner = Owner(self._store, self._outbox._lease).__enter__()
        finally:
            self._outbox._round = None
        self._judge(a_round)
        return 0 if self.failure is not None else a_round.claimed

    def _send(self, a_round: Round, window: int) -> None:
        failure: BaseException | None = None
        try:
            for result in self._client.send_many(
                _items(a_round), connections=self._connections, window=window, mark=a_round.mark
            ):
                a_round.hear(result)
                a_round.settle()
        except SMTPError as error:
            failure = error
            if _is_of_ledger(error):
                raise
            self.failure = error
        except BaseException as error:
            failure = error
            raise
        finally:
            a_round.end(failure)

    def _judge(self, a_round: Round) -> None:
        """Leave a server alone that cannot be reached."""
        if self.failure is None:
            if a_round.answered:
                self._failures, self.pause = 0, 0.0
            return
        if a_round.answered:
            self._failures = 0
        self.pause = min(_HELD * 2 ** min(self._failures, 16), _HELD_MOST)
        self._failures += 1
        _LOG.warning("%s; tried again in %g seconds", self.failure, self.pause)


def _items(a_round: Round) -> Iterator[Any]:
    while items := a_round.more():
        yield from items


def _is_of_ledger(error: SMTPError) -> bool:
    from .states import OutboxError

    return isinstance(error, OutboxError)


@contextmanager
def _stopped_by_sigterm(outbox: Outbox) -> Iterator[None]:
    """SIGTERM ends what runs in this process, where it runs in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: outbox.stop())
    try:
        yield
    finally:
        _ = signal.signal(signal.SIGTERM, before)


def _terms(
    not_before: datetime | None,
    expires: timedelta,
    priority: int,
    on_doubt: str,
    campaign: str | None,
) -> Terms:
    number("priority", priority, -1000, 1000)
    one_of("on_doubt", on_doubt, "resend", "hold")
    now = time.time()
    due = moment_of("not_before", not_before) or now
    return Terms(
        campaign_name(campaign),
        on_doubt == "hold",
        priority,
        due,
        max(due, now) + seconds_of("expires", expires),
        now,
    )


def _envelope_of(value: object) -> Envelope | None:
    if value is not None and not isinstance(value, Envelope):
        raise TypeError(f"envelope: give a smtpx.Envelope or None, not {type(value).__name__}")
    return value


def _prepared(item: Any) -> Prepared:
    if not isinstance(item, tuple):
        return prepared(item, None, None)
    given: tuple[Any, ...] = tuple(item)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - of whatever kind
    if not 1 <= len(given) <= 3:
        raise TypeError(f"messages: give tuples of message, envelope and key, not of {len(given)}")
    message, envelope, key = (*given, None, None)[:3]
    return prepared(message, _envelope_of(envelope), key_of("key", key))


def _address(recipient: object) -> str:
    if isinstance(recipient, Address):
        return str(recipient)
    text("recipient", recipient)
    return str(Address.parse(str(recipient), bare_local_part=True))
