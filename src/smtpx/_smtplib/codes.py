"""Replies as `smtpx.smtplib` gives them, and what their codes mean."""

from __future__ import annotations

from typing import TypeAlias

__all__ = ["IN_DOUBT", "MAXLINE", "CodeAndText", "accepts", "ends_session"]

MAXLINE = 8192
"""Octets of a line that are taken."""

CodeAndText: TypeAlias = tuple[int, bytes]

IN_DOUBT = (
    "; the end of data was sent: whether the message was accepted is in doubt, and sending it "
    "again may deliver it twice"
)


def accepts(code: int) -> bool:
    """True for 2yz: the first digit decides (RFC 5321 §4.2)."""
    return 200 <= code <= 299


def ends_session(code: int) -> bool:
    """True for 421, and for what is neither acceptance nor refusal: we are out of step."""
    return code == 421 or not 400 <= code <= 599
