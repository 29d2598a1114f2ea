import asyncio
import os

import smtpx


async def main() -> None:
    url = f"smtp://ann:{os.environ['PASSWORD']}@localhost:{os.environ['PORT']}"
    async with smtpx.AsyncClient(url) as client:
        message = smtpx.compose(
            sender="Ann <ann@example.org>", to="bob@example.net", subject="Hello", text="Hello Bob"
        )
        await client.send(message)


asyncio.run(main())
