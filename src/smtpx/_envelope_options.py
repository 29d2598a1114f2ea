"""What an envelope may say besides sender and recipients, for those who type it.

Nobody else needs it, and to make it takes as long as to import all of `smtpx.envelope`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from smtpx._asked import BodyType, DeliverBy, Ret


class EnvelopeOptions(TypedDict, total=False):
    """What an `Envelope` may say besides sender and recipients; its fields tell what they mean."""

    body: BodyType | None
    ret: Ret | None
    envid: str | None
    auth: str | None
    require_tls: bool
    deliver_by: DeliverBy | None
    hold: int | datetime | None
    priority: int | None
    drop_unsupported: bool


EnvelopeOptions.__module__ = "smtpx"
