"""A real Postfix, from the operating system's package, on two ports of the loopback.

Nothing of the system's own Postfix is used but its programs: configuration, queue, data, log and
mailboxes live in a directory of their own, which goes when the harness ends.
Debian 12: `apt-get install -y --no-install-recommends postfix dovecot-core`.
"""

import os
import pwd
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import trustme

from tests.interop.daemon import (
    Daemon,
    Harness,
    StartError,
    free_ports,
    output_on_terminal,
    program,
    wait_until,
)
from tests.interop.dovecot import DovecotAuth

MAILBOX_USER = "nobody"

_MAIN = """\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/mail.log
maillog_file_prefixes = {directory}
multi_instance_directories =
alias_maps =
alias_database =

inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = {hostname}
mydomain = {domain}
myorigin = {domain}
mydestination =
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
# Nothing leaves this machine: mail that an authenticated client relays, and bounces, vanish.
default_transport = discard:nothing leaves the test machine
relay_domains =

virtual_mailbox_domains = {domain}
virtual_mailbox_base = {directory}/mail
# virtual(8) refuses $1 in a regexp map, so all share a Maildir; X-Original-To: tells them apart.
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_mailbox_limit = 0

smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_recipient_restrictions = check_recipient_access regexp:{directory}/etc/recipients

smtpd_tls_security_level = may
smtpd_tls_chain_files = {directory}/etc/server.pem
smtpd_tls_auth_only = yes
smtpd_tls_loglevel = 1
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {auth}
smtpd_sasl_security_options = noanonymous
smtpd_sasl_tls_security_options = noanonymous

smtputf8_enable = yes
message_size_limit = 209715200
smtpd_recipient_limit = 1000
smtpd_client_connection_count_limit = 0
smtpd_soft_error_limit = 100000
smtpd_hard_error_limit = 100000
smtpd_junk_command_limit = 100000
smtpd_error_sleep_time = 0
in_flow_delay = 0
default_process_limit = 200
queue_minfree = 0

# The content must arrive as it was sent: a client on the loopback is no local user whose headers
# are completed, and Bcc: and the like stay (a test of ours may look for them).
local_header_rewrite_clients =
message_drop_headers =
"""

_CYRUS = """\
smtpd_sasl_type = cyrus
smtpd_sasl_path = smtpd
cyrus_sasl_config_path = {etc}/sasl
"""

_MASTER = """\
{port}     inet  n       -       n       -       -       smtpd
{tls_port} inet  n       -       n       -       -       smtpd
    -o smtpd_tls_wrappermode=yes
{proxied_port} inet n    -       n       -       -       smtpd
    -o smtpd_upstream_proxy_protocol=haproxy
    -o inet_protocols=all
{proxied_tls_port} inet n -      n       -       -       smtpd
    -o smtpd_upstream_proxy_protocol=haproxy
    -o inet_protocols=all
    -o smtpd_tls_wrappermode=yes
{xclient_port} inet n    -       n       -       -       smtpd
    -o smtpd_authorized_xclient_hosts=127.0.0.1
    -o inet_protocols=all
cleanup    unix  n       -       n       -       0       cleanup
qmgr       unix  n       -       n       300     1       qmgr
tlsmgr     unix  -       -       n       1000?   1       tlsmgr
rewrite    unix  -       -       n       -       -       trivial-rewrite
bounce     unix  -       -       n       -       0       bounce
defer      unix  -       -       n       -       0       bounce
trace      unix  -       -       n       -       0       bounce
verify     unix  -       -       n       -       1       verify
flush      unix  n       -       n       1000?   0       flush
proxymap   unix  -       -       n       -       -       proxymap
showq      unix  n       -       n       -       -       showq
error      unix  -       -       n       -       -       error
retry      unix  -       -       n       -       -       error
discard    unix  -       -       n       -       -       discard
smtp       unix  -       -       n       -       -       smtp
virtual    unix  -       n       n       -       -       virtual
anvil      unix  -       -       n       -       1       anvil
postlog    unix-dgram n  -       n       -       1       postlogd
"""

