"""A child process leaves alone what it inherited, and can send by the same client."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

import smtpx
from smtpx import AsyncClient, AsyncSession, Client, Envelope, Session, TLSMode, TLSPolicy
from smtpx.testing import Server, ServerTLS

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
ENVELOPE = Envelope("ann@example.org", "bob@example.net")

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


def in_child(call: Callable[[], object]) -> None:
    """Make a call in a child process, and see that it succeeds there."""
    child = os.fork()
    if not child:
        code = 1
        try:
            _ = call()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def refused(call: Callable[[], object]) -> None:
    with pytest.raises(smtpx.LocalProtocolError, match="parent"):
        _ = call()


def commands(server: Server) -> list[str]:
    """The verbs of the only session there was."""
    (session,) = server.wait_until_idle()
    return [command.partition(" ")[0] for command in session.commands]


@pytest.mark.parametrize("tls", ServerTLS)
@pytest.mark.parametrize("ending", ["close", "abort", "send"])
def test_a_session_of_the_parent(tls: ServerTLS, ending: str):
    """Neither QUIT nor a close_notify is said by the child, nor anything else."""
    with Server(tls=tls) as server:
        policy = None
        if tls is not ServerTLS.NONE:
            policy = TLSPolicy(TLSMode(tls.value), ca_file=server.ca_file)
        with Session(server.url, tls=policy) as session:

            def use() -> None:
                assert not session.is_open
                match ending:
                    case "close":
                        session.close()
                    case "abort":
                        session.abort()
                    case _:
                        refused(lambda: session.send(CONTENT, ENVELOPE))
                        refused(session.noop)
                        session.close()

            in_child(use)
            assert session.is_open
            assert session.send(CONTENT, ENVELOPE).accepted
        said = commands(server)
        assert said.count("QUIT") == 1
        assert "NOOP" not in said
        assert server.breaches == []


def test_an_asynchronous_session_of_the_parent():
    with Server() as server:

        async def main() -> None:
            async with AsyncSession(server.url) as session:
                in_child(lambda: refuses(session))
                assert (await session.send(CONTENT, ENVELOPE)).accepted

        def refuses(session: AsyncSession) -> None:
            assert not session.is_open
            session.abort()
            asyncio.set_event_loop(None)
            coroutine = session.noop()
            refused(lambda: coroutine.send(None))
            try:
                session.close().send(None)
            except StopIteration:
                pass

        asyncio.run(main())
        assert commands(server).count("QUIT") == 1
        assert server.breaches == []


def test_a_client_whose_lock_is_held_in_the_parent():
    with Server() as server, Client(server.url) as client:
        assert client.send(CONTENT, ENVELOPE).accepted
        held, done = threading.Event(), threading.Event()

        def hold() -> None:
            with client._pool._lock:
                held.set()
                _ = done.wait()

        holding = threading.Thread(target=hold)
        holding.start()
        _ = held.wait()

        def use() -> None:
            assert client.statistics().open == 0
            assert client.send(CONTENT, ENVELOPE).accepted
            client.close()

        try:
            in_child(use)
        finally:
            done.set()
            holding.join()
        assert client.send(CONTENT, ENVELOPE).accepted
        assert len(server.sessions) == 2


@pytest.mark.parametrize("tls", [ServerTLS.NONE, ServerTLS.IMPLICIT])
@pytest.mark.parametrize("ending", ["goes on", "closes", "forgets"])
def test_what_the_parent_sends_is_the_parents(tls: ServerTLS, ending: str):
    messages = [(CONTENT, ENVELOPE)] * 50
    with Server(tls=tls) as server:
        policy = None
        if tls is not ServerTLS.NONE:
            policy = TLSPolicy(TLSMode(tls.value), ca_file=server.ca_file)
        with Client(server.url, tls=policy) as client:
            sending: Any = client.send_many(messages, window=5)
            results = [next(sending)]

            def use() -> None:
                nonlocal sending
                match ending:
                    case "goes on":
                        refused(lambda: next(sending))
                        assert list(sending) == []
                    case "closes":
                        sending.close()
                    case _:
                        del sending
                assert client.send(CONTENT, ENVELOPE).accepted
                client.close()

            in_child(use)
            results += sending
        assert [result.error for result in results] == [None] * 50
        assert len(server.messages) == 51
        assert server.breaches == []


def test_what_an_asynchronous_parent_sends_is_the_parents():
    async def main(url: str) -> int:
        async with AsyncClient(url) as client:
            sending = client.send_many([(CONTENT, ENVELOPE)] * 50, window=5)
            results = [await anext(sending)]

            def use() -> None:
                asyncio.set_event_loop(None)
                refused(lambda: anext(sending).__await__().send(None))

            in_child(use)
            results += [result async for result in sending]
        return sum(bool(result.accepted) for result in results)

    with Server() as server:
        assert asyncio.run(main(server.url)) == 50
        assert len(server.messages) == 50
        assert server.breaches == []
