"""The outbox of the blocking face."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Literal, Self, Unpack

from smtpx import Client, _checks
from smtpx._uncopied import Uncopied
from smtpx.addresses import Address
from smtpx.envelope import Envelope
from smtpx.merging import Template

from . import _asking, _deciding, _queue, _reporting
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
from ._delivering import Policy
from ._intake import Intake, Put
from ._opening import opened
from ._options import FIVE_DAYS, OutboxOptions, PutOptions, settings_of
from ._owning import Watcher
from ._preparing import AnyContent
from ._readers import tell
from ._shift import Shift
from ._stopping import Running
from ._tls_reporting import reporting
from ._via import Via
from ._working import Core, stopped_by_sigterm
from .states import Counts, Delivery, Event, NotInOutbox, State, Submission

__all__ = ["Outbox"]

# Rows that are read at once.
_PAGE = 500


class Outbox(Uncopied):
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
        self._store, self._spool = opened(url, settings.spool, settings.patience, settings.lease)
        self._core = Core(
            self._store,
            Policy(settings.retries, settings.limits, self._spool),
            settings.lease,
            Watcher(self._store),
            settings.bounces,
        )
        self._intake = Intake(self._store, self._spool, settings.dispatcher, settings.warn_after)
        self._overdue = settings.overdue
        self._running = Running()

        if settings.bounces is not None:
            try:
                self._store.transact(_reporting.begin_reports)
            except BaseException:
                self.close()
                raise

    @_checks.even_half_made
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
        if connection is None:
            return self._intake.put(message, envelope, key, options)
        return self._intake.put_on(connection, message, envelope, key, options)

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
        return self._intake.put_many(messages, options)

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
        return self._intake.put_merge(template, rows, options)

    # What is asked, and decided

    def status(self, id: str) -> Submission:
        """All about one message, by recipient.

        It has all recipients in memory: some 300 bytes each. Of a campaign `counts` tells at once.

        Raises:
            NotInOutbox: there is none of that id.
        """
        _ = id_of("id", id)
        return self._store.look(_asking.status, id)

    def counts(self, campaign: str | None = None) -> Counts:
        """How many recipients are in each state: of a campaign, or of all that the ledger has.

        Its `doubted` says for how many of those that wait an earlier attempt may have arrived.
        """
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
        after, now = 0, self._store.now()
        while page := self._store.look(_asking.find, sought, now, after, _PAGE):
            after = page[-1][0]
            for _, delivery in page:
                yield delivery

    def cancel(self, id: str, *, recipient: str | Address | None = None) -> int:
        """Send nothing of a message any more; return for how many recipients that was changed.

        A `recipient` is the only one that it is done for. Only what waits is cancelled. For what is
        on its way, or over, the call does nothing, and is no error: it may be repeated. 500
        recipients are one transaction: others go on meanwhile.

        Raises:
            NotInOutbox: there is none of that id, or for that recipient.
        """
        _ = id_of("id", id)
        address = None if recipient is None else recipient_of(recipient)
        return _deciding.decide(self._store, _deciding.cancel, id, address, self._store.now())

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
        now = self._store.now()
        until = now + seconds_of("expires", expires)
        address = None if recipient is None else recipient_of(recipient)
        return _deciding.decide(self._store, _deciding.retry, id, address, now, until)

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
        now = self._store.now()
        until = now + FIVE_DAYS.total_seconds()
        address = recipient_of(recipient)
        try:
            _ = _deciding.decide(self._store, _deciding.resolve, id, address, state, now, until)
        except NotInOutbox:
            raise NotInOutbox(
                f"no message {id!r} is in doubt for {address}: status() tells what became of it"
            ) from None

    def purge(self, *, older_than: timedelta) -> int:
        """Forget messages of which all is over for that long, their keys and their events; return
        how many. What waits, is on its way or in doubt stays.
        """
        now = self._store.now()
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
        told again. Of those who call this by one name, in any process, one tells at a time; the
        others return 0. One that died is replaced once its `lease` has run out.

        Raises:
            Exception: what the callback raises; the event will be told again.
        """
        if isinstance(callback, type) or not callable(callback):
            raise _checks.complaint("callback", callback, "a function of an event")
        _checks.text("name", name)
        _ = key_of("name", name)
        return tell(self._core, callback, name)

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
        are 16. Where the doubt is held it is 1: such a message goes alone (`smtpx.Alone`). With
        `until_empty` it returns when nothing is due; it waits for a `Limit` that lets more go
        within ten seconds. Any number of processes may do so at once. A `Delivery` sends its TLS
        reports, too.

        Raises:
            SMTPError: with `until_empty`, the server cannot be reached; what waits is kept.
            LedgerUnavailable: the database cannot be used; what was on its way is in doubt.
            Exception: what `via` raises else, or its source of a password; what waits is kept.
            ValueError, TypeError: an argument is wrong.
        """
        _checks.flag("until_empty", until_empty)
        with (
            Shift(self._core, via, Client, connections, window) as shift,
            self._running.begun(shift),
            stopped_by_sigterm(shift),
            reporting(shift.client, lambda: shift.is_stopping),
        ):
            shift.work(until_empty=until_empty)

    def stop(self) -> None:
        """Have each `run` of this object return, once what is on its way has been answered; from
        any thread, or a signal handler.

        Where none has begun, the next one returns at once: its thread may be about to begin it. A
        `run` after that sends again.
        """
        self._running.stop()

    def deliver(
        self, batch: str, via: Via, *, connections: int = 1, window: int | None = None
    ) -> bool:
        """Send what is due of one batch: the id of a message, or what `reconcile` returned.

        For tasks of any engine that calls them at least once. It may be called late, twice, and at
        once; what somebody else sends is left to him.

        A server that could not be reached is left alone for a second, and for longer each time. A
        call in that time connects to nothing and returns ``False``: some is due that may not go
        now. So it is for a `Limit`. `reconcile` calls that batch out again.

        Raises:
            SMTPError: the server cannot be reached; what waits is kept.
            LedgerUnavailable: the database cannot be used.
        """
        _ = id_of("batch", batch)
        with Shift(self._core, via, Client, connections, window) as shift:
            return shift.deliver(batch)

    def wake(self, batches: Iterable[str]) -> None:
        """Have the dispatcher call for what was put in by ``connection=``, once that is committed.

        The batches are ids of messages. Nobody has to do so: `reconcile` calls them out, too. For
        the same reason this raises nothing where nobody can be woken within five seconds.

        Raises:
            ValueError, TypeError: an argument is wrong.
        """
        check_several("batches", batches, "ids")
        self._intake.wake([id_of("batches", batch) for batch in batches])

    def reconcile(self) -> list[str]:
        """Take from dead workers what they had, let expire what is late, tell senders what they are
        to be told, and return the batches that nobody has taken up.

        For a timer, every half minute or so. A dispatcher is woken for each of them; without one
        they are to be given to `deliver`. It waits for half a lease where a worker looks dead that
        it has not seen before.

        Raises:
            LedgerUnavailable: the database cannot be used.
        """
        self._core.watcher.reap_for_certain()
        while self._core.expire():
            pass
        _ = self._core.report()
        batches = self._store.look(_queue.overdue, self._store.now(), self._overdue, 10 * _PAGE)
        self._intake.wake(batches)
        return batches
