"""A received content as Python's `email` package reads it."""

from __future__ import annotations

import email
from email.message import EmailMessage
from email.policy import EmailPolicy
from typing import cast


class _Policy(EmailPolicy):
    """`email.policy.default`, and UTF-8 in the header section is read, as RFC 6532 has it."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        """Return name and value; the parser hands over octets beyond ASCII as surrogates."""
        name, value = super().header_source_parse(sourcelines)
        octets = value.encode("ascii", "surrogateescape")
        return name, octets.decode("utf-8", "surrogateescape")


_POLICY = _Policy()


def parsed(content: bytes) -> EmailMessage:
    """Read `content`."""
    # The policy's message_factory makes it so, whatever the stubs say of a subclass.
    return cast("EmailMessage", email.message_from_bytes(content, policy=_POLICY))
