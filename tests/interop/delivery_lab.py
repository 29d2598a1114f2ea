"""A small Internet: signed and unsigned domains, a real Postfix behind them, and policy hosts."""

from __future__ import annotations

import hashlib
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import trustme

from smtpx.delivery import AddressPolicy, NameServers
from smtpx.pins import key_of
from smtpx.testing import USUAL_EXTENSIONS, Extension, Server
from tests.delivery.https_host import HTTPSHost
from tests.interop.names import Names
from tests.interop.postfix import Postfix

WRONG = "ab" * 32


class Case(NamedTuple):
    """What becomes of mail to a domain of the lab."""

    domain: str
    terms: str
    """The terms under which it was taken, or why it was not: a failure's name."""
    host: str = "mx.signed.lab"


CASES = [
    Case("dane.signed.lab", "DANE by mx.signed.lab"),
    Case("rollover.signed.lab", "DANE by roll.signed.lab", "roll.signed.lab"),
    Case("anchor.signed.lab", "DANE by anchored.signed.lab", "anchored.signed.lab"),
    Case("alias.signed.lab", "DANE by mx.signed.lab"),
    Case("mxalias.signed.lab", "DANE by mx.signed.lab", "cname.signed.lab"),
    Case("implicit.signed.lab", "DANE by implicit.signed.lab", "implicit.signed.lab"),
    Case("next.signed.lab", "DANE by mx.signed.lab"),
    Case("tlsaalias.signed.lab", "DANE by ta.signed.lab", "ta.signed.lab"),
    Case("secureonly.signed.lab", "DANE by half.signed.lab", "half.signed.lab"),
    Case("wrong.signed.lab", "TLS_POLICY", ""),
    Case("unusable.signed.lab", "ENCRYPTED", "unusable-mx.signed.lab"),
    Case("plain.signed.lab", "OPPORTUNISTIC", "plain-mx.signed.lab"),
    Case("insecure.lab", "OPPORTUNISTIC", "mx.insecure.lab"),
    Case("half.insecure.lab", "DANE by mx.signed.lab (MX insecure)"),
    Case("null.signed.lab", "NULL_MX", ""),
    Case("gone.signed.lab", "NO_SUCH_DOMAIN", ""),
    Case("nowhere.signed.lab", "NO_ADDRESS", ""),
    Case("bogus.lab", "LOOKUP_FAILED", ""),
    Case("bogushost.signed.lab", "LOOKUP_FAILED", ""),
    Case("bogustlsa.signed.lab", "TLS_POLICY", ""),
]

# Hosts of whom the best one does not take it: the domain, and what is to become of its mail.
WALKS = [
    Case("small.signed.lab", "DANE by mx.signed.lab"),
    Case("ascii.signed.lab", "DANE by mx.signed.lab"),
    Case("refused.signed.lab", "LOOKUP_FAILED", ""),
]


def zones(port: int, key: str, anchor: str) -> dict[str, str]:
    """The zones of the lab, for a Postfix with this key, certified by this authority."""
    at = f"_{port}._tcp"
    return {
        "lab": "",
        "signed.lab": f"""
            mx.signed.lab A 127.0.0.1
            {at}.mx.signed.lab TLSA 3 1 1 {key}
            roll.signed.lab A 127.0.0.1
            {at}.roll.signed.lab TLSA 3 1 1 {WRONG}
            {at}.roll.signed.lab TLSA 3 1 1 {key}
            anchored.signed.lab A 127.0.0.1
            {at}.anchored.signed.lab TLSA 2 0 0 {anchor}
            wrong-mx.signed.lab A 127.0.0.1
            {at}.wrong-mx.signed.lab TLSA 3 1 1 {WRONG}
            unusable-mx.signed.lab A 127.0.0.1
            {at}.unusable-mx.signed.lab TLSA 0 0 1 {WRONG}
            plain-mx.signed.lab A 127.0.0.1
            cname.signed.lab CNAME mx.signed.lab.
            half.signed.lab CNAME mx.insecure.lab.
            {at}.half.signed.lab TLSA 3 1 1 {key}
            ta.signed.lab A 127.0.0.1
            {at}.ta.signed.lab CNAME {at}.mx.signed.lab.

            dane.signed.lab MX 10 mx.signed.lab.
            rollover.signed.lab MX 10 roll.signed.lab.
            anchor.signed.lab MX 10 anchored.signed.lab.
            alias.signed.lab CNAME dane.signed.lab.
            mxalias.signed.lab MX 10 cname.signed.lab.
            implicit.signed.lab A 127.0.0.1
            {at}.implicit.signed.lab TLSA 3 1 1 {key}
            next.signed.lab MX 10 wrong-mx.signed.lab.
            next.signed.lab MX 20 mx.signed.lab.
            tlsaalias.signed.lab MX 10 ta.signed.lab.
            secureonly.signed.lab MX 10 half.signed.lab.
            wrong.signed.lab MX 10 wrong-mx.signed.lab.
            unusable.signed.lab MX 10 unusable-mx.signed.lab.
            plain.signed.lab MX 10 plain-mx.signed.lab.
            null.signed.lab MX 0 .
            nowhere.signed.lab MX 10 gone.signed.lab.
            bogushost.signed.lab MX 10 mx.bogusa.lab.
            bogustlsa.signed.lab MX 10 mx.bogustlsa.lab.

            small-mx.signed.lab A 127.0.0.2
            refusing-mx.signed.lab A 127.0.0.3
            small.signed.lab MX 10 small-mx.signed.lab.
            small.signed.lab MX 20 mx.signed.lab.
            ascii.signed.lab MX 10 small-mx.signed.lab.
            ascii.signed.lab MX 20 mx.signed.lab.
            refused.signed.lab MX 10 mx.bogusa.lab.
            refused.signed.lab MX 20 refusing-mx.signed.lab.

            sts.signed.lab MX 10 mail.example.test.
            _mta-sts.sts.signed.lab TXT "v=STSv1; id=1;"
            mta-sts.sts.signed.lab A 127.0.0.1
        """,
        "insecure.lab": f"""
            insecure.lab MX 10 mx.insecure.lab.
            mx.insecure.lab A 127.0.0.1
            {at}.mx.insecure.lab TLSA 3 1 1 {WRONG}
            half.insecure.lab MX 10 mx.signed.lab.
        """,
        "example.test": "mail.example.test A 127.0.0.1",
        "bogus.lab": "bogus.lab MX 10 mx.signed.lab.",
        "bogusa.lab": "mx.bogusa.lab A 127.0.0.1",
        "bogustlsa.lab": f"""
            mx.bogustlsa.lab A 127.0.0.1
            {at}.mx.bogustlsa.lab TLSA 3 1 1 {WRONG}
        """,
    }


