"""Delivery: from a message to the mail exchangers of its recipients (RFC 5321 §5.1).

`Delivery` does it in a thread, `AsyncDelivery` in asyncio and trio. `dane`, `mta_sts` and
`tls_reports` can be used alone.
"""

from __future__ import annotations

from ._dnspython import NameServers
from ._places import DeliveryLimits
from ._resolving import Exchanger, Plan
from ._settings import DeliveryOptions
from ._terms import Level, Terms
from .addressing import AddressPolicy
from .asynchronous import AsyncDelivery
from .blocking import Delivery, deliver
from .outcomes import Attempt, DeliveryFailed, DeliveryOutcome, DeliveryResult, Failure
from .reports import SentReport, TLSReports

__all__ = [
    "AddressPolicy",
    "AsyncDelivery",
    "Attempt",
    "Delivery",
    "DeliveryFailed",
    "DeliveryLimits",
    "DeliveryOptions",
    "DeliveryOutcome",
    "DeliveryResult",
    "Exchanger",
    "Failure",
    "Level",
    "NameServers",
    "Plan",
    "SentReport",
    "TLSReports",
    "Terms",
    "deliver",
]
