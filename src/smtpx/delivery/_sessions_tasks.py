"""The sessions of a delivery in the tasks of one run of a loop; see `_sessions`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from time import monotonic

from smtpx import AsyncSession
from smtpx.endpoints import Endpoint
from smtpx.errors import SMTPError, TimedOut
from smtpx.results import SendResult
from smtpx.sansio import Dialled, dial_async

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
from ._worlds import Bell, World

__all__ = ["TaskSessions"]


class TaskSessions:
    """Opens sessions as far as the limits allow, and keeps them for a moment."""

    def __init__(self, settings: Settings, hosts: Hosts, world: World) -> None:
        self._settings = settings
        self._hosts = hosts
        self._world = world
        self._places: Places[AsyncSession] = Places(settings.limits)
        self._waiting: dict[Bell, None] = {}
        self._keeps = False
        """A task closes what was kept for long enough, while there is something."""
        self._news = world.make_bell()
        self._kept = world.make_bell()
        """Nothing is kept any more."""
        self._is_closed = False

    async def attempt(self, step: Try, content: AnyContent, deadline: Deadline) -> Said:
        """Send a message over one session."""
        if not step.is_probe:
            return await self._attempt(step.addresses, step, content, deadline)
        claimed = self._hosts.claim(step.addresses)
        if not claimed:
            return held_back(step)
        try:
            return await self._attempt(claimed, step, content, deadline)
        finally:
            self._hosts.untried(claimed)

    async def _attempt(
        self, addresses: tuple[str, ...], step: Try, content: AnyContent, deadline: Deadline
    ) -> Said:
        until = monotonic() + deadline.share().within(self._settings.limits.wait)
        while True:
            lease: Lease[AsyncSession] = Lease(addresses, step.site)
            try:
                lacking = await self._take(lease, step, until)
                if lacking is not None:
                    return lacking
                said = await self._once(lease, step, content, deadline)
            except BaseException as error:
                used, lease.kept = lease.kept, None
                if used is not None:
                    used.session.abort()
                vars(error).setdefault("address", lease.addresses[0])
                raise
            finally:
                await self._give_back(lease)
            if said is not None:
                return said

    async def _once(
        self, lease: Lease[AsyncSession], step: Try, content: AnyContent, deadline: Deadline
    ) -> Said | None:
        """Send a message in this place; ``None`` if there was none, as the server says."""
        addresses = lease.addresses
        if lease.kept is not None:
            said = await self._over(lease.kept, step, content, deadline)
            if not is_gone(said):
                return said
            # It had ended meanwhile: nothing was said of this message.
            lease.kept.session.abort()
            lease.kept = None
        left, opening = deadline.left, deadline.share()
        dialled = await dial_async(
            lease.addresses,
            self._settings.rules.port,
            timeout=self._settings.connect_timeout,
            total=opening.seconds,
            sources=self._settings.sources,
        )
        unreached = unreached_of(dialled, self._settings)
        for address in blamed(unreached, is_cut=opening.has_cut(left)):
            self._hosts.failed(address, monotonic())
        if dialled.socket is None:
            return Said(begun=dialled.begun or addresses, unreached=unreached)
        self._places.settle(lease, dialled.address)
        self._ring()
        said = await self._opened(lease, step, dialled, content, opening, deadline)
        is_cut = isinstance(said.error, TimedOut) and opening.has_cut(left)
        if not lease.is_open and not is_cut and self._is_crowded(said):
            return None
        return said._replace(begun=dialled.begun, unreached=unreached)

    def _is_crowded(self, said: Said) -> bool:
        """True if a server takes no session because it has enough of ours; else remember it."""
        error, now = said.error, monotonic()
        if error is None or not counts_against(error):
            return False

        is_crowded = is_too_many(error) and self._places.is_crowded(said.address, now)
        if not is_crowded:
            self._hosts.failed(said.address, now)
        return is_crowded

    async def _opened(
        self,
        lease: Lease[AsyncSession],
        step: Try,
        dialled: Dialled,
        content: AnyContent,
        opening: Deadline,
        deadline: Deadline,
    ) -> Said:
        """Open a session and send the message over it."""
        settings, address = self._settings, dialled.address
        source = source_of(dialled)
        session = AsyncSession(
            Endpoint(address, settings.rules.port),
            socket=dialled.socket,
            tls=settings.tls(step.host, step.terms),
            **settings.session,
        )
        opening.hurry(session)
        try:
            await session.open()
            believe(step.terms, session.protection)
        except SMTPError as error:
            opening.hurry(session, parting=True)
            await session.close()
            shown = session.protection
            return Said(error.result, error, shown, address=address, source=source)
        except BaseException:
            session.abort()
            raise
        self._hosts.answered(address)
        kept = Kept(session, step.host, address, step.terms, session.protection, source)
        lease.kept = kept
        return await self._over(kept, step, content, deadline)

    async def _over(
        self, kept: Kept[AsyncSession], step: Try, content: AnyContent, deadline: Deadline
    ) -> Said:
        """Send the message over a session that is open."""
        kept.messages += 1
        deadline.hurry(kept.session)
        try:
            # No signal handler runs between the two: from then on nothing is lost.
            step.heard[:] = (await kept.session.send(content, step.envelope),)
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

    async def _take(self, lease: Lease[AsyncSession], step: Try, until: float) -> Said | None:
        """Have a place, or a session that is open; the value tells why there is none."""
        began = monotonic()
        bell = self._world.make_bell()
        try:
            while True:
                now = monotonic()
                is_taken = self._places.take(lease, lambda kept: self._suits(kept, step), now)
                self._tidy()
                if is_taken:
                    return None
                if now >= until:
                    return busy(step, now - began)
                self._waiting[bell] = None
                await bell.wait(until - now)
                if not step.is_probe and self._hosts.are_away(lease.addresses, monotonic()):
                    return held_back(step)
        finally:
            _ = self._waiting.pop(bell, None)

    def _suits(self, kept: Kept[AsyncSession], step: Try) -> bool:
        return kept.session.is_open and meets(kept, step.host, step.terms)

    def _ring(self) -> None:
        for bell in self._waiting:
            bell.ring()

    async def _give_back(self, lease: Lease[AsyncSession]) -> None:
        used = lease.kept
        if used is not None and not used.session.is_open:
            used.session.abort()
            lease.kept = used = None
        if self._is_closed:
            lease.kept = None
        self._places.give_back(lease, monotonic())
        self._ring()
        self._tidy()
        if used is not None and lease.kept is None:
            await _part(used.session)

    def _tidy(self) -> None:
        """Have what is kept be closed in time."""
        if self._keeps:
            if self._places.has_parting:
                self._news.ring()
        elif self._places.has_parting or self._places.expires() is not None:
            self._keeps = True
            try:
                _ = self._world.spawn(self._keep)
            except BaseException:
                self._keeps = False
                raise

    async def _keep(self) -> None:
        """Close each session that was kept for long enough, until there is none."""
        try:
            while True:
                parting = self._places.parting(monotonic())
                if parting:
                    await self._farewell(parting)
                    continue
                expires = self._places.expires()
                if expires is None:
                    return
                await self._news.wait(max(expires - monotonic(), 0))
        finally:
            # The run may be over.
            self._keeps = False
            for session in self._places.clear():
                session.abort()
            self._kept.ring()

    async def close(self) -> None:
        """Keep nothing any more; what is in use is closed when it is given back."""
        self._is_closed = True
        parting = self._places.clear()
        self._news.ring()
        self._ring()
        await self._farewell(parting)
        # Those that its keeper says farewell to are gone, too.
        until = monotonic() + FAREWELL
        while self._keeps and monotonic() < until:
            await self._kept.wait(until - monotonic())

    async def _farewell(self, parting: Sequence[AsyncSession]) -> None:
        """Say QUIT to each; one that does not listen holds up no other."""
        left = len(parting)
        bell = self._world.make_bell()

        async def part(session: AsyncSession) -> None:
            nonlocal left
            try:
                await _part(session)
            finally:
                left -= 1
                bell.ring()

        tasks = [self._world.spawn(partial(part, session)) for session in parting]
        until = monotonic() + FAREWELL
        try:
            while True:
                if not left or monotonic() >= until:
                    break
                await bell.wait(until - monotonic())
        finally:
            for task in tasks:
                task.cancel()


async def _part(session: AsyncSession) -> None:
    try:
        await session.close()
    except Exception:
        # An observer's: nobody is there any more to whom it could be told.
        session.abort()
