"""One client run: MODE HOST PORT N SIZE RCPTS CONNS, one JSON line out.

Speaks the protocol of a measuring rig: N messages of SIZE (2k, 50k, 10m, …) to RCPTS recipients
over CONNS connections. MODE is `call` (one `Session.send` a message), `stream` (`send_many`),
`smtplib` (the drop-in), or `std` (the standard library's), each also with `_tls` appended.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

UNITS = {"k": 1 << 10, "m": 1 << 20}
SENDER = "sender@example.com"


def message(size: int) -> bytes:
    head = (
        b"From: Sender <sender@example.com>\r\nTo: Rcpt <rcpt0@example.net>\r\n"
        b"Subject: benchmark message\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n"
        b"Message-ID: <0123456789@example.com>\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
    )
    line = b"The quick brown fox jumps over the lazy dog, and the dog does not mind.\r\n"
    room = size - len(head)
    return head + (line * (room // len(line) + 1))[: room - 2] + b"\r\n"


def peak_rss() -> int:
    """Own peak of resident memory in KB."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Clock:
    """Wall time and CPU from its making to `report`."""

    def __init__(self) -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self.user, self.system = usage.ru_utime, usage.ru_stime
        self.start = time.perf_counter()

    def report(self, messages: int, **more: Any) -> None:
        wall = time.perf_counter() - self.start
        usage = resource.getrusage(resource.RUSAGE_SELF)
        user, system = usage.ru_utime - self.user, usage.ru_stime - self.system
        report = {"msgs": messages, "wall": wall, "cpu": user + system, "user": user, "sys": system}
        print(json.dumps({**report, "rss_kb": peak_rss(), **more}))


def main() -> None:
    mode, host, port, n, size, recipients, connections = sys.argv[1:8]
    content = message(int(size[:-1]) * UNITS[size[-1]])
    names = [f"rcpt{i}@example.net" for i in range(int(recipients))]
    tls = mode.endswith("_tls")
    if mode.startswith("stream"):
        stream(host, int(port), int(n), int(connections), tls, names, content)
        return
    opened = {"call": open_sessions, "smtplib": open_drop_in, "std": open_standard}[
        mode.removesuffix("_tls")
    ](host, int(port), int(connections), tls, names, content)
    share = int(n) // len(opened)
    clock = Clock()
    if len(opened) == 1:
        opened[0](share)
    else:
        threads = [threading.Thread(target=send, args=(share,)) for send in opened]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    clock.report(share * len(opened))


def stream(
    host: str, port: int, n: int, connections: int, tls: bool, names: list[str], content: bytes
) -> None:
    import smtpx

    window = int(os.environ.get("BENCH_WINDOW", "64"))
    envelope = smtpx.Envelope(SENDER, names)
    with smtpx.Client(f"smtp://{host}:{port}", tls=policy_for(tls)) as client:
        # What is imported and made at first is not counted; the connections are.
        _ = list(client.send_many([(content, envelope)]))
        clock = Clock()
        accepted = 0
        for result in client.send_many(
            ((content, envelope) for _ in range(n)), connections=connections, window=window
        ):
            assert result.error is None
            accepted += 1
        assert accepted == n
        clock.report(n)


def policy_for(tls: bool) -> Any:
    import smtpx

    if tls:
        return smtpx.TLSPolicy(smtpx.TLSMode.IMPLICIT, context=unverified())
    return smtpx.TLSPolicy(smtpx.TLSMode.NONE)


def open_sessions(
    host: str, port: int, connections: int, tls: bool, names: list[str], content: bytes
) -> list[Any]:
    import smtpx

    envelope = smtpx.Envelope(SENDER, names)

    def sender() -> Any:
        session = smtpx.Session(f"smtp://{host}:{port}", tls=policy_for(tls))
        session.open()

        def send(count: int) -> None:
            for _ in range(count):
                result = session.send(content, envelope)
                assert len(result.accepted) == len(names)

        return send

    return [sender() for _ in range(connections)]


def open_drop_in(*args: Any) -> list[Any]:
    from smtpx import smtplib

    return open_smtplib(smtplib, *args)


def open_standard(*args: Any) -> list[Any]:
    import smtplib

    return open_smtplib(smtplib, *args)


def open_smtplib(
    module: Any, host: str, port: int, connections: int, tls: bool, names: list[str], content: bytes
) -> list[Any]:
    def sender() -> Any:
        smtp = module.SMTP_SSL(host, port, context=unverified()) if tls else module.SMTP(host, port)
        smtp.ehlo()

        def send(count: int) -> None:
            for _ in range(count):
                smtp.sendmail(SENDER, names, content)

        return send

    return [sender() for _ in range(connections)]


def unverified() -> Any:
    import ssl

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


if __name__ == "__main__":
    main()
