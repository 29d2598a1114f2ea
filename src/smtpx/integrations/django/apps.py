"""The app, for ``INSTALLED_APPS``."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.db.models.signals import post_migrate


class SmtpxConfig(AppConfig):
    """Registers the system checks, and has ``manage.py migrate`` make the outbox's tables."""

    name = "smtpx.integrations.django"
    label = "smtpx"
    verbose_name = "Mail by smtpx"

    def ready(self) -> None:
        """Have Django's checks look at the mail settings."""
        from smtpx.integrations.django._checks import check_mail

        checks.register(check_mail)
        post_migrate.connect(_make_tables, sender=self)


def _make_tables(using: str, **others: Any) -> None:
    """Make the tables of the outbox, where one is in this database.

    By a connection of the outbox's own: within a transaction that writes it would wait for itself.
    """
    from smtpx.integrations.django._mailers import outboxes
    from smtpx.integrations.django._outboxes import opened

    for kept in outboxes().values():
        if kept.database == using:
            _ = opened(kept)
