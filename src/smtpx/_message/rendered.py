"""A message that knows what it was made of."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Rendered"]


class Rendered(bytes):
    """The octets of a copy that a `Template` has rendered, and the values in it."""

    values: Mapping[str, object]

    @classmethod
    def of(cls, octets: bytes, values: Mapping[str, object]) -> Rendered:
        """Tie the two together."""
        rendered = cls(octets)
        rendered.values = values
        return rendered
