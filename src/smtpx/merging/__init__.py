"""Mail merge: a message composed once, and a copy of it for each recipient."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from email.message import EmailMessage, Message
from email.policy import EmailPolicy
from typing import Any, Self

from smtpx import _checks
from smtpx._message.correspondents import header_addresses
from smtpx._message.rendered import Rendered
from smtpx._message.sections import parsed
from smtpx.addresses import Address
from smtpx.envelope import Envelope
from smtpx.errors import AddressError, LocalProtocolError, SMTPError
from smtpx.merging._headers import Writer, filled_address, of_fields
from smtpx.merging._patterns import PRINTABLE, Pattern, fixed, has_fields, joined, pattern_of
from smtpx.merging._skeleton import Skeleton

__all__ = ["Template"]

# What `html.escape` replaces: few texts have any of it.
_MARKUP = re.compile("[&<>\"']")
_BOM = "\ufeff"  # Programs of Windows begin a file with it, and `csv` the name of its first column.
_LONGEST = 998  # Of a value that stands as it is, if nothing allows less.
_FOR_ALL = ("Cc", "Bcc", "Resent-To", "Resent-Cc", "Resent-Bcc")


class Template:
    """A composed message with fields, ``{{name}}``, in its header and its texts.

    ::

        message["To"] = "{{name}} <{{address}}>"
        message["Subject"] = "{{name}}, your order is on its way"
        message.set_content("Dear {{name}}, …")

        template = smtpx.Template(message)
        client.send_many(map(template.render, rows))

    Fields may stand in To and Reply-To, in the display name of From and Sender, in Subject and any
    other field of the message's header, in plain text and HTML that are no attachment, and in a
    calendar. Each copy has a Message-ID and a Date of its own, and is ASCII, whatever its values
    are. Threads may share a template.
    """

    def __init__(self, message: EmailMessage, *, sender: str | None = None) -> None:
        """Compile the message, which is left as it is.

        `sender` is the reverse-path, with fields where each copy is to have its own (VERP); empty
        for the null reverse-path. Without it, it is what Sender or From says.

        Raises:
            LocalProtocolError: it has no From or To, it has recipients who would get every
                copy, or fields where there can be none. Or a text is not in the charset that it
                declares, or declares none and is not UTF-8.
            AddressError: an address in it is none.
            TypeError: it is no message, or `sender` is of another kind.
        """
        _check(message)
        _checks.text("sender", sender, or_none=True)
        self._message, self._given_sender = message, sender
        try:
            author = _fixed_address(message, "From")
            self._sender = _sender(message, sender)
            skeleton = Skeleton(message, author.domain)
            self._fixed, self._writers = skeleton.pieces()
        except SMTPError:
            raise
        except Exception as error:  # What is malformed makes the `email` package fail in many ways.
            raise LocalProtocolError(f"the message cannot be read: {error}") from error
        if skeleton.to is None:
            raise LocalProtocolError(
                "the message has no To: set one, such as '{{name}} <{{address}}>'"
            )
        self._to = skeleton.to
        names = [name for writer, _ in self._writers for name in writer.names]
        if isinstance(self._sender, Pattern):
            names += self._sender.names
        self._fields = tuple(dict.fromkeys(names))
        self._markup_fields = tuple(
            {name for writer, in_markup in self._writers if in_markup for name in writer.names}
        )
        self._as_they_are()

    @classmethod
    def parse(cls, source: bytes, *, sender: str | None = None) -> Self:
        """Make the template whose `source` this is.

        Raises:
            LocalProtocolError, AddressError: it is none.
            TypeError: an argument is of another kind.
        """
        from email.policy import SMTP

        _checks.instance("source", source, bytes)
        return cls(parsed(source, SMTP), sender=sender)

    @property
    def source(self) -> bytes:
        """The message with its fields, as octets that `parse` reads; the sender is not in them."""
        policy: Any = self._message.policy
        policy = policy.clone(max_line_length=None, linesep="\r\n", cte_type="8bit", utf8=True)
        return self._message.as_bytes(policy=policy)

    @property
    def sender(self) -> str | None:
        """The reverse-path that was given, with its fields; ``None`` where the message says it."""
        return self._given_sender

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of all fields, each once."""
        return self._fields

    def render(self, values: Mapping[str, object]) -> tuple[bytes, Envelope]:
        """One recipient's copy, as `send_many` takes it; its result has `values` again.

        `values` has something for each field: a string, or what `str` makes one of. In HTML it
        is escaped: it is text there, and in an attribute with quotes. What has ``__html__()`` is
        HTML already, and stays as it is, like the safe strings of MarkupSafe and Django.

        Raises:
            LocalProtocolError: a value is missing, or cannot stand where its field does, such as
                a line end in a header. The message names the field.
            AddressError: an address is none.
            TypeError: the values are no mapping.
        """
        given: object = values
        if type(given) is not dict:
            _checks.instance("values", given, Mapping)
        texts: dict[str, str] = {}
        are_strings = True
        for name in self._fields:
            value = values.get(name)
            if type(value) is str:
                texts[name] = value
            else:
                texts[name] = _text(name, values)
                are_strings = False
        sender, to = self._sender, self._to
        if type(sender) is Pattern:
            sender = filled_address(sender, texts)
        address = to.pattern.fill(texts)
        try:
            envelope = Envelope(sender, [address])
        except AddressError as error:
            raise of_fields(to.pattern, error) from error
        (recipient,) = envelope._spelt
        try:
            row = "\n".join([*texts.values(), ""])
            # A string is no HTML already, as what has ``__html__()`` may be.
            if (
                are_strings
                and recipient == address
                and self._row.fullmatch(row)
                and self._takes_markup(texts, escaped=_MARKUP.search(row) is not None)
            ):
                for place, writer in self._others:
                    texts[place] = writer.written(texts)
                written = self._whole.fill(texts)
            else:
                written = self._written(values, texts, recipient)
        except UnicodeEncodeError:
            raise _not_text(texts) from None
        return Rendered.of(written.encode(), values), envelope

    def _takes_markup(self, texts: dict[str, str], *, escaped: bool) -> bool:
        """Add what stands for values in HTML; False if one takes more room than it has there."""
        for name, place, room in self._in_markup:
            texts[place] = value = html.escape(texts[name]) if escaped else texts[name]
            if len(value) > room:
                return False
        return True

    def _written(
        self, values: Mapping[str, object], texts: Mapping[str, str], recipient: str
    ) -> str:
        """The copy, piece by piece."""
        markup = {name: _markup(values[name], texts[name]) for name in self._markup_fields}
        pieces = self._fixed.copy()
        pieces[1::2] = [
            # An address that needs SMTPUTF8 is sent so, or not at all (RFC 6532).
            self._to.written_with(recipient, texts)
            if writer is self._to
            else writer.written(markup if in_markup else texts)
            for writer, in_markup in self._writers
        ]
        return "".join(pieces)

    def _as_they_are(self) -> None:
        """Prepare for rows whose values may all stand as they are, as those of most rows may.

        Such a copy is one pattern, filled at once: it takes 0.4 of the time.
        """
        may_have = dict.fromkeys(self._fields, PRINTABLE)
        room = dict.fromkeys(self._fields, _LONGEST)
        in_html: dict[str, int] = {}
        self._others: list[tuple[str, Writer]] = []
        """What is written anew even so, and its place, which is no name of a field."""
        patterns = [fixed(self._fixed[0])]
        for number, (writer, in_markup) in enumerate(self._writers):
            parts = self._to.with_its_address if writer is self._to else writer.as_it_is
            for each in parts:
                for name in each.pattern.names:
                    may_have[name] &= each.characters
                    room[name] = min(room[name], each.room)
                    if in_markup:
                        in_html[name] = min(in_html.get(name, _LONGEST), each.room)
                patterns.append(each.pattern.placed(_in_html) if in_markup else each.pattern)
            if not parts:
                self._others.append((f"{number}:", writer))
                patterns.append(Pattern(["", "", ""], [f"{number}:"], ()))
                if in_markup:
                    for name in writer.names:
                        may_have[name] -= set("&<>\"'")
            patterns.append(fixed(self._fixed[2 * number + 2]))
        self._in_markup = [(name, _in_html(name), room) for name, room in in_html.items()]
        self._whole = joined(patterns)
        self._row = re.compile("".join([_one(may_have[name], room[name]) for name in self._fields]))

    @_checks.even_half_made
    def __repr__(self) -> str:
        return f"<Template with {', '.join(self._fields) or 'no fields'}>"


