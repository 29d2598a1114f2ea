"""What puts messages in, whatever the face: made ready, large contents spooled, somebody woken."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

from smtpx import _checks
from smtpx._unbegun import Unbegun
from smtpx.envelope import Envelope
from smtpx.merging import Template

from . import _putting
from ._arguments import check_several, key_of
from ._dispatching import Dispatcher
from ._options import PutOptions, terms_of
from ._preparing import AnyContent, Prepared, new_id, prepared
from ._putting import Terms
from ._spool import Spool
from ._store import Store
from ._waking import Waker

__all__ = ["Intake", "Put"]

Put: TypeAlias = "AnyContent | tuple[AnyContent] | tuple[AnyContent, Envelope | None] | tuple[AnyContent, Envelope | None, str | None]"  # noqa: E501 - one string, for all type checkers

# Messages that are put in by one transaction.
_BATCH = 500
# Messages of a batch; and rows of a merge that are one transaction.
_ROWS = 100
# Contents that are larger go to the spool, where there is one.
_LARGE = 256 * 1024


class Intake:
    """The way into an outbox."""

    def __init__(
        self,
        store: Store,
        spool: Spool | None,
        dispatcher: Dispatcher | None,
        warn_after: float | None,
    ) -> None:
        self._store = store
        self._spool = spool
        self._dispatcher = dispatcher
        self._waker = None if dispatcher is None else Waker(dispatcher)
        self._warn_after = warn_after

    def put(
        self,
        message: AnyContent,
        envelope: Envelope | None,
        key: str | None,
        options: PutOptions,
    ) -> str:
        """Put a message in, by a transaction of our own; return its id."""
        operation, *arguments = self.operation(message, envelope, key, options, spools=True)
        (id,) = self._store.transact(operation, *arguments)
        # Once it is durable: who is woken earlier finds nothing.
        self.wake([id])
        return str(id)

    def put_on(
        self,
        connection: object,
        message: AnyContent,
        envelope: Envelope | None,
        key: str | None,
        options: PutOptions,
    ) -> str:
        """Put a message in within the transaction of the caller's connection; return its id."""
        from ._borrowed import raw_of, run_on

        operation, *arguments = self.operation(message, envelope, key, options, spools=False)
        (id,) = run_on(connection, self._store, operation, *arguments)
        # Others would be woken before the caller commits: `reconcile` finds it later.
        if self._dispatcher is not None and self._dispatcher.transactional:
            self._dispatcher.wake([id], connection=raw_of(connection))
        return str(id)

    def put_many(self, messages: Iterable[Put], options: PutOptions) -> Iterator[str]:
        """Put messages in as their ids are read."""
        terms = terms_of(options, self._store.now(), self._warn_after)
        check_several("messages", messages, "messages or tuples")
        unbegun = Unbegun("Outbox.put_many()", "no message is in the outbox")
        return self._put_many(unbegun, iter(messages), terms)

    def _put_many(self, unbegun: Unbegun, messages: Iterator[Put], terms: Terms) -> Iterator[str]:
        unbegun.begin()
        while several := [_prepared(item) for item in islice(messages, _BATCH)]:
            terms = terms._replace(now=self._store.now())
            batches = [new_id() for _ in range(0, len(several), _ROWS)]
            spooled = self._spooled(several)
            ids = self._store.transact(self._put_in, several, terms, batches, spooled)
            self.wake(batches)
            yield from ids

    def put_merge(
        self, template: Template, rows: Iterable[Mapping[str, Any]], options: PutOptions
    ) -> str:
        """Put a template in with its rows; return the id of them all."""
        from ._merging import merge

        terms = terms_of(options, self._store.now())
        if not isinstance(template, Template):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("template", template, "a smtpx.Template")
        check_several("rows", rows, "dicts")
        return merge(self._store, template, iter(rows), terms, _ROWS, self.wake)

    def operation(
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
        terms = terms_of(options, self._store.now(), self._warn_after)
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

    def wake(self, batches: Sequence[str]) -> None:
        """Call for somebody who delivers; only latency depends on it."""
        if self._waker is not None and batches:
            self._waker.wake(batches)


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
