"""Dovecot's auth service alone: the SASL server behind Postfix's smtpd."""

import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.interop.daemon import Daemon, program

_CONFIGURATION = """\
protocols =
listen = 127.0.0.1
ssl = no
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/dovecot.log
auth_verbose = yes
auth_mechanisms = {mechanisms}
auth_failure_delay = 0
# Whether AUTH may go in the clear is smtpd's to say (smtpd_tls_auth_only).
disable_plaintext_auth = no
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {directory}/passwd
}}
service auth {{
  unix_listener {directory}/auth {{
    mode = 0600
    user = {listener_user}
  }}
}}
service anvil {{
  # No growing delay for an address whose passwords were wrong.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
{extra}
"""


class DovecotAuth:
    """Dovecot serving nothing but SASL on the unix socket `path`, for `listener_user`.

    `extra` are further lines of its configuration, which may make it serve more.
    `directory` must not exist yet; every directory above it must be traversable by all.
    """

    def __init__(
        self,
        directory: Path,
        *,
        users: Mapping[str, str],
        mechanisms: Sequence[str],
        listener_user: str,
        extra: str = "",
    ) -> None:
        self.directory = directory
        self.path = directory / "auth"
        self.users = dict(users)
        self.mechanisms = list(mechanisms)
        self._listener_user = listener_user
        self._extra = extra
        self.log_file = directory / "dovecot.log"
        self.daemon = Daemon(
            [program("dovecot") or "dovecot", "-F", "-c", str(directory / "dovecot.conf")],
            directory,
            [self.log_file],
        )

    @staticmethod
    def missing() -> str | None:
        """Why Dovecot cannot be started here; None when it can."""
        dovecot = program("dovecot")
        if dovecot is None:
            return "dovecot is not installed (Debian: dovecot-core)"
        version = subprocess.run(
            [dovecot, "--version"], capture_output=True, text=True, check=False
        ).stdout.strip()
        if not version.startswith("2.3."):
            return f"the harness writes Dovecot 2.3's configuration, this is {version or 'broken'}"
        try:
            pwd.getpwnam("dovecot")
            pwd.getpwnam("dovenull")
        except KeyError as error:
            return f"Dovecot's user is missing: {error}"
        return None

    def __enter__(self) -> Self:
        self.directory.mkdir(mode=0o755)
        passwords = self.directory / "passwd"
        passwords.touch(mode=0o600)
        for user, password in self.users.items():
            if set(user + password) & set(":\r\n"):
                raise ValueError(f"not for a passwd file: {user!r}")
        passwords.write_text(
            "".join(f"{user}:{{PLAIN}}{password}::::::\n" for user, password in self.users.items()),
            "utf-8",
        )
        shutil.chown(passwords, "dovecot")
        (self.directory / "dovecot.conf").write_text(
            _CONFIGURATION.format(
                directory=self.directory,
                mechanisms=" ".join(self.mechanisms),
                listener_user=self._listener_user,
                extra=self._extra,
            ),
            "utf-8",
        )
        self.daemon.__enter__()
        try:
            # Dovecot opens all its listeners before it accepts on any; the socket queues till then.
            self.daemon.wait_until_ready(self.path.is_socket)
        except BaseException:
            self.daemon.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.daemon.stop()
