"""One connection of the embedded server: protocol, faults, TLS, and an asyncio transport."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from functools import partial
from typing import assert_never, cast

from smtpx.observing import Speaker

from ._bounds import Watch
from ._fault_plan import FaultPlan
from ._outlet import Outlet
from ._reader import Command
from ._records import Said, SessionRecord, Shared
from ._replies import format_reply
from ._tls import TLSChannel
from .faults import (
    AUTH_RESPONSE,
    END_OF_DATA,
    GREETING,
    TLS_HANDSHAKE,
    AppendToReply,
    Close,
    CommandFault,
    CutContent,
    CutInput,
    Ending,
    Endless,
    Refuse,
    ReplaceReply,
    ReplyFault,
    Reset,
    Shutdown,
    Stall,
    TruncateReply,
)
from .server_protocol import Answer, ServerProtocol, Then

_FLOOD_BLOCK = 1 << 16
_FLOOD_TURN = 1 << 20
_MOST_SAID = 1000
_LONGEST_SAID = 2000
_MOST_OCTETS = 100_000
_PIECE = 1 << 16
"""So much of a content has to come in the time that one may be silent."""


class Connection(asyncio.Protocol):
    """Runs in the server's loop; everything that others look at is touched under `changed`."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._record = SessionRecord(0)
        self._protocol = ServerProtocol()
        self._plan = FaultPlan(shared, 0)
        self._begun = 0.0
        self._outlet = Outlet(asyncio.get_running_loop(), self._write)
        self._pending: list[bytes] = []
        self._tls: TLSChannel | None = None
        self._deaf = False
        """Input is not looked at any more: stalled, or ending."""
        self._listening = True
        self._wrote = False
        self._flood_block = b""
        self._flood_left = 0
        self._writable = True
        self._said = 0
        self._held = 0
        self._pieces = 0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the session."""
        self._transport = cast("asyncio.Transport", transport)
        shared = self._shared
        if shared.buffer_size is not None:
            self._transport.set_write_buffer_limits(high=shared.buffer_size)
        with shared.changed:
            self._begun = asyncio.get_running_loop().time()
            self._watch = Watch(shared.bounds.silence, self._end_silent)
            shared.open_session(self._record)
            most = shared.bounds.connections
            is_one_too_many = most is not None and len(shared.connections) >= most
            shared.connections.add(self)
            self._protocol = ServerProtocol(
                shared.options,
                shared.mailbox,
                session=self._record.number,
                # A server that runs for weeks bounds what it knows of each session, too.
                kept_lines=None if shared.keep_sessions is None else _MOST_SAID,
                is_full=self._is_full,
            )
            self._plan = FaultPlan(shared, self._record.number)
            self._record.commands = self._protocol.commands
            self._record.breaches = self._protocol.breaches
            shared.changed.notify_all()
            begin = self._start_tls if shared.implicit_tls else self._greet
            self._guarded(self._turn_away if is_one_too_many else begin)

    def data_received(self, data: bytes) -> None:
        """Take input from the socket."""
        mailbox = self._shared.mailbox
        with self._shared.changed:
            count = mailbox.received
            self._guarded(lambda: self._receive(data))
            if mailbox.received != count:
                self._shared.changed.notify_all()

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the books."""
        self._outlet.clear()
        self._flood_left = 0
        self._watch.end()
        with self._shared.changed:
            self._shared.bounds.held -= self._held
            self._record.open = False
            self._shared.connections.discard(self)
            self._shared.changed.notify_all()

    def pause_writing(self) -> None:
        """Stop listening to a client that does not read, as a blocking server would."""
        self._writable = False
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Listen again."""
        self._writable = True
        if self._listening:
            self._transport.resume_reading()
        if self._flood_left:
            self._pour()

    def abort(self) -> None:
        """End at once, for the server closes."""
        self._deaf = True
        self._outlet.clear()
        self._transport.abort()

    def _guarded(self, action: Callable[[], None]) -> None:
        # A bug of ours, or of a test's callable, must fail the test and not vanish in a log.
        try:
            action()
        except Exception as error:
            self._shared.failures.append(error)
            self.abort()

    # Input.

    def _receive(self, data: bytes) -> None:
        if self._tls is not None:
            data = self._decrypt(self._tls, data)
        if not data:
            return
        record, protocol = self._record, self._protocol
        start = record.bytes_in
        record.bytes_in += len(data)
        record.reads += 1
        if self._wrote:
            self._wrote = False
            record.round_trips += 1
        if self._deaf:
            return
        cut = self._plan.input_cut(record.bytes_in)
        if cut is not None:
            data = data[: max(0, cut.at - start)]
        protocol.receive_data(data, unanswered=self._outlet.busy)
        self._play_commands()
        self._cut(cut or self._content_cut())
        self._flush()
        record.user = protocol.user
        if (pieces := protocol.content_octets // _PIECE) != self._pieces:
            self._pieces = pieces
            self._watch.heard()
        _ = self._is_full()

    def _is_full(self) -> bool:
        """Count what this session holds; True if all of them hold too much."""
        bounds, held = self._shared.bounds, self._protocol.held
        bounds.held += held - self._held
        self._held = held
        return bounds.is_full

    def _play_commands(self) -> None:
        protocol = self._protocol
        while not self._deaf:
            lines, breaches = len(protocol.commands), len(protocol.breaches)
            if (command := protocol.next_command()) is None:
                return
            self._watch.heard()
            if self._may_note():
                self._hear(command, protocol.commands[lines:], breaches)
            else:
                self._play(command)

    def _hear(self, command: Command, lines: list[str], breaches: int) -> None:
        """Play a command, and write it down with what was wrong about it."""
        dialogue, at = self._record.dialogue, len(self._record.dialogue)
        for line in lines:
            self._note(Speaker.CLIENT, _without_secret(command.verb, line))
        if command.content or command.verb == END_OF_DATA:
            self._note(None, f"content, {len(command.content)} octets")
        self._play(command)
        wrong = tuple(self._protocol.breaches[breaches:])
        if wrong and at < len(dialogue):
            dialogue[at] = dialogue[at]._replace(breaches=wrong)

    def _note(self, speaker: Speaker | None, text: str) -> None:
        if self._may_note():
            since = asyncio.get_running_loop().time() - self._begun
            self._record.dialogue.append(Said(since, speaker, text[:_LONGEST_SAID]))
            self._said += len(text)

    def _may_note(self) -> bool:
        return len(self._record.dialogue) < _MOST_SAID and self._said < _MOST_OCTETS

    def _cut(self, fault: CutInput | CutContent | None) -> None:
        if fault is not None and not self._deaf:
            self._plan.struck(fault)
            self._put(fault.parting)
            self._end(fault.ending)

    def _content_cut(self) -> CutContent | None:
        protocol = self._protocol
        return self._plan.content_cut(protocol.content_octets, in_content=protocol.in_content)

    # Commands and their faults.

    def _greet(self) -> None:
        protocol = self._protocol
        self._perform(Command(GREETING, 1), protocol.greet, protocol.greet)
        self._flush()

    def _turn_away(self) -> None:
        """Say that there are too many sessions; under TLS, without a word."""
        if not self._shared.implicit_tls:
            reply = "421 4.3.2 Too many connections: try again later"
            self._put(self._protocol.greet(reply).reply)
        self._end_in_order()

    def _end_silent(self) -> None:
        """End a session that has said nothing for too long."""
        with self._shared.changed:
            if self._deaf or not self._writable or self._outlet.busy or self._is_shaking():
                self.abort()
            else:
                self._put(format_reply("421 4.4.2 Nothing was said for too long"))
                self._end_in_order()

    def _is_shaking(self) -> bool:
        """TLS has begun, and is not established."""
        return self._tls is not None and not self._tls.established

    def _play(self, command: Command) -> None:
        protocol = self._protocol
        if command.verb in ("BDAT", END_OF_DATA) and (cut := self._content_cut()):
            self._cut(cut)
            return
        self._perform(
            command,
            lambda: protocol.answer(command),
            lambda reply: protocol.refuse(command, reply),
        )

    def _perform(
        self, command: Command, answer: Callable[[], Answer], refuse: Callable[[str], Answer]
    ) -> None:
        faults: list[CommandFault] = []
        if self._shared.faults:
            faults = self._plan.at_command(command.points, command.argument)
        given: Answer | None = None
        touching: list[ReplyFault] = []
        for fault in faults:
            if isinstance(fault, ReplyFault):
                touching.append(fault)
            elif given is None:
                self._plan.struck(fault)
                match fault:
                    case Refuse():
                        given = refuse(fault.reply)
                    case Shutdown():
                        self._put(format_reply(fault.reply))
                        self._end_in_order()
                        return
                    case Stall():
                        self._stall(fault)
                        return
                    case Close():
                        self._end(Ending.CLOSE)
                        return
                    case Reset():
                        self._end(Ending.RESET)
                        return
                    case _:
                        assert_never(fault)
        self._reply(given or answer(), touching)

    def _reply(self, answer: Answer, faults: list[ReplyFault]) -> None:
        reply = answer.reply
        for fault in faults:
            self._plan.struck(fault)
            match fault:
                case ReplaceReply():
                    reply = fault.data
                case AppendToReply():
                    reply += fault.data
                case TruncateReply():
                    self._put(reply[: fault.keep])
                    self._end(fault.ending)
                    return
                case Endless():
                    self._deaf = True
                    self._flush()
                    self._outlet.put(partial(self._start_flood, fault))
                    return
                case _:
                    assert_never(fault)
        self._put(reply)
        match answer.then:
            case Then.CONTINUE:
                pass
            case Then.START_TLS:
                self._flush()
                self._outlet.put(self._start_tls)
            case Then.CLOSE:
                self._record.quit = True
                self._end_in_order()
            case Then.HANG_UP:
                self._end_in_order()
            case _:
                assert_never(answer.then)

    def _stall(self, fault: Stall) -> None:
        self._deaf = True
        self._flush()
        if not fault.reading:
            self._listening = False
            self._transport.pause_reading()

    # TLS.

    def _start_tls(self) -> None:
        context = self._shared.tls_context
        if context is None:
            raise AssertionError("TLS is offered only where there is a context")
        self._protocol.tls_started()
        self._tls = TLSChannel(context)

    def _decrypt(self, tls: TLSChannel, data: bytes) -> bytes:
        handshaking = not tls.established
        if handshaking and (self._deaf or self._spoilt_handshake()):
            return b""
        try:
            plain = tls.receive(data)
        except ssl.SSLError as error:
            self._record.tls_error = str(error)
            self._transport.write(tls.encrypt(b""))
            self._deaf = True
            self._transport.close()
            return b""
        self._transport.write(tls.encrypt(b""))
        if handshaking and tls.established:
            self._record.tls_version = tls.version
            self._record.tls_resumed = tls.resumed
            self._record.server_name = tls.server_name
            self._note(None, f"{tls.version} began")
            self._protocol.tls_agreed(tls.bindings(self._shared.certificate), tls.certificate_user)
            if self._shared.implicit_tls:
                self._greet()
        if tls.ended and not self._deaf:
            self._end_in_order()
        return plain

    def _spoilt_handshake(self) -> bool:
        for fault in self._plan.at_command([(TLS_HANDSHAKE, 1)]):
            self._plan.struck(fault)
            match fault:
                case Stall():
                    self._stall(fault)
                case Reset():
                    self._finish(Ending.RESET)
                case ReplaceReply():
                    self._transport.write(fault.data)
                    self._deaf = True
                case _:
                    self._finish(Ending.CLOSE)
            return True
        return False

    # Output.

    def _put(self, data: bytes) -> None:
        self._pending.append(data)
        if self._may_note():
            for line in data.splitlines():
                self._note(Speaker.SERVER, line.decode("utf-8", "replace"))

    def _flush(self) -> None:
        data = b"".join(self._pending)
        self._pending.clear()
        if not data:
            return
        if not self._shared.faults:
            self._outlet.put(data)
            return
        pace = self._plan.pace()
        self._outlet.put(data, latency=pace.latency, size=pace.size, interval=pace.interval)

    def _write(self, data: bytes) -> None:
        """Let octets of SMTP out; the outlet calls this when they are due."""
        cut = self._plan.output_cut(self._record.bytes_out + len(data))
        if cut is not None:
            self._plan.struck(cut)
            data = data[: max(0, cut.at - self._record.bytes_out)]
        self._record.bytes_out += len(data)
        self._wrote = True
        self._transport.write(self._tls.encrypt(data) if self._tls is not None else data)
        if cut is not None:
            self._finish(cut.ending)

    def _start_flood(self, fault: Endless) -> None:
        self._flood_block = fault.chunk * max(1, _FLOOD_BLOCK // len(fault.chunk))
        self._flood_left = fault.limit
        self._pour()

    def _pour(self) -> None:
        # A turn at a time: a client that reads as fast as this writes must not starve the others.
        turn = _FLOOD_TURN
        while self._writable and turn > 0 and self._flood_left > 0:
            if self._transport.is_closing():
                return  # The client has gone, which `connection_lost` is about to be told.
            block = self._flood_block[: self._flood_left]
            self._flood_left -= len(block)
            turn -= len(block)
            self._write(block)
            if self._flood_left == 0:
                self._finish(Ending.CLOSE)
                return
        if self._writable and self._flood_left:
            _ = asyncio.get_running_loop().call_soon(self._pour)

    # Endings.

    def _end(self, ending: Ending) -> None:
        """End once everything said so far has left."""
        self._deaf = True
        self._flush()
        self._outlet.put(lambda: self._finish(ending))

    def _end_in_order(self) -> None:
        self._deaf = True
        self._flush()
        self._outlet.put(self._finish_in_order)

    def _finish_in_order(self) -> None:
        if self._tls is not None and self._tls.established:
            self._transport.write(self._tls.close_notify())
        self._finish(Ending.CLOSE)

    def _finish(self, ending: Ending) -> None:
        self._deaf = True
        self._outlet.clear()
        self._flood_left = 0
        match ending:
            case Ending.CLOSE:
                self._transport.close()
            case Ending.RESET:
                self._linger_not()
                self._transport.abort()
            case _:
                assert_never(ending)

    def _linger_not(self) -> None:
        """Make the close of the socket a reset (SO_LINGER with no time)."""
        sock: socket.socket | None = self._transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            # Two ints in struct linger on POSIX, two shorts on Windows.
            form = "hh" if hasattr(socket, "SO_EXCLUSIVEADDRUSE") else "ii"
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(form, 1, 0))


def _without_secret(verb: str, line: str) -> str:
    """A line as it may be kept: what the client says in an AUTH exchange is nobody's business."""
    if verb == AUTH_RESPONSE:
        return "[redacted]"
    if verb == "AUTH":
        words = line.split(" ")
        return " ".join(words[:2] + ["[redacted]"] * (len(words) > 2))
    return line
