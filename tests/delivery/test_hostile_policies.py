"""Policy hosts that lie, flood and dawdle: a policy or none, within bounds, and nothing else."""

from __future__ import annotations

import gzip
from itertools import permutations
from pathlib import Path
from time import monotonic

import pytest

from smtpx.delivery import asynchronous, blocking
from smtpx.delivery._fetching import PATH, fetched
from smtpx.delivery.mta_sts import FetchFailed, Policy, PolicyError, policy_id
from smtpx.sansio import Receive
from smtpx.testing import NameServer
from tests.delivery.policy_lab import ENFORCE, lab
from tests.delivery.test_mta_sts import text_of
from tests.network import dead

pytestmark = pytest.mark.timeout(60)

BODY = ENFORCE.encode()
OK = b"HTTP/1.1 200 OK\r\n"
PLAIN = b"Content-Type: text/plain\r\n"


def response(*fields: bytes, body: bytes = BODY, start: bytes = OK) -> bytes:
    return start + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


def chunked(*chunks: bytes) -> bytes:
    return response(PLAIN[:-2], b"Transfer-Encoding: chunked", body=b"".join(chunks))


def chunk(octets: bytes, size: bytes | None = None, more: bytes = b"") -> bytes:
    return (size or b"%x" % len(octets)) + more + b"\r\n" + octets + b"\r\n"


def read(said: bytes, piece: int) -> bytes:
    """What is made of a response that comes in such pieces: of a flood, the first megabyte."""
    procedure = fetched("mta-sts.example.net", PATH)
    step, place = next(procedure), 0
    try:
        while True:
            octets: bytes | None = None
            if isinstance(step, Receive):
                assert place < 1_000_000, "it is read for ever"
                octets = said[place : place + piece]
                place += piece
            step = procedure.send(octets)
    except StopIteration as stop:
        body: bytes = stop.value
        return body


LENGTH = b"Content-Length: %d" % len(BODY)
TAKEN = {
    "as it should be": response(PLAIN[:-2], LENGTH),
    "of HTTP/1.0": response(PLAIN[:-2], LENGTH, start=b"HTTP/1.0 200 OK\r\n"),
    "without a reason": response(PLAIN[:-2], LENGTH, start=b"HTTP/1.1 200 \r\n"),
    "in one chunk": chunked(chunk(BODY), b"0\r\n\r\n"),
    "in chunks of an octet": chunked(*(chunk(bytes([one])) for one in BODY), b"0\r\n\r\n"),
    "with a chunk extension": chunked(chunk(BODY, more=b";a=b"), b"0\r\n\r\n"),
    "with a trailer": chunked(chunk(BODY), b"0\r\nX: y\r\n\r\n"),
    "after early hints": b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" * 3
    + response(PLAIN[:-2], LENGTH),
    "with more than was said": response(PLAIN[:-2], LENGTH, body=BODY + b"mx: evil.example\r\n"),
    "in UTF-8": response(b"content-type: text/plain;charset=utf-8", LENGTH),
}


@pytest.mark.parametrize("piece", [1, 7, 100_000])
@pytest.mark.parametrize("what", TAKEN)
def test_a_policy_is_taken_however_it_comes(what: str, piece: int):
    assert Policy.parse(read(TAKEN[what], piece)) == Policy.parse(ENFORCE)


