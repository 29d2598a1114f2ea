"""What a procedure may ask of the outside world.

A procedure is a generator of steps that returns a value. It yields a step, a driver performs it
on a real transport and sends the answer back in; a failed step is thrown into the procedure as
the ``OSError`` it was (``TimeoutError`` when the time was up), so that the procedure can say what
was in flight. Steps ask for bytes, never for readiness.

Drivers tell by ``type(step) is`` which one it is: each is final, and `isinstance` takes five times
as long to say no of a class that has a metaclass.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar, cast, final

from smtpx import _checks
from smtpx._ends import no_end
from smtpx._values import Value, draft_of
from smtpx.errors import LocalProtocolError, RemoteProtocolError

if TYPE_CHECKING:
    from smtpx.sasl.credentials import Source
    from smtpx.tls import Missing, Presented, Protection

T = TypeVar("T")


@final
class Send(Value):
    """Write all of these bytes. Answered with ``b""`` once the transport has taken them."""

    data: bytes | memoryview
    timeout: float | None
    """Seconds the whole write may take; ``None`` = no limit."""

    rate: float | None = None
    """Octets a second that the peer must take at least. Each earns its share of time: `timeout` is
    what a peer may be behind. See `Limits.data_rate`."""

    @classmethod
    def _made(cls, data: bytes | memoryview, timeout: float | None, rate: float | None) -> Send:
        """One without a call for each field: there is one for every message."""
        draft = _SendDraft()
        draft.data, draft.timeout, draft.rate = data, timeout, rate
        draft.__class__ = cls
        return draft  # type: ignore[no-any-return]

    @_checks.even_half_made
    def __repr__(self) -> str:
        # The octets may be a secret, and a traceback with locals shows the step.
        return f"Send(<{len(self.data)} octets>, {self.timeout})"


_SendDraft = draft_of(Send)


@final
class Receive(Value):
    """Wait for bytes. Answered with what came; ``b""`` is the end of the stream."""

    timeout: float | None
    """Seconds to wait for the reply; ``None`` = no limit."""

    fresh: bool
    """True starts the clock of `timeout`; False goes on with the one that is running.

    A reply that arrives byte by byte is thus held to one deadline, not to one per byte.
    """


@final
class Glance(Value):
    """Take what has already arrived, without waiting.

    Answered with the bytes, ``b""`` for the end of the stream, or ``None`` when nothing is there.
    """


@final
class More(Value):
    """Put more into what is to be sent, messages or content, or note that there is no more.

    Answered with ``b""`` when that was done. For messages, ``None`` says that none is there yet:
    what is in flight is then brought to its end, and the procedure to its own.
    """


class StartTLS:
    """Do the TLS handshake on the transport. Answered with ``b""``."""

    __slots__ = ("is_closed", "missing", "presented", "protection", "timeout")

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self.is_closed = False
        """True where the peer has said by TLS that nothing follows (close_notify). Else the end of
        the stream may be anybody's work (RFC 8446 §6.1); noted by the driver before it tells that.
        """
        self.protection: Protection | None = None
        """What the handshake agreed on: noted by the driver before it answers."""
        self.presented: tuple[Presented, ...] = ()
        """The peer's certificates, its own first: noted by the driver when the handshake fails."""
        self.missing: Missing | None = None
        """The authorities that this Python looks for and does not find: noted with those."""


class Asked(Protocol):
    """A question to the caller's own code. Answered with ``b""`` once what it says is noted."""

    @property
    def timeout(self) -> float | None:
        """Seconds it may take where it is awaited; ``None`` = no limit."""
        ...

    def ask(self) -> Awaitable[object] | None:
        """Call it; what is to be awaited, for `note`, where it takes time."""
        ...

    def note(self, given: object) -> None:
        """Keep what it said.

        Raises:
            Exception: it is of another kind than was asked for.
        """
        ...


class Obtain:
    """Have the caller's source say its secret; an `Asked`."""

    __slots__ = ("secret", "source", "timeout")

    def __init__(self, source: Source, timeout: float | None) -> None:
        self.source = source
        self.timeout = timeout
        """Seconds it may take where it is awaited; ``None`` = no limit."""
        self.secret = ""
        """What it said: noted before the step is answered, and in no variable of the driver."""

    def ask(self) -> Awaitable[object] | None:
        """Call the source; what is to be awaited, for `note`, where it takes time."""
        try:
            given: object = self.source()
        except StopIteration as error:
            # To a driver it would be the end of the procedure, and the session logged in.
            raise no_end(error, "the source of a password or token") from error
        if isinstance(given, Awaitable):
            return given
        try:
            self.note(given)
        finally:
            del given  # A traceback with locals would show it.
        return None

    def note(self, given: object) -> None:
        """Keep what the source said.

        Raises:
            LocalProtocolError: it is no string.
        """
        if isinstance(given, str):
            self.secret = given
            return
        kind = type(given).__name__
        del given
        raise LocalProtocolError(f"the source of a password or token gave {kind}, not str")


