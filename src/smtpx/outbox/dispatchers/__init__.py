"""Engines that call workers when there is something to send: in the place of `Outbox.run`."""

from __future__ import annotations

from smtpx.outbox._dispatching import DELIVER, RECONCILE, Dispatcher

__all__ = ["DELIVER", "RECONCILE", "Dispatcher"]
