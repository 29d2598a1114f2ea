"""The sessions of a delivery in threads: one for a message, or one that is open already."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from socket import SocketType
from threading import Lock
from time import monotonic

from smtpx import Session, _checks
from smtpx._starting import start_thread
from smtpx.endpoints import Endpoint
from smtpx.errors import SMTPError, TimedOut
from smtpx.results import SendResult
from smtpx.sansio import Dialled, dial

from ._attempts import (
    FAREWELL,
    blamed,
    busy,
    counts_against,
    held_back,
    is_gone,
    is_too_many,
    said_by,
    source_of,
    unreached_of,
)
from ._belief import believe, meets
from ._deadline import Deadline
from ._hosts import Hosts
from ._places import Kept, Lease, Places
from ._settings import AnyContent, Settings
from ._steps import Said, Try

__all__ = ["Sessions"]


class Sessions:
    """Opens sessions as far as the limits allow, and keeps them for a moment."""

    def __init__(self, settings: Settings, hosts: Hosts) -> None:
        self._settings = settings
        self._hosts = hosts
        self._places: Places[Session] = Places(settings.limits)
        self._lock = Lock()
        self._waiting: dict[SimpleQueue[None], None] = {}
        """The bells of those who wait for a place."""
        self._news: SimpleQueue[None] = SimpleQueue()
        """For the keeper: there is something to be closed."""
        self._keeper: object | None = None
        """The thread that closes what was kept for long enough, while there is something."""
        self._is_closed = False

    def attempt(self, step: Try, content: AnyContent, deadline: Deadline) -> Said:
        """Send a message over one session."""
        if not step.is_probe:
            return self._attempt(step.addresses, step, content, deadline)
        claimed = self._hosts.claim(step.addresses)
        if not claimed:
            return held_back(step)
        try:
            return self._attempt(claimed, step, content, deadline)
        finally:
            self._hosts.untried(claimed)

    def _attempt(
        self, addresses: tuple[str, ...], step: Try, content: AnyContent, deadline: Deadline
    ) -> Said:
        until = monotonic() + deadline.share().within(self._settings.limits.wait)
        while True:
            lease: Lease[Session] = Lease(addresses, step.site)
            try:
                lacking = self._take(lease, step, until)
                if lacking is not None:
                    return lacking
                said = self._once(lease, step, content, deadline)
            except BaseException as error:
                used, lease.kept = lease.kept, None
                if used is not None:
                    used.session.abort()
                vars(error).setdefault("address", lease.addresses[0])
                raise
            finally:
                try:
                    self._give_back(lease)
                except BaseException:
                    # It is interrupted: nobody waits for this place for ever.
                    self._give_back(lease)
                    raise
            if said is not None:
                return said

    def _once(
        self, lease: Lease[Session], step: Try, content: AnyContent, deadline: Deadline
    ) -> Said | None:
        """Send a message in this place; ``None`` if there was none, as the server says."""
        addresses = lease.addresses
        if lease.kept is not None:
            said = self._over(lease.kept, step, content, deadline)
            if not is_gone(said):
                return said
            # It had ended meanwhile: nothing was said of this message.
            lease.kept.session.abort()
            lease.kept = None
        left, opening = deadline.left, deadline.share()
        dialled = dial(
            lease.addresses,
            self._settings.rules.port,
            timeout=self._settings.connect_timeout,
            total=opening.seconds,
            sources=self._settings.sources,
        )
        try:
            unreached = unreached_of(dialled, self._settings)
            for address in blamed(unreached, is_cut=opening.has_cut(left)):
                self._hosts.failed(address, monotonic())
            if dialled.socket is None:
                return Said(begun=dialled.begun or addresses, unreached=unreached)
            with self._lock:
                self._places.settle(lease, dialled.address)
                self._ring()
            said = self._opened(lease, step, dialled, content, opening, deadline)
            is_cut = isinstance(said.error, TimedOut) and opening.has_cut(left)
            if not lease.is_open and not is_cut and self._is_crowded(said):
                return None
            return said._replace(begun=dialled.begun, unreached=unreached)
        except BaseException:
            if dialled.socket is not None:
                # By one call of C, whatever interrupts what follows.
                SocketType.close(dialled.socket)
            raise

    def _is_crowded(self, said: Said) -> bool:
        """True if a server takes no session because it has enough of ours; else remember it."""
        error, now = said.error, monotonic()
        if error is None or not counts_against(error):
            return False
        with self._lock:
            is_crowded = is_too_many(error) and self._places.is_crowded(said.address, now)
        if not is_crowded:
            self._hosts.failed(said.address, now)
        return is_crowded

    def _opened(
        self,
        lease: Lease[Session],
        step: Try,
        dialled: Dialled,
        content: AnyContent,
        opening: Deadline,
        deadline: Deadline,
    ) -> Said:
        """Open a session and send the message over it."""
        settings, address = self._settings, dialled.address
        source = source_of(dialled)
        session = Session(
            Endpoint(address, settings.rules.port),
            socket=dialled.socket,
            tls=settings.tls(step.host, step.terms),
            **settings.session,
        )
        opening.hurry(session)
        try:
            session.open()
            believe(step.terms, session.protection)
        except SMTPError as error:
            opening.hurry(session, parting=True)
            session.close()
            shown = session.protection
            return Said(error.result, error, shown, address=address, source=source)
        except BaseException:
            session.abort()
            raise
        self._hosts.answered(address)
        kept = Kept(session, step.host, address, step.terms, session.protection, source)
        lease.kept = kept
        return self._over(kept, step, content, deadline)

    def _over(
        self, kept: Kept[Session], step: Try, content: AnyContent, deadline: Deadline
    ) -> Said:
        """Send the message over a session that is open."""
        kept.messages += 1
        deadline.hurry(kept.session)
        try:
            # No signal handler runs between the two: from then on nothing is lost.
            step.heard[:] = (kept.session.send(content, step.envelope),)
        except BaseException as error:
            # At once: whatever else strikes before it is accounted for, this is known.
            if isinstance(known := vars(error).get("result"), SendResult):
                step.heard[:] = (known,)
            if isinstance(error, SMTPError):
                return said_by(kept, step, error.result, error)
            raise
        finally:
            deadline.rest(kept.session)
        (result,) = step.heard
        return said_by(kept, step, result, result.error)

    def _take(self, lease: Lease[Session], step: Try, until: float) -> Said | None:
        """Have a place, or a session that is open; the value tells why there is none."""
        began = monotonic()
        bell: SimpleQueue[None] = SimpleQueue()
        try:
            while True:
                with self._lock:
                    now = monotonic()
                    is_taken = self._places.take(lease, lambda kept: self._suits(kept, step), now)
                    self._tidy()
                    if is_taken:
                        return None
                    if now >= until:
                        return busy(step, now - began)
                    self._waiting[bell] = None
                with suppress(Empty):
                    bell.get(timeout=min(until - now, _checks.LONGEST_WAIT))
                if not step.is_probe and self._hosts.are_away(lease.addresses, monotonic()):
                    return held_back(step)
        finally:
            with self._lock:
                _ = self._waiting.pop(bell, None)

    def _ring(self) -> None:
        for bell in self._waiting:
            bell.put(None)

    def _suits(self, kept: Kept[Session], step: Try) -> bool:
        return kept.session.is_open and meets(kept, step.host, step.terms)

    def _give_back(self, lease: Lease[Session]) -> None:
        used = lease.kept
        if used is not None and not used.session.is_open:
            used.session.abort()
            lease.kept = used = None
        with self._lock:
            if self._is_closed:
                lease.kept = None
            self._places.give_back(lease, monotonic())
            self._ring()
            self._tidy()
        if used is not None and lease.kept is None:
            _part(used.session)

    def _tidy(self) -> None:
        """Have what is kept be closed in time."""
        if self._keeper is not None:
            if self._places.has_parting:
                self._news.put(None)
        elif self._places.has_parting or self._places.expires() is not None:
            keeper = object()
            with suppress(RuntimeError):  # There are too many, or the program ends.
                start_thread(partial(self._keep, keeper), "smtpx.delivery sessions")
                self._keeper = keeper

    def _keep(self, me: object) -> None:
        """Close each session that was kept for long enough, until there is none."""
        while True:
            with self._lock:
                self._keeper = self._keeper or me
                if self._keeper is not me:
                    return  # Whoever began it was interrupted, and another was begun.
                parting = self._places.parting(monotonic())
                expires = self._places.expires()
                if not parting and expires is None:
                    self._keeper = None
                    return
            if parting:
                _farewell(parting)
            elif expires is not None:
                with suppress(Empty):
                    left = max(expires - monotonic(), 0)
                    self._news.get(timeout=min(left, _checks.LONGEST_WAIT))

    def close(self) -> None:
        """Keep nothing any more; what is in use is closed when it is given back."""
        with self._lock:
            self._is_closed = True
            parting = self._places.clear()
            self._news.put(None)
            self._ring()
        _farewell(parting)

    def abandon(self) -> None:
        """Close what the parent process keeps, in its child: not a word to its peers."""
        for session in self._places.clear():
            session.abort()


def _farewell(parting: Sequence[Session]) -> None:
    """Say QUIT to each; one that does not listen holds up no other."""
    if len(parting) == 1:
        _part(parting[0])
        return
    parted: SimpleQueue[None] = SimpleQueue()
    for one in parting:
        part = partial(_part, one, parted)
        try:
            start_thread(part, "smtpx.delivery parts")
        except RuntimeError:  # There are too many, or the program ends.
            part()
    until = monotonic() + FAREWELL
    with suppress(Empty):
        for _ in parting:
            parted.get(timeout=max(until - monotonic(), 0))


def _part(session: Session, parted: SimpleQueue[None] | None = None) -> None:
    try:
        session.close()
    except Exception:
        # An observer's: nobody is there any more to whom it could be told.
        session.abort()
    finally:
        if parted is not None:
            parted.put(None)
