"""Servers that are slow, broken or malicious: a documented error, in time, never a false yes."""

from __future__ import annotations

import dataclasses
import tracemalloc
from enum import Enum

import pytest

import smtpx
from smtpx import Envelope, Timeouts, TLSMode, TLSPolicy
from smtpx.testing import (
    ALL_EXTENSIONS,
    AppendToReply,
    Close,
    CutContent,
    CutInput,
    CutOutput,
    Drip,
    Ending,
    Endless,
    Extension,
    Fault,
    ReplaceReply,
    Reset,
    Server,
    ServerTLS,
    Shutdown,
    Stall,
    TruncateReply,
)
from tests.faces.conftest import Face

ENVELOPE = Envelope("ann@example.org", "bob@example.net")
CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
# Long after every fault has struck, however busy the machine is.
PATIENT = Timeouts.each(10)
PHASES = {
    "TLS-HANDSHAKE": ["tls"],
    "EHLO": ["hello"],
    "RCPT": ["rcpt", "mail"],  # within a group it is waited for as its MAIL is
    "DATA": ["data_initiation"],
    "END-OF-DATA": ["data_termination"],
    "BDAT": ["data_termination"],
}

# Group and content apart, so that it shows to the octet from where on a message is in doubt.
BY_DATA = ALL_EXTENSIONS - {Extension.CHUNKING}
WITHOUT_PIPELINING = BY_DATA - {Extension.PIPELINING}

# A call that would hang is ended by this, long after every timeout that is given here.
pytestmark = pytest.mark.timeout(20)


class Fate(Enum):
    """What a caller is told."""

    ACCEPTED = "accepted"
    IN_DOUBT = "in doubt"
    NOT_SENT = "not sent"


def check_named(error: smtpx.SMTPError) -> None:
    assert error.server is not None
    assert str(error).count(f"with {error.server}") == 1


def fate_of(
    face: Face, server: Server, content: bytes = CONTENT, timeouts: Timeouts = PATIENT
) -> Fate:
    """Send one message; only documented errors may come."""
    tls = None
    if server.tls is not ServerTLS.NONE:
        tls = TLSPolicy(TLSMode(server.tls.value), ca_file=server.ca_file)
    try:
        with face.session(server.url, timeouts=timeouts, tls=tls) as session:
            result = session.send(content, ENVELOPE)
    except smtpx.SMTPError as error:
        check_named(error)
        return Fate.IN_DOUBT if error.in_doubt else Fate.NOT_SENT
    assert len(result.accepted) == 1
    return Fate.ACCEPTED


def check(server: Server, fate: Fate) -> None:
    """What the server took is never reported as not sent; what it did not, never as accepted."""
    taken = len(server.messages)
    assert taken <= 1
    if fate is Fate.ACCEPTED:
        assert taken == 1
    elif fate is Fate.NOT_SENT:
        assert taken == 0


def soon(point: str, seconds: float = 0.1) -> Timeouts:
    """Impatient at `point` alone: only what never comes is given up."""
    phases = PHASES.get(point, [point.lower()])
    return dataclasses.replace(PATIENT, **dict.fromkeys(phases, seconds))


POINTS = ["GREETING", "EHLO", "MAIL", "RCPT", "DATA", "END-OF-DATA", "QUIT"]


@pytest.mark.requirement("T33")
@pytest.mark.requirement("T40")
@pytest.mark.parametrize("tls", ServerTLS)
@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("fault", [Shutdown, Close, Reset, Stall])
def test_the_end_at_every_exchange(face: Face, tls, pipelining, point, fault):
    extensions = BY_DATA if pipelining else WITHOUT_PIPELINING
    with Server(tls=tls, extensions=extensions, faults=[fault(point)]) as server:
        fate = fate_of(face, server, timeouts=soon(point) if fault is Stall else PATIENT)
        check(server, fate)
        assert server.breaches == []
    if point == "QUIT":
        # After the 250, nothing that happens can undo it.
        assert fate is Fate.ACCEPTED
    elif point == "END-OF-DATA" and fault is not Shutdown:
        assert fate is Fate.IN_DOUBT
    else:
        assert fate is Fate.NOT_SENT


