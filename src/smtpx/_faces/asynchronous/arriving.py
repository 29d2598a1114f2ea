"""Content from an asynchronous iterable, for a procedure that knows only of blocking ones."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from types import TracebackType

from smtpx._core.feeding import Fed
from smtpx._core.sending import Message


class Readable:
    """A message as a procedure can read it, as a context that closes a generator at its end."""

    __slots__ = ("_arriving", "_message")

    def __init__(self, message: Message | AsyncIterable[bytes]) -> None:
        self._message = message
        self._arriving: Arriving | None = None

    async def __aenter__(self) -> Message:
        message = self._message
        if isinstance(message, bytes) or not isinstance(message, AsyncIterable):
            return message
        self._arriving = Arriving(message)
        return self._arriving

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._arriving is not None:
            await self._arriving.close()


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
            while self.is_low:
                self.feed(await anext(self._source))
        except StopAsyncIteration:
            self.end()
        except Exception as error:
            self.end(error)
        return b""
