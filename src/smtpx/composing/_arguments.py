"""What `compose` is given, read and checked: a mistake names its argument and the remedy."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from email.headerregistry import Address as HeaderAddress
from typing import Any, TypeAlias, TypeVar, cast

from smtpx import _checks
from smtpx._message import fields
from smtpx._message.mailboxes import groups_in, mailbox_in
from smtpx._message.names import (
    ADDRESSES,
    EXACT,
    IDENTIFIERS,
    OF_THE_MESSAGE,
    URIS,
    are_uris,
    may_hold_addresses,
)
from smtpx._message.rewriting import list_id
from smtpx.addresses import Address
from smtpx.errors import AddressError, LocalProtocolError
from smtpx.merging._patterns import FIELD, tight

__all__ = ["Mailbox", "Mailboxes"]

T = TypeVar("T")

Mailbox: TypeAlias = "str | Address | HeaderAddress | tuple[str, str | Address]"
"""``"bob@x.test"``, ``"Bob <bob@x.test>"``, ``("Bob", "bob@x.test")``, or an address object.

The address may be a field, ``{{address}}``, in a message that becomes a `Template`.
"""
Mailboxes: TypeAlias = "Mailbox | Iterable[Mailbox]"

_ONE = "sender"  # The argument of which there is only one.
_LEFT = r"[^\s<>@()\[\]\\,;:\"]+"  # What is special elsewhere would end it there, or hide it.
_IDENTIFIER = re.compile(rf"<{_LEFT}@(?:{_LEFT}|\[[^\s<>\[\]]+\])>")
# What others write, who do not keep to the grammar; programs compare it octet by octet.
_ANY_IDENTIFIER = re.compile(r"<[!-;=?-~]{1,898}>")
_BARE_IDENTIFIER = re.compile(r"[!-'*-;=?-~]{1,898}")
_LONGEST_LINE = 998  # RFC 5322 §2.1.1
_LONG_WORD = re.compile(r"[^\s=]{72}(?=[^\s=])")
_FIELD_NAME = re.compile(r"[!-9;-~]{1,76}")
_GROUP = re.compile(r"[^:;@<>]+:[^;]*;\s*")
_URI = re.compile(r"(?:https?://[!#-.0-;=@-~]|mailto:[!#-;=?-~])[!#-;=?-~]*", re.IGNORECASE)
# Fields that an argument of their own writes, or that describe what is in the parts.
_OWN = {
    "from": "sender", "to": "to", "cc": "cc", "bcc": "bcc", "reply-to": "reply_to",
    "subject": "subject", "date": "date", "message-id": "message_id",
    "in-reply-to": "in_reply_to", "references": "references",
    "list-unsubscribe": "list_unsubscribe", "list-unsubscribe-post": "one_click",
    "mime-version": "text", "content-type": "text", "content-transfer-encoding": "text",
    "content-disposition": "attachments", "content-id": "inline",
}  # fmt: skip


def listed(argument: str, given: Any, single: tuple[type, ...]) -> Iterator[tuple[str, Any]]:
    """Each of what may be one or several, with the words that name it in an error."""
    if given is None:
        return
    if isinstance(given, single):
        yield argument, given
        return
    # A dict without values is a list each of whose members is there once.
    is_list = isinstance(given, Mapping) and not any(given.values())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType, reportUnknownMemberType]
    if not (is_list or (isinstance(given, Iterable) and not _checks.is_one(given))):  # pyright: ignore[reportUnknownArgumentType]
        kind: type = type(given)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        raise TypeError(f"{argument}: give one, a list or None, not {kind.__name__}")
    for number, one in enumerate(given):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        yield f"{argument}[{number}]", one


def mailboxes(argument: str, given: Mailboxes | None) -> list[tuple[str, Address]]:
    """One or several addresses, each with its display name or ``""``.

    Raises:
        AddressError, LocalProtocolError, TypeError: one of them is wrong.
    """
    # A tuple that begins with a string is a name with its address, whatever the name looks like.
    if isinstance(given, tuple) and given and isinstance(given[0], str):
        one = mailbox(argument, cast("Mailbox", given))
        _warn_of_two(argument, *one)
        return [one]
    each = listed(argument, given, (str, Address, HeaderAddress))
    return [mailbox(name, one) for name, one in each]


def _warn_of_two(argument: str, name: str, address: Address) -> None:
    """Warn where the name of one may be meant as another address. It may be a name as well."""
    try:
        other = Address.parse(mailbox_in(name)[1])
    except ValueError:
        return
    if str(other).lower() != str(address).lower():
        warnings.warn(
            f"{argument}: a pair is a name and an address, so that {address} has the name {other}. "
            "Give two addresses as a list. If it is the name, put the pair into a list",
            stacklevel=4,
        )


def mailbox(argument: str, given: Mailbox) -> tuple[str, Address]:
    """One address, with its display name or ``""``.

    Raises:
        AddressError, LocalProtocolError, TypeError: it is none.
    """
    if isinstance(given, list):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise _no_mailbox(argument, given)
    match given:
        case str():
            return _written(argument, given)
        case Address():
            return "", given
        case HeaderAddress():
            name, address = given.display_name, _address(argument, given.addr_spec)
        case (str() as name, str() as text):
            address = _address(argument, text)
        case (str() as name, Address() as address):
            pass
        case _:
            raise _no_mailbox(argument, given)
    return _name(argument, name), address


def line(argument: str, text: str) -> str:
    """A text that fits in one header field.

    Raises:
        LocalProtocolError: it would break out of it, or has half of a character.
        TypeError: it is no text.
    """
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise TypeError(f"{argument}: give a str, not {type(text).__name__}")
    _whole(argument, text)
    if fields.breaks_a_line(text):
        raise LocalProtocolError(
            f"{argument}={_shown(text)} has a line end or another control character: "
            "give it as one line"
        )
    return text


def body(argument: str, text: str | None) -> None:
    """Check a text of any length.

    Raises:
        LocalProtocolError: it has half of a character.
        TypeError: it is no text.
    """
    if text is None:
        return
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise TypeError(f"{argument}: give a str, not {type(text).__name__}: decode it first")
    _whole(argument, text)


def _whole(argument: str, text: str) -> None:
    place = fields.half_of_a_character(text)
    if place is not None:
        raise LocalProtocolError(
            f"{argument} has half of a surrogate pair at {place}: decode its source anew"
        )


def identifier(argument: str, given: str) -> str:
    """A Message-ID of our own, with its angle brackets (RFC 5322 §3.6.4).

    Raises:
        LocalProtocolError: it is none.
        TypeError: it is no text.
    """
    if not _IDENTIFIER.fullmatch(line(argument, given)) or len(given) > 900:
        raise LocalProtocolError(
            f"{argument}={_shown(given)} is no Message-ID: write <left@right>, with the brackets"
        )
    if not given.isascii():
        raise LocalProtocolError(f"{argument}={_shown(given)} is no Message-ID: it is not ASCII")
    return given


def others_identifier(argument: str, given: str) -> str:
    """A Message-ID of whatever wrote the message that it names.

    Raises:
        LocalProtocolError: it has no angle brackets, or what cannot stand in them.
        TypeError: it is no text.
    """
    _checks.text(argument, given)
    given = line(argument, given.strip())  # Of a field that was folded before it.
    if not _ANY_IDENTIFIER.fullmatch(given):
        several = "; several are a list" if argument == "references" else ""
        raise LocalProtocolError(
            f"{argument}={_shown(given)} is no Message-ID: give it as it stands in its message, "
            f"with the brackets{several}"
        )
    return given


def identifiers_in(text: str) -> list[str]:
    """The Message-IDs in another's field; comments and what is malformed are left out."""
    found = _ANY_IDENTIFIER.findall(text)
    bare = text.strip()
    if not found and "=?" not in bare and _BARE_IDENTIFIER.fullmatch(bare):
        return [f"<{bare}>"]  # Some have no angle brackets; whoever looks for it adds them.
    return found


