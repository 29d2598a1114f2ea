"""Zones that `smtpx.testing.NameServer` has signed, before a resolver that validates: unbound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from smtpx.testing import Misanswer, NameFault, NameServer
from tests.interop.daemon import Daemon, free_ports, program, wait_until

pytestmark = pytest.mark.interop
ZONE = """
signed.lab MX 10 mx.signed.lab.
mx.signed.lab A 127.0.0.1
_25._tcp.mx.signed.lab TLSA 3 1 1 abababababababababababababababababababababababababababababababab
alias.signed.lab CNAME mx.insecure.lab.
bogus.signed.lab A 127.0.0.1
stripped.signed.lab A 127.0.0.1
mx.insecure.lab A 127.0.0.1
"""
ZONES = ("lab", "signed.lab", "insecure.lab")
FAULTS = [
    NameFault(Misanswer.BOGUS, "bogus.signed.lab"),
    NameFault(Misanswer.STRIPPED, "stripped.signed.lab"),
]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where an unbound listens that asks our server, and knows its anchor."""
    if program("unbound") is None:
        pytest.skip("unbound is not installed (Debian: unbound)")
    directory: Path = tmp_path_factory.mktemp("unbound")
    (port,) = free_ports("127.0.0.1", 1)
    with NameServer(ZONE, signed=ZONES[:2], unsigned=ZONES[2:], faults=FAULTS) as server:
        _ = (directory / "anchor").write_text(server.trust_anchor)
        lines = [
            "server:",
            *(f" interface: 127.0.0.1@{port}", " do-not-query-localhost: no"),
            *(' module-config: "validator iterator"', f' trust-anchor-file: "{directory}/anchor"'),
            *(' chroot: ""', ' username: ""', f' directory: "{directory}"', ' pidfile: ""'),
            *(" use-syslog: no", ' target-fetch-policy: "0 0 0 0 0"'),
        ]
        for zone in (".", *ZONES):
            lines += ["stub-zone:", f' name: "{zone}"', f" stub-addr: 127.0.0.1@{server.port}"]
        configuration = directory / "unbound.conf"
        _ = configuration.write_text("\n".join(lines) + "\n")
        argv = [program("unbound") or "unbound", "-d", "-c", str(configuration)]
        with Daemon(argv, directory) as daemon:
            daemon.wait_until_ready(lambda: said(port, "lab", "SOA") is not None)
            yield port


def said(port: int, name: str, kind: str) -> dns.message.Message | None:
    query = dns.message.make_query(name, kind, want_dnssec=True)
    try:
        return dns.query.udp(query, "127.0.0.1", timeout=1, port=port)
    except (OSError, dns.exception.DNSException):
        return None


@pytest.mark.parametrize(
    ("name", "kind", "code", "is_secure"),
    [
        ("signed.lab", "MX", "NOERROR", True),
        ("_25._tcp.mx.signed.lab", "TLSA", "NOERROR", True),
        ("mx.signed.lab", "AAAA", "NOERROR", True),
        ("_tcp.mx.signed.lab", "A", "NOERROR", True),
        ("a.b.gone.signed.lab", "A", "NXDOMAIN", True),
        ("alias.signed.lab", "CNAME", "NOERROR", True),
        ("alias.signed.lab", "A", "NOERROR", False),
        ("mx.insecure.lab", "A", "NOERROR", False),
        ("gone.insecure.lab", "A", "NXDOMAIN", False),
        ("bogus.signed.lab", "A", "SERVFAIL", False),
        ("stripped.signed.lab", "A", "SERVFAIL", False),
    ],
)
def test_unbound_believes_what_is_signed(
    port: int, name: str, kind: str, code: str, is_secure: bool
):
    found: list[dns.message.Message | None] = []

    def is_answered() -> bool:
        found[:] = [said(port, name, kind)]
        return found[0] is not None

    assert wait_until(is_answered, 60)
    (answer,) = found
    assert answer is not None
    assert dns.rcode.to_text(answer.rcode()) == code
    assert bool(answer.flags & dns.flags.AD) == is_secure
