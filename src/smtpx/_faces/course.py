"""One message on its way, over one session or several: what the faces decide alike."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from smtpx import _checks
from smtpx._core.given import Message, addressed
from smtpx._drivers.waiting import Deadline
from smtpx._faces.arguments import check_message
from smtpx._faces.checked import checked
from smtpx._faces.leasing import Lease
from smtpx._loaders import UNDER_WAY
from smtpx._loading import refuse_amid_loading
from smtpx._message.messages import is_message
from smtpx.envelope import Envelope
from smtpx.errors import RemoteProtocolError, SessionFull, SMTPError
from smtpx.options import Check
from smtpx.results import SendResult, accepted

if TYPE_CHECKING:
    from smtpx._core.connection import Connection
    from smtpx._core.division import Share

# An Enum's attributes are slow to look up until Python 3.12, and this is asked for every message.
_PASS = Check.PASS
_OCTETS = (bytes, bytearray, memoryview)


class Course:
    """What is to be attempted for a message, and what became of it so far.

    It outlives what a call is interrupted in, so that what is known is told, whenever that is.
    """

    __slots__ = (
        "_before",
        "_everyone",
        "_share",
        "all_or_nothing",
        "connection",
        "envelope",
        "latest",
        "message",
    )

    def __init__(self, envelope: Envelope | None, all_or_nothing: bool) -> None:
        self.message: Message
        """As it was checked, and can be read."""
        self.envelope = envelope
        """For whom the attempt is."""
        self.all_or_nothing = all_or_nothing
        self.latest: SendResult | None = None
        """What became of the attempt, once that is known."""
        self.connection: Connection | None = None
        """Over which it is being made."""
        self._everyone = envelope
        self._share: Share | None = None
        self._before: SendResult | None = None

    def prepare(self, check: Check, message: Message) -> None:
        """Take the message, as the caller wants it checked.

        Raises:
            CheckFailed: there are errors in it.
            LocalProtocolError, AddressError: nobody sends it, or nobody gets it. Or a signal
                handler sends it, at a moment when it cannot.
            TypeError: one of them is of another kind.
        """
        if UNDER_WAY:
            refuse_amid_loading()
        if self.all_or_nothing is not False:
            _checks.flag("all_or_nothing", self.all_or_nothing)
        if type(message) is not bytes:
            check_message(message)
        envelope = self.envelope
        if envelope is not None and not isinstance(envelope, Envelope):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            allowed = "a smtpx.Envelope(sender, recipients) or None"
            raise _checks.complaint("envelope", envelope, allowed)
        if check is not _PASS:
            message = checked(check, message, envelope)
        self.message = message
        self.envelope = self._everyone = envelope or addressed(message)

    @property
    def so_far(self) -> SendResult | None:
        """What became of the message for all of its recipients."""
        if self.latest is None:
            return self._before
        if self._share is None or self._before is None:
            return self.latest
        from smtpx._core.division import resumed

        return resumed(self._before, self._share, self.latest)

    def goes_on(self, lease: Lease[Any], deadline: Deadline) -> bool:
        """True if another session is needed: the last was gone before, or is full now.

        Where nothing was sent and all the time went by, why it went by is the better reason.
        """
        latest = self.latest
        if latest is None or latest.error is None or lease.held is None:
            return False  # Without a session, nothing more of it can be had.
        if lease.was_gone(latest) or self._is_learnt(lease, latest):
            if deadline.is_over:
                return False
            self.latest = self.connection = None
            return True
        result = self.so_far
        if result is None or not isinstance(result.error, SessionFull):
            return False
        from smtpx._core.division import left_over

        share = left_over(self._everyone or addressed(self.message), result)
        envelope = share.envelope
        # No call in between: a signal handler would find what was told beside another share.
        self._before, self._share, self.envelope = result, share, envelope
        self.latest = self.connection = None
        return True

    def _is_learnt(self, lease: Lease[Any], latest: SendResult) -> bool:
        """True if the session has shown why the server took nothing, and the next does without."""
        if not isinstance(latest.error, RemoteProtocolError):
            return False
        connection, _ = lease.session._parts
        return (
            not connection.learnt.broken.isdisjoint(connection.extensions.keywords)
            and not (latest.accepted or latest.in_doubt)
            and (isinstance(self.message, _OCTETS) or is_message(self.message))
        )

    @contextmanager
    def another_attempt(self) -> Generator[None, None, None]:
        """Note it where the attempt for those who are left over could not be made.

        Raises:
            SMTPError: nobody was left over, so that there is nothing else to tell.
        """
        try:
            yield
        except SMTPError as error:
            if self._share is None:
                raise
            from smtpx._core.verdicts import untried

            self.latest = untried(self._share.envelope, error)

    def broke_off(self, error: BaseException) -> None:
        """Note what becomes of an attempt that ended by an exception.

        The driver has asked the procedure. One that was interrupted itself cannot tell, and what
        may have left it is in doubt (RFC 1047).
        """
        told = vars(error).get("result")
        if isinstance(told, SendResult):
            self.latest = told
        elif self.connection is not None and not isinstance(error, SMTPError):
            from smtpx._core.verdicts import unfinished

            self.latest = unfinished(self.connection, self.envelope or addressed(self.message))

    def verdict(self) -> SendResult:
        """What became of the message, if somebody gets it.

        Raises:
            SMTPError: nobody does.
        """
        latest = self.latest
        if latest is not None and latest.error is None and self._share is None:
            return latest
        result = self.so_far
        if result is None:
            raise AssertionError("a message is attempted before it is told what became of it")
        return accepted(result)

    def hang_on(self, error: BaseException) -> None:
        """Tell what became of the message on whatever ends the call, as ``.result``.

        Whoever is interrupted in here calls it once more, for that interruption.
        """
        if self.latest is None:
            self.broke_off(error)  # We were interrupted before that was noted.
        result = self.so_far
        if result is None or (isinstance(error, SMTPError) and error.result is not None):
            return
        vars(error)["result"] = result
        if result.in_doubt:
            names = ", ".join(str(outcome.recipient) for outcome in result.in_doubt)
            error.add_note(f"interrupted while the message was in doubt for {names}")
