"""Each exit code, provoked from a real server through a subprocess (U2)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from smtpx.testing import (
    Close,
    Extension,
    Latency,
    Refuse,
    ReplaceReply,
    Server,
    ServerTLS,
    Stall,
    TruncateReply,
)

from .command import LETTER, Done, environment, smtpx
from .conftest import Run

GONE, BUSY = "550 5.1.1 No such user here", "451 4.2.1 Try again later"


CASES: list[tuple[str, int, dict[str, Any]]] = [
    ("accepted", 0, {}),
    ("partly", 3, {"refuse_recipients": {"carol@example.net": GONE}}),
    ("in doubt", 4, {"faults": [TruncateReply("END-OF-DATA", keep=0)]}),
    ("the content", 65, {"refuse_content": "554 5.6.0 We do not like it"}),
    ("every recipient", 67, {"refuse_recipients": lambda _: GONE}),
    ("the sender", 69, {"refuse_senders": {"ann@example.org": "550 5.7.1 Not you"}}),
    ("its size", 65, {"size_limit": 10}),
    ("lost before the end", 74, {"faults": [Close("EHLO")]}),
    ("every recipient, for now", 75, {"refuse_recipients": lambda _: BUSY}),
    ("no protocol", 76, {"faults": [ReplaceReply("EHLO", b"hello to you, too\r\n")]}),
]


@pytest.mark.parametrize(("name", "code", "behaviour"), CASES, ids=[case[0] for case in CASES])
def test_u2_one_message(name: str, code: int, behaviour: dict[str, Any], home: Path) -> None:
    with Server(**behaviour) as server:
        done = smtpx(
            *("send", "--json", server.url, "letter.eml"),
            *("--to", "bob@example.net", "--to", "carol@example.net"),
            home=home,
        )
        assert server.breaches == []
    assert done.code == code, done.err
    assert done.json["command"] == "send"
    assert (done.err == "") is (code == 0)  # U4: the reason is always told
    assert "Traceback" not in done.err


def test_u2_1_errors_were_found(home: Path) -> None:
    _ = (home / "letter.eml").write_bytes(LETTER + b"\x00\n")
    assert smtpx("check", "letter.eml", home=home).code == 1


def test_u2_2_usage(home: Path) -> None:
    done = smtpx("send", "smtp://localhost", "letter.eml", "--colour", home=home)
    assert done.code == 2
    assert "--colour" in done.err


def test_u2_68_no_such_host(home: Path) -> None:
    # A name that no resolver is asked about: its label is longer than names can be.
    done = smtpx("send", f"smtp://{'x' * 60}.invalid", "letter.eml", home=home)
    assert done.code in (68, 75)  # 75 where the machine has no resolver at all: EAI_AGAIN


def test_u2_74_nobody_listens(home: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"smtp://127.0.0.1:{bound.getsockname()[1]}"
        assert smtpx("send", url, "letter.eml", home=home).code == 74


def test_u2_77_the_login(home: Path) -> None:
    with Server(users={"ann": "right-password"}) as server:
        url = server.url.replace("//", "//ann@")
        done = smtpx("send", url, "letter.eml", home=home, SMTPX_PASSWORD="wrong-password")
    assert done.code == 77
    assert "535" in done.err
    assert "wrong-password" not in done.err


def test_u2_77_the_certificate(home: Path) -> None:
    with Server(tls=ServerTLS.STARTTLS) as server:
        done = smtpx("send", f"{server.url}?tls=starttls", "letter.eml", home=home)
    assert done.code == 77


def test_u2_78_configuration(home: Path) -> None:
    _ = (home / "smtpx.toml").write_text("[default\n")
    assert smtpx("send", "letter.eml", home=home).code == 78


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGINT for one process")
def test_u2_130_ctrl_c(home: Path) -> None:
    with Server(faults=[Stall("EHLO")]) as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "smtpx", "send", server.url, "letter.eml"],
            cwd=home,
            env=environment(home),
            stderr=subprocess.PIPE,
        )
        waited = threading.Event()
        for _ in range(300):
            if any("EHLO" in line for each in server.sessions for line in each.commands):
                break
            _ = waited.wait(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.decode().startswith("smtpx: interrupted")
    assert "Traceback" not in said.decode()


@pytest.mark.skipif(os.name != "posix", reason="Windows has no signal for one process")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_an_interrupted_message_is_told_of(name: str, home: Path) -> None:
    with Server(faults=[Stall("END-OF-DATA")]) as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "smtpx", "send", "--json", server.url, "letter.eml"],
            cwd=home,
            env=environment(home),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        waited = threading.Event()
        for _ in range(300):
            if any("BDAT" in line for each in server.sessions for line in each.commands):
                break
            _ = waited.wait(0.1)
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=60)
    done = Done(process.returncode, out.decode(), err.decode())
    assert done.code == 130
    assert [each["status"] for each in done.json["outcomes"]] == ["in doubt"]
    assert done.json["error"]["kind"] == "Interrupted"
    assert "do not send it again blindly" in done.err


STALLED = (
    ("send", "letter.eml"),
    ("doctor",),
    ("check", "--for"),
    ("bench", "--from", "ann@x.test", "--to", "bob@x.test"),
)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no signal for one process")
@pytest.mark.parametrize("words", STALLED, ids=[words[0] for words in STALLED])
def test_a_terminal_that_is_gone_is_told_as_ctrl_c_is(words: tuple[str, ...], home: Path) -> None:
    with Server(faults=[Stall("EHLO")]) as server:
        rest = ["letter.eml"] if words[0] == "check" else []
        process = subprocess.Popen(
            [sys.executable, "-m", "smtpx", *words, server.url, *rest],
            cwd=home,
            env=environment(home),
            stderr=subprocess.PIPE,
        )
        while not any("EHLO" in line for each in server.sessions for line in each.commands):
            assert process.poll() is None
            _ = threading.Event().wait(0.05)
        process.send_signal(signal.SIGHUP)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (130, b"smtpx: interrupted\n")


@pytest.mark.skipif(os.name != "posix", reason="Windows has no signal for one process")
def test_a_terminal_may_go_where_that_is_ignored(home: Path) -> None:
    """As nohup has it."""
    with Server(faults=[Latency(1.0)]) as server:
        process = subprocess.Popen(
            ["nohup", sys.executable, "-m", "smtpx", "send", server.url, "letter.eml"],
            cwd=home,
            env=environment(home),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        while not any("EHLO" in line for each in server.sessions for line in each.commands):
            assert process.poll() is None
            _ = threading.Event().wait(0.05)
        process.send_signal(signal.SIGHUP)
        _, said = process.communicate(timeout=20)
        assert (process.returncode, len(server.messages)) == (0, 1), said


BY_DEBUG: dict[str, tuple[int, dict[str, Any]]] = {
    "in doubt": (4, {"faults": [TruncateReply("END-OF-DATA", keep=0)]}),
    "refused": (69, {"refuse_senders": {"ann@example.org": "550 5.7.1 Not you"}}),
    "lost": (74, {"faults": [Close("EHLO")]}),
    "no login": (77, {"users": {"ann": "x"}, "faults": [Refuse("AUTH", "535 5.7.8 No")]}),
}


@pytest.mark.parametrize(("code", "behaviour"), BY_DEBUG.values(), ids=BY_DEBUG)
def test_debug_changes_no_code(code: int, behaviour: dict[str, Any], home: Path) -> None:
    with Server(**behaviour) as server:
        url = server.url.replace("//", "//ann@") if "users" in behaviour else server.url
        words = ("send", "--json", url, "letter.eml")
        plain = smtpx(*words, home=home, SMTPX_PASSWORD="hunter2")
        server.clear_faults()
        server.add_fault(*behaviour.get("faults", ()))
        debug = smtpx(*words, "--debug", home=home, SMTPX_PASSWORD="hunter2")
    assert plain.code == debug.code == code
    assert plain.json["error"]["kind"] == debug.json["error"]["kind"]
    assert debug.err.endswith(plain.err.splitlines()[-1] + "\n")
    assert "hunter2" not in debug.err


def test_debug_shows_where_a_mistake_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> int:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("smtpx.cli.send.run", fails)
    done = run("send", "--debug", "letter.eml")
    assert done.code == 70
    assert "ZeroDivisionError: oh" in done.err
    assert "Traceback" in done.err


INTERRUPTED = """
import sys
from smtpx.cli import main

