"""Dovecot's LMTP, on a port of the loopback and on a unix socket, with mailboxes of its own."""

import pwd
import shutil
import socket
from contextlib import ExitStack
from pathlib import Path

from tests.interop.daemon import Daemon, Harness, free_ports, program
from tests.interop.dovecot import DovecotAuth

MAIL_USER = "nobody"
DOMAIN = "example.test"

_CONFIGURATION = """\
protocols = lmtp
listen = 127.0.0.1
ssl = no
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/dovecot.log
postmaster_address = postmaster@{domain}
hostname = lmtp.{domain}
mail_location = maildir:{directory}/mail/%n
mail_plugins = quota
first_valid_uid = 1
lmtp_save_to_detail_mailbox = no
passdb {{
  driver = passwd-file
  args = username_format=%n {directory}/passwd
}}
userdb {{
  driver = passwd-file
  args = username_format=%n {directory}/passwd
  default_fields = uid={uid} gid={gid} home={directory}/mail/%n
}}
plugin {{
  quota = maildir:User quota
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
  unix_listener {directory}/lmtp {{
    mode = 0666
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""


class DovecotLMTP(Harness):
    """Mailboxes `ann` and `bob`; `full` refuses what it gets after the end of data, for quota.

    Anybody else is refused at RCPT.
    """

    name = "lmtp"

    @staticmethod
    def missing() -> str | None:
        """Why Dovecot's LMTP cannot be started here; None when it can."""
        reason = DovecotAuth.missing()
        if reason is None and not Path("/usr/lib/dovecot/lmtp").exists():
            reason = "Dovecot's LMTP is not installed (Debian: dovecot-lmtpd)"
        return reason

    def start(self, directory: Path, exits: ExitStack) -> None:
        directory.chmod(0o755)
        self.directory = directory
        self.path = directory / "lmtp"
        (self.port,) = free_ports("127.0.0.1", 1)
        user = pwd.getpwnam(MAIL_USER)
        (directory / "mail").mkdir()
        shutil.chown(directory / "mail", user.pw_uid, user.pw_gid)
        (directory / "passwd").write_text(
            "ann:{PLAIN}x::::::\nbob:{PLAIN}x::::::\n"
            "full:{PLAIN}x::::::userdb_quota_rule=*:bytes=10\n",
            "utf-8",
        )
        (directory / "dovecot.conf").write_text(
            _CONFIGURATION.format(
                directory=directory,
                domain=DOMAIN,
                uid=user.pw_uid,
                gid=user.pw_gid,
                port=self.port,
            ),
            "utf-8",
        )
        configuration = str(directory / "dovecot.conf")
        self.daemon = exits.enter_context(
            Daemon(
                [program("dovecot") or "dovecot", "-F", "-c", configuration],
                directory,
                [directory / "dovecot.log"],
            )
        )
        self.daemon.wait_until_ready(self._greets)

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
                return connection.recv(4) == b"220 "
        except OSError:
            return False

    def messages(self, user: str) -> list[bytes]:
        """What the mailbox holds, as Dovecot wrote it."""
        new = self.directory / "mail" / user / "new"
        return [file.read_bytes() for file in sorted(new.iterdir())] if new.exists() else []
