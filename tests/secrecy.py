"""No secret of a test is in what the library logs, raises, shows or pickles (T26), in any test.

A plugin for the whole suite. It notes every password and token that a test gives to smtpx, every
record that the library logs and every error that it makes; when the test has run it looks for the
first in the second: as they are, as base64, percent-encoded, and as Python writes them. Of an
error it reads text, `repr`, `__dict__`, the pickle, and its traceback with the locals of our own
frames, causes and contexts included.

Each test is looked at in the process that runs it, so that it makes no difference how many do.
"""

from __future__ import annotations

import base64
import functools
import logging
import pickle
import smtplib
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import smtpx
from smtpx import ClientCertificate, errors
from smtpx._faces.settings import Settings
from smtpx._proxies import Proxy
from smtpx._smtplib.authentication import Authentication
from smtpx.sasl.credentials import Credentials
from smtpx.testing import ServerOptions

OURS = Path(smtpx.__file__).parent
KIT = OURS / "testing"
# Words that errors and docstrings are free to use: as passwords they are looked for encoded only.
WORDS = frozenset({"secret", "password", "token", "refused", "accepted", "server"})
MOST_ERRORS = 200


class Notes:
    """What one test gave to the library, and what that said."""

    def __init__(self) -> None:
        self.secrets: set[str] = set()
        self.errors: list[BaseException] = []
        self.logged: list[str] = []

    def keep(self, secret: object) -> None:
        # Shorter ones are found everywhere by chance.
        if isinstance(secret, str) and len(secret) >= 6 and not secret.isspace():
            self.secrets.add(secret)


_notes = Notes()


def leaks(notes: Notes) -> Iterator[str]:
    """A sentence for each place in which a secret is."""
    forms = {form: secret for secret in notes.secrets for form in forms_of(secret)}
    if not forms:
        return
    for error in notes.errors:
        for where, text in sights_of(error):
            for form, secret in forms.items():
                if form in text:
                    line = next(line for line in text.splitlines() if form in line)
                    yield f"{where} of {type(error).__name__} has {secret!r}: {line}"
    for line in notes.logged:
        for form, secret in forms.items():
            if form in line:
                yield f"a log record has {secret!r}: {line!r}"


def forms_of(secret: str) -> set[str]:
    """How a secret may be written."""
    octets = secret.encode("utf-8", "surrogatepass")
    forms = {base64.b64encode(octets).decode().rstrip("=")[:-1]}
    # Within a message of PLAIN, or behind any prefix: what base64 makes of it depends on where it
    # begins, and its ends on what stands beside it.
    for shift in (1, 2):
        forms.add(base64.b64encode(b"\0" * shift + octets).decode().rstrip("=")[shift + 1 : -1])
    forms = {form for form in forms if len(form) >= 6}
    if secret not in WORDS:
        forms |= {secret, quote(octets), ascii(secret)[1:-1], repr(octets)[2:-1]}
    return forms


def sights_of(error: BaseException) -> Iterator[tuple[str, str]]:
    """Everything that can be seen of an error."""
    yield "the text", str(error)
    yield "the repr", repr(error)
    yield "the notes", "\n".join(getattr(error, "__notes__", []))
    yield "the __dict__", repr(error.__dict__)
    yield "the traceback", "\n".join(locals_in(error))
    try:
        pickled = pickle.dumps(error)
    except Exception:
        return  # A test has hung something on it that cannot be pickled.
    yield "the pickle", pickled.decode("latin-1")


def locals_in(error: BaseException) -> Iterator[str]:
    """The locals of our own frames, those of what caused the error included."""
    for frame, line in traceback.walk_tb(error.__traceback__):
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(OURS) and not path.is_relative_to(KIT):
            for name, value in frame.f_locals.items():
                yield f"{path.name}:{line} {name} = {shown(value)}"
    cause = error.__cause__
    if cause is None and not error.__suppress_context__:
        cause = error.__context__
    if cause is not None:
        yield str(cause)
        yield from locals_in(cause)


def shown(value: object) -> str:
    """As those show it that show locals: as it is, or cut where it is long."""
    told = repr(value)
    if isinstance(value, (str, bytes, bytearray)):
        return f"{told} {value!s} {value[:1000]!r} {value[1:]!r}"
    with suppress(AttributeError):  # It was being made when the error came.
        told += f" {value!s}"
    return told


class _Recorder(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _notes.logged.append(f"{record.getMessage()} {record.args!r} {record.exc_text or ''}")


def _watch(kind: type, name: str, note: Callable[..., None]) -> None:
    """Have `note` see every call of a method, before it runs."""
    original: Any = getattr(kind, name, None)

    @functools.wraps(original or note)
    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        note(self, *args, **kwargs)
        if name in own:
            return original(self, *args, **kwargs)
        # Whatever comes after it, where a class has several bases.
        after: Any = getattr(super(kind, self), name, None)
        return None if after is None else after(*args, **kwargs)

    own = set(kind.__dict__)
    setattr(kind, name, called)


def pytest_configure() -> None:
    _watch(Credentials, "__init__", _note_credentials)
    _watch(Proxy, "__init__", _note_proxy)
    _watch(ClientCertificate, "__init__", _note_certificate)
    _watch(Settings, "__init__", _note_settings)
    _watch(ServerOptions, "__init__", _note_users)
    _watch(Authentication, "login", lambda _self, _user, password="", **_: _notes.keep(password))
    _watch(errors.SMTPError, "__init__", _note_error)
    _watch(smtplib.SMTPResponseException, "__init__", _note_error)
    logging.getLogger("smtpx").addHandler(_Recorder())


def _note_credentials(
    _self: Credentials, user: object = "", password: object = None, **rest: object
) -> None:
    _notes.keep(password)
    _notes.keep(rest.get("token"))


def _note_proxy(
    _self: Proxy, kind: object, host: str, port: int, user: str = "", password: str = ""
) -> None:
    _notes.keep(password)


def _note_certificate(
    _self: ClientCertificate, file: object, key_file: object = None, password: object = None
) -> None:
    _notes.keep(password)


def _note_settings(
    _self: Settings,
    endpoint: object,
    tls: object,
    credentials: Credentials | None,
    *_: object,
    **__: object,
) -> None:
    # They may have been made before the test.
    if credentials is not None:
        _notes.keep(credentials.password)
        _notes.keep(credentials.token)


def _note_users(
    _self: ServerOptions, *_: object, users: Mapping[str, str] | None = None, **__: object
) -> None:
    for secret in users.values() if isinstance(users, Mapping) else ():
        _notes.keep(secret)


def _note_error(error: BaseException, *_: object, **__: object) -> None:
    # What is kept keeps its frames, and so connections, open.
    if _notes.secrets and len(_notes.errors) < MOST_ERRORS:
        _notes.errors.append(error)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    global _notes
    _notes = Notes()
    try:
        yield
        found = sorted(set(leaks(_notes)))
        if found:
            pytest.fail("secrets can be seen:\n" + "\n".join(found[:20]), pytrace=False)
    finally:
        _notes = Notes()
