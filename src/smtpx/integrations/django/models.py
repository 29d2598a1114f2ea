"""The tables of an outbox, as the admin reads them; it writes nothing into them.

The outbox makes and changes them itself: to Django they are not managed.
"""

from __future__ import annotations

from typing import Any

from django.db import models

from smtpx.outbox import State


class _Kept(models.Manager[Any]):
    """What ``manage.py dumpdata`` sees of it: nothing.

    Mail is no fixture, and a project without an outbox has no such tables.
    """

    def get_queryset(self) -> models.QuerySet[Any]:
        return super().get_queryset().none()


class Content(models.Model):
    """What goes out, where it is long: kept once for equal messages."""

    objects = _Kept()
    entries: models.Manager[Any] = models.Manager()
    digest: models.BinaryField[bytes, bytes] = models.BinaryField(primary_key=True)
    octets: models.BinaryField[bytes | None, bytes | None] = models.BinaryField(null=True)

    class Meta:
        """Nobody sees it by itself."""

        managed = False
        db_table = "smtpx_content"
        default_permissions = ()


class Message(models.Model):
    """What was put into the outbox by one call."""

    objects = _Kept()
    entries: models.Manager[Any] = models.Manager()
    id: models.TextField[str, str] = models.TextField(primary_key=True)
    key: models.TextField[str | None, str | None] = models.TextField(null=True)
    campaign: models.TextField[str, str] = models.TextField()
    sender: models.TextField[str, str] = models.TextField()
    message_id: models.TextField[str, str] = models.TextField()
    octets: models.BinaryField[bytes | None, bytes | None] = models.BinaryField(null=True)
    content: models.ForeignKey[Content | None, Content | None] = models.ForeignKey(
        Content, models.DO_NOTHING, db_column="content", db_constraint=False, null=True
    )
    template: models.IntegerField[int, int] = models.IntegerField()
    created: models.FloatField[float, float] = models.FloatField()

    class Meta:
        """Nobody sees it by itself."""

        managed = False
        db_table = "smtpx_message"
        default_permissions = ()


class Delivery(models.Model):
    """A message on its way to one recipient."""

    objects = _Kept()
    entries: models.Manager[Any] = models.Manager()
    number: models.BigIntegerField[int, int] = models.BigIntegerField(primary_key=True)
    message_id: str
    message: models.ForeignKey[Message, Message] = models.ForeignKey(
        Message, models.DO_NOTHING, db_column="message", db_constraint=False
    )
    recipient: models.TextField[str, str] = models.TextField()
    state: models.TextField[str, str] = models.TextField(
        choices=[(state.value, state.value) for state in State]
    )
    doubted: models.IntegerField[int, int] = models.IntegerField()
    attempts: models.IntegerField[int, int] = models.IntegerField()
    due: models.FloatField[float, float] = models.FloatField()
    expires: models.FloatField[float, float] = models.FloatField()
    changed: models.FloatField[float, float] = models.FloatField()
    reply: models.TextField[str | None, str | None] = models.TextField(null=True)
    reason: models.TextField[str, str] = models.TextField()
    host: models.TextField[str, str] = models.TextField()

    class Meta:
        """It is seen, and decided about."""

        managed = False
        db_table = "smtpx_delivery"
        default_permissions = ("view", "change")
        verbose_name = "delivery"
        verbose_name_plural = "outbox"

    def __str__(self) -> str:
        return f"{self.recipient} ({self.message_id})"
