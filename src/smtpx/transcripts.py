"""A dialogue, recorded to be read, or to be played again by `smtpx.testing.Replay`."""

from __future__ import annotations

from os import PathLike

from smtpx import _checks
from smtpx.observing import Event, Line, Protected, SessionBegun, SessionClosed

__all__ = ["Transcript"]


class Transcript:
    """An observer that keeps what is said, secrets left out, one session after the other.

    ::

        transcript = smtpx.Transcript()
        with smtpx.Session("smtp://localhost", observer=transcript) as session:
            session.send(message)
        transcript.save("dialogue.smtp")

    `str()` is a script as `smtpx.testing` reads it. Content is not kept: a line stands for it, the
    final dot or BDAT. It grows as long as it is told something.
    """

    def __init__(self) -> None:
        self._sessions: dict[int, list[str]] = {}

    def __call__(self, event: Event) -> None:
        """Keep an event."""
        # A dictionary's own methods are safe in threads, and each session is in one at a time.
        entries = self._sessions.setdefault(event.session, [])
        if isinstance(event, Line):
            entries.append(f"{event.speaker.value}: {_escaped(event.text)}")
        elif isinstance(event, SessionClosed) and (event.is_broken or event.reply):
            entries += ["S: <close>", str(event)]
        elif isinstance(event, Protected | SessionBegun):
            entries.append(str(event))

    @property
    def sessions(self) -> tuple[str, ...]:
        """One script for each session, in the order in which they began."""
        return tuple("\n".join([*entries, ""]) for entries in self._sessions.values())

    @_checks.even_half_made
    def __repr__(self) -> str:
        told = tuple(self._sessions.values())
        lines = sum(len(entries) for entries in told)
        return f"<Transcript of {len(told)} session{'' if len(told) == 1 else 's'}, {lines} lines>"

    def __str__(self) -> str:
        return "\n".join(self.sessions)

    def save(self, path: str | PathLike[str]) -> None:
        """Write it to a file, UTF-8, line ends as they are on the wire's: one script.

        Raises:
            OSError: it cannot be written.
            TypeError: it is no path; a number would be any open file.
        """
        if not isinstance(path, (str, PathLike)):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("path", path, "the path of a file")
        with open(path, "w", encoding="utf-8", newline="\n") as file:  # noqa: PTH123 - no pathlib
            _ = file.write(str(self))


def _escaped(text: str) -> str:
    """A line's text as a script has it: backslashes doubled, what cannot be printed as octets."""
    text = text.replace("\\", "\\\\")
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if " " <= character <= "~"
        else "".join(f"\\x{octet:02x}" for octet in character.encode("utf-8", "replace"))
        for character in text
    )
