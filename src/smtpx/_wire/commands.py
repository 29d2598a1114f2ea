"""Commands into bytes. Every argument that reaches the wire passes `command`, the one guard."""

from __future__ import annotations

import re
from enum import IntEnum

from smtpx import _checks
from smtpx._secrecy import Hidden
from smtpx._values import Value
from smtpx.addresses import Address
from smtpx.errors import LocalProtocolError

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f]")
# RFC 5321 §4.5.3.1.4, its line end left out.
_LONGEST = 510


class Phase(IntEnum):
    """What a command's reply is waited for as; each has its field in `Timeouts`."""

    CONNECT = 0
    GREETING = 1
    HELLO = 2
    TLS = 3
    AUTH = 4
    MAIL = 5
    RCPT = 6
    DATA_INITIATION = 7
    DATA_BLOCK = 8
    DATA_TERMINATION = 9
    OTHER = 10
    QUIT = 11

    @property
    def field(self) -> str:
        """The name of its field in `Timeouts`."""
        return self.name.lower()


# Extensions lengthen some: each of their parameters says by how much, and RFC 4954 §4 leaves it to
# the mechanism. Kerberos' tickets are the longest that there are.
_LONGER = {Phase.MAIL: 2048, Phase.RCPT: 2048, Phase.AUTH: 65536}


class Command(Value):
    """A command line, ready to be sent."""

    wire: bytes
    phase: Phase
    secret: bool = False
    """It belongs to an AUTH exchange: only its verb and mechanism may be shown."""

    @property
    def shown(self) -> str:
        """The command as it may be logged and quoted."""
        text = self.wire.decode("utf-8", "replace").rstrip("\r\n")
        if not self.secret:
            return text
        words = text.split(" ")
        if words[0].upper() != "AUTH":
            return "[redacted]"
        return " ".join(words[:2]) + (" [redacted]" if len(words) > 2 else "")

    @_checks.even_half_made
    def __repr__(self) -> str:
        return f"<Command {self.shown}>"


def command(phase: Phase, text: str, *, secret: bool = False) -> Command:
    """Make a command line of a text.

    Raises:
        LocalProtocolError: the text has a CR, LF, NUL or other control character, is not Unicode
            text, or is too long; nothing was sent (RFC 5321 §4.1.1, §4.5.2, §4.5.3.1.4).
    """
    try:
        wire = guarded(text, secret=secret) + b"\r\n"
    except LocalProtocolError:
        del text  # R14
        raise
    most = _LONGER.get(phase, _LONGEST)
    if secret:
        wire = Hidden(wire)
    if len(wire) > most + 2:
        shown = "a secret" if secret else f"{text[:40]!r}…"
        del text  # R14
        raise LocalProtocolError(
            f"a command of {len(wire) - 2} octets is longer than {most}: {shown}"
        )
    return Command(wire, phase, secret)


def guarded(text: str, *, secret: bool = False) -> bytes:
    """The octets of what may stand in a command line, of any length.

    Raises:
        LocalProtocolError: it may not.
    """
    # What can be printed has none of them; not all that cannot is forbidden.
    if not text.isprintable() and _FORBIDDEN.search(text):
        shown = "a secret" if secret else repr(text)
        del text  # R14: a traceback may show locals.
        raise LocalProtocolError(f"a command must not contain control characters: {shown}")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise LocalProtocolError("a command must be Unicode text without surrogates") from (
            None if secret else error
        )


def paths_of(sender: Address | None, recipients: list[str]) -> tuple[str, str]:
    """MAIL and each RCPT, as `envelope_commands` takes them: one guard for all paths in them.

    Raises:
        LocalProtocolError: there is in one what may not stand in a command line.
    """
    path = "" if sender is None else sender._text
    arguments = path + "".join(recipients)
    if not arguments.isprintable():
        _ = guarded(arguments)
    rcpts = ">\r\nRCPT TO:<".join(recipients)
    return f"MAIL FROM:<{path}>", f"\r\nRCPT TO:<{rcpts}>\r\n"


def envelope_commands(paths: tuple[str, str], parameters: str, reset: bool, then: str) -> bytes:
    """MAIL, and a RCPT without parameters for each recipient, as one group; RSET before, if asked.

    `then` is the command line that follows, or nothing.

    The short way for transactions by the thousand: `paths` may be kept from one to the next.
    """
    if parameters and not parameters.isprintable():
        _ = guarded(parameters)
    mail, rcpts = paths
    before = "RSET\r\n" if reset else ""
    return f"{before}{mail}{parameters}{rcpts}{then}".encode()


def ehlo(verb: str, name: str) -> Command:
    """EHLO, HELO or LHLO with the client's identification (RFC 5321 §4.1.1.1, RFC 2033 §4.1).

    Raises:
        LocalProtocolError: the name is empty, or has a space, a control or a non-ASCII character.
    """
    # RFC 6531 §3.7.1: before EHLO is answered nobody knows of SMTPUTF8.
    if not name or " " in name or not name.isascii():
        raise LocalProtocolError(f"{name!r} cannot identify a client: give a host name or [IP]")
    return command(Phase.HELLO, f"{verb} {name}")


def mail(sender: Address | None, parameters: str = "") -> Command:
    """MAIL with its reverse-path; `parameters` are empty or begin with a space."""
    path = "" if sender is None else str(sender)
    return command(Phase.MAIL, f"MAIL FROM:<{path}>{parameters}")


def rcpt(recipient: Address, parameters: str = "") -> Command:
    """RCPT with its forward-path; `parameters` are empty or begin with a space."""
    return command(Phase.RCPT, f"RCPT TO:<{recipient}>{parameters}")


def bdat(size: int, *, last: bool) -> Command:
    """BDAT before a chunk of `size` octets (RFC 3030 §2)."""
    phase = Phase.DATA_TERMINATION if last else Phase.DATA_BLOCK
    return command(phase, f"BDAT {size} LAST" if last else f"BDAT {size}")


DATA = Command(b"DATA\r\n", Phase.DATA_INITIATION)
END_OF_DATA = Command(b".\r\n", Phase.DATA_TERMINATION)
RSET = Command(b"RSET\r\n", Phase.OTHER)
STARTTLS = Command(b"STARTTLS\r\n", Phase.TLS)
QUIT = Command(b"QUIT\r\n", Phase.QUIT)
GREETING = Command(b"", Phase.GREETING)
