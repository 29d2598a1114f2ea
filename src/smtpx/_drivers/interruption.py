"""What is left to say when a call is interrupted: cancelled, or ended by Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterable

from smtpx._core.steps import BrokenOff, CallInterrupted, Steps
from smtpx.errors import LocalProtocolError
from smtpx.results import SendResult

# A procedure that lost its connection asks for very little more, such as the server's last words.
_STEPS = 16


def broken_off(error: OSError) -> BrokenOff:
    """What an error stands for once we have closed the connection; it knows what was written."""
    other = BrokenOff()
    vars(other).update(vars(error))
    return other


def under_way() -> LocalProtocolError:
    """What it is called when a call wants a connection that another call is using."""
    return LocalProtocolError(
        "another call is under way on this session: it is for one at a time (share a Client)"
    )


def abandon(procedure: Steps[object], interruption: BaseException) -> None:
    """End a procedure whose caller was interrupted; its connection is closed.

    If a message was being sent, what became of it hangs on the interruption as ``.result``, as it
    does on an `SMTPError`.
    """
    value = value_of_lost(procedure)
    if isinstance(value, SendResult):
        _let_go(value)
        vars(interruption)["result"] = value


def with_results(interruption: BaseException | None, results: Iterable[SendResult]) -> None:
    """Hang what the caller of `send_many` was not told on what interrupts it, as ``.results``."""
    untold = list(results)
    if interruption is not None and untold:
        for result in untold:
            _let_go(result)
        vars(interruption)["results"] = untold


def _let_go(result: SendResult) -> None:
    """Have a result keep no interruption.

    Else whoever keeps it would keep the frames of the call, and their sockets and places.
    """
    error: BaseException | None = result.error
    while error is not None:
        if not isinstance(error.__context__, Exception):
            error.__context__ = None
        error = error.__context__


def value_of_lost(procedure: Steps[object]) -> object:
    """What the procedure returns when nothing that it asks for is answered any more."""
    lost = CallInterrupted("the call was interrupted")
    try:
        for _ in range(_STEPS):
            _ = procedure.throw(lost)
    except StopIteration as stop:
        return stop.value
    except Exception:
        # It had ended, or its value is an error, which tells no more than the interruption does.
        return None
    procedure.close()
    return None
