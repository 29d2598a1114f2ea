"""Servers that take or say a little at a time hold nobody up, whichever driver waits for them."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

import smtpx
from smtpx import Envelope, Limits, Timeouts, TLSMode, TLSPolicy
from smtpx._drivers.racing import Found, Race
from smtpx.testing import (
    ALL_EXTENSIONS,
    Drip,
    Extension,
    Fault,
    ReplaceReply,
    Server,
    ServerTLS,
    Stall,
)
from tests.certificates import ca_file_of, serving
from tests.faces.conftest import Face
from tests.network import take, with_small_window
from tests.tls_records import HANDSHAKE, HELLO_REQUESTS, KEY_UPDATE, TICKET, Sealed, sealing

ENVELOPE = Envelope("ann@example.org", "bob@example.net")
CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
LARGE = b"Subject: hi\r\n\r\n" + b"x" * 20_000_000
PATIENT = Timeouts.each(60)

Send = Callable[[smtpx.Client, bytes], smtpx.SendResult | smtpx.SMTPError]


def by_send(client: smtpx.Client, content: bytes) -> smtpx.SendResult | smtpx.SMTPError:
    try:
        return client.send(content, ENVELOPE)
    except smtpx.SMTPError as error:
        return error


def by_send_many(client: smtpx.Client, content: bytes) -> smtpx.SendResult | smtpx.SMTPError:
    try:
        (result,) = client.send_many([(content, ENVELOPE)])
    except smtpx.SMTPError as error:
        return error
    return result.error or result


every_way = pytest.mark.parametrize("send", [by_send, by_send_many])


@pytest.mark.requirement("T30a")
@every_way
@pytest.mark.parametrize("chunk", [b"2", b"250-x\r\n"])
def test_a_dripping_reply_has_its_time(face: Face, send: Send, chunk: bytes) -> None:
    faults: list[Fault] = [
        ReplaceReply("MAIL", chunk * (3500 // len(chunk))),
        Drip(size=1, interval=0.005),
    ]
    impatient = dataclasses.replace(PATIENT, mail=0.2, data_termination=0.2)
    with Server(faults=faults) as server, face.client(server.url, timeouts=impatient) as client:
        assert isinstance(send(client, CONTENT), smtpx.TimedOut)


@contextmanager
def dripping(port: int, after: int) -> Iterator[int]:
    """A way to a server on which all that it says after so many octets comes one by one."""
    over = threading.Event()

    def drip(server: socket.socket, client: socket.socket) -> None:
        left = after
        try:
            while octets := server.recv(left if left > 0 else 1):
                client.sendall(octets)
                left -= len(octets)
                if left <= 0:
                    _ = over.wait(0.01)
        except OSError:
            pass  # The client has gone.

    def serve() -> None:
        with (
            listener.accept()[0] as client,
            socket.create_connection(("127.0.0.1", port)) as server,
        ):
            back = threading.Thread(target=drip, args=(server, client))
            back.start()
            try:
                while octets := client.recv(65536):
                    server.sendall(octets)
            except OSError:
                pass  # It was reset.
            over.set()
            back.join()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@pytest.mark.requirement("T30a")
@every_way
def test_a_tls_record_that_drips_has_the_time_of_its_reply(face: Face, send: Send) -> None:
    impatient = dataclasses.replace(PATIENT, mail=0.3, data_termination=0.3)
    refusal = "550 5.7.1 " + "x" * 7000
    with Server(tls=ServerTLS.IMPLICIT, refuse_senders=lambda _: refusal) as server:
        policy = TLSPolicy(TLSMode.IMPLICIT, ca_file=server.ca_file)
        with smtpx.Session(server.url, tls=policy, timeouts=PATIENT):
            pass
        opened = server.wait_until_idle()[0]
        with (
            dripping(server.port, after=opened.bytes_out + 3000) as port,
            face.client(f"smtps://127.0.0.1:{port}", tls=policy, timeouts=impatient) as client,
        ):
            assert isinstance(send(client, CONTENT), smtpx.TimedOut)


@pytest.fixture
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system keeps little of what is written, so that the writer feels the reader."""
    prepare = Race.prepare

    def prepared(self: Race, address: Found) -> socket.socket:
        connection = prepare(self, address)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return connection

    monkeypatch.setattr(Race, "prepare", prepared)


