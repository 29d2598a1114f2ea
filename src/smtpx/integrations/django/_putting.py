"""Messages go into an outbox by Django's own connection, and in its transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from django.core.mail import EmailMessage
from django.db import connections, transaction

from smtpx import SMTPError, _checks
from smtpx.integrations.django._course import Course
from smtpx.integrations.django._messages import Item
from smtpx.integrations.django._outboxes import Kept, opened
from smtpx.outbox import (
    LedgerCorrupt,
    LedgerTooNew,
    LedgerUnavailable,
    Outbox,
    PutOptions,
)

__all__ = ["put"]

_PUT = ("key", *PutOptions.__annotations__)


def put(course: Course, kept: Kept) -> None:
    """Put in what a call of `send_messages` was given: all of it, where the database takes any.

    Within ``transaction.atomic()`` it is in the outbox once that is committed.
    """
    ids: list[tuple[EmailMessage, str]] = []
    try:
        outbox = opened(kept)
        with transaction.atomic(using=kept.database):
            for message, item in course.written():
                try:
                    with transaction.atomic(using=kept.database):
                        ids.append((message, _put(outbox, kept.database, message, item)))
                except (LedgerUnavailable, LedgerCorrupt, LedgerTooNew):
                    raise
                except (SMTPError, TypeError, ValueError) as mistake:
                    course.refuse(mistake)
    except SMTPError as error:
        course.fail(error)
        return
    for message, id in ids:
        course.kept(message, id)
    dispatcher = kept.options.get("dispatcher")
    if ids and dispatcher is not None and not dispatcher.transactional:
        batches = [id for _, id in ids]

        def wake() -> None:
            outbox.wake(batches)

        # What is not woken, `reconcile` calls out.
        transaction.on_commit(wake, using=kept.database, robust=True)


def _put(outbox: Outbox, database: str, message: EmailMessage, item: Item) -> str:
    content, envelope = item
    given: object = getattr(message, "smtpx_put", {})
    if not isinstance(given, Mapping):
        raise _checks.complaint("smtpx_put", given, "a dict such as {'key': 'order-42'}")
    options = dict(cast("Mapping[str, Any]", given))
    if unknown := [name for name in options if name not in _PUT]:
        raise _checks.unknown("option in smtpx_put", unknown, _PUT)
    return outbox.put(content, envelope, connection=connections[database], **options)
