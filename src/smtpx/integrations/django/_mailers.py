"""The mailers of a project that are ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from smtpx import SMTPError
from smtpx.integrations.django._backend import EmailBackend
from smtpx.integrations.django._outboxes import Kept

__all__ = ["MISTAKES", "Mailer", "mailers", "outboxes"]

MISTAKES = (ImproperlyConfigured, SMTPError, TypeError, ValueError)
"""What a mailer raises whose options are wrong."""


class Mailer(NamedTuple):
    """One mailer, before it is made."""

    alias: str
    """``"default"`` where Django has one only."""
    setting: str
    """Where it is said."""
    backend: type[EmailBackend]
    options: dict[str, Any]

    def made(self) -> EmailBackend:
        """The backend itself.

        Raises:
            ImproperlyConfigured, smtpx.SMTPError, TypeError, ValueError: an option is wrong.
        """
        return self.backend(**self.options)


def mailers() -> Iterator[Mailer]:
    """Each mailer that is ours."""
    if hasattr(settings, "MAILERS"):
        for alias, config in settings.MAILERS.items():
            backend = _ours(config.get("BACKEND", ""))
            if backend is not None:
                options = {"alias": alias, **config.get("OPTIONS", {})}
                yield Mailer(alias, f"MAILERS[{alias!r}]", backend, options)
        return
    backend = _ours(settings.EMAIL_BACKEND)
    if backend is not None:
        yield Mailer("default", "EMAIL_BACKEND", backend, {})


def outboxes() -> dict[str, Kept]:
    """The outbox of each mailer that has one; what is wrong is left to the checks."""
    found: dict[str, Kept] = {}
    for mailer in mailers():
        try:
            kept = mailer.made()._settings.outbox
        except MISTAKES:
            continue
        if kept is not None:
            found[mailer.alias] = kept
    return found


def _ours(path: str) -> type[EmailBackend] | None:
    try:
        named: object = import_string(path)
    except ImportError:
        return None  # Django itself complains of it.
    return named if isinstance(named, type) and issubclass(named, EmailBackend) else None
