import asyncio
import os

import smtpx

message = smtpx.compose(
    sender="Ann <ann@example.org>", to="bob@example.net", subject="Hello", text="Hello Bob"
)


async def main() -> None:
    url = f"smtp://ann:{os.environ['PASSWORD']}@localhost:{os.environ['PORT']}"
    result = await smtpx.asend(message, url)
    print(result.refused, result.reply)


asyncio.run(main())
