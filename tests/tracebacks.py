"""Tracebacks as those services show them that report errors: with the variables."""

from __future__ import annotations

import traceback


def told_by(error: BaseException) -> str:
    """A traceback with variables, of smtpx's own frames."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    link: traceback.TracebackException | None = shown
    while link is not None:
        # What dataclasses have written for us has no file.
        own = [f for f in link.stack if "smtpx" in f.filename or f.filename == "<string>"]
        link.stack = traceback.StackSummary.from_list(own)
        link = link.__cause__ or link.__context__
    return "".join(shown.format())
