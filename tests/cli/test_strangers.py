"""What people have lying about: files of spreadsheets, of editors, of password managers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from smtpx.testing import Server

from .command import LETTER as WHOLE
from .command import environment
from .conftest import Run

LETTER = b"From: ann@example.org\nTo: {{email}}\nSubject: Hello {{name}}\n\nDear {{name}}\n"
TABLES = {
    "German Excel": b"email;name\r\nbob@example.net;Bob\r\n",
    "semicolons, and a comma in a name": b'email;name\nbob@example.net;"B, Bob"\n',
    "Excel's hidden line": b"sep=;\r\nemail;name\r\nbob@example.net;Bob\r\n",
    "tabs": b"email\tname\nbob@example.net\tBob\n",
    "a mark": b"\xef\xbb\xbfemail;name\r\nbob@example.net;Bob\r\n",
    "old Mac": b"email,name\rbob@example.net,Bob\r",
    "blank lines": b"email,name\n\nbob@example.net,Bob\n\n\n",
    "quoted": b'"email","name"\n"bob@example.net","Bob ""B"" Builder"\n',
    "commas, and a semicolon in a name": b"email,name\nbob@example.net,B; Bob\n",
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_tables_of_spreadsheets(table: bytes, run: Run, home: Path) -> None:
    _ = (home / "rows.csv").write_bytes(table)
    _ = (home / "t.eml").write_bytes(LETTER)
    done = run("send", "--merge", "rows.csv", "t.eml", "--dry-run", "smtp://localhost")
    assert (done.code, done.out) == (0, "1 row, each with email, name\n"), done.err


UTF_8, UTF_16 = "utf-8-sig", "utf-16"


@pytest.mark.parametrize("encoding", [UTF_8, UTF_16])
def test_a_mark_of_an_editor_is_none_of_the_text(encoding: str, run: Run, home: Path) -> None:
    letter = "From: ann@example.org\r\nTo: bob@example.net\r\n\r\nGrüße\r\n"
    for name, text in {
        "l.eml": letter,
        "t.eml": letter.replace("bob@example.net", "{{name}} <{{address}}>"),
        "r.csv": "name,address\r\nZoë,bob@example.net\r\n",
        "text": "Grüße",
        "password": "gehëim\r\n",
        "a.toml": '[default]\r\nurl = "smtp://localhost"\r\nfrom = "ann@example.org"\r\n',
    }.items():
        _ = (home / name).write_bytes(text.encode(encoding))
    (home / "password").chmod(0o600)
    flags = ["--from", "ann@example.org", "--to", "bob@example.net"]
    ways = [
        (["l.eml"], b""),
        (["--text", "@text", *flags], b""),
        (["--html", "@text", *flags], b""),
        (flags, "Grüße".encode(encoding)),
        (["t.eml", "--merge", "r.csv"], b""),
    ]
    with Server(users={"ann": "gehëim"}) as server:
        url = server.url.replace("//", "//ann@")
        for words, stdin in ways:
            done = run("send", *words, url, "--password-file", "password", stdin=stdin)
            assert done.code == 0, done.err
        assert len(server.messages) == len(ways)
        letter_sent, *others = server.messages
        assert letter_sent.content.endswith(letter.encode())
        for message in others:
            assert message.parsed.get_content().strip() == "Grüße"
    shown = run("send", "--config", "a.toml", "--dry-run", *flags[2:], "--text", "x")
    assert (shown.code, shown.out.split()[1]) == (0, "ann@example.org"), shown.err


def test_a_mark_of_something_else_is_told(run: Run, home: Path) -> None:
    _ = (home / "l.eml").write_bytes(b"\xff\xfex")
    done = run("send", "smtp://localhost", "l.eml", "--to", "bob@example.net")
    assert (done.code, done.err) == (
        65,
        "smtpx: l.eml has the mark of UTF-16 and is not UTF-16: save it as UTF-8\n",
    )


@pytest.mark.parametrize("begin", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1"])
def test_a_spreadsheet_is_no_table(begin: bytes, run: Run, home: Path) -> None:
    _ = (home / "r.xlsx").write_bytes(begin + b"\xff")
    done = run("send", "--dry-run", "--merge", "r.xlsx", "letter.eml")
    assert done.code == 65
    assert done.err == "smtpx: r.xlsx is a spreadsheet: save it as CSV\n"


@pytest.mark.parametrize(
    "to",
    [
        ["bob@example.net,kim@example.net"],
        ["Bob <bob@example.net>, Kim <kim@example.net>"],
        ['"Builder, Bob" <bob@example.net>', "kim@example.net,"],
    ],
)
@pytest.mark.parametrize("letter", [[], ["letter.eml"]])
def test_addresses_with_commas_between_them(to: list[str], letter: list[str], run: Run) -> None:
    words = [word for one in to for word in ("--to", one)]
    text = [] if letter else ["--text", "hi", "--from", "ann@example.org"]
    with Server() as server:
        done = run("send", server.url, *letter, *words, *text)
        assert done.code == 0, done.err
        assert server.messages[0].recipients == ("bob@example.net", "kim@example.net")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "bob"], "--to: not an address: 'bob'"),
        (["--to", "b@x.test", "--cc", "kim"], "--cc: not an address: 'kim'"),
        (["--to", "b@x.test;c@x.test"], "--to 'b@x.test;c@x.test' is no mailbox"),
        (
            ["--to", "b@x.test;c@x.test"],
            "several with commas between them, and a name with a comma in quotes",
        ),
        (["--to", "b@x.test", "--subject", "a\nb"], "--subject 'a\\nb' has a line end"),
        (["--to", "b@x.test", "--header", "X-A: b\nc"], "--header X-A 'b\\nc' has a line end"),
        (["--to", "b@x.test", "--attach", "nowhere"], "--attach cannot be read"),
        (["--to", "b@x.test", "--header", "Bcc: x@x.test"], "--header: Bcc is what --bcc is for"),
        (["--to", "b@x.test", "--header", "subject: x"], "subject is what --subject is for"),
        (["--to", "b@x.test", "--header", "Reply-To: x@x.test"], "what --reply-to is for"),
        (["--to", "b@x.test", "--header", "X: 1", "--header", "x: 2"], "x is given twice"),
        (["--to", "b@x.test", "--header", "Date: soon"], "--header Date 'soon': write a date"),
        (["--to", "b@x.test", "--header", "Message-ID: x"], "--header Message-ID 'x' is no"),
        (["--to", "<>"], "--to '<>' is no mailbox: '' is no address; give several with commas"),
        (["--to", "b@x.test", "--attach", "."], "--attach cannot be read: Is a directory: '.'"),
        (["--to", "b@x.test", "--html", "@here"], "--html '@here': No such file or directory: "),
        (["--to", "b@x.test", "--size", "10G"], "--size: the message is made in memory"),
    ],
)
def test_what_is_wrong_is_told_in_flags(words: list[str], said: str, run: Run) -> None:
    done = run("send", "smtp://localhost", "--from", "ann@example.org", "--text", "hi", *words)
    assert done.code == 2
    assert said in done.err


# What begins with a dash.


def test_after_two_dashes_there_are_no_options(run: Run, home: Path) -> None:
    letter = (home / "letter.eml").rename(home / "-t.eml").read_bytes()
    with Server() as server:
        url = server.url
        done = run("send", "-i", "-f", "ann@example.org", url, "--", "-x@example.org", stdin=letter)
        assert done.code == 0, done.err
        assert run("send", url, "--", "-t.eml").code == 0
        to = [message.recipients for message in server.messages]
        assert server.breaches == []
    assert to == [("-x@example.org",), ("bob@example.net",)]
    assert run("check", "--", "-t.eml").code == 0
    told = run("outbox", "--", "--help")
    assert told.code == 2
    assert "invalid choice: '--help'" in told.err


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--subject", "-50%"], "--subject=VALUE"), (["-f", "-x@example.org"], "-fVALUE")],
)
def test_a_value_with_a_dash_is_told_how(words: list[str], said: str, run: Run) -> None:
    done = run("send", "smtp://localhost", *words)
    assert done.code == 2
    assert said in done.err


def test_a_key_that_is_none(run: Run) -> None:
    dkim = ("--dkim-key", "letter.eml", "--dkim-domain", "x.test", "--dkim-selector", "s")
    done = run("send", "smtp://localhost", "letter.eml", *dkim)
    assert (done.code, done.err) == (
        2,
        "smtpx: --dkim-key letter.eml: it is no private key in PEM\n",
    )


def test_fields_that_swaks_users_set(run: Run) -> None:
    fields = {
        "message-id": "<mine@x.test>",
        "Date": "Mon, 30 Nov 2026 21:22:00 +0000",
        "In-Reply-To": "<one@x.test>",
        "References": "<nought@x.test> <one@x.test>",
        "List-Unsubscribe": "<https://x.test/u>, <mailto:u@x.test>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "X-Own": "yes",
    }
    words = [word for name, body in fields.items() for word in ("--header", f"{name}: {body}")]
    with Server() as server:
        done = run(
            *("send", server.url, "--from", "ann@x.test", "--to", "bob@x.test", "--text", "hi"),
            *words,
        )
        assert done.code == 0, done.err
        header = server.messages[0].parsed
    assert {name: header.get_all(name) for name in fields} == {
        name: [body] for name, body in fields.items()
    }


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
@pytest.mark.parametrize(
    "words",
    [
        ("check", "/proc/self/mem"),
        ("bounces", "/proc/self/mem"),
        ("send", "smtp://ann@localhost", "letter.eml", "--password-file", "/proc/self/mem"),
        ("send", "smtp://localhost", "--merge", "/proc/self/mem", "letter.eml", "--dry-run"),
        ("serve", "--smtp", "127.0.0.1:0", "--dkim-key", "s:x.test:/proc/self/mem"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(words: tuple[str, ...], run: Run) -> None:
    done = run(*words)
    assert "/proc/self/mem: Input/output error" in done.err
    assert done.code in (2, 78)


# Where output goes.

FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")


@FULL
@pytest.mark.parametrize(
    "words", [["--version"], ["check", "letter.eml", "--json"], ["send", "--help"]]
)
def test_a_disk_that_is_full_is_told(words: list[str], home: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "smtpx", *words],
            cwd=home,
            env=environment(home),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert b"Traceback" not in done.stderr
    assert b"No space left" in done.stderr


@FULL
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_what_was_sent_was_sent_though_its_transcript_cannot_be_written(
    form: list[str], run: Run
) -> None:
    """A code that says "no connection" would have it sent again."""
    with Server() as server:
        done = run("send", server.url, "letter.eml", "--transcript", "/dev/full", *form)
        assert len(server.messages) == 1
    assert done.code == 0
    assert "smtpx: the transcript cannot be written: /dev/full: No space left" in done.err
    assert not form or done.json["outcomes"]


@FULL
def test_failures_that_cannot_be_written_change_no_code(run: Run, home: Path) -> None:
    _ = (home / "rows.csv").write_bytes(TABLES["tabs"])
    _ = (home / "t.eml").write_bytes(LETTER)
    (home / "rows.failures.csv").symlink_to("/dev/full")
    with Server(refuse_recipients={"bob@example.net": "550 5.1.1 No such user"}) as server:
        done = run("send", server.url, "--merge", "rows.csv", "t.eml")
    assert done.code == 67
    assert "rows.failures.csv cannot be written: No space left" in done.err


@pytest.mark.parametrize("merge", [[], ["--merge", "rows.csv"]])
def test_a_file_in_place_of_a_folder_is_told(merge: list[str], run: Run, home: Path) -> None:
    _ = (home / "rows.csv").write_bytes(TABLES["tabs"])
    done = run("send", "smtp://localhost", "letter.eml", "--out", "letter.eml", *merge)
    assert (done.code, done.err) == (2, "smtpx: letter.eml is no folder: give another\n")


@pytest.mark.skipif(os.name != "posix", reason="Windows hands no closed handles on")
@pytest.mark.parametrize("closed", ["1>&- 2>&- 0<&-", "| true"])
@pytest.mark.parametrize("words", ["--help", "nope", "send --help"])
def test_streams_that_are_closed(closed: str, words: str, home: Path) -> None:
    command = f"{sys.executable} -m smtpx {words} {closed}"
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=home,
        env=environment(home),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert b"Error" not in done.stderr
    if "|" not in closed:
        assert done.returncode == (2 if "nope" in words else 0)


CLOSED = "smtpx: the output cannot be written: Bad file descriptor\n"


@pytest.mark.skipif(os.name != "posix", reason="Windows hands no closed handles on")
@pytest.mark.parametrize(
    ("words", "code", "is_told"),
    [
        ("send URL letter.eml", 0, True),
        ("send URL letter.eml --json", 0, True),
        ("send URL letter.eml --jsonl", 0, True),
        ("send URL letter.eml --quiet", 0, False),
        ("doctor URL", 0, True),
        ("check letter.eml", 0, False),
        ("check letter.eml --json", 0, True),
        ("bounces letter.eml --json", 1, True),
        ("send --nonsense", 2, False),
        ("send --nonsense --json", 2, True),
        ("completion bash", 0, True),
        ("completion --help", 0, True),
        ("--help", 0, True),
        ("--version", 0, True),
    ],
)
def test_an_output_that_is_closed_is_told(words: str, code: int, is_told: bool, home: Path) -> None:
    """As one is that is full; where nothing is to be written, there is nothing to tell."""
    with Server() as server:
        command = f"{sys.executable} -m smtpx {words.replace('URL', server.url)} >&-"
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=home,
            env=environment(home),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert len(server.messages) == words.startswith("send URL")
    said = done.stderr.decode()
    assert done.returncode == code, said
    assert said.count(CLOSED) == is_told, said


BINARY = b"\xff\xfehunter2\xff\n"


@pytest.mark.parametrize("flag", ["--password-file", "--password-command"])
def test_u5_a_password_that_is_no_text_is_not_quoted(flag: str, run: Run, home: Path) -> None:
    path = home / "secret"
    _ = path.write_bytes(BINARY)
    path.chmod(0o600)
    value = "secret" if flag == "--password-file" else "cat secret"
    with Server(users={"ann": "x"}) as server:
        url = server.url.replace("://", "://ann@")
        done = run("send", url, "letter.eml", flag, value)
    assert done.code == 78
    assert "not UTF-8" in done.err
    assert "0xff" not in done.err


@pytest.mark.parametrize("flag", ["--token-file=secret", "--auth=ann:secret"])
def test_u5_nor_are_those_of_a_server(flag: str, run: Run, home: Path) -> None:
    _ = (home / "secret").write_bytes(BINARY)
    (home / "secret").chmod(0o600)
    done = run("serve", "--smtp", "127.0.0.1:0", flag)
    assert done.code == 78
    assert "secret is not UTF-8" in done.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("password-command = 'sh -c \"'", "the password command cannot be read"),
        ("password = 5", "[work] needs password"),
        ("keyring = 'yes'", "[work] has keyring: write true or false"),
        ("from = " + "[" * 100_000, "is no TOML: "),
    ],
)
def test_accounts_with_a_mistake(line: str, said: str, run: Run, home: Path) -> None:
    path = home / "smtpx.toml"
    _ = path.write_text(f"[work]\nurl = 'smtp://ann@localhost'\n{line}\n")
    path.chmod(0o600)
    done = run("send", "@work", "letter.eml")
    assert done.code == 78
    assert said in done.err


@pytest.mark.parametrize(
    "line", ["password = 'x'", "password-file = 'x'", "password-command = 'x'", "keyring = true"]
)
@pytest.mark.parametrize("user", ["", "ann:secret@"])
def test_a_password_that_would_be_passed_over(line: str, user: str, run: Run, home: Path) -> None:
    path = home / "smtpx.toml"
    _ = path.write_text(f"[work]\nurl = 'smtp://{user}localhost'\n{line}\n")
    path.chmod(0o600)
    done = run("send", "@work", "letter.eml", "--config", "smtpx.toml")
    assert done.code == 78
    assert "its url needs a user, and no password" in done.err


def test_accounts_that_are_a_folder(run: Run, home: Path) -> None:
    (home / "smtpx.toml").mkdir()
    done = run("send", "letter.eml")
    assert done.code == 78
    assert "smtpx.toml: " in done.err


# What makes no sense.


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("send --timeout -1 letter.eml", "--timeout: "),
        ("send --timeout nan letter.eml", "--timeout: 'nan' is no number of seconds"),
        ("send --deliver --port 99999 letter.eml", "--port: '99999' is no port"),
        ("doctor localhost --port 0", "--port: '0' is no number from 1 on"),
        ("doctor localhost --mx 0", "--mx: '0' is no number"),
        ("doctor localhost --days x", "--days: 'x' is no number"),
        ("bench --to b@x.test --window 0", "--window: '0' is no number"),
        ("bench --to b@x.test --messages ٣", "--messages: '٣' is no number"),
        ("bench smtp://localhost --from a@x.test --to bob", "--to: not an address: 'bob'"),
        ("serve --keep 0", "--keep: '0' is no number"),
    ],
)
def test_numbers_and_addresses_that_are_none(words: str, said: str, run: Run) -> None:
    done = run(*words.split())
    assert done.code == 2
    assert said in done.err or "expected one argument" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    "what",
    [
        *("status", "list", "show x", "cancel x", "reconcile"),
        *("run smtp://127.0.0.1:9", "run --deliver --until-empty"),
    ],
)
def test_an_outbox_that_is_not_there_is_not_made(what: str, run: Run, home: Path) -> None:
    done = run("outbox", *what.split(), "--db", "sqlite:///mali.db")
    assert done.code == 78
    assert "mali.db does not exist" in done.err
    assert not (home / "mali.db").exists()


@pytest.mark.parametrize("flag", ["--mx", "--port"])
def test_flags_that_a_url_makes_nothing_of(flag: str, run: Run) -> None:
    done = run("doctor", "smtp://127.0.0.1:1", flag, "2")
    assert done.code == 2
    assert f"{flag} does not go with a URL" in done.err


LATIN = os.fsdecode(b"Gr\xfcn")
FROM_ANN = ["send", "smtp://127.0.0.1:9", "--from", "ann@x.test", "--to", "bob@x.test"]
UNDECODABLE = {
    "subject": [*FROM_ANN, "--subject", LATIN],
    "text": [*FROM_ANN, "--text", LATIN],
    "an address": ["send", "smtp://127.0.0.1:9", "--to", f"{LATIN}@x.test", "--from", "a@x.test"],
    "the author": ["send", "smtp://127.0.0.1:9", "--from", f"{LATIN} <a@x.test>"],
    "a header": [*FROM_ANN, "--header", f"X-Colour: {LATIN}"],
    "sendmail's name": ["send", "smtp://127.0.0.1:9", "-i", "-F", LATIN, "bob@x.test"],
    "a URL": ["send", f"smtp://{LATIN}", "letter.eml"],
    "sendmail's recipient": ["send", "smtp://127.0.0.1:9", "-i", f"{LATIN}@x.test"],
    "a host": ["doctor", LATIN],
    "where it listens": ["serve", "--smtp", f"{LATIN}:1025"],
    "a pattern": ["serve", "--release-to", "smtp://x.test", "--release-allow", LATIN],
    "a column": ["send", "smtp://127.0.0.1:9", "--merge", "r.csv", "--group-by", LATIN, "t.eml"],
}


@pytest.mark.skipif(os.name != "posix", reason="Windows gives words as Unicode")
@pytest.mark.parametrize("words", UNDECODABLE.values(), ids=UNDECODABLE)
def test_a_word_that_is_no_text_in_this_locale(words: list[str], run: Run, home: Path) -> None:
    done = run(*words)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "Gr\\xfcn" in done.err
    assert "LC_ALL" in done.err


@pytest.mark.skipif(sys.platform != "linux", reason="others want names that are text")
def test_the_name_of_a_file_need_not_be_text(run: Run, home: Path) -> None:
    _ = (home / LATIN).write_bytes((home / "letter.eml").read_bytes())
    assert run("check", LATIN).code == 0
    with Server() as server:
        done = run("send", server.url, LATIN, "--transcript", f"{LATIN}.txt")
    assert done.code == 0, done.err
    assert (home / f"{LATIN}.txt").exists()


@pytest.mark.parametrize("changed", ["t.eml", "r.csv"])
def test_a_ledger_of_another_letter_names_what_can_be_done(
    changed: str, run: Run, home: Path
) -> None:
    _ = (home / "r.csv").write_bytes(b"email,name\nbob@example.net,Bob\n")
    _ = (home / "t.eml").write_bytes(LETTER)
    with Server() as server:
        words = ["send", server.url, "t.eml", "--merge", "r.csv"]
        assert run(*words).code == 0
        text = (home / changed).read_bytes().replace(b"B", b"R").replace(b"Dear", b"Dearest")
        _ = (home / changed).write_bytes(text)
        done = run(*words, "--resume", "r.ledger")
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert "campaign" not in done.err
        # What is told to do does it.
        (home / "r.csv").rename(home / "new.csv")
        assert run("send", server.url, "t.eml", "--merge", "new.csv").code == 0
        assert len(server.messages) == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("r.json", '[{"email": "a@x.test", "name": "A"}, {"email": "b@x.test", "email": "", %s}]'),
        ("r.jsonl", '{"email": "a@x.test", "name": "A"}\n{"email": "b@x.test", "email": "", %s}\n'),
    ],
)
def test_a_row_with_a_name_twice(name: str, text: str, run: Run, home: Path) -> None:
    _ = (home / name).write_text(text % '"name": "B"')
    _ = (home / "t.eml").write_bytes(LETTER)
    done = run("send", "smtp://localhost", "t.eml", "--merge", name, "--dry-run")
    assert done.code == 65
    assert f"{name}, row 2: it has 'email' twice" in done.err


@pytest.mark.skipif(os.name != "posix", reason="Windows has no FIFO in a folder")
def test_rows_are_no_pipe(home: Path, run: Run) -> None:
    """They are read to be judged, and read again to be sent."""
    os.mkfifo(home / "rows")
    done = run("send", "smtp://localhost", "letter.eml", "--merge", "rows")
    assert (done.code, "more than once" in done.err) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        ["bounces", ""],
        ["check", ""],
        ["send", "smtp://127.0.0.1:9", ""],
        ["send", "letter.eml", "--out", ""],
        ["send", "smtp://127.0.0.1:9", "letter.eml", "--transcript="],
        ["send", "smtp://127.0.0.1:9", "letter.eml", "--merge", ""],
        ["serve", "--store", ""],
        ["serve", "--token-file", ""],
        ["send", "smtp://a@127.0.0.1:9", "letter.eml", "--password-file", ""],
    ],
)
def test_an_empty_name_is_none_of_the_folder(words: list[str], run: Run, home: Path) -> None:
    """As of a shell's variable that is not set."""
    done = run(*words)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "is empty, as of a variable" in done.err
    assert {each.name for each in home.iterdir()} == {"letter.eml"}


