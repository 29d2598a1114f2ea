"""A recorded dialogue is a server again."""

from __future__ import annotations

from pathlib import Path

import pytest

import smtpx
from smtpx import Envelope, TLSMode, TLSPolicy
from smtpx.testing import (
    USUAL_EXTENSIONS,
    Extension,
    Refuse,
    Replay,
    Server,
    ServerTLS,
    TranscriptMismatch,
    play,
)

CONTENT = b"Subject: hi\r\n\r\n.hello\r\n"
ENVELOPE = Envelope("ann@example.org", ["bob@example.net", "carol@example.net"])


def outcomes(result: smtpx.SendResult) -> list[tuple[str, str, str]]:
    return [
        (str(outcome.recipient), outcome.status.value, str(outcome.reply))
        for outcome in result.outcomes
    ]


@pytest.mark.parametrize("chunking", [True, False])
@pytest.mark.parametrize("pipelining", [True, False])
def test_what_was_recorded_happens_again(tmp_path: Path, chunking: bool, pipelining: bool) -> None:
    transcript = smtpx.Transcript()
    extensions = USUAL_EXTENSIONS
    extensions -= set() if chunking else {Extension.CHUNKING}
    extensions -= set() if pipelining else {Extension.PIPELINING}
    refused = {"carol@example.net": "550 5.1.1 not \\here, grüße"}
    with (
        Server(extensions=extensions, refuse_recipients=refused, users={"ann": "s3cr3t"}) as server,
        smtpx.Session(f"smtp://ann:s3cr3t@127.0.0.1:{server.port}", observer=transcript) as session,
    ):
        recorded = session.send(CONTENT, ENVELOPE)
    transcript.save(tmp_path / "dialogue.smtp")
    assert "s3cr3t" not in str(transcript)

    with Replay(tmp_path / "dialogue.smtp") as replay:
        url = replay.url.replace("//", "//ann:another@")
        longer = CONTENT + b"and more\r\n.\r\n..\r\n"  # sizes may differ, and dots are stuffed
        replayed = smtpx.send(longer, url, envelope=ENVELOPE, client_name="elsewhere.test")
    assert outcomes(replayed) == outcomes(recorded)
    assert replayed.queue_id == recorded.queue_id


@pytest.mark.parametrize("tls", [ServerTLS.STARTTLS, ServerTLS.IMPLICIT])
def test_tls_is_played_with_a_certificate_of_its_own(tls: ServerTLS) -> None:
    transcript = smtpx.Transcript()
    with Server(tls=tls) as server:
        policy = TLSPolicy(TLSMode(tls.value), ca_file=server.ca_file)
        _ = smtpx.send(CONTENT, server.url, envelope=ENVELOPE, tls=policy, observer=transcript)
    assert "--tls--\n" in str(transcript)
    with Replay(transcript) as replay:
        policy = TLSPolicy(TLSMode(tls.value), ca_file=replay.ca_file)
        result = smtpx.send(CONTENT, replay.url, envelope=ENVELOPE, tls=policy)
    assert len(result.accepted) == 2


def test_each_session_of_a_client_is_played_to_one_connection() -> None:
    transcript = smtpx.Transcript()
    refused = Refuse("MAIL", "421 4.3.2 enough", nth=2, session=1)
    with Server(faults=[refused]) as server, smtpx.Client(server.url, observer=transcript) as one:
        for _ in range(3):
            assert one.send(CONTENT, ENVELOPE).accepted
        assert server.unstruck == []
    assert len(transcript.sessions) == 2
    with Replay(transcript) as replay, smtpx.Client(replay.url) as again:
        for _ in range(3):
            assert again.send(CONTENT, ENVELOPE).accepted


def test_a_client_that_says_something_else_is_a_mismatch() -> None:
    transcript = smtpx.Transcript()
    with Server() as server:
        _ = smtpx.send(CONTENT, server.url, envelope=ENVELOPE, observer=transcript)
    other = Envelope("mallory@example.org", "bob@example.net")
    with (
        pytest.raises(TranscriptMismatch) as mismatch,
        Replay(transcript) as replay,
        pytest.raises(smtpx.ConnectionLost),
    ):
        _ = smtpx.send(CONTENT, replay.url, envelope=other)
    assert "- C: MAIL FROM:<ann@example.org> SIZE=" in str(mismatch.value)
    assert "+ C: MAIL FROM:<mallory@example.org> SIZE=" in str(mismatch.value)


def test_a_session_that_nobody_opened_is_a_mismatch() -> None:
    with pytest.raises(TranscriptMismatch, match="0 of 1"), Replay("S: 220 hi\n"):
        pass


def test_a_mismatch_is_a_note_on_what_the_test_raises() -> None:
    with pytest.raises(ZeroDivisionError) as caught, Replay("S: 220 hi\n"):
        _ = 1 / 0
    assert "0 of 1" in caught.value.__notes__[0]


def test_nothing_to_play_is_an_error() -> None:
    with pytest.raises(ValueError, match="no session"):
        _ = Replay("# nothing\n")


def test_what_the_server_did_at_the_end_is_played_too() -> None:
    script = """
        S: 220 mx
        C: EHLO me
        S: 250 mx
        C: NOOP
        S: 25
        S: <close>
    """.replace("S: 25\n", "S: 25\\\n")
    with (
        Replay(script) as replay,
        smtpx.Session(replay.url) as session,
        pytest.raises(smtpx.ConnectionLost, match="in the middle of a reply"),
    ):
        _ = session.noop()


def test_a_transcript_is_a_script_for_procedures_too() -> None:
    from smtpx._core.connection import Connection
    from smtpx._core.housekeeping import quit_session
    from smtpx._core.opening import open_session

    transcript = smtpx.Transcript()
    with Server() as server, smtpx.Session(server.url, observer=transcript, client_name="a.test"):
        pass

    connection = Connection()

    def whole():
        yield from open_session(connection, "a.test", TLSMode.NONE)
        return (yield from quit_session(connection))

    script = transcript.sessions[0].replace("S: <close>\n", "")
    reply = play(whole(), script).value
    assert reply is not None
    assert reply.code == 221


def test_a_client_too_many_is_turned_away_and_does_not_wait() -> None:
    transcript = smtpx.Transcript()
    with Server() as server:
        _ = smtpx.send(CONTENT, server.url, envelope=ENVELOPE, observer=transcript)
    with Replay(transcript) as replay:
        _ = smtpx.send(CONTENT, replay.url, envelope=ENVELOPE)
        with pytest.raises(smtpx.ConnectionLost):
            _ = smtpx.send(CONTENT, replay.url, envelope=ENVELOPE, timeout=5)
