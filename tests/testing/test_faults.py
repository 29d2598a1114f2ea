"""Every kind of fault, over real sockets."""

import socket
import ssl
import time

import pytest

from smtpx.testing import (
    AppendToReply,
    Close,
    CutContent,
    CutInput,
    CutOutput,
    Drip,
    Ending,
    Endless,
    Fault,
    Latency,
    Refuse,
    ReplaceReply,
    Reset,
    Server,
    ServerTLS,
    Shutdown,
    Stall,
    TruncateReply,
)

from .wire import ENVELOPE, Wire, opened

GROUP = ("\r\n".join([*ENVELOPE, "RCPT TO:<z@y.example>", "DATA"]) + "\r\n").encode()


def silent(wire):
    wire.socket.settimeout(0.02)
    try:
        wire.reply()
    except TimeoutError:
        return True
    return False


def test_refuse_nth():
    with (
        Server(faults=[Refuse("RCPT", "450 4.2.1 later", nth=2)]) as server,
        opened(server) as wire,
    ):
        assert wire.ask(*ENVELOPE, "RCPT TO:<z@y.example>", "RCPT TO:<w@y.example>") == [
            250,
            250,
            450,
            250,
        ]
        assert wire.ask("DATA", ".") == [354, 250]
        assert server.messages[0].recipients == ("x@y.example", "w@y.example")


def test_refuse_only_in_one_session():
    with Server(faults=[Refuse("EHLO", "502 5.5.1 no", session=2)]) as server:
        codes = []
        for _ in range(3):
            with Wire(server) as wire:
                wire.reply()
                codes += wire.ask("EHLO me")
    assert codes == [250, 502, 250]


@pytest.mark.parametrize(
    ("command", "dialogue", "codes"),
    [
        ("MAIL", [*ENVELOPE, "DATA"], [499, 503, 503]),
        ("DATA", [*ENVELOPE, "DATA", "RSET"], [250, 250, 499, 250]),
        ("END-OF-DATA", [*ENVELOPE, "DATA", ".", "RCPT TO:<a@b>"], [250, 250, 354, 499, 503]),
        ("BDAT", [*ENVELOPE, b"BDAT 1 LAST\r\nx", "MAIL FROM:<>"], [250, 250, 499, 250]),
        ("AUTH", ["AUTH PLAIN", "NOOP"], [499, 250]),
        ("AUTH-RESPONSE", ["AUTH PLAIN", "eA==", "NOOP"], [334, 499, 250]),
        ("QUIT", ["QUIT", "NOOP"], [499, 250]),
    ],
)
def test_refuse(command, dialogue, codes):
    with Server(users={"jo": "pw"}) as server, opened(server) as wire:
        server.add_fault(Refuse(command, "499 no", nth=1))
        assert wire.ask(*dialogue) == codes
        assert server.messages == []


def test_refuse_the_greeting():
    with Server(faults=[Refuse("GREETING", "554 5.3.2 go away")]) as server, Wire(server) as wire:
        assert wire.reply() == b"554 5.3.2 go away\r\n"
        assert wire.ask("EHLO me", "QUIT") == [503, 221]


def test_lmtp_refusal_is_said_for_each_recipient():
    with (
        Server(lmtp=True, faults=[Refuse("END-OF-DATA", "451 no")]) as server,
        Wire(server) as wire,
    ):
        wire.reply()
        wire.ask("LHLO me", *ENVELOPE, ENVELOPE[1], "DATA", ".")
        assert wire.code() == 451
        assert wire.ask("RSET") == [250]


@pytest.mark.parametrize("command", ["GREETING", "EHLO", "MAIL", "DATA", "END-OF-DATA", "QUIT"])
def test_shutdown(command):
    with Server(faults=[Shutdown(command)]) as server, Wire(server) as wire:
        codes = [wire.code()]
        for line in ("EHLO me", *ENVELOPE, "DATA", ".", "QUIT"):
            if codes[-1] == 421:
                break
            codes += wire.ask(line)
        assert codes[-1] == 421
        assert wire.rest() == b""
        assert not server.sessions[0].quit


