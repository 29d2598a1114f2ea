"""A received content as Python's `email` package reads it."""

from __future__ import annotations

import email
from email.contentmanager import ContentManager, raw_data_manager
from email.message import EmailMessage, Message
from email.policy import EmailPolicy
from typing import Any, cast


class _Contents(ContentManager):
    """Texts have Python's line ends, in whatever encoding they came."""

    def get_content(self, msg: Message[Any, Any], *args: Any, **kw: Any) -> Any:
        """Return the content of a part; a text of CRLF (RFC 2046 §4.1.1) with LF."""
        content = raw_data_manager.get_content(msg, *args, **kw)
        return content.replace("\r\n", "\n") if isinstance(content, str) else content

    def set_content(self, msg: Message[Any, Any], obj: Any, *args: Any, **kw: Any) -> None:
        """Set it, as always."""
        raw_data_manager.set_content(msg, obj, *args, **kw)


class _Policy(EmailPolicy):
    """`email.policy.default`, and UTF-8 in the header section is read, as RFC 6532 has it."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        """Return name and value; the parser hands over octets beyond ASCII as surrogates."""
        name, value = super().header_source_parse(sourcelines)
        octets = value.encode("ascii", "surrogateescape")
        return name, octets.decode("utf-8", "surrogateescape")


_POLICY = _Policy(content_manager=_Contents())


def parsed(content: bytes) -> EmailMessage:
    """Read `content`."""
    # The policy's message_factory makes it so, whatever the stubs say of a subclass.
    return cast("EmailMessage", email.message_from_bytes(content, policy=_POLICY))
