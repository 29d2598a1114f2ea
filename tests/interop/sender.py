"""A Postfix that sends: smtp(8), which asks the resolver that we name, and notes what it does."""

from __future__ import annotations

import re
import smtplib
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.interop.daemon import wait_until
from tests.interop.postfix import Postfix

_TLS = re.compile(r" (\w+) TLS connection established to ([^\[]*)\[")
_STATUS = re.compile(r" (\w+): to=<([^>]*)>, .*relay=([^\[,]*).*, dsn=([\d.]+), status=(\w+) ")


class Sent(NamedTuple):
    """What smtp(8) says has become of a message."""

    status: str
    """``sent``, ``deferred`` or ``bounced``."""
    enhanced: str
    host: str
    tls: str
    """``Verified``, ``Trusted``, ``Untrusted``, ``Anonymous``; empty where there was no TLS."""


class Sender(Postfix):
    """A Postfix that delivers by MX, with opportunistic DANE, to hosts that listen at `to`.

    `resolv_conf` is what its resolver library reads in place of the system's.
    """

    hostname = "sender.example.test"
    domain = "sender.example.test"

    def __init__(self, to: int, resolv_conf: Path) -> None:
        mount = f'mount --bind {resolv_conf} /etc/resolv.conf && exec "$@"'
        super().__init__(
            settings={
                "default_transport": "smtp",
                "smtp_tcp_port": str(to),
                "smtp_dns_support_level": "dnssec",
                "smtp_tls_security_level": "dane",
                "smtp_tls_loglevel": "1",
                "smtpd_relay_restrictions": "permit_mynetworks, reject",
                "smtpd_recipient_restrictions": "permit",
                "minimal_backoff_time": "1h",
            },
            around=["unshare", "-m", "sh", "-c", mount, "sh"],
        )

    @staticmethod
    def missing() -> str | None:
        """Why it cannot be started here; None when it can."""
        done = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
        if done.returncode:
            return "a mount namespace is not to be had (unshare -m)"
        return Postfix.missing()

    def send(self, recipients: Sequence[str], content: bytes) -> dict[str, Sent]:
        """Send to each by itself; what has become of it, once that is known of all.

        Raises: TimeoutError, with the end of the logs.
        """
        with smtplib.SMTP(self.host, self.port, timeout=30) as client:
            for recipient in recipients:
                _ = client.sendmail("", recipient, content)
        found: dict[str, Sent] = {}

        def is_over() -> bool:
            found.update(self._found())
            return found.keys() >= set(recipients)

        if not wait_until(is_over, 60):
            raise TimeoutError(f"{set(recipients) - set(found)}\n{self.log_tail()}")
        return found

    def _found(self) -> dict[str, Sent]:
        protections: dict[str, tuple[str, str]] = {}
        found: dict[str, Sent] = {}
        for line in self.log_file.read_text().splitlines():
            process = line.partition("]:")[0].rpartition("[")[2]
            if tls := _TLS.search(line):
                protections[process] = tls[1], tls[2]
            if told := _STATUS.search(line):
                protection, host = protections.pop(process, ("", ""))
                relay = "" if told[3] == "none" else told[3]
                tls_level = protection if host == relay else ""
                found[told[2]] = Sent(told[5], told[4], relay, tls_level)
        return found
