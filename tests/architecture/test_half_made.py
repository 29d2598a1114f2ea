"""What was refused is half made, and can be shown: tracebacks with variables show it."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Callable
from dataclasses import is_dataclass
from importlib import import_module
from typing import Any, cast

import pytest

import smtpx
from smtpx import sansio, sasl, smtplib, testing
from smtpx.bounces import DeliveryReport
from smtpx.integrations.logs import MailHandler
from smtpx.outbox import AsyncOutbox, Outbox

ROOMS = (
    *("", "bounces", "composing", "delivery", "findings", "observing", "outbox", "pooling"),
    *("sansio", "sasl", "services", "signing", "smtplib", "testing", "tls", "transcripts"),
    "integrations.logs",
)
MESSAGE = smtpx.compose(sender="ann@x.test", to="bob@y.test", text="hi")


def public_classes() -> list[type]:
    found: dict[type, None] = {}
    for room in ROOMS:
        module = import_module(f"smtpx.{room}".rstrip("."))
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) and value.__module__.startswith("smtpx"):
                found[value] = None
    return list(found)


def is_whole_at_once(kind: type) -> bool:
    """True where fields are set before anything of ours runs, or by `unittest`."""
    return "__dataclass_fields__" in vars(kind) or kind is testing.MailTestCase


def test_what_is_walked_is_all_that_matters() -> None:
    classes = public_classes()
    assert is_dataclass(DeliveryReport)
    assert is_whole_at_once(DeliveryReport)
    for kind in (smtpx.Client, smtpx.Session, smtpx.Envelope, smtpx.Template, smtpx.DKIMKey):
        assert kind in classes
        assert not is_whole_at_once(kind)
    for other in (testing.Server, Outbox, AsyncOutbox, sansio.Send, sasl.Plain, smtplib.SMTP):
        assert other in classes


@pytest.mark.parametrize("kind", public_classes(), ids=lambda kind: kind.__qualname__)
def test_the_repr_of_what_is_half_made_is_no_error(kind: Any) -> None:
    if is_whole_at_once(kind):
        return
    try:
        half = kind.__new__(kind)
    except TypeError:
        return  # It is made whole by `__new__`, as an enum's member is.
    assert repr(half)


REFUSED: dict[str, Callable[[], object]] = {
    "send": lambda: smtpx.send(MESSAGE, "smtp://h:bad"),
    "asend": lambda: asyncio.run(smtpx.asend(MESSAGE, "smtp://h:bad")),
    "Session": lambda: smtpx.Session("smtp://h:bad"),
    "AsyncSession": lambda: smtpx.AsyncSession("smtp://h:bad"),
    "Client": lambda: smtpx.Client("smtp://h:bad"),
    "AsyncClient": lambda: smtpx.AsyncClient("smtp://h:bad"),
    "Outbox": lambda: smtpx.Outbox("nosuch://x"),
    "Template": lambda: smtpx.Template(cast("Any", 3)),
    "Envelope": lambda: smtpx.Envelope("a", []),
    "Address": lambda: smtpx.Address("a", "b c"),
    "Recipient": lambda: smtpx.Recipient("x"),
    "TLSPolicy": lambda: smtpx.TLSPolicy(cast("Any", 3)),
    "DKIMKey": lambda: smtpx.DKIMKey("a", "b", b"c"),
    "Server": lambda: testing.Server(port=cast("Any", "x")),
    "MailHandler": lambda: MailHandler("h", "a", "b", "s", capacity=0),
}


@pytest.mark.parametrize("call", REFUSED)
def test_a_refusal_can_be_told_with_its_variables(call: str) -> None:
    with pytest.raises((ValueError, TypeError, smtpx.SMTPError)) as refused:
        _ = REFUSED[call]()
    told = traceback.TracebackException.from_exception(refused.value, capture_locals=True)
    assert str(refused.value) in "".join(told.format())