def _in_html(name: str) -> str:
    """The place of a field's value as it stands in HTML, which is no name of a field."""
    return f"<{name}>"


def _one(characters: frozenset[str], room: int) -> str:
    """A regular expression for a value that may have these, and so many, and for its line end."""
    if room < 1:
        return "(?!)"
    word = f"[{''.join(map(re.escape, sorted(characters - {' '})))}]+"
    words = f"{word}(?: {word})*" if " " in characters else word
    return rf"(?=.{{1,{room}}}\n){words}\n"


def _check(message: Any) -> None:
    if not isinstance(message, Message):
        raise _checks.complaint("message", message, "an EmailMessage")
    if not isinstance(message, EmailMessage) or not isinstance(message.policy, EmailPolicy):
        raise LocalProtocolError(
            "a template is made of an EmailMessage with one of email.policy's EmailPolicies"
        )
    for name in _FOR_ALL:
        if name in message:
            raise LocalProtocolError(
                f"the message has {name}, and they would get every copy: leave it out"
            )


def _sender(message: EmailMessage, sender: str | None) -> Address | Pattern | None:
    """The reverse-path of all copies, or what makes that of each."""
    if sender is None:
        return _fixed_address(message, "Sender", "From")
    if has_fields(sender):
        return pattern_of(sender, "sender")
    return Address.parse(sender) if sender else None