@pytest.mark.requirement("T33")
@pytest.mark.parametrize("fault", [Stall, Close, Reset])
def test_the_end_in_the_handshake(face: Face, fault):
    for tls in (ServerTLS.STARTTLS, ServerTLS.IMPLICIT):
        with Server(tls=tls, faults=[fault("TLS-HANDSHAKE")]) as server:
            timeouts = soon("TLS-HANDSHAKE") if fault is Stall else PATIENT
            assert fate_of(face, server, timeouts=timeouts) is Fate.NOT_SENT


@pytest.mark.requirement("T19")
@pytest.mark.parametrize("ending", Ending)
@pytest.mark.parametrize("extensions", [BY_DATA, ALL_EXTENSIONS], ids=["DATA", "BDAT"])
def test_the_output_cut_at_every_octet(face: Face, ending, extensions):
    """What an octet is to the protocol it is to all faces: each has its share of them."""
    with Server(extensions=extensions) as server:
        _ = fate_of(face, server)
        octets = server.sessions[0].bytes_out
    fates: list[Fate] = []
    for at in face.share_of(octets + 1):
        with Server(extensions=extensions, faults=[CutOutput(at, ending=ending)]) as server:
            fate = fate_of(face, server)
            check(server, fate)
            fates.append(fate)
    # First nothing was sent, then it is in doubt, then it is certain: never back and forth.
    assert fates == sorted(fates, key=[Fate.NOT_SENT, Fate.IN_DOUBT, Fate.ACCEPTED].index)
    assert set(fates) == set(Fate)


@pytest.mark.requirement("T39")
@pytest.mark.parametrize("extensions", [BY_DATA, ALL_EXTENSIONS], ids=["DATA", "BDAT"])
def test_the_input_cut_at_every_octet(face: Face, extensions):
    with Server(extensions=extensions) as server:
        _ = fate_of(face, server)
        octets = server.sessions[0].bytes_in
    for at in face.share_of(octets + 1):
        with Server(extensions=extensions, faults=[CutInput(at)]) as server:
            check(server, fate_of(face, server))


@pytest.mark.requirement("T39")
@pytest.mark.parametrize("keep", [0, 1, 3, 4, 8, 20])
@pytest.mark.parametrize("ending", Ending)
@pytest.mark.parametrize("extensions", [BY_DATA, ALL_EXTENSIONS], ids=["DATA", "BDAT"])
def test_a_truncated_final_reply_is_in_doubt(face: Face, keep, ending, extensions):
    fault = TruncateReply("END-OF-DATA", keep=keep, ending=ending)
    with Server(extensions=extensions, faults=[fault]) as server:
        assert fate_of(face, server) is Fate.IN_DOUBT
        assert len(server.messages) == 1


