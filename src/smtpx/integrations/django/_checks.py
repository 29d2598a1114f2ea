"""What ``manage.py check`` says of the mail settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from smtpx import SMTPError
from smtpx.integrations.django._backend import EmailBackend


def check_mail(**_: Any) -> list[CheckMessage]:
    """Look at each mailer that is ours; nothing is dialled.

    ``smtpx.E001``: it cannot be made. ``smtpx.W001``: it sends in plain text over a network.
    """
    messages: list[CheckMessage] = []
    for name, backend, options in _mailers():
        try:
            made = backend(**options)
        except (ImproperlyConfigured, SMTPError, TypeError, ValueError) as error:
            messages.append(Error(f"{name}: {error}", id="smtpx.E001"))
            continue
        if made.is_exposed:
            messages.append(
                Warning(
                    f"{name}: mail, and who gets it, goes over the network in plain text.",
                    hint="Leave out use_tls=False and tls=none: STARTTLS is then required.",
                    id="smtpx.W001",
                )
            )
    return messages


def _mailers() -> Iterator[tuple[str, type[EmailBackend], dict[str, Any]]]:
    """What makes each: the name of the setting, the class, its arguments."""
    if hasattr(settings, "MAILERS"):
        for alias, config in settings.MAILERS.items():
            backend = _ours(config.get("BACKEND", ""))
            if backend is not None:
                yield f"MAILERS[{alias!r}]", backend, {"alias": alias, **config.get("OPTIONS", {})}
        return
    backend = _ours(settings.EMAIL_BACKEND)
    if backend is not None:
        yield "EMAIL_BACKEND", backend, {}


def _ours(path: str) -> type[EmailBackend] | None:
    try:
        named: object = import_string(path)
    except ImportError:
        return None  # Django itself complains of it.
    return named if isinstance(named, type) and issubclass(named, EmailBackend) else None
