"""What keeps secrets out of sight: of pickles, of replies, of tracebacks that show variables."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Any, Self, TypeVar

E = TypeVar("E", bound=BaseException)


class Hidden(bytes):
    """Octets that a traceback with locals does not show."""

    def __repr__(self) -> str:
        return f"<{len(self)} hidden octets>"


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
    """What a peer has said without the secrets that it echoes, as they are or in base64."""
    forms = {form for secret in secrets if secret for form in (secret, b64encode(secret))}
    if not forms:
        return text
    if any(_encodes(word, forms) for word in text.split()):
        return b"[redacted]"
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, b"[redacted]")
    return text


def _encodes(word: bytes, secrets: set[bytes]) -> bool:
    """True if a word is base64 of something with a secret in it."""
    try:
        octets = b64decode(word, validate=True)
    except ValueError:
        return False
    return any(secret in octets for secret in secrets)


def without_frames(error: E) -> E:
    """The same error, cut off from the frames that it and its causes came through."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
