"""What the server judges of a content a window at a time is what there is in the whole of it."""

from __future__ import annotations

import random

import pytest

from smtpx.testing import _content

PIECES = [b"\r", b"\n", b"\r\n", b".", b"\r\n.", b"\r\n..", b"x", b""]


@pytest.mark.parametrize("window", [1, 2, 3, 7, 1000])
def test_a_window_at_a_time(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_content, "_WINDOW", window)
    choose = random.Random(window)
    for _ in range(200):
        content = b"".join(choose.choices(PIECES, k=choose.randrange(12)))
        for wanted in (b"\r", b"\r\n", b"\r\n.", b"\r\n.."):
            assert _content._count(content, wanted) == content.count(wanted)
            assert _content._contains(content, wanted) is (wanted in content)
        plain = content.replace(b"\r\n.", b"\r\n")
        assert _content.unstuff(content) == (plain[1:] if plain.startswith(b".") else plain)