AUTHORITY = trustme.CA()
OFFER = b"250-slow.test\r\n250-PIPELINING\r\n250 CHUNKING\r\n"


def of_tls(
    face: Face, folder: Path, *said: Callable[[Sealed], Iterable[bytes]], **options: Any
) -> AbstractContextManager[Callable[..., smtpx.Client]]:
    """A way to a client of a server that seals what it says by hand."""

    @contextmanager
    def serve() -> Iterator[Callable[..., smtpx.Client]]:
        context = serving(AUTHORITY.issue_cert("127.0.0.1"))
        policy = TLSPolicy(TLSMode.IMPLICIT, ca_file=ca_file_of(AUTHORITY, folder))
        with sealing(context, folder, *said, **options) as port:
            yield lambda **phases: face.client(
                f"smtps://127.0.0.1:{port}",
                tls=policy,
                timeouts=dataclasses.replace(PATIENT, **phases),
            )

    return serve()


# Of a content, so much that the client is in the middle of a write.
BEGUN = 100_000


def plainly(text: bytes) -> Callable[[Sealed], Iterable[bytes]]:
    return lambda sealed: [sealed.record(text)]


def behind_records_without_content(text: bytes) -> Callable[[Sealed], Iterable[bytes]]:
    """It would be in time, were it not for what a client has to go through before."""

    def records(sealed: Sealed) -> Iterable[bytes]:
        before = [sealed.record(KEY_UPDATE, HANDSHAKE) for _ in range(1000)]
        before += [sealed.record(900 * TICKET, HANDSHAKE) for _ in range(80)]
        return [b"".join(before) + sealed.record(text)]

    return records


@pytest.mark.requirement("T30a")
@every_way
def test_endless_handshake_records_have_the_time_of_the_handshake(
    face: Face, send: Send, tmp_path: Path
) -> None:
    words = [plainly(b"220 slow.test\r\n"), plainly(OFFER)]
    with (
        of_tls(face, tmp_path, *words, before=2500 * HELLO_REQUESTS) as client_with,
        client_with(tls=0.05, hello=0.3) as client,
    ):
        error = send(client, CONTENT)
        assert isinstance(error, smtpx.TimedOut)
        assert error.phase == "tls"


@pytest.mark.requirement("T30a")
@every_way
def test_endless_records_without_content_have_the_time_of_the_reply(
    face: Face, send: Send, tmp_path: Path
) -> None:
    greeting, offer = plainly(b"220 slow.test\r\n"), plainly(OFFER)
    replies = behind_records_without_content((4 if send is by_send_many else 3) * b"250 ok\r\n")
    with (
        of_tls(face, tmp_path, greeting, offer, replies) as client_with,
        client_with(mail=0.05, data_termination=0.05, quit=0.3) as client,
    ):
        error = send(client, CONTENT)
        # uvloop reads whatever the system holds in one turn: the reply may be among it.
        assert isinstance(error, smtpx.TimedOut) or face.name == "uvloop"


def octets_far_apart(text: bytes) -> Callable[[Sealed], Iterable[bytes]]:
    """Whenever the client reads there is one, and much to be gone through before the next."""

    def records(sealed: Sealed) -> Iterable[bytes]:
        for octet in text:
            yield sealed.record(900 * TICKET, HANDSHAKE) + sealed.record(bytes([octet]))

    return records


@pytest.mark.requirement("T30a")
@every_way
def test_octets_far_apart_have_the_time_of_the_reply(
    face: Face, send: Send, tmp_path: Path
) -> None:
    greeting, offer = plainly(b"220 slow.test\r\n"), plainly(OFFER)
    replies = octets_far_apart(b"550 " + 500 * b"x" + b"\r\n")
    with (
        of_tls(face, tmp_path, greeting, offer, replies) as client_with,
        client_with(mail=0.3, data_termination=0.3, quit=0.3) as client,
    ):
        assert isinstance(send(client, CONTENT), smtpx.TimedOut)


def floods(sealed: Sealed | None) -> Iterable[bytes]:
    """Replies without end."""
    replies = 2000 * b"250 ok\r\n"
    while True:
        yield replies if sealed is None else sealed.record(replies)


