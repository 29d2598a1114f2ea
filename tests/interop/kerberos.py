"""A Kerberos realm of its own: MIT's key distribution center on a port of the loopback.

Debian 12: krb5-kdc krb5-admin-server krb5-user.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.interop.daemon import ENVIRONMENT, Daemon, Harness, free_ports, listens, program

REALM = "EXAMPLE.TEST"

_CLIENTS = """\
[libdefaults]
  default_realm = {realm}
  dns_lookup_realm = false
  dns_lookup_kdc = false
  dns_canonicalize_hostname = false
  rdns = false
  udp_preference_limit = 1
  default_ccache_name = FILE:{directory}/tickets
[realms]
  {realm} = {{
    kdc = 127.0.0.1:{port}
  }}
"""

_CENTER = """\
[realms]
  {realm} = {{
    database_name = {directory}/principal
    key_stash_file = {directory}/stash
    acl_file = {directory}/acl
    kdc_listen = 127.0.0.1:{port}
    kdc_tcp_listen = 127.0.0.1:{port}
  }}
[logging]
  kdc = FILE:{directory}/kdc.log
"""


class Realm(Harness):
    """Knows `users`, name to password, and `services`, whose keys are in `keytab`.

    `configuration` is what clients and services must have as KRB5_CONFIG.
    """

    name = "krb5"

    def __init__(self, users: Mapping[str, str], services: Sequence[str]) -> None:
        self._users = users
        self._services = services

    @staticmethod
    def missing() -> str | None:
        """Why there can be no realm here; None when there can."""
        for name in ("krb5kdc", "kdb5_util", "kadmin.local", "kinit"):
            if program(name) is None:
                return f"{name} is not installed (Debian: krb5-kdc, krb5-admin-server, krb5-user)"
        return None

    def start(self, directory: Path, exits: ExitStack) -> None:
        directory.chmod(0o755)
        self.configuration, self.keytab = directory / "krb5.conf", directory / "keytab"
        [port] = free_ports("127.0.0.1", 1)
        for path, text in (
            (self.configuration, _CLIENTS),
            (directory / "kdc.conf", _CENTER),
        ):
            path.write_text(text.format(realm=REALM, directory=directory, port=port), "utf-8")
            path.chmod(0o644)
        self._environment = {
            "KRB5_CONFIG": str(self.configuration),
            "KRB5_KDC_PROFILE": str(directory / "kdc.conf"),
        }
        self._run("kdb5_util", "create", "-s", "-r", REALM, "-P", os.urandom(8).hex())
        for user, password in self._users.items():
            self._run("kadmin.local", "addprinc", "-pw", password, user)
        for service in self._services:
            self._run("kadmin.local", "addprinc", "-randkey", service)
            self._run("kadmin.local", "ktadd", "-k", str(self.keytab), service)
        self.keytab.chmod(0o644)
        settings = [f"{name}={value}" for name, value in self._environment.items()]
        center = exits.enter_context(
            Daemon(
                [program("env") or "env", *settings, program("krb5kdc") or "krb5kdc", "-n"],
                directory,
                [directory / "kdc.log"],
            )
        )
        center.wait_until_ready(lambda: listens("127.0.0.1", port))

    def ticket(self, user: str) -> Path:
        """Have a ticket of a user in a file, which KRB5CCNAME is to name."""
        file = self.configuration.with_name(f"ticket-of-{user}")
        _ = subprocess.run(
            [program("kinit") or "kinit", "-c", f"FILE:{file}", user],
            env=ENVIRONMENT | self._environment,
            input=self._users[user].encode(),
            check=True,
            capture_output=True,
        )
        return file

    def _run(self, name: str, *arguments: str) -> None:
        _ = subprocess.run(
            [program(name) or name, *arguments],
            env=ENVIRONMENT | self._environment,
            check=True,
            capture_output=True,
        )