@pytest.mark.skipif(os.name != "posix", reason="only POSIX says who may read a file")
def test_what_has_mail_or_addresses_is_for_its_owner(run: Run, home: Path) -> None:
    before = os.umask(0o022)
    try:
        _ = (home / "rows.csv").write_text("name,address\nBob,bob@x.test\nKim,kim@x.test\n")
        _ = (home / "t.eml").write_bytes(
            b"From: Ann <ann@example.org>\nTo: <{{address}}>\nSubject: {{name}}\n\nhi\n"
        )
        with Server(refuse_recipients={"kim@x.test": "550 5.1.1 Gone"}) as server:
            assert run("send", server.url, "letter.eml", "-X", "said").code == 0
            assert run("send", server.url, "--merge", "rows.csv", "t.eml").code == 3
        assert run("send", "--merge", "rows.csv", "t.eml", "--out", "merged").code == 0
        assert run("send", "letter.eml", "--out", "one").code == 0
        assert run("check", "letter.eml", "--fix", "fixed.eml").code == 0
    finally:
        _ = os.umask(before)
    written = ["said", "rows.ledger", "rows.failures.csv", "merged/000001.eml", "one/000001.eml"]
    modes = {name: (home / name).stat().st_mode & 0o777 for name in [*written, "fixed.eml"]}
    assert modes == dict.fromkeys(modes, 0o600)


