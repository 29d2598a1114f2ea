"""What an observer is told of a session: its dialogue, its messages, its beginning and its end.

An observer is any callable that takes an event; secrets are left out of it before. `print` is one:
what `str()` makes of the events of a session is a script that `smtpx.testing` can play.
"""

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from smtpx._wire.extensions import Extensions
    from smtpx.endpoints import Endpoint
    from smtpx.envelope import Envelope
    from smtpx.replies import Reply
    from smtpx.results import SendResult
    from smtpx.tls import Protection

from smtpx._values import Value

__all__ = [
    "Event",
    "Line",
    "MessageBegun",
    "MessageEnded",
    "Observer",
    "Protected",
    "SessionBegun",
    "SessionClosed",
    "SessionOpened",
    "Speaker",
]


class Speaker(Enum):
    """Who says a line."""

    CLIENT = "C"
    SERVER = "S"


class Line(NamedTuple):
    """One line of the dialogue: of a command or of a reply; content is not told.

    `str()` is ``C: …`` or ``S: …``, control characters escaped.
    """

    speaker: Speaker
    text: str
    session: int = 0
    """The same number in all events of one session, and in no other's of this process."""

    def __str__(self) -> str:
        return f"{self.speaker.value}: {_shown(self.text)}"


class SessionBegun(Value):
    """A session is about to be opened: the server's host is looked up next."""

    session: int
    endpoint: "Endpoint"

    def __str__(self) -> str:
        return f"# session {self.session} with {self.endpoint}"


class Protected(Value):
    """A TLS handshake has succeeded."""

    session: int
    protection: "Protection"

    def __str__(self) -> str:
        return "--tls--"


class SessionOpened(Value):
    """Greeting, EHLO, TLS and AUTH are done: messages can be sent."""

    session: int
    extensions: "Extensions"
    authenticated: bool

    def __str__(self) -> str:
        return "# opened"


class MessageBegun(Value):
    """A mail transaction is about to be written."""

    session: int
    number: int
    """Of the mail transaction in its session. Several may be on their way."""
    envelope: "Envelope"

    def __str__(self) -> str:
        count = len(self.envelope.recipients)
        return f"# message {self.number} for {count} recipient{'' if count == 1 else 's'}"


class MessageEnded(Value):
    """It is known what became of a message, for each recipient of this mail transaction.

    One that was begun and goes by another session instead, because this one ended, has no end.
    """

    session: int
    number: int
    result: "SendResult"

    def __str__(self) -> str:
        result = self.result
        counted = (
            ("accepted", result.accepted),
            ("refused", result.refused),
            ("in doubt", result.in_doubt),
            ("not tried", result.not_tried),
        )
        told = ", ".join(f"{len(outcomes)} {word}" for word, outcomes in counted if outcomes)
        return f"# message {self.number}: {told}"


class SessionClosed(Value):
    """The connection is closed, or there never was one."""

    session: int
    reply: "Reply | None"
    """The server's parting words: to QUIT, or a 421."""
    is_broken: bool
    """The session did not end by QUIT or 421: it was lost, or out of step, or interrupted."""
    error: BaseException | None = None
    """Why it could not be opened."""

    def __str__(self) -> str:
        why = "" if self.error is None else f": {_shown(str(self.error))}"
        return f"# closed{', broken off' if self.is_broken else ''}{why}"


Event: TypeAlias = (
    Line | SessionBegun | Protected | SessionOpened | MessageBegun | MessageEnded | SessionClosed
)

Observer: TypeAlias = Callable[[Event], object]
"""Called with every event as it happens, in the thread or task it happens in."""


def _shown(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
