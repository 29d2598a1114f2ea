"""What hangs on whatever ends a call before it can say what became of a message."""

from __future__ import annotations

from smtpx.results import SendResult


def hang(interruption: BaseException, result: SendResult) -> None:
    """Hang a result on an interruption, as ``.result``, if nothing more exact hangs there."""
    if getattr(interruption, "result", None) is None:
        vars(interruption)["result"] = result
