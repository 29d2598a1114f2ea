"""A domain with an MTA-STS policy, for tests: its mail exchanger, and the host of the policy."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import trustme

from smtpx.testing import NameServer, Server, ServerTLS
from tests.delivery.https_host import HTTPSHost

ENFORCE = "version: STSv1\r\nmode: enforce\r\nmx: mx.example.net\r\nmax_age: 604800\r\n"


class Lab:
    """A domain with a policy, its mail exchanger and its policy host."""

    def __init__(
        self, world: Any, folder: Path, host_names: tuple[str, ...], tls: bool, https_port: int = 0
    ) -> None:
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*host_names).configure_cert(context)
        policy_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("mta-sts.example.net").configure_cert(policy_context)
        self.policy_host = HTTPSHost(policy_context, https_port)
        self.policy_host.says(ENFORCE)
        options: dict[str, Any] = {"tls": ServerTLS.STARTTLS, "server_context": context}
        self.server = Server(**(options if tls else {}))
        self._world = world

    def made(self, dns: NameServer, **options: Any) -> Any:
        delivery = self._world(dns, port=self.server.port, ca_file=self.ca_file, **options)
        settings = getattr(delivery, "_delivery", delivery)._settings
        settings.rules = replace(settings.rules, policy_port=self.policy_host.port)
        return delivery


@contextmanager
def lab(
    world: Any,
    folder: Path,
    *,
    names: tuple[str, ...] = ("mx.example.net",),
    tls: bool = True,
    https_port: int = 0,
) -> Iterator[Lab]:
    made = Lab(world, folder, names, tls, https_port)
    try:
        with made.server:
            yield made
    finally:
        made.policy_host.close()