@pytest.mark.parametrize("reading", [True, False])
def test_stall(reading):
    with Server(faults=[Stall("RCPT", reading=reading)]) as server, opened(server) as wire:
        wire.send(GROUP)
        assert wire.code() == 250
        assert silent(wire)
        assert server.sessions[0].commands[-1] == ENVELOPE[1]
        flood = b"x" * 30_000_000
        if reading:
            wire.socket.settimeout(20)
            wire.send(flood)
        else:
            with pytest.raises(TimeoutError):
                wire.send(flood)


def test_stall_at_the_greeting_ends_with_the_server():
    server = Server(faults=[Stall("GREETING")])
    with server:
        wire = Wire(server)
        assert silent(wire)
    wire.socket.settimeout(5)
    assert wire.rest() == b""
    wire.socket.close()


@pytest.mark.parametrize("tls", [ServerTLS.STARTTLS, ServerTLS.IMPLICIT])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Stall("TLS-HANDSHAKE"), TimeoutError),
        (Close("TLS-HANDSHAKE"), OSError),
        (Reset("TLS-HANDSHAKE"), ConnectionResetError),
        (ReplaceReply("TLS-HANDSHAKE", b"220 what?\r\n"), ssl.SSLError),
    ],
)
def test_handshake(tls, fault, error):
    with Server(tls=tls, faults=[fault]) as server:
        wire = opened(server) if tls is ServerTLS.STARTTLS else Wire(server)
        with wire:
            if tls is ServerTLS.STARTTLS:
                assert wire.ask("STARTTLS") == [220]
            wire.socket.settimeout(0.05 if isinstance(fault, Stall) else 10)
            with pytest.raises(error):
                wire.start_tls(server.client_context())


@pytest.mark.parametrize("fault", [Close, Reset])
def test_the_end_at_a_command(fault):
    with Server(faults=[fault("RCPT", nth=2)]) as server, opened(server) as wire:
        wire.send(GROUP)
        if fault is Close:
            assert wire.rest() == b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n"
        else:
            with pytest.raises(ConnectionResetError):
                wire.rest()
        server.wait_until_idle()
        assert server.messages == []


def test_close_at_the_end_of_data_loses_the_message():
    with Server(faults=[Close("END-OF-DATA")]) as server, opened(server) as wire:
        assert wire.ask(*ENVELOPE, "DATA") == [250, 250, 354]
        wire.send(".")
        assert wire.rest() == b""
        assert server.messages == []


@pytest.mark.parametrize("keep", [0, 8])
def test_truncated_reply_keeps_the_message(keep):
    with Server(faults=[TruncateReply("END-OF-DATA", keep)]) as server, opened(server) as wire:
        wire.ask(*ENVELOPE, "DATA")
        wire.send(".")
        assert wire.rest() == b"250 2.0.0 Ok"[:keep]
        assert len(server.messages) == 1


def test_truncated_reply_with_a_reset():
    fault = TruncateReply("END-OF-DATA", 0, ending=Ending.RESET)
    with Server(faults=[fault]) as server, opened(server) as wire:
        wire.ask(*ENVELOPE, "DATA")
        wire.send(".")
        with pytest.raises(ConnectionResetError):
            wire.rest()
        assert len(server.messages) == 1


def test_replace_reply():
    garbage = b"\xff\x00garbage\r\n"
    with Server(faults=[ReplaceReply("RCPT", garbage, nth=1)]) as server, opened(server) as wire:
        wire.ask(ENVELOPE[0])
        wire.send(ENVELOPE[1])
        assert wire.reply() == garbage
        assert wire.ask("DATA") == [354]


def test_replace_the_greeting():
    fault = ReplaceReply("GREETING", b"220-a\r\n250 b\r\n")
    with Server(faults=[fault]) as server, Wire(server) as wire:
        assert wire.reply() == b"220-a\r\n250 b\r\n"
        assert wire.ask("EHLO me") == [250]


