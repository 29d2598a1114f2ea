"""The smaller commands: check, bounces, bench, completion, and the command itself."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import smtpx
from smtpx.cli import COMMANDS
from smtpx.testing import Extension, Server
from tests.bounces import reports

from .command import LETTER, validator
from .command import smtpx as as_process
from .conftest import Run

# The command.


def test_u1_the_version_is_light(home: Path) -> None:
    script = (
        "import sys; before = set(sys.modules); sys.argv = ['smtpx', '--version']\n"
        "from smtpx.cli import main; assert main() == 0\n"
        "heavy = {'rich', 'asyncio', 'ssl', 'email', 'argparse', 'socket', 'json', 're'}\n"
        "found = heavy & (set(sys.modules) - before)\n"
        "assert not found, found\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"smtpx {smtpx.__version__}\n"), done.stderr


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands(words: list[str], run: Run) -> None:
    done = run(*words)
    assert done.code == 0
    assert all(f"  {name} " in done.out for name in COMMANDS)


@pytest.mark.parametrize("name", [*COMMANDS, "probe"])
def test_each_has_help(name: str, run: Run) -> None:
    done = run(name, "--help")
    assert done.code == 0
    assert done.out.startswith(f"usage: smtpx {'doctor' if name == 'probe' else name} ")


def test_a_misspelt_command(run: Run) -> None:
    done = run("sned")
    assert done.code == 2
    assert "Did you mean send?" in done.err


def test_as_a_module(home: Path) -> None:
    assert as_process("--version", home=home).out == f"smtpx {smtpx.__version__}\n"


def test_debug_shows_the_traceback(run: Run) -> None:
    done = run("send", "--debug", "smpt://x", "letter.eml")
    assert done.code == 2
    assert "Traceback" in done.err
    assert "smtpx.errors.EndpointError" in done.err


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_colour(
    variables: dict[str, str], coloured: bool, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ("\x1b[" in run("send", "smtp://127.0.0.1:9", "nothing.eml").err) is coloured


@pytest.mark.parametrize("closed", ["stdin", "stdout", "stderr"])
def test_a_stream_that_is_closed(
    closed: str, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As cron and daemons start programs: Python has None in its place."""
    from smtpx.cli import main

    with Server() as server:
        monkeypatch.setattr(sys, closed, None)
        words = ["send", server.url, "--from", "a@example.org", "--to", "b@example.net"]
        assert main(words if closed == "stdin" else [*words, "--text", "x"]) == 0
        assert len(server.messages) == 1


def test_usage_is_a_document_too(run: Run) -> None:
    done = run("send", "--json", "--nope")
    assert done.code == 2
    assert "--nope" in done.json["error"]["message"]


def test_a_value_that_is_out_of_range(run: Run) -> None:
    done = run("send", "smtp://127.0.0.1:9", "letter.eml", "--timeout", "-1")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "--timeout: '-1' is no number of seconds above 0" in done.err


def test_a_mistake_of_ours_is_no_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from smtpx.cli import check

    monkeypatch.setattr(check, "read_octets", lambda _: [][0])
    done = run("check", "--json", "letter.eml")
    assert done.code == 70
    assert "--debug" in done.err
    assert "Traceback" not in done.err
    assert done.json["error"]["kind"] == "IndexError"


# check


def test_check(run: Run, home: Path) -> None:
    _ = (home / "bad.eml").write_bytes(LETTER.replace(b"Date:", b"X-Date:"))
    done = run("check", "--json", "letter.eml", "bad.eml")
    assert done.code == 1
    good, bad = done.json["messages"]
    assert good["findings"] == []
    assert "DATE_MISSING" in {each["rule"] for each in bad["findings"]}
    assert run("check", "--rule=-DATE_MISSING", "bad.eml").code == 0
    assert run("check", "--rule=+SUBJECT_FUNNY", "bad.eml").code == 2
    assert run("check", "--rule=+NUL", "bad.eml").code == 0


def test_check_for_a_server(run: Run, home: Path) -> None:
    with Server(size_limit=100, extensions={Extension.SIZE}) as server:
        done = run("check", "--json", "--for", server.url, "letter.eml")
    assert done.code == 1
    assert done.json["messages"][0]["findings"][0]["rule"] == "SIZE_EXCEEDED"


def test_check_mends(run: Run, home: Path) -> None:
    _ = (home / "bad.eml").write_bytes(LETTER.replace(b"Date:", b"X-Date:"))
    assert run("check", "--fix", "good.eml", "bad.eml").code == 1
    assert run("check", "good.eml").code == 0


def test_check_reads_standard_input(run: Run) -> None:
    assert run("check", "-", stdin=LETTER).code == 0
    assert run("check", "-", stdin=b"").code == 65


# bounces