@pytest.mark.requirement("T30a")
@pytest.mark.parametrize("point", ["GREETING", "EHLO", "MAIL", "END-OF-DATA"])
@pytest.mark.parametrize("chunk", [b"2", b"250-x\r\n"])
def test_a_dripping_reply_does_not_extend_its_time(face: Face, point, chunk):
    # Each octet comes well within the timeout, the whole long after it.
    reply = chunk * (3500 // len(chunk))
    faults: list[Fault] = [ReplaceReply(point, reply), Drip(size=1, interval=0.005)]
    with Server(extensions=BY_DATA, faults=faults) as server:
        fate = fate_of(face, server, timeouts=soon(point, 0.2))
    assert fate is (Fate.IN_DOUBT if point == "END-OF-DATA" else Fate.NOT_SENT)


def test_a_reply_in_single_octets_is_a_reply(face: Face):
    with Server(faults=[Drip(size=1)]) as server:
        assert fate_of(face, server) is Fate.ACCEPTED


def test_the_total_deadline_ends_what_its_phases_would_allow(face: Face):
    with Server(faults=[Stall("EHLO")]) as server:
        with pytest.raises(smtpx.TimedOut) as caught:
            face.session(server.url, timeouts=Timeouts.each(60, total=0.2)).open()
        assert caught.value.phase == "hello"


@pytest.mark.requirement("T29")
@pytest.mark.parametrize("point", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA", "END-OF-DATA"])
@pytest.mark.parametrize("chunk", [b"250-x\r\n", b"x" * 65536, b"250-" + b"y" * 4096 + b"\r\n"])
def test_endless_replies_take_no_memory(face: Face, point, chunk):
    tracemalloc.start()
    try:
        with Server(faults=[Endless(point, chunk)]) as server:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            _ = fate_of(face, server, timeouts=PATIENT)
            assert tracemalloc.get_traced_memory()[1] - before < 8 * 2**20
    finally:
        tracemalloc.stop()


GARBAGE = [
    b"\r\n",
    b"hello\r\n",
    b"2500 ok\r\n",
    b"+25 ok\r\n",
    b"2_0 ok\r\n",
    b" 25 ok\r\n",
    "٢٥٠ ok\r\n".encode(),
    b"199 ok\r\n",
    b"600 ok\r\n",
    b"260 ok\r\n",
    b"250ok\r\n",
    b"250-ok\r\n550 no\r\n",
    b"550-no\r\n250 ok\r\n",
    b"\x16\x03\x01\x02\x00\x01\r\n",
    b"\0\0\0\0\r\n",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
]


@pytest.mark.requirement("T31")
@pytest.mark.parametrize("point", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA", "END-OF-DATA"])
@pytest.mark.parametrize("reply", GARBAGE)
def test_garbage_is_never_an_acceptance(face: Face, point, reply):
    with Server(extensions=BY_DATA, faults=[ReplaceReply(point, reply)]) as server:
        fate = fate_of(face, server)
    assert fate is (Fate.IN_DOUBT if point == "END-OF-DATA" else Fate.NOT_SENT)


@pytest.mark.requirement("T32")
@pytest.mark.parametrize("point", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("stray", [b"250 ok\r\n", b"354 go\r\n", b"550 no\r\n", b"250-", b"x\r\n"])
@pytest.mark.parametrize("pipelining", [True, False])
def test_replies_nobody_asked_for_never_shift_the_others(face: Face, point, stray, pipelining):
    extensions = BY_DATA if pipelining else WITHOUT_PIPELINING
    short = dataclasses.replace(PATIENT, mail=0.2, data_initiation=0.2)  # "250-" never ends
    with Server(extensions=extensions, faults=[AppendToReply(point, stray)]) as server:
        fate = fate_of(face, server, timeouts=short)
        check(server, fate)
        assert fate is not Fate.ACCEPTED


@pytest.mark.requirement("T18")
@pytest.mark.parametrize("tls", [ServerTLS.STARTTLS, ServerTLS.IMPLICIT])
@pytest.mark.parametrize("stray", [b"250 ok\r\n", b"250-", b"x\r\n"])
def test_what_was_said_before_us_under_tls_is_no_answer(face: Face, tls, stray):
    # It may be the answer to what an attacker said before, who then renegotiated for us.
    last = 2 if tls is ServerTLS.STARTTLS else 1
    with Server(
        tls=tls, extensions=BY_DATA, faults=[AppendToReply("EHLO", stray, nth=last)]
    ) as server:
        short = dataclasses.replace(PATIENT, mail=0.2)  # "250-" never ends
        assert fate_of(face, server, timeouts=short) is Fate.NOT_SENT
        assert server.messages == []


@pytest.mark.requirement("T32")
@pytest.mark.parametrize("extensions", [BY_DATA, WITHOUT_PIPELINING])
def test_a_stray_reply_after_a_message_puts_it_in_doubt(face: Face, extensions):
    """Which of the two answers the content, nobody knows: the other may be a refusal."""
    with (
        Server(
            extensions=extensions, faults=[AppendToReply("END-OF-DATA", b"250 again\r\n")]
        ) as server,
        face.session(server.url, timeouts=PATIENT) as session,
    ):
        with pytest.raises(smtpx.RemoteProtocolError, match="nobody asked") as caught:
            _ = session.send(CONTENT, ENVELOPE)
        assert caught.value.result is not None
        assert len(caught.value.result.in_doubt) == len(ENVELOPE.recipients)
        assert not session.is_open
        assert len(server.messages) == 1


class TestAllAtOnce:
    """MAIL, RCPT, BDAT and the content in one write: in doubt from there on."""

    @pytest.mark.requirement("T33")
    @pytest.mark.parametrize("point", ["MAIL", "RCPT", "BDAT"])
    @pytest.mark.parametrize("fault", [Shutdown, Close, Reset, Stall])
    def test_the_end_at_every_exchange(self, face: Face, point, fault):
        with Server(faults=[fault(point)]) as server:
            fate = fate_of(face, server, timeouts=soon(point) if fault is Stall else PATIENT)
            check(server, fate)
        assert fate is (Fate.NOT_SENT if fault is Shutdown else Fate.IN_DOUBT)

    @pytest.mark.requirement("T31")
    @pytest.mark.parametrize("point", ["MAIL", "RCPT", "BDAT"])
    @pytest.mark.parametrize("reply", GARBAGE)
    def test_garbage_is_never_an_acceptance(self, face: Face, point, reply):
        with Server(faults=[ReplaceReply(point, reply)]) as server:
            assert fate_of(face, server) is Fate.IN_DOUBT

    @pytest.mark.requirement("T32")
    @pytest.mark.parametrize("point", ["MAIL", "RCPT", "BDAT"])
    @pytest.mark.parametrize("stray", [b"250 ok\r\n", b"354 go\r\n", b"250-", b"x\r\n"])
    def test_a_reply_too_many_is_never_an_acceptance(self, face: Face, point, stray):
        short = dataclasses.replace(PATIENT, mail=0.2, data_termination=0.2)  # "250-" never ends
        with Server(faults=[AppendToReply(point, stray)]) as server:
            assert fate_of(face, server, timeouts=short) is Fate.IN_DOUBT

    @pytest.mark.requirement("T35")
    @pytest.mark.parametrize("ending", Ending)
    def test_a_refusal_that_was_heard_is_no_doubt(self, face: Face, ending):
        faults: list[Fault] = [
            ReplaceReply("MAIL", b"554 5.7.1 go away\r\n"),
            TruncateReply("RCPT", keep=0, ending=ending),
        ]
        with Server(faults=faults) as server, face.session(server.url, timeouts=PATIENT) as session:
            with pytest.raises(smtpx.SenderRefused, match="go away"):
                _ = session.send(CONTENT, ENVELOPE)
            assert not session.is_open

    @pytest.mark.requirement("T33")
    def test_a_421_behind_the_acceptance_may_be_the_reply_to_the_content(self, face: Face):
        """It is, if a reply too many came before: then the yes is that to RCPT."""
        with (
            Server(faults=[AppendToReply("BDAT", b"421 4.7.0 enough\r\n")]) as server,
            face.session(server.url, timeouts=PATIENT) as session,
        ):
            with pytest.raises(smtpx.RemoteProtocolError, match="421") as caught:
                _ = session.send(CONTENT, ENVELOPE)
            assert caught.value.result is not None
            assert len(caught.value.result.in_doubt) == 1
            assert not session.is_open


@pytest.mark.requirement("T12")
@pytest.mark.parametrize("injected", [b"250 evil\r\n", b"250-", b"\n", b"235 welcome\r\n"])
def test_injection_behind_starttls(face: Face, injected):
    faults = [AppendToReply("STARTTLS", injected)]
    with Server(tls=ServerTLS.STARTTLS, users={"ann": "s3cret"}, faults=faults) as server:
        tls = TLSPolicy(TLSMode.STARTTLS, ca_file=server.ca_file)
        with pytest.raises((smtpx.RemoteProtocolError, smtpx.TLSPolicyError)):
            face.session(
                f"smtp://ann:s3cret@127.0.0.1:{server.port}", tls=tls, timeouts=PATIENT
            ).open()
        assert all("AUTH" not in command for command in server.sessions[0].commands)


@pytest.mark.requirement("T15")
def test_what_was_offered_in_plain_text_is_forgotten(face: Face):
    faults = [
        ReplaceReply("EHLO", b"250-evil\r\n250-STARTTLS\r\n250-SIZE 1\r\n250 XEVIL\r\n", nth=1)
    ]
    with Server(tls=ServerTLS.STARTTLS, faults=faults) as server:
        tls = TLSPolicy(TLSMode.STARTTLS, ca_file=server.ca_file)
        with face.session(server.url, tls=tls) as session:
            assert "XEVIL" not in session.extensions
            assert session.extensions.size is None


def policy_of(server: Server) -> TLSPolicy:
    if server.url.startswith("smtps"):
        return TLSPolicy(TLSMode.IMPLICIT, ca_file=server.ca_file)
    return TLSPolicy(TLSMode.NONE)


@pytest.mark.requirement("T34")
@pytest.mark.parametrize("ending", Ending)
@pytest.mark.parametrize("tls", [ServerTLS.NONE, ServerTLS.IMPLICIT])
def test_an_early_refusal_is_the_reason_not_the_broken_pipe(face: Face, tls, ending):
    fault = CutContent(at=100_000, ending=ending, parting=b"552 5.3.4 too big\r\n")
    with (
        Server(tls=tls, faults=[fault]) as server,
        face.session(server.url, tls=policy_of(server), timeouts=Timeouts.each(5)) as session,
    ):
        with pytest.raises((smtpx.ContentRefused, smtpx.ConnectionLost)) as caught:
            _ = session.send(b"x" * 20_000_000, ENVELOPE)
        # A reset may destroy the reply on its way; an orderly end does not.
        if ending is Ending.CLOSE:
            assert isinstance(caught.value, smtpx.ContentRefused)
            assert "552 5.3.4 too big" in str(caught.value)
        assert caught.value.result is not None
        assert not caught.value.result.in_doubt


@pytest.mark.parametrize(("extensions", "point"), [(BY_DATA, "DATA"), (ALL_EXTENSIONS, "RCPT")])
def test_a_server_that_does_not_read(face: Face, extensions, point):
    faults = [Stall(point, reading=False)]
    with Server(extensions=extensions, faults=faults, buffer_size=4096) as server:
        timeouts = dataclasses.replace(PATIENT, rcpt=0.1, data_initiation=0.1)
        content = b"x" * 10_000_000
        assert fate_of(face, server, content, timeouts) is Fate.NOT_SENT


def test_a_large_group_against_small_buffers_does_not_lock(face: Face):
    names = [f"user{i:06}@example.test" for i in range(2000)]
    with (
        Server(buffer_size=2048) as server,
        face.session(server.url, timeouts=PATIENT) as session,
    ):
        result = session.send(CONTENT, Envelope("a@x.test", names))
        assert len(result.accepted) == 2000
        assert len(server.messages[0].recipients) == 2000


def test_interrupted_means_closed(face: Face):
    def content():
        yield b"half\r\n"
        raise KeyboardInterrupt

    with Server() as server, face.session(server.url) as session:
        with pytest.raises(KeyboardInterrupt):
            _ = session.send(content(), ENVELOPE)
        assert not session.is_open
        _ = server.wait_until_idle()
        assert server.messages == []