def _fixed_address(message: EmailMessage, *names: str) -> Address:
    """The first address of the first of these fields that is there."""
    found: list[str] = []
    for name in names:
        found += header_addresses(message, name)
    if not found:
        raise LocalProtocolError(f"the message has no {names[-1]} with an address: set it")
    if has_fields(found[0]):
        raise LocalProtocolError(
            f"{found[0]!r} has a field: only the display name of the author can have one; "
            "the argument sender can too"
        )
    try:
        address = Address.parse(found[0])
    except AddressError as error:
        raise LocalProtocolError(f"the field {names[-1]} cannot be read: {error}") from error
    if address.needs_smtputf8:
        raise LocalProtocolError(f"{address} is not ASCII, as the header of a template has to be")
    return address


def _text(name: str, values: Mapping[str, object]) -> str:
    try:
        value = values[name]  # It may make what it lacks, as a defaultdict does.
    except KeyError:
        marked = any(str(other) in (_BOM + name, f'{_BOM}"{name}"') for other in values)
        remedy = (
            ": a byte order mark stands before its name: open the file with encoding='utf-8-sig'"
        )
        raise LocalProtocolError(
            f"there is no value for the field {name!r}{remedy if marked else ''}"
        ) from None
    if value is None or isinstance(value, (bytes, bytearray)):
        raise LocalProtocolError(f"field {name!r} is {value!r}: give text, if only an empty one")
    return str(value)


def _markup(value: Any, text: str) -> str:
    if type(value) is not str and hasattr(value, "__html__"):
        return str(value.__html__())
    return html.escape(text) if _MARKUP.search(text) else text


def _not_text(texts: Mapping[str, str]) -> LocalProtocolError:
    half = next(name for name, text in texts.items() if not _is_text(text))
    return LocalProtocolError(f"field {half!r} has half of a surrogate pair: {texts[half]!r:.60}")


def _is_text(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
