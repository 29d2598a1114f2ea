"""Who we are: what is refused, where it comes from, and that it is shown nowhere."""

from __future__ import annotations

import copy
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx import Credentials, Endpoint, Session
from smtpx.errors import LocalProtocolError
from smtpx.testing import Server
from tests.tracebacks import told_by


@pytest.mark.requirement("T25")
@pytest.mark.parametrize(("user", "password"), [("a\0b", "pw"), ("ann", "p\0w")])
def test_nul_cannot_change_what_plain_means(user: str, password: str) -> None:
    with pytest.raises(LocalProtocolError, match="NUL") as caught:
        Credentials(user, password)
    assert password not in str(caught.value)


@pytest.mark.requirement("T1")
@pytest.mark.parametrize("control", ["\r", "\n", "\t", "\x1b", "\x7f", "\x85"])
def test_no_control_character_is_part_of_a_name_or_a_password(control: str) -> None:
    for user, password in ((f"ann{control}", "hunter2"), ("ann", f"hunter2{control}")):
        with pytest.raises(LocalProtocolError, match="control character") as caught:
            Credentials(user, password)
        assert "hunter2" not in str(caught.value)


@pytest.mark.requirement("T4")
@pytest.mark.parametrize(("user", "password"), [("ann\ud800", "hunter2"), ("ann", "hunter2\udcff")])
def test_surrogates_are_refused_before_anything_is_encoded(user: str, password: str) -> None:
    with pytest.raises(LocalProtocolError, match="surrogates") as caught:
        Credentials(user, password)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("token", ["", "two words", "t\x01auth=Bearer x", "t\r\nQUIT", "tökèn"])
def test_a_token_is_one_word_of_ascii(token: str) -> None:
    with pytest.raises(LocalProtocolError, match="ASCII"):
        Credentials("ann", token=token)


def test_there_is_one_proof() -> None:
    with pytest.raises(LocalProtocolError, match="not both"):
        Credentials("ann", "password-of-ann", token="t0ken-of-ann")
    with pytest.raises(LocalProtocolError, match="bytes"):
        Credentials("ann", b"password-of-ann")  # type: ignore[arg-type]


@pytest.mark.requirement("T26")
def test_credentials_show_the_user_and_no_more() -> None:
    for shown in (
        Credentials("ann", "hunter2-of-ann"),
        Credentials("ann", token="hunter2-of-ann"),
        Credentials("ann", lambda: "hunter2-of-ann"),
    ):
        assert f"{shown} {shown!r}".count("ann") == 2


@pytest.mark.requirement("T26")
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_holds_a_password_is_not_pickled(protocol: int) -> None:
    credentials = Credentials("ann", "hunter2-of-ann")
    for holder in (
        credentials,
        Endpoint.parse("smtp://ann:hunter2-of-ann@mail.example.com"),
        Session("smtp://mail.example.com", credentials=credentials),
    ):
        with pytest.raises(TypeError, match=r"(not|neither) pickled"):
            _ = pickle.dumps(holder, protocol)


@pytest.mark.requirement("T26")
@pytest.mark.parametrize(
    "given",
    [
        {"password": "hunter2-of-ann\n"},
        {"password": b"hunter2-of-ann"},
        {"token": "hunter2-of-ann x"},
        {"password": "hunter2-of-ann", "token": "hunter2-of-ann"},
    ],
)
def test_what_is_refused_is_in_no_traceback(given: Any) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        _ = Credentials("ann", **given)
    assert "hunter2" not in told_by(caught.value)


@pytest.mark.requirement("T26")
@pytest.mark.parametrize("given", [b"hunter2-of-ann", "hunter2-of-ann\n"])
def test_what_a_source_must_not_say_is_in_no_traceback(given: Any) -> None:
    with Server(users={"ann": "hunter2-of-ann"}) as server:
        session = Session(server.url, credentials=Credentials("ann", lambda: given))
        with pytest.raises(LocalProtocolError, match=r"not str|control character") as caught:
            session.open()
        assert not session.is_open
    assert "hunter2" not in told_by(caught.value)


def test_credentials_are_a_value() -> None:
    ann = Credentials("ann", "hunter2-of-ann")
    assert ann == Credentials("ann", "hunter2-of-ann") == copy.deepcopy(ann) == copy.copy(ann)
    assert ann != Credentials("ann", "hunter3-of-ann")


