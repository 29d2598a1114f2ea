"""The command against a real server: Postfix, with Dovecot's logins."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

import smtpx
from smtpx.cli import main
from tests.cli.command import LETTER, validator

from .lmtp import DovecotLMTP
from .postfix import Postfix

# In one process, which starts one Postfix for all.
pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("postfix")]


def doctor(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, list[str]]]:
    code = main(["doctor", "--json", *words])
    document = json.loads(capsys.readouterr().out)
    validator().validate(document)
    (target,) = document["targets"]
    return code, {row["name"]: [row["verdict"], row["text"]] for row in target["rows"]}


def test_the_doctor_and_postfix(
    postfix: Postfix, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTPX_PASSWORD", "secret")
    url = f"smtp://user@localhost:{postfix.port}?tls=starttls&ca={postfix.ca_file}"
    code, rows = doctor(
        capsys, "--login", url, "--rcpt", "user@example.test", "--expect", "starttls"
    )
    assert code == 0, rows
    assert "Postfix" in rows["greeting"][1]
    assert rows["auth.login"][0] == "ok"
    assert rows["rcpt"][0] == "ok"
    assert rows["tls.certificate"][0] == "ok"
    assert rows["starttls.injection"][0] == "ok"

    terms = "pipelining, chunking, size>=100M, auth:PLAIN, tls>=1.2"
    assert doctor(capsys, url, "--expect", terms)[0] == 0
    assert doctor(capsys, url, "--expect", "size>=1G")[0] == 1
    # Its certificate is a test's, and short of days.
    assert doctor(capsys, url, "--fail-on", "warn", "--days", "100000")[0] == 1

    code, rows = doctor(capsys, f"smtps://localhost:{postfix.port}")
    assert (code, rows["tls.not_tls"][0]) == (77, "fail")

    code, rows = doctor(capsys, f"smtp://localhost:{postfix.port}?tls=starttls")
    assert code == 77
    assert "tls.unknown_authority" in rows

    monkeypatch.setenv("SMTPX_PASSWORD", "wrong-password")
    code, rows = doctor(capsys, "--login", url)
    assert (code, rows["auth.login"][0]) == (77, "fail")


def turns(url: str, to: str) -> int:
    """How often a client waits for the server while it sends one message."""
    speakers: list[smtpx.Speaker] = []

    def hear(event: smtpx.Event) -> None:
        if isinstance(event, smtpx.Line):
            speakers.append(event.speaker)

    with smtpx.Session(url, observer=hear) as session:
        speakers.clear()
        assert session.send(LETTER, smtpx.Envelope("ann@example.test", to)).complete
        pairs = pairwise([*speakers, smtpx.Speaker.CLIENT])
        return sum(pair == (smtpx.Speaker.SERVER, smtpx.Speaker.CLIENT) for pair in pairs)


def test_what_a_message_costs_there(postfix: Postfix, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"smtp://localhost:{postfix.port}?tls=starttls&ca={postfix.ca_file}"
    assert main(["doctor", "--json", url]) == 0
    (target,) = json.loads(capsys.readouterr().out)["targets"]
    assert target["round_trips"] == turns(url, "user@example.test") == 1


def test_what_a_message_costs_at_dovecots_lmtp(capsys: pytest.CaptureFixture[str]) -> None:
    reason = DovecotLMTP.missing()
    if reason is not None:
        pytest.skip(reason)
    with DovecotLMTP() as lmtp:
        url = f"lmtp://127.0.0.1:{lmtp.port}"
        assert main(["doctor", "--json", url]) == 0
        (target,) = json.loads(capsys.readouterr().out)["targets"]
        assert target["round_trips"] == turns(url, "bob@example.test")


def test_send_to_postfix(
    postfix: Postfix, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _ = (tmp_path / "letter.eml").write_bytes(LETTER)
    url = f"smtp://localhost:{postfix.port}?tls=starttls&ca={postfix.ca_file}"
    to = ["--to", "user@example.test"]
    assert main(["send", url, str(tmp_path / "letter.eml"), *to]) == 0
    assert "accepted: 250 2.0.0" in capsys.readouterr().out
