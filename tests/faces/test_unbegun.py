"""What does something only as it is iterated over, and was not."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx.delivery import AsyncDelivery, Delivery

ENVELOPE = smtpx.Envelope("a@example.org", "b@example.net")
MESSAGE = (b"Subject: x\r\n\r\n", ENVELOPE)


def calls(tmp_path: Path) -> dict[str, Callable[[], Any]]:
    url = f"sqlite:///{(tmp_path / 'mail.db').as_posix()}"
    return {
        "Client.send_many()": lambda: smtpx.Client("smtp://localhost:1").send_many([MESSAGE]),
        "AsyncClient.send_many()": lambda: smtpx.AsyncClient("smtp://localhost:1").send_many(
            [MESSAGE]
        ),
        "Delivery.send_many()": lambda: Delivery("mail.example.org").send_many([MESSAGE]),
        "AsyncDelivery.send_many()": lambda: AsyncDelivery("mail.example.org").send_many([MESSAGE]),
        "Outbox.put_many()": lambda: put_many(url),
        "AsyncOutbox.put_many()": lambda: smtpx.AsyncOutbox(url).put_many([MESSAGE]),
    }


def put_many(url: str) -> Any:
    with smtpx.Outbox(url) as outbox:
        return outbox.put_many([MESSAGE])


def drop(call: Callable[[], Any]) -> None:
    _ = call()
    del _
    _ = gc.collect()


@pytest.mark.parametrize("name", calls(Path()))
def test_what_nobody_iterates_over_is_told(tmp_path: Path, name: str) -> None:
    call = calls(tmp_path)[name]
    with pytest.warns(RuntimeWarning, match=r"^.* was never iterated over: no") as told:
        drop(call)
    (warning,) = told
    assert str(warning.message).startswith(name)
    assert ("by async for" in str(warning.message)) is name.startswith("Async")
    assert warning.filename == __file__


@pytest.mark.parametrize("given", ["words", b"octets", 1, None])
def test_what_cannot_be_iterated_over_is_refused_by_the_call_itself(
    tmp_path: Path, given: Any
) -> None:
    url = f"sqlite:///{(tmp_path / 'mail.db').as_posix()}"
    with smtpx.Outbox(url) as outbox:
        for either in (outbox, smtpx.AsyncOutbox(url)):
            with pytest.raises(TypeError, match=r"^messages: give an iterable"):
                _ = either.put_many(given)
            with pytest.raises(ValueError, match=r"^priority"):
                _ = either.put_many([], priority=5000)


def test_what_was_begun_is_not_told_whether_it_came_to_its_end_or_not(tmp_path: Path) -> None:
    url = f"sqlite:///{(tmp_path / 'mail.db').as_posix()}"
    with warnings.catch_warnings(), smtpx.Outbox(url) as outbox:
        warnings.simplefilter("error")
        assert next(outbox.put_many([MESSAGE, MESSAGE]))
        assert list(outbox.put_many([])) == []
        assert sum(outbox.counts().values()) == 2
