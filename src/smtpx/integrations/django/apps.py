"""The app, for ``INSTALLED_APPS``."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks


class SmtpxConfig(AppConfig):
    """Registers the system checks."""

    name = "smtpx.integrations.django"
    label = "smtpx"
    verbose_name = "Mail by smtpx"

    def ready(self) -> None:
        """Have Django's checks look at the mail settings."""
        from smtpx.integrations.django._checks import check_mail

        checks.register(check_mail)
