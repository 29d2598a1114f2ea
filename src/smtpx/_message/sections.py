"""Where the header of a message ends, for the `email` package and for us.

The package ends it at the first line that is no field, as many servers do: what stands between that
line and the first empty one is then text, which every reader sees. Nothing secret may be there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from smtpx._headers import BCC, RECIPIENTS, header_section, with_plain_names
from smtpx.errors import LocalProtocolError

if TYPE_CHECKING:
    from email.policy import Policy

    from smtpx._message.messages import AnyMessage

__all__ = ["cut_off", "parsed", "refuse_lost_recipients", "refuse_shown_bcc"]


def parsed(octets: bytes, policy: Policy[Any] | None = None) -> Any:
    """The message as the `email` package has it, obsolete fields (RFC 5322 §4.5) read as fields.

    Without a `policy` it is the older one, which gives back unchanged whatever is not touched.
    """
    from email import message_from_bytes
    from email.policy import compat32

    return message_from_bytes(with_plain_names(octets), policy=policy or compat32)


def cut_off(message: AnyMessage) -> bytes:
    """The lines before the first empty one that a parsed message has in its text."""
    if not any(
        type(each).__name__ == "MissingHeaderBodySeparatorDefect" for each in message.defects
    ):
        return b""
    return header_section(_text(message))


def _text(message: AnyMessage) -> bytes:
    """How the body begins, as it came."""
    payload: Any = vars(message)["_payload"]
    if isinstance(payload, str):
        return payload.encode("utf-8", "surrogateescape")
    if not isinstance(payload, list) or message.get_content_maintype() == "multipart":
        return (message.preamble or "").encode("utf-8", "surrogateescape")
    # It was taken for the message that this one holds.
    return b"".join(_written(inner) for inner in cast("list[AnyMessage]", payload))


def _written(inner: AnyMessage) -> bytes:
    fields = "".join(f"{name}: {value}\n" for name, value in inner.raw_items())
    return fields.encode("utf-8", "surrogateescape") + _text(inner)


def refuse_shown_bcc(message: AnyMessage) -> None:
    """Make sure that no Bcc stands where every reader sees it.

    Raises:
        LocalProtocolError: one does.
    """
    if BCC.search(cut_off(message)):
        raise LocalProtocolError(
            "the message's header ends at a line that is no field, and a Bcc behind that line "
            "would be shown to whoever gets it: write each field as name, colon, body"
        )


def refuse_lost_recipients(message: AnyMessage) -> None:
    """Make sure that all fields which name recipients are in the header.

    Raises:
        LocalProtocolError: one is not.
    """
    if RECIPIENTS.search(cut_off(message)):
        raise LocalProtocolError(
            "the message's header ends at a line that is no field, before another of its To, Cc or "
            "Bcc: write each field as name, colon, body"
        )
