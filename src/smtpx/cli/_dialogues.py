"""The dialogue with a server, as ``-v`` shows it and ``--transcript`` keeps it."""

from __future__ import annotations

import time
from pathlib import Path

import smtpx
from smtpx.cli._console import Console

__all__ = ["Dialogue"]


class Dialogue:
    """An observer that tells the dialogue while it goes on, secrets left out."""

    def __init__(self, console: Console, transcript: str | None = None) -> None:
        self._console = console
        self._begun = time.monotonic()
        self._path = None if transcript is None else Path(transcript)
        self._transcript = smtpx.Transcript()
        if self._path is not None:
            self._path.touch(mode=0o600)  # What cannot be written is said before anything is sent.

    def __call__(self, event: smtpx.Event) -> None:
        """Tell an event."""
        if self._path is not None:
            self._transcript(event)
        if not self._console.verbose:
            return
        stamp = ""
        if self._console.verbose > 1:
            stamp = f"{(time.monotonic() - self._begun) * 1000:8.1f} ms  "
        if isinstance(event, smtpx.Line):
            colour = "blue" if event.speaker is smtpx.Speaker.CLIENT else "dim"
            self._console.story(f"{stamp}{event}", colour)
        elif self._console.verbose > 1 or isinstance(event, smtpx.Protected):
            self._console.story(f"{stamp}{event}", "dim")

    def save(self) -> None:
        """Write the transcript, if one is wanted; what was sent was sent, be it written or not."""
        if self._path is None:
            return
        try:
            self._transcript.save(self._path)
        except OSError as error:
            self._console.problem(
                f"the transcript cannot be written: {self._path}: {error.strerror}"
            )
