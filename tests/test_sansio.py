"""The door for integrators: what a driver does with a procedure is alike in every world."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import warnings
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import trio

import smtpx
from smtpx.sansio import (
    AsyncDriver,
    Dialled,
    Driver,
    Glance,
    Receive,
    Send,
    StartTLS,
    Steps,
    dial,
    dial_async,
)
from smtpx.testing import Server, ServerTLS
from tests.interruptions.points import Points
from tests.network import dead

Run = Callable[..., Any]


def in_a_thread(to: Any, procedure: Steps[Any], total: float | None = None, **options: Any) -> Any:
    with Driver(to, **options) as driver:
        return driver.run(procedure, timeout=total)


async def in_a_task(
    to: Any, procedure: Steps[Any], total: float | None = None, **options: Any
) -> Any:
    async with AsyncDriver(to, **options) as driver:
        return await driver.run(procedure, timeout=total)


def in_asyncio(*args: Any, **options: Any) -> Any:
    return asyncio.run(in_a_task(*args, **options))


def in_trio(*args: Any, **options: Any) -> Any:
    async def main() -> Any:
        return await in_a_task(*args, **options)

    return trio.run(main)


@pytest.fixture(params=[in_a_thread, in_asyncio, in_trio])
def run(request: pytest.FixtureRequest) -> Run:
    world: Run = request.param
    return world


def reply() -> Steps[bytes]:
    """What comes, until the last line of a reply has come."""
    said = b""
    while not re.search(rb"^(?:\d{3} |[a-z]).*\n\Z", said, re.MULTILINE):
        said += (yield Receive(30, fresh=not said)) or b"and no more\n"
    return said


def command(words: bytes) -> Steps[bytes]:
    _ = yield Send(words + b"\r\n", 30)
    return (yield from reply())


def test_a_procedure_returns_what_it_has_heard(run: Run):
    def dialogue() -> Steps[list[bytes]]:
        greeting = yield from reply()
        return [greeting[:4], (yield from command(b"NOOP")), (yield from command(b"QUIT"))[:4]]

    with Server() as server:
        greeting, noop, bye = run(server.url, dialogue(), timeout=30)
        server.wait_until_idle()
    assert (greeting, noop[:4], bye) == (b"220 ", b"250 ", b"221 ")
    assert server.sessions[0].commands == ["NOOP", "QUIT"]


def test_tls_is_begun_when_the_procedure_asks(run: Run):
    def protected() -> Steps[StartTLS]:
        _ = yield from reply()
        _ = yield from command(b"EHLO me.example")
        assert (yield from command(b"STARTTLS")).startswith(b"220 ")
        assert (yield Glance()) is None
        tls = StartTLS(30)
        _ = yield tls
        assert (yield from command(b"EHLO me.example")).startswith(b"250-")
        return tls

    with Server(tls=ServerTLS.STARTTLS, certificate_names=["localhost"]) as server:
        url = f"smtp://localhost:{server.port}?ca={server.ca_file}"
        protection = run(url, protected()).protection
        trusting = smtpx.TLSPolicy(
            smtpx.TLSMode.STARTTLS,
            context=ssl.create_default_context(cafile=server.ca_file),
            server_hostname="elsewhere.example",
        )
        with pytest.raises(ssl.SSLError, match=r"elsewhere\.example"):
            run(url, protected(), tls=trusting)
    assert protection.is_verified
    assert protection.names == ("localhost",)


def test_a_socket_that_is_given_is_closed(run: Run):
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(b"hello\n")
        assert run(ours, reply()) == b"hello\n"
        assert theirs.recv(1) == b""
    assert ours.fileno() == -1


def late(seconds: float | None) -> Steps[str]:
    try:
        _ = yield Receive(seconds, fresh=True)
    except TimeoutError:
        return "late"
    return "something came"


@pytest.mark.parametrize(("total", "seconds"), [(None, 0.01), (0.01, None), (0.01, 600)])
def test_what_takes_too_long_is_told_to_the_procedure(
    run: Run, total: float | None, seconds: float | None
):
    ours, theirs = socket.socketpair()
    with theirs:
        assert run(ours, late(seconds), total) == "late"


def test_what_the_procedure_raises_comes_out_and_closes_the_connection(run: Run):
    def failing() -> Generator[Any, Any, None]:
        _ = yield from reply()
        raise KeyError("mine")

    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(b"hello\n")
        with pytest.raises(KeyError, match="mine"):
            run(ours, failing())
        assert theirs.recv(1) == b""


def test_a_cancelled_task_closes_the_connection():
    ours, theirs = socket.socketpair()

    async def main() -> None:
        async with AsyncDriver(ours) as driver:
            task = asyncio.create_task(driver.run(reply()))
            await asyncio.sleep(0)
            assert task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(smtpx.LocalProtocolError, match="has closed its connection"):
                await driver.run(reply())

    with theirs:
        asyncio.run(main())
        assert theirs.recv(1) == b""


def test_nobody_there_is_a_lost_connection(run: Run):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(smtpx.ConnectionLost):
            run(f"smtp://127.0.0.1:{bound.getsockname()[1]}", reply(), timeout=30)


def handshake() -> Steps[None]:
    _ = yield StartTLS(30)


def test_tls_that_nobody_has_agreed_on_is_refused(run: Run):
    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(smtpx.LocalProtocolError, match="whom the driver may trust"):
        run(ours, handshake())
    assert ours.fileno() == -1


PINNED = smtpx.TLSPolicy(smtpx.TLSMode.STARTTLS, pins="key:" + "00" * 32)
NAMELESS = smtpx.TLSPolicy(smtpx.TLSMode.STARTTLS)


@pytest.mark.parametrize("kind", [Driver, AsyncDriver])
def test_what_a_driver_does_not_do_is_said_at_once(kind: Any):
    with pytest.raises(smtpx.LocalProtocolError, match="looks at no pins"):
        kind("smtp://mail.example.com", tls=PINNED)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(smtpx.LocalProtocolError, match="server_hostname"):
        kind(ours, tls=NAMELESS)
    with (
        socket.socket(type=socket.SOCK_DGRAM) as datagrams,
        pytest.raises(smtpx.LocalProtocolError, match="stream socket"),
    ):
        kind(datagrams)


def test_a_driver_is_entered_once_and_before_it_is_used():
    ours, theirs = socket.socketpair()
    with theirs:
        driver = Driver(ours)
        with pytest.raises(smtpx.LocalProtocolError, match="enter the driver first"):
            driver.run(reply())
        with driver:
            with pytest.raises(smtpx.LocalProtocolError, match="entered once"), driver:
                pass
            theirs.sendall(b"still here\n")
            assert driver.run(reply()) == b"still here\n"


def test_a_policy_that_cannot_be_read_closes_the_socket(run: Run):
    ours, theirs = socket.socketpair()
    policy = smtpx.TLSPolicy(
        smtpx.TLSMode.STARTTLS, ca_file="no-such.pem", server_hostname="mail.example.com"
    )
    with theirs, pytest.raises(smtpx.LocalProtocolError, match=r"no-such\.pem"):
        run(ours, reply(), tls=policy)
    assert ours.fileno() == -1


def test_who_is_interrupted_while_entering_leaves_no_socket(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    ours, theirs = socket.socketpair()
    monkeypatch.setattr("smtpx.sansio.Handshakes.begin", interrupted)
    policy = smtpx.TLSPolicy(smtpx.TLSMode.STARTTLS, server_hostname="mail.example.com")
    with theirs, pytest.raises(KeyboardInterrupt):
        run(ours, reply(), tls=policy)
    assert ours.fileno() == -1


Dialling = Callable[..., Dialled]


def dial_in_asyncio(*args: Any, **options: Any) -> Dialled:
    return asyncio.run(dial_async(*args, **options))


def dial_in_trio(*args: Any, **options: Any) -> Dialled:
    async def main() -> Dialled:
        return await dial_async(*args, **options)

    return trio.run(main)


@pytest.fixture(params=[dial, dial_in_asyncio, dial_in_trio])
def dials(request: pytest.FixtureRequest) -> Dialling:
    call: Dialling = request.param
    return call


def test_of_several_addresses_the_first_to_answer_is_connected(dials):
    with Server() as server:
        dialled = dials(["127.0.0.9", "::ffff:127.0.0.1", "127.0.0.1"], server.port, timeout=30)
        assert dialled.socket is not None
        dialled.socket.close()
        assert dialled.address == "::ffff:127.0.0.1"
        assert dialled.begun == ("127.0.0.9", "::ffff:127.0.0.1")
        ((address, error),) = dialled.failures
        assert (address, type(error)) == ("127.0.0.9", ConnectionRefusedError)


def test_what_is_silent_has_its_time(dials):
    with dead("127.0.0.8") as port:
        for times in ({"timeout": 0.3}, {"timeout": 30, "total": 0.3}, {"total": 0.3}):
            dialled = dials(["127.0.0.8"], port, **times)
            assert (dialled.socket, dialled.address) == (None, "")
            assert isinstance(dialled.failures[0][1], TimeoutError)


def test_a_source_has_a_family(dials):
    dialled = dials(["::1"], 25, sources=[("127.0.0.1", 0)])
    assert (dialled.socket, dialled.begun) == (None, ())
    assert "family" in str(dialled.failures[0][1])


@pytest.mark.parametrize("addresses", [[], ["mx.test"], [""]])
def test_what_is_no_address_is_not_dialled(dials, addresses: list[str]):
    with pytest.raises(ValueError, match="addresses"):
        dials(addresses, 25)


class Interruption(BaseException):
    """What a signal handler raises."""


def interrupt() -> None:
    raise Interruption


def entered(port: int) -> Driver:
    return Driver(smtpx.Endpoint.parse(f"smtp://127.0.0.1:{port}")).__enter__()


def dialled(port: int) -> socket.socket | None:
    return dial(["127.0.0.1"], port).socket


@pytest.mark.usefixtures("nothing_is_kept_of_an_interrupted_finaliser")
@pytest.mark.parametrize("call", [entered, dialled])
def test_who_is_interrupted_while_dialling_leaves_no_connection_to_the_collector(call: Any) -> None:
    modules = ("smtpx.sansio", "smtpx._drivers.dialling", "smtpx._drivers.racing")
    at, left = 1, list[str]()
    with Server() as server, warnings.catch_warnings(record=True) as heard:
        call(server.port).__exit__(None, None, None)  # What is imported late is imported now.
        while True:
            warnings.simplefilter("always")
            points = Points(at, interrupt, lambda frame: frame.f_globals["__name__"] in modules)
            with suppress(Interruption):
                points.run(partial(call, server.port)).__exit__(None, None, None)
            left += [f"at {at}: {one.message}" for one in heard]
            heard.clear()
            if not points.happened:
                break
            at += 1
    assert left == []
    assert at > 20