HUGE = 1_200_000
REFUSED = {
    "nothing": b"",
    "no HTTP": b"SSH-2.0-x\r\n",
    "an old one": BODY,
    "another status": response(PLAIN[:-2], LENGTH, start=b"HTTP/1.1 204 No\r\n"),
    "a part": response(PLAIN[:-2], LENGTH, start=b"HTTP/1.1 206 Partial\r\n"),
    "from a cache": response(PLAIN[:-2], LENGTH, start=b"HTTP/1.1 304 Not Modified\r\n"),
    "elsewhere": response(b"Location: http://127.0.0.1/", start=b"HTTP/1.1 302 Found\r\n"),
    "elsewhere for good": response(
        b"Location: https://mta-sts.example.net/", PLAIN[:-2], LENGTH, start=b"HTTP/1.1 308 x\r\n"
    ),
    "no type": response(LENGTH),
    "two types": response(PLAIN[:-2], b"Content-Type: text/html", LENGTH),
    "another type": response(b"Content-Type: text/plainer", LENGTH),
    "an empty type": response(b"Content-Type: ", LENGTH),
    # Whoever cuts the connection would say where it ends, such as behind "max_age: 6".
    "as much as came": response(PLAIN[:-2]),
    "less than was said": response(PLAIN[:-2], b"Content-Length: 5000"),
    "two lengths": response(PLAIN[:-2], LENGTH, b"Content-Length: 5"),
    "a negative length": response(PLAIN[:-2], b"Content-Length: -5"),
    "a length of letters": response(PLAIN[:-2], b"Content-Length: \xd9\xa3"),
    "an endless body": response(PLAIN[:-2], body=b"x" * HUGE),
    "a huge length": response(PLAIN[:-2], b"Content-Length: 99999999999999999", body=b"x" * HUGE),
    "endless chunks": chunked(chunk(b"x" * 100) * (HUGE // 100)),
    "a huge chunk": chunked(chunk(b"x" * HUGE, size=b"FFFFFFFFFFFF")),
    "a chunk of no size": chunked(chunk(BODY, size=b"")[0:], b"zz\r\n"),
    "a negative chunk": chunked(chunk(BODY, size=b"-5"), b"0\r\n\r\n"),
    "a chunk extension without end": chunked(b"5;" + b"x" * HUGE),
    "a trailer without end": chunked(chunk(BODY), b"0\r\nX: " + b"y" * HUGE),
    "no last chunk": chunked(chunk(BODY)),
    "another coding": response(PLAIN[:-2], b"Transfer-Encoding: gzip, chunked"),
    "a header without end": OK + b"X: " + b"y" * HUGE,
    "headers without end": OK + b"X: y\r\n" * (HUGE // 6),
    "hints without end": b"HTTP/1.1 103 Early\r\n\r\n" * 60_000,
    "a folded header": OK + b"Content-Type:\r\n text/plain\x00\r\n\r\n" + BODY,
    "another protocol": response(LENGTH, start=b"HTTP/1.1 101 Switching Protocols\r\n"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_policy_is_none_and_no_more_is_read_than_it_takes(what: str):
    with pytest.raises((FetchFailed, PolicyError)) as caught:
        Policy.parse(read(REFUSED[what], 16_384))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_what_is_compressed_is_no_policy_and_is_never_unpacked():
    bomb = gzip.compress(b"\x00" * 10_000_000)
    fields = (PLAIN[:-2], b"Content-Encoding: gzip", b"Content-Length: %d" % len(bomb))
    with pytest.raises(PolicyError):
        Policy.parse(read(response(*fields, body=bomb), 16_384))


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + ENFORCE,
        ENFORCE.replace("\r\n", "\r"),
        ENFORCE.replace("mode: enforce", "mode: Enforce"),
        ENFORCE.replace("mode", "Mode"),
        ENFORCE.replace("version: STSv1\r\n", ""),
        ENFORCE.replace("version: STSv1", "version: STSv2\r\nversion: STSv1"),
        ENFORCE.replace("version: STSv1", "version: STSv1\x00"),
        ENFORCE.replace("604800", "99999999999"),
        ENFORCE.replace("604800", "+5"),
        ENFORCE.replace("604800", ""),
        ENFORCE.replace("mx.example.net", "*"),
        ENFORCE.replace("mx.example.net", "a.*.example.net"),
        ENFORCE.replace("mx.example.net", "*.*.example.net"),
        ENFORCE.replace("mx.example.net", "mx.example.net\x00.evil.example"),
        ENFORCE.replace("mx.example.net", "[192.0.2.1]"),
        ENFORCE.replace("mx.example.net", "." * 1000),
        ENFORCE.replace("mx.example.net", "bücher.example"),
    ],
)
def test_a_text_that_is_nearly_a_policy_is_none(text: str):
    with pytest.raises(PolicyError):
        Policy.parse(text)
    with pytest.raises(PolicyError):
        Policy.parse(text.encode())


@pytest.mark.parametrize("lines", list(permutations(ENFORCE.splitlines())))
def test_the_fields_of_a_policy_stand_in_any_order(lines: tuple[str, ...]):
    assert Policy.parse("x: y\n" + "\n".join(lines)) == Policy.parse(ENFORCE)


@pytest.mark.parametrize(
    "more",
    [
        "mode: none\r\n",
        "max_age: 1\r\n",
        "version: STSv2\r\n",
        "unknown: x\r\n" * 1000,
        "no colon\r\n",
        ": no name\r\n",
        "mx: bad name\r\n" * 1000,
        "\r\n" * 1000,
    ],
)
def test_what_comes_twice_or_is_unknown_changes_nothing(more: str):
    assert Policy.parse(ENFORCE + more) == Policy.parse(ENFORCE)


def test_a_policy_of_many_hosts_is_read_and_matched_quickly():
    text = ENFORCE + "".join(f"mx: *.h{n}.test\r\n" for n in range(3500))
    policy = Policy.parse(text)
    began = monotonic()
    assert policy.matches("a.h3499.test")
    assert not policy.matches("a.b.h3499.test")
    assert monotonic() - began < 1  # The watchdog: a thousand times what it takes.
    pattern = "a-" * 120 + "!"
    with pytest.raises(PolicyError):
        Policy.parse(ENFORCE.replace("mx.example.net", pattern))


@pytest.mark.parametrize(
    ("record", "id"),
    [
        ("v=STSv1; id=a; id=b", "a"),
        ("v=STSv1;;;id=a", "a"),
        ("v=STSv1 ;\tid=a\t;", "a"),
        ("v=STSv1; id=\u0661", None),
        ("v=STSv1; id=a\x00", None),
        ("v=STSv1; ID=a", None),
        (" v=STSv1; id=a", None),
        ("V=STSv1; id=a", None),
        ("v=STSv10; id=a", None),
        ("v=STSv1; id=" + "a" * 32, "a" * 32),
        ("v=STSv1; " + "x=y; " * 10_000 + "id=a", "a"),
    ],
)
def test_ids_of_odd_characters(record: str, id: str | None):
    assert policy_id([record]) == id


def test_a_silent_address_of_a_policy_host_costs_no_policy(world, tmp_path: Path):
    """What would be an easy way to switch it off: a blackhole of one of several addresses."""
    with (
        dead("127.0.0.8", beside=["127.0.0.1"]) as port,
        lab(world, tmp_path, https_port=port) as here,
    ):
        names = text_of().replace(
            "mta-sts.example.net A 127.0.0.1",
            "mta-sts.example.net A 127.0.0.8\nmta-sts.example.net A 127.0.0.1",
        )
        with NameServer(names) as dns:
            plan = here.made(dns).plan("example.net")
        assert plan.policy == Policy.parse(ENFORCE)


def test_many_addresses_of_one_family_leave_room_for_the_other(world, tmp_path: Path):
    """GitHub Pages, where many have their policies, has four of each."""
    with lab(world, tmp_path) as here:
        gone = [f"mta-sts.example.net A 127.0.1.{n}" for n in range(1, 5)]
        names = text_of("mta-sts.example.net AAAA ::ffff:127.0.0.1", *gone)
        names = names.replace("mta-sts.example.net A 127.0.0.1\n", "")
        with NameServer(names) as dns:
            assert here.made(dns).plan("example.net").policy == Policy.parse(ENFORCE)


def test_octets_that_come_slowly_end_with_the_time(world, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(blocking, "WITHIN", 0.5)
    monkeypatch.setattr(asynchronous, "WITHIN", 0.5)
    with lab(world, tmp_path) as here:
        here.policy_host.drips = 0.05
        with NameServer(text_of()) as dns:
            began = monotonic()
            plan = here.made(dns).plan("example.net")
            assert monotonic() - began < 8
        assert plan.policy is None
        assert "MTA-STS" in str(plan)
