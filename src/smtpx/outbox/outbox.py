"""The outbox of the blocking face."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, Unpack
from weakref import WeakSet

from smtpx import Client, _checks
from smtpx._unbegun import Unbegun
from smtpx.addresses import Address
from smtpx.envelope import Envelope
from smtpx.errors import SMTPError
from smtpx.merging import Template
from smtpx.results import SendResult

from . import _asking, _putting, _queue, _reporting
from ._arguments import (
    campaign_name,
    check_cursor,
    check_several,
    id_of,
    key_of,
    recipient_of,
    seconds_of,
)
from ._asking import sought_of
from ._claiming import OwnerLost
from ._delivering import Policy, Round
from ._opening import opened
from ._options import FIVE_DAYS, OutboxOptions, PutOptions, settings_of, terms_of
from ._owning import Watcher
from ._preparing import AnyContent, Prepared, new_id, prepared
from ._putting import Terms
from ._tls_reporting import reporting
from ._via import Via
from ._working import Core, Working, stopped_by_sigterm
from .states import Delivery, Event, State, Submission

__all__ = ["Outbox"]

Put: TypeAlias = "AnyContent | tuple[AnyContent] | tuple[AnyContent, Envelope | None] | tuple[AnyContent, Envelope | None, str | None]"  # noqa: E501 - one string, for all type checkers

_LOG = logging.getLogger("smtpx.outbox")

# Messages that `put_many` puts in by one transaction.
_BATCH = 500
# Messages of a batch; and rows of `put_merge` that are one transaction.
_ROWS = 100
# Contents that are larger go to the spool, where there is one.
_LARGE = 256 * 1024
# Rows that are read at once.
_PAGE = 500
# Seconds after which it is looked whether to stop.
_LOOK = 0.25


class Outbox:
    """Mail that survives a crash: kept durably, sent by workers, accounted for by recipient.

    ::

        outbox = smtpx.Outbox("sqlite:///mail.db")
        id = outbox.put(message, key="order-42")
        outbox.run("submission://user:secret@mail.example.com")  # here, or in another process

    Threads may share it, and so may processes, each with an object of its own. Every method that
    reads or writes the ledger raises `LedgerUnavailable` while the database cannot be used.
    """

    def __init__(
        self,
        url: str,
        **options: Unpack[OutboxOptions],
    ) -> None:
        """Open the ledger; its tables are made, or brought to the present version.

        The options are those of `OutboxOptions`: retries, limits, lease, spool, patience,
        dispatcher, bounces, warn_after, overdue.

        Raises:
            ValueError, TypeError: an argument is wrong.
            LedgerUnavailable, LedgerTooNew, LedgerCorrupt: there is no ledger to be had there.
            ExtraMissing: PostgreSQL needs ``smtpx[postgres]``.
        """
        settings = settings_of(options)
        self._store, self._spool = opened(url, settings.spool, settings.patience)
        self._core = Core(
            self._store,
            Policy(settings.retries, settings.limits, self._spool),
            settings.lease,
            Watcher(self._store),
            settings.bounces,
        )
        self._dispatcher = settings.dispatcher
        self._warn_after = settings.warn_after
        self._overdue = settings.overdue
        self._shifts: WeakSet[Working] = WeakSet()

        if settings.bounces is not None:
            try:
                self._store.transact(_reporting.begin_reports)
            except BaseException:
                self.close()
                raise

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
        connection: object = None,
        **options: Unpack[PutOptions],
    ) -> str:
        """Keep a message until it is delivered; return its id. Once this returns, it is durable.

        The message is an `EmailMessage`, which may do without an envelope, or bytes, a binary file
        or an iterable of bytes. Its Message-ID is fixed now, Date too; Bcc is left out.

        The same `key` gives the same id, for as long as the message is in the ledger. The options
        are those of `PutOptions`: not_before, expires, priority, on_doubt, campaign.

        `connection` is the application's own, with a transaction under way: sqlite3, psycopg,
        SQLAlchemy or Django. The message is in the outbox once that is committed.

        Raises:
            IdempotencyConflict: the key was used for another message.
            LocalProtocolError, AddressError: the message cannot be sent at all.
            LedgerUnavailable: the database does not take it.
            ValueError, TypeError: an argument is wrong.
        """
        is_ours = connection is None
        operation, *arguments = self._putting(message, envelope, key, options, spools=is_ours)
        if is_ours:
            (id,) = self._store.transact(operation, *arguments)
            self._wake([id])
        else:
            from ._borrowed import raw_of, run_on

            (id,) = run_on(connection, self._store, operation, *arguments)
            if self._dispatcher is not None and self._dispatcher.transactional:
                self._dispatcher.wake([id], connection=raw_of(connection))
        return str(id)

    def _wake(self, batches: Sequence[str]) -> None:
        """Call for somebody who delivers; only latency depends on it."""
        if self._dispatcher is None or not batches:
            return
        try:
            self._dispatcher.wake(batches)
        except Exception as error:
            _LOG.warning("nobody could be woken, so reconcile() will have to: %s", error)

    def _putting(
        self,
        message: AnyContent,
        envelope: Envelope | None,
        key: str | None,
        options: PutOptions,
        *,
        spools: bool,
    ) -> tuple[Any, ...]:
        """The operation that puts a message in, and its arguments.

        A large content goes into the spool, but not for a transaction of the caller's: no file is
        rolled back.
        """
        terms = terms_of(options, self._warn_after)
        one = prepared(message, _envelope_of(envelope), key_of("key", key))
        return self._put_in, [one], terms, None, self._spooled([one]) if spools else {}

    def _spooled(self, several: Sequence[Prepared]) -> dict[bytes, bytes]:
        """Have large contents in the spool, where there is one; the value is which, by digest."""
        if self._spool is None:
            return {}
        large = {
            one.digest: one.octets
            for one in several
            if one.digest is not None and len(one.octets) > _LARGE
        }
        for digest, octets in large.items():
            self._spool.keep(digest, octets)
        return large

    def _put_in(
        self,
        several: Sequence[Prepared],
        terms: Terms,
        batches: Sequence[str] | None,
        spooled: dict[bytes, bytes],
    ) -> Generator[Any, Any, list[str]]:
        ids = yield from _putting.put(several, terms, batches, spooled)
        if self._spool is not None:
            # In the transaction, once more: what was there may have been purged meanwhile.
            for digest, octets in spooled.items():
                self._spool.keep(digest, octets)
        return ids

    def put_many(
        self,
        messages: Iterable[Put],
        **options: Unpack[PutOptions],
    ) -> Iterator[str]:
        """Keep messages as they come; yield their ids. What was yielded is durable.

        An item is an `EmailMessage`, or a tuple of message, envelope and key, of which the last
        may be left out. 500 of them are one transaction. Messages are put in as the ids are read:
        if none is, a `RuntimeWarning` tells. Whoever stops early has put in whole transactions:
        all whose ids were read, and up to 499 more.

        Raises:
            SMTPError, ValueError, TypeError: as `put`; those whose ids were not yielded are not in
                the outbox, unless they had been before.
        """
        terms = terms_of(options, self._warn_after)
        check_several("messages", messages, "messages or tuples")
        unbegun = Unbegun("Outbox.put_many()", "no message is in the outbox")
        return self._put_many(unbegun, iter(messages), terms)

    def _put_many(self, unbegun: Unbegun, messages: Iterator[Put], terms: Terms) -> Iterator[str]:
        unbegun.begin()
        while several := [_prepared(item) for item in islice(messages, _BATCH)]:
            terms = terms._replace(now=time.time())
            batches = [new_id() for _ in range(0, len(several), _ROWS)]
            spooled = self._spooled(several)
            ids = self._store.transact(self._put_in, several, terms, batches, spooled)
            self._wake(batches)
            yield from ids

    def put_merge(
        self,
        template: Template,
        rows: Iterable[Mapping[str, Any]],
        **options: Unpack[PutOptions],
    ) -> str:
        """Keep a copy of a template for each row of values; return the id of them all.

        The template is stored once, and each copy is rendered when it is sent. The values of a
        row are what JSON has. Some hundred rows are one transaction. With a `campaign`, a call that
        broke off is repeated with the same rows: those that are in the outbox are passed over.

        Raises:
            IdempotencyConflict: the campaign was begun with other rows, or another template.
            NotInOutbox: it was purged meanwhile.
            LocalProtocolError, AddressError: a row's copy cannot be sent. The rows are kept in
                batches: those before its own are in the outbox.
            LedgerUnavailable: the database does not take it.
            ValueError, TypeError: an argument is wrong.
        """
        from ._merging import merge

        terms = terms_of(options)
        if not isinstance(template, Template):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("template", template, "a smtpx.Template")
        check_several("rows", rows, "dicts")
        return merge(self._store, template, iter(rows), terms, _ROWS, self._wake)

    # What is asked, and decided

    def status(self, id: str) -> Submission:
        """All about one message, by recipient.

        Raises:
            NotInOutbox: there is none of that id.
        """
        _ = id_of("id", id)
        return self._store.look(_asking.status, id)

    def counts(self, campaign: str | None = None) -> dict[State, int]:
        """How many recipients are in each state: of a campaign, or of all that the ledger has."""
        name = campaign if campaign is None else campaign_name(campaign)
        return self._store.look(_asking.counts, name)

    def find(
        self,
        *,
        state: State | None = None,
        recipient: str | Address | None = None,
        older_than: timedelta | None = None,
    ) -> Iterator[Delivery]:
        """Those deliveries that are in a state, for a recipient, or unchanged for so long.

        The ledger is read a page at a time, as the iterator goes on.

        Raises:
            AddressError: `recipient` is no address.
            LedgerUnavailable: the database cannot be used; the iterator raises it as well.
        """
        return self._find(sought_of(state, recipient, older_than))

    def _find(self, sought: _asking.Sought) -> Iterator[Delivery]:
        after = 0
        while page := self._store.look(_asking.find, sought, after, _PAGE):
            after = page[-1][0]
            for _, delivery in page:
                yield delivery

    def cancel(self, id: str, *, recipient: str | Address | None = None) -> int:
        """Send nothing of a message any more; return for how many recipients that was changed.

        A `recipient` is the only one that it is done for. Only what waits is cancelled. For what is
        on its way, or over, the call does nothing, and is no error: it may be repeated.

        Raises:
            NotInOutbox: there is none of that id, or for that recipient.
        """
        _ = id_of("id", id)
        address = None if recipient is None else recipient_of(recipient)
        return self._store.transact(_asking.cancel, id, address, time.time())

    def retry(
        self,
        id: str,
        *,
        recipient: str | Address | None = None,
        expires: timedelta = FIVE_DAYS,
    ) -> int:
        """Try a message at once for those who wait, or for whom it was refused, has expired or was
        cancelled; return how many. It then has so long, at least.

        A `recipient` is the only one that it is done for. What is on its way, or was accepted, is
        left as it is: to send it twice, put it in again. What is in doubt is left to `resolve`.

        Raises:
            NotInOutbox: there is none of that id, or for that recipient.
        """
        _ = id_of("id", id)
        now = time.time()
        until = now + seconds_of("expires", expires)
        address = None if recipient is None else recipient_of(recipient)
        return self._store.transact(_asking.retry, id, address, now, until)

    def resolve(
        self, id: str, recipient: str | Address, outcome: Literal["accepted", "resend"]
    ) -> None:
        """Settle what is in doubt: it was accepted, or is to be sent again.

        What is sent again stays `doubted`: the first attempt may have been accepted.

        Raises:
            NotInOutbox: nothing of that id is in doubt for that recipient.
        """
        _ = id_of("id", id)
        _checks.one_of("outcome", outcome, ("accepted", "resend"))
        state = State.ACCEPTED if outcome == "accepted" else State.WAITING
        now = time.time()
        until = now + FIVE_DAYS.total_seconds()
        self._store.transact(_asking.resolve, id, recipient_of(recipient), state, now, until)

    def purge(self, *, older_than: timedelta) -> int:
        """Forget messages of which all is over for that long, their keys and their events; return
        how many. What waits, is on its way or in doubt stays.
        """
        now = time.time()
        before = now - seconds_of("older_than", older_than)
        purged = 0
        place: _asking.Place | None = _asking.Place()
        while place is not None:
            some, place = self._store.transact(self._purge, before, now, place)
            purged += some
        while not self._store.transact(_asking.forget_events, before):
            pass
        return purged

    def _purge(
        self, before: float, now: float, place: _asking.Place
    ) -> Generator[Any, Any, tuple[int, _asking.Place | None]]:
        over, spooled, following = yield from _asking.purge(before, now, place)
        if self._spool is not None:
            # In the transaction: whoever puts the same content in again comes before, or after.
            for digest in spooled:
                self._spool.forget(digest)
        return over, following

    def events(self, after: int = 0) -> Iterator[Event]:
        """What has become of messages, in the order of their `cursor`, after one of those.

        Raises:
            ValueError: `after` is no cursor.
            LedgerUnavailable: the database cannot be used; the iterator raises it.
        """
        check_cursor("after", after)
        return self._events(after)

    def _events(self, after: int) -> Iterator[Event]:
        while page := self._store.look(_asking.events, after, _PAGE):
            yield from page
            after = page[-1].cursor

    def report(self, callback: Callable[[Event], object], *, name: str = "default") -> int:
        """Call back with each event that this `name` has not been told; return how many.

        An event is noted as told when the callback has returned. After a crash in between, it is
        told again.

        Raises:
            Exception: what the callback raises; the event will be told again.
        """
        if isinstance(callback, type) or not callable(callback):
            raise _checks.complaint("callback", callback, "a function of an event")
        _checks.text("name", name)
        _ = key_of("name", name)
        told = 0
        for event in self._events(self._store.look(_asking.cursor_of, name)):
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
        due; it waits for a `Limit` that lets more go within ten seconds. Any number of processes
        may do so at once. A `Delivery` sends its TLS reports, too.

        Raises:
            SMTPError: with `until_empty`, the server cannot be reached; what waits is kept.
            LedgerUnavailable: the database cannot be used; what was on its way is in doubt.
            Exception: what `via` raises else, or its source of a password; what waits is kept.
            ValueError, TypeError: an argument is wrong.
        """
        _checks.flag("until_empty", until_empty)
        with (
            _Shift(self._core, via, Client, connections, window) as shift,
            self._stoppable(shift),
            stopped_by_sigterm(shift),
            reporting(shift.client, lambda: shift.is_stopping),
        ):
            while True:
                if shift.is_stopping:
                    break
                _ = self._core.watcher.reap()
                sent = shift.rounds(None)
                if self._core.report() or sent:
                    continue
                if until_empty:
                    if shift.failure is not None:
                        raise shift.failure
                    if not (self._core.watcher.suspense or shift.is_limited()):
                        return
                _sleep(shift)

    @contextmanager
    def _stoppable(self, shift: Working) -> Generator[None, None, None]:
        self._shifts.add(shift)
        try:
            yield
        finally:
            self._shifts.discard(shift)

    def stop(self) -> None:
        """Have each `run` of this object return, once what is on its way has been answered; from
        any thread, or a signal handler.
        """
        for shift in [*self._shifts]:
            shift.stop()

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
        _ = id_of("batch", batch)
        with _Shift(self._core, via, Client, connections, window) as shift:
            while True:
                if not shift.rounds(batch):
                    break
            _ = self._core.report()
            if shift.failure is not None:
                raise shift.failure

    def reconcile(self) -> list[str]:
        """Take from dead workers what they had, tell senders what they are to be told, and return
        the batches that nobody has taken up.

        For a timer, every half minute or so. A dispatcher is woken for each of them; without one
        they are to be given to `deliver`. It waits for half a lease where a worker looks dead that
        it has not seen before.

        Raises:
            LedgerUnavailable: the database cannot be used.
        """
        watcher = self._core.watcher
        _ = watcher.reap()
        if suspense := watcher.suspense:
            time.sleep(suspense)
            _ = watcher.reap()
        _ = self._core.report()
        batches = self._store.look(_queue.overdue, time.time(), self._overdue, 10 * _PAGE)
        self._wake(batches)
        return batches