@contextmanager
def plain(then: Callable[[socket.socket], object]) -> Iterator[int]:
    """A server that reads no more once a content has begun."""
    over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        listener.close()  # A message that was given back finds no other server.
        with connection:
            try:
                for words in (b"220 slow.test\r\n", OFFER, b"250 ok\r\n250 ok\r\n"):
                    connection.sendall(words)
                    _ = connection.recv(4096)
                take(connection, BEGUN)
                _ = then(connection)
            except OSError:
                pass  # The client has had enough.
            _ = over.wait(30)

    with with_small_window() as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        over.set()
        thread.join()


def flood(connection: socket.socket) -> None:
    for replies in floods(None):
        connection.sendall(replies)


@contextmanager
def in_little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


@contextmanager
def without_spinning() -> Iterator[None]:
    """A second is waited for, not worked through."""
    before = time.thread_time()
    yield
    assert time.thread_time() - before < 0.5


@pytest.mark.requirement("T30a")
@every_way
@pytest.mark.usefixtures("small_buffers")
def test_replies_without_end_while_we_write(face: Face, send: Send) -> None:
    impatient = dataclasses.replace(PATIENT, data_block=0.3, mail=0.3, quit=0.1)
    with (
        plain(flood) as port,
        face.client(f"smtp://127.0.0.1:{port}", timeouts=impatient) as client,
        in_little_memory(),
    ):
        assert isinstance(send(client, LARGE), smtpx.SMTPError)


@pytest.mark.requirement("T30a")
@every_way
@pytest.mark.usefixtures("small_buffers")
def test_replies_without_end_while_we_write_under_tls(
    face: Face, send: Send, tmp_path: Path
) -> None:
    words = [plainly(text) for text in (b"220 slow.test\r\n", OFFER, b"250 ok\r\n250 ok\r\n")]
    with (
        of_tls(face, tmp_path, *words, floods, taking=BEGUN) as client_with,
        client_with(data_block=0.3, mail=0.3, quit=0.1) as client,
        in_little_memory(),
    ):
        assert isinstance(send(client, LARGE), smtpx.SMTPError)


@pytest.mark.requirement("T30a")
@every_way
@pytest.mark.usefixtures("small_buffers")
def test_the_end_of_what_is_said_while_we_write(face: Face, send: Send) -> None:
    impatient = dataclasses.replace(PATIENT, data_block=1, quit=0.1)
    with (
        plain(lambda connection: connection.shutdown(socket.SHUT_WR)) as port,
        face.client(f"smtp://127.0.0.1:{port}", timeouts=impatient) as client,
        in_little_memory(),
        without_spinning(),
    ):
        assert isinstance(send(client, LARGE), smtpx.SMTPError)


@pytest.mark.requirement("T30a")
@every_way
@pytest.mark.parametrize("tls", [ServerTLS.NONE, ServerTLS.IMPLICIT])
@pytest.mark.parametrize("extensions", [ALL_EXTENSIONS, ALL_EXTENSIONS - {Extension.CHUNKING}])
def test_a_server_that_stops_reading(
    face: Face, send: Send, tls: ServerTLS, extensions: frozenset[Extension]
) -> None:
    point = "RCPT" if extensions == ALL_EXTENSIONS else "DATA"
    impatient = dataclasses.replace(
        PATIENT, data_block=0.2, rcpt=0.2, mail=0.2, data_initiation=0.2
    )
    with Server(
        tls=tls, extensions=extensions, faults=[Stall(point, reading=False)], buffer_size=4096
    ) as server:
        policy = (
            TLSPolicy(TLSMode(tls.value), ca_file=server.ca_file)
            if tls is not ServerTLS.NONE
            else None
        )
        with face.client(server.url, tls=policy, timeouts=impatient) as client:
            assert isinstance(send(client, LARGE[:8_000_000]), smtpx.TimedOut)


