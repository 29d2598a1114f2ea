"""What hangs on whatever ends a call before it can say what became of a message."""

from __future__ import annotations

from smtpx.results import SendResult


def hang(interruption: BaseException, result: SendResult) -> None:
    """Hang a result on an interruption, or on any error, as ``.result``.

    A note names those for whom the message is in doubt. What hangs there already is more exact.
    """
    if getattr(interruption, "result", None) is not None:
        return
    interruption.__dict__["result"] = result
    if result.in_doubt:
        names = ", ".join(str(outcome.recipient) for outcome in result.in_doubt)
        interruption.add_note(f"interrupted while the message was in doubt for {names}")