@pytest.fixture
def kept(home: Path) -> dict[str, str]:
    """The same reports as people keep them."""
    bounce, other = reports.POSTFIX, LETTER
    _ = (home / "bounce.eml").write_bytes(bounce)
    lf = b"From mailer Mon Nov 29\n" + bounce.replace(b"\r\n", b"\n") + b"\n"
    _ = (home / "spool").write_bytes(lf + lf + b"From ann Mon Nov 29\n" + other)
    for name in ("cur", "new", "tmp"):
        (home / "Maildir" / name).mkdir(parents=True)
    _ = (home / "Maildir" / "new" / "1.eml").write_bytes(bounce)
    _ = (home / "Maildir" / "cur" / "2.eml:2,S").write_bytes(other)
    (home / "folder" / "deeper").mkdir(parents=True)
    _ = (home / "folder" / "deeper" / "a.eml").write_bytes(bounce)
    return {"bounce.eml": "1 0", "spool": "2 1", "Maildir": "1 1", "folder": "1 0"}


@pytest.mark.parametrize("name", ["bounce.eml", "spool", "Maildir", "folder"])
@pytest.mark.skipif(sys.platform == "win32", reason="a Maildir's names have colons")
def test_bounces(name: str, kept: dict[str, str], run: Run) -> None:
    done = run("bounces", "--json", name)
    document = done.json
    assert f"{len(document['reports'])} {document['others']}" == kept[name]
    (failed, _) = document["reports"][0]["recipients"]
    assert (failed["recipient"], failed["reason"]) == ("bob+news@example.org", "bad mailbox")


def test_bounces_as_csv_and_lines(kept: dict[str, str], run: Run) -> None:
    table = list(csv.DictReader(run("bounces", "--csv", "spool").out.splitlines()))
    assert [row["reason"] for row in table] == ["bad mailbox", "network"] * 2
    lines = run("bounces", "--jsonl", "spool").out.splitlines()
    for line in lines:
        validator().validate(json.loads(line))
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("column", "groups"),
    [
        ("domain", {"example.org": 4}),
        ("reason", {"bad mailbox": 2, "network": 2}),
        ("action", {"failed": 2, "delayed": 2}),
    ],
)
def test_bounces_in_groups(
    column: str, groups: dict[str, int], kept: dict[str, str], run: Run
) -> None:
    document = run("bounces", "--json", "--group-by", column, "spool").json
    assert (document["groups"], document["others"]) == (groups, 1)
    table = list(csv.reader(run("bounces", "--csv", "--group-by", column, "spool").out.split("\n")))
    assert table[0] == [column, "count"]
    lines = run("bounces", "--jsonl", "--group-by", column, "spool").out.splitlines()
    for line in lines:
        validator().validate(json.loads(line))
    assert {json.loads(line)[column]: json.loads(line)["count"] for line in lines} == groups
    assert run("bounces", "--group-by", column, "spool").out.endswith(
        "2 reports, 1 other message\n"
    )


def test_bounces_without_a_reason_have_a_word_in_groups(run: Run) -> None:
    delivered = reports.report(
        "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822;bob@example.net\nAction: delivered\n"
    )
    done = run("bounces", "--json", "--group-by", "reason", "-", stdin=delivered)
    assert done.json["groups"] == {"none": 1}


def test_bounces_none(kept: dict[str, str], run: Run) -> None:
    done = run("bounces", "letter.eml")
    assert done.code == 1
    assert run("bounces", "-", stdin=reports.POSTFIX).code == 0
    assert run("bounces", "nowhere").code == 2


def test_a_formula_stays_a_text(run: Run, home: Path) -> None:
    evil = reports.POSTFIX.replace(b"550 5.1.1", b"=cmd|' /C calc'!A0 550 5.1.1")
    done = run("bounces", "--csv", "-", stdin=evil)
    cells = [cell for row in csv.reader(done.out.splitlines()) for cell in row]
    assert not [cell for cell in cells if cell.startswith("=")]


# bench


def test_bench(run: Run) -> None:
    with Server() as server:
        done = run(
            *("bench", "--json", server.url, "--from", "a@example.org", "--to", "b@example.net"),
            *("--messages", "5", "--size", "2K", "--compare", "smtplib"),
        )
        assert len(server.messages) == 3 * 6  # each way, and one before its clock runs
        assert server.breaches == []
    assert done.code == 0
    assert set(done.json["messages_per_second"]) == {
        *("smtpx, one after the other", "smtpx, send_many", "smtplib")
    }


@pytest.mark.parametrize(
    "words", [["--messages", "1001"], ["--messages", "0"], ["--connections", "6"]]
)
def test_bench_is_polite(words: list[str], run: Run) -> None:
    done = run("bench", "smtp://mx.example.net", "--from", "a@b.test", "--to", "b@b.test", *words)
    assert done.code == 2
    assert words[0] in done.err


# completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script(shell: str, run: Run, home: Path) -> None:
    done = run("completion", shell)
    assert done.code == 0
    assert "--dry-run" in done.out or "-l dry-run" in done.out
    if (found := shutil.which(shell)) is not None:
        _ = (home / "script").write_text(done.out)
        assert subprocess.run([found, "-n", "script"], check=False).returncode == 0


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes(run: Run, home: Path) -> None:
    script = run("completion", "bash").out
    ask = "COMP_WORDS=(smtpx send --dry); COMP_CWORD=2; _smtpx; echo ${COMPREPLY[@]}"
    done = subprocess.run(
        ["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=False
    )
    assert done.stdout == "--dry-run\n"
