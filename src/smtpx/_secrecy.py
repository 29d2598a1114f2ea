"""What keeps secrets out of sight: of pickles, of replies, of tracebacks that show variables."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Any, Self, SupportsIndex, TypeVar, overload

E = TypeVar("E", bound=BaseException)

_SHORT = 6
"""Octets of a secret from which on a word does not have it by chance."""


class Hidden(bytes):
    """Octets that a traceback with locals does not show, nor a part of them.

    Some that show locals cut what is long, and then write the slice.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} hidden octets>"

    __str__ = __repr__

    @overload
    def __getitem__(self, key: SupportsIndex, /) -> int: ...
    @overload
    def __getitem__(self, key: slice, /) -> Hidden: ...
    def __getitem__(self, key: SupportsIndex | slice, /) -> int | Hidden:
        found = super().__getitem__(key)
        return Hidden(found) if isinstance(found, bytes) else found


class Confidential:
    """A value that may hold a secret: then it is not pickled. Its copy is itself."""

    __slots__ = ()

    @property
    def _holds_secret(self) -> bool:
        """True if it is not to be pickled."""
        return True

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self._holds_secret:
            raise TypeError(
                f"{type(self).__name__} with a secret is not pickled: what is pickled is stored, "
                "sent or logged"
            )
        return super().__reduce_ex__(protocol)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def redacted(text: bytes, secrets: Iterable[bytes]) -> bytes:
    """What a peer has said without the secrets that it echoes, as they are or in base64.

    A short one is cut out only where it stands by itself. The letters of a word may be the same by
    chance, and what is cut out of a word that everybody knows is told by that.
    """
    forms = {form for secret in secrets if secret for form in (secret, b64encode(secret))}
    if not forms:
        return text
    longest_first = sorted(forms, key=len, reverse=True)
    echo = re.compile(b"|".join(map(_echo_of, longest_first)))
    if any(_encodes(word, echo) for word in text.split()):
        return b"[redacted]"
    return echo.sub(b"[redacted]", text)


def _echo_of(secret: bytes) -> bytes:
    echo = re.escape(secret)
    if len(secret) >= _SHORT:
        return echo
    before = rb"(?<![A-Za-z0-9])" if secret[:1].isalnum() else b""
    after = rb"(?![A-Za-z0-9])" if secret[-1:].isalnum() else b""
    return before + echo + after


def _encodes(word: bytes, echo: re.Pattern[bytes]) -> bool:
    """True if a word is base64 of something with a secret in it."""
    try:
        octets = b64decode(word, validate=True)
    except ValueError:
        return False
    return echo.search(octets) is not None


def without_frames(error: E) -> E:
    """The same error, cut off from the frames that it and its causes came through."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
