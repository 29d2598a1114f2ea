"""What holds connections, and so is no value that could be copied."""

from __future__ import annotations

from typing import NoReturn, SupportsIndex

__all__ = ["Uncopied"]


class Uncopied:
    """An object of which there is no other: neither pickled nor copied."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Say so; `copy` asks as `pickle` does.

        Raises:
            TypeError: always.
        """
        kind = type(self)
        raise TypeError(
            f"{kind.__module__}.{kind.__qualname__} holds connections, and can be neither pickled "
            "nor copied: make another one where you need it"
        )
