"""A template with its rows, put in some hundred rows at a time; a call that broke off goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from smtpx._headers import header_section
from smtpx.envelope import Envelope
from smtpx.errors import SMTPError
from smtpx.merging import Template

from . import _putting
from ._preparing import Prepared, Receiver, fingerprint, new_id, new_message_id
from ._putting import MergeRow, Terms, chained
from ._store import Store
from .states import IdempotencyConflict

__all__ = ["merge"]


def merge(
    store: Store,
    template: Template,
    rows: Iterator[Mapping[str, Any]],
    terms: Terms,
    size: int,
    wake: Callable[[Sequence[str]], None],
) -> str:
    """Put a template and its rows in, so many at a time; return the id."""
    id, before, known = store.transact(_putting.put_template, _prepared(template), terms)
    chain = _passed_over(rows, before, known, terms.campaign)
    while several := list(islice(rows, size)):
        added = [_row(template, row, before + place) for place, row in enumerate(several)]
        for row in added:
            chain = chained(chain, row.data)
        terms = terms._replace(now=store.now())
        batch = new_id()
        store.transact(_putting.put_rows, id, added, before, chain, terms, batch)
        wake([batch])
        before += len(added)
    return id


def _prepared(template: Template) -> Prepared:
    source = template.source
    sender = template.sender
    # Of whom and to whom stands in the template; what has to be told apart is its text.
    anybody = Envelope(None, "postmaster")
    text = fingerprint(source, len(header_section(source)), anybody)
    return Prepared(
        id=new_id(),
        key=None,
        fingerprint=hashlib.sha256(text + repr(sender).encode()).digest(),
        sender="",
        options=json.dumps({"sender": sender}),
        stamps=b"",
        message_id="",
        octets=source,
        digest=hashlib.sha256(source).digest(),
        receivers=(),
    )


def _passed_over(
    rows: Iterator[Mapping[str, Any]], before: int, known: bytes, campaign: str
) -> bytes:
    """Read the rows that are in the ledger already; the value is their chain."""
    chain = b""
    for row in islice(rows, before):
        chain = chained(chain, row)
    if chain != known:
        raise IdempotencyConflict(
            f"campaign {campaign!r} was begun with other rows, or in another order: give the same "
            f"{before} rows first, or another name"
        )
    return chain


def _row(template: Template, row: object, place: int) -> MergeRow:
    try:
        if not isinstance(row, Mapping):
            raise TypeError(f"give a dict, not {type(row).__name__}")
        data: dict[Any, Any] = dict(row)  # pyright: ignore[reportUnknownArgumentType] - of whatever kind
        if wrong := [name for name in data if not isinstance(name, str)]:
            raise TypeError(f"the name of a field is {wrong[0]!r}: give str")
        if marked_up := [name for name, value in data.items() if hasattr(value, "__html__")]:
            raise TypeError(
                f"field {marked_up[0]!r} is markup, and only text can be kept: give str"
            )
        _ = json.dumps(data, ensure_ascii=False).encode()
        _, envelope = template.render(data)
    except SMTPError as error:
        error.args = (f"row {place}: {error}", *error.args[1:])
        raise
    except UnicodeEncodeError as error:
        raise ValueError(
            f"rows: row {place}: give text without halves of surrogate pairs"
        ) from error
    except (TypeError, ValueError) as error:
        raise type(error)(f"rows: row {place}: {error}") from error
    recipient = envelope.recipients[0].address
    sender = "" if envelope.sender is None else str(envelope.sender)
    receiver = Receiver(str(recipient), None, recipient.domain.lower())
    return MergeRow(receiver, new_message_id(sender), data)
