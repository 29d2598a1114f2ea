"""Code of the caller's that raises what ends a generator, in a delivery: what was read is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import trio

from smtpx import Event, MessageEnded
from smtpx.delivery import AsyncDelivery, Delivery
from smtpx.delivery.resolver import MX, Answer, AnswerState, Question, ScriptedResolver
from smtpx.testing import Server, Stall
from tests.delivery.conftest import LOOPBACK
from tests.faces.test_ends import (
    ENVELOPE,
    EVENTS,
    OF_MESSAGES,
    Ending,
    Messages,
    given,
    options_of,
    told_by,
)

ENDS = [StopIteration, StopAsyncIteration]
DNS = {
    Question("example.net", "MX"): Answer(AnswerState.FOUND, (MX(10, "mx.example.net"),)),
    Question("mx.example.net", "A"): Answer(AnswerState.FOUND, ("127.0.0.1",)),
}
WORLDS = ["thread", "asyncio", "trio"]


class EndingResolver(Ending):
    def look_up(self, *_: Any) -> Any:
        self()


def deliver_in(world: str, call: str, messages: Any, told: list[Any], **options: Any) -> None:
    """Send by `send_many`, or by `send`; note what is told."""
    mark = options.pop("mark", None)
    given = {"mark": mark} if call == "send_many" else {}

    async def deliver() -> None:
        async with AsyncDelivery("mail.example.org", addresses=LOOPBACK, **options) as delivery:
            if call == "send":
                told.append(await delivery.send(*messages))
                return
            async for result in delivery.send_many(messages, **given):
                told.append(result)

    if world != "thread":
        asyncio.run(deliver()) if world == "asyncio" else trio.run(deliver)
        return
    with Delivery("mail.example.org", addresses=LOOPBACK, **options) as delivery:
        if call == "send":
            told.append(delivery.send(*messages))
            return
        for result in delivery.send_many(messages, **given):
            told.append(result)


@pytest.mark.parametrize("call", ["send_many", "send"])
@pytest.mark.parametrize("where", [*EVENTS, "signer", "resolver", "mark", *OF_MESSAGES])
@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("world", WORLDS)
def test_what_was_read_is_told(
    world: str, where: str, kind: type[BaseException], call: str
) -> None:
    if call == "send" and where in ("mark", "__next__"):
        pytest.skip("it has none")
    messages, told = Messages(where, kind), list[Any]()
    options = options_of(where, kind)
    options["resolver"] = EndingResolver(kind) if where == "resolver" else ScriptedResolver(DNS)
    if where == "mark":
        options["mark"] = Ending(kind)
    one: Any = given(where, kind) if where in OF_MESSAGES else (b"Subject: hi\r\n\r\n", ENVELOPE)
    pair: Any = one if isinstance(one, tuple) else (one, ENVELOPE)
    ended: BaseException | None = None
    with Server() as server:
        options["port"] = server.port
        try:
            deliver_in(world, call, pair if call == "send" else messages, told, **options)
        except Exception as error:
            ended = error
            told += told_by(error)
        _ = server.wait_until_idle()
        accepted = len(server.messages)
    # In tasks, what another one's failure ends may be in doubt.
    certain = sum(bool(each.accepted) for each in told)
    assert certain <= accepted <= certain + sum(bool(each.in_doubt) for each in told)
    if call == "send_many":
        assert len(told) == messages.count
        assert not isinstance(ended, (StopIteration, StopAsyncIteration))


@pytest.mark.parametrize("world", ["asyncio", "trio"])
def test_what_ends_one_message_says_nothing_of_the_others(world: str) -> None:
    """A task is cancelled while another one's error is handled, and has that in its context."""
    told: list[Any] = []
    first: list[object] = []

    def observe(event: Event) -> None:
        if isinstance(event, MessageEnded) and not first:
            first.append(event)
            raise LookupError("of the first message")

    # All but one are held up at the greeting, and never come to MAIL.
    with Server(faults=[Stall("GREETING", session=n) for n in (2, 3, 4)]) as server:
        with pytest.raises(LookupError) as caught:
            deliver_in(
                world,
                "send_many",
                [(b"Subject: hi\r\n\r\n", ENVELOPE)] * 4,
                told,
                resolver=ScriptedResolver(DNS),
                port=server.port,
                observer=observe,
            )
        told += told_by(caught.value)
        _ = server.wait_until_idle()
        assert len(server.messages) == 1
    assert sum(bool(each.accepted) for each in told) == 1
    assert len(told) == 4
