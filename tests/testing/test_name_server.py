"""The embedded name server: what it answers, how it goes wrong, and what it signs."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from random import Random
from typing import Any

import dns.dnssec
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from smtpx.testing import Misanswer, NameFault, NameServer

ZONE = """
; a domain and its host
example.net MX 10 mx.example.net.
Example.NET mx 20 b.example.net.
mx.example.net A 192.0.2.1
www.example.net CNAME mx.example.net.
dead.example.net CNAME gone.example.net.
big.example.net TXT "x"
"""
SIGNED = """
signed.lab MX 10 mx.signed.lab.
mx.signed.lab A 192.0.2.1
_25._tcp.mx.signed.lab TLSA 3 1 1 abababababababababababababababababababababababababababababababab
alias.signed.lab CNAME mx.insecure.lab.
mx.insecure.lab A 192.0.2.2
"""


def asked(server: NameServer, name: str, kind: str, *, tcp: bool = False, **options: Any) -> Any:
    query = dns.message.make_query(name, kind, want_dnssec=True, payload=1232)
    ask = dns.query.tcp if tcp else dns.query.udp
    return ask(query, server.host, port=server.port, **{"timeout": 10.0, **options})


def test_it_answers_and_counts():
    with NameServer(ZONE, insecure=["mx.example.net"]) as server:
        mx = asked(server, "example.net", "MX")
        # In the order of the zone.
        assert [str(one) for one in mx.answer[0]] == ["10 mx.example.net.", "20 b.example.net."]
        assert mx.flags & dns.flags.AD
        address = asked(server, "WWW.example.net", "A", tcp=True)
        assert [str(one[0]) for one in address.answer] == ["mx.example.net.", "192.0.2.1"]
        assert not address.flags & dns.flags.AD
        codes = [
            asked(server, name, "A").rcode()
            for name in ("net", "gone.example.net", "dead.example.net")
        ]
        assert codes == [dns.rcode.NOERROR, dns.rcode.NXDOMAIN, dns.rcode.NXDOMAIN]
        assert server.packets["example.net", "MX"] == 1
        server.load("example.net MX 0 .")
        assert str(asked(server, "example.net", "MX").answer[0][0]) == "0 ."


def test_what_is_too_long_for_udp_goes_by_tcp():
    with NameServer(
        "\n".join(f"a.test MX {n} mx{n}.long-name.test." for n in range(200))
    ) as server:
        short = asked(server, "a.test", "MX")
        assert short.flags & dns.flags.TC
        assert not short.answer
        assert len(asked(server, "a.test", "MX", tcp=True).answer[0]) == 200


@pytest.mark.parametrize("does", [Misanswer.SERVFAIL, Misanswer.REFUSED, Misanswer.NXDOMAIN])
def test_a_fault_strikes_where_it_is_meant(does: Misanswer):
    fault, other = NameFault(does, "*.example.net", "A", times=1), NameFault(does, "nowhere.test")
    with NameServer(ZONE, faults=[fault]) as server:
        server.add_fault(other)
        assert server.unstruck == [fault, other]
        assert asked(server, "example.net", "MX").rcode() == dns.rcode.NOERROR
        assert asked(server, "mx.example.net", "A").rcode() == dns.rcode.from_text(does.value)
        assert asked(server, "mx.example.net", "A").rcode() == dns.rcode.NOERROR
        assert server.unstruck == [other]
        server.clear_faults()
        assert asked(server, "nowhere.test", "A").rcode() == dns.rcode.NXDOMAIN


SAID: dict[Misanswer, Callable[[Any], bool]] = {
    Misanswer.LATE: lambda said: len(said.answer) == 1,
    Misanswer.TRUNCATED: lambda said: bool(said.flags & dns.flags.TC) and not said.answer,
    Misanswer.NO_TCP: lambda said: bool(said.flags & dns.flags.TC),
    Misanswer.NODATA: lambda said: not said.answer and said.rcode() == 0,
    Misanswer.GARBAGE_FIRST: lambda said: len(said.answer) == 1,
    Misanswer.WRONG_ID_FIRST: lambda said: len(said.answer) == 1,
    Misanswer.ALIAS_LOOP: lambda said: {one.rdtype for one in said.answer} == {5},
    Misanswer.ALIAS_CHAIN: lambda said: len(said.answer) == 12,
    Misanswer.STRIPPED: lambda said: not said.flags & dns.flags.AD and len(said.answer) == 1,
    Misanswer.BOGUS: lambda said: "DNSSEC Bogus" in str(said.options[0]),
    **{
        each: lambda said, each=each: said.rcode() == dns.rcode.from_text(each.value)  # type: ignore[misc]
        for each in Misanswer
        if each.value.isupper() and each is not Misanswer.NODATA
    },
}
UNHEARD = set(Misanswer) - set(SAID)


@pytest.mark.parametrize("does", SAID)
def test_what_is_said_instead(does: Misanswer):
    fault = NameFault(does, seconds=0.01)
    with NameServer(ZONE, faults=[fault]) as server:
        said = asked(server, "mx.example.net", "A", ignore_errors=True, ignore_unexpected=True)
        assert SAID[does](said)
        assert server.unstruck == []


@pytest.mark.parametrize("does", sorted(UNHEARD, key=str))
def test_what_is_no_answer(does: Misanswer):
    with NameServer(ZONE, faults=[NameFault(does)]) as server, socket.socket(2, 2) as plain:
        query = dns.message.make_query("mx.example.net", "A")
        plain.settimeout(0.3 if does is Misanswer.SILENCE else 10)
        _ = plain.sendto(query.to_wire(), (server.host, server.port))
        if does is Misanswer.SILENCE:
            with pytest.raises(TimeoutError):
                _ = plain.recv(4096)
            return
        wire = plain.recv(4096)
        with pytest.raises((dns.exception.DNSException, AssertionError)):
            said = dns.message.from_wire(wire)
            assert query.is_response(said)


def test_tcp_is_ended_where_that_is_the_fault():
    with NameServer(ZONE, faults=[NameFault(Misanswer.NO_TCP)]) as server, pytest.raises(EOFError):
        _ = asked(server, "mx.example.net", "A", tcp=True)


def test_a_late_answer_holds_up_no_other():
    late = NameFault(Misanswer.LATE, "mx.example.net", seconds=60)
    with NameServer(ZONE, faults=[late]) as server, socket.socket(2, 2) as plain:
        query = dns.message.make_query("mx.example.net", "A")
        _ = plain.sendto(query.to_wire(), (server.host, server.port))
        assert asked(server, "example.net", "MX").answer
        assert asked(server, "example.net", "MX", tcp=True).answer
        assert server.unstruck == []


@pytest.fixture(scope="module")
def lab():
    zones = NameServer(SIGNED, signed=["lab", "Signed.lab."], unsigned=["insecure.lab"])
    with zones as server:
        yield server


def keys_of(server: NameServer, zone: str) -> dict[Any, Any]:
    said = asked(server, zone, "DNSKEY", tcp=True)
    return {dns.name.from_text(zone): said.answer[0]}


def test_signed_records_are_signed_by_a_key_that_the_anchor_vouches_for(lab: NameServer):
    keys = keys_of(lab, "signed.lab")
    for name, kind in [
        *(("signed.lab", "MX"), ("mx.signed.lab", "A"), ("alias.signed.lab", "CNAME")),
        *(("_25._tcp.mx.signed.lab", "TLSA"), ("signed.lab", "DNSKEY")),
    ]:
        records, signatures = asked(lab, name, kind, tcp=True).answer
        dns.dnssec.validate(records, signatures, keys)
    (key,) = keys[dns.name.from_text("signed.lab")]
    ds, signatures = asked(lab, "signed.lab", "DS", tcp=True).answer
    dns.dnssec.validate(ds, signatures, keys_of(lab, "lab"))
    assert ds[0] == dns.dnssec.make_ds("signed.lab.", key, "SHA256")
    assert lab.trust_anchor.split()[:4] == ["lab.", "300", "IN", "DS"]
    assert lab.trust_anchor.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "kind", "code", "owners"),
    [
        ("mx.signed.lab", "AAAA", "NOERROR", {"mx.signed.lab."}),
        ("_tcp.mx.signed.lab", "A", "NOERROR", {"mx.signed.lab."}),
        ("gone.signed.lab", "A", "NXDOMAIN", {"alias.signed.lab.", "signed.lab."}),
        ("insecure.lab", "DS", "NOERROR", {"insecure.lab."}),
    ],
)
def test_what_is_not_there_is_denied(
    lab: NameServer, name: str, kind: str, code: str, owners: set[str]
):
    said = asked(lab, name, kind, tcp=True)
    assert dns.rcode.to_text(said.rcode()) == code
    keys = keys_of(lab, "signed.lab") | keys_of(lab, "lab")
    proofs = [one for one in said.authority if one.rdtype == dns.rdatatype.NSEC]
    assert {str(one.name) for one in proofs} == owners
    for one in said.authority:
        if one.rdtype != dns.rdatatype.RRSIG:
            signatures = next(
                other
                for other in said.authority
                if other.name == one.name and other.covers == one.rdtype
            )
            dns.dnssec.validate(one, signatures, keys)


def test_an_authority_says_nothing_of_what_is_not_its_own(lab: NameServer):
    assert asked(lab, "elsewhere.test", "A").rcode() == dns.rcode.REFUSED
    said = asked(lab, "alias.signed.lab", "A", tcp=True)
    assert [one.rdtype for one in said.answer] == [dns.rdatatype.CNAME, dns.rdatatype.RRSIG]
    assert said.flags & dns.flags.AA
    assert not said.flags & dns.flags.AD
    plain = asked(lab, "mx.insecure.lab", "A", tcp=True)
    assert [one.rdtype for one in plain.answer] == [dns.rdatatype.A]


def test_a_signature_that_does_not_hold():
    with NameServer(SIGNED, signed=["lab", "signed.lab", "insecure.lab"]) as server:
        keys = keys_of(server, "signed.lab")
        server.add_fault(NameFault(Misanswer.BOGUS, "mx.signed.lab"))
        server.add_fault(NameFault(Misanswer.STRIPPED, "signed.lab", "MX"))
        records, signatures = asked(server, "mx.signed.lab", "A", tcp=True).answer
        with pytest.raises(dns.exception.ValidationFailure):
            dns.dnssec.validate(records, signatures, keys)
        assert len(asked(server, "signed.lab", "MX", tcp=True).answer) == 1


@pytest.mark.parametrize(
    ("zone", "options", "told"),
    [
        ("a.test MX", {}, "line 1"),
        ("\na.test MX x\n", {}, "a.test MX x"),
        ("a.test NOTYPE x", {}, "NOTYPE"),
        ("a.test A 192.0.2.1", {"signed": ["b.test"]}, "a.test"),
        ("", {"unsigned": ["b.test"]}, "unsigned"),
        ("", {"signed": ["b.test"], "insecure": ["b.test"]}, "insecure"),
        ("b.test A x", {"signed": ["b.test"]}, "b.test"),
    ],
)
def test_what_is_no_zone_is_refused(zone: str, options: dict[str, Any], told: str):
    with pytest.raises(ValueError, match=told):
        _ = NameServer(zone, **options)


def test_nonsense_does_not_end_it():
    drawn = Random(1)
    with NameServer(ZONE) as server, socket.socket(2, 2) as plain:
        whole = dns.message.make_query("mx.example.net", "A", want_dnssec=True).to_wire()
        for _ in range(500):
            wire = bytearray(whole)
            for _ in range(drawn.randrange(1, 6)):
                wire[drawn.randrange(len(wire))] = drawn.randrange(256)
            _ = plain.sendto(wire[: drawn.randrange(len(wire) + 1)], (server.host, server.port))
            with socket.create_connection((server.host, server.port)) as stream:
                stream.sendall(bytes(wire))
        assert asked(server, "mx.example.net", "A", tcp=True).answer
        for _ in range(20):  # The system drops datagrams, of so many.
            with suppress(dns.exception.Timeout):
                answered = asked(server, "mx.example.net", "A", timeout=1.0)
                break
        assert answered.answer


def test_it_is_started_once_and_its_port_is_its_own():
    server = NameServer()
    server.close()
    with server:
        with pytest.raises(RuntimeError):
            server.start()
        with pytest.raises(OSError, match="in use"):
            NameServer(port=server.port).start()
    with server:
        assert asked(server, "a.test", "A").rcode() == dns.rcode.NXDOMAIN


def test_from_the_moment_that_it_is_bound_nobody_else_listens_there():
    """Two that are bound with SO_REUSEADDR go together, until one of them listens."""
    packets, streams = NameServer()._bound()
    with packets, streams, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(streams.getsockname())


def test_it_closes_while_connections_are_being_made():
    """None of them is left open, nor holds it up."""
    for _ in range(20):
        with NameServer() as server, ExitStack() as stack:
            for _ in range(10):
                _ = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            server.close()