@dataclass
class DeliveryLab:
    """All of it, running."""

    names: Names
    postfix: Postfix
    policies: HTTPSHost
    policy_ca: Path
    """Vouches for the policy host alone."""
    both_ca: Path
    """Vouches for Postfix, too."""

    def delivery(self, make: Any, *, second: bool = False, **options: Any) -> Any:
        """A delivery that asks the lab's resolver; with `second`, the other one."""
        port = self.names.second_port if second else self.names.port
        made = make(
            "mail.example.org",
            resolver=NameServers("127.0.0.1", port=port, validating=True),
            port=self.postfix.port,
            addresses=AddressPolicy(["127.0.0.0/8"]),
            **{"ca_file": self.both_ca, **options},
        )
        made._settings.rules = replace(made._settings.rules, policy_port=self.policies.port)
        return made


def missing() -> str | None:
    """Why there can be no lab here; None when there can."""
    return Names.missing() or Postfix.missing()


@contextmanager
def delivery_lab() -> Iterator[DeliveryLab]:
    """Start everything, and end it."""
    with ExitStack() as stack:
        domains = ", ".join([*(case.domain for case in [*CASES, *WALKS]), "sts.signed.lab"])
        settings = {"virtual_mailbox_domains": domains, "smtpd_recipient_restrictions": "permit"}
        postfix = stack.enter_context(Postfix(settings=settings, also=["anchored.signed.lab"]))
        key, anchor = _certified(postfix)
        names = stack.enter_context(
            Names(
                zones(postfix.port, key, anchor),
                unsigned=frozenset({"insecure.lab", "example.test"}),
                spoiled={
                    "bogus.lab": ("MX", "10 evil.lab."),
                    "bogusa.lab": ("A", "127.0.0.99"),
                    "bogustlsa.lab": ("TLSA", f"3 1 1 {key}"),
                },
            )
        )
        authority = trustme.CA()
        path = postfix.directory / "policy-ca.pem"
        authority.cert_pem.write_to_path(path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("mta-sts.sts.signed.lab").configure_cert(context)
        policies = HTTPSHost(context)
        _ = stack.callback(policies.close)
        both = path.with_name("both-ca.pem")
        _ = both.write_bytes(path.read_bytes() + postfix.ca_file.read_bytes())
        port = postfix.port
        lacking = USUAL_EXTENSIONS - {Extension.SMTPUTF8}
        small = Server(host="127.0.0.2", port=port, size_limit=2000, extensions=lacking)
        refusing = Server(host="127.0.0.3", port=port, greeting="554 5.3.2 no mail here")
        _ = stack.enter_context(small), stack.enter_context(refusing)
        yield DeliveryLab(names, postfix, policies, path, both)


def _certified(postfix: Postfix) -> tuple[str, str]:
    """For TLSA records: the digest of Postfix's key, and the certificate of its authority."""
    with smtplib.SMTP(postfix.host, postfix.port, timeout=30) as client:
        context = ssl.create_default_context(cafile=postfix.ca_file)
        context.check_hostname = False
        _ = client.starttls(context=context)
        assert isinstance(client.sock, ssl.SSLSocket)
        shown = client.sock.getpeercert(binary_form=True)
    assert shown is not None
    anchor = ssl.PEM_cert_to_DER_cert(postfix.ca_file.read_text())
    return hashlib.sha256(key_of(shown)).hexdigest(), anchor.hex()
