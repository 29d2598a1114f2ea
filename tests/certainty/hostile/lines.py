"""What a session reads and writes, octet by octet, and the ways in which that breaks."""

from __future__ import annotations

import random
import selectors
import socket
import ssl
import threading
import time
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

from tests.certainty.hostile.shifts import Sent, excused
from tests.certainty.hostile.sockets import reset, shut

if TYPE_CHECKING:
    from tests.certainty.hostile.rounds import Round

STALL = 1.2
"""Seconds; more than clients wait where there are stalls."""
PATIENCE = 20.0
"""Seconds to wait for a command; no round takes so long."""

IDLE_WORDS = [
    b"421 4.4.2 idle for too long\r\n",
    b"451 4.4.2 Timeout waiting for data from client.\r\n",
    b"500 Idle timeout\r\n",
    b"421 4.4.2 tr",
    b"250 2.0.0 still here\r\n",
    b"221 2.0.0 bye\r\n",
    b"421 4.4.2 idle\r\n221 2.0.0 bye\r\n",
    b"",
]


class Over(Exception):
    """The session has ended."""


class Transaction:
    """From MAIL to the reply to the end of data."""

    def __init__(self, sender: str) -> None:
        self.sender = sender
        self.named: list[str] = []
        self.recipients: list[str] = []
        self.held = b""
        self.lied_to: set[str] = set()
        self.lied_to_all = False
        self.is_open = True

    def misled(self, recipients: list[str]) -> list[str]:
        """Those who were told that they are refused."""
        return [each for each in recipients if self.lied_to_all or each in self.lied_to]


