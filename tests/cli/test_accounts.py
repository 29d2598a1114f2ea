"""Which server is meant, and where its password comes from, unseen (U5)."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from smtpx.cli import main
from smtpx.testing import Refuse, Server, Stall

from .command import LETTER, environment, smtpx
from .conftest import Run

SECRET = "hunter2-of-ann"
POSIX = pytest.mark.skipif(os.name != "posix", reason="only POSIX says who may read a file")


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    _ = path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


@pytest.fixture
def sent(run: Run):
    """Send with these words to a server that wants ann's login; it must work, and stay unseen."""

    def sent(server: Server, *words: str) -> None:
        done = run("send", "-vv", *words, "letter.eml")
        assert done.code == 0, done.err
        assert server.messages[-1].user == "ann"
        assert SECRET not in done.out + done.err

    return sent


@pytest.fixture
def server():
    with Server(users={"ann": SECRET}, require_authentication=True) as server:
        yield server


def url(server: Server, user: str = "ann") -> str:
    return server.url.replace("//", f"//{user}@")


PRINTS = f'{sys.executable} -c "print(chr(104)+{SECRET[1:]!r})"'


def test_a_file(server: Server, sent, home: Path) -> None:
    written(home / "pw", f"{SECRET}\nwhatever\n")
    sent(server, url(server), "--password-file", "pw")


@pytest.mark.skipif(os.name != "posix", reason="the command is quoted as a POSIX shell does")
def test_a_command(server: Server, sent) -> None:
    sent(server, url(server), "--password-command", PRINTS)