@pytest.mark.parametrize(
    ("flags", "body"),
    [
        (["-t"], "one\n"),
        (["-t", "-i"], "one\n.\ntwo\n"),
        (["-t", "-oi"], "one\n.\ntwo\n"),
        (["-t", "-oi", "-oem"], "one\n.\ntwo\n"),
        (["--to", "bob@example.net", "-"], "one\n.\ntwo\n"),  # not as sendmail
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_lone_dot_is_the_end_as_sendmail_has_it(
    flags: list[str], body: str, end: str, run: Run
) -> None:
    letter = WHOLE + b"one\n.\ntwo\n"
    with Server() as server:
        done = run("send", server.url, *flags, stdin=letter.replace(b"\n", end.encode()))
        assert done.code == 0, done.err
        (received,) = server.messages
    assert received.content.decode().endswith("hello\r\n" + body.replace("\n", "\r\n"))


def test_two_servers_are_one_too_many(run: Run) -> None:
    done = run("send", "smtp://a.test", "smtp://ann:hunter2@b.test", "letter.eml")
    assert done.code == 2
    assert "two servers are named" in done.err
    assert "hunter2" not in done.err


@pytest.mark.parametrize(
    ("account", "said"),
    [
        ("from = 'x'", "t.toml: [a] needs url"),
        ("url = 'nonsense'", "t.toml: [a] has url: "),
        ("url = 'smtp://x.test'\nkeyring = true", "t.toml: [a] has keyring"),
        ("url = 'smtp://u@x.test'\npassword = 1", "t.toml: [a] needs password"),
        ("[b]\n", "there is no account @c"),
    ],
)
def test_what_is_wrong_with_accounts_names_their_file(
    account: str, said: str, run: Run, home: Path
) -> None:
    _ = (home / "t.toml").write_text(f"[a]\n{account}\n")
    (home / "t.toml").chmod(0o600)
    name = "@c" if "@c" in said else "@a"
    done = run("send", name, "letter.eml", "--config", "t.toml")
    assert done.code == 78
    assert said in done.err
    assert "smtpx.toml" not in done.err
