"""Real name servers: nsd with zones that ldns has signed, and resolvers that validate them.

Debian 12: `apt-get install -y --no-install-recommends nsd ldnsutils unbound bind9`. All of it lives
in a directory of its own, on the loopback interface. Its port 53 is on an address of our own, for
what knows no other port: named, and the system's resolver library.
"""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.query

from tests.interop.daemon import ENVIRONMENT, Daemon, Harness, StartError, free_ports, program

_NSD = """\
server:
  ip-address: 127.0.0.1@{port}
  ip-address: {near}@53
  username: ""
  chroot: ""
  database: ""
  zonesdir: "{directory}"
  zonelistfile: "{directory}/nsd.list"
  pidfile: "{directory}/nsd.pid"
  xfrdfile: "{directory}/xfrd.state"
  xfrdir: "{directory}"
  rrl-ratelimit: 0
  server-count: 1
remote-control:
  control-enable: no
"""

_UNBOUND = """\
server:
  interface: 127.0.0.1@{port}
  interface: {near}@53
  access-control: 127.0.0.0/8 allow
  do-not-query-localhost: no
  module-config: "validator iterator"
  trust-anchor-file: "{directory}/anchor.ds"
  ede: yes
  chroot: ""
  username: ""
  directory: "{directory}"
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  val-log-level: 2
  target-fetch-policy: "0 0 0 0 0"
  local-zone: "test." nodefault
remote-control:
  control-enable: no
"""

_NAMED = """\
options {{
  directory "{directory}";
  listen-on port {port} {{ 127.0.0.1; }};
  listen-on-v6 {{ none; }};
  pid-file "{directory}/named.pid";
  session-keyfile "{directory}/session.key";
  recursion yes;
  dnssec-validation yes;
}};
controls {{ }};
trust-anchors {{ {top}. static-ds {anchor}; }};
zone "." {{ type primary; file "{directory}/root.zone"; }};
"""
# Nobody else is asked: there is nothing above the zones.
_ROOT = ". 300 IN SOA . . 1 900 900 1800 60\n. 300 IN NS localhost.\n"

_TTL = 300