class Interrupting:
    def find_spec(self, name, *_):
        if name == {module!r}:
            sys.meta_path.remove(self)
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
sys.exit(main(["send", "letter.eml"]))
"""


@pytest.mark.parametrize("module", ["smtpx.cli._console", "smtpx.cli._running", "smtpx.cli.send"])
def test_u2_130_ctrl_c_while_the_command_is_loaded(module: str, home: Path) -> None:
    program = INTERRUPTED.format(module=module)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=home, env=environment(home), capture_output=True
    )
    assert (done.returncode, done.stderr) == (130, b"smtpx: interrupted\n")


def test_a_closed_pipe_changes_nothing(home: Path) -> None:
    """What was sent was sent: the exit code says so, and nobody complains (U4)."""
    with Server() as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "smtpx", "send", server.url, "letter.eml"],
            cwd=home,
            env=environment(home),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        with process.stderr:
            said = process.stderr.read()
        assert process.wait(60) == 0
        assert len(server.messages) == 1
    assert said == b""


def test_nothing_is_retried_in_doubt(run: Run) -> None:
    with Server(faults=[TruncateReply("END-OF-DATA", keep=0)]) as server:
        done = run("send", server.url, "letter.eml")
        assert done.code == 4
        assert len(server.messages) == 1
    assert "in doubt" in done.err


@pytest.mark.parametrize(
    ("code", "behaviour"),
    [
        (3, {"refuse_recipients": {"bob@example.net": BUSY}}),
        (69, {"greeting": "554 No SMTP service here"}),
        (75, {"refuse_content": BUSY}),
        (75, {"greeting": "421 4.3.2 Too busy"}),
        (75, {"faults": [Refuse("MAIL", BUSY)]}),
        (75, {"refuse_recipients": lambda to: BUSY if to.startswith("bob") else GONE}),
        (76, {"faults": [ReplaceReply("GREETING", b"* OK IMAP4rev1 ready\r\n")]}),
        (77, {"users": {"ann": "x"}, "faults": [Refuse("AUTH", "535 5.7.8 No")]}),
        (75, {"users": {"ann": "x"}, "faults": [Refuse("AUTH", "454 4.7.0 Later")]}),
    ],
)
def test_the_same_by_other_ways(
    code: int, behaviour: dict[str, Any], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(**behaviour) as server:
        url = server.url.replace("//", "//ann@") if "users" in behaviour else server.url
        monkeypatch.setenv("SMTPX_PASSWORD", "hunter2-of-ann")
        done = run("send", url, "letter.eml", "--to", "bob@example.net", "--to", "kim@example.net")
    assert done.code == code, done.err
    assert "hunter2" not in done.err


# What each code comes to where it is the reply to this. A size is one of the content wherever it is
# refused but for a recipient, whose mailbox may be full; a BDAT that is not known is done without.
CODES = "421 451 500 501 502 503 504 530 534 535 538 550 551 552 553 554 555 556"
COMES_TO = {
    "GREETING": "75 75 69 69 69 69 69 77 77 77 77 69 69 69 69 69 69 69",
    "MAIL": "    75 75 69 69 69 69 69 77 77 77 77 69 69 65 69 69 69 69",
    "RCPT": "    75 75 69 67 69 69 69 77 77 77 77 67 67 67 67 67 69 67",
    "DATA": "    75 75 69 69 69 69 69 77 77 77 77 69 69 65 69 69 69 69",
    "END-OF-DATA": "75 75 69 65 69 69 69 77 77 77 77 65 65 65 65 65 69 65",
    "BDAT": "    75 75  0 65  0  0 69 77 77 77 77 65 65 65 65 65 69 65",
    "AUTH": "    75 75 77 77 77 77 77 77 77 77 77 77 77 77 77 77 77 77",
}


@pytest.mark.parametrize("phase", COMES_TO)
def test_u2_each_code_at_each_phase(phase: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTPX_PASSWORD", "hunter2-of-ann")
    behaviour: dict[str, Any] = {"users": {"ann": "hunter2-of-ann"}} if phase == "AUTH" else {}
    if phase in ("DATA", "END-OF-DATA"):
        behaviour["extensions"] = frozenset({Extension.PIPELINING})
    found: list[int] = []
    with Server(**behaviour) as server:
        url = server.url.replace("//", "//ann@") if phase == "AUTH" else server.url
        for code in CODES.split():
            server.clear_faults()
            server.add_fault(Refuse(phase, f"{code} no"))
            found.append(run("send", url, "letter.eml").code)
    assert found == [int(each) for each in COMES_TO[phase].split()]


@pytest.mark.parametrize(
    ("reply", "code"), [(GONE, 67), (BUSY, 75), ("530 5.7.0 Log in first", 77)]
)
def test_all_or_nothing_is_as_lasting_as_its_refusal(reply: str, code: int, run: Run) -> None:
    with Server(refuse_recipients={"kim@example.net": reply}) as server:
        words = ("--to", "bob@example.net,kim@example.net", "--all-or-nothing")
        done = run("send", server.url, "letter.eml", *words)
        assert server.messages == []
    assert done.code == code
    assert done.err.endswith("; try again later\n") is (code == 75)


@pytest.mark.parametrize("first", ["bob", "kim"])
def test_who_may_be_tried_again_is_named_beside_the_advice(first: str, run: Run) -> None:
    """Bob is refused for good: nobody is to send to him again, for Kim's sake."""
    second = {"bob": "kim", "kim": "bob"}[first]
    refused = {"bob@example.net": GONE, "kim@example.net": BUSY}
    with Server(refuse_recipients=refused) as server:
        to = f"{first}@example.net,{second}@example.net"
        words = ("send", server.url, "letter.eml", "--to", to)
        done = run(*words)
        document = run(*words, "--json").json
    assert done.code == 75
    assert done.err.endswith(f"; kim@example.net refused: {BUSY}; try again later\n"), done.err
    assert document["error"]["reply"]["code"] == 451
    assert "451 4.2.1" in document["error"]["message"]
    assert "550" not in document["error"]["message"]


