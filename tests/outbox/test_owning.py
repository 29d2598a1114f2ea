"""Who owns what was claimed, where a signal strikes as that begins."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from smtpx.outbox import Outbox
from smtpx.outbox._owning import Owner

pytestmark = pytest.mark.timeout(60)


def test_a_worker_ends_that_was_interrupted_while_its_thread_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread is there by then, and cannot be waited for yet."""
    gate = threading.Event()
    with Outbox(f"sqlite:///{tmp_path}/mail.db") as outbox:
        owner = Owner(outbox._core.store, 5.0)
        thread = owner._pulse.thread

        def interrupted(*_: object) -> None:
            while thread.ident is None:
                time.sleep(0.001)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(thread, "_set_native_id", gate.wait)
            patch.setattr(thread._started, "wait", interrupted)  # type: ignore[attr-defined]
            with pytest.raises(KeyboardInterrupt):
                owner.begin()
            owner.end(None)
            gate.set()
        assert thread._started.wait(5)  # type: ignore[attr-defined]
        thread.join(5)
        assert not thread.is_alive()