def test_append_to_starttls_comes_in_the_same_segment():
    fault = AppendToReply("STARTTLS", b"250 injected\r\n")
    with Server(tls=ServerTLS.STARTTLS, faults=[fault]) as server, opened(server) as wire:
        wire.send("STARTTLS")
        assert wire.socket.recv(1000) == b"220 2.0.0 Ready to start TLS\r\n250 injected\r\n"
        wire.start_tls(server.client_context())
        assert wire.ask("EHLO me") == [250]


@pytest.mark.parametrize("tls", [ServerTLS.NONE, ServerTLS.IMPLICIT])
@pytest.mark.parametrize("chunk", [b"250-x\r\n", b"x" * 1000])
def test_endless(tls, chunk):
    fault = Endless("EHLO", chunk, limit=3_000_003)
    with Server(tls=tls, faults=[fault]) as server:
        context = server.client_context() if tls is ServerTLS.IMPLICIT else None
        with Wire(server, context=context) as wire:
            wire.reply()
            wire.send("EHLO me")
            said = wire.rest()
        assert len(said) == 3_000_003
        assert said.startswith(chunk * 2)


def test_endless_until_the_client_goes_away(caplog):
    with Server(faults=[Endless("EHLO")]) as server:
        with Wire(server) as wire:
            wire.reply()
            wire.send("EHLO me")
            wire.socket.recv(100)
        (session,) = server.wait_until_idle()
    assert session.bytes_out < 100_000_000
    assert caplog.messages == [], "nothing is written to a client that is gone"


def test_endless_ends_with_the_server():
    with Server(faults=[Endless("EHLO")]) as server:
        wire = Wire(server)
        wire.reply()
        wire.send("EHLO me")
        wire.socket.recv(100)
    wire.socket.close()


@pytest.mark.parametrize("at", [0, 1, 17, 40])
@pytest.mark.parametrize("ending", list(Ending))
def test_cut_output(at, ending):
    said = b""
    error = None
    with Server(faults=[CutOutput(at, ending=ending)]) as server:
        try:
            with Wire(server) as wire:
                wire.send("EHLO me")
                while data := wire.socket.recv(100):
                    said += data
        except ConnectionError as broken:
            error = broken
        assert server.wait_until_idle()[0].bytes_out == at
    assert len(said) <= at
    # The end of the stream may turn into a reset on its way, for it crosses with the EHLO.
    assert error is not None or (ending is Ending.CLOSE and len(said) == at)


def test_cut_output_under_tls():
    with Server(tls=ServerTLS.IMPLICIT, faults=[CutOutput(17)]) as server:
        context = server.client_context()
        with Wire(server, context=context) as wire:
            assert wire.rest() == b"220 mail.test ESM"


def test_cut_input():
    stream = b"EHLO me\r\n" + ENVELOPE[0].encode() + b"\r\n"
    at = len(stream) - 4
    with Server(faults=[CutInput(at, parting=b"421 enough\r\n")]) as server, Wire(server) as wire:
        wire.send(stream)
        said = wire.rest()
        assert said.endswith(b"421 enough\r\n")
        assert server.sessions[0].commands == ["EHLO me"]


@pytest.mark.parametrize("how", ["data", "bdat"])
@pytest.mark.parametrize("at", [0, 5, 9])
def test_cut_content(how, at):
    fault = CutContent(at, parting=b"552 5.3.4 too big\r\n")
    with Server(faults=[fault]) as server, opened(server) as wire:
        wire.ask(*ENVELOPE)
        if how == "data":
            wire.send("DATA")
            assert wire.code() == 354
            if at:
                wire.send(b"123456\r\n.\r\n")
        else:
            wire.send(b"BDAT 10 LAST\r\n123456789x")
        assert wire.rest() == b"552 5.3.4 too big\r\n"
        assert server.messages == []


def test_cut_content_spares_commands():
    with Server(faults=[CutContent(1000)]) as server, opened(server) as wire:
        assert wire.ask(*ENVELOPE, "DATA", "small\r\n.") == [250, 250, 354, 250]
        assert wire.ask(*["NOOP"] * 200)[-1] == 250
        wire.ask(*ENVELOPE, "DATA")
        wire.send(b"x" * 990)
        assert wire.rest() == b""


