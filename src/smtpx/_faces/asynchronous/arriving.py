"""Content from an asynchronous iterable, for a procedure that knows only of blocking ones."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable

from smtpx._core.feeding import Fed
from smtpx._core.given import Message


def readable(message: Message | AsyncIterable[bytes]) -> Message:
    """A message as a procedure can read it; `close` it at the end."""
    if isinstance(message, bytes) or not isinstance(message, AsyncIterable):
        return message
    return Arriving(message)


async def close(message: Message) -> None:
    """Close the generator that a message comes from, where it does."""
    if isinstance(message, Arriving):
        await message.close()


class Arriving(Fed):
    """Content that is read ahead of what is sent, in bounded memory."""

    def __init__(self, source: AsyncIterable[bytes]) -> None:
        super().__init__()
        self._source = aiter(source)

    async def close(self) -> None:
        """Close the source, where it is a generator."""
        source = self._source
        if isinstance(source, AsyncGenerator):
            await source.aclose()

    async def more(self) -> bytes:
        """Answer `More`. What the source raises is raised where it is read."""
        try:
            while True:
                if not self.is_low:
                    break
                self.feed(await anext(self._source))
        except StopAsyncIteration:
            self.end()
        except Exception as error:
            self.end(error)
        return b""
