"""What can go wrong with a name server, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from smtpx import _checks

__all__ = ["Misanswer", "NameFault"]


class Misanswer(Enum):
    """What a name server makes of a question, instead of an answer."""

    SERVFAIL = "SERVFAIL"
    REFUSED = "REFUSED"
    NOTIMP = "NOTIMP"
    FORMERR = "FORMERR"
    YXDOMAIN = "YXDOMAIN"
    NXDOMAIN = "NXDOMAIN"
    """A lie: there is no such name."""
    NODATA = "NODATA"
    """A lie: the name has nothing of this type."""
    SILENCE = "silence"
    LATE = "late"
    """The right answer, after the fault's `seconds`."""
    TRUNCATED = "truncated"
    """Nothing by UDP but that it is truncated; all of it by TCP."""
    NO_TCP = "no tcp"
    """The same, and by TCP the connection is ended at once."""
    GARBAGE = "garbage"
    GARBAGE_FIRST = "garbage first"
    """The right answer follows."""
    CUT = "cut"
    """Half of the right answer."""
    WRONG_ID = "wrong id"
    WRONG_ID_FIRST = "wrong id first"
    """The right answer follows."""
    WRONG_QUESTION = "wrong question"
    """The answer to another question."""
    ALIAS_LOOP = "alias loop"
    """Two aliases of each other."""
    ALIAS_CHAIN = "alias chain"
    """An alias of twelve links, with nothing at its end."""
    STRIPPED = "stripped"
    """The right answer, without signatures and the AD bit."""
    BOGUS = "bogus"
    """Signatures that do not hold; or what a resolver makes of these: SERVFAIL, with the reason."""


@dataclass(frozen=True, slots=True)
class NameFault:
    """What a name server does wrong, and with which questions.

    Raises:
        TypeError: a field is of another kind.
        ValueError: a number is out of its range.
    """

    does: Misanswer
    name: str = "*"
    """The name that is asked for, lower case without a dot at the end; wildcards of the shell."""
    type: str = "*"
    """The type, such as ``MX``; wildcards of the shell."""
    times: int | None = None
    """How often it strikes in all; None is always."""
    seconds: float = 1.0
    """For `Misanswer.LATE`."""

    def __post_init__(self) -> None:
        _checks.instance("does", self.does, Misanswer)
        _checks.text("name", self.name)
        _checks.text("type", self.type)
        _checks.count("times", self.times, 1, or_none=True)
        _checks.amount("seconds", self.seconds, "seconds")