def test_cut_input_with_a_reset():
    with Server(faults=[CutInput(30, ending=Ending.RESET)]) as server, opened(server) as wire:
        wire.send("\r\n".join(ENVELOPE))
        with pytest.raises(ConnectionResetError):
            wire.rest()
        server.wait_until_idle()


@pytest.mark.parametrize("size", [1, 3])
def test_drip(size):
    with Server(tls=ServerTLS.STARTTLS, faults=[Drip(size)]) as server, opened(server) as wire:
        wire.send(GROUP)
        assert [wire.code() for _ in range(4)] == [250, 250, 250, 354]
        assert wire.ask(".", "STARTTLS") == [250, 220]
        wire.start_tls(server.client_context())
        assert wire.ask("EHLO me", "QUIT") == [250, 221]
        assert wire.rest() == b""
        assert server.breaches == []


def test_drip_with_an_interval():
    start = time.monotonic()
    with Server(faults=[Drip(20, interval=0.01)]) as server, Wire(server) as wire:
        wire.reply()
        assert time.monotonic() - start >= 0.009
        # It sends on without having waited for the whole reply.
        server.add_fault(Drip(20, interval=60))
        wire.send("EHLO me")
        assert len(wire.socket.recv(1000)) == 20
        wire.send("NOOP")
        wire.socket.shutdown(socket.SHUT_WR)
        _ = server.wait_until_idle()
        assert len(server.breaches) == 1


def test_latency():
    start = time.monotonic()
    with Server(faults=[Latency(0.02)]) as server, Wire(server) as wire:
        wire.reply()
        wire.ask("EHLO me", "NOOP")
        assert time.monotonic() - start >= 0.055
        assert server.breaches == []
        server.clear_faults()
        wire.ask("NOOP", "QUIT")
        assert wire.rest() == b""
        assert server.sessions[0].quit


def test_a_reset_over_a_unix_socket_is_an_end(tmp_path):
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("no unix sockets here")
    with Server(path=tmp_path / "s", faults=[Reset("EHLO")]) as server, Wire(server) as wire:
        wire.reply()
        wire.send("EHLO me")
        assert wire.rest() == b""


# What begins and what ends the content, whichever way it goes.

BEGIN = {"DATA": "DATA", "BDAT": b"BDAT 7\r\nhello\r\n"}
END = {"DATA": "hello\r\n.", "BDAT": "BDAT 0 LAST"}
WAYS = pytest.mark.parametrize("way", ["DATA", "BDAT"])


@WAYS
def test_a_refusal_at_the_end_of_the_content(way):
    fault = Refuse("END-OF-DATA", "451 4.3.0 later", nth=2)
    with Server(faults=[fault]) as server, opened(server) as wire:
        begun = 354 if way == "DATA" else 250
        assert wire.ask(*ENVELOPE, BEGIN[way], END[way]) == [250, 250, begun, 250]
        assert server.unstruck == [fault]
        assert wire.ask(*ENVELOPE, BEGIN[way], END[way]) == [250, 250, begun, 451]
        assert wire.ask(*ENVELOPE, BEGIN[way], END[way]) == [250, 250, begun, 250]
        assert server.unstruck == []
    assert len(server.messages) == 2


@WAYS
def test_a_refusal_where_the_content_begins(way):
    fault = Refuse("DATA", "451 4.3.0 later", nth=2)
    with Server(faults=[fault]) as server, opened(server) as wire:
        begun = 354 if way == "DATA" else 250
        assert wire.ask(*ENVELOPE, BEGIN[way], END[way]) == [250, 250, begun, 250]
        assert wire.ask(*ENVELOPE, BEGIN[way], "RSET") == [250, 250, 451, 250]
        assert wire.ask(*ENVELOPE, BEGIN[way], END[way]) == [250, 250, begun, 250]
    assert len(server.messages) == 2
    assert server.breaches == []
    assert server.unstruck == []


