"""The envelope of a message: who sends it, who gets it, what is asked of the servers on its way.

RFC 5321 §2.3.1. The options: RFC 3461 (DSN), 8689 (REQUIRETLS), 2852 (DELIVERBY), 4865
(FUTURERELEASE), 6710 (MT-PRIORITY), 7293 (RRVS), 4954 (AUTH), 6152 and 3030 (BODY).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, cast

from smtpx import _checks
from smtpx._asked import BodyType, DeliverBy, Notify, Ret
from smtpx._loading import loading
from smtpx._message.messages import is_message
from smtpx._values import Value, becomes, draft_of, field, replaced
from smtpx.addresses import Address, are_usual
from smtpx.errors import AddressError, LocalProtocolError

if TYPE_CHECKING:
    from datetime import datetime

    from smtpx._envelope_options import EnvelopeOptions
    from smtpx._message.messages import AnyMessage

    class _Changes(EnvelopeOptions, total=False):
        sender: str | Address | None
        recipients: str | Address | Recipient | Iterable[str | Address | Recipient]


__all__ = ["BodyType", "DeliverBy", "Envelope", "Notify", "Recipient", "Ret"]

T = TypeVar("T")

# A repr shows so many recipients: there may be thousands.
_SHOWN = 20
_ADDRESSES = ("address", "sender", "recipients")
_ORCPT_TYPE = r"[A-Za-z0-9\-]+;"


class Recipient(Value):
    """One recipient, with what is asked for it alone.

    Raises:
        AddressError: the address, or that of `orcpt`, is none.
        LocalProtocolError: an option is out of its range, or cannot be written.
        TypeError: a field is of another kind.
    """

    address: Address
    notify: Notify | None
    orcpt: str | None
    """Whom it was first sent to: an address, or ``type;value`` (RFC 3461 §4.2)."""
    unchanged_since: datetime | None
    """Deliver only if the mailbox has had one owner since (RRVS, RFC 7293); an aware datetime."""

    def __init__(
        self,
        address: str | Address,
        *,
        notify: Notify | None = None,
        orcpt: str | None = None,
        unchanged_since: datetime | None = None,
    ) -> None:
        if isinstance(address, str):
            address = Address.parse(address)
        elif not isinstance(address, Address):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("recipient", address, "a str or a smtpx.Address")
        if not (notify is None and orcpt is None and unchanged_since is None):
            _checks.instance("notify", notify, Notify, or_none=True)
            _check_original(orcpt)
            _check_moment("unchanged_since", unchanged_since)
        draft: Any = self
        becomes(draft, _RecipientDraft)
        draft.address, draft.notify, draft.orcpt = address, notify, orcpt
        draft.unchanged_since = unchanged_since
        draft.__class__ = Recipient

    @classmethod
    def _plain(cls, address: Address) -> Recipient:
        """One without options, as nearly every one is."""
        draft = _RecipientDraft()
        draft.address = address
        draft.notify = draft.orcpt = draft.unchanged_since = None
        draft.__class__ = cls
        return draft  # type: ignore[no-any-return]

    @property
    def has_options(self) -> bool:
        """True if RCPT carries more than the address."""
        return not (self.notify is None and self.orcpt is None and self.unchanged_since is None)

    def __str__(self) -> str:
        return str(self.address)

    @_checks.even_half_made
    def __repr__(self) -> str:
        return f"Recipient({', '.join([repr(str(self)), *_options_of(self)])})"


class Envelope(Value):
    """Sender, recipients and the options of one message."""

    sender: Address | None
    """The reverse-path; ``None`` is the null reverse-path of a report (RFC 5321 §4.5.5)."""
    recipients: tuple[Recipient, ...]
    body: BodyType | None
    """``None``: what the content turns out to be."""
    ret: Ret | None
    envid: str | None
    """Comes back in every report about this message (RFC 3461 §4.4).

    At most 100 characters of printable ASCII, where a plus, an equals sign and a space count as
    three.
    """
    auth: str | None
    """Who submitted the message, as far as the sending server vouches for it; ``<>`` = unknown."""
    require_tls: bool
    deliver_by: DeliverBy | None
    hold: int | datetime | None
    """Hold it for so many seconds, or until an aware datetime (FUTURERELEASE)."""
    priority: int | None
    """-9 to 9 (MT-PRIORITY)."""
    drop_unsupported: bool
    """Leave out what the server does not offer, instead of refusing to send."""
    is_plain: bool = field(init=False, repr=False, compare=False)
    """True if neither it nor a recipient has options; the addresses and the content say all."""
    needs_smtputf8: bool = field(init=False, repr=False, compare=False)
    """True if an address needs SMTPUTF8 (RFC 6531 §3.3)."""
    _is_bare: bool = field(init=False, repr=False, compare=False)
    """True if nothing but the content can ask for a parameter of MAIL or RCPT."""
    _spelt: list[str] = field(init=False, repr=False, compare=False)
    """The addresses of the recipients, as they go on the wire."""
    _paths: tuple[str, str] | None = field(init=False, repr=False, compare=False)
    """Sender and recipients in command lines, once that was asked for: it is often sent again."""

    def __init__(
        self,
        sender: str | Address | None,
        recipients: str | Address | Recipient | Iterable[str | Address | Recipient],
        *,
        body: BodyType | None = None,
        ret: Ret | None = None,
        envid: str | None = None,
        auth: str | None = None,
        require_tls: bool = False,
        deliver_by: DeliverBy | None = None,
        hold: int | datetime | None = None,
        priority: int | None = None,
        drop_unsupported: bool = False,
    ) -> None:
        """Take addresses as strings or values; a sender of ``None``, ``""`` or ``"<>"`` is null.

        Raises:
            AddressError: one of them is not an address.
            LocalProtocolError: there is no recipient, or an option is out of its range.
            TypeError: one of them is of another kind.
        """
        spelt: Any = [*recipients] if type(recipients) is list else _listed(recipients)
        if not spelt:
            raise LocalProtocolError("an envelope needs at least one recipient")
        everyone, plain, utf8 = None, True, False
        if not are_usual(spelt):
            everyone = _recipients_of(spelt)
            spelt = [recipient.address._text for recipient in everyone]
            for recipient in everyone:
                plain = plain and not recipient.has_options
                utf8 = utf8 or recipient.address.needs_smtputf8
        if isinstance(sender, str):
            sender = _sender_of(sender)
        elif sender is not None and not isinstance(sender, Address):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("sender", sender, "a str, a smtpx.Address or None")
        # Of many envelopes, few have options: all the others pay for one look.
        if (
            ret is not None
            or envid is not None
            or auth is not None
            or require_tls is not False
            or deliver_by is not None
            or hold is not None
            or priority is not None
        ):
            plain = False
        if not (plain and body is None and drop_unsupported is False):
            _checks.instance("body", body, BodyType, or_none=True)
            _checks.instance("ret", ret, Ret, or_none=True)
            _check_envid(envid)
            _check_identity(auth)
            _checks.flag("require_tls", require_tls)
            _checks.instance("deliver_by", deliver_by, DeliverBy, or_none=True)
            _check_hold(hold)
            _check_priority(priority)
            _checks.flag("drop_unsupported", drop_unsupported)
        draft: Any = self
        becomes(draft, _EnvelopeDraft)
        draft.sender, draft.recipients, draft.body = sender, everyone, body
        draft.ret, draft.envid, draft.auth = ret, envid, auth
        draft.require_tls, draft.deliver_by = require_tls, deliver_by
        draft.hold, draft.priority, draft.drop_unsupported = hold, priority, drop_unsupported
        utf8 = utf8 or (sender is not None and sender.needs_smtputf8)
        draft.is_plain, draft.needs_smtputf8 = plain, utf8
        draft._is_bare = plain and body is None and not utf8
        draft._spelt, draft._paths = spelt, None
        draft.__class__ = Envelope

    @_checks.even_half_made
    def __repr__(self) -> str:
        sender = None if self.sender is None else str(self.sender)
        few = self.recipients[:_SHOWN]
        shown = [repr(each if each.has_options else str(each)) for each in few]
        if len(self.recipients) > _SHOWN:
            shown.append(f"… {len(self.recipients) - _SHOWN} more")
        said = [repr(sender), f"[{', '.join(shown)}]", *_options_of(self)]
        return f"Envelope({', '.join(said)})"

    @classmethod
    def from_message(
        cls,
        message: AnyMessage,
        *,
        sender: str | Address | None = None,
        notify: Notify | Mapping[str, Notify] | None = None,
        orcpt: bool | Mapping[str, str] = False,
        **options: Unpack[EnvelopeOptions],
    ) -> Self:
        """Take sender and recipients from the header of a message, which stays as it is.

        The sender is Sender, else the first of From, unless another is given: ``"<>"`` is the
        null one. The recipients are To, Cc and Bcc, members of groups too, each once: a domain is
        the same in capitals. Bcc is not sent. A message that was resent has its Resent- fields
        instead (RFC 5322 §3.6.6). Any of Resent-Date, -From, -Sender, -To, -Cc and -Bcc makes it
        one.

        `notify` is for every recipient, or by address for some. `orcpt` states to every one its
        own address as the original one, or by address what it is.

        Raises:
            LocalProtocolError: a field that is needed is missing or cannot be read, there are
                several Resent- blocks, or an option is wrong or for nobody.
            AddressError: an address cannot be sent to.
            TypeError: it is no message of the `email` package, or an option is of another kind.
        """
        with loading("the header of a message"):
            from smtpx._message.correspondents import recipients_of, sender_of

        if not is_message(message):
            raise _checks.complaint("message", message, "an EmailMessage")
        if notify is not None:
            _check_wishes("notify", notify, Notify)
        if orcpt is not False:
            _check_wishes("orcpt", orcpt, bool)
        if sender is None:
            sender = sender_of(message)
        everyone = map(Address.parse, recipients_of(message))
        first: dict[tuple[str, str], Address] = {}
        addresses = [each for each in everyone if first.setdefault(_mailbox(each), each) is each]
        if notify is None and not orcpt:
            return cls(sender, addresses, **options)
        wishes = _by_address("notify", notify, addresses)
        if isinstance(orcpt, bool):
            originals = {each: str(each) for each in addresses} if orcpt else {}
        else:
            originals = _by_address("orcpt", orcpt, addresses)
        recipients = [
            Recipient(each, notify=wishes.get(each), orcpt=originals.get(each))
            for each in addresses
        ]
        return cls(sender, recipients, **options)

    def replace(self, **changes: Unpack[_Changes]) -> Envelope:
        """The same but for some of its fields."""
        return replaced(self, **changes)

    @property
    def has_options(self) -> bool:
        """True if MAIL carries more than what the content and the addresses ask for."""
        return (
            self.require_tls
            or self.ret is not None
            or self.envid is not None
            or self.auth is not None
            or self.deliver_by is not None
            or self.hold is not None
            or self.priority is not None
        )


def _options_of(value: Value) -> list[str]:
    """What it says besides addresses, as it is given."""
    said = (
        (name, getattr(value, name)) for name, field in type(value).__fields__.items() if field.repr
    )
    return [
        f"{name}={option!r}"
        for name, option in said
        if not (option is None or option is False or name in _ADDRESSES)
    ]


@lru_cache(maxsize=64)
def _sender_of(text: str) -> Address | None:
    """The sender, or the null one: most programs send for few, and again and again."""
    return None if text in ("", "<>") else Address.parse(text)


class _Recipients:
    """The field `Envelope.recipients`: made of usual addresses when somebody looks at it.

    Of an envelope whose message is accepted nobody does, mostly, and there may be a million.
    """

    def __get__(self, envelope: Envelope | None, kind: type[Envelope]) -> Any:
        if envelope is None:
            return self
        held: tuple[Recipient, ...] | None = _held.__get__(envelope)
        if held is None:
            held = _recipients_of(envelope._spelt)
            _held.__set__(envelope, held)
        return held

    def __set__(self, envelope: Envelope, recipients: tuple[Recipient, ...]) -> None:
        _held.__set__(envelope, recipients)  # By `Value` alone, which keeps all others from it.


def _listed(given: object) -> list[Any]:
    """What is given as recipients: one, or any number of them."""
    if isinstance(given, (str, bytes, Address, Recipient)):
        return [given]
    # Of a dict the keys are meant, as of what `smtplib` says was refused.
    is_one = _checks.is_one(given) and not isinstance(given, Mapping)
    if is_one or not isinstance(given, Iterable):
        raise _checks.complaint("recipients", given, "an address or a list of addresses")  # pyright: ignore[reportUnknownArgumentType]
    several: Iterable[Any] = given  # pyright: ignore[reportUnknownVariableType]
    return [*several]


def _recipients_of(given: Sequence[str | Address | Recipient]) -> tuple[Recipient, ...]:
    recipients: list[Recipient] = []
    for each in given:
        if isinstance(each, str):
            each = Recipient._plain(Address.parse(each))
        elif isinstance(each, Address):
            each = Recipient._plain(each)
        elif not isinstance(each, Recipient):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            each = Recipient(each)
        recipients.append(each)
    return tuple(recipients)


_RecipientDraft, _EnvelopeDraft = draft_of(Recipient), draft_of(Envelope)
keep_paths: Callable[[Envelope, tuple[str, str]], None] = vars(Envelope)["_paths"].__set__
"""Keeps what was asked for: to set it by `object.__setattr__` takes five times as long."""
_held: Any = vars(Envelope)["recipients"]  # ``None`` until somebody looks, if all are usual
type.__setattr__(Envelope, "recipients", _Recipients())


def _check_moment(name: str, moment: object) -> None:
    if moment is None:
        return
    from datetime import datetime

    if not isinstance(moment, datetime):
        raise _checks.complaint(name, moment, "a datetime with a time zone or None")
    if moment.utcoffset() is None:
        raise LocalProtocolError(f"{name} needs a datetime with a time zone, e.g. datetime.UTC")


def _check_envid(envid: str | None) -> None:
    _checks.text("envid", envid, or_none=True)
    if envid is None:
        return
    if not (envid.isascii() and envid.isprintable()):
        raise LocalProtocolError(f"envid={envid!r} has characters other than printable ASCII")
    if not 0 < _xtext_length(envid) <= 100:
        raise LocalProtocolError(
            "envid takes 1 to 100 characters; +, = and spaces count as three (RFC 3461 §4.4)"
        )


def _xtext_length(text: str) -> int:
    # RFC 3461 §4: what is no xchar becomes +XX.
    return len(text) + 2 * sum(map(text.count, "+= "))


def _check_identity(auth: str | None) -> None:
    _checks.text("auth", auth, or_none=True)
    if auth is None or auth == "<>":
        return
    try:
        address = Address.parse(auth, bare_local_part=True)
    except AddressError as error:
        raise AddressError(f"auth: {error}; for unknown give '<>'") from error
    if address.needs_smtputf8:
        raise LocalProtocolError(f"auth={auth!r} must be ASCII (RFC 4954 §5)")


def _check_original(orcpt: str | None) -> None:
    _checks.text("orcpt", orcpt, or_none=True)
    if orcpt is None:
        return
    kind = re.match(_ORCPT_TYPE, orcpt)
    if kind is None:
        try:
            _ = Address.parse(orcpt)
        except AddressError as error:
            raise AddressError(f"orcpt: {error}") from error
    elif not orcpt.isprintable():
        raise LocalProtocolError(f"orcpt={orcpt!r} has a control character")
    elif kind[0].lower() != "utf-8;" and not orcpt.isascii():
        raise LocalProtocolError(f"orcpt={orcpt!r} is not ASCII: only of type utf-8 it can be so")
    elif _xtext_length(orcpt) > 500:
        raise LocalProtocolError("orcpt is longer than 500 octets (RFC 3461 §4.2)")


def _check_hold(hold: int | datetime | None) -> None:
    if isinstance(hold, bool) or not (
        hold is None or isinstance(hold, int) or hasattr(hold, "utcoffset")
    ):
        raise _checks.complaint("hold", hold, "seconds as an int, a datetime or None")
    if not isinstance(hold, int):
        _check_moment("hold", hold)
    elif not 0 < hold <= 999999999:
        raise LocalProtocolError("hold takes 1 to 999999999 seconds (RFC 4865 §4)")


def _check_priority(priority: int | None) -> None:
    try:
        _checks.count("priority", priority, -9, 9, or_none=True)
    except ValueError as error:
        raise LocalProtocolError(f"{error} (RFC 6710 §5)") from None


def _check_wishes(name: str, wished: object, kind: type) -> None:
    """What is for every recipient, or by address for some."""
    if not isinstance(wished, (kind, Mapping)):
        raise _checks.complaint(name, wished, f"a {kind.__name__} or a dict by address")


def _by_address(
    name: str, wished: T | Mapping[str, T] | None, addresses: list[Address]
) -> dict[Address, T]:
    """What an option says to each address: the same to all, or by address."""
    if wished is None:
        return {}
    if not isinstance(wished, Mapping):
        return dict.fromkeys(addresses, wished)
    by_address = cast("Mapping[str, T]", wished)
    known = {_mailbox(address): address for address in addresses}
    said: dict[Address, T] = {}
    for spelt, wish in by_address.items():
        recipient = known.get(_mailbox(Address.parse(spelt)))
        if recipient is None:
            raise LocalProtocolError(f"{name} is given for {spelt}, who is no recipient")
        said[recipient] = wish
    return said


def _mailbox(address: Address) -> tuple[str, str]:
    """What tells two mailboxes apart: a domain is the same in capitals (RFC 5321 §2.4)."""
    return address.local_part, address.domain.lower()