@pytest.mark.parametrize(("phase", "code"), [("mail", 77), ("rcpt", 77)])
def test_so_it_is_where_nothing_is_sent(phase: str, code: int, run: Run) -> None:
    with Server(faults=[Refuse(phase.upper(), "530 5.7.0 Log in first")]) as server:
        assert run("send", server.url, "letter.eml", "--stop-after", phase).code == code


RAW = LETTER.replace(b"a letter", "Grüße".encode())
SIGNED = b"DKIM-Signature: v=1; a=rsa-sha256; d=x.test; s=s; h=from; bh=x; b=x\n" + (
    LETTER.replace(b"\n\n", b"\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n")
    + "Grüße\n".encode()
)
BEYOND: dict[str, tuple[int, bytes, list[str], dict[str, Any]]] = {
    "its size, as EHLO says": (65, LETTER + 2000 * b"x\n", [], {"size_limit": 2000}),
    "its size, as MAIL says": (65, LETTER, [], {"faults": [Refuse("MAIL", "552 5.3.4 Too big")]}),
    "a header beyond ASCII": (65, RAW, [], {"extensions": frozenset()}),
    "one that is signed": (65, SIGNED, [], {"extensions": frozenset()}),
    "an address beyond ASCII": (
        69,
        LETTER,
        ["--to", "zoë@example.net"],
        {"extensions": frozenset()},
    ),
    "too many at once": (
        *(69, LETTER, ["--to", "a@x.test,b@x.test", "--all-or-nothing"]),
        {"recipient_limit": 1, "extensions": frozenset({Extension.LIMITS})},
    ),
    "reports": (69, LETTER, ["--notify", "never"], {"extensions": frozenset()}),
}


@pytest.mark.parametrize(("code", "letter", "words", "behaviour"), BEYOND.values(), ids=BEYOND)
def test_what_a_server_cannot_take_is_no_misuse(
    code: int, letter: bytes, words: list[str], behaviour: dict[str, Any], run: Run, home: Path
) -> None:
    _ = (home / "letter.eml").write_bytes(letter)
    with Server(**behaviour) as server:
        done = run("send", server.url, "letter.eml", *words)
        assert server.messages == []
    assert (done.code, done.err.count("\n")) == (code, 1), done.err


def test_nor_is_a_message_that_cannot_be_mended(run: Run) -> None:
    """As sendmail, where what is wrong is the message that a program wrote."""
    with Server() as server:
        done = run("send", server.url, "-i", "bob@example.net", stdin=b"Subject: x\n" + LETTER)
    assert done.code == 65, done.err
