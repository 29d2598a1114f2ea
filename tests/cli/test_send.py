"""``smtpx send``: from flags, from files, as sendmail; what it does not send."""

from __future__ import annotations

from pathlib import Path

import pytest

import smtpx
from smtpx.testing import USUAL_EXTENSIONS, Extension, Server, ServerTLS

from .command import LETTER, validator
from .conftest import Run


def test_from_flags(run: Run, home: Path) -> None:
    _ = (home / "a.pdf").write_bytes(b"%PDF-1.7")
    with Server() as server:
        done = run(
            *("send", server.url, "--from", "Ann <ann@example.org>", "--to", "bob@example.net"),
            *("--cc", "carol@example.net", "--bcc", "dave@example.net", "--subject", "Grüße"),
            *("--text", "Hello", "--html", "<p>Hello", "--attach", "a.pdf"),
            *("--header", "X-Campaign: 7"),
        )
        (received,) = server.messages
    assert done.code == 0, done.err
    assert done.out.splitlines()[0].startswith("bob@example.net accepted: 250 2.0.0")
    mail = received.parsed
    assert received.recipients == ("bob@example.net", "carol@example.net", "dave@example.net")
    assert (mail["Subject"], mail["X-Campaign"], mail["Bcc"]) == ("Grüße", "7", None)
    kinds = [part.get_content_type() for part in mail.walk()]
    assert {"text/plain", "text/html", "application/pdf"} <= set(kinds)


def test_the_text_is_standard_input(run: Run) -> None:
    with Server() as server:
        done = run(
            *("send", server.url, "--from", "a@example.org", "--to", "b@example.net"),
            stdin="Grüße\n".encode(),
        )
        assert done.code == 0
        assert server.messages[0].parsed.get_content() == "Grüße\n"


def test_u8_five_hundred_recipients_pass_check(run: Run) -> None:
    to = [word for n in range(500) for word in ("--to", f"reader{n}@example.net")]
    with Server() as server:
        done = run("send", server.url, "--from", "a@example.org", "--text", "hi", *to)
        assert done.code == 0
        (received,) = server.messages
    assert len(received.recipients) == 500
    assert all(
        finding.severity is not smtpx.Severity.ERROR for finding in smtpx.check(received.content)
    )


FOLDED_BCC = LETTER.replace(
    b"Subject:", b"bcc: carol@example.net,\n dave@example.net\nX-Bcc: stays\nSubject:"
)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_u9_a_files_bcc_is_in_the_envelope_alone(run: Run, home: Path, line_end: bytes) -> None:
    _ = (home / "b.eml").write_bytes(FOLDED_BCC.replace(b"\n", line_end))
    with Server() as server:
        assert run("send", server.url, "b.eml").code == 0
        (received,) = server.messages
    assert received.recipients == ("bob@example.net", "carol@example.net", "dave@example.net")
    assert received.content == LETTER.replace(b"Subject:", b"X-Bcc: stays\nSubject:").replace(
        b"\n", b"\r\n"
    )


@pytest.mark.parametrize("end", ["", "\n", "\n , kim@example.net"])
def test_u9_nor_where_it_ends_the_file(end: str, run: Run, home: Path) -> None:
    text = f"From: ann@example.org\nTo: bob@example.net\nBcc: carol@example.net{end}"
    _ = (home / "b.eml").write_text(text)
    with Server() as server:
        assert run("send", server.url, "b.eml").code == 0
        assert "carol@example.net" in server.messages[0].recipients
        assert b"carol" not in server.messages[0].content.lower()


def test_u9_unless_it_is_to_be_kept(run: Run, home: Path) -> None:
    _ = (home / "b.eml").write_bytes(FOLDED_BCC)
    with Server() as server:
        assert run("send", server.url, "b.eml", "--keep-bcc", "--to", "bob@example.net").code == 0
        (received,) = server.messages
    assert received.recipients == ("bob@example.net",)
    assert b"bcc: carol@example.net" in received.content


CONTENTS = {
    "LF": LETTER,
    "CR": LETTER + b"a\rb\n",
    "dots": LETTER + b".\n..\n.x\n",
    "no end": LETTER + b"no end",
    "8 bits": LETTER + b"gr\xc3\xbc\xc3\x9fe\n",
    "LF and CRLF": LETTER + b"a\r\nb\n",
    "like commands": LETTER + b"\nQUIT\n.\nMAIL FROM:<eve@example.org>\n",
}


