"""Large messages: what a server receives is the content, however it comes, in bounded memory."""

from __future__ import annotations

import io
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpx import BodyType, Envelope, Session, SMTPError, TLSMode, TLSPolicy
from smtpx._wire.content import PIECE, SMALL
from smtpx.testing import (
    ALL_EXTENSIONS,
    CutContent,
    Ending,
    Extension,
    Refuse,
    Server,
    ServerTLS,
    Shutdown,
    Via,
)
from tests.faces.conftest import Face

pytestmark = pytest.mark.timeout(60)

ENVELOPE = Envelope("a@x.test", "b@y.test")
BINARY = Envelope("a@x.test", "b@y.test", body=BodyType.BINARY)
OFFERS = {
    "all": ALL_EXTENSIONS,
    "no PIPELINING": ALL_EXTENSIONS - {Extension.PIPELINING},
    "no BINARYMIME": ALL_EXTENSIONS - {Extension.BINARYMIME},
    "no CHUNKING": ALL_EXTENSIONS - {Extension.CHUNKING, Extension.BINARYMIME},
    "neither": ALL_EXTENSIONS - {Extension.CHUNKING, Extension.BINARYMIME, Extension.PIPELINING},
}
PARTS = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b".", b"..", b"a", b"\r\n.", b"\n.\n", b"\r.\r", b"\r\n.\r\n", b"\xe4"]
)
TEXTS = st.lists(PARTS, max_size=9).map(b"".join)
LINES = st.sampled_from([b"x", b"\r\n.x", b"line\r\n", b".\n", b"\r"])


def canonical(octets: bytes) -> bytes:
    """What DATA would deliver, written from the rule (RFC 5321 §2.3.8) and not from the code."""
    lines = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    if not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


def cut(octets: bytes, sizes: list[int]) -> Iterator[bytes]:
    start = 0
    for size in sizes:
        yield octets[start : start + size]
        start += size
    yield octets[start:]


