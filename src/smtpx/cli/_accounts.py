"""Which server, and who we are there: a URL, ``@account`` of a smtpx.toml, SMTPX_URL.

A password comes from the URL, a file, a command, the file of accounts, SMTPX_PASSWORD, the keyring
or a prompt. It is never shown, and asked for only when the server wants it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, cast

import smtpx
from smtpx._starting import start_thread
from smtpx.cli._console import Console, printable, written
from smtpx.cli._exits import Exit, Stop
from smtpx.cli._marks import unmarked
from smtpx.cli._trusted import first_of, obeyed, refuse_readable, secret_in

__all__ = ["Account", "account_of", "add_password_options", "anonymous", "is_target"]

_KEYS = ("url", "from", "password", "password-file", "password-command", "keyring")
_COMMAND_TIME = 60.0
_MOST_PRINTED = 4096


@dataclass(frozen=True, slots=True)
class Account:
    """A server, who we are there, and whom mail is from."""

    endpoint: smtpx.Endpoint
    credentials: smtpx.Credentials | None = field(default=None, repr=False)
    sender: str | None = None
    pool: smtpx.PoolLimits | None = None
    options: smtpx.SessionOptions = field(default_factory=smtpx.SessionOptions)
    """What else a client of it is made with."""


def is_target(word: str) -> bool:
    """True for what names a server: a URL, or ``@account``."""
    return "://" in word or (word.startswith("@") and "/" not in word)


def add_password_options(parser: argparse.ArgumentParser) -> None:
    """What says where the password comes from, and which file has the accounts."""
    group = parser.add_argument_group("the login")
    group.add_argument("--password-file", metavar="FILE", help="its first line is the password")
    group.add_argument(
        "--password-command", metavar="COMMAND", help="it prints the password, such as 'pass mail'"
    )
    group.add_argument("--keyring", action="store_true", help="the system's keyring has it")
    group.add_argument("--config", metavar="FILE", help="accounts, in place of smtpx.toml")


def account_of(
    target: str | None, arguments: argparse.Namespace, console: Console, *, login: bool = True
) -> Account:
    """Find the server that is meant, and the credentials that belong to it.

    Without `login` nobody is asked for a password.

    Raises:
        Stop: there is none, or the file of accounts has a mistake.
        smtpx.EndpointError: the URL is none.
    """
    if target is not None and "://" in target:
        endpoint = smtpx.Endpoint.parse(target)
        if endpoint.password is not None:
            console.warning(
                "the password is in the command line, where others on this machine can see it: "
                "use --password-file, --password-command or SMTPX_PASSWORD"
            )
        return _completed(endpoint, {}, arguments, login=login)
    name = "default" if target is None else target.removeprefix("@")
    if name in arguments.accounts:
        return _given(*arguments.accounts[name])
    if target is None and (url := os.environ.get("SMTPX_URL")):
        try:
            endpoint = smtpx.Endpoint.parse(url)
        except smtpx.EndpointError as error:
            raise Stop(f"SMTPX_URL: {error}", Exit.CONFIGURATION) from None
        return _completed(endpoint, {}, arguments, login=login)
    path, table = _table(name, arguments.config, chosen=target is not None)
    where = f"{path}: [{name}]"
    try:
        endpoint = smtpx.Endpoint.parse(_text(table, "url", where))
    except smtpx.EndpointError as error:
        raise Stop(f"{where} has url: {error}", Exit.CONFIGURATION) from None
    return _completed(endpoint, table, arguments, where, login=login)


def _given(
    endpoint: smtpx.Endpoint, pool: smtpx.PoolLimits | None, options: smtpx.SessionOptions
) -> Account:
    """The account that the program around the command has."""
    others = options.copy()
    credentials = others.pop("credentials", None)
    return Account(endpoint, credentials, pool=pool, options=others)


def anonymous(endpoint: smtpx.Endpoint) -> smtpx.Endpoint:
    """The same server, to nobody in particular."""
    return smtpx.Endpoint(
        *(endpoint.host, endpoint.port, endpoint.tls, endpoint.lmtp, endpoint.path),
        ca_file=endpoint.ca_file,
        server_hostname=endpoint.server_hostname,
        minimum_version=endpoint.minimum_version,
        pins=endpoint.pins,
    )


# The file of accounts.


def _files(config: str | None) -> list[tuple[Path, bool]]:
    """Where accounts may be, each with whether the user has put it there on purpose."""
    if config is not None:
        return [(Path(config), True)]
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    # The user's own goes first: a folder that came from elsewhere shall not redirect mail.
    return [(Path(home) / "smtpx.toml", True), (Path("smtpx.toml"), False)]


def _table(name: str, config: str | None, *, chosen: bool) -> tuple[Path, Mapping[str, object]]:
    known: list[str] = []
    for path, is_own in _files(config):
        try:
            octets, state = obeyed(path, is_named=config is not None)
        except FileNotFoundError:
            if config is not None:
                raise Stop(f"{path} does not exist", Exit.CONFIGURATION) from None
            continue
        except OSError as error:
            raise Stop(f"{path}: {error.strerror}", Exit.CONFIGURATION) from None
        tables = _read(path, octets)
        known += tables
        if name in tables:
            return path, _checked(path, state, name, tables[name], is_own=is_own)
    own = printable(config or "~/.config/smtpx.toml")
    if not chosen:
        raise Stop(
            "no server is named: give a URL such as submission://mail.example.com, set SMTPX_URL, "
            f"or write [default] into {own}"
        )
    near = get_close_matches(name, known, 1)
    guess = f": did you mean @{near[0]}?" if near else f": write it into {own}"
    raise Stop(f"there is no account @{printable(name)}{guess}", Exit.CONFIGURATION)


def _read(path: Path, octets: bytes) -> dict[str, object]:
    try:
        return tomllib.loads(unmarked(octets).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        # The text of a UnicodeDecodeError would quote what may be a password.
        problem = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        raise Stop(f"{path} is no TOML: {problem}", Exit.CONFIGURATION) from None


def _checked(
    path: Path, state: os.stat_result, name: str, table: object, *, is_own: bool
) -> Mapping[str, object]:
    if not isinstance(table, dict):
        raise Stop(f"{path}: write the account as a table, [{name}]", Exit.CONFIGURATION)
    said = cast("dict[str, object]", table)
    for key in said:
        if key not in _KEYS:
            near = get_close_matches(key, _KEYS, 1)
            guess = f"did you mean {near[0]}?" if near else f"known are {', '.join(_KEYS)}"
            problem = f"{path}: [{name}] has the key {printable(key)!r}: {guess}"
            raise Stop(problem, Exit.CONFIGURATION)
    if "password" in said or _has_password(said.get("url")):
        refuse_readable(path, state, "a password")
    if not isinstance(said.get("keyring", False), bool):
        raise Stop(f"{path}: [{name}] has keyring: write true or false", Exit.CONFIGURATION)
    if "password-command" in said and not is_own:
        raise Stop(
            f"{path}: [{name}] has a password-command, and a folder may be anybody's: keep it in "
            "~/.config/smtpx.toml, or name the file by --config",
            Exit.CONFIGURATION,
        )
    if not (is_own or _is_beside(said.get("password-file"))):
        raise Stop(
            f"{path}: [{name}] has a password-file of another folder: keep the account in "
            "~/.config/smtpx.toml, or name the file by --config",
            Exit.CONFIGURATION,
        )
    return said


def _is_beside(file: object) -> bool:
    """False for a file outside of this folder, from which a secret of the user's would leave."""
    return not isinstance(file, str) or (
        not file.startswith("~") and Path(file).resolve().is_relative_to(Path.cwd())
    )