class SlowReader:
    """Speaks just enough SMTP; takes the content `size` octets at a time, with a pause between."""

    def __init__(self, size: int, pause: float) -> None:
        self._size, self._pause = size, pause
        self._listener = with_small_window()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> int:
        self._thread.start()
        port: int = self._listener.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        self._listener.close()  # A message that was given back finds no other server.
        with connection, connection.makefile("rb", buffering=0) as lines:
            connection.sendall(b"220 slow.test\r\n")
            try:
                while line := lines.readline():
                    match line.split():
                        case [b"BDAT", size, *_]:
                            self._read(connection, int(size))
                            connection.sendall(b"250 ok\r\n")
                        case [b"EHLO", *_]:
                            connection.sendall(
                                b"250-slow.test\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
                            )
                        case [b"QUIT"]:
                            connection.sendall(b"221 bye\r\n")
                            return
                        case _:
                            connection.sendall(b"250 ok\r\n")
            except OSError:
                pass  # The client has had enough.

    def _read(self, connection: socket.socket, left: int) -> None:
        while left and not self._over.wait(self._pause):
            octets = connection.recv(min(self._size, left))
            if not octets:
                raise OSError
            left -= len(octets)


@pytest.mark.requirement("T30a")
@every_way
def test_octets_taken_one_by_one_do_not_extend_the_time(face: Face, send: Send) -> None:
    impatient = dataclasses.replace(PATIENT, data_block=0.3)
    with (
        SlowReader(size=200, pause=0.02) as port,
        face.client(
            f"smtp://127.0.0.1:{port}", timeouts=impatient, limits=Limits(data_rate=1e9)
        ) as client,
    ):
        error = send(client, LARGE)
        # What `send_many` has not written goes by another session, and there is none.
        assert isinstance(error, smtpx.TimedOut if send is by_send else smtpx.ConnectionLost)
        assert error.phase == ("data_block" if send is by_send else "connect")


@every_way
@pytest.mark.usefixtures("small_buffers")
def test_a_slow_server_above_the_rate_is_waited_for(face: Face, send: Send) -> None:
    """Each piece takes it far longer than `data_block`; it never stops for so long."""
    patient = dataclasses.replace(PATIENT, data_block=1)
    content = LARGE[:300_000]
    with (
        SlowReader(size=4000, pause=0.02) as port,
        face.client(
            f"smtp://127.0.0.1:{port}", timeouts=patient, limits=Limits(data_rate=20_000)
        ) as client,
    ):
        result = send(client, content)
        assert isinstance(result, smtpx.SendResult), result


POINTS = ["GREETING", "EHLO", "STARTTLS", "TLS-HANDSHAKE", "AUTH", "MAIL", "RCPT", "DATA"]
POINTS += ["END-OF-DATA"]
STALLS = [(point, False) for point in POINTS]
STALLS += [(point, True) for point in ("EHLO", "TLS-HANDSHAKE", "AUTH", "RCPT", "END-OF-DATA")]


@pytest.mark.requirement("T30a")
@pytest.mark.parametrize(("point", "total"), STALLS)
def test_a_stall_anywhere(face: Face, point: str, total: bool) -> None:
    """With a minute for every other phase, this ends only by the time of that one, or of all."""
    phases = {
        "EHLO": ["hello"],
        "STARTTLS": ["tls"],
        "TLS-HANDSHAKE": ["tls"],
        "RCPT": ["rcpt", "mail"],  # a group's replies are waited for as that of its MAIL
        "DATA": ["data_initiation", "mail"],
        "END-OF-DATA": ["data_termination"],
    }.get(point, [point.lower()])
    impatient = dataclasses.replace(PATIENT, total=0.4 if total else None)
    if not total:
        impatient = dataclasses.replace(PATIENT, **dict.fromkeys(phases, 0.2))
    with Server(
        tls=ServerTLS.STARTTLS,
        users={"ann": "secret"},
        extensions=ALL_EXTENSIONS - {Extension.CHUNKING},
        faults=[Stall(point)],
    ) as server:
        session = face.session(
            f"smtp://ann:secret@127.0.0.1:{server.port}?tls=starttls&ca={server.ca_file}",
            timeouts=impatient,
        )
        with pytest.raises(smtpx.TimedOut) as caught, session:
            _ = session.send(CONTENT, ENVELOPE)
        if not total:  # It may be used up before, where the machine is busy.
            assert caught.value.phase in phases
