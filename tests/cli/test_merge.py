"""``smtpx send --merge`` and ``smtpx outbox``: killed, resumed, nobody mailed twice (U10)."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

import smtpx
from smtpx.outbox import Outbox
from smtpx.outbox._statements import Statements, Tell
from smtpx.testing import Server
from tests.slow_server import SlowServer

from .command import Done, environment, validator
from .conftest import Run

LETTER = (
    b"From: Ann <ann@example.org>\nTo: {{name}} <{{address}}>\nSubject: Hello {{name}}\n\n"
    b"Dear {{name}}\n"
)


@pytest.fixture
def rows(home: Path) -> Path:
    _ = (home / "letter.eml").write_bytes(LETTER)
    path = home / "rows.csv"
    _ = path.write_text("name,address\nBob,bob@example.net\nZoë,zoe@example.net\nKim,kim@x.test\n")
    return path


def write_rows(path: Path, count: int) -> None:
    lines = [f"Reader {n},reader{n}@example.net" for n in range(count)]
    _ = path.write_text("\n".join(["name,address", *lines, ""]), encoding="utf-8")


def test_each_row_gets_a_copy(run: Run, rows: Path, home: Path) -> None:
    with Server(refuse_recipients={"kim@x.test": "550 5.1.1 No such user"}) as server:
        done = run("send", "--json", server.url, "--merge", "rows.csv", "letter.eml")
        assert done.code == 3, done.err
        subjects = {message.parsed["Subject"] for message in server.messages}
        assert server.breaches == []
    assert subjects == {"Hello Bob", "Hello Zoë"}
    assert done.json["counts"] == {"accepted": 2, "refused": 1}
    with (home / "rows.failures.csv").open(newline="") as file:
        (failure,) = csv.DictReader(file)
    assert failure == {
        "recipient": "kim@x.test",
        "state": "refused",
        "reply": "550 5.1.1 No such user",
    }


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_other_forms_of_rows(form: str, run: Run, rows: Path, home: Path) -> None:
    row = '{"name": "Bob", "address": "bob@example.net"}'
    _ = (home / f"r.{form}").write_text(f"[{row}]" if form == "json" else f"{row}\n")
    with Server() as server:
        done = run("send", server.url, "--merge", f"r.{form}", "letter.eml")
        assert done.code == 0, done.err
        assert len(server.messages) == 1


def test_a_letter_of_flags(run: Run, rows: Path) -> None:
    with Server() as server:
        done = run(
            *("send", server.url, "--merge", "rows.csv", "--from", "ann@example.org"),
            *("--to", "{{name}} <{{address}}>", "--subject", "Hi {{name}}", "--text", "x"),
        )
        assert done.code == 0, done.err
        assert len(server.messages) == 3


def test_what_comes_later_is_resumed(run: Run, rows: Path, home: Path) -> None:
    with Server() as server:
        done = run("send", server.url, "--merge", "rows.csv", "letter.eml", "--limit", "2")
        assert done.code == 0
        again = run("send", server.url, "--merge", "rows.csv", "letter.eml")
        assert again.code == 2
        assert "--resume" in again.err
        resumed = run(
            *("send", server.url, "--merge", "rows.csv", "letter.eml"),
            *("--resume", "rows.ledger"),
        )
        assert resumed.code == 0, resumed.err
        to = Counter(message.recipients for message in server.messages)
    assert set(to.values()) == {1}
    assert len(to) == 3


def test_a_dry_run_and_files(run: Run, rows: Path, home: Path) -> None:
    done = run("send", "--dry-run", "--merge", "rows.csv", "letter.eml")
    assert (done.code, done.out) == (0, "3 rows, each with name, address\n")
    assert run("send", "--out", "out", "--merge", "rows.csv", "letter.eml").code == 0
    assert len(list((home / "out").iterdir())) == 3


BAD = {
    "a column is missing": ("nom,address\nBob,bob@example.net\n", "there is no column 'name'"),
    "an address is none": ("name,address\nBob,bob@example.net\nKim,kim at x\n", "row 2"),
    "no header": ("", "no header"),
    "no rows": ("name,address\n", "no rows"),
    "columns are missing": (
        "nom,adresse\nBob,bob@example.net\n",
        "there is no column 'name' and no column 'address', which the letter has",
    ),
    "a column twice": ("name,address,name\nB,b@x.test,C\n", "two columns 'name'"),
    "not UTF-8": ("name,address\nB\udcff,b@x.test\n", "is not UTF-8"),
    "a row is short": ("name,address\nBob\n", "row 1: it has not as many columns"),
    "a cell larger than any": (
        "name,address\nB,b@x.test\n" + "x" * 200_000 + ",b@x.test\n",
        "rows.csv, row 2 cannot be read: field larger",
    ),
    "injection": ('name,address\n"B\nBcc: x@y",bob@example.net\n', "row 1"),
}


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD)
def test_bad_rows_are_named_before_anything_is_sent(
    text: str, said: str, run: Run, rows: Path
) -> None:
    _ = rows.write_bytes(text.encode("utf-8", "surrogateescape"))
    with Server() as server:
        done = run("send", server.url, "--merge", "rows.csv", "letter.eml")
        assert server.sessions == []
    assert done.code == 65
    assert said in done.err
    assert done.err.count("\n") == 1


JSON = {
    "a list in it": ('{"name": ["B"], "address": "b@x.test"}', "row 1: field 'name' is [\"B\"]"),
    "neither yes nor no": ('{"name": true, "address": "b@x.test"}', "row 1: field 'name' is true"),
    "no number": ('{"name": NaN, "address": "b@x.test"}', "row 1 cannot be read: NaN is no JSON"),
    "the second line": ('{"name": "B", "address": "b@x.test"}\n{', "row 2 cannot be read"),
    "a number longer than any": ('{"name": ' + "1" * 5000 + "}", "row 1 cannot be read"),
    "nested too deep": ("[" * 100_000, "row 1 cannot be read"),
}


@pytest.mark.parametrize(("text", "said"), JSON.values(), ids=JSON)
def test_bad_rows_of_json_are_named(text: str, said: str, run: Run, home: Path, rows: Path) -> None:
    _ = (home / "rows.jsonl").write_text(text)
    done = run("send", "smtp://127.0.0.1:9", "--merge", "rows.jsonl", "letter.eml")
    assert done.code == 65
    assert f"rows.jsonl, {said}" in done.err
    assert "sys.set" not in done.err
    assert done.err.count("\n") == 1


ORDERS = (
    "address,name,order,price\nbob@example.net,Bob,A-1,5\nkim@x.test,Kim,B-1,7\n"
    "bob@example.net,Bob,A-2,5\n"
)


def test_u10_rows_of_one_address_are_one_letter(run: Run, rows: Path, home: Path) -> None:
    _ = rows.write_text(ORDERS)
    _ = (home / "letter.eml").write_bytes(LETTER + b"{{order}}\nat {{price}}\n")
    words = ["send", "--merge", "rows.csv", "letter.eml", "--group-by", "address"]
    with Server() as server:
        done = run(*words, server.url)
        assert (done.code, done.out) == (0, "2 rows: 2 accepted\n"), done.err
        texts = {mail.recipients[0]: mail.parsed.get_content() for mail in server.messages}
        again = run(*words, server.url, "--resume", "rows.ledger")
        assert (again.code, len(server.messages)) == (0, 2)  # the same rows, in the same order
    # What differs in one group stands as lines in all of them; what does not stands once.
    assert texts["bob@example.net"].split() == ["Dear", "Bob", "A-1", "A-2", "at", "5"]
    assert texts["kim@x.test"].split() == ["Dear", "Kim", "B-1", "at", "7"]


def test_a_column_to_group_by_that_is_not_there(run: Run, rows: Path) -> None:
    done = run("send", "--dry-run", "--merge", "rows.csv", "letter.eml", "--group-by", "adress")
    assert done.code == 65
    assert "row 1: there is no column 'adress' to group by" in done.err


def test_lists_in_a_header_are_told_with_their_group(run: Run, rows: Path, home: Path) -> None:
    _ = rows.write_text(ORDERS)
    _ = (home / "letter.eml").write_bytes(LETTER.replace(b"Hello {{name}}", b"{{order}}"))
    done = run("send", "--dry-run", "--merge", "rows.csv", "letter.eml", "--group-by", "address")
    assert done.code == 65
    assert "the rows of 'bob@example.net': " in done.err


def test_a_line_for_each_recipient(run: Run, rows: Path) -> None:
    with Server(refuse_recipients={"kim@x.test": "550 5.1.1 No such user"}) as server:
        done = run("send", "--jsonl", server.url, "--merge", "rows.csv", "letter.eml")
    lines = [json.loads(line) for line in done.out.splitlines()]
    for line in lines:
        validator().validate(line)
    states = {line["recipient"]: line["state"] for line in lines}
    assert (states["kim@x.test"], states["bob@example.net"]) == ("refused", "accepted")


def test_a_reverse_path_with_a_field(run: Run, rows: Path) -> None:
    with Server() as server:
        words = ["--merge", "rows.csv", "letter.eml", "-f", "bounces+{{name}}@example.org"]
        assert run("send", server.url, *words, "--limit", "1").code == 0
        assert server.messages[0].sender == "bounces+Bob@example.org"


def test_a_failure_is_no_formula(run: Run, rows: Path, home: Path) -> None:
    _ = rows.write_text("name,address\nBob,=bob@example.net\n")
    with Server(refuse_recipients=lambda _: "550 5.1.1 No such user") as server:
        assert run("send", server.url, "--merge", "rows.csv", "letter.eml").code == 67
    with (home / "rows.failures.csv").open(newline="") as file:
        (failure,) = csv.DictReader(file)
    assert failure["recipient"] == "'=bob@example.net"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rate", "5/s"], "--rate is for --merge"),
        (["--limit", "1"], "--limit is for --merge"),
        (["--group-by", "name"], "--group-by is for --merge"),
        (["--merge", "rows.csv", "--stop-after", "rcpt"], "--stop-after is for one message"),
        (["--merge", "rows.csv", "--notify", "never"], "--notify is for one message"),
        (["--merge", "rows.csv", "--subject", "x"], "--subject is for a message made here"),
        (["--merge", "rows.csv", "--limit", "0"], "'0' is no number from 1 on"),
        (["--json", "--jsonl"], "give one of them"),
    ],
)
def test_what_has_no_meaning_is_told(
    words: list[str], said: str, run: Run, rows: Path, home: Path
) -> None:
    done = run("send", "smtp://127.0.0.1:9", "letter.eml", *words)
    assert done.code == 2
    assert said in done.err


# What a person forgets


def test_a_letter_that_would_go_to_one_reader_is_refused(run: Run, rows: Path, home: Path) -> None:
    _ = (home / "letter.eml").write_bytes(LETTER.replace(b"{{address}}", b"bob@example.net"))
    with Server() as server:
        done = run("send", server.url, "--merge", "rows.csv", "letter.eml")
        assert server.sessions == []
        assert done.code == 2
        assert "all 3 rows would go to bob@example.net" in done.err
        one = run("send", server.url, "--merge", "rows.csv", "letter.eml", "--limit", "1")
        assert (one.code, len(server.messages)) == (0, 1), one.err


def test_addresses_that_come_twice_are_told(run: Run, rows: Path) -> None:
    _ = rows.write_text("name,address\nBob,bob@example.net\nB,Bob@example.net\nKim,kim@x.test\n")
    done = run("send", "--dry-run", "--merge", "rows.csv", "letter.eml")
    assert done.code == 0
    assert "2 rows have an address that another row has too, such as bob@example.net" in done.err
    assert "--group-by" in done.err


def test_all_that_is_wrong_with_rows_is_told_at_once(run: Run, rows: Path) -> None:
    bad = [f"R{n},reader {n}" for n in range(12)]
    _ = rows.write_text("\n".join(["name,address", "Bob", *bad, "Bob", 'K,"x\n']))
    done = run("send", "--dry-run", "--merge", "rows.csv", "letter.eml")
    lines = done.err.splitlines()
    assert (done.code, len(lines)) == (65, 11), done.err
    assert lines[0].startswith("smtpx: rows.csv, row 15 cannot be read")
    assert "rows.csv, row 1: it has not as many columns as the header (and 1 other row)" in lines[1]
    assert "rows.csv, row 2: field 'address'" in lines[2]
    assert lines[-1] == (
        "smtpx: 14 rows cannot be merged, and 4 problems more are not listed: nothing was sent"
    )


def test_u10_to_go_on_is_a_command_that_works(run: Run, rows: Path) -> None:
    words = ["--merge", "rows.csv", "letter.eml"]
    full = "452 4.2.2 Mailbox full"
    with Server(users={"ann": "s3cret"}, refuse_recipients=lambda _: full) as server:
        url = server.url.replace("//", "//ann:s3cret@")
        later = run("send", url, *words)
        there = run("send", url, *words)
        for said in (later.err, there.err):
            assert "s3cret" not in said
            _, _, command = said.strip().partition("on with: ")
            again = shlex.split(command.replace("PASSWORD", "s3cret"))
            assert again[:2] == ["smtpx", "send"]
            assert run(*again[1:]).code == 75
        assert (later.code, there.code) == (75, 2)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_u10_asked_to_end_it_ends_and_says_how_to_go_on(
    name: str, run: Run, rows: Path, home: Path
) -> None:
    write_rows(rows, 60)
    words = ["send", "--merge", "rows.csv", "letter.eml"]
    with Server() as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "smtpx", *words, server.url, "--rate", "10/s"],
            cwd=home,
            env=environment(home),
            stderr=subprocess.PIPE,
        )
        with process:
            while not server.messages and process.poll() is None:
                _ = threading.Event().wait(0.01)
            process.send_signal(getattr(signal, name))
            _, said = process.communicate(timeout=5)
        sent = len(server.messages)
        assert (process.returncode, 0 < sent < 60) == (130, True), said
        with (home / "rows.failures.csv").open(newline="") as file:
            assert len([*csv.DictReader(file)]) == 60 - sent
        _, _, command = said.decode().strip().partition("on with: ")
        assert run(*shlex.split(command.replace("10/s", "1000/s"))[1:]).code == 0
        assert len(server.messages) == len({each.recipients for each in server.messages}) == 60


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
@pytest.mark.parametrize(("name", "times"), [("SIGINT", 1), ("SIGTERM", 2), ("SIGHUP", 2)])
def test_u10_interrupted_it_tells_what_became_of_each(
    name: str, times: int, run: Run, rows: Path, home: Path
) -> None:
    table = "name,address\nBob,bob@x.test\nZoë,slow@x.test\nKim,kim@x.test\n"
    for form in ("", "--json", "--jsonl"):
        _ = rows.write_text(table)
        (home / "rows.ledger").unlink(missing_ok=True)
        (home / "rows.failures.csv").unlink(missing_ok=True)
        words = ["send", "--merge", "rows.csv", "letter.eml", "--connections", "1", *form.split()]
        with SlowServer() as server:
            process = subprocess.Popen(
                [sys.executable, "-m", "smtpx", *words, server.url],
                cwd=home,
                env=environment(home),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            with process:
                assert server.begun.wait(30)
                for _ in range(times):
                    process.send_signal(getattr(signal, name))
                    _ = threading.Event().wait(0.5)
                out, err = process.communicate(timeout=20)
            done = Done(process.returncode, out.decode(), err.decode())
            assert done.code == 130, done
            assert "in doubt: slow@x.test\n" in done.err
            assert "smtpx: interrupted: not everybody has accepted it" in done.err
            with (home / "rows.failures.csv").open(newline="") as file:
                failures = {row["recipient"]: row["state"] for row in csv.DictReader(file)}
            assert failures == {"slow@x.test": "in doubt", "kim@x.test": "waiting"}
            if form == "--json":
                assert done.json["counts"] == {"accepted": 1, "in doubt": 1, "waiting": 1}
                assert done.json["error"]["kind"] == "Interrupted"
            elif form == "--jsonl":
                told = [json.loads(line) for line in done.out.splitlines()]
                states = {each["recipient"]: each["state"] for each in told}
                assert states == failures | {"bob@x.test": "accepted"}
            else:
                assert done.out == "3 rows: 1 waiting, 1 accepted, 1 in doubt\n"
            _, _, command = done.err.strip().rpartition("on with: ")
            server.released.set()
            assert run(*shlex.split(command)[1:]).code == 4


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize(("flag", "code"), [("", 0), ("--until-empty", 130)])
def test_a_worker_that_is_asked_to_end_finishes_what_is_on_its_way(
    name: str, flag: str, code: int, run: Run, rows: Path, home: Path
) -> None:
    """To be asked is how a worker ends; one that was to empty the outbox is not done."""
    with Outbox("sqlite:///x.db") as outbox:
        for to in ("slow@x.test", "kim@x.test"):
            message = smtpx.compose(sender="ann@x.test", to=to, text="hi")
            _ = outbox.put(message, on_doubt="hold")
    words = ["outbox", "run", "--db", "sqlite:///x.db", "--rate", "1/min", *flag.split()]
    with SlowServer() as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "smtpx", *words, server.url, "--json"],
            cwd=home,
            env=environment(home),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with process:
            assert server.begun.wait(30)
            process.send_signal(getattr(signal, name))
            _ = threading.Event().wait(0.5)
            server.released.set()
            out, err = process.communicate(timeout=20)
    done = Done(process.returncode, out.decode(), err.decode())
    assert (done.code, done.json["exit"]) == (code, code), done
    counts = json.loads(run("outbox", "status", "--json", "--db", "sqlite:///x.db").out)["counts"]
    assert (counts["accepted"], counts["waiting"]) == (1, 1)


@pytest.mark.slow
def test_u10_killed_and_resumed_nobody_is_mailed_twice(run: Run, rows: Path, home: Path) -> None:
    """kill -9 in the middle; then each has it once, and only who is listed in doubt may lack it."""
    count = 10_000
    write_rows(rows, count)
    words = ["send", "--merge", "rows.csv", "letter.eml"]
    with Server() as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "smtpx", *words, server.url, "--rate", "2000/s"],
            cwd=home,
            env=environment(home),
            stderr=subprocess.DEVNULL,
        )
        waited = threading.Event()
        for _ in range(600):
            if len(server.messages) > 2000 or process.poll() is not None:
                break
            _ = waited.wait(0.05)
        process.kill()
        _ = process.wait(60)
        _ = server.wait_until_idle(30)
        sent = len(server.messages)
        assert 0 < sent < count
        done = run("send", "--json", *words[1:], server.url, "--resume", "rows.ledger")
        to = Counter(message.recipients[0] for message in server.messages)
    document = done.json
    in_doubt = document["counts"].get("in doubt", 0)
    assert done.code == (4 if in_doubt else 0)
    assert set(to.values()) == {1}
    assert len(to) >= count - in_doubt
    assert document["counts"]["accepted"] == count - in_doubt
    if in_doubt:
        with (home / "rows.failures.csv").open(newline="") as file:
            listed = {row["recipient"] for row in csv.DictReader(file)}
        everybody = {f"reader{n}@example.net" for n in range(count)}
        assert everybody - to.keys() <= listed


# outbox


def test_the_outbox_is_seen_and_settled(run: Run, rows: Path, home: Path) -> None:
    db = ("--db", "sqlite:///rows.ledger")
    gone = {"kim@x.test": "550 5.1.1 No such user"}
    with Server(refuse_recipients=gone) as server:
        assert run("send", server.url, "--merge", "rows.csv", "letter.eml").code == 3
    status = run("outbox", "--json", "status", *db)
    assert (status.json["counts"]["accepted"], status.json["counts"]["refused"]) == (2, 1)
    (refused,) = run("outbox", "--json", "list", "refused", *db).json["deliveries"]
    assert refused["recipient"] == "kim@x.test"
    shown = run("outbox", "--json", "show", refused["submission"], *db)
    assert shown.json["deliveries"]
    assert run("outbox", "retry", refused["submission"], *db).code == 0
    with Server() as server:
        done = run("outbox", "run", server.url, "--until-empty", *db)
        assert (done.code, len(server.messages)) == (0, 1), done.err
    assert run("outbox", "--json", "reconcile", *db).json["batches"] == []


@pytest.mark.parametrize(
    ("rates", "to_net", "to_org"),
    [
        (["1/h"], 1, 0),  # One server is one next hop.
        (["example.net=1/h"], 1, 3),
        (["example.net=1/h", "1000/s"], 1, 3),
        ([" Example.NET = 2/d"], 1, 3),
    ],
)
def test_the_worker_keeps_a_rate(run: Run, rates: list[str], to_net: int, to_org: int) -> None:
    letter = b"Subject: hi\r\n\r\n"
    with smtpx.Outbox("sqlite:///x.db") as outbox:
        for domain in ("example.net", "example.org") * 3:
            outbox.put(letter, smtpx.Envelope("ann@x.test", f"bob@{domain}"))
    words = [word for rate in rates for word in ("--rate", rate)]
    with Server() as server:
        done = run("outbox", "run", server.url, "--until-empty", "--db", "sqlite:///x.db", *words)
        to = [message.recipients[0].partition("@")[2] for message in server.messages]
    assert done.code == 3
    assert (to.count("example.net"), to.count("example.org")) == (to_net, to_org)


def test_the_worker_reports_to_senders(run: Run) -> None:
    with smtpx.Outbox("sqlite:///x.db") as outbox:
        outbox.put(b"Subject: hi\r\n\r\n", smtpx.Envelope("ann@x.test", "kim@x.test"))
    words = ("--until-empty", "--db", "sqlite:///x.db", "--bounces", "MAILER-DAEMON@x.test")
    with Server(refuse_recipients={"kim@x.test": "550 5.1.1 No such user"}) as server:
        _ = run("outbox", "run", server.url, *words)
        (report,) = server.messages
    assert (report.sender, report.recipients) == ("", ("ann@x.test",))
    assert report.parsed["From"].addresses[0].addr_spec == "MAILER-DAEMON@x.test"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("run smtp://localhost --rate 10", "no rate such as 10/s"),
        ("run smtp://localhost --rate x.test=10", "no rate such as 10/s"),
        ("run smtp://localhost --rate @x.test=10/s", "--rate: '@x.test' is no domain"),
        ("run smtp://localhost --bounces ann@", "ann@"),
        ("status --rate 10/s", "--rate goes with smtpx outbox run"),
        ("list --bounces ann@x.test", "--bounces goes with smtpx outbox run"),
    ],
)
def test_what_a_worker_cannot_keep_is_told(run: Run, words: str, told: str) -> None:
    smtpx.Outbox("sqlite:///x.db").close()
    done = run("outbox", *words.split(), "--db", "sqlite:///x.db")
    assert (done.code, told in done.err) == (2, True), done.err


def test_what_comes_too_late_is_told(run: Run) -> None:
    db = ("--db", "sqlite:///x.db")
    with smtpx.Outbox("sqlite:///x.db") as outbox, Server() as server:
        several = [(b"Subject: hi\r\n\r\n", smtpx.Envelope("a@x.test", "b@x.test"))] * 2
        sent, doubtful = outbox.put_many(several)
        outbox.run(server.url, until_empty=True)
        _ = outbox._store.transact(_doubted, doubtful)
        waiting = outbox.put(*several[0])
    for _ in range(2):
        assert run("outbox", "cancel", waiting, *db).code == 0
    late = run("outbox", "cancel", sent, *db)
    assert (late.code, late.err) == (
        1,
        f"smtpx: {sent}: nothing was done: 1 accepted: it was sent\n",
    )
    assert run("outbox", "retry", sent, *db).code == 0
    unknown = run("outbox", "retry", doubtful, *db)
    assert unknown.code == 1
    assert "1 in doubt: smtpx outbox resolve" in unknown.err


@pytest.mark.parametrize("what", ["retry", "cancel"])
def test_each_message_is_dealt_with_though_one_is_unknown(run: Run, what: str) -> None:
    db = ("--db", "sqlite:///x.db")
    with smtpx.Outbox("sqlite:///x.db") as outbox:
        one, other = (
            outbox.put(b"Subject: hi\r\n\r\n", smtpx.Envelope("a@x.test", "b@x.test"))
            for _ in range(2)
        )
    done = run("outbox", what, one, "zz", other, *db)
    assert done.code == 2
    past = {"retry": "are tried again", "cancel": "cancelled"}[what]
    assert done.out == f"{one}: 1 {past}\n{other}: 1 {past}\n"
    assert "no message 'zz'" in done.err
    told = run("outbox", "--json", what, "zz", one, *db).json
    assert (told["exit"], told["unknown"], list(told["changed"])) == (2, ["zz"], [one])


def _doubted(id: str) -> Statements[None]:
    _ = yield Tell("UPDATE smtpx_delivery SET state = 'in doubt' WHERE message = ?", [(id,)])


def test_a_run_tells_of_what_it_did_and_not_of_last_month(run: Run, rows: Path, home: Path) -> None:
    db = ("--db", "sqlite:///rows.ledger")
    gone = {"kim@x.test": "550 5.1.1 No such user"}
    with Server(refuse_recipients=gone) as server:
        assert run("send", server.url, "--merge", "rows.csv", "letter.eml").code == 3
        assert run("outbox", "run", server.url, "--until-empty", *db).code == 0
        (refused,) = run("outbox", "--json", "list", "refused", *db).json["deliveries"]
        assert run("outbox", "retry", refused["submission"], *db).code == 0
        assert run("outbox", "run", server.url, "--until-empty", *db).code == 67


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["status"], 2),
        (["list", "lost", "--db", "sqlite:///x.db"], 2),
        (["show", "nothing", "--db", "sqlite:///x.db"], 2),
        (["cancel", "--db", "sqlite:///x.db"], 2),
        (["resolve", "a", "b@x.test", "maybe", "--db", "sqlite:///x.db"], 2),
        (["status", "--db", "mysql://x"], 2),
        (["status", "--db", "sqlite:////nowhere/at/all/x.db"], 78),
    ],
)
def test_bad_input_is_one_sentence(words: list[str], code: int, run: Run) -> None:
    smtpx.Outbox("sqlite:///x.db").close()
    done = run("outbox", *words)
    assert done.code == code, done.err
    assert done.err.count("\n") == 1


def test_u2_what_is_wrong_with_an_outbox(run: Run, home: Path) -> None:
    """78 where somebody has to mend it, 75 where to wait is enough, 2 for the command line."""
    (home / "text").write_bytes(b"no database, but long enough to be looked at " * 100)
    smtpx.Outbox(f"sqlite:///{home}/a mail.db").close()
    codes = {
        "sqlite:///a%20mail.db": 0,
        "sqlite:///.": 78,
        "sqlite:///missing.db": 78,
        "sqlite:///missing/mail.db": 78,
        "sqlite:///text": 78,
        "sqlite:///text/mail.db": 78,
        f"sqlite:///{'x' * 300}": 78,
        "sqlite:///:memory:": 2,
        "sqlite:///mail.db?x=1": 2,
        "mysql://localhost/x": 2,
        "postgresql://[": 2,
        "postgresql://127.0.0.1:1/x": 75,
        "": 2,
    }
    told = {url: run("outbox", "status", "--json", "--db", url) for url in codes}
    assert {url: done.json["exit"] for url, done in told.items()} == codes
    assert all(done.err.count("\n") == bool(done.code) for done in told.values())


def test_u2_it_is_told_where_a_wrong_url_comes_from(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTPX_OUTBOX", "mysql://localhost/x")
    done = run("outbox", "status")
    assert (done.code, done.err.startswith("smtpx: SMTPX_OUTBOX: give 'sqlite:")) == (78, True)