@pytest.mark.requirement("T10")
@pytest.mark.parametrize("offer", OFFERS)
def test_what_is_received_is_what_was_sent(offer):
    with (
        Server(extensions=OFFERS[offer]) as server,
        Session(server.url) as session,
    ):

        @settings(max_examples=settings().max_examples // 2)
        @given(
            line=LINES,
            size=st.sampled_from([0, SMALL - 1, SMALL, SMALL + 1, PIECE - 1, PIECE, 2 * PIECE]),
            middle=TEXTS,
            end=TEXTS,
            sizes=st.lists(st.sampled_from([1, 7, SMALL, PIECE - 1, PIECE, PIECE + 1]), max_size=4),
        )
        def check(line, size, middle, end, sizes):
            octets = (line * (size // len(line)) + middle).ljust(size, b"y") + end
            before = len(server.messages)
            for source in (octets, io.BytesIO(octets), cut(octets, sizes)):
                _ = session.send(source, ENVELOPE)
            received = [message.content for message in server.messages[before:]]
            assert received == [canonical(octets)] * 3
            if Extension.BINARYMIME in OFFERS[offer]:
                for source in (octets, io.BytesIO(octets), cut(octets, sizes)):
                    _ = session.send(source, BINARY)
                received = [message.content for message in server.messages[before + 3 :]]
                assert received == [octets] * 3

        check()
        # How long the lines are is the caller's affair.
        assert [breach for breach in server.breaches if "998" not in breach] == []


@pytest.mark.parametrize("tls", [ServerTLS.NONE, ServerTLS.IMPLICIT])
@pytest.mark.parametrize("offer", ["all", "no CHUNKING"])
def test_every_face_sends_large_messages(face: Face, offer, tls):
    octets = b"a line\r\n.\r\n" * 300_000  # 3.3 MB
    with Server(extensions=OFFERS[offer], tls=tls) as server:
        with face.session(server.url, tls=policy_of(server)) as session:
            for source in (octets, io.BytesIO(octets), cut(octets, [5] * 1000)):
                assert session.send(source, ENVELOPE).accepted
        assert [message.content for message in server.messages] == [octets] * 3
        via = Via.DATA if offer == "no CHUNKING" else Via.BDAT
        assert {message.via for message in server.messages} == {via}
        assert server.breaches == []


def policy_of(server: Server):
    if server.tls is ServerTLS.NONE:
        return None
    return TLSPolicy(TLSMode(server.tls.value), ca_file=server.ca_file)


@pytest.mark.requirement("T11")
@pytest.mark.parametrize(
    "fault",
    [
        Refuse("BDAT", "452 4.3.1 full", nth=2),
        Shutdown("BDAT", nth=2),
        CutContent(3 * PIECE // 2),
        CutContent(3 * PIECE // 2, ending=Ending.RESET),
        CutContent(3 * PIECE // 2, parting=b"552 5.3.4 too big\r\n"),
    ],
)
def test_half_a_message_is_none(face: Face, fault):
    octets = b"x" * PIECE
    with Server(faults=[fault]) as server:
        with face.session(server.url) as session:
            result = outcome_of(session, iter([octets] * 20))
            assert not result.accepted
            assert not result.in_doubt
        assert server.messages == []


def outcome_of(session, source):
    try:
        return session.send(source, ENVELOPE)
    except SMTPError as error:
        return error.result


class Sink:
    """Takes whatever comes, keeps none of it, and counts."""

    def __init__(self, *keywords: str) -> None:
        self.octets = 0
        self._keywords = keywords
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"smtp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Sink:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)
        self._listener.close()
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection, connection.makefile("rb") as reader:
            connection.settimeout(30)
            connection.sendall(b"220 sink\r\n")
            while line := reader.readline():
                verb, *arguments = line.split()
                if verb == b"EHLO":
                    lines = [
                        b"250-sink",
                        *[b"250-" + k.encode() for k in self._keywords],
                        b"250 ok",
                    ]
                    connection.sendall(b"\r\n".join(lines) + b"\r\n")
                    continue
                if verb == b"DATA":
                    connection.sendall(b"354 go ahead\r\n")
                    end = b"\r\n"
                    while not end.endswith(b"\r\n.\r\n"):
                        octets = reader.read1(65536)
                        end = (end + octets)[-5:]
                        self.octets += len(octets)
                    self.octets -= 3
                elif verb == b"BDAT":
                    left = int(arguments[0])
                    self.octets += left
                    while left:
                        left -= len(reader.read1(min(left, 65536)))
                connection.sendall(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")


@contextmanager
def bounded(octets: int) -> Iterator[None]:
    """What is allocated meanwhile never exceeds `octets`."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < octets


@pytest.mark.requirement("T44")
@pytest.mark.parametrize("keywords", [("PIPELINING", "CHUNKING"), ("PIPELINING",), ("CHUNKING",)])
def test_memory_is_bounded(face: Face, keywords):
    line = b"The quick brown fox jumps over the lazy dog, and the dog does not mind.\r\n" * 900
    total = 32 * 2**20

    def odd_pieces() -> Iterator[bytes]:
        left, i = total, 0
        while left:
            i += 1
            piece = line[: min(i * 7919 % len(line) + 1, left)].removesuffix(b"\r")
            yield piece
            left -= len(piece)

    with Sink(*keywords) as sink:
        with face.session(sink.url) as session, bounded(4 * 2**20):
            assert session.send(odd_pieces(), ENVELOPE).accepted
        assert sink.octets >= total


@pytest.mark.requirement("T44")
@pytest.mark.parametrize("keywords", [("PIPELINING", "CHUNKING"), ("PIPELINING",)])
def test_bytes_at_hand_are_not_copied(face: Face, keywords):
    octets = b"a line of text without a dot\r\n" * 2**20
    with Sink(*keywords) as sink:
        with face.session(sink.url) as session, bounded(2 * 2**20):
            assert session.send(octets, ENVELOPE).accepted
        assert sink.octets == len(octets)
