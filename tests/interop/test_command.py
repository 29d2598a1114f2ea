"""The command against a real server: Postfix, with Dovecot's logins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smtpx.cli import main
from tests.cli.command import LETTER, validator

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

    code, rows = doctor(capsys, f"smtps://localhost:{postfix.port}")
    assert (code, rows["tls.not_tls"][0]) == (77, "fail")

    code, rows = doctor(capsys, f"smtp://localhost:{postfix.port}?tls=starttls")
    assert code == 77
    assert "tls.unknown_authority" in rows

    monkeypatch.setenv("SMTPX_PASSWORD", "wrong-password")
    code, rows = doctor(capsys, "--login", url)
    assert (code, rows["auth.login"][0]) == (77, "fail")


def test_send_to_postfix(
    postfix: Postfix, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _ = (tmp_path / "letter.eml").write_bytes(LETTER)
    url = f"smtp://localhost:{postfix.port}?tls=starttls&ca={postfix.ca_file}"
    to = ["--to", "user@example.test"]
    assert main(["send", url, str(tmp_path / "letter.eml"), *to]) == 0
    assert "accepted: 250 2.0.0" in capsys.readouterr().out
