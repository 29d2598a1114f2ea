"""Every certificate case over real TLS: each driver shows the whole chain, as it was sent."""

from __future__ import annotations

import asyncio
import ssl
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives import serialization

import smtpx
from smtpx import TLSPolicyError
from smtpx.delivery import Level, Terms
from smtpx.delivery._belief import believe
from smtpx.delivery._settings import Settings
from smtpx.delivery.dane import TLSA
from smtpx.delivery.resolver import ScriptedResolver
from smtpx.testing import Server, ServerTLS
from smtpx.tls import Protection
from tests.delivery import test_dane
from tests.delivery.test_dane import MATCHES, MX, Issued

# There is none for Windows.
uvloop: Any = import_module("uvloop") if find_spec("uvloop") else None

pytestmark = pytest.mark.timeout(60)

ISSUED = {one.der: one for one in vars(test_dane).values() if isinstance(one, Issued)}


def cases() -> dict[tuple[bytes, ...], list[tuple[list[TLSA], bool]]]:
    """What is to become of each set of records, by the chain that a server shows."""
    found: dict[tuple[bytes, ...], list[tuple[list[TLSA], bool]]] = {}
    for case in MATCHES:
        values: Any = case.values
        records, chain, is_match = values
        if chain and all(one in ISSUED for one in chain):
            found.setdefault(tuple(chain), []).append((records, is_match))
    return found


CASES = cases()


def serving(chain: tuple[bytes, ...], folder: Path) -> ssl.SSLContext:
    key = ISSUED[chain[0]].key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "chain.pem"
    path.write_bytes(key + b"".join(ssl.DER_cert_to_PEM_cert(one).encode() for one in chain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def in_thread(url: str, policy: smtpx.TLSPolicy) -> Protection | None:
    with smtpx.Session(url, tls=policy) as session:
        return session.protection


async def in_task(url: str, policy: smtpx.TLSPolicy) -> Protection | None:
    async with smtpx.AsyncSession(url, tls=policy) as session:
        return session.protection


DRIVERS: dict[str, Any] = {
    "thread": in_thread,
    "asyncio": lambda *args: asyncio.run(in_task(*args)),
    "trio": lambda *args: trio.run(in_task, *args),
}
if uvloop is not None:
    DRIVERS["uvloop"] = lambda *args: uvloop.run(in_task(*args))


def test_the_cases_are_those_that_can_be_served():
    assert sum(map(len, CASES.values())) >= len(MATCHES) - 5


@pytest.mark.requirement("D46")
@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("chain", CASES, ids=[f"chain {n}" for n in range(len(CASES))])
def test_what_is_shown_is_what_was_sent(chain: tuple[bytes, ...], driver: str, tmp_path: Path):
    context = serving(chain, tmp_path)
    settings = Settings("mail.example.org", ScriptedResolver({}), {})
    terms = [
        (Terms(Level.DANE, tuple(records), MX, (MX, "example.net")), is_match)
        for records, is_match in CASES[chain]
    ]
    with Server(tls=ServerTLS.STARTTLS, server_context=context) as server:
        # Each twice, as what went on with the first one's TLS session would show nothing.
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3) * 2:
            context.minimum_version = context.maximum_version = version
            shown = DRIVERS[driver](server.url, settings.tls(MX, terms[0][0]))
            assert shown is not None
            assert shown.version == version.name.replace("_", ".")
            assert shown.chain == chain
            assert not shown.is_resumed
            for each, is_match in terms:
                if is_match:
                    believe(each, shown)
                else:
                    with pytest.raises(TLSPolicyError, match="TLSA"):
                        believe(each, shown)
