"""Many messages over one session, pipelined across messages as far as the server allows.

With CHUNKING and PIPELINING, ``RSET MAIL RCPT… BDAT n LAST`` of a window of messages is in flight
at once. With PIPELINING alone, a message's content and the next one's command group go out
together. Otherwise messages go one after the other.

A message whose end was not written when the session ends is put back, for another session; one
that was written and not answered is in doubt. Each is accounted for exactly once.
"""

from __future__ import annotations

from smtpx._core.connection import Connection
from smtpx._core.failures import SESSION_OVER
from smtpx._core.housekeeping import quit_session
from smtpx._core.marking import MarkFailed
from smtpx._core.naming import name, naming
from smtpx._core.steps import Steps
from smtpx._core.streaming.by_bdat import Chunks
from smtpx._core.streaming.by_data import Contents
from smtpx._core.streaming.supply import (
    Budget,
    Drawing,
    Emit,
    Supply,
    Window,
    ask_for_more,
    send_alone,
)
from smtpx.errors import SMTPError


def stream(
    connection: Connection, supply: Supply, emit: Emit, window: Window, budget: Budget
) -> Steps[SMTPError | None]:
    """Send what the supply has, until it has no more, the budget is used, or the session is over.

    The value is why the session is over; ``None`` if it can go on.
    What becomes of each message is emitted as it is known. What was not sent when the session
    ended is put back into the supply.
    """
    extensions = connection.extensions
    emit = naming(connection, emit)
    drawing = Drawing(connection, supply, emit, budget)
    try:
        yield from connection.check_quiet()
        if not extensions.pipelining or connection.learnt.refuses_reset:
            yield from _one_by_one(connection, supply, emit, budget, drawing)
        elif extensions.chunking and not connection.lmtp:
            yield from Chunks(connection, supply, emit, window, budget, drawing).run()
            if connection.learnt.refuses_reset:
                yield from _one_by_one(connection, supply, emit, budget, drawing)
        else:
            yield from Contents(connection, supply, emit, budget, drawing).run()
        if drawing.full is not None:
            # It may name no more domains (RFC 9422 §4.3): what is left is for another.
            yield from quit_session(connection)
    except SESSION_OVER as error:
        name(connection, error)
        return error
    except MarkFailed as failed:
        raise failed.why from failed.why.__cause__
    return None


def _one_by_one(
    connection: Connection, supply: Supply, emit: Emit, budget: Budget, drawing: Drawing
) -> Steps[None]:
    try:
        while True:
            message = drawing.next()
            if message is not None:
                yield from send_alone(connection, supply, emit, budget, message)
            elif drawing.has_ended or not (yield from ask_for_more(connection, supply)):
                return
    except BaseException:
        drawing.give_back(())
        raise
