"""What raises while a message is made, signed or sent: a fault of ours loses no mail."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx.delivery import AsyncDelivery, Delivery
from smtpx.errors import MarkRefused, SessionFull
from smtpx.outbox import AsyncOutbox, Outbox, Retries, State
from smtpx.testing import NameServer, Server
from tests.delivery.test_via import ZONE, options, to
from tests.faces.conftest import ASYNCHRONOUS, Runner, runner_of
from tests.outbox.judge import Judge
from tests.outbox.test_outbox import ENVELOPE, letter, rows, template

pytestmark = pytest.mark.timeout(60)

Drain = Callable[..., None]


@pytest.fixture(params=["blocking", *ASYNCHRONOUS])
def drain(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Drain]:
    """Sends all that is due by a client, or a delivery, with a signer; of each face."""
    url = f"sqlite:///{tmp_path}/mail.db"
    if request.param == "blocking":

        def blocking(*args: Any, kind: Any = smtpx.Client, **named: Any) -> None:
            with Outbox(url) as outbox, kind(*args, **named) as via:
                outbox.run(via, until_empty=True)

        yield blocking
        return
    runner: Runner | None = runner_of(request.param)
    assert runner is not None

    def asynchronous(*args: Any, kind: Any = smtpx.Client, **named: Any) -> None:
        twin = {smtpx.Client: smtpx.AsyncClient, Delivery: AsyncDelivery}[kind]

        async def main() -> None:
            async with AsyncOutbox(url) as outbox, twin(*args, **named) as via:
                await outbox.run(via, until_empty=True)

        runner.run(main)

    yield asynchronous
    runner.close()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(f"sqlite:///{tmp_path}/mail.db", retries=Retries(first=0.05)) as opened:
        yield opened


def raising(error: BaseException) -> Callable[[bytes], bytes]:
    def signer(content: bytes) -> bytes:
        raise error

    return signer


def mute(content: bytes) -> Any:
    return None


OURS = [
    FileNotFoundError(2, "No such file", "dkim.pem"),
    RuntimeError("the HSM is away"),
    StopIteration(),
    MemoryError(),
    smtpx.ConnectionLost("the HSM is away", phase="other"),
    smtpx.ExtraMissing("dkim", "dkimpy"),
    SessionFull("another session can"),
    MarkRefused("no"),
]


@pytest.mark.parametrize("error", OURS, ids=lambda error: type(error).__name__)
def test_a_signer_that_does_not_work_keeps_its_mail_waiting(
    drain: Drain, outbox: Outbox, judge: Judge, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "smtpx.outbox")
    ids = [outbox.put(letter(str(n))) for n in range(3)]
    drain(judge.url, signer=raising(error))
    for id in ids:
        (delivery,) = outbox.status(id).deliveries
        assert (delivery.state, delivery.attempts) == (State.WAITING, 1), delivery
        assert delivery.due is not None
        assert type(error).__name__ in delivery.reason or str(error) in delivery.reason
    assert list(outbox.events()) == []
    assert len([record for record in caplog.records if "our fault" in record.message]) == 1
    assert judge.taken == []
    assert [outbox.retry(id) for id in ids] == [1, 1, 1]
    drain(judge.url, signer=lambda content: content)
    assert outbox.counts()[State.ACCEPTED] == 3


def test_a_signer_that_returns_nothing_keeps_its_mail_waiting(
    drain: Drain, outbox: Outbox, judge: Judge
) -> None:
    id = outbox.put(letter())
    drain(judge.url, signer=mute)
    (delivery,) = outbox.status(id).deliveries
    assert delivery.state is State.WAITING
    assert "returns the content as bytes" in delivery.reason


@pytest.mark.parametrize("error", [smtpx.LocalProtocolError("two From"), smtpx.AddressError("x")])
def test_a_signer_may_refuse_a_message(
    drain: Drain, outbox: Outbox, judge: Judge, error: smtpx.SMTPError
) -> None:
    id = outbox.put(letter())
    drain(judge.url, signer=raising(error))
    (delivery,) = outbox.status(id).deliveries
    assert delivery.state is State.REFUSED
    assert str(error) in delivery.reason
    assert [event.state for event in outbox.events()] == [State.REFUSED]


def test_a_signer_that_fails_for_one_message_holds_up_no_other(
    drain: Drain, outbox: Outbox, judge: Judge
) -> None:
    def signer(content: bytes) -> bytes:
        if b"Subject: 3" in content:
            raise OSError("a fault of this one alone")
        return content

    ids = [outbox.put(letter(str(n))) for n in range(8)]
    drain(judge.url, signer=signer)
    states = [outbox.status(id).deliveries[0].state for id in ids]
    assert states == [State.WAITING if n == 3 else State.ACCEPTED for n in range(8)]


def test_a_signer_that_is_interrupted_ends_the_worker_and_loses_nothing(
    drain: Drain, outbox: Outbox, judge: Judge
) -> None:
    ids = [outbox.put(letter(str(n))) for n in range(3)]
    with pytest.raises((SystemExit, BaseExceptionGroup)):
        drain(judge.url, signer=raising(SystemExit(1)))
    drain(judge.url)
    assert all(outbox.status(id).deliveries[0].state is State.ACCEPTED for id in ids)


@pytest.mark.parametrize("kind", [smtpx.Client, smtpx.AsyncClient, Delivery, AsyncDelivery])
def test_an_async_signer_is_refused_where_it_is_given(kind: Any) -> None:
    async def signer(content: bytes) -> bytes:
        return content

    with pytest.raises(TypeError, match=r"^signer: give a function that is not async"):
        kind("mail.example.org", signer=signer)


@pytest.mark.parametrize("fails", [True, False])
def test_a_delivery_with_a_signer_that_raises(drain: Drain, outbox: Outbox, fails: bool) -> None:
    """No domain is held back for that."""
    error = OSError("away") if fails else smtpx.LocalProtocolError("two From")
    with Server() as server, NameServer(ZONE) as dns:
        given = options(dns, server)
        id = outbox.put(to("good.test"))
        drain(kind=Delivery, **given, signer=raising(error))
        (delivery,) = outbox.status(id).deliveries
        assert delivery.state is (State.WAITING if fails else State.REFUSED)
        assert str(error) in delivery.reason
        other = outbox.put(to("good.test"))
        drain(kind=Delivery, **given)
        assert outbox.status(other).deliveries[0].state is State.ACCEPTED


@pytest.mark.parametrize("connections", [1, 4])
def test_a_delivery_that_is_closed_meanwhile_loses_nothing(
    outbox: Outbox, connections: int
) -> None:
    seen: list[bytes] = []

    def signer(content: bytes) -> bytes:
        seen.append(content)
        if len(seen) == 3:
            via.close()
        return content

    ids = [outbox.put(to("good.test")) for _ in range(30)]
    with Server() as server, NameServer(ZONE) as dns:
        given = options(dns, server)
        via = Delivery(**given, signer=signer)
        with pytest.raises(smtpx.LocalProtocolError, match="the delivery is closed"):
            outbox.run(via, until_empty=True, connections=connections, window=1)
        with Delivery(**given) as again:
            outbox.run(again, until_empty=True)
        assert {outbox.status(id).deliveries[0].state for id in ids} == {State.ACCEPTED}
        assert len(server.messages) == 30


def test_a_template_that_cannot_be_rendered_here_waits(
    drain: Drain, outbox: Outbox, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = outbox.put_merge(template(), rows(2))
    for error, state in [
        (MemoryError(), State.WAITING),
        (RuntimeError("nobody has thought of that"), State.WAITING),
        (smtpx.ExtraMissing("merging", "something"), State.WAITING),
        (smtpx.LocalProtocolError("no such field"), State.REFUSED),
    ]:

        def render(*_: object, error: Exception = error) -> Any:
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(smtpx.Template, "render", render)
            drain(judge.url)
        assert {each.state for each in outbox.status(id).deliveries} == {state}, error
        assert outbox.retry(id) == 2
    drain(judge.url)
    assert {each.state for each in outbox.status(id).deliveries} == {State.ACCEPTED}


@pytest.mark.parametrize("what", ["directory", "mount", "file"])
def test_a_spool_that_is_out_of_reach_keeps_its_mail_waiting(
    tmp_path: Path, judge: Judge, what: str
) -> None:
    """A disk that is not mounted says nothing of the mail, nor does a file that is not there."""
    url, spool, elsewhere = f"sqlite:///{tmp_path}/mail.db", tmp_path / "spool", tmp_path / "else"
    large = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 20_000
    with Outbox(
        url, spool=spool, retries=Retries(first=0.01), bounces="postmaster@example.org"
    ) as outbox:
        id = outbox.put(large, ENVELOPE)
        (file,) = spool.iterdir()
        moved = file if what == "file" else spool
        moved.rename(elsewhere)
        if what == "mount":
            spool.mkdir()
        outbox.run(judge.url, until_empty=True)
        (delivery,) = outbox.status(id).deliveries
        assert delivery.state is State.WAITING
        assert delivery.reason.startswith(f"{file}: ")
        assert "mount its file system, or restore" in delivery.reason
        if what == "mount":
            spool.rmdir()
        elsewhere.rename(moved)
        outbox.retry(id)
        outbox.run(judge.url, until_empty=True)
        assert outbox.status(id).deliveries[0].state is State.ACCEPTED
        assert judge.count().total() == 1, "nobody was told that it is given up"


class Failing:
    """Something that should send, and raises."""

    def __init__(self, error: BaseException, *, late: bool) -> None:
        self.error, self.late = error, late

    def send_many(self, messages: Any, *, mark: Any, **_: Any) -> Iterator[Any]:
        if not self.late:
            raise self.error
        return self._send(messages, mark)

    def _send(self, messages: Any, mark: Any) -> Iterator[Any]:
        for message, _ in messages:
            (word,) = mark([message], [])
            assert word
            raise self.error
        yield from ()


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()], ids=repr)
def test_what_raises_in_the_place_of_sending_loses_nothing(
    outbox: Outbox, judge: Judge, error: BaseException, late: bool
) -> None:
    resent = [outbox.put(letter(str(n))) for n in range(3)]
    held = outbox.put(letter("held"), on_doubt="hold")
    with pytest.raises(type(error)):
        outbox.run(Failing(error, late=late), until_empty=True)
    counts = outbox.counts()
    assert (counts[State.WAITING], counts[State.SENDING]) == (4, 0)
    outbox.run(judge.url, until_empty=True)
    assert {outbox.status(id).deliveries[0].state for id in [*resent, held]} == {State.ACCEPTED}


def test_a_source_of_a_password_that_raises_loses_nothing(
    drain: Drain, outbox: Outbox, judge: Judge
) -> None:
    def source() -> str:
        raise OSError("the vault is away")

    id = outbox.put(letter())
    with Server(users={"ann": "secret"}) as server, pytest.raises(Exception, match="vault"):
        drain(server.url, credentials=smtpx.Credentials("ann", source))
    assert outbox.status(id).deliveries[0].state is State.WAITING
    drain(judge.url)
    assert outbox.status(id).deliveries[0].state is State.ACCEPTED