def test_one_session_counts_both_ways_together():
    fault = Refuse("END-OF-DATA", "451 4.3.0 later", nth=3)
    with Server(faults=[fault]) as server, opened(server) as wire:
        codes = []
        for way in ("DATA", "BDAT", "DATA", "BDAT"):
            codes += wire.ask(*ENVELOPE, BEGIN[way], END[way])[-1:]
        assert codes == [250, 250, 451, 250]


def test_a_single_chunk_begins_and_ends_the_content():
    chunk = b"BDAT 1 LAST\r\nx"
    with Server() as server, opened(server) as wire:
        server.add_fault(Refuse("DATA", "451 4.3.0 later", nth=1))
        server.add_fault(Refuse("END-OF-DATA", "452 4.3.1 full", nth=2))
        server.add_fault(Refuse("BDAT", "554 5.6.0 no", nth=3))
        assert [wire.ask(*ENVELOPE, chunk)[-1] for _ in range(4)] == [451, 452, 554, 250]
        assert server.unstruck == []


def test_what_ends_no_content_is_no_end_of_data():
    """As with DATA, which is then refused, so that there is no lone dot."""
    fault = Refuse("END-OF-DATA", "451 4.3.0 later")
    refused = {"x@y.example": "550 5.1.1 nobody"}
    with Server(faults=[fault], refuse_recipients=refused) as server, opened(server) as wire:
        assert wire.ask(*ENVELOPE, b"BDAT 1 LAST\r\nx") == [250, 550, 554]
        assert wire.ask("RSET", b"BDAT 1 LAST\r\nx") == [250, 503]
        assert wire.ask(ENVELOPE[0], "RCPT TO:<w@y.example>") == [250, 250]
        server.clear_faults()
        server.add_fault(Refuse("BDAT", "452 4.3.1 full", nth=3))
        assert wire.ask(b"BDAT 1\r\nx", b"BDAT 1 LAST\r\nx") == [452, 503]
        assert server.unstruck == [fault]


@WAYS
@pytest.mark.parametrize("point", ["DATA", "END-OF-DATA"])
@pytest.mark.parametrize(
    "kind", [Stall, Close, Reset, Shutdown, TruncateReply, ReplaceReply, AppendToReply, Endless]
)
def test_every_fault_strikes_both_ways(way, point, kind):
    given = {TruncateReply: (4,), ReplaceReply: (b"299 eh\r\n",), AppendToReply: (b"299 eh\r\n",)}
    fault = kind(point, *given.get(kind, ()))
    with Server(faults=[fault]) as server, opened(server) as wire:
        said = [*ENVELOPE, BEGIN[way]] if point == "END-OF-DATA" else list(ENVELOPE)
        for line in said:
            wire.send(line)
            assert wire.code() in (250, 354)
        wire.send(END[way] if point == "END-OF-DATA" else BEGIN[way])
        if kind is Stall:
            assert silent(wire)
        elif kind is Reset:
            with pytest.raises(ConnectionResetError):
                wire.reply()
        else:
            usual = b"354 " if (way, point) == ("DATA", "DATA") else b"250 "
            first = {Close: b"", Shutdown: b"421 ", ReplaceReply: b"299 ", Endless: b"250-"}
            if kind is Endless:
                assert wire.socket.recv(4) == b"250-"
            else:
                assert wire.reply()[:4] == first.get(kind, usual)
            if kind is AppendToReply:
                assert wire.reply() == b"299 eh\r\n"
        assert server.unstruck == []


@WAYS
def test_lmtp_refuses_each_recipient_either_way(way):
    fault = Refuse("END-OF-DATA", "451 no")
    with Server(lmtp=True, faults=[fault]) as server, Wire(server) as wire:
        wire.reply()
        wire.ask("LHLO me", *ENVELOPE, ENVELOPE[1], BEGIN[way], END[way])
        assert wire.code() == 451
        assert wire.ask("RSET") == [250]


# Faults that come to nothing are said to.


