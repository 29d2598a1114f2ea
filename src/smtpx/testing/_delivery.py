"""What becomes of a content once it is there (RFC 5321 §4.2.5, RFC 2033 §4.2)."""

from __future__ import annotations

import dataclasses

from ._mailbox import Mailbox, ReceivedMessage
from ._options import ServerOptions, refusal
from ._replies import FINAL, REFUSALS, check_reply, format_reply


def deliver(
    message: ReceivedMessage, options: ServerOptions, mailbox: Mailbox, accepted: bytes
) -> bytes:
    """Keep `message` or refuse it, and return the reply, or over LMTP one for each recipient.

    `accepted` is the reply that takes responsibility for it.
    """
    refused = _content_refusal(message, options)
    if not options.lmtp:
        if refused is not None:
            return format_reply(refused)
        mailbox.add(message)
        return accepted
    texts = [
        refused or refusal("lmtp_replies", options.lmtp_replies, to, FINAL)
        for to in message.recipients
    ]
    kept = [number for number, text in enumerate(texts) if text is None or text[0] == "2"]
    if kept:
        mailbox.add(_narrowed(message, kept))
    return b"".join(accepted if text is None else format_reply(text) for text in texts)


def _content_refusal(message: ReceivedMessage, options: ServerOptions) -> str | None:
    if options.size_limit is not None and len(message.content) > options.size_limit:
        return "552 5.3.4 Message too big"
    if not callable(options.refuse_content):
        return options.refuse_content
    refused = options.refuse_content(message)
    if refused is not None:
        check_reply("refuse_content", refused, REFUSALS)
    return refused


def _narrowed(message: ReceivedMessage, kept: list[int]) -> ReceivedMessage:
    """Leave only the recipients that LMTP delivered to."""
    if len(kept) == len(message.recipients):
        return message
    return dataclasses.replace(
        message,
        recipients=tuple(message.recipients[number] for number in kept),
        recipient_parameters=tuple(message.recipient_parameters[number] for number in kept),
    )