def _has_password(url: object) -> bool:
    try:
        return isinstance(url, str) and smtpx.Endpoint.parse(url).password is not None
    except smtpx.EndpointError:
        return False  # What is wrong with it is told before it is used.


def _text(table: Mapping[str, object], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str):
        raise Stop(f"{where} needs {key} = '…'", Exit.CONFIGURATION)
    return value


# The password.


def _completed(
    endpoint: smtpx.Endpoint,
    table: Mapping[str, object],
    arguments: argparse.Namespace,
    where: str = "",
    *,
    login: bool,
) -> Account:
    sender = _text(table, "from", where) if "from" in table else None
    if endpoint.user is None or endpoint.password is not None:
        for key in ("password", "password-file", "password-command", "keyring"):
            if getattr(arguments, key.replace("-", "_"), None):
                raise Stop(f"--{key} is of no use: the URL needs a user, and no password")
            if table.get(key):
                problem = f"{where} has {key}: its url needs a user, and no password"
                raise Stop(problem, Exit.CONFIGURATION)
        return Account(endpoint, None, sender)
    if not login:
        return Account(anonymous(endpoint), None, sender)
    credentials = _credentials(endpoint, endpoint.user, table, arguments, where)
    return Account(endpoint, credentials, sender)


def _credentials(
    endpoint: smtpx.Endpoint,
    user: str,
    table: Mapping[str, object],
    arguments: argparse.Namespace,
    where: str,
) -> smtpx.Credentials:
    host = endpoint.host or endpoint.path
    if arguments.keyring:
        return _from_keyring(host, user)
    file = arguments.password_file
    command = arguments.password_command
    if file is None and command is None:
        if "password" in table:
            return smtpx.Credentials(user, _text(table, "password", where))
        if "password-file" in table:
            file = Path(_text(table, "password-file", where)).expanduser()
        elif "password-command" in table:
            command = _text(table, "password-command", where)
        elif table.get("keyring"):
            return _from_keyring(host, user)
    if file is not None:
        return smtpx.Credentials(user, _from_file(Path(file)))
    if command is not None:
        seconds = getattr(arguments, "timeout", None) or _COMMAND_TIME
        return smtpx.Credentials(user, _from_command(command, min(seconds, _COMMAND_TIME)))
    if "SMTPX_PASSWORD" in os.environ:
        return smtpx.Credentials(user, os.environ["SMTPX_PASSWORD"])
    return smtpx.Credentials(user, _prompt(user, host))


