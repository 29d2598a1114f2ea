"""What the sessions with one server have shown of it, beyond what it announces."""

from __future__ import annotations

import re

from smtpx.replies import Reply

# EHLO keywords that are of no use where BDAT is not known (RFC 3030).
_BY_CHUNKS = frozenset({"CHUNKING", "BINARYMIME"})
# RFC 3463 §3.4, §3.5: the system is shutting down, or overloaded; the time was up, or the line bad.
_OF_THE_MOMENT = ("3", "4")
_TIMED_OUT = r"(?i)time(?:d )?-?out|\bidle|inactiv"


class Learnt:
    """Shared by the sessions of one client."""

    def __init__(self) -> None:
        self.takes_chunks = False
        """A message was accepted by BDAT: a refused one is refused for a reason of its own."""
        self.broken: frozenset[str] = frozenset()
        """EHLO keywords that the server announces and does not keep to."""
        self.takes_reset = False
        """It has answered RSET as it must: what goes behind it can be written along with it."""
        self.refuses_reset = False
        """It refused RSET: a session that may have left a transaction open is used up."""
        self.messages: int | None = None
        """After so many mail transactions it ends a session, as by a MAILMAX not stated."""
        self._ended_after: int | None = None

    def knows_no_chunks(self) -> None:
        """Note that the server announces CHUNKING and does not know BDAT."""
        self.broken |= _BY_CHUNKS

    def session_ended(self, transactions: int, parting: Reply | None) -> None:
        """Note that the server ended a session after so many transactions, none of them refused.

        A 421 before the next one says so, unless it is about something else. Where the connection
        just ends it may have been chance, until it happens again at the same number.
        """
        if transactions < 1 or (parting is not None and _is_of_the_moment(parting)):
            return
        if parting is not None or transactions == self._ended_after:
            self.messages = transactions
        self._ended_after = transactions


def _is_of_the_moment(parting: Reply) -> bool:
    """True if a 421 says nothing of how many messages a session may have."""
    status = parting.enhanced
    if status is not None and str(status).split(".")[1] in _OF_THE_MOMENT:
        return True
    return re.search(_TIMED_OUT, " ".join(parting.lines)) is not None