class _Shift(Working):
    """A worker of the blocking face."""

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.end(error)
        finally:
            if self.own is not None:
                self.own.close()

    def rounds(self, batch: str | None) -> int:
        """Send what is due of both kinds; the value is how many deliveries that were."""
        self.failure = None
        sent = 0
        for hold in (False, True):
            a_round = self.round(hold, batch)
            try:
                self._send(a_round)
            except OwnerLost:
                self.renew()
            sent += self.judged(a_round)
            if self.failure is not None:
                break
        return sent

    def _send(self, a_round: Round) -> None:
        failure: BaseException | None = None
        try:
            results = self.client.send_many(
                _items(a_round),
                connections=self.connections,
                window=a_round.window,
                mark=a_round.mark,
            )
            for result in results:
                _hear(a_round, result)
        except SMTPError as error:
            failure = error
            self.fail(error)
        except BaseException as error:
            failure = error
            raise
        finally:
            a_round.end(failure)


def _hear(a_round: Round, result: SendResult) -> None:
    a_round.hear(result)
    if a_round.has_to_note:
        a_round.flush()


def _sleep(shift: Working) -> None:
    """Wait until there may be something to do, or it is to stop."""
    end = time.monotonic() + shift.pause()
    while not shift.is_stopping and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _LOOK))


def _items(a_round: Round) -> Iterator[Any]:
    while items := a_round.more():
        for item in items:
            if a_round.is_stopping:
                return  # What was claimed and not begun is given back.
            yield item


def _envelope_of(value: object) -> Envelope | None:
    if value is not None and not isinstance(value, Envelope):
        raise _checks.complaint("envelope", value, "a smtpx.Envelope or None")
    return value


def _prepared(item: Any) -> Prepared:
    if not isinstance(item, tuple):
        return prepared(item, None, None)
    given: tuple[Any, ...] = tuple(item)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - of whatever kind
    if not 1 <= len(given) <= 3:
        raise TypeError(f"messages: give tuples of message, envelope and key, not of {len(given)}")
    message: Any = given[0]
    envelope, key = (*given[1:], None, None)[:2]
    return prepared(message, _envelope_of(envelope), key_of("key", key))
