"""Mail from here to the exchangers that a real name server names, in every world."""

from __future__ import annotations

import copy
import pickle
import ssl
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Any

import pytest
import trustme

import smtpx
from smtpx import Envelope, Status
from smtpx.delivery import DeliveryFailed, DeliveryOutcome, DeliveryResult, Failure, Level, Terms
from smtpx.testing import (
    Close,
    Misanswer,
    NameFault,
    NameServer,
    Refuse,
    Server,
    ServerTLS,
    TruncateReply,
)
from tests.network import one_port

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
BOB = Envelope("ann@example.org", "bob@example.net")

pytestmark = pytest.mark.timeout(60)


# Addresses of this machine that servers of a test share a port at.
AT_HAND = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


@pytest.fixture
def server() -> Iterator[Server]:
    with one_port(*AT_HAND) as port, Server(port=port) as running:
        yield running


def outdated() -> ssl.SSLContext:
    """A server's context that speaks no version of TLS that we do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("a.example.net").configure_cert(context)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def outcomes_of(error: smtpx.SMTPError) -> tuple[DeliveryOutcome, ...]:
    assert isinstance(error.result, DeliveryResult)
    return error.result.outcomes


def zone(*lines: str) -> NameServer:
    return NameServer("\n".join(lines))


@contextmanager
def a_pair(
    first: Mapping[str, Any] | None = None, second: Mapping[str, Any] | None = None
) -> Iterator[tuple[Server, Server]]:
    """Servers on the same port of two addresses of this machine."""
    one, other = AT_HAND[:2]
    with (
        one_port(one, other) as port,
        Server(host=one, port=port, **(first or {})) as here,
        Server(host=other, port=port, **(second or {})) as there,
    ):
        yield here, there


HOSTS = [
    "example.net MX 10 a.example.net.",
    "example.net MX 20 b.example.net.",
    "a.example.net A 127.0.0.1",
    "b.example.net A 127.0.0.2",
]


def test_mail_gets_to_the_best_host(world, server):
    with zone(*HOSTS) as dns:
        result = world(dns, port=server.port).send(CONTENT, BOB)
    (outcome,) = result.outcomes
    assert outcome.status is Status.ACCEPTED
    assert (outcome.host, outcome.address) == ("a.example.net", "127.0.0.1")
    assert outcome.terms == Terms.OPPORTUNISTIC
    assert [(one.host, one.error) for one in outcome.attempts] == [("a.example.net", None)]
    assert result.complete
    assert result.error is None
    (received,) = server.messages
    assert received.content == CONTENT
    assert server.sessions[0].commands[0] == "EHLO mail.example.org"
    assert dns.packets == {
        ("example.net", "MX"): 1,
        ("_mta-sts.example.net", "TXT"): 1,
        ("a.example.net", "A"): 1,
        ("a.example.net", "AAAA"): 1,
        (f"_{server.port}._tcp.a.example.net", "TLSA"): 1,
    }


def test_a_message_of_the_email_package_needs_no_envelope(world, server):
    message = EmailMessage()
    message["From"], message["To"] = "ann@example.org", "bob@example.net"
    message["Bcc"] = "eve@example.net"
    message.set_content("hello\n")
    with zone(*HOSTS) as dns:
        result = world(dns, port=server.port).send(message)
    assert [str(one.recipient) for one in result.accepted] == [
        "bob@example.net",
        "eve@example.net",
    ]
    assert b"eve" not in server.messages[0].content


def test_each_domain_gets_its_own_and_the_outcomes_keep_their_order(world, server):
    with (
        Server(host="127.0.0.2", port=server.port) as other,
        zone(
            *("example.net MX 1 a.example.net.", "a.example.net A 127.0.0.1"),
            *("example.com MX 1 b.example.com.", "b.example.com A 127.0.0.2"),
            "example.edu MX 0 .",
        ) as dns,
    ):
        everyone = ["a@example.net", "b@example.com", "c@EXAMPLE.net", "d@example.edu", "e@nx.test"]
        result = world(dns, port=server.port).send(CONTENT, Envelope("ann@example.org", everyone))
        assert [str(one.recipient) for one in result.outcomes] == [
            *("a@example.net", "b@example.com", "c@EXAMPLE.net", "d@example.edu", "e@nx.test")
        ]
        assert [one.failure for one in result.outcomes] == [
            *(None, None, None, Failure.NULL_MX, Failure.NO_SUCH_DOMAIN)
        ]
        assert [one.status for one in result.outcomes] == [
            *(Status.ACCEPTED, Status.ACCEPTED, Status.ACCEPTED, Status.REFUSED, Status.REFUSED)
        ]
        assert [len(server.messages), len(other.messages)] == [1, 1]
        assert not result.complete
        with pytest.raises(DeliveryFailed, match="null MX") as caught:
            result.raise_for_refused()
        assert caught.value.result is result


@pytest.mark.requirement("D3")
def test_a_null_mx_costs_one_wait(world):
    with zone("example.net MX 0 .") as dns, pytest.raises(DeliveryFailed) as caught:
        world(dns).send(CONTENT, BOB)
    assert caught.value.failure is Failure.NULL_MX
    assert str(outcomes_of(caught.value)[0].enhanced) == "5.1.10"
    assert not outcomes_of(caught.value)[0].retryable
    assert dict(dns.packets) == {("example.net", "MX"): 1, ("_mta-sts.example.net", "TXT"): 1}


@pytest.mark.requirement("D2")
def test_without_mx_records_the_domain_itself_is_the_host(world, server):
    with zone("example.net A 127.0.0.1") as dns:
        result = world(dns, port=server.port).send(CONTENT, BOB)
    assert result.outcomes[0].host == "example.net"


@pytest.mark.requirement("D4")
def test_a_domain_that_is_an_alias_has_the_hosts_of_what_it_leads_to(world, server):
    with zone(
        *("example.net CNAME example.com.", "example.com MX 1 mx.example.com."),
        "mx.example.com A 127.0.0.1",
    ) as dns:
        result = world(dns, port=server.port).send(CONTENT, BOB)
    assert result.outcomes[0].host == "mx.example.com"


@pytest.mark.requirement("D5")
def test_a_host_may_be_an_alias(world, server):
    with zone(
        *("example.net MX 1 mx.example.net.", "mx.example.net CNAME real.example.com."),
        "real.example.com A 127.0.0.1",
    ) as dns:
        result = world(dns, port=server.port).send(CONTENT, BOB)
    assert result.outcomes[0].host == "mx.example.net"


@pytest.mark.requirement("D9")
@pytest.mark.requirement("D13")
def test_the_next_host_takes_it_where_the_first_cannot_be_reached(world, server):
    with (
        Server(host="127.0.0.3", port=server.port) as last,
        zone(
            *("example.net MX 1 a.example.net.", "example.net MX 2 b.example.net."),
            "example.net MX 3 c.example.net.",
            *(f"a.example.net A 127.0.1.{place}" for place in range(1, 9)),
            *("b.example.net A 127.0.0.2", "c.example.net A 127.0.0.3"),
        ) as dns,
    ):
        result = world(dns, port=server.port).send(CONTENT, BOB)
        assert len(last.messages) == 1
    (outcome,) = result.outcomes
    assert outcome.host == "c.example.net"
    assert [one.host[0] for one in outcome.attempts] == ["a", "a", "a", "b", "c"]
    assert all(isinstance(one.error, smtpx.ConnectionLost) for one in outcome.attempts[:-1])


@pytest.mark.parametrize(
    ("command", "transient"), [("MAIL", True), ("RCPT", True), ("RCPT", False), ("MAIL", False)]
)
def test_who_is_refused_for_now_is_taken_to_the_next_host(world, command: str, transient: bool):
    fault = Refuse(command, "450 4.0.0 no" if transient else "550 5.0.0 no")
    with a_pair({"faults": [fault]}) as (server, other):
        with zone(*HOSTS) as dns:
            delivery = world(dns, port=server.port)
            if transient:
                result = delivery.send(CONTENT, BOB)
                assert result.outcomes[0].host == "b.example.net"
            else:
                with pytest.raises(smtpx.ReplyError):
                    delivery.send(CONTENT, BOB)
        assert len(other.messages) == transient


def test_who_is_taken_is_not_sent_to_again(world, server):
    refusals = {"eve@example.net": "450 4.2.0 greylisted"}
    both = Envelope("ann@example.org", ["bob@example.net", "eve@example.net"])
    with a_pair({"refuse_recipients": refusals}) as (first, second):
        with zone(*HOSTS) as dns:
            result = world(dns, port=first.port).send(CONTENT, both)
        assert [one.host for one in result.outcomes] == ["a.example.net", "b.example.net"]
        assert result.complete
        assert [list(map(str, one.recipients)) for one in second.messages] == [["eve@example.net"]]


def test_what_every_host_refuses_for_now_is_told_by_the_first_reply(world):
    options: dict[str, Any] = {"refuse_recipients": {"bob@example.net": "450 4.2.0 later"}}
    with a_pair(options, options) as (server, other):
        with zone(*HOSTS) as dns, pytest.raises(smtpx.RecipientsRefused) as caught:
            world(dns, port=server.port).send(CONTENT, BOB)
        assert (len(server.sessions), len(other.sessions)) == (1, 1)
    (outcome,) = outcomes_of(caught.value)
    assert outcome.retryable
    assert (str(outcome.enhanced), outcome.host) == ("4.2.0", "a.example.net")


def test_a_permanent_greeting_is_final_only_if_no_other_host_answers(world):
    with (
        one_port("127.0.0.1", "127.0.0.2") as port,
        Server(port=port, greeting="554 5.7.1 go away") as server,
        zone(*HOSTS) as dns,
    ):
        with pytest.raises(smtpx.SMTPError) as caught:
            world(dns, port=server.port).send(CONTENT, BOB)
        assert outcomes_of(caught.value)[0].status is Status.REFUSED
        assert not outcomes_of(caught.value)[0].retryable
        with Server(host="127.0.0.2", port=port) as other:
            result = world(dns, port=server.port).send(CONTENT, BOB)
            assert result.outcomes[0].host == "b.example.net"
            assert len(other.messages) == 1


@pytest.mark.parametrize("silent", ["a.example.net", "b.example.net"])
def test_a_permanent_greeting_is_not_final_while_another_host_is_not_known(world, silent: str):
    lost = [NameFault(Misanswer.SERVFAIL, silent, kind, times=None) for kind in ("A", "AAAA")]
    refusing = {"greeting": "554 5.7.1 go away"}
    with (
        NameServer("\n".join(HOSTS), faults=lost) as dns,
        a_pair(refusing, refusing) as (here, _),
        pytest.raises(DeliveryFailed) as caught,
    ):
        world(dns, port=here.port).send(CONTENT, BOB)
    (outcome,) = outcomes_of(caught.value)
    assert (outcome.failure, outcome.retryable) == (Failure.LOOKUP_FAILED, True)


@pytest.mark.requirement("D56")
@pytest.mark.parametrize("kind", ["refused", "broken", "cut", "of no use"])
def test_broken_tls_is_done_without_where_nobody_asked_for_it(world, kind: str):
    cases: dict[str, dict[str, Any]] = {
        "refused": {"faults": [Refuse("STARTTLS", "454 4.7.0 not now")]},
        "broken": {"server_context": outdated()},
        "cut": {"faults": [Close("STARTTLS")]},
        # By TLS 1.3 a server may find out late that it does not like the client.
        "of no use": {"faults": [Close("EHLO", nth=2)]},
    }
    with Server(tls=ServerTLS.STARTTLS, **cases[kind]) as server, zone(*HOSTS) as dns:
        result = world(dns, port=server.port).send(CONTENT, BOB)
        assert [one.terms.level for one in result.outcomes[0].attempts] == [
            *(Level.OPPORTUNISTIC, Level.NONE)
        ]
        assert result.outcomes[0].terms == Terms.NONE


@pytest.mark.parametrize("wrong", ["another's certificate", "no TLS", "broken TLS"])
def test_a_host_that_does_not_keep_its_terms_at_one_address_may_do_so_at_another(world, wrong: str):
    """Such as one of several machines whose certificate was not renewed."""
    cases: dict[str, dict[str, Any]] = {
        "another's certificate": {
            "tls": ServerTLS.STARTTLS,
            "certificate_names": ["other.example"],
        },
        "no TLS": {},
        "broken TLS": {"tls": ServerTLS.STARTTLS, "server_context": outdated()},
    }
    lines = ["example.net MX 1 a.example.net.", *(f"a.example.net A {one}" for one in AT_HAND[:2])]
    good = {"tls": ServerTLS.STARTTLS, "certificate_names": ["a.example.net"]}
    with a_pair(cases[wrong], good) as (first, second), zone(*lines) as dns:
        delivery = world(dns, port=first.port, minimum=Terms.VERIFIED, ca_file=second.ca_file)
        (outcome,) = delivery.send(CONTENT, BOB).outcomes
        assert [one.address for one in outcome.attempts] == ["127.0.0.1", "127.0.0.2"]
        assert (outcome.address, len(first.messages)) == ("127.0.0.2", 0)


@pytest.mark.requirement("D56")
@pytest.mark.parametrize("command", ["MAIL", "RCPT"])
def test_a_host_of_broken_tls_that_wants_tls_refuses_nothing_for_good(world, command: str):
    """It will be mended; what it says to plain text is no word on the message (RFC 3207 §4)."""
    wanting = Refuse(command, "530 5.7.0 Must issue a STARTTLS command first", times=None)
    with (
        one_port("127.0.0.1", "127.0.0.2") as port,
        Server(
            port=port, tls=ServerTLS.STARTTLS, server_context=outdated(), faults=[wanting]
        ) as server,
        zone(*HOSTS) as dns,
    ):
        with pytest.raises(DeliveryFailed) as caught:
            world(dns, port=port).send(CONTENT, BOB)
        (outcome,) = outcomes_of(caught.value)
        assert (outcome.failure, outcome.retryable) == (Failure.UNREACHABLE, True)
        assert "TLS says" in str(caught.value)
        tried = [one.terms.level for one in outcome.attempts if one.host == "a.example.net"]
        assert tried == [Level.OPPORTUNISTIC, Level.NONE]
        # And another host may have it.
        with Server(host="127.0.0.2", port=port):
            (outcome,) = world(dns, port=port).send(CONTENT, BOB).outcomes
        assert outcome.host == "b.example.net"
        assert not server.messages


def test_who_wants_tls_and_offers_none_refuses_for_good(world):
    wanting = Refuse("MAIL", "530 5.7.0 Must issue a STARTTLS command first", times=None)
    with Server(faults=[wanting]) as server, zone(*HOSTS) as dns:
        with pytest.raises(smtpx.ReplyError) as caught:
            world(dns, port=server.port).send(CONTENT, BOB)
        assert not outcomes_of(caught.value)[0].retryable


@pytest.mark.requirement("D56")
def test_where_it_was_asked_for_nothing_is_said_in_plain_text(world):
    fault = Refuse("STARTTLS", "454 4.7.0 not now")
    with Server(tls=ServerTLS.STARTTLS, faults=[fault]) as server, zone(*HOSTS) as dns:
        with pytest.raises(DeliveryFailed) as caught:
            world(dns, port=server.port, minimum=Terms.ENCRYPTED).send(CONTENT, BOB)
        assert caught.value.failure is Failure.TLS_POLICY
        assert outcomes_of(caught.value)[0].retryable
        assert not server.messages


def test_any_certificate_will_do_where_nobody_says_whose(world):
    with Server(tls=ServerTLS.STARTTLS, certificate_names=["other.example"]) as server:
        with zone(*HOSTS) as dns:
            result = world(dns, port=server.port).send(CONTENT, BOB)
        assert result.outcomes[0].terms == Terms.OPPORTUNISTIC
        assert server.messages[0].tls


def test_a_host_is_verified_where_that_is_the_minimum(world):
    with Server(tls=ServerTLS.STARTTLS, certificate_names=["a.example.net"]) as server:
        with zone(*HOSTS) as dns:
            delivery = world(dns, port=server.port, minimum=Terms.VERIFIED, ca_file=server.ca_file)
            assert delivery.send(CONTENT, BOB).complete
            other = world(dns, port=server.port, minimum=Terms.VERIFIED)
            with pytest.raises(DeliveryFailed) as caught:
                other.send(CONTENT, BOB)
        assert caught.value.failure is Failure.TLS_POLICY
        assert len(server.messages) == 1


def test_an_address_literal_is_dialled_without_a_question(world, server):
    with zone() as dns:
        result = world(dns, port=server.port).send(CONTENT, BOB.replace(recipients="b@[127.0.0.1]"))
        assert result.outcomes[0].address == "127.0.0.1"
        assert not dns.packets


@pytest.mark.requirement("D7")
def test_an_address_of_this_machine_is_not_dialled(world, server):
    with zone(*HOSTS) as dns, pytest.raises(DeliveryFailed, match=r"127\.0\.0\.1") as caught:
        world(dns, port=server.port, addresses=smtpx.delivery.AddressPolicy()).send(CONTENT, BOB)
    assert caught.value.failure is Failure.ADDRESS_REFUSED
    assert str(outcomes_of(caught.value)[0].enhanced) == "5.4.4"
    assert not server.sessions


@pytest.mark.requirement("D1")
@pytest.mark.parametrize("fault", [Misanswer.SERVFAIL, Misanswer.REFUSED, Misanswer.ALIAS_LOOP])
@pytest.mark.parametrize("question", [("example.net", "MX"), ("a.example.net", "A")])
def test_what_is_not_known_may_be_another_time(world, fault: Misanswer, question):
    lines = "example.net MX 1 a.example.net.\na.example.net A 127.0.0.1"
    with (
        NameServer(lines, faults=[NameFault(fault, *question)]) as dns,
        pytest.raises(DeliveryFailed) as caught,
    ):
        world(dns).send(CONTENT, BOB)
    assert caught.value.failure is Failure.LOOKUP_FAILED
    assert outcomes_of(caught.value)[0].retryable


@pytest.mark.requirement("D16")
@pytest.mark.requirement("D17")
@pytest.mark.requirement("D18")
@pytest.mark.requirement("D50")
@pytest.mark.parametrize(
    "fault",
    [
        NameFault(Misanswer.SERVFAIL, "example.net", "MX", times=1),
        NameFault(Misanswer.LATE, "example.net", "MX", seconds=1.5),
        NameFault(Misanswer.TRUNCATED, "example.net", "MX"),
        NameFault(Misanswer.GARBAGE_FIRST, "example.net", "MX"),
        NameFault(Misanswer.WRONG_ID_FIRST, "example.net", "MX"),
    ],
)
def test_what_is_answered_in_the_end_is_taken(world, server, fault: NameFault):
    lines = "\n".join(HOSTS)
    with NameServer(lines, faults=[fault]) as dns:
        assert world(dns, port=server.port).send(CONTENT, BOB).complete


def test_a_message_that_cannot_be_sent_is_sent_nowhere(world, server):
    with zone(*HOSTS) as dns:
        delivery = world(dns, port=server.port)
        with pytest.raises(smtpx.LocalProtocolError, match="envelope"):
            delivery.send(CONTENT)
        with pytest.raises(TypeError, match="message"):
            delivery.send(7, BOB)
        with pytest.raises(TypeError, match="envelope"):
            delivery.send(CONTENT, "bob@example.net")
    assert not server.sessions


def test_a_file_is_sent_to_each_domain(world, server, tmp_path):
    path = tmp_path / "message.eml"
    path.write_bytes(CONTENT)
    with zone(*HOSTS, "example.com MX 1 a.example.net.") as dns, path.open("rb") as file:
        both = Envelope("ann@example.org", ["bob@example.net", "eve@example.com"])
        assert world(dns, port=server.port).send(file, both).complete
    assert [one.content for one in server.messages] == [CONTENT, CONTENT]


def test_what_became_of_it_can_be_pickled_and_copied(world, server):
    with zone(*HOSTS) as dns:
        delivery = world(dns, port=server.port)
        result, plan = delivery.send(CONTENT, BOB), delivery.plan("nowhere.example.net")
    for twin in (pickle.loads(pickle.dumps(result)), copy.copy(result)):
        assert twin.outcomes == result.outcomes
        assert twin.outcomes[0].attempts == result.outcomes[0].attempts
    assert pickle.loads(pickle.dumps(plan)).failure.failure is Failure.NO_SUCH_DOMAIN


def test_a_message_in_doubt_is_taken_to_no_other_host(world):
    cut = TruncateReply("END-OF-DATA", keep=0)
    with a_pair({"faults": [cut]}) as (server, other):
        with zone(*HOSTS) as dns, pytest.raises(smtpx.ConnectionLost) as caught:
            world(dns, port=server.port).send(CONTENT, BOB)
        assert caught.value.in_doubt
        (outcome,) = outcomes_of(caught.value)
        assert (outcome.status, outcome.host) == (Status.IN_DOUBT, "a.example.net")
        assert not other.sessions


def test_an_extension_that_all_lack_is_told_for_good(world):
    envelope = Envelope("ann@example.org", "b\u00fccher@example.net")
    with (
        Server(extensions=frozenset()) as server,
        zone(*HOSTS[::2]) as dns,
        pytest.raises(DeliveryFailed, match="SMTPUTF8") as caught,
    ):
        world(dns, port=server.port).send(CONTENT, envelope)
    assert caught.value.failure is Failure.NO_EXTENSION
    assert not outcomes_of(caught.value)[0].retryable
