"""One call from keyword arguments to a message (RFC 5322, MIME, RFC 2369, RFC 8058, RFC 6047).

Everything is checked before anything is built. What is built is 7-bit, with short lines: it can go
through any server, and be signed as it is. Templates are others' business: text and HTML come as
they are to be sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from email.message import EmailMessage, Message, MIMEPart
from os import PathLike
from typing import BinaryIO, TypeAlias, cast
from urllib.parse import quote

from smtpx import _checks
from smtpx._message import fields
from smtpx._message.messages import AnyMessage
from smtpx._stamps import date_field, new_message_id
from smtpx.composing import _arguments as arguments
from smtpx.composing import _parts as parts
from smtpx.composing._arguments import Mailbox, Mailboxes
from smtpx.composing._parts import Attachment
from smtpx.composing._plaintext import plain_text
from smtpx.composing._references import names_in, with_references
from smtpx.errors import LocalProtocolError

__all__ = ["Attachment", "compose", "plain_text"]

File: TypeAlias = "str | PathLike[str] | Attachment | BinaryIO"


def compose(
    *,
    sender: Mailbox,
    to: Mailboxes | None = None,
    cc: Mailboxes | None = None,
    bcc: Mailboxes | None = None,
    reply_to: Mailboxes | None = None,
    subject: str = "",
    text: str | None = None,
    html: str | None = None,
    attachments: File | AnyMessage | Iterable[File | AnyMessage] | None = None,
    inline: Mapping[str, File] | None = None,
    calendar: str | None = None,
    date: datetime | None = None,
    message_id: str | None = None,
    in_reply_to: str | AnyMessage | None = None,
    references: str | Iterable[str] | None = None,
    list_unsubscribe: str | Iterable[str] | None = None,
    one_click: bool = False,
    headers: Mapping[str, str] | None = None,
) -> EmailMessage:
    """Make a message.

    An address is ``"bob@x.test"``, ``"Bob <bob@x.test>"``, ``("Bob", "bob@x.test")`` or an object
    that has them; several are a list. A tuple of two strings is a name and an address: you are
    warned where the name is another address. Bcc stands in the message, for the envelope, and is
    left out when it is sent.

    `text` and `html` are two forms of the same; `plain_text` makes the one of the other.
    `attachments` are paths, open binary files, `Attachment` values, or messages to be forwarded.
    `inline` are images
    and the like by the names that the HTML has for them: ``{"logo": "logo.png"}`` for
    ``src="cid:logo"``. `calendar` is an iCalendar object with its METHOD, such as an invitation.

    `date` is now and `message_id` a new one, unless given. `in_reply_to` is the message that is
    answered, or its Message-ID; its References come along (RFC 5322 §3.6.4), malformed ones as
    they stand. `list_unsubscribe` are URIs, by https and mailto; with `one_click` the one by https
    takes a POST (RFC 8058).
    `headers` are all other fields: those that hold addresses are written as such, those that
    programs read are taken as they are.

    Raises:
        AddressError: an address is none.
        LocalProtocolError: another argument is wrong, or a file cannot be read.
        TypeError: an argument is of the wrong type.
    """
    _checks.flag("one_click", one_click)
    author = arguments.mailbox("sender", sender)
    if not author[1].domain:
        raise LocalProtocolError("sender needs an address with a domain")
    everyone = {
        "To": arguments.mailboxes("to", to),
        "Cc": arguments.mailboxes("cc", cc),
        "Bcc": arguments.mailboxes("bcc", bcc),
    }
    if not any(everyone.values()):
        raise LocalProtocolError("there is nobody to send it to: give to, cc or bcc")
    answers = arguments.mailboxes("reply_to", reply_to)
    subject = arguments.line("subject", subject)
    stamp = date_field(date)
    domain = author[1].domain
    if message_id is None:
        message_id = new_message_id(domain)
    message_id = arguments.identifier("message_id", message_id)
    parent, ancestors = _thread(in_reply_to, references)
    targets = arguments.unsubscribe_targets(list_unsubscribe, one_click=one_click)
    others = arguments.extra_fields(headers)
    root = _body(text, html, calendar, arguments.mapped("inline", inline), attachments, domain)

    message = EmailMessage(parts.POLICY)
    put = message.set_raw
    put("From", fields.mailboxes("From", [author]))
    for name, mailboxes in [*everyone.items(), ("Reply-To", answers)]:
        if mailboxes:
            put(name, fields.mailboxes(name, mailboxes))
    if subject:
        put("Subject", fields.unstructured("Subject", subject))
    put("Date", stamp)
    put("Message-ID", message_id)
    if parent is not None:
        put("In-Reply-To", parent)
    if ancestors:
        put("References", fields.identifiers("References", ancestors))
    if targets:
        written = [f"<{target}>" for target in targets]
        put("List-Unsubscribe", fields.identifiers("List-Unsubscribe", written, ","))
    if one_click:
        put("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
    for name, value in others:
        put(name, value)
    put("MIME-Version", "1.0")
    for name, value in root.raw_items():
        put(name, value)
    message.set_payload(root.get_payload())
    return message


def _body(
    text: str | None,
    html: str | None,
    calendar: str | None,
    inline: Mapping[str, File],
    attachments: File | AnyMessage | Iterable[File | AnyMessage] | None,
    domain: str,
) -> MIMEPart:
    """Everything below the header.

    ::

        multipart/mixed
            multipart/alternative
                text/plain
                multipart/related
                    text/html
                    image/png
                text/calendar
            application/pdf
    """
    for argument, words in (("text", text), ("html", html), ("calendar", calendar)):
        arguments.body(argument, words)
    _check_references(html, inline)
    images = {name: parts.read(f"inline[{name!r}]", file) for name, file in inline.items()}
    files = [
        parts.message_part(argument, cast("AnyMessage", file))
        if isinstance(file, Message)
        else parts.file_part(parts.read(argument, file))
        for argument, file in arguments.listed(
            "attachments", attachments, (str, bytes, PathLike, Attachment, Message, parts.OpenFile)
        )
    ]
    forms: list[MIMEPart] = []
    if text is not None:
        forms.append(parts.text_part(text, "plain"))
    if html is not None:
        forms.append(_page(html, images, domain))
    if calendar is not None:
        # Gmail and Outlook look for it among the alternatives, and for a file that can be saved.
        forms.append(parts.calendar_part(calendar))
        files.insert(0, parts.calendar_file(calendar))
    if not forms and not files:
        raise LocalProtocolError("there is nothing to send: give text, html or attachments")
    if forms:
        files.insert(0, parts.joined("alternative", forms))
    return parts.joined("mixed", files)


def _page(html: str, images: dict[str, Attachment], domain: str) -> MIMEPart:
    """An HTML body, with what is shown in it."""
    if not images:
        return parts.text_part(html, "html")
    # RFC 2045 §7: a Content-ID is as unique as a Message-ID.
    unique = new_message_id(domain).strip("<>")
    html = with_references(html, lambda name: quote(f"{name}.{unique}", "@"))
    page = [parts.text_part(html, "html")]
    page += [parts.file_part(file, f"<{name}.{unique}>") for name, file in images.items()]
    return parts.joined("related", page, ("type", "text/html"))


def _check_references(html: str | None, inline: Mapping[str, File]) -> None:
    """Make sure that what the HTML shows is there, and nothing else."""
    if html is None and inline:
        raise LocalProtocolError("inline needs html, which shows it by src='cid:NAME'")
    used = names_in(html or "")
    for name in inline:
        if not parts.NAME.fullmatch(name):
            raise LocalProtocolError(
                f"inline: {name!r} is no name: take letters, digits, - and _, as in 'logo'"
            )
        if name not in used:
            raise LocalProtocolError(
                f"inline: the html does not show {name!r}: refer to it by src='cid:{name}', or "
                "make it one of the attachments"
            )
    for name in sorted(used - inline.keys()):
        raise LocalProtocolError(
            f"html shows 'cid:{name}', which inline does not have: give inline={{{name!r}: …}}"
        )


def _thread(
    in_reply_to: str | AnyMessage | None, references: str | Iterable[str] | None
) -> tuple[str | None, list[str]]:
    """In-Reply-To and References (RFC 5322 §3.6.4)."""
    given = [
        arguments.others_identifier(argument, one)
        for argument, one in arguments.listed("references", references, (str,))
    ]
    if in_reply_to is None:
        return None, given
    if not isinstance(in_reply_to, (str, Message)):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise _checks.complaint("in_reply_to", in_reply_to, "a message or its Message-ID")
    if isinstance(in_reply_to, str):
        parent = arguments.others_identifier("in_reply_to", in_reply_to)
        return parent, given or [parent]
    stamp = _field(in_reply_to, "Message-ID")
    if not stamp:
        raise LocalProtocolError("in_reply_to is a message without Message-ID: leave it out")
    # What is malformed in another's message is kept as it stands, for programs compare it. What no
    # field can hold is left out.
    parents = arguments.identifiers_in(stamp)[:1]
    ancestors = arguments.identifiers_in(_field(in_reply_to, "References"))
    if not ancestors:
        ancestors = arguments.identifiers_in(_field(in_reply_to, "In-Reply-To"))
        ancestors = ancestors if len(ancestors) == 1 else []
    everyone = list(dict.fromkeys([*ancestors, *parents]))
    return parents[0] if parents else None, given or everyone


def _field(message: AnyMessage, wanted: str) -> str:
    """The body of a field as it came: of a malformed one, the `email` package raises errors."""
    for name, value in message.raw_items():
        if name.lower() == wanted.lower():
            return "".join(str(value).splitlines()).strip()
    return ""
