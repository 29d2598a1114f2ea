"""Nothing lost, doubled, damaged or sent under the wrong envelope, whatever the server does.

For every face, one connection and ten, plain and under TLS, with and without PIPELINING and
CHUNKING: each message is told exactly once to be accepted, refused, in doubt or not tried, and
what the server kept is held against that by content and envelope.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpx import Limits, Status, Timeouts, TLSMode, TLSPolicy
from smtpx.testing import (
    ALL_EXTENSIONS,
    Close,
    CutInput,
    CutOutput,
    Ending,
    Extension,
    Fault,
    ReceivedMessage,
    Refuse,
    Reset,
    Server,
    ServerTLS,
    Shutdown,
    Stall,
    TruncateReply,
)
from tests.scale.account import Kept, Mail, account, digest, mails
from tests.scale.senders import FACES, Told, send_each, send_many
from tests.testing.wire import Wire

pytestmark = pytest.mark.timeout(120)

P, C, B = Extension.PIPELINING, Extension.CHUNKING, Extension.BINARYMIME
WAYS = {
    "PIPELINING and CHUNKING": ALL_EXTENSIONS,
    "PIPELINING": ALL_EXTENSIONS - {C, B},
    "CHUNKING": ALL_EXTENSIONS - {P},
    "neither": ALL_EXTENSIONS - {P, C, B},
}
PATIENT = Timeouts.each(20)
COUNT = 24


def kept_of(messages: Sequence[ReceivedMessage]) -> list[Kept]:
    return [Kept(digest(m.content), m.sender, m.recipients) for m in messages]


def sent_through(
    server: Server,
    send: Callable[..., Told],
    face: str,
    sent: Sequence[Mail],
    copies: int = 1,
    **options: Any,
) -> Counter[Status]:
    """Send all, and account for each."""
    tls = None
    if server.tls is not ServerTLS.NONE:
        tls = TLSPolicy(TLSMode(server.tls.value), ca_file=server.ca_file)
    told = send(face, server.url, sent, **{"tls": tls, "timeouts": PATIENT, **options})
    _ = server.wait_until_idle(20)
    tally = account(sent, told, kept_of(server.messages), copies=copies)
    assert server.breaches == []
    return tally


def test_the_hazard_is_there():
    """A wholly refused message leaves the server's transaction open, as with Postfix."""
    with Server(refuse_recipients={"r@y.test": "550 5.1.1 no"}) as server, Wire(server) as wire:
        assert wire.code() == 220
        codes = wire.ask("EHLO me.test", "MAIL FROM:<a@x.test>", "RCPT TO:<r@y.test>")
        assert codes == [250, 250, 550]
        assert wire.ask("MAIL FROM:<b@x.test>", "RCPT TO:<s@y.test>", "DATA", ".") == [
            *(503, 250, 354, 250)
        ]
        assert server.messages[0].sender == "a@x.test"


# One thing at a time.

COMMANDS = ["MAIL", "RCPT", "DATA", "BDAT", "END-OF-DATA", "RSET"]


def one_in(n: int, reply: str) -> Callable[[str], str | None]:
    return lambda address: reply if int(address[1:].split("@")[0].split("-")[0]) % n == 1 else None


def refused_content(message: ReceivedMessage) -> str | None:
    return one_in(3, "554 5.6.0 not this")(message.sender)


