"""The dialogue as people read it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smtpx.observing import Line, Speaker


def test_a_line_names_its_speaker() -> None:
    assert str(Line(Speaker.CLIENT, "EHLO ann.test")) == "C: EHLO ann.test"
    assert str(Line(Speaker.SERVER, "250 grüß dich")) == "S: 250 grüß dich"


@given(st.text() | st.text("\r\n\x1b\x85\u2028\u202e\ud800é", max_size=5))
def test_shown_it_is_one_printable_line(text: str) -> None:
    shown = str(Line(Speaker.SERVER, text))
    assert shown.isprintable()
    assert shown.startswith("S: ")


def test_a_terminal_escape_is_shown_not_done() -> None:
    assert str(Line(Speaker.SERVER, "250 \x1b[2Jhi")) == r"S: 250 \x1b[2Jhi"