_RECIPIENTS = """\
/^refused/ 550 5.1.1 No such mailbox
/^later/   450 4.2.0 Mailbox busy
"""

# What `postfix set-permissions` would make (the package's postfix-files), relative to the queue.
_PRIVATE_QUEUES = [
    *("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming"),
    *("private", "saved", "trace"),
]

_ADDED = re.compile(
    rb"Return-Path: [^\n]*\n"
    rb"X-Original-To: (?P<recipient>[^\n]*)\n"
    rb"Delivered-To: [^\n]*\n"
    rb"Received: (?:[^\n]*\n)+?[^\n]*; ?(?:\n\t)?\w{3}, [^\n]* [+-]\d{4} \([^)\n]*\)\n"
)


def added(raw: bytes) -> bytes:
    """The header fields that Postfix put before the content, with LF line ends."""
    match = _ADDED.match(raw)
    if match is None:
        raise ValueError(f"not delivered by Postfix's virtual(8): {raw[:500]!r}")
    return match[0]


def original(raw: bytes) -> bytes:
    """The content as it was sent, with CRLF line ends."""
    return raw[len(added(raw)) :].replace(b"\n", b"\r\n")


class Postfix(Harness):
    """Postfix with Dovecot's SASL, a certificate, and mailboxes for everybody in `domain`.

    `port` speaks SMTP with STARTTLS, `tls_port` implicit TLS; `ca_file` vouches for `host`,
    "localhost" and `hostname`. `proxied_port` and `proxied_tls_port` are the same behind a PROXY
    protocol header, `xclient_port` trusts XCLIENT.
    AUTH is offered under TLS only, for `users` (name to password).
    `settings` are main.cf parameters on top of the harness's own, `dovecot` are further lines of
    Dovecot's configuration. With `cyrus`, the text of an smtpd.conf, Cyrus SASL takes its place.
    The certificate has the names in `also`, too. `around` is a command that runs it.

    Any local part in `domain` is a mailbox, but those that begin with `refused` get 550 5.1.1 and
    those that begin with `later` get 450 4.2.0, at RCPT. Other domains get 554 5.7.1, except after
    AUTH: then their mail is accepted, and discarded.
    """

    name = "postfix"

    host = "127.0.0.1"
    domain = "example.test"
    hostname = "mail.example.test"

    def __init__(
        self,
        users: Mapping[str, str] | None = None,
        *,
        mechanisms: Sequence[str] = ("plain", "login", "cram-md5"),
        settings: Mapping[str, str] | None = None,
        dovecot: str = "",
        cyrus: str = "",
        also: Sequence[str] = (),
        around: Sequence[str] = (),
    ) -> None:
        self.users = dict(users or {"user": "secret"})
        self._mechanisms = mechanisms
        self._settings = dict(settings or {})
        self._dovecot = dovecot
        self._cyrus = cyrus
        self._also = tuple(also)
        self._around = tuple(around)
        self._daemons: list[Daemon] = []
        self._delivered: dict[str, tuple[bytes, int]] = {}  # file: recipient, time of delivery

    @staticmethod
    def missing() -> str | None:
        """Why Postfix cannot be started here; None when it can."""
        if os.name != "posix" or not Path("/proc/self/stat").exists():
            return "the harness needs Linux's /proc"
        if os.geteuid() != 0:
            return "Postfix's master must be started by root"
        if program("postconf") is None:
            return "postfix is not installed (Debian: postfix)"
        if not (_daemon_directory() / "master").exists():
            return f"there is no Postfix master in {_daemon_directory()}"
        try:
            pwd.getpwnam("postfix")
            pwd.getpwnam(MAILBOX_USER)
        except KeyError as error:
            return f"Postfix's user is missing: {error}"
        return DovecotAuth.missing()

    def start(self, directory: Path, exits: ExitStack) -> None:
        directory.chmod(0o755)
        self.directory = directory
        self.ca_file = directory / "ca.pem"
        self.log_file = directory / "mail.log"
        ports = free_ports(self.host, 5)
        self.port, self.tls_port, self.proxied_port, self.proxied_tls_port = ports[:4]
        self.xclient_port = ports[4]
        self._write_directories()
        self._write_certificate()
        dovecot = exits.enter_context(
            DovecotAuth(
                directory / "dovecot",
                users=self.users,
                mechanisms=self._mechanisms,
                listener_user="postfix",
                extra=self._dovecot,
            )
        )
        self._write_configuration(dovecot.path)
        # master -s is what `postfix start-fg` comes down to, without a second of shell checks.
        master = exits.enter_context(
            Daemon(
                [
                    *self._around,
                    *(str(_daemon_directory() / "master"), "-s", "-c", str(directory / "etc")),
                ],
                directory,
                [self.log_file],
            )
        )
        self._daemons = [master, dovecot.daemon]
        try:
            master.wait_until_ready(self._greets)
        except StartError as error:
            error.add_note(self._diagnosis())
            raise

    def pids(self) -> list[int]:
        """Every process of the daemons, as long as it runs."""
        return [pid for daemon in self._daemons for pid in daemon.pids()]

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of each daemon's log, for a test that failed."""
        return "\n".join(daemon.log_tail(lines) for daemon in self._daemons)

    def messages(self, recipient: str, count: int = 1, timeout: float = 60) -> list[bytes]:
        """Wait until `recipient` has `count` messages; return all there are, oldest first.

        Nothing is ever emptied, so each test writes to recipients of its own; `recipient` is the
        mailbox as RCPT had it, case included, without the brackets and without needless quotes.
        The queue promises no order among messages accepted at about the same time.

        Each is Postfix's `added()` fields, then the content, with LF for CRLF; `original()` gives
        back the octets that were sent. Lines of any length (`line_length_limit` cuts records in
        the queue, virtual(8) joins them), 8-bit octets without BODY=8BITMIME, NUL in the body,
        `From ` in the body, white space at line ends and header fields that occur twice survive.
        What Postfix 3.7 changes:

        - a bare LF becomes a line end, a bare CR a space; CRs before a CRLF go;
        - a last line without CRLF (only BDAT can send one) gets it;
        - an empty line goes in where a header section ends without one, or does not begin;
        - in the header section `Name : value` loses the space before the colon, a field ends at a
          NUL and is cut at `header_size_limit` (102400 octets, folded lines together);
        - a first line that begins with `From ` or `>From ` gets `X-Mailbox-Line: ` before it,
          after DATA only.

        Raises: TimeoutError, with the end of the logs.
        """
        found: list[Path] = []

        def enough() -> bool:
            found[:] = self._mailbox(recipient)
            return len(found) >= count

        if not wait_until(enough, timeout):
            raise TimeoutError(
                f"{recipient} has {len(found)} of {count} messages after {timeout} s\n"
                + self.log_tail()
            )
        return [path.read_bytes() for path in found]

    def _mailbox(self, recipient: str) -> list[Path]:
        new = self.directory / "mail" / "all" / "new"
        for name in os.listdir(new) if new.exists() else []:
            if name in self._delivered:
                continue
            with (new / name).open("rb") as file:
                match = _ADDED.match(file.read(8192))
                assert match, f"not delivered by virtual(8): {name}"
                self._delivered[name] = match["recipient"], os.fstat(file.fileno()).st_mtime_ns
        wanted = recipient.encode()
        times = {name: time for name, (whose, time) in self._delivered.items() if whose == wanted}
        return [new / name for name in sorted(times, key=times.__getitem__)]

    def _greets(self) -> bool:
        try:
            with (
                socket.create_connection((self.host, self.port), 5) as connection,
                connection.makefile("rwb") as stream,
            ):
                greeting = stream.readline()
                stream.write(b"QUIT\r\n")
                stream.flush()
                stream.readline()
        except OSError:
            return False
        return greeting.startswith(f"220 {self.hostname} ".encode())

    def _diagnosis(self) -> str:
        """Why master ended before it could log to a file; it tells syslog alone."""
        said = output_on_terminal(
            [program("postfix") or "postfix", "-c", str(self.directory / "etc"), "check"]
        )
        for port in self.port, self.tls_port:
            try:
                socket.create_server((self.host, port)).close()
            except OSError as error:
                said += f"port {port}: {error}\n"
        return f"--- postfix check\n{said}"

    def _write_directories(self) -> None:
        def directory(name: str, mode: int, user: str = "root", group: str | None = None) -> None:
            path = self.directory / name
            path.mkdir()
            path.chmod(mode)
            shutil.chown(path, user, group)

        directory("etc", 0o755)
        directory("data", 0o700, "postfix")
        directory("mail", 0o700, MAILBOX_USER)
        directory("queue", 0o755)
        directory("queue/pid", 0o755)
        directory("queue/maildrop", 0o730, "postfix", "postdrop")
        directory("queue/public", 0o710, "postfix", "postdrop")
        for name in _PRIVATE_QUEUES:
            directory(f"queue/{name}", 0o700, "postfix")

    def _write_certificate(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        certificate = authority.issue_cert(self.hostname, "localhost", self.host, *self._also)
        server = self.directory / "etc" / "server.pem"
        server.touch(mode=0o600)
        certificate.private_key_and_cert_chain_pem.write_to_path(server)

    def _write_configuration(self, auth: Path) -> None:
        mailbox_user = pwd.getpwnam(MAILBOX_USER)
        main = _MAIN.format(
            directory=self.directory,
            hostname=self.hostname,
            domain=self.domain,
            uid=mailbox_user.pw_uid,
            gid=mailbox_user.pw_gid,
            auth=auth,
        )
        etc = self.directory / "etc"
        if self._cyrus:
            # Where Debian's Postfix looks by itself, and others by the parameter.
            (etc / "sasl").mkdir()
            (etc / "sasl" / "smtpd.conf").write_text(self._cyrus, "utf-8")
            main += _CYRUS.format(etc=etc)
        main += "".join(f"{name} = {value}\n" for name, value in self._settings.items())
        (etc / "main.cf").write_text(_each_once(main), "utf-8")
        # Postfix reads a main.cf younger than two seconds again and again, until it has settled.
        settled = time.time() - 60
        os.utime(etc / "main.cf", (settled, settled))
        (etc / "master.cf").write_text(
            _MASTER.format(
                port=f"{self.host}:{self.port}",
                tls_port=f"{self.host}:{self.tls_port}",
                proxied_port=f"{self.host}:{self.proxied_port}",
                proxied_tls_port=f"{self.host}:{self.proxied_tls_port}",
                xclient_port=f"{self.host}:{self.xclient_port}",
            ),
            "utf-8",
        )
        (etc / "recipients").write_text(_RECIPIENTS, "utf-8")


def _each_once(main: str) -> str:
    """The last of the settings of each name.

    All daemons of Postfix warn of another, through postlogd, which warns as well; where the queue
    of its socket is full by then, it waits for itself for ever.
    """
    lines = [line for line in main.splitlines() if line and not line.startswith("#")]
    settings = {line.partition(" =")[0]: line for line in lines}
    return "".join(f"{line}\n" for line in settings.values())


def _daemon_directory() -> Path:
    """Where the package keeps Postfix's daemons, whatever the system's main.cf says."""
    answer = subprocess.run(
        [program("postconf") or "postconf", "-dh", "daemon_directory"],
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(answer.stdout.strip())
