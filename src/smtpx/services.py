"""Mail services that people use, by name: ``gmail://ann@gmail.com:app-password``.

What is known of them is data, in ``services.toml``, each with the page where it was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from smtpx import _checks
from smtpx._values import Value

if TYPE_CHECKING:
    from datetime import date

__all__ = ["Service", "at", "known"]


class Service(Value, kw_only=True):
    """Where a service takes mail, and what it wants of who sends it."""

    name: str
    """The scheme of its URLs."""
    title: str
    """What people call it."""
    url: str
    """What such a URL stands for, such as ``smtps://smtp.gmail.com``."""
    user: str
    """Who logs in: what that has to be, or the one name that it is."""
    password: str
    """What the password has to be."""
    fixed_user: bool
    """True if `user` is the same for everybody."""
    limits: str
    """How much it takes; empty where we have found nothing."""
    limits_page: str
    """The address of the page where the limits were read; empty where that is `page`."""
    page: str
    """The address of the page where this was read."""
    seen: date
    """When it was read."""

    @property
    def host(self) -> str:
        """The name of its server."""
        return self.url.partition("://")[2]

    @property
    def login(self) -> str:
        """What it wants as user and password, as a part of a sentence."""
        user = repr(self.user) if self.fixed_user else self.user
        return f"{self.title} wants {user} as user, and as password {self.password}"


def known() -> Mapping[str, Service]:
    """All services, by name."""
    return _services()[0]


def at(host: str) -> Service | None:
    """The service whose server that is, where it is one's."""
    _checks.text("host", host)
    return _services()[1].get(host.lower().rstrip("."))


def called(name: str) -> list[str]:
    """The names of those that people also call so, or so without their region."""
    names = [each for each, said in _tables().items() if name in [each, *said["also"]]]
    return [each for each in known() if each in names or each.partition("-")[0] in names]


_UNSAID: dict[str, Any] = {"also": (), "fixed_user": False, "limits_page": ""}


@lru_cache(maxsize=1)
def _tables() -> dict[str, dict[str, Any]]:
    """What the file says; read when it is first wanted."""
    import tomllib
    from pkgutil import get_data

    octets = get_data("smtpx", "services.toml") or b""
    tables = tomllib.loads(octets.decode())
    return {name: {**_UNSAID, **said} for name, said in tables.items()}


@lru_cache(maxsize=1)
def _services() -> tuple[Mapping[str, Service], Mapping[str, Service]]:
    """By name, and by host."""
    services = [service for name, said in _tables().items() for service in _read(name, said)]
    by_name = {service.name: service for service in services}
    return MappingProxyType(by_name), {service.host: service for service in services}


def _read(name: str, said: dict[str, Any]) -> list[Service]:
    said = {key: value for key, value in said.items() if key != "also"}
    regions: list[str] = said.pop("regions", [])
    if not regions:
        return [Service(name=name, **said)]
    services: list[Service] = []
    for region in regions:
        said["name"] = f"{name}-{region}"
        one = {key: _in(region, value) for key, value in said.items()}
        services.append(Service(**one))
    return services


def _in(region: str, value: Any) -> Any:
    """What is said of all regions, said of one."""
    return value.replace("REGION", region) if isinstance(value, str) else value