@pytest.mark.requirement("T28")
def test_what_a_source_says_is_held_by_a_copy() -> None:
    ann = Credentials("ann", lambda: "hunter2-of-ann")
    assert ann.source is not None
    held = ann._holding("hunter2-of-ann")
    assert (held.known_password, held.source) == ("hunter2-of-ann", None)
    with pytest.raises(LocalProtocolError, match="needs a password"):
        _ = ann.known_password
    with pytest.raises(LocalProtocolError, match="NUL"):
        _ = ann._holding("hunter2\0of-ann")


def netrc(directory: Path, text: str, mode: int = 0o600) -> Path:
    file = directory / ".netrc"
    file.write_text(text, "utf-8")
    file.chmod(mode)
    return file


NETRC = """\
machine mail.example.com login ann password hunter2-of-ann
machine smtp.example.net
    login "bob smith" password "hunter2 of bob"
"""


def test_netrc_by_path(tmp_path: Path) -> None:
    file = netrc(tmp_path, NETRC)
    ann = Credentials.from_netrc("mail.example.com", file)
    assert (ann.user, ann.known_password) == ("ann", "hunter2-of-ann")
    bob = Credentials.from_netrc("smtp.example.net", str(file))
    assert (bob.user, bob.known_password) == ("bob smith", "hunter2 of bob")
    with pytest.raises(LocalProtocolError, match=r"no entry for other\.example\.com"):
        _ = Credentials.from_netrc("other.example.com", file)
    with pytest.raises(LocalProtocolError, match="does not exist"):
        _ = Credentials.from_netrc("mail.example.com", tmp_path / "nothing")


def test_netrc_default_is_for_any_host(tmp_path: Path) -> None:
    file = netrc(tmp_path, NETRC + "default login all password hunter2-of-all\n")
    assert Credentials.from_netrc("other.example.com", file).user == "all"


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_netrc_of_ones_home_must_be_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = netrc(tmp_path, NETRC)
    assert Credentials.from_netrc("mail.example.com").user == "ann"
    file.chmod(0o644)
    with pytest.raises(LocalProtocolError, match="others may read it"):
        _ = Credentials.from_netrc("mail.example.com")


@pytest.mark.requirement("T26")
def test_a_mistake_in_a_netrc_is_not_quoted(tmp_path: Path) -> None:
    file = netrc(tmp_path, "machine mail.example.com login ann\nhunter2-of-ann\n")
    with pytest.raises(LocalProtocolError, match=r"line \d") as caught:
        _ = Credentials.from_netrc("mail.example.com", file)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.requirement("T26")
@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("machine mail.example.com login ann", "has no password for mail"),
        ('machine mail.example.com login ann password "hunter2-of-ann', "control character"),
        ('machine mail.example.com login ann password "hunter2\tof ann"', "control character"),
    ],
)
def test_an_entry_that_will_not_do(tmp_path: Path, entry: str, why: str) -> None:
    file = netrc(tmp_path, f"{entry}\n")
    with pytest.raises(LocalProtocolError, match=f"the netrc file .*{why}") as caught:
        _ = Credentials.from_netrc("mail.example.com", file)
    assert "hunter2" not in told_by(caught.value)
    assert caught.value.__context__ is None


class Keyring:
    """What stands for the package `keyring`, which needs a desktop."""

    def __init__(self) -> None:
        self.passwords = {("mail", "ann"): "hunter2-of-ann"}

    def get_password(self, service: str, user: str) -> str | None:
        return self.passwords.get((service, user))


@pytest.mark.requirement("T28")
def test_a_keyring_is_read_when_the_password_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = Keyring()
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    ann = Credentials.from_keyring("mail", "ann")
    keyring.passwords["mail", "ann"] = "hunter3-of-ann"
    assert ann.user == "ann"
    assert ann.source is not None
    assert ann.source() == "hunter3-of-ann"
    del keyring.passwords["mail", "ann"]
    with pytest.raises(LocalProtocolError, match="no password of ann for mail"):
        _ = ann.source()


def test_without_the_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(LocalProtocolError, match=r"smtpx\[keyring\]"):
        _ = Credentials.from_keyring("mail", "ann")


def test_a_url_may_name_a_user_only_if_the_proof_comes_from_elsewhere() -> None:
    with pytest.raises(LocalProtocolError, match="no password"):
        _ = Session("smtp://ann@mail.example.com")
    _ = Session("smtp://ann@mail.example.com", credentials=smtpx.Credentials("ann"))
