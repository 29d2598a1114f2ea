import asyncio
import os
from email.message import EmailMessage

import aiosmtplib

message = EmailMessage()
message["From"] = "Ann <ann@example.org>"
message["To"] = "bob@example.net"
message["Subject"] = "Hello"
message.set_content("Hello Bob")


async def main() -> None:
    port, password = int(os.environ["PORT"]), os.environ["PASSWORD"]
    refused, reply = await aiosmtplib.send(
        message, hostname="localhost", port=port, username="ann", password=password
    )
    print(refused, reply)


asyncio.run(main())