def test_what_never_struck():
    faults: list[Fault] = [
        Refuse("MAIL", "451 no", nth=2),
        Refuse("VRFY", "451 no"),
        Close("QUIT", session=2),
        CutInput(100_000),
        CutOutput(100_000),
        CutContent(100_000),
        Latency(0.001, session=2),
        Drip(session=2),
        Stall("TLS-HANDSHAKE"),
    ]
    with Server(faults=faults) as server, opened(server) as wire:
        assert wire.ask(*ENVELOPE, "DATA", ".", "QUIT")[-1] == 221
    assert server.unstruck == faults


def test_what_struck():
    with Server(faults=[Latency(0.001), Drip(100)]) as server, opened(server) as wire:
        assert server.unstruck == []
        server.add_fault(CutInput(20))
        wire.send("NOOP")
        assert wire.rest() == b""
        assert server.unstruck == []


@pytest.mark.parametrize(
    ("fault", "line"), [(CutOutput(1), "NOOP"), (CutContent(0), "BDAT 1 LAST\r\nx")]
)
def test_a_cut_strikes_when_it_cuts(fault, line):
    with Server() as server, opened(server) as wire:
        wire.ask(*ENVELOPE)
        server.add_fault(fault)
        assert server.unstruck == [fault]
        wire.send(line)
        assert wire.rest() == b""
        assert server.unstruck == []


def test_of_two_faults_one_wins_and_the_other_is_left():
    shadowed = Stall("NOOP")
    faults: list[Fault] = [Refuse("NOOP", "451 no"), shadowed, AppendToReply("NOOP", b"250 hm\r\n")]
    with Server(faults=faults) as server, opened(server) as wire:
        assert wire.ask("NOOP") == [451]
        assert wire.code() == 250
        assert server.unstruck == [shadowed]


def test_a_fault_that_was_cleared_never_struck_either():
    fault = Refuse("NOOP", "451 no")
    with Server(faults=[fault]) as server, opened(server) as wire:
        server.clear_faults()
        assert wire.ask("NOOP") == [250]
    assert server.unstruck == [fault]


@pytest.mark.parametrize("kind", [CutInput, CutContent])
def test_of_several_cuts_the_first_in_the_stream_is_made(kind):
    with Server() as server, opened(server) as wire:
        wire.ask(*ENVELOPE)
        far, near = kind(200, parting=b"552 far\r\n"), kind(150, parting=b"552 near\r\n")
        server.add_fault(far, near)
        wire.send(b"BDAT 999 LAST\r\n" + b"x" * 999)
        assert wire.rest() == b"552 near\r\n"
        assert server.unstruck == [far]


@pytest.mark.parametrize("command", ["mail", "ENDOFDATA", "DOT", "CONNECT", "TLS", "", "BDAT LAST"])
def test_an_unknown_command_is_refused_with_those_known(command):
    with pytest.raises(ValueError, match=r"known are GREETING, EHLO, .*END-OF-DATA, BDAT"):
        Close(command)


def test_a_private_verb_may_be_struck():
    fault = ReplaceReply("XFROB", b"250 frobbed\r\n")
    with Server(faults=[fault]) as server, opened(server) as wire:
        assert wire.ask("XFROB") == [250]
        assert server.unstruck == []


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (Refuse, ("RCPT", "250 2.1.5 Ok"), "begins with 4 or 5"),
        (Refuse, ("RCPT", "no such user"), "begins with 4 or 5"),
        (Refuse, ("RCPT", "550-no\n550 such user"), "without their code"),
        (Refuse, ("RCPT", "550 no\r\n250 Ok"), "without their code"),
        (Shutdown, ("RCPT", "221 bye"), "begins with 421"),
        (Refuse, ("TLS-HANDSHAKE", "454 no"), "Stall, Close, Reset or ReplaceReply"),
        (AppendToReply, ("TLS-HANDSHAKE", b"x"), "Stall, Close, Reset or ReplaceReply"),
        (Close, ("GREETING", 2), "comes once in a session"),
        (Close, ("MAIL", 0), "1 or more"),
        (AppendToReply, ("MAIL", b""), "empty"),
        (Endless, ("MAIL", b""), "empty"),
    ],
)
def test_a_fault_of_which_nothing_could_come_is_refused(kind, given, said):
    with pytest.raises(ValueError, match=said):
        kind(*given)
