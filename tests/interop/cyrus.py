"""Cyrus IMAP's LMTP server, whose SASL has channel binding: SCRAM's -PLUS with tls-unique.

Debian 12: cyrus-imapd sasl2-bin.
"""

import shutil
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import trustme

from tests.interop.daemon import Daemon, Harness, free_ports, listens, program

_MASTER = Path("/usr/lib/cyrus/bin/master")
_HOSTNAME = "localhost"

_IMAPD = """\
configdirectory: {directory}/conf
defaultpartition: default
partition-default: {directory}/spool
servername: {hostname}
lmtp_admins: {users}
lmtpsocket: {directory}/conf/socket/lmtp
idlesocket: {directory}/conf/socket/idle
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {directory}/sasldb2
sasl_mech_list: SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-512 PLAIN
tls_server_cert: {directory}/certificate.pem
tls_server_key: {directory}/key.pem
tls_session_timeout: 0
"""

_SERVICES = """\
START {{
}}
SERVICES {{
  lmtp cmd="lmtpd -C {directory}/imapd.conf" listen="127.0.0.1:{port}" prefork=0
}}
EVENTS {{
}}
"""


class CyrusLMTP(Harness):
    """Knows `users`, name to password; `ca_file` vouches for "localhost"."""

    name = "cyrus-imapd"

    def __init__(self, users: Mapping[str, str]) -> None:
        self._users = users

    @staticmethod
    def missing() -> str | None:
        """Why it cannot be started here; None when it can."""
        if not _MASTER.exists() or program("saslpasswd2") is None:
            return "Cyrus' lmtpd is not installed (Debian: cyrus-imapd, sasl2-bin)"
        return None

    def start(self, directory: Path, exits: ExitStack) -> None:
        [self.port] = free_ports("127.0.0.1", 1)
        self.ca_file = directory / "ca.pem"
        for name in ("db", "socket", "log", "msg", "proc", "lock", "rpm"):
            (directory / "conf" / name).mkdir(parents=True)
        (directory / "spool").mkdir()
        authority = trustme.CA()
        certificate = authority.issue_cert(_HOSTNAME)
        authority.cert_pem.write_to_path(self.ca_file)
        certificate.private_key_pem.write_to_path(directory / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(directory / "certificate.pem")
        for user, password in self._users.items():
            database = str(directory / "sasldb2")
            _ = subprocess.run(
                [
                    program("saslpasswd2") or "",
                    "-c",
                    "-p",
                    "-f",
                    database,
                    "-u",
                    _HOSTNAME,
                    user,
                ],
                input=password.encode(),
                check=True,
                capture_output=True,
            )
        for name, text in (("imapd.conf", _IMAPD), ("cyrus.conf", _SERVICES)):
            (directory / name).write_text(
                text.format(
                    directory=directory,
                    hostname=_HOSTNAME,
                    users=" ".join(self._users),
                    port=self.port,
                ),
                "utf-8",
            )
        for path in (directory, *directory.rglob("*")):
            shutil.chown(path, "cyrus", "mail")
        master = exits.enter_context(
            Daemon(
                [
                    *(str(_MASTER), "-C", str(directory / "imapd.conf")),
                    *("-M", str(directory / "cyrus.conf"), "-p", str(directory / "pid")),
                ],
                directory,
            )
        )
        master.wait_until_ready(lambda: listens("127.0.0.1", self.port))
