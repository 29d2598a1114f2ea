"""The replies to a whole command group, given out as if they had been asked for one by one."""

from __future__ import annotations

from collections import deque
from smtplib import SMTPDataError, SMTPResponseException, SMTPServerDisconnected

from smtpx._smtplib.codes import IN_DOUBT, CodeAndText
from smtpx._smtplib.reading import code_and_text, replies_in
from smtpx.errors import ConnectionLost, ContentRefused, SMTPError, TimedOut

__all__ = ["Replay", "disconnected"]


def disconnected(error: SMTPError, *, in_doubt: bool) -> SMTPServerDisconnected:
    """What smtplib raises when the session is over."""
    text = str(error)
    if isinstance(error, (ConnectionLost, TimedOut)):
        cause = error.__cause__
        text = "Connection unexpectedly closed" + ("" if cause is None else f": {cause}")
    return SMTPServerDisconnected(text + (IN_DOUBT if in_doubt else ""))


class Replay:
    """A transaction that did not succeed for all, to be judged step by step like any other."""

    def __init__(self, heard: bytes, error: SMTPError | None, *, in_doubt: bool) -> None:
        """Take all that the server said, and why the session is over if it is."""
        replies, self._malformed = replies_in(heard)
        self._replies = deque(replies)
        self._error = error
        self._in_doubt = in_doubt

    def answer(self) -> CodeAndText:
        """The reply to the next command.

        Raises:
            SMTPServerDisconnected, SMTPResponseException: the session ended before it.
        """
        if self._replies:
            return self._replies.popleft()
        if isinstance(self._malformed, str):
            raise SMTPResponseException(500, self._malformed)
        if self._malformed is not None:
            return self._malformed
        if isinstance(self._error, ConnectionLost) and self._error.reply is not None:
            code, text = code_and_text(self._error.reply)
            if code == 421:  # it was there before we spoke
                return code, text
        raise self._over()

    def data(self, due: int) -> list[CodeAndText]:
        """The `due` replies to the end of data, or fewer if the server closed after the last.

        Raises:
            SMTPDataError: DATA itself was refused.
            SMTPServerDisconnected: there is none; the text says if the outcome is in doubt.
        """
        code, text = self.answer()
        if not 300 <= code <= 399:
            raise SMTPDataError(code, text)
        if self._error is None or isinstance(self._error, ContentRefused):
            return list(self._replies)[:due]
        raise self._over()

    def _over(self) -> SMTPServerDisconnected:
        if self._error is None:
            raise AssertionError("a caller that was told of no failure has heard every reply")
        over = disconnected(self._error, in_doubt=self._in_doubt)
        over.__cause__ = self._error
        return over
