"""Exchangers that break off, refuse and lie in each phase: nobody is lost, nobody has it twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

import smtpx
from smtpx import Envelope, SMTPError, Status, Timeouts
from smtpx.delivery import DeliveryFailed, Failure, Level, Terms
from smtpx.testing import (
    USUAL_EXTENSIONS,
    Close,
    Extension,
    Latency,
    NameServer,
    Refuse,
    ReplaceReply,
    Reset,
    Server,
    ServerTLS,
    Shutdown,
    Stall,
)
from tests.certificates import serving
from tests.delivery.test_delivery import HOSTS, outcomes_of
from tests.delivery.test_many import to
from tests.network import one_port

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
BOB = Envelope("ann@example.org", "bob@example.net")

pytestmark = pytest.mark.timeout(120)

FAULTS: dict[str, Callable[[str], Any]] = {
    "421": lambda phase: Refuse(phase, "421 4.3.2 bye", times=None),
    "421 and the end": lambda phase: Shutdown(phase, times=None),
    "the end": lambda phase: Close(phase, times=None),
    "a reset": lambda phase: Reset(phase, times=None),
    "what is no reply": lambda phase: ReplaceReply(phase, b"\x00\xff nonsense\r\n", times=None),
    "450": lambda phase: Refuse(phase, "450 4.3.0 no", times=None),
}
PHASES = ["GREETING", "EHLO", "STARTTLS", "MAIL", "RCPT", "DATA", "END-OF-DATA"]


@pytest.mark.parametrize("what", FAULTS)
def test_what_one_host_breaks_off_the_next_one_takes(world, what: str):
    """Unless the end of the data was sent: then it may have been taken."""
    for phase in PHASES:
        options: dict[str, Any] = {"tls": ServerTLS.STARTTLS} if phase == "STARTTLS" else {}
        options["extensions"] = USUAL_EXTENSIONS - {Extension.CHUNKING}
        with (
            one_port("127.0.0.1", "127.0.0.2") as port,
            Server(port=port, faults=[FAULTS[what](phase)], **options) as first,
            Server(host="127.0.0.2", port=port) as second,
            NameServer("\n".join(HOSTS)) as dns,
        ):
            try:
                outcomes = world(dns, port=first.port).send(CONTENT, BOB).outcomes
            except SMTPError as error:
                outcomes = outcomes_of(error)
            (outcome,) = outcomes
            count = len(first.messages) + len(second.messages)
        is_answered = what in ("421", "450", "421 and the end")
        if phase == "END-OF-DATA" and not is_answered:
            assert outcome.status is Status.IN_DOUBT, (phase, outcome)
            assert not second.sessions, phase
        else:
            assert outcome.status is Status.ACCEPTED, (phase, outcome)
            assert count == 1, phase
            if phase == "STARTTLS" and what in ("the end", "a reset", "450"):
                # Broken TLS is done without, at the same address (RFC 7435).
                assert outcome.address == "127.0.0.1", outcome


def test_a_host_that_says_nothing_after_the_data_leaves_it_in_doubt(world):
    with (
        one_port("127.0.0.1", "127.0.0.2") as port,
        Server(port=port, faults=[Stall("END-OF-DATA")]) as first,
        Server(host="127.0.0.2", port=port) as second,
        NameServer("\n".join(HOSTS)) as dns,
    ):
        delivery = world(dns, port=first.port, timeouts=Timeouts(data_termination=0.3))
        with pytest.raises(SMTPError) as caught:
            delivery.send(CONTENT, BOB)
        assert outcomes_of(caught.value)[0].status is Status.IN_DOUBT
        assert not second.sessions


def test_a_host_that_is_slow_to_greet_is_waited_for(world):
    """As those do who wait for clients that cannot (Postfix's postscreen)."""
    with Server(faults=[Latency(0.3)]) as server, NameServer("\n".join(HOSTS[::2])) as dns:
        assert world(dns, port=server.port).send(CONTENT, BOB).complete
        assert server.breaches == []


def test_who_refuses_everybody_for_now_is_asked_by_two_sessions_at_most(world):
    options: dict[str, Any] = {"faults": [Refuse("RCPT", "451 4.7.1 later", times=None)]}
    names = "\n".join([*HOSTS, "example.net MX 30 c.example.net.", "c.example.net A 127.0.0.3"])
    with (
        one_port("127.0.0.1", "127.0.0.2", "127.0.0.3") as port,
        Server(port=port, **options) as first,
        Server(host="127.0.0.2", port=port, **options) as second,
        Server(host="127.0.0.3", port=port) as third,
        NameServer(names) as dns,
        pytest.raises(SMTPError) as caught,
    ):
        world(dns, port=first.port).send(CONTENT, BOB)
    assert outcomes_of(caught.value)[0].retryable
    assert [len(one.sessions) for one in (first, second, third)] == [1, 1, 0]


@pytest.mark.parametrize("offered", [True, False])
def test_starttls_that_comes_and_goes_is_taken_as_it_comes(world, offered: bool):
    """And where it was asked for, it has to be there each time."""
    tls = ServerTLS.STARTTLS if offered else ServerTLS.NONE
    with Server(tls=tls) as server, NameServer("\n".join(HOSTS[::2])) as dns:
        assert world(dns, port=server.port).send(CONTENT, BOB).complete
        assert server.messages[0].tls == offered
        delivery = world(dns, port=server.port, minimum=Terms.ENCRYPTED)
        if offered:
            assert delivery.send(CONTENT, BOB).complete
        else:
            with pytest.raises(DeliveryFailed) as caught:
                delivery.send(CONTENT, BOB)
            assert caught.value.failure is Failure.TLS_POLICY


def key_of(leaf: trustme.LeafCert) -> str:
    certificate = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(spki).hexdigest()


def test_a_certificate_that_is_renewed_while_a_session_is_shared(world):
    """The owner publishes both keys, renews, and takes the old one away: no mail is held up."""
    old, new = (trustme.CA().issue_cert("mx.test") for _ in range(2))
    contexts = serving(old), serving(new)
    with Server(tls=ServerTLS.STARTTLS, server_context=contexts[0]) as server:
        at = f"_{server.port}._tcp.mx.test TLSA 3 1 1"
        zone = ["a.test MX 1 mx.test.", "b.test MX 1 mx.test.", "mx.test A 127.0.0.1"]
        both = [*zone, f"{at} {key_of(old)}", f"{at} {key_of(new)}"]

        def messages() -> Any:
            yield to("a.test")[0]
            old.configure_cert(contexts[0])
            new.configure_cert(contexts[0])
            yield to("b.test")[0]
            yield to("a.test")[0]

        with NameServer("\n".join(both)) as dns:
            delivery = world(dns, port=server.port)
            results = list(delivery.send_many(messages(), connections=1, window=1))
            assert all(one.complete for one in results)
            # Another delivery knows nothing of that session, and believes the new certificate.
            dns.load("\n".join([*zone, f"{at} {key_of(new)}"]))
            (outcome,) = world(dns, port=server.port).send(*to("a.test")[0]).outcomes
            assert outcome.terms.level is Level.DANE
            # The old key alone is not enough any more.
            dns.load("\n".join([*zone, f"{at} {key_of(old)}"]))
            with pytest.raises(DeliveryFailed) as caught:
                world(dns, port=server.port).send(*to("a.test")[0])
            assert caught.value.failure is Failure.TLS_POLICY


def test_a_session_that_lacks_what_the_next_message_needs_does_not_refuse_it(world):
    """One host has SMTPUTF8, the other has not; both are at hand."""
    beyond = Envelope("ann@example.org", "b\u00fccher@example.net")
    without = USUAL_EXTENSIONS - {Extension.SMTPUTF8}
    with (
        one_port("127.0.0.1", "127.0.0.2") as port,
        Server(port=port, extensions=without) as first,
        Server(host="127.0.0.2", port=port) as second,
        NameServer("\n".join(HOSTS)) as dns,
    ):
        messages = [(CONTENT, BOB), (CONTENT, beyond), (CONTENT, BOB)]
        delivery = world(dns, port=first.port)
        results = list(delivery.send_many(messages, connections=1, window=1))
        assert [one.outcomes[0].host for one in results] == [
            *("a.example.net", "b.example.net", "a.example.net")
        ]
        assert (len(first.messages), len(second.messages)) == (2, 1)


@pytest.mark.parametrize("requires", [True, False])
@pytest.mark.parametrize("says_no", [True, False])
@pytest.mark.parametrize("matches", [True, False])
def test_requiretls_and_tls_required_no(world, requires: bool, says_no: bool, matches: bool):
    """REQUIRETLS outdoes the field; the field outdoes DANE (RFC 8689 §4.1, §5)."""
    leaf = trustme.CA().issue_cert("a.example.net")
    offered = USUAL_EXTENSIONS | {Extension.REQUIRETLS}
    field = b"TLS-Required: No\r\n" if says_no else b""
    envelope = BOB.replace(require_tls=requires)
    with Server(tls=ServerTLS.STARTTLS, server_context=serving(leaf), extensions=offered) as server:
        digest = key_of(leaf) if matches else "ab" * 32
        zone = [*HOSTS[::2], f"_{server.port}._tcp.a.example.net TLSA 3 1 1 {digest}"]
        with NameServer("\n".join(zone)) as dns:
            delivery = world(dns, port=server.port)
            if matches or (says_no and not requires):
                (outcome,) = delivery.send(field + CONTENT, envelope).outcomes
                assert outcome.status is Status.ACCEPTED
                is_obeyed = requires or not says_no
                level = Level.DANE if is_obeyed else Level.OPPORTUNISTIC
                assert outcome.terms.level is level
            else:
                with pytest.raises(smtpx.SMTPError):
                    delivery.send(field + CONTENT, envelope)
                assert not server.messages