class Mark:
    """Have the caller mark messages, before any of them may be in doubt; an `Asked`."""

    __slots__ = ("_mark", "allowed", "failure", "given", "messages", "timeout")

    def __init__(
        self,
        mark: Callable[[Sequence[object]], object],
        messages: Sequence[object],
    ) -> None:
        self.timeout: float | None = None
        """It is the caller's own code, which is not timed."""
        self.messages = messages
        self.allowed: Sequence[bool] = ()
        """Of each message, whether its last octet may leave: noted before this is answered."""
        self.failure: BaseException | None = None
        """What the mark raised."""
        self.given: Awaitable[object] | None = None
        """What is awaited, where the mark is asynchronous."""
        self._mark = mark

    def ask(self) -> Awaitable[object] | None:
        """Call the mark; what is to be awaited, for `note`, where it takes time."""
        try:
            given = self._mark(self.messages)
        except Exception as error:
            self._fail(error)
            return None
        if isinstance(given, Awaitable):
            self.given = given
            return self._awaited(cast("Awaitable[object]", given))
        self.note(given)
        return None

    async def _awaited(self, given: Awaitable[object]) -> object:
        try:
            return await given
        except Exception as error:
            return self._fail(error)

    def _fail(self, error: Exception) -> Sequence[bool]:
        """Keep what it raised, for the procedure: a driver would take some of it for its own."""
        self.failure = no_end(error, "the mark")
        if isinstance(error, (OSError, RemoteProtocolError)):
            # These would be the end of the session.
            self.failure = RuntimeError(f"the mark raised {type(error).__name__}: {error}")
            self.failure.__cause__ = error
        self.allowed = [False] * len(self.messages)
        return self.allowed

    def note(self, given: object) -> None:
        """Keep what the mark said.

        Raises:
            TypeError: it is not a list with one boolean about each message.
        """
        words = cast("Sequence[object]", given) if isinstance(given, (list, tuple)) else ()
        are_booleans = all(isinstance(word, bool) for word in words)
        if len(words) != len(self.messages) or not are_booleans:
            raise TypeError(
                f"mark: return a list of {len(self.messages)} booleans, one for each message, "
                f"not {given!r}"
            )
        self.allowed = cast("Sequence[bool]", words)

    @classmethod
    def of(cls, several: Sequence[Mark]) -> Mark:
        """One question in the place of several that are asked at once; `tell` answers those."""
        return cls(several[0]._mark, [message for each in several for message in each.messages])

    def tell(self, several: Sequence[Mark]) -> None:
        """Answer those in whose place this was asked."""
        words = iter(self.allowed)
        for each in several:
            each.allowed = [*islice(words, len(each.messages))]
            each.failure = self.failure


for _public in (Send, Receive, Glance, StartTLS):
    _public.__module__ = "smtpx.sansio"

Step: TypeAlias = Send | Receive | Glance | StartTLS | More | Obtain | Mark
Steps: TypeAlias = Generator[Step, bytes | None, T]


def by_total(error: TimeoutError) -> TimeoutError:
    """Note that it is the time of the whole call that was up, not that of a phase."""
    error.__dict__["by_total"] = True
    return error


def is_by_total(error: BaseException) -> bool:
    """True if the time of the whole call was up."""
    return "by_total" in error.__dict__


def with_octets_written(error: OSError, written: int) -> OSError:
    """Note on a failed Send how many octets the transport had taken."""
    error.__dict__["octets_written"] = written
    return error


class CallInterrupted(ConnectionAbortedError):
    """Thrown into a procedure that nothing is answered any more: its caller was interrupted."""


class BrokenOff(ConnectionAbortedError):
    """Thrown into a procedure whose connection we have closed ourselves, from outside of it."""

    def __init__(self) -> None:
        super().__init__("closed on our side")


def octets_written(error: BaseException | None, otherwise: int) -> int:
    """How many octets the transport had taken when a Send failed, as far as it is known."""
    return otherwise if error is None else int(error.__dict__.get("octets_written", otherwise))