TROUBLES: dict[str, dict[str, Any]] = {
    "none": {},
    "MAIL refused": {"refuse_senders": one_in(3, "550 5.7.1 not you")},
    "MAIL refused for now": {"refuse_senders": one_in(3, "451 4.3.0 later")},
    "every RCPT refused": {"refuse_recipients": one_in(3, "550 5.1.1 nobody")},
    "some RCPT refused": {
        "refuse_recipients": lambda r: "450 4.2.1 later" if r[1:].startswith(("1", "2-1")) else None
    },
    "content refused": {"refuse_content": refused_content},
    "dropped before": {"faults": [Close(command, nth=5) for command in COMMANDS]},
    "reset": {"faults": [Reset(command, nth=7) for command in COMMANDS]},
    "dropped after": {
        "faults": [TruncateReply(c, keep=0, nth=6, session=1) for c in COMMANDS if c != "DATA"]
    },
    "cut off": {"faults": [CutInput(3000), CutOutput(1500, ending=Ending.RESET)]},
    "silent": {"faults": [Stall(command, nth=9, session=1) for command in COMMANDS]},
    "421 at the greeting": {"faults": [Shutdown("GREETING", session=1)]},
    "421 at EHLO": {"faults": [Shutdown("EHLO", session=2)]},
    **{f"421 at {c}": {"faults": [Shutdown(c, nth=4)]} for c in COMMANDS},
}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("trouble", TROUBLES)
def test_one_trouble(face: str, way: str, trouble: str):
    timeouts = Timeouts.each(0.3) if trouble == "silent" else PATIENT
    with Server(extensions=WAYS[way], **TROUBLES[trouble]) as server:
        tally = sent_through(
            server, send_many, face, mails(COUNT), connections=3, window=5, timeouts=timeouts
        )
    if trouble == "none":
        assert tally == {Status.ACCEPTED: 2 * COUNT}
    if "refused" in trouble:
        assert set(tally) == {Status.ACCEPTED, Status.REFUSED}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("trouble", TROUBLES)
def test_one_trouble_for_callers_who_share_a_client(face: str, way: str, trouble: str):
    timeouts = Timeouts.each(0.3) if trouble == "silent" else PATIENT
    with Server(extensions=WAYS[way], **TROUBLES[trouble]) as server:
        tally = sent_through(
            server, send_each, face, mails(COUNT), connections=3, callers=6, timeouts=timeouts
        )
    if trouble == "none":
        assert tally == {Status.ACCEPTED: 2 * COUNT}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", [CutInput, CutOutput])