@pytest.mark.parametrize("extensions", [USUAL_EXTENSIONS, frozenset[Extension]()])
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_u7_send_is_well_behaved_whatever_it_is_given(
    content: bytes, extensions: frozenset[Extension], run: Run, home: Path
) -> None:
    """Breaking the rules on purpose is for `smtpx.testing`'s scripts."""
    _ = (home / "odd.eml").write_bytes(content)
    with Server(extensions=extensions) as server:
        done = run("send", server.url, "odd.eml")
        server.wait_until_idle()
        assert (done.code, len(server.messages)) == (0, 1), done.err
        assert server.breaches == []


def test_as_sendmail_by_the_header(run: Run) -> None:
    """As PHP's mail() calls it: no From, no Date, LF alone."""
    mail = b"To: bob@example.net\nSubject: from PHP\nBcc: carol@example.net\n\nhello\n.\nbye\n"
    with Server() as server:
        done = run("send", server.url, "-t", "-i", "-fwww@example.org", stdin=mail)
        assert done.code == 0, done.err
        (received,) = server.messages
    assert received.sender == "www@example.org"
    assert received.recipients == ("bob@example.net", "carol@example.net")
    parsed = received.parsed
    assert (parsed["From"], parsed["Bcc"]) == ("www@example.org", None)
    assert parsed["Date"]
    assert parsed["Message-ID"]
    assert parsed.get_content() == "hello\n.\nbye\n"


def test_as_sendmail_by_the_command_line(run: Run) -> None:
    with Server() as server:
        done = run(
            *("send", server.url, "-oi", "-i", "-f", "cron@example.org", "bob@example.net"),
            stdin=b"disk is full\n",
        )
        assert done.code == 0, done.err
        (received,) = server.messages
    assert received.recipients == ("bob@example.net",)
    assert received.parsed.get_content() == "disk is full\n"


MAIL = b"From: Ann <ann@example.org>\nTo: bob@example.net\nSubject: x\n\nhello\n"
CRON = b"From: root (Cron Daemon)\nTo: ann@example.org\nSubject: Cron <root@host> ls\n\na\n"
CALLS = {
    "PHP": ("-t -i", MAIL),
    "PHP, its letters together": ("-ti", MAIL),
    "cronie": ("-FCronDaemon -i -B8BITMIME -oem -f cron@example.org bob@example.net", CRON),
    "Vixie's cron": ("-i -FCronDaemon -odi -oem -oi -t -f cron@example.org", MAIL),
    "git send-email": ("-i bob@example.net", MAIL),
    "mutt": ("-oem -oi -f ann@example.org -- bob@example.net", MAIL),
    "mutt, with reports": (
        "-oi -N failure,delay -R hdrs -f ann@example.org -- bob@example.net",
        MAIL,
    ),
    "logwatch": ("-t", MAIL),
    "procmail, a mailbox's line": ("-oi bob@example.net", b"From ann Mon Nov 29\n" + MAIL),
    "mail": ("-f ann@example.org bob@example.net", MAIL),
    "what has no meaning here": ("-n -G -U -m -em -L tag -Ac bob@example.net", MAIL),
    "reports alone": ("-N failure,delay bob@example.net", MAIL),
    "an envelope's name, and the dialogue": ("-V q+1=x -X log.txt bob@example.net", MAIL),
    "an option, and a mode": ("-O DeliveryMode=b -bm bob@example.net", MAIL),
}


@pytest.mark.parametrize(("words", "mail"), CALLS.values(), ids=CALLS)
def test_as_programs_call_sendmail(words: str, mail: bytes, run: Run) -> None:
    with Server() as server:
        done = run("send", server.url, *words.split(), stdin=mail)
        assert done.code == 0, done.err
        (received,) = server.messages
    assert received.recipients == ("bob@example.net",)
    assert received.sender == ("cron@example.org" if "Cron" in words else "ann@example.org")
    if "Cron" in words and mail is CRON:
        assert received.parsed["From"].addresses[0].addr_spec == "cron@example.org"
    assert received.parsed.get_content() in ("hello\n", "a\n")
    if "-N" in words:
        assert received.recipient_parameters[0]["NOTIFY"] == "FAILURE,DELAY"
    if "-R" in words:
        assert received.mail_parameters["RET"] == "HDRS"
    if "-V" in words:
        assert received.mail_parameters["ENVID"] == "q+2B1+3Dx"
        assert "ENVID=q+2B1+3Dx" in Path("log.txt").read_text()


def test_an_envelope_of_flags_has_a_name_too(run: Run) -> None:
    flags = ("--from", "ann@example.org", "--to", "bob@example.net", "--text", "x")
    with Server() as server:
        assert run("send", server.url, *flags, "--envid", "QQ1").code == 0
        assert server.messages[0].mail_parameters["ENVID"] == "QQ1"
        done = run("send", server.url, *flags, "--envid", "Grün")
    assert (done.code, "envid" in done.err) == (2, True)


