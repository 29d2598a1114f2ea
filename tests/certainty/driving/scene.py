"""What every face is driven with: the plan, the server's address, and what was told so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from smtpx import AsyncClient, Client, PoolLimits, SendResult, Timeouts
from tests.certainty.judge import Told
from tests.certainty.mails import Mail
from tests.certainty.plans import Plan

PAUSES = (0.001, 0.005, 0.02)


class CallersError(Exception):
    """What the caller's iterable raises."""


class CallersExit(BaseException):
    """What the caller's iterable raises, and few expect."""


class Scene:
    """One round, as its client sees it."""

    def __init__(
        self,
        plan: Plan,
        ports: dict[str, int],
        ca_file: str,
        told: Told,
        end_idle: Callable[[], object],
        ledgers: str = "",
    ) -> None:
        self.plan = plan
        self.port = ports["port"]
        self._proxy_port = ports.get("proxy port")
        self.ca_file = ca_file
        self.told = told
        self.end_idle = end_idle
        """Has the server end the sessions that are at rest."""
        self.ledgers = ledgers
        """The URL of a PostgreSQL server's database, where there is one."""
        self.chance = Random(f"clients {plan.seed}")
        told.resends = plan.on_doubt == "resend" and ("many" in plan.face or plan.is_kept)
        told.all_or_nothing = plan.all_or_nothing
        told.marks = {} if plan.marks else None
        self._fails_at = self.chance.randrange(1, plan.count + 1) if plan.fails else None

    @property
    def url(self) -> str:
        server = self.plan.server
        scheme = "lmtp" if server["lmtp"] else "smtps" if server["tls"] == "implicit" else "smtp"
        user = "ann:secret@" if server["auth"] else ""
        query = {
            # Through a proxy the loopback is another machine's.
            "none": "?tls=none" if self._proxy else "",
            "implicit": f"?ca={self.ca_file}",
            "starttls": f"?tls=starttls&ca={self.ca_file}",
        }[server["tls"]]
        return f"{scheme}://{user}127.0.0.1:{self.port}{query}"

    @property
    def options(self) -> dict[str, Any]:
        """Of everything that opens sessions."""
        return {
            "timeouts": Timeouts.each(self.plan.timeouts, total=self.plan.total),
            "observer": self.told.events.append if self.plan.observed else None,
            "proxy": self._proxy,
            "ignore_extensions": self.plan.server["ignored"],
            "signer": self._sign if self.plan.signer else None,
        }

    @property
    def _proxy(self) -> str | None:
        if self._proxy_port is None:
            return None
        return f"{self.plan.server['proxy']['kind']}://ann:secret@127.0.0.1:{self._proxy_port}"

    @property
    def each(self) -> dict[str, Any]:
        """The options of `send`."""
        return {"all_or_nothing": True} if self.plan.all_or_nothing else {}

    @property
    def limits(self) -> PoolLimits:
        return PoolLimits(**self.plan.pool)

    @property
    def many(self) -> dict[str, Any]:
        """The options of `send_many`."""
        plan = self.plan
        return {
            "connections": plan.connections,
            "window": plan.window,
            "on_doubt": plan.on_doubt,
            "mark": self._mark if plan.marks else None,
        }

    @property
    def putting(self) -> dict[str, Any]:
        """The options of an outbox's `put`."""
        return {"on_doubt": "resend" if self.plan.on_doubt == "resend" else "hold"}

    def _mark(self, messages: Sequence[object], results: Sequence[SendResult]) -> Any:
        """Whether these may be in doubt from now on."""
        if self.plan.marks == "raise" and self.chance.random() < 0.02:
            raise CallersError
        answers = [self.plan.marks != "no" or self.chance.random() < 0.9 for _ in messages]
        for message, answer in zip(messages, answers, strict=True):
            self.told.marked(message, answer)
        if "async" in self.plan.face and self.chance.random() < 0.5:
            return self._later(answers)
        return answers

    async def _later(self, answers: list[bool]) -> list[bool]:
        return answers

    def _sign(self, content: bytes) -> bytes:
        """The same; whoever looks at the content would find anything else altered."""
        if self.plan.signer == "raise" and self.chance.random() < 0.05:
            raise CallersError
        return bytes(bytearray(content))

    @property
    def idle_for(self) -> float:
        """Seconds that a caller waits before the next message."""
        waits = self.plan.pauses and self.chance.random() < 0.3
        return self.chance.choice(PAUSES) if waits else 0

    def pause(self) -> None:
        """Wait now and then."""
        seconds = self.idle_for
        if seconds and self.plan.theme == "idle":
            _ = self.end_idle()
        elif seconds:
            time.sleep(seconds)

    def source(self) -> Iterator[Any]:
        """What the caller gives to `send_many`."""
        for mail, delay in self.coming():
            if delay:
                time.sleep(delay)
            yield self.item(mail)

    def coming(self) -> Iterator[tuple[Mail, float]]:
        """The messages, each with the seconds that it takes to make it."""
        slow = "slow" in self.plan.how
        for number, mail in enumerate(self.told.mails):
            if number == self._fails_at:
                raise CallersExit if self.plan.how == "exit" else CallersError
            late = slow and self.chance.random() < 0.1
            yield mail, self.chance.choice((0.001, 0.012, 0.03)) if late else 0

    def item(self, mail: Mail) -> Any:
        message, envelope = self.told.hand_over(mail)
        return message if envelope is None else (message, envelope)

    def look_at_slots(self, client: Client | AsyncClient) -> None:
        """Nobody sends any more, so nobody holds a connection."""
        there = client.statistics()
        if there.opening or there.busy or there.waiting:
            self.told.problem("a leaked slot of the pool", str(there))