def test_the_environment(server: Server, sent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTPX_PASSWORD", SECRET)
    sent(server, url(server))


def test_the_keyring(server: Server, sent, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    ring = SimpleNamespace(get_password=lambda service, user: SECRET if user == "ann" else None)
    monkeypatch.setitem(sys.modules, "keyring", ring)
    sent(server, url(server), "--keyring")


def test_a_keyring_without_it_says_what_to_do(
    server: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    def fails(service: str, user: str) -> str:
        raise RuntimeError("No recommended backend was available.")

    for get, why in (
        (lambda *_: None, "has no password of ann"),
        (fails, "No recommended backend"),
    ):
        monkeypatch.setitem(sys.modules, "keyring", SimpleNamespace(get_password=get))
        done = run("send", url(server), "letter.eml", "--keyring")
        assert done.code == 78
        assert why in done.err
        assert "--password-file" in done.err


@POSIX
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("yes", "more than 4096 octets"),
        ("sleep 300", "took too long"),
        ("sh -c 'sleep 300; echo late'", "took too long"),
        ("sh -c 'sleep 300 & echo hunter2'", "took too long"),  # who holds the pipe
    ],
)
def test_a_command_without_end(
    command: str, said: str, named: bool, server: Server, run: Run, home: Path
) -> None:
    if named:
        words = [url(server), "--password-command", command]
    else:
        account = f'[a]\nurl = "{url(server)}"\npassword-command = "{command}"\n'
        written(home / "smtpx.toml", account)
        words = ["@a"]
    done = run("send", *words, "letter.eml", "--timeout", "0.5")
    assert (done.code, done.err.count("\n")) == (78, 1), done.err
    assert said in done.err
    assert server.messages == []


def test_the_url_of_the_environment(server: Server, sent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTPX_URL", url(server, f"ann:{SECRET}"))
    sent(server)


def test_a_password_in_the_command_line_draws_a_warning(server: Server, run: Run) -> None:
    done = run("send", url(server, f"ann:{SECRET}"), "letter.eml")
    assert done.code == 0
    assert done.err.startswith("smtpx: warning: the password is in the command line")
    assert SECRET not in done.out + done.err


@pytest.mark.parametrize("key", ["password", "password-file", "url"])
def test_an_account(key: str, server: Server, sent, home: Path) -> None:
    written(home / "pw", SECRET)
    told = {
        "password": f"url = '{url(server)}'\npassword = '{SECRET}'\n",
        "password-file": f"url = '{url(server)}'\npassword-file = 'pw'\n",
        "url": f"url = '{url(server, f'ann:{SECRET}')}'\n",
    }
    written(home / "smtpx.toml", f"[work]\n{told[key]}")
    sent(server, "@work")


def test_the_default_account_says_who_sends(server: Server, run: Run, home: Path) -> None:
    account = f"url = '{server.url}'\nfrom = 'Ann <ann@example.org>'\n"
    written(home / "smtpx.toml", f"[default]\n{account}")
    done = run("send", "--to", "bob@example.net", "--text", "hi", "-f", "")
    assert done.code == 77  # It wants a login, which this account has not: 530.
    with Server() as open_to_all:
        written(home / "smtpx.toml", f"[default]\nurl = '{open_to_all.url}'\nfrom = 'ann@x.test'\n")
        assert run("send", "--to", "bob@example.net", "--text", "hi").code == 0
        assert open_to_all.messages[0].sender == "ann@x.test"


def test_the_default_account_says_it_where_nothing_is_sent(run: Run, home: Path) -> None:
    written(home / "smtpx.toml", "[default]\nurl = 'smtp://b.test'\nfrom = 'ann@x.test'\n")
    done = run("send", "--dry-run", "--to", "bob@example.net", "--text", "hi")
    assert done.code == 0, done.err
    assert done.out.startswith("sender     ann@x.test\n")


def test_the_users_own_file_goes_before_that_of_the_folder(
    server: Server, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that came from elsewhere shall not redirect mail."""
    written(home / "smtpx.toml", f"[default]\nurl = '{server.url}'\n")
    folder = home / "cloned"
    folder.mkdir()
    written(folder / "smtpx.toml", "[default]\nurl = 'smtp://127.0.0.1:9'\n")
    monkeypatch.chdir(folder)
    assert run("send", "../letter.eml", "--stop-after", "hello").code == 0
    assert len(server.sessions) == 1


def test_a_folder_runs_no_command(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = home / "cloned"
    folder.mkdir()
    monkeypatch.chdir(folder)
    written(folder / "smtpx.toml", "[x]\nurl = 'smtp://a@b.test'\npassword-command = 'touch ran'\n")
    done = run("send", "@x", "../letter.eml")
    assert done.code == 78
    assert "--config" in done.err
    assert not (folder / "ran").exists()


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch):
    """Make a file one of another user than we are."""

    def strangers(path: Path) -> Path:
        if os.geteuid() == 0:
            os.chown(path, 65534, 65534, follow_symlinks=False)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        return path

    return strangers


PLACES = {"the folder": ".", "the user's own": ".config"}
ACCOUNT = "[default]\nurl = 'smtp://ann@127.0.0.1:9'\nfrom = 'a@b.test'\n"


@pytest.fixture(params=list(PLACES.values()), ids=list(PLACES))
def found(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where smtpx looks for accounts by itself."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("SMTPX_PASSWORD", SECRET)
    (home / ".config").mkdir()
    return home / str(request.param) / "smtpx.toml"


@POSIX
def test_an_account_of_another_user_is_not_obeyed(found: Path, strangers, run: Run) -> None:
    """It would be sent the mail and the password, and its command would run."""
    strangers(written(found, f"{ACCOUNT}password-command = 'touch ran'\n"))
    done = run("send", "letter.eml")
    assert (done.code, done.err.count("\n")) == (78, 1)
    assert "chown" in done.err
    assert "--config" in done.err
    assert not Path("ran").exists()


@POSIX
def test_nor_by_a_link_of_another_user(found: Path, strangers, run: Run, home: Path) -> None:
    found.symlink_to(written(home / "other.toml", ACCOUNT))
    strangers(found)
    done = run("send", "letter.eml")
    assert (done.code, "chown" in done.err) == (78, True)


@POSIX
def test_a_link_of_our_own_is_followed(server: Server, found: Path, sent, home: Path) -> None:
    found.symlink_to(written(home / "other.toml", f"[default]\nurl = '{url(server)}'\n"))
    sent(server)


@POSIX
@pytest.mark.parametrize("mode", [0o664, 0o646, 0o620])
def test_nor_one_that_others_can_write(mode: int, found: Path, run: Run) -> None:
    written(found, ACCOUNT, mode)
    done = run("send", "letter.eml")
    assert (done.code, done.err.count("\n")) == (78, 1)
    assert "chmod go-w" in done.err


@POSIX
def test_whoever_names_a_file_trusts_its_owner_and_nobody_else(
    server: Server, sent, strangers, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTPX_PASSWORD", SECRET)
    file = strangers(written(home / "a.toml", f"[default]\nurl = '{url(server)}'\n"))
    sent(server, "--config", "a.toml")
    file.chmod(0o666)
    done = run("send", "--config", "a.toml", "letter.eml")
    assert (done.code, "chmod go-w a.toml" in done.err) == (78, True)


@POSIX
def test_a_fifo_is_no_file_of_accounts(found: Path, run: Run) -> None:
    """Nobody would ever write into it."""
    os.mkfifo(found)
    done = run("send", "letter.eml")
    assert (done.code, "no regular file" in done.err) == (78, True)


@POSIX
def test_accounts_can_come_by_a_pipe_that_is_named(server: Server, home: Path) -> None:
    told = f"[default]\nurl = '{url(server)}'\n"
    line = f'{sys.executable} -m smtpx send letter.eml --config <(echo "$TOLD")'
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=home,
        env=environment(home, SMTPX_PASSWORD=SECRET, TOLD=told),
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", ["../pw", "~/pw", "/etc/passwd"])
def test_a_folder_takes_no_password_out_of_another_one(
    file: str, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came from elsewhere, perhaps, and would have the first line of any file sent to it."""
    written(home / "pw", SECRET)
    folder = home / "cloned"
    folder.mkdir()
    monkeypatch.chdir(folder)
    written(folder / "smtpx.toml", f"[x]\nurl = 'smtp://a@b.test'\npassword-file = '{file}'\n")
    done = run("send", "@x", "../letter.eml")
    assert (done.code, "password-file of another folder" in done.err) == (78, True)


@POSIX
@pytest.mark.parametrize("mode", [0o640, 0o604])
@pytest.mark.parametrize("password", [f"password = '{SECRET}'", "# in the URL"])
def test_a_file_that_others_can_read_is_refused(
    mode: int, password: str, run: Run, home: Path
) -> None:
    user = "ann" if "=" in password else f"ann:{SECRET}"
    written(home / "smtpx.toml", f"[work]\nurl = 'smtp://{user}@b.test'\n{password}\n", mode)
    done = run("send", "@work", "letter.eml")
    assert done.code == 78
    assert "chmod 600" in done.err
    assert SECRET not in done.err


@POSIX
def test_so_is_a_file_with_nothing_but_the_password(run: Run, home: Path) -> None:
    written(home / "pw", SECRET, 0o644)
    done = run("send", "smtp://ann@b.test", "letter.eml", "--password-file", "pw")
    assert done.code == 78


def test_no_login_needs_no_secrecy(server: Server, run: Run, home: Path) -> None:
    written(home / "smtpx.toml", f"[work]\nurl = '{server.url}'\n", 0o644)
    assert run("send", "@work", "letter.eml", "--stop-after", "hello").code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[work\n", "is no TOML"),
        ("work = 1\n", "as a table"),
        ("[work]\n", "needs url"),
        ("[work]\nurl = 'mail.example.com'\n", "[work] has url: "),
        ("[work]\nurl = 'smtp://localhost'\npasword = 'x'\n", "did you mean password?"),
        ("[wrok]\nurl = 'smtp://localhost'\n", "did you mean @wrok?"),
    ],
)
def test_a_mistake_in_the_file(text: str, said: str, run: Run, home: Path) -> None:
    written(home / "smtpx.toml", text)
    done = run("send", "@work", "letter.eml")
    assert (done.code, done.err.count("\n")) == (78, 1)
    assert said in done.err


def test_nobody_is_asked_without_a_terminal(server: Server, run: Run) -> None:
    done = run("send", url(server), "letter.eml")
    assert done.code == 78
    assert "--password-command" in done.err
    assert server.sessions == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (SECRET, 0, ""),
        ("", 78, "smtpx: no password of ann was given\n"),
        (EOFError(), 78, "\nsmtpx: no password of ann was given\n"),
        (KeyboardInterrupt(), 130, "\nsmtpx: interrupted\n"),
    ],
    ids=["typed", "Enter", "Ctrl-D", "Ctrl-C"],
)
def test_a_question(
    typed: str | BaseException,
    code: int,
    said: str,
    server: Server,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def answered(*_: object) -> str:
        if isinstance(typed, BaseException):
            raise typed
        return typed

    monkeypatch.setattr("getpass.getpass", answered)
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert main(["send", url(server), "letter.eml"]) == code
    assert capsys.readouterr().err == said
    assert len(server.messages) == (code == 0)


def test_a_command_that_fails(server: Server, run: Run) -> None:
    done = run("send", url(server), "letter.eml", "--password-command", "no-such-command-here")
    assert done.code == 78
    assert "no-such-command-here" in done.err


WAYS: dict[str, list[str]] = {
    "file": ["--password-file", "pw"],
    "command": ["--password-command", PRINTS],
    "variable": [],
    "account": [],
}
ECHO = Refuse("AUTH", f"535 5.7.8 {SECRET} is wrong, and {b64encode(SECRET.encode()).decode()}")


@POSIX
@pytest.mark.parametrize("way", WAYS)
def test_u5_a_secret_is_nowhere(way: str, home: Path) -> None:
    """Not in what is printed, nor in a traceback, whatever the server says of it."""
    _ = (home / "letter.eml").write_bytes(LETTER)
    written(home / "pw", SECRET)
    with Server(users={"ann": SECRET}, faults=[ECHO]) as server:
        written(home / "smtpx.toml", f"[w]\nurl = '{url(server)}'\npassword = '{SECRET}'\n")
        target = "@w" if way == "account" else url(server)
        variables: dict[str, Any] = {"SMTPX_PASSWORD": SECRET} if way == "variable" else {}
        words = ["send", target, "letter.eml", "-vv", "--transcript", "said", *WAYS[way]]
        for form in ([], ["--json"], ["--debug"]):
            done = smtpx(*words, *form, home=home, **variables)
            assert done.code == 77, done.err
            assert "535" in done.err
            shown = done.out + done.err + (home / "said").read_text()
            if way == "command" and form == ["--debug"]:
                continue  # The command is in it, as the user has given it.
            assert SECRET not in shown
            assert b64encode(SECRET.encode()).decode() not in shown


@pytest.mark.skipif(sys.platform != "linux", reason="/proc shows what ps shows")
@pytest.mark.parametrize("way", ["file", "variable"])
def test_u5_nor_in_what_ps_shows(way: str, home: Path) -> None:
    _ = (home / "letter.eml").write_bytes(LETTER)
    written(home / "pw", SECRET)
    with Server(users={"ann": SECRET}, faults=[Stall("AUTH")]) as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "smtpx", "send", url(server), "letter.eml", *WAYS[way]],
            cwd=home,
            env=environment(home, SMTPX_PASSWORD=SECRET),
        )
        try:
            waited = threading.Event()
            while not any("AUTH" in line for each in server.sessions for line in each.commands):
                assert process.poll() is None
                _ = waited.wait(0.05)
            shown = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        finally:
            process.kill()
            _ = process.wait(60)
    assert b"letter.eml" in shown
    assert SECRET.encode() not in shown