def test_a_connection_in_use_again_is_cut_off_anywhere(face: str, way: str, fault: Any):
    """Found closed, it is given up for another one; only if nothing can have been accepted."""
    sent = mails(2)
    how: dict[str, Any] = {"connections": 1, "callers": 1}
    with Server(extensions=WAYS[way]) as server:
        assert sent_through(server, send_each, face, sent[:1], **how) == {Status.ACCEPTED: 2}
        (first,) = server.sessions
    with Server(extensions=WAYS[way]) as server:
        assert sent_through(server, send_each, face, sent, **how) == {Status.ACCEPTED: 4}
        (both,) = server.sessions
    kind = "bytes_in" if fault is CutInput else "bytes_out"
    start, end = getattr(first, kind), getattr(both, kind)
    for at in range(start - 40, end, max(6, (end - start) // 20)):
        with Server(extensions=WAYS[way], faults=[fault(at, session=1)]) as server:
            _ = sent_through(server, send_each, face, sent, **how)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_in_doubt_is_sent_again(way: str):
    """Only where the caller says so; then a message may be there twice, and never is missing."""
    faults = [TruncateReply(c, keep=0, nth=4, session=s) for s in (1, 2) for c in COMMANDS[3:5]]
    with Server(extensions=WAYS[way], faults=faults) as server:
        tally = sent_through(
            server,
            send_many,
            "sync",
            mails(COUNT),
            copies=3,
            connections=1,
            window=6,
            on_doubt="resend",
        )
    assert tally == {Status.ACCEPTED: 2 * COUNT}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_sent_again_in_vain_is_still_in_doubt(way: str):
    faults = [TruncateReply(command, keep=0) for command in ("BDAT", "END-OF-DATA")]
    with Server(extensions=WAYS[way], faults=faults) as server:
        tally = sent_through(
            server,
            send_many,
            "sync",
            mails(2),
            copies=9,
            connections=1,
            window=1,
            on_doubt="resend",
        )
    assert tally[Status.IN_DOUBT] == len({r for m in server.messages for r in m.recipients}) > 0


@pytest.mark.parametrize("way", WAYS)
def test_what_is_sent_again_and_refused_is_still_in_doubt(way: str):
    faults: list[Fault] = []
    for command in ("BDAT", "END-OF-DATA"):
        faults += [TruncateReply(command, keep=0, nth=1, session=1)]
        faults += [Refuse(command, "554 5.6.0 a duplicate", nth=1, session=2)]
    with Server(extensions=WAYS[way], faults=faults) as server:
        tally = sent_through(
            server, send_many, "sync", mails(1), connections=1, window=1, on_doubt="resend"
        )
    assert tally == {Status.IN_DOUBT: 2}


@pytest.mark.parametrize("command", ["MAIL", "RCPT"])
def test_a_421_after_which_the_server_goes_on(command: str):
    faults = [Refuse(command, "421 4.7.0 go away", nth=4)]
    with Server(extensions=ALL_EXTENSIONS, faults=faults) as server:
        _ = sent_through(server, send_many, "sync", mails(COUNT), connections=1)


# Everything at once.

NUMBERS = st.integers(0, COUNT - 1)
FAULTS = st.one_of(
    st.builds(
        lambda kind, command, nth, session: kind(
            command, nth=1 if command == "GREETING" else nth, session=session
        ),
        st.sampled_from([Close, Reset, Shutdown]),
        st.sampled_from([*COMMANDS, "GREETING", "EHLO"]),
        st.integers(1, 8),
        st.none() | st.integers(1, 4),
    ),
    st.builds(
        lambda command, keep, nth, session: TruncateReply(command, keep, nth=nth, session=session),
        st.sampled_from(["MAIL", "RCPT", "BDAT", "END-OF-DATA", "RSET"]),
        st.integers(0, 12),
        st.integers(1, 8),
        st.none() | st.integers(1, 4),
    ),
    st.builds(
        lambda command, code, nth: Refuse(command, f"{code} 4.3.0 not now", nth=nth),
        st.sampled_from(["MAIL", "RCPT", "DATA", "BDAT", "END-OF-DATA"]),
        st.sampled_from([451, 554]),
        st.integers(1, 8),
    ),
    st.builds(CutInput, st.integers(0, 6000), st.integers(1, 4), st.sampled_from(Ending)),
    st.builds(CutOutput, st.integers(0, 3000), st.integers(1, 4), st.sampled_from(Ending)),
)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("tls", "connections"),
    [(ServerTLS.NONE, 1), (ServerTLS.NONE, 10), (ServerTLS.IMPLICIT, 10)],
)
@pytest.mark.parametrize("send", [send_many, send_each])
@settings(max_examples=3, derandomize=True, database=None)
@given(
    senders=st.sets(NUMBERS, max_size=8),
    recipients=st.sets(st.tuples(NUMBERS, st.integers(0, 1)), max_size=16),
    whole=st.sets(NUMBERS, max_size=4),
    contents=st.sets(NUMBERS, max_size=6),
    faults=st.lists(FAULTS, max_size=4),
    window=st.integers(1, 12),
    octets=st.sampled_from([64, 300, 4096]),
)
def test_all_troubles(
    face: str,
    way: str,
    tls: ServerTLS,
    connections: int,
    send: Callable[..., Told],
    senders: set[int],
    recipients: set[tuple[int, int]],
    whole: set[int],
    contents: set[int],
    faults: list[Fault],
    window: int,
    octets: int,
):
    refused = recipients | {(number, i) for number in whole for i in (0, 1)}
    unwanted = {f"s{number}@x.test" for number in contents}
    how: dict[str, Any] = {"window": window} if send is send_many else {"callers": connections + 1}
    with Server(
        tls=tls,
        extensions=WAYS[way],
        faults=faults,
        refuse_senders={f"s{number}@x.test": "550 5.7.1 not you" for number in senders},
        refuse_recipients={f"r{number}-{i}@y.test": "450 4.2.1 later" for number, i in refused},
        refuse_content=lambda message: "554 5.6.0 no" if message.sender in unwanted else None,
    ) as server:
        tally = sent_through(
            server,
            send,
            face,
            mails(COUNT),
            connections=connections,
            limits=Limits(window=octets),
            **how,
        )
    assert tally.total() == 2 * COUNT
    if not faults:
        assert set(tally) <= {Status.ACCEPTED, Status.REFUSED}
