"""trio's world: Ctrl-C takes nobody away in the middle of a wait."""

from __future__ import annotations

from typing import ClassVar

import pytest
import trio

from smtpx._drivers import trio_world


class Event:
    """Notes whether whoever waits is protected: a `trio.Event` keeps those who are torn away."""

    seen: ClassVar[list[bool]] = []

    def set(self) -> None:
        pass

    async def wait(self) -> None:
        self.seen.append(trio.lowlevel.currently_ki_protected())


def test_who_waits_is_interrupted_at_a_checkpoint_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing() -> None:
        pass

    async def main() -> None:
        assert not trio.lowlevel.currently_ki_protected()
        monkeypatch.setattr(trio, "Event", Event)
        _ = await trio_world.make_bell().wait()
        await trio_world.spawn(nothing, lambda _: None).ended()
        monkeypatch.undo()

    Event.seen.clear()
    trio.run(main)
    assert Event.seen == [True, True]