def test_as_sendmail_it_says_nothing_but_what_is_wrong(run: Run) -> None:
    with Server(refuse_recipients={"kim@example.net": "550 5.1.1 No such user"}) as server:
        assert run("send", server.url, "-t", "-i", stdin=MAIL) == (0, "", "")
        done = run("send", server.url, "-i", "bob@example.net", "kim@example.net", stdin=MAIL)
    assert (done.code, done.out) == (3, "")
    assert "kim@example.net refused: 550 5.1.1 No such user" in done.err


def test_as_sendmail_several_recipients_and_a_full_name(run: Run) -> None:
    with Server() as server:
        done = run(
            *("send", server.url, "-i", "-F", "Ann Ö", "-fann@example.org"),
            *("bob@example.net,carol@example.net", "kim@example.net"),
            stdin=b"Subject: x\n\nhello\n",
        )
        assert done.code == 0, done.err
        (received,) = server.messages
    assert received.recipients == ("bob@example.net", "carol@example.net", "kim@example.net")
    assert received.parsed["From"] == "Ann Ö <ann@example.org>"


def test_the_account_says_who_sends_for_users_of_this_machine(run: Run, home: Path) -> None:
    with Server() as server:
        text = f"[default]\nurl = '{server.url}'\nfrom = 'Cron <cron@example.org>'\n"
        _ = (home / "smtpx.toml").write_text(text)
        for words in ("-i -t", "-i -t -f root"):
            assert run("send", *words.split(), stdin=CRON).code == 0
        assert [each.sender for each in server.messages] == ["cron@example.org"] * 2


@pytest.mark.parametrize(
    ("words", "mail", "said"),
    [
        ("-i root", CRON, "the recipient 'root' has no domain"),
        ("-t -i -f root", CRON, "the sender 'root' has no domain"),
        ("-i bob@example.net", CRON, "does not say whom it is from (not an address: 'root'"),
        ("-t", b"To: bob@example.net\n\nx\n", "give --from or -f, or an account's from"),
        ("-bs", b"", "of sendmail's modes there is only -bm"),
        ("bob@example.net", MAIL, "name a recipient by --to bob@example.net"),
    ],
)
def test_what_is_wrong_as_sendmail_is_one_sentence(
    words: str, mail: bytes, said: str, run: Run
) -> None:
    done = run("send", "smtp://127.0.0.1:9", *words.split(), stdin=mail)
    assert done.code in (2, 65)
    assert said in done.err
    assert "Envelope" not in done.err
    assert done.err.count("\n") == 1


def test_the_null_reverse_path(run: Run) -> None:
    with Server() as server:
        assert run("send", server.url, "letter.eml", "-f", "").code == 0
        assert server.messages[0].sender == ""


def test_who_gets_it_need_not_be_in_the_header(run: Run) -> None:
    with Server() as server:
        assert run("send", server.url, "letter.eml", "--to", "Kim <kim@example.net>").code == 0
        assert server.messages[0].recipients == ("kim@example.net",)
        assert b"To: Bob <bob@example.net>" in server.messages[0].content


def test_all_or_nothing(run: Run) -> None:
    gone = {"gone@example.net": "550 5.1.1 No such user"}
    to = ("--to", "bob@example.net", "--to", "gone@example.net")
    with Server(refuse_recipients=gone) as server:
        done = run("send", "--json", server.url, "letter.eml", *to, "--all-or-nothing")
        assert server.messages == []
    statuses = [each["status"] for each in done.json["outcomes"]]
    assert statuses == ["not tried", "refused"]


def test_a_dry_run_says_what_would_be_sent(run: Run) -> None:
    done = run("send", "--dry-run", "--json", "letter.eml")
    document = done.json
    assert (done.code, document["recipients"]) == (0, ["bob@example.net"])
    assert document["size"] == len(LETTER.replace(b"\n", b"\r\n"))


def test_out_writes_it_under_names_of_ours(run: Run, home: Path) -> None:
    """U31: nothing of a message becomes a path."""
    for _ in range(2):
        done = run(
            *("send", "--out", "sent", "--from", "a@example.org", "--to", "b@example.net"),
            *("--bcc", "c@example.net", "--subject", "../../x", "--text", "hi"),
        )
        assert done.code == 0, done.err
    files = sorted((home / "sent").iterdir())
    assert [file.name for file in files] == ["000001.eml", "000002.eml"]
    assert b"c@example.net" not in files[0].read_bytes()