class Lines:
    """One connection, in a thread of its own."""

    def __init__(
        self, round_: Round, plan: dict[str, Any], connected: socket.socket, number: int
    ) -> None:
        self.round = round_
        self.plan = plan
        self.number = number
        self.chance = random.Random(f"{self.plan['seed']} session {number}")
        self.socket = connected
        self.under_tls = False
        self.is_resting = False
        self.in_content = False
        self.messages = 0
        self.owed = 1
        """Replies that are due for what was read, the greeting first."""
        self.transaction: Transaction | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self._buffer = bytearray()
        self._read = 0
        self._cut_at: int | None = None
        if self.chance.random() < self.plan["cut"]:
            most = self.chance.choice((100, 2_000, 100_000, 600_000))
            self._cut_at = self.chance.randrange(most)
        self._idle_after = 0.0
        if self.chance.random() < self.plan["idle"]:
            self._idle_after = self.chance.choice((0.0005, 0.002, 0.01))
        # What is to go out: the reply, to what, whose, and whether it is due.
        self._out: list[tuple[bytes, str, Transaction | None, bool | None]] = []
        self._sent: list[Sent[Transaction]] = []
        self._writes = 0
        self._checkpoints: list[int] = []
        self._heard_after = False
        self._read_all = False
        self._settled: int | None = None
        self._unread: list[list[str]] = []
        self.has_parted = False
        """We have said 421, and go on."""
        self._goes_on_audibly = False
        self._kept_in_secret: list[str] = []

    def converse(self) -> None:
        raise NotImplementedError

    def _run(self) -> None:
        self.socket.settimeout(PATIENCE)
        try:
            self.converse()
        except Over:
            pass
        except (OSError, ValueError):
            pass  # The client is gone, or speaks no TLS.
        except Exception:
            self.round.note("broken", where=traceback.format_exc())
        finally:
            self._account()
            shut(self.socket)

    def _account(self) -> None:
        """Note which replies may have been missed, and whom a shift of the replies concerns."""
        for recipients in self._unread:
            self.round.note("unread", recipients=recipients)
        if self._kept_in_secret:
            self.round.note("lied", recipients=self._kept_in_secret)
        # What was still to be written, when the client had gone, is as late as can be.
        last = self._writes + 1
        unsent = [Sent(last, last, whose, due) for _, _, whose, due in self._out]
        for each in excused(
            (self._sent + unsent)[: self._settled],
            self._checkpoints,
            lone=self.plan["lone"],
            # What was on its way, and not read, counts as well.
            heard_after=self._heard_after or not self._read_all,
        ):
            self.round.note("shifted", sender=each.sender, recipients=each.named)

    def protect(self) -> None:
        assert self.round.context is not None
        self.socket = self.round.context.wrap_socket(self.socket, server_side=True)
        self.under_tls = True

    def show(self, who: str, text: str) -> None:
        self.round.transcript.append(f"{self.number} {who}: {text}")

    def pause(self, seconds: float) -> None:
        _ = self.round.hurry.wait(seconds)

    def draw(self, point: str) -> str | None:
        """What befalls this place of the dialogue; ``None`` for nothing."""
        faults = self.plan["faults"].get(point)
        if not faults or self.round.hurry.is_set() or self.chance.random() >= self.plan["rate"]:
            return None
        return str(self.chance.choice(faults))

    # Reading.

    def line(self) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > 1_000_000:
                raise Over
            self._fill()
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return line.rstrip(b"\r\n")

    def exactly(self, size: int) -> bytes:
        """A chunk."""
        self._begin_content()
        while len(self._buffer) < size:
            self._fill_content()
        octets = bytes(self._buffer[:size])
        del self._buffer[:size]
        self.in_content = False
        return octets

    def until_dot(self) -> bytes:
        """The content after DATA, without transparency."""
        self._begin_content()
        content = bytearray(b"\r\n")
        end = -1
        while end < 0:
            if not self._buffer:
                self._fill_content()
            # Only where something may have been completed is it looked for again.
            searched = max(0, len(content) - 4)
            content += self._buffer
            self._buffer.clear()
            end = content.find(b"\r\n.\r\n", searched)
        self._buffer += content[end + 5 :]
        self.in_content = False
        return bytes(content[: end + 2]).replace(b"\r\n.", b"\r\n")[2:]

    def _fill(self) -> None:
        """Read more; before we wait, if not before, what was answered goes out."""
        if self._cut_at is not None and self._read >= self._cut_at:
            self.show("S", f"(after {self._read} octets)")
            self.leave()
        if not self.plan["lazy"] or not self._is_readable(0):
            self.flush()
        most = self.plan["read_size"]
        if self._cut_at is not None:
            most = min(most, self._cut_at - self._read)
        if self.plan["read_pause"] and self.in_content and not self.round.hurry.is_set():
            time.sleep(self.plan["read_pause"])
        octets = self._receive(most)
        if not octets:
            self._read_all = True
            self.show("C", "(end)")
            raise Over
        # QUIT comes from who waits for nothing more.
        self._heard_after = not octets.upper().startswith(b"QUIT")
        self._read += len(octets)
        self._buffer += octets

    def _receive(self, most: int) -> bytes:
        resting = self.transaction is None and not self._buffer and self.messages > 0
        if resting and (self.plan["idle_on_call"] or self._idle_after):
            self._rest()
        return self.socket.recv(most)

    def _rest(self) -> None:
        """Wait for the next command, but not for ever."""
        waits = 0
        with self.round.resting:
            calls = self.round.idle_calls
            self.is_resting = True
        while not self._is_readable(self._idle_after or 0.002):
            waits += 1
            if self._idle_after or self.round.idle_calls > calls or waits > 10_000:
                words = self.chance.choice(IDLE_WORDS)
                self.show("S", f"{words!r}, being idle")
                self.socket.sendall(words)
                self.leave()
        self.is_resting = False

    def _is_readable(self, seconds: float) -> bool:
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return True
        with selectors.DefaultSelector() as selector:
            _ = selector.register(self.socket, selectors.EVENT_READ)
            return bool(selector.select(seconds))

    def _begin_content(self) -> None:
        self.in_content = True
        self._fate = self.draw("content")
        self._fate_at = self.chance.choice((1, 1, 2, 5))

    def _fill_content(self) -> None:
        self._fill()
        self._fate_at -= 1
        if self._fate_at != 0:
            return
        match self._fate:
            case "no" | "421":
                code = 421 if self._fate == "421" else self.chance.choice((451, 452, 552, 554))
                self.say(b"%d 5.3.4 not this one\r\n" % code, "content")
                self.flush()
                self.leave()
            case "close" | "reset":
                self.leave()
            case "stall":
                self.pause(STALL)
            case "late":
                self.pause_a_little()

    # Writing.

    def say(self, reply: bytes, point: str, *, due: bool = True) -> None:
        """Answer; it goes out with what follows, or when there is nothing more to read."""
        self.owed -= due
        self._out.append((reply, point, self.transaction, due))
        self.show("S", f"{reply!r}" + ("" if due else ", unasked"))

    def leave_out(self, reply: bytes) -> None:
        """Say nothing where a reply is due."""
        self.owed -= 1
        self._out.append((b"", "", self.transaction, None))
        self.show("S", f"({reply!r} left out)")

    def piecemeal(self, reply: bytes, point: str) -> None:
        """Write a reply in pieces."""
        self.flush()
        first, rest = self._writes + 1, reply
        while rest:
            size = self.chance.choice((1, 2, 5, 20))
            self._write(rest[:size])
            rest = rest[size:]
            self.pause(self.chance.random() * 0.002)
        self.owed -= 1
        self._note_going_on(reply)
        self._sent.append(Sent(first, self._writes, self.transaction, True))
        self._check_point(point)
        self.show("S", f"{reply!r}, in pieces")

    def flush(self) -> None:
        if not self._out:
            return
        octets = b"".join(reply for reply, *_ in self._out)
        if octets:
            self._write(octets)
        for reply, _, whose, due in self._out:
            self._note_going_on(reply)
            self._sent.append(Sent(self._writes, self._writes, whose, due))
        point = self._out[-1][1]
        if len(self._out) > 1:
            self.show("S", f"({len(self._out)} replies in one write)")
        self._out.clear()
        self._check_point(point)
        if self.plan["splits"] and self.chance.random() < 0.2:
            self.pause(0.001)

    def _note_going_on(self, reply: bytes) -> None:
        """A client that hears a yes after a 421 knows that the 421 was not meant."""
        if self.has_parted and reply.startswith((b"2", b"3")):
            self._goes_on_audibly = True
            self._kept_in_secret.clear()

    def pause_a_little(self) -> None:
        self.pause(self.chance.random() * 0.015)

    def kept_for(self, recipients: list[str]) -> None:
        """Note that the reply that says so may be missed."""
        self._unread.append(recipients)
        if self.has_parted and not self._goes_on_audibly:
            self._kept_in_secret += recipients

    def settle(self) -> None:
        """Note that the client waits for nothing more: it has read every reply."""
        self._unread.clear()
        self._read_all = True
        self._settled = len(self._sent) + len(self._out)

    def _write(self, octets: bytes) -> None:
        self._writes += 1
        if self._settled is None:
            self._heard_after = False
        self.socket.sendall(octets)

    def _check_point(self, point: str) -> None:
        """Note where a client that waits for the end of each transaction awaits nothing more."""
        pipelined = "PIPELINING" in self.plan["extensions"]
        if "PIPELINING" in self.plan["ignored"]:
            pipelined = False
        in_step = not pipelined or point in ("data", "final")
        if in_step and not (self.owed or self._buffer or self.in_content):
            self._checkpoints.append(len(self._sent))

    # Ending.

    def part(self) -> NoReturn:
        """End so that everything that was said arrives: a reset would overtake it."""
        self.flush()
        self.show("S", "(closes, and reads what is left)")
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
            self.socket.settimeout(2)
            while self.socket.recv(65536):
                pass
        raise Over

    def leave(self) -> NoReturn:
        """End in one rude way or the other."""
        if self._out and self.chance.random() < 0.5:
            with suppress(OSError):
                self.flush()
        if self._out:
            self.show("S", f"({len(self._out)} replies unsent)")
        how = self.chance.choice(("reset", "close", "half"))
        self.show("S", f"({how})")
        if how == "reset":
            reset(self.socket)
        elif how == "half":
            with suppress(OSError, ValueError):
                if self.under_tls and self.chance.random() < 0.5:
                    self._say_goodbye_by_tls()
                self.socket.shutdown(socket.SHUT_WR)
                self.pause(0.02)
        raise Over

    def _say_goodbye_by_tls(self) -> None:
        self.socket.settimeout(0.05)
        with suppress(OSError, ValueError):
            self.socket = self.socket.unwrap()  # type: ignore[attr-defined] # it is an SSLSocket