class Names(Harness):
    """`zones` is the text of each zone, by its name, the first of which is above all others.

    Those in `unsigned` are not; in those of `spoiled` the named record is changed after signing.
    `port` is a validating unbound, `second_port` a validating named, both on 127.0.0.1.
    """

    name = "names"

    def __init__(
        self,
        zones: Mapping[str, str],
        *,
        unsigned: frozenset[str] = frozenset(),
        spoiled: Mapping[str, tuple[str, str]] | None = None,
    ) -> None:
        self._zones = dict(zones)
        self._daemons: dict[str, Daemon] = {}
        self._unsigned = unsigned
        self._spoiled = dict(spoiled or {})

    @staticmethod
    def missing() -> str | None:
        """Why they cannot be run here; None when they can."""
        if os.name != "posix" or not Path("/proc/self/stat").exists():
            return "the harness needs Linux's /proc"
        if os.geteuid() != 0:
            return "port 53 is root's"
        packages = {"nsd": "nsd", "ldns-signzone": "ldnsutils", "unbound": "unbound"}
        packages["named"] = "bind9"
        for command, package in packages.items():
            if program(command) is None:
                return f"{command} is not installed (Debian: {package})"
        return None

    def start(self, directory: Path, exits: ExitStack) -> None:
        self.directory = directory
        directory.chmod(0o755)
        top = next(iter(self._zones))
        # Children first: what their parent says of them is part of what it signs.
        anchors = {zone: self._signed(zone) for zone in reversed(self._zones)}
        _ = (directory / "anchor.ds").write_text(anchors[top])
        ports = free_ports("127.0.0.1", 3)
        authority, self.port, self.second_port = ports
        near, self.near = (_own_address() for _ in range(2))
        zones = "".join(
            f"zone:\n  name: {zone}\n  zonefile: {self._file(zone).name}\n" for zone in self._zones
        )
        self._run(exits, "nsd", _NSD.format(port=authority, near=near, directory=directory) + zones)
        stubs = "".join(
            f'stub-zone:\n  name: "{zone}"\n  stub-addr: 127.0.0.1@{authority}\n'
            for zone in (".", *self._zones)
        )
        unbound = _UNBOUND.format(port=self.port, near=self.near, directory=directory)
        self._run(exits, "unbound", unbound + stubs)
        tag, algorithm, kind, digest = anchors[top].split("DS", 1)[1].split(None, 3)
        digest = "".join(digest.split(";")[0].split())
        anchor = f'{tag} {algorithm} {kind} "{digest}"'
        named = _NAMED.format(port=self.second_port, directory=directory, anchor=anchor, top=top)
        _ = (directory / "root.zone").write_text(_ROOT)
        named += "".join(
            f'zone "{zone}" {{ type static-stub; server-addresses {{ {near}; }}; }};\n'
            for zone in self._zones
        )
        self._run(exits, "named", named)
        self._daemons["unbound"].wait_until_ready(lambda: _answers(self.port, top))
        self._daemons["named"].wait_until_ready(lambda: _answers(self.second_port, top))

    def _run(self, exits: ExitStack, name: str, configuration: str) -> None:
        file = self.directory / f"{name}.conf"
        _ = file.write_text(configuration)
        argv = {
            "nsd": ["-d", "-c", str(file)],
            "unbound": ["-d", "-c", str(file)],
            "named": ["-g", "-n", "1", "-c", str(file)],
        }[name]
        daemon = Daemon([program(name) or name, *argv], self.directory)
        self._daemons[name] = exits.enter_context(daemon)

    def log_tail(self) -> str:
        """The last lines of each daemon's log, for a test that failed."""
        return "\n".join(daemon.log_tail() for daemon in self._daemons.values())

    def _file(self, zone: str) -> Path:
        suffix = "zone" if zone in self._unsigned else "zone.signed"
        return self.directory / f"{zone}.{suffix}"

    def _signed(self, zone: str) -> str:
        """Write a zone and sign it; what its parent has to say of it."""
        source = self.directory / f"{zone}.zone"
        children = [one for one in self._zones if one.partition(".")[2] == zone]
        lines = [
            f"{zone}. {_TTL} IN SOA ns.{zone}. admin.{zone}. 1 900 900 1800 60",
            f"{zone}. {_TTL} IN NS ns.{zone}.",
            f"ns.{zone}. {_TTL} IN A 127.0.0.1",
        ]
        for line in filter(None, map(str.strip, self._zones[zone].splitlines())):
            name, kind, data = line.split(None, 2)
            lines.append(f"{name}. {_TTL} IN {kind} {data}")
        for child in children:
            lines += [f"{child}. {_TTL} IN NS ns.{child}.", f"ns.{child}. {_TTL} IN A 127.0.0.1"]
            keys = [*self.directory.glob(f"K{child}.+*.ds")]
            lines += [key.read_text().strip() for key in keys]
        _ = source.write_text("\n".join(lines) + "\n")
        if zone in self._unsigned:
            return ""
        key = self._tool("ldns-keygen", "-a", "ECDSAP256SHA256", "-k", zone).strip()
        _ = self._tool("ldns-signzone", "-n", source.name, key)
        if zone in self._spoiled:
            self._spoil(zone, *self._spoiled[zone])
        return (self.directory / f"{key}.ds").read_text()

    def _spoil(self, zone: str, kind: str, data: str) -> None:
        """Change the first record of a type after it was signed."""
        file = self._file(zone)
        pattern = re.compile(rf"^(\S+\t\d+\tIN\t{kind}\t).*$", re.MULTILINE)
        text, count = pattern.subn(rf"\g<1>{data}", file.read_text(), count=1)
        assert count == 1, file.read_text()
        _ = file.write_text(text)

    def _tool(self, name: str, *words: str) -> str:
        done = subprocess.run(
            [program(name) or name, *words],
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
            env=ENVIRONMENT,
            timeout=60,
        )
        if done.returncode:
            raise StartError(f"{name}: {done.stderr}")
        return done.stdout

    def resolv_conf(self) -> str:
        """A resolv.conf(5) that names unbound, and believes it."""
        return f"nameserver {self.near}\noptions trust-ad edns0\n"


def _own_address() -> str:
    """An address of this machine, at port 53 of which nobody listens."""
    for _ in range(100):
        address = "127.{}.{}.{}".format(*(random.randrange(1, 255) for _ in range(3)))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
            try:
                packets.bind((address, 53))
            except OSError:
                continue
            return address
    raise StartError("port 53 is to be had nowhere")


def _answers(port: int, zone: str) -> bool:
    query = dns.message.make_query(zone, "SOA", want_dnssec=True)
    try:
        said = dns.query.udp(query, "127.0.0.1", timeout=1, port=port)
    except (OSError, dns.exception.DNSException):
        return False
    return bool(said.answer and said.flags & dns.flags.AD)