@pytest.mark.parametrize(
    ("phase", "last"), [("hello", "EHLO"), ("auth", "AUTH"), ("mail", "RSET"), ("rcpt", "RSET")]
)
def test_it_stops_after_a_phase(
    phase: str, last: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTPX_PASSWORD", "hunter2-of-ann")
    with Server(users={"ann": "hunter2-of-ann"}) as server:
        url = server.url.replace("//", "//ann@")
        done = run("send", "--json", url, "letter.eml", "--stop-after", phase)
        server.wait_until_idle()
        verbs = [line.partition(" ")[0] for line in server.sessions[0].commands]
        assert server.messages == []
        assert server.breaches == []
    assert done.json["stopped_after"] == phase
    assert last in verbs[-3:]
    assert ("RCPT" in verbs, "MAIL" in verbs) == (phase == "rcpt", phase in ("mail", "rcpt"))


def test_the_dialogue_and_the_transcript(run: Run, home: Path) -> None:
    with Server() as server:
        done = run("send", "-v", server.url, "letter.eml", "--transcript", "said.smtp")
    assert "C: MAIL FROM:<ann@example.org>" in done.err
    assert "C: MAIL FROM:<ann@example.org>" in (home / "said.smtp").read_text()
    assert done.out == "".join(line + "\n" for line in done.out.splitlines() if "accepted" in line)


def test_by_tls_and_a_signature(run: Run, home: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _ = (home / "dkim.pem").write_bytes(pem)
    with Server(tls=ServerTLS.IMPLICIT) as server:
        done = run(
            *("send", f"{server.url}?ca={server.ca_file}", "letter.eml", "--dkim-key", "dkim.pem"),
            *("--dkim-domain", "example.org", "--dkim-selector", "now"),
        )
        assert done.code == 0, done.err
        assert server.messages[0].tls
        assert server.messages[0].content.startswith(b"DKIM-Signature:")


BAD = {
    "no recipient": (["--from", "a@example.org"], "who gets it"),
    "no sender": (["--to", "b@example.net"], "whom it is from"),
    "an address": (["--from", "a@example.org", "--to", "b at example"], "b at example"),
    "a header": (["--from", "a@b.test", "--to", "b@b.test", "--header", "X"], "no colon"),
    "injection": (
        ["--from", "a@b.test", "--to", "b@b.test", "--text", "x", "--header", "X: a\r\nBcc: c@d"],
        "X",
    ),
    "half of DKIM": (["letter.eml", "--dkim-key", "x"], "all three"),
    "a missing file": (["lettre.eml"], "lettre.eml: No such file"),
    "two files": (["letter.eml", "letter.eml"], "too many"),
    "flags of another way": (["letter.eml", "--subject", "x"], "leave out letter.eml"),
    "notify": (["letter.eml", "--notify", "often"], "success,failure,delay"),
    "never, and more": (["letter.eml", "--notify", "never,failure"], "give never, or some"),
    "a size": (["letter.eml", "--size", "big"], "no size"),
    "a size beyond all": (["letter.eml", "--size", "9999999G"], "more than 1024G"),
    "one input for two": (
        ["--from", "a@b.test", "--to", "b@b.test", "--text", "-", "--html", "-"],
        "standard input can be one of them",
    ),
    "a URL": (["smpt://localhost", "letter.eml"], "unknown scheme"),
}


@pytest.mark.parametrize(("words", "said"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence(words: list[str], said: str, run: Run) -> None:
    with Server() as server:
        url = [] if "://" in words[0] else [server.url]
        done = run("send", *url, *words)
        assert server.sessions == []
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"", "it is empty"),
        (b"\x89PNG\r\n\x1a\n", "header field"),
        (b"From ann Mon Nov 29\nSubject: x\n\n", "an mbox"),
        (b"Subject: x\n\nhello\n", "does not say who gets it"),
    ],
)
def test_what_is_no_message(octets: bytes, said: str, run: Run, home: Path) -> None:
    _ = (home / "x.eml").write_bytes(octets)
    done = run("send", "--json", "smtp://127.0.0.1:9", "x.eml", "-f", "ann@example.org")
    assert done.code == 65
    assert said in done.json["error"]["message"]


def test_what_a_server_says_cannot_move_the_cursor(run: Run) -> None:
    with Server(refuse_content="554 5.6.0 \x1b[2Jred \u202egnp") as server:
        done = run("send", server.url, "letter.eml")
    assert done.code == 65
    assert "\x1b" not in done.out + done.err


def test_u3_json_is_one_document(run: Run) -> None:
    with Server(refuse_content="554 [" + "long " * 60 + "]") as server:
        done = run("send", "--json", server.url, "letter.eml")
    assert done.out.count("\n") == 1
    assert done.out.isascii()
    validator().validate(done.json)


def test_u4_silence_still_says_why(run: Run) -> None:
    with Server(refuse_recipients=lambda _: "550 5.1.1 Nobody") as server:
        done = run("send", "-q", server.url, "letter.eml")
    assert done.out == ""
    assert "550 5.1.1 Nobody" in done.err