def extra_fields(given: Mapping[str, str] | None) -> list[tuple[str, str]]:
    """Header fields that `compose` has no argument for, their bodies written.

    Raises:
        AddressError: in a field of addresses there is something else.
        LocalProtocolError: a name is none or has an argument of its own; a value breaks out, or
            is not what such a field has.
        TypeError: it is no mapping.
    """
    found: list[tuple[str, str]] = []
    for name, value in mapped("headers", given).items():
        if not _FIELD_NAME.fullmatch(name):
            raise LocalProtocolError(f"headers: {_shown(name)} is no name of a header field")
        own = _OWN.get(name.lower())
        if own is not None:
            raise LocalProtocolError(f"headers: {name} is what the argument {own!r} is for")
        argument = f"headers[{name!r}]"
        body = _body(argument, name, tight(line(argument, value)))
        if max(map(len, f"{name}: {body}".split("\n"))) > _LONGEST_LINE:
            raise LocalProtocolError(
                f"{argument}={_shown(value)}: it does not fit in a line of {_LONGEST_LINE} "
                "characters, and cannot be folded: shorten it (RFC 5322 §2.1.1)"
            )
        found.append((name, body))
    return found


def _body(argument: str, name: str, value: str) -> str:
    """The body of a field as its name wants it: addresses, a text for programs, or for people."""
    kind = name.lower()
    if kind in ADDRESSES:
        return fields.addresses(name, _groups(argument, kind, value))
    if kind == "list-id":
        try:
            return list_id(name, value)
        except ValueError as error:
            raise LocalProtocolError(
                f"{argument}={_shown(value)} is no List-ID: write 'A name <list.example.org>' "
                "(RFC 2919 §3)"
            ) from error
    if kind not in EXACT:
        return _addresses_or_text(argument, name, value)
    if not value.isascii():
        raise LocalProtocolError(
            f"{argument}={_shown(value)}: programs read {name}, which cannot be encoded: give ASCII"
        )
    if kind in IDENTIFIERS and _ANY_IDENTIFIER.sub("", value).strip():
        raise LocalProtocolError(
            f"{argument}={_shown(value)}: write each as <left@right>, with the brackets"
        )
    if kind in URIS and not are_uris(value):
        raise LocalProtocolError(
            f"{argument}={_shown(value)}: write each URI as <mailto:…> or <https:…> (RFC 2369 §2)"
        )
    if kind == "autocrypt":
        value = _LONG_WORD.sub(r"\g<0> ", value)  # In base64 white space means nothing.
    return fields.folded(name, " ".join(value.split()))


