"""The mailers of a project that are ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from smtpx import SMTPError, _checks
from smtpx.integrations.django._backend import EmailBackend
from smtpx.integrations.django._outboxes import Kept

__all__ = ["MISTAKES", "Mailer", "as_dict", "mailers", "named", "outboxes"]

T = TypeVar("T")

MISTAKES = (ImproperlyConfigured, SMTPError, TypeError, ValueError)
"""What a mailer raises whose options are wrong."""


class Mailer(NamedTuple):
    """One mailer, before it is made."""

    alias: str
    """``"default"`` where Django has one only."""
    setting: str
    """Where it is said."""
    backend: type[EmailBackend]
    options: Any

    def made(self) -> EmailBackend:
        """The backend itself.

        Raises:
            ImproperlyConfigured, smtpx.SMTPError, TypeError, ValueError: an option is wrong.
        """
        given: object = self.options
        if not isinstance(given, Mapping):
            raise _checks.complaint("OPTIONS", given, "a dict of options")
        options = cast("Mapping[str, Any]", given)
        alias: dict[str, Any] = {"alias": self.alias} if hasattr(settings, "MAILERS") else {}
        return self.backend(**alias, **options)


def mailers() -> Iterator[Mailer]:
    """Each mailer that is ours; of what is none at all Django itself complains."""
    if hasattr(settings, "MAILERS"):
        for alias, config in as_dict(settings.MAILERS).items():
            said = as_dict(config)
            backend = named(said.get("BACKEND"), EmailBackend)
            if backend is not None:
                yield Mailer(alias, f"MAILERS[{alias!r}]", backend, said.get("OPTIONS", {}))
        return
    backend = named(settings.EMAIL_BACKEND, EmailBackend)
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


def as_dict(given: object) -> Mapping[str, Any]:
    """A setting that has to be a dict; nothing, where it is none."""
    return cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else {}


def named(path: object, kind: type[T]) -> type[T] | None:
    """The class of that name, if it is of this kind."""
    if not isinstance(path, str):
        return None
    try:
        found: object = import_string(path)
    except ImportError:
        return None
    return found if isinstance(found, type) and issubclass(found, kind) else None