def _from_file(path: Path) -> str:
    line = secret_in(path, "a password")
    if not line:
        raise Stop(f"{path}: its first line is empty: write the password there")
    return line


def _from_keyring(service: str, user: str) -> smtpx.Credentials:
    source: Any = smtpx.Credentials.from_keyring(service, user).source

    def password() -> str:
        try:
            return str(source())
        except smtpx.LocalProtocolError as error:
            raise Stop(
                f"{error}: put it there by 'keyring set {service} {user}', or give "
                "--password-file or --password-command",
                Exit.CONFIGURATION,
            ) from None

    return smtpx.Credentials(user, password)


def _from_command(command: str, seconds: float) -> Callable[[], str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        problem = f"the password command cannot be read: {error}"
        raise Stop(problem, Exit.CONFIGURATION) from None
    if not words:
        raise Stop("the password command is empty: give one such as 'pass show mail'")

    def password() -> str:
        try:
            code, printed = _printed(words, seconds)
            line = first_of(printed)
        except UnicodeDecodeError:
            problem = f"the password command {words[0]} printed what is not UTF-8"
            raise Stop(problem, Exit.CONFIGURATION) from None
        except (OSError, subprocess.TimeoutExpired) as error:
            why = "took too long" if not isinstance(error, OSError) else error.strerror
            raise Stop(f"the password command {words[0]}: {why}", Exit.CONFIGURATION) from None
        if code or not line:
            raise Stop(
                f"the password command {words[0]} ended with {code}"
                f"{'' if code else ' and printed no password'}",
                Exit.CONFIGURATION,
            )
        return line

    return password


def _printed(words: list[str], seconds: float) -> tuple[int, bytes]:
    """What a command ends with, and what it prints: no more of either than a password takes.

    Raises:
        Stop: it prints more.
        subprocess.TimeoutExpired: it goes on beyond that time.
        OSError: it cannot be run.
    """
    until = time.monotonic() + seconds
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    printed: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        if process.stdout is not None:
            with process.stdout as stream:
                printed.put(stream.read(_MOST_PRINTED + 1))

    try:
        start_thread(read, "smtpx password command")
        # Whatever it has begun may keep the pipe open: that is waited for no longer, either.
        text = printed.get(timeout=seconds)
        if len(text) > _MOST_PRINTED:
            raise Stop(
                f"the password command {words[0]} printed more than {_MOST_PRINTED} octets: "
                "it is to print the password, and no more",
                Exit.CONFIGURATION,
            )
        return process.wait(max(0, until - time.monotonic())), text
    except BaseException as error:
        process.kill()
        _ = process.wait()
        if isinstance(error, Empty):
            raise subprocess.TimeoutExpired(words, seconds) from None
        raise


def _prompt(user: str, host: str) -> Callable[[], str]:
    if not sys.stdin.isatty():
        raise Stop(
            f"there is no password for {user} at {host}: give --password-file, "
            "--password-command or --keyring, or set SMTPX_PASSWORD",
            Exit.CONFIGURATION,
        )

    def password() -> str:
        from getpass import getpass

        try:
            asked: Any = getpass(f"Password of {user} at {host}: ", sys.stderr)
        except (EOFError, KeyboardInterrupt) as error:
            written(sys.stderr, "\n")
            if isinstance(error, KeyboardInterrupt):
                raise
            asked = ""
        if not asked:
            raise Stop(f"no password of {user} was given", Exit.CONFIGURATION)
        return str(asked)

    return password
