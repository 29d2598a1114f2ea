"""Who we are, and where the proof of it comes from."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from os import PathLike
from typing import Any, Self, TypeAlias

from smtpx import _checks
from smtpx._secrecy import Confidential
from smtpx._values import Value, field, replaced
from smtpx.errors import ExtraMissing, LocalProtocolError

__all__ = ["Credentials", "Source"]

_CONTROL = r"[\x00-\x1f\x7f-\x9f]"

Source: TypeAlias = Callable[[], str | Awaitable[str]]
"""Called when a session logs in. What it returns is kept no longer than the login takes.

It may be a coroutine function where the session is asynchronous. A plain one is called in the
task that opens the session, which waits for it as long as it takes.
"""


class Credentials(Confidential, Value):
    """Who we are, and what proves it: a password, a token, or neither.

    Neither is for mechanisms to which something else is the proof: EXTERNAL (the client
    certificate of the TLS session), GSSAPI (a Kerberos ticket).

    Password and token are in no `repr`, and credentials cannot be pickled.
    """

    user: str = ""
    password: str | Source | None = field(default=None, repr=False)
    token: str | Source | None = field(default=None, repr=False, kw_only=True)
    """An OAuth 2.0 access token. A `Source` is asked once more if the server refuses the first."""
    authzid: str = field(default="", kw_only=True)
    """Whom to act for, where that is not `user` (RFC 4422 §2)."""

    def __init__(
        self,
        user: str = "",
        password: str | Source | None = None,
        *,
        token: str | Source | None = None,
        authzid: str = "",
    ) -> None:
        """Take them as they are.

        Raises:
            LocalProtocolError: one of them cannot be said to a server, or there are two proofs.
        """
        put = object.__setattr__
        put(self, "user", user)
        put(self, "password", password)
        put(self, "token", token)
        put(self, "authzid", authzid)
        problem = _problem(self)
        if problem:
            # A traceback with locals shows what an error passes through.
            del password, token
            raise LocalProtocolError(problem)

    @classmethod
    def from_netrc(cls, host: str, path: str | PathLike[str] | None = None) -> Self:
        """The user and password that a netrc file has for a host, or for any (``default``).

        Without `path` it is ``~/.netrc``, which nobody but its owner may be able to read.

        Raises:
            LocalProtocolError: there is no such file, it cannot be read, or it has no password
                for the host, or none that will do.
        """
        import netrc

        _checks.text("host", host)
        if not (path is None or isinstance(path, (str, PathLike))):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("path", path, "the path of a netrc file or None")
        entry: tuple[str, str | None, str | None] | None = None
        try:
            entry = netrc.netrc(None if path is None else str(path)).authenticators(host)
        except FileNotFoundError:
            problem = "does not exist"
        except OSError as error:
            problem = f"cannot be read: {error.strerror}"
        except netrc.NetrcParseError as error:
            # What it complains of may be a password. The check of permissions has no line.
            where = f"line {error.lineno} has a mistake" if error.lineno else "others may read it"
            problem = f"was not used: {where}"
        except UnicodeDecodeError:
            problem = "is not UTF-8"
        else:
            if entry is None:
                problem = f"has no entry for {host}"
            elif not entry[2]:
                problem = f"has no password for {host}"
            else:
                try:
                    return cls(entry[0] or entry[1] or "", entry[2])
                except LocalProtocolError as error:
                    problem = f"was not used for {host}: {error}"
        del entry  # A traceback with locals would show it.
        raise LocalProtocolError(f"the netrc file {path or '~/.netrc'} {problem}")

    @classmethod
    def from_keyring(cls, service: str, user: str) -> Self:
        """A password of the system's keyring, read anew for each login (extra: smtpx[keyring]).

        Raises:
            ExtraMissing: the package keyring is not installed. When the keyring has no such
                password, or cannot be asked, that is said when the session logs in.
        """
        from importlib import import_module

        _checks.text("service", service)
        _checks.text("user", user)
        try:
            # By name, so that checking our types does not need the extra.
            keyring: Any = import_module("keyring")
        except ImportError:
            raise ExtraMissing("keyring", "keyring", "from_keyring") from None

        def password() -> str:
            try:
                found: str | None = keyring.get_password(service, user)
            except Exception as error:  # Backends fail in ways of their own, or are not there.
                why = str(error).rstrip(".")
                raise LocalProtocolError(
                    f"the keyring cannot be asked for the password of {user}: {why}"
                ) from error
            if found is None:
                raise LocalProtocolError(f"the keyring has no password of {user} for {service}")
            return found

        return cls(user, password)

    @property
    def source(self) -> Source | None:
        """What is to be called for the password or the token, if anything is."""
        for secret in (self.password, self.token):
            if secret is not None and not isinstance(secret, str):
                return secret
        return None

    @property
    def known_password(self) -> str:
        """The password, for mechanisms that need one.

        Raises:
            LocalProtocolError: there is none, or its source has not been asked yet.
        """
        if not isinstance(self.password, str):
            raise LocalProtocolError("needs a password")
        return self.password

    @property
    def known_token(self) -> str:
        """The token, for mechanisms that need one.

        Raises:
            LocalProtocolError: there is none, or its source has not been asked yet.
        """
        if not isinstance(self.token, str):
            raise LocalProtocolError("needs a token")
        return self.token

    def refuse_authzid(self) -> None:
        """For mechanisms that cannot say for whom to act: not to act for somebody else.

        Raises:
            LocalProtocolError: there is an `authzid`.
        """
        if self.authzid:
            raise LocalProtocolError("has no authorization identity")

    def _holding(self, secret: str) -> Self:
        """The same with what its source gave.

        Raises:
            LocalProtocolError: it is not text that can be a password, or a token.
        """
        which = "password" if self.token is None else "token"
        try:
            return replaced(self, **{which: secret})
        except LocalProtocolError as error:
            problem = str(error)
        del secret  # A traceback with locals would show it.
        raise LocalProtocolError(problem)


def _problem(credentials: Credentials) -> str:
    """What is wrong with them; nothing is an empty text, and what is quoted no secret."""
    for name, said in (("user", credentials.user), ("authzid", credentials.authzid)):
        if not isinstance(said, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            return f"the {name} is {type(said).__name__}: give a str"
    if credentials.password is not None and credentials.token is not None:
        return "give Credentials a password or a token, not both"
    for name, value in (("password", credentials.password), ("token", credentials.token)):
        if value is not None and not isinstance(value, str) and not callable(value):
            return f"the {name} is {type(value).__name__}: give str, or what is to be called for it"
    texts = ("user", credentials.user), ("password", credentials.password)
    for name, text in (*texts, ("authzid", credentials.authzid)):
        if not isinstance(text, str):
            continue
        # RFC 4616 §2: NUL separates the fields of PLAIN; RFC 4013 §2.3 prohibits its kin as well.
        if re.search(_CONTROL, text):
            return (
                f"the {name} may not contain a control character, such as NUL or the line end of a "
                "file it was read from"
            )
        if any("\ud800" <= character <= "\udfff" for character in text):
            return f"the {name} must be Unicode text without surrogates"
    token = credentials.token
    # RFC 6750 §2.1; a control character would separate fields of XOAUTH2 and OAUTHBEARER.
    if isinstance(token, str) and not (
        token.isascii() and token.isprintable() and token.split() == [token]
    ):
        return "a token is ASCII text without spaces or control characters"
    return ""
