"""Content from an asynchronous iterable, for a procedure that knows only of blocking ones."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from types import TracebackType
from typing import Self

from smtpx._core.feeding import Fed


class Arriving(Fed):
    """Reads ahead of what is sent, in bounded memory; closes a generator, as a context."""

    def __init__(self, source: AsyncIterable[bytes]) -> None:
        super().__init__()
        self._source = aiter(source)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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
