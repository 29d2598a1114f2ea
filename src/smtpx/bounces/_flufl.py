"""What `flufl.bounce` finds in the forms that it knows and we do not: ``smtpx[bounces]``."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from email.message import Message
from functools import cache
from importlib import import_module
from typing import Any

from smtpx.bounces._fields import Fields
from smtpx.bounces._free import says_failure
from smtpx.bounces._parts import RETURNED, Part
from smtpx.bounces._reports import Action
from smtpx.bounces._texts import decoded

# Its patterns take time that grows faster than a line, and there are many of them.
_FIELDS = 100
_PARTS = 10
_TEXT = 16_384
_LINE = 200

# It logs a traceback where it stumbles: a stranger's mail writes nothing into the program's log.
_we_ask = ContextVar("_we_ask", default=False)


def found_by_flufl(header: Fields, parts: Sequence[Part]) -> dict[str, Action]:
    """The recipients, if it is installed, knows the form, and the message may be a report.

    It would find addresses in an answer that quotes a report.
    """
    if not says_failure(header):
        return {}
    try:
        flufl: Any = import_module("flufl.bounce")
    except ImportError:
        return {}
    _keep_its_log_back()
    asking = _we_ask.set(True)
    try:
        temporary, permanent = flufl.all_failures(_flat(header, parts))
    except Exception:  # It may stumble over what is malformed.
        return {}
    finally:
        _we_ask.reset(asking)
    return {
        address.decode("utf-8", "replace"): action
        for action, addresses in ((Action.DELAYED, temporary), (Action.FAILED, permanent))
        for address in sorted(addresses)
    }


@cache
def _keep_its_log_back() -> None:
    # Once: a signal in `getLogger` may leave a lock of logging's taken, up to Python 3.12.
    from logging import getLogger

    getLogger("flufl.bounce").addFilter(_is_asked_by_others)


def _is_asked_by_others(_: object) -> bool:
    return not _we_ask.get()


def _flat(header: Fields, parts: Sequence[Part]) -> Message:
    """The message as the `email` package holds it, without depth, and cut to bounds."""
    message = Message()
    for name, body in header.pairs[:_FIELDS]:
        if not name.lower().startswith("content-"):
            message[name] = body
    message["From"] = header.first("From") or ""  # It looks at the first one without asking.
    if len(parts) < 2:
        message.set_payload(_cut(parts[0]) if parts else "")
        return message
    message["Content-Type"] = (header.first("Content-Type") or "").partition(";")[0]
    message.set_payload([_leaf(part) for part in parts[:_PARTS]])
    return message


def _leaf(part: Part) -> Message:
    leaf = Message()
    leaf["Content-Type"] = part.type
    # What came back was written by somebody else.
    leaf.set_payload([Message()] if part.type.startswith("message/") else _cut(part))
    return leaf


def _cut(part: Part) -> str:
    if part.type in RETURNED:
        return ""
    return "\n".join(line[:_LINE] for line in decoded(part)[:_TEXT].split("\n"))