def _addresses_or_text(argument: str, name: str, value: str) -> str:
    """What is in no RFC: encoded as a whole, an address in it would be none."""
    if not value.isascii() and may_hold_addresses(name):
        try:
            written = fields.addresses(name, _groups(argument, "to", value))
        except AddressError:
            return fields.unstructured(name, value)
        if written.isascii():
            return written
    return fields.unstructured(name, value)


def _groups(
    argument: str, kind: str, text: str
) -> list[tuple[str | None, list[tuple[str, Address]]]]:
    """The addresses in a field, as they are given in one text."""
    try:
        groups = groups_in(text)
    except ValueError as error:
        raise AddressError(f"{argument}={_shown(text)} is no list of addresses: {error}") from error
    bare = kind not in OF_THE_MESSAGE
    found = [
        (
            group.name,
            [
                (_name(argument, each.name), _address(argument, each.address, bare=bare))
                for each in group.mailboxes
            ],
        )
        for group in groups
    ]
    if not found:
        raise AddressError(f"{argument} is empty: give an address, or leave it out")
    if kind in ("sender", "resent-sender") and len(found) > 1:
        raise AddressError(f"{argument}={_shown(text)}: Sender is one mailbox (RFC 5322 §3.6.2)")
    return found


def mapped(argument: str, given: Mapping[str, T] | None) -> Mapping[str, T]:
    """What is given by name.

    Raises:
        TypeError: it is not.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise TypeError(f"{argument}: give a dict, not {type(given).__name__}")
    for name in given:
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise TypeError(f"{argument}: a name is a str, not {type(name).__name__}")
    return given


def unsubscribe_targets(given: str | Iterable[str] | None, *, one_click: bool) -> list[str]:
    """The URIs of List-Unsubscribe (RFC 2369 §3.2), fit for one click if asked (RFC 8058 §3.1).

    Raises:
        LocalProtocolError: one is no https, http or mailto URI; one click needs one by https.
    """
    targets: list[str] = []
    for argument, target in listed("list_unsubscribe", given, (str,)):
        if not _URI.fullmatch(line(argument, target)) or "," in target or len(target) > 900:
            raise LocalProtocolError(
                f"{argument}={_shown(target)} is no https or mailto URI; "
                "what is special in it, commas too, is written as %XX"
            )
        targets.append(target)
    web = [target for target in targets if not target.lower().startswith("mailto:")]
    if one_click and not (len(web) == 1 and web[0].lower().startswith("https:")):
        raise LocalProtocolError(
            "one_click needs exactly one https URI in list_unsubscribe (RFC 8058 §3.1)"
        )
    return targets


def _written(argument: str, text: str) -> tuple[str, Address]:
    text = tight(line(argument, text))
    if not text.strip():
        raise AddressError(f"{argument} is empty: give an address, or leave it out")
    try:
        name, address = mailbox_in(text)
    except ValueError as error:
        if _GROUP.fullmatch(text):
            raise AddressError(
                f"{argument}={_shown(text)} is a group: give its members as a list, or leave it "
                "out where it has none"
            ) from error
        raise AddressError(
            f"{argument}={_shown(text)} is no mailbox: {error}; give "
            f"{'one' if argument == _ONE else 'several as a list of strings'}, "
            "and a name with a comma as ('Display, Name', 'bob@example.net')"
        ) from error
    return _name(argument, name), _address(argument, address)


def _address(argument: str, text: str, *, bare: bool = False) -> Address:
    if FIELD.fullmatch(text):
        # For a `Template`. Nobody else can send to what has no domain.
        return Address.parse(tight(text), bare_local_part=True)
    try:
        address = Address.parse(text, bare_local_part=bare)
    except AddressError as error:
        raise AddressError(f"{argument}: {error}") from error
    if not (address.domain or text.isascii()):
        # No system has such a user; it is half of a name that was cut at its comma.
        raise AddressError(f"{argument}: not an address: {text!r}: it has no @ and domain")
    return address


def _no_mailbox(argument: str, given: object) -> TypeError:
    several = "" if argument == _ONE else "; several addresses are a list"
    return TypeError(
        f"{argument}: give 'bob@example.net', 'Bob <bob@example.net>' or "
        f"('Bob', 'bob@example.net'), not {_checks.shown(given)}{several}"
    )


def _name(argument: str, name: str) -> str:
    return line(f"{argument}'s display name", name).strip()


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
