"""A client to be counted from outside: ``python -m tests.scale.counted HOW PORT COUNT``.

It sends so many messages over one connection, and does nothing else.
"""

from __future__ import annotations

import asyncio
import sys

from smtpx import AsyncSession, Client, Envelope, Session

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
ENVELOPE = Envelope("ann@example.org", "bob@example.net")


def main(how: str, url: str, count: int) -> None:
    match how:
        case "smtplib":
            from smtpx import smtplib

            host, _, port = url.removeprefix("smtp://").partition(":")
            with smtplib.SMTP(host, int(port)) as smtp:
                for _ in range(count):
                    _ = smtp.sendmail("ann@example.org", "bob@example.net", CONTENT)
        case "send":
            with Session(url) as session:
                for _ in range(count):
                    _ = session.send(CONTENT, ENVELOPE)
        case "client":
            with Client(url) as client:
                for _ in range(count):
                    _ = client.send(CONTENT, ENVELOPE)
        case "send_many":
            with Client(url) as client:
                for _ in client.send_many([(CONTENT, ENVELOPE)] * count):
                    pass
        case "trio":
            import trio

            trio.run(_asynchronous, url, count)
        case _:
            asyncio.run(_asynchronous(url, count))


async def _asynchronous(url: str, count: int) -> None:
    async with AsyncSession(url) as session:
        for _ in range(count):
            _ = await session.send(CONTENT, ENVELOPE)


if __name__ == "__main__":
    main(sys.argv[1], f"smtp://127.0.0.1:{sys.argv[2]}", int(sys.argv[3]))
