"""A hostile SMTP and LMTP server, in a process of its own: ``python server.py``.

It shares nothing with what it is to try: `socket`, `ssl`, threads, and a state machine of its own.
It reads one JSON object a line and answers each with another::

    {"open": {…}}      serve as this plan says               {"port": 49152}
    {"idle": 0}        end the sessions that are at rest     {"ended": 1}
    {"finish": 5}      read what is still on its way, end    {"sessions": 3, "left open": 0}
    {"transcript": 0}  what was said in the last round       {"transcript": […]}

What it takes responsibility for it appends to the plan's ledger *before* it says so. There it also
notes where it has lied so that no client can know:

- ``kept``: a content, by its hash, its sender, and for whom;
- ``unread``: as before, and whether its reply may have been missed;
- ``lied``: it said no, and kept it all the same;
- ``shifted``: replies were one too many or too few, and nothing showed it in time;
- ``exceeded``: the client went over an announced limit.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import socket
import ssl
import struct
import sys
import threading
import time
from collections import deque

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
GARBAGE = [
    b"hello\r\n",
    b"999 what\r\n",
    b"2\xff0 ok\r\n",
    b"250-ok\r\n550 no\r\n",
    b"\r\n",
    b"250" + b"x" * 40 + b"\r\n",
    b"25\r\n",
]


class Over(Exception):
    """The session has ended."""


class Transaction:
    """From MAIL to the reply to the end of data."""

    def __init__(self, sender):
        self.sender = sender
        self.named = []
        self.recipients = []
        self.held = b""
        self.lied_to = set()
        self.is_open = True


class Round:
    """One plan, its sessions and its ledger."""

    def __init__(self, plan):
        self.plan = plan
        self.chance = random.Random(f"{plan['seed']} server")
        self.lock = threading.Lock()
        self.ledger = os.open(plan["ledger"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.transcript = deque(maxlen=20_000)
        self.hurry = threading.Event()
        self.dead = False
        self.waker = None
        self.idle_calls = 0
        self.sessions = []
        self.kept = 0
        self.context = None
        if plan["tls"] != "none":
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(plan["certificate"])
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if plan["receive_buffer"]:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, plan["receive_buffer"])
            # Small segments keep the client's own buffer small, so that its writes wait.
            with contextlib.suppress(AttributeError, OSError):
                self.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        self.accepting = threading.Thread(target=self.accept, daemon=True)
        self.accepting.start()

    def note(self, what, **facts):
        """Write to the ledger; it is there whatever happens next."""
        line = json.dumps({"what": what, **facts}) + "\n"
        with self.lock:
            _ = os.write(self.ledger, line.encode())

    def accept(self):
        while True:
            connected, whose = self.listener.accept()
            if whose == self.waker or self.dead:
                reset(connected)
                shut(self.listener)
                return
            session = Session(self, connected, len(self.sessions))
            self.sessions.append(session)
            session.thread.start()

    def listen_no_more(self):
        """End `accept` after all those who are waiting, by one more: so it goes everywhere."""
        with contextlib.suppress(OSError), socket.socket() as waker:
            waker.bind(("127.0.0.1", 0))
            self.waker = waker.getsockname()
            waker.settimeout(5)
            waker.connect(("127.0.0.1", self.port))

    def end_idle(self):
        """End the sessions that are at rest, as servers do that have waited for too long."""
        self.idle_calls += 1
        ended = [session for session in list(self.sessions) if session.is_resting]
        for session in ended:
            session.thread.join(1)
        return {"ended": len(ended)}

    def die(self):
        """Nobody is served any more; those who are connected find out."""
        self.dead = True
        self.listen_no_more()
        for session in list(self.sessions):
            with contextlib.suppress(OSError):
                linger(session.socket)
                session.socket.shutdown(socket.SHUT_RDWR)

    def finish(self, seconds):
        """Read what is still on its way, and end."""
        self.hurry.set()
        if not self.dead:
            self.listen_no_more()
        self.accepting.join(seconds)
        until = time.monotonic() + seconds
        left_open = 0
        for session in self.sessions:
            session.thread.join(max(0.01, until - time.monotonic()))
            if session.thread.is_alive():
                left_open += 1
                with contextlib.suppress(OSError):
                    session.socket.shutdown(socket.SHUT_RDWR)
                session.thread.join(1)
        os.close(self.ledger)
        return {"sessions": len(self.sessions), "left open": left_open}


class Session:
    """One connection."""

    def __init__(self, round_, connected, number):
        self.round = round_
        self.plan = round_.plan
        self.number = number
        self.chance = random.Random(f"{self.plan['seed']} session {number}")
        self.socket = connected
        self.buffer = bytearray()
        self.read = 0
        self.cut_at = None
        if self.chance.random() < self.plan["cut"]:
            self.cut_at = self.chance.randrange(self.chance.choice((100, 2_000, 60_000, 150_000)))
        self.out = []
        self.sent = []
        self.writes = 0
        self.checkpoints = []
        self.heard_after = False
        self.settled = None
        self.unread = []
        self.under_tls = False
        self.transaction = None
        self.mails = 0
        self.messages = 0
        self.errors = 0
        self.domains = set()
        self.in_content = False
        self.is_resting = False
        self.idle_after = None
        if self.chance.random() < self.plan["idle"]:
            self.idle_after = self.chance.choice((0.0005, 0.002, 0.01))
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        self.socket.settimeout(PATIENCE)
        try:
            self.converse()
        except Over:
            pass
        except (OSError, ValueError):
            pass  # The client is gone, or speaks no TLS.
        except Exception as error:
            import traceback

            self.round.note("broken", why=repr(error), where=traceback.format_exc())
        finally:
            self.account()
            shut(self.socket)

    # What is read.

    def fill(self):
        """Read more; before we wait, what was answered goes out."""
        if self.cut_at is not None and self.read >= self.cut_at:
            self.break_off()
        self.flush()
        most = self.plan["read_size"]
        if self.cut_at is not None:
            most = min(most, self.cut_at - self.read)
        hurried = self.round.hurry.is_set()
        if self.plan["read_pause"] and self.in_content and not hurried:
            time.sleep(self.plan["read_pause"])
        octets = self.receive(most)
        if not octets:
            self.show("C", "(end)")
            raise Over
        # QUIT comes from who waits for nothing more.
        self.heard_after = not octets.upper().startswith(b"QUIT")
        self.read += len(octets)
        self.buffer += octets

    def receive(self, most):
        resting = self.transaction is None and not self.buffer and self.messages
        if not resting or not (self.plan["idle_on_call"] or self.idle_after):
            return self.socket.recv(most)
        calls, waits = self.round.idle_calls, 0
        self.socket.settimeout(self.idle_after or 0.002)
        self.is_resting = True
        try:
            while True:
                try:
                    return self.socket.recv(most)
                except TimeoutError:
                    waits += 1
                    called = self.round.idle_calls > calls
                    if called or self.idle_after or waits > 10_000:
                        break
        finally:
            self.is_resting = False
            self.socket.settimeout(PATIENCE)
        words = self.chance.choice(IDLE_WORDS)
        self.show("S", f"{words!r}, being idle")
        if words:
            self.socket.sendall(words)
        self.leave()

    def break_off(self):
        """End where so many octets were read, in the middle of whatever it is."""
        self.show("S", f"(after {self.read} octets)")
        self.leave()

    def line(self):
        while (end := self.buffer.find(b"\n")) < 0:
            if len(self.buffer) > 1_000_000:
                raise Over
            self.fill()
        line = bytes(self.buffer[: end + 1])
        del self.buffer[: end + 1]
        return line.rstrip(b"\r\n")

    def exactly(self, size):
        self.begin_content()
        while len(self.buffer) < size:
            self.fill_content()
        octets = bytes(self.buffer[:size])
        del self.buffer[:size]
        self.in_content = False
        return octets

    def until_dot(self):
        """The content after DATA, without transparency."""
        self.begin_content()
        content = bytearray(b"\r\n")
        while (end := content.find(b"\r\n.\r\n")) < 0:
            if not self.buffer:
                self.fill_content()
            # Only where something may have been completed is it looked for again.
            searched = max(0, len(content) - 4)
            content += self.buffer
            self.buffer.clear()
            end = content.find(b"\r\n.\r\n", searched)
            if end >= 0:
                break
        self.buffer[:0] = content[end + 5 :]
        self.in_content = False
        return bytes(content[: end + 2]).replace(b"\r\n.", b"\r\n")[2:]

    def begin_content(self):
        self.in_content = True
        self.fate = self.draw("content")
        self.fate_at = self.chance.choice((1, 1, 2, 5))

    def fill_content(self):
        self.fill()
        self.fate_at -= 1
        if self.fate_at != 0:
            return
        match self.fate:
            case None:
                pass
            case "no" | "421":
                code = 421 if self.fate == "421" else self.chance.choice((451, 452, 552, 554))
                self.say(b"%d 5.3.4 not this one\r\n" % code, "content")
                self.flush()
                self.leave()
            case "close" | "reset":
                self.leave()
            case "stall":
                self.pause(STALL)
            case "late":
                self.pause(self.chance.random() * 0.015)

    # What is said.

    def say(self, reply, point, due=True):
        """Answer; it goes out with what follows, or when there is nothing more to read."""
        self.out.append((reply, point, self.transaction, due))
        self.show("S", f"{reply!r}" + ("" if due else ", unasked"))

    def leave_out(self, reply):
        """Say nothing where a reply is due."""
        self.out.append((b"", "", self.transaction, None))
        self.show("S", f"({reply!r} left out)")

    def flush(self):
        if not self.out:
            return
        octets = b"".join(reply for reply, *_ in self.out)
        point = self.out[-1][1]
        if octets:
            self.write(octets)
        for _, _, transaction, due in self.out:
            self.sent.append((self.writes, self.writes, transaction, due))
        if len(self.out) > 1:
            self.show("S", f"({len(self.out)} replies in one write)")
        self.out.clear()
        self.check_point(point)
        if self.plan["splits"] and self.chance.random() < 0.2:
            self.pause(0.001)

    def check_point(self, point):
        """Note where a client that waits for the end of each transaction awaits nothing more."""
        in_step = "PIPELINING" not in self.plan["extensions"] or point in ("data", "final")
        if in_step and not self.buffer and not self.in_content:
            self.checkpoints.append(len(self.sent))

    def write(self, octets):
        self.writes += 1
        self.heard_after = False
        self.socket.sendall(octets)

    def piecemeal(self, reply, point):
        """Write a reply in pieces."""
        self.flush()
        before = self.writes + 1
        at = 0
        while at < len(reply):
            upto = at + self.chance.choice((1, 2, 5, 20))
            self.write(reply[at:upto])
            self.pause(self.chance.random() * 0.002)
            at = upto
        self.sent.append((before, self.writes, self.transaction, True))
        self.check_point(point)
        self.show("S", f"{reply!r}, in pieces")

    def show(self, who, text):
        self.round.transcript.append(f"{self.number} {who}: {text}")

    def pause(self, seconds):
        _ = self.round.hurry.wait(seconds)

    def part(self):
        """End the session so that everything that was said arrives: what was not read would not."""
        self.show("S", "(closes, and reads what is left)")
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
            self.socket.settimeout(2)
            while self.socket.recv(65536):
                pass
        raise Over

    def leave(self):
        """End the session, in one way or the other."""
        if self.out and self.chance.random() < 0.5:
            with contextlib.suppress(OSError):
                self.flush()
        if self.out:
            self.show("S", f"({len(self.out)} replies unsent)")
        how = self.chance.choice(("reset", "close", "half"))
        self.show("S", f"({how})")
        with contextlib.suppress(OSError):
            if how == "half":
                if self.under_tls and self.chance.random() < 0.5:
                    with contextlib.suppress(OSError, ValueError):
                        self.socket.settimeout(0.05)
                        self.socket = self.socket.unwrap()
                self.socket.shutdown(socket.SHUT_WR)
                self.pause(0.02)
            elif how == "reset":
                reset(self.socket)
        raise Over

    # What is decided.

    def draw(self, point):
        """What befalls this reply; `None` for nothing."""
        faults = self.plan["faults"].get(point)
        if not faults or self.round.hurry.is_set() or self.chance.random() >= self.plan["rate"]:
            return None
        return self.chance.choice(faults)

    def answer(self, point, reply):
        """Answer a command that is no end of data; True if it took effect."""
        fate = self.draw(point)
        match fate:
            case None:
                self.say(reply, point)
            case "no":
                self.say(self.refusal(), point)
                return False
            case "421":
                self.say(b"421 4.3.2 shutting down\r\n", point)
                self.flush()
                self.leave()
            case "go on":
                self.say(b"421 4.3.2 shutting down, in a while\r\n", point)
                return False
            case "close" | "reset" | "die":
                self.leave()
            case "stall":
                self.flush()
                self.pause(STALL)
                self.say(reply, point)
            case "late":
                if self.chance.random() < 0.5:
                    self.flush()
                self.pause(self.chance.random() * 0.015)
                self.say(reply, point)
            case "pieces":
                self.piecemeal(reply, point)
            case "missing":
                self.leave_out(reply)
            case "garbage":
                self.say(self.chance.choice(GARBAGE), point)
            case "wrong":
                self.say(self.chance.choice((b"354 go ahead\r\n", b"150 ok\r\n")), point)
            case "surplus":
                self.surplus(reply, point)
            case "lie":
                self.say(self.refusal(), point)
                self.transaction.lied_to.update(self.transaction.named[-1:] or ["everybody"])
            case _:
                raise AssertionError(fate)
        return True

    def surplus(self, reply, point):
        """A reply too many: before or after the one that is due, in the same write or in its own."""
        stray = self.chance.choice((b"250 2.0.0 stray\r\n", b"451 4.0.0 stray\r\n", b"550 stray\r\n"))
        before, apart = self.chance.random() < 0.5, self.chance.random() < 0.5
        if apart:
            self.flush()
        for what, due in ((stray, False), (reply, True)) if before else ((reply, True), (stray, False)):
            self.say(what, point, due)
            if apart:
                self.flush()
                self.pause(self.chance.choice((0, 0.001, 0.01)))

    def refusal(self):
        return self.chance.choice(
            (b"450 4.2.0 not now\r\n", b"550 5.1.1 no\r\n", b"554-5.7.1 never\r\n554 5.7.1 ever\r\n")
        )

    def yes(self, text):
        if self.plan["verbose"] and self.chance.random() < 0.3:
            return b"250-%b\r\n250 2.0.0 and more\r\n" % text
        return b"250 2.0.0 %b\r\n" % text

    # The state machine.

    def converse(self):
        plan = self.plan
        if plan["tls"] == "implicit":
            self.protect()
        if not self.answer("greeting", b"220 hostile.test ESMTP\r\n"):
            self.flush()
        while True:
            line = self.line()
            self.show("C", line[:200].decode("utf-8", "replace"))
            verb, _, rest = line.partition(b" ")
            self.command(verb.upper(), rest)

    def protect(self):
        context = self.round.context
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.under_tls = True

    def command(self, verb, rest):
        match verb:
            case b"EHLO" | b"LHLO" | b"HELO":
                self.transaction = None
                _ = self.answer("hello", self.offer(verb))
            case b"STARTTLS":
                if self.answer("starttls", b"220 2.0.0 go ahead\r\n"):
                    self.flush()
                    self.protect()
            case b"RSET":
                self.reset()
            case b"MAIL":
                self.mail(path_of(rest))
            case b"RCPT":
                self.rcpt(path_of(rest))
            case b"DATA":
                self.data()
            case b"BDAT":
                self.bdat(rest)
            case b"NOOP":
                _ = self.answer("rset", self.yes(b"ok"))
            case b"QUIT":
                self.unread.clear()
                self.settled = len(self.sent), self.writes
                _ = self.answer("quit", b"221 2.0.0 bye\r\n")
                self.flush()
                raise Over
            case _:
                self.bad(b"500 5.5.2 what\r\n")

    def bad(self, reply):
        self.say(reply, "bad")
        self.errors += 1
        if self.errors > 20:
            self.flush()
            self.leave()

    def offer(self, verb):
        if verb == b"HELO":
            return b"250 hostile.test\r\n"
        keywords = list(self.plan["extensions"])
        if self.plan["tls"] == "starttls" and not self.under_tls:
            keywords.append("STARTTLS")
        lines = ["hostile.test", *keywords]
        text = "".join(f"250-{line}\r\n" for line in lines[:-1]) + f"250 {lines[-1]}\r\n"
        return text.encode()

    def reset(self):
        if self.plan["rset"]:
            self.bad(b"%d 5.5.1 not here\r\n" % self.plan["rset"])
            return
        self.full()
        # Refused or not, it ends: a server that refuses RSET as such is another matter.
        _ = self.answer("rset", self.yes(b"reset"))
        self.transaction = None

    def full(self):
        """End a session that has had its messages, or whose client asked for one too many."""
        most = self.plan["session_messages"]
        if most and self.messages >= most:
            self.say(b"421 4.4.5 too many messages in this session\r\n", "mail")
            self.flush()
            self.part()

    def mail(self, sender):
        self.full()
        if self.transaction is not None and self.transaction.is_open:
            self.bad(b"503 5.5.1 nested MAIL\r\n")
            return
        self.transaction = Transaction(sender)
        self.mails += 1
        most = self.plan["limits"].get("MAILMAX")
        if most and self.mails > most:
            self.round.note("exceeded", limit="MAILMAX", session=self.number)
            self.say(b"421 4.7.0 too many transactions\r\n", "mail")
            self.flush()
            self.leave()
        if not self.answer("mail", self.yes(b"sender ok")):
            self.forget()

    def forget(self):
        """What follows belongs to the transaction that failed, but to none that is open."""
        self.transaction.is_open = False

    def rcpt(self, recipient):
        transaction = self.transaction
        if transaction is None:
            self.bad(b"503 5.5.1 MAIL first\r\n")
            return
        transaction.named.append(recipient)
        if not transaction.is_open:
            self.say(b"503 5.5.1 MAIL first\r\n", "rcpt")
            return
        limits = self.plan["limits"]
        if "RCPTMAX" in limits and len(transaction.named) > limits["RCPTMAX"]:
            self.round.note("exceeded", limit="RCPTMAX", session=self.number)
            self.say(b"452 4.5.3 too many recipients\r\n", "rcpt")
            return
        if "RCPTDOMAINMAX" in limits:
            self.domains.add(recipient.rpartition("@")[2].lower())
            if len(self.domains) > limits["RCPTDOMAINMAX"]:
                self.round.note("exceeded", limit="RCPTDOMAINMAX", session=self.number)
                self.say(b"452 4.5.3 too many domains\r\n", "rcpt")
                return
        if self.answer("rcpt", self.yes(b"recipient ok")):
            transaction.recipients.append(recipient)

    def data(self):
        transaction = self.transaction
        if transaction is None or not transaction.is_open or (
            not transaction.recipients and not self.plan["data_anyway"]
        ):
            self.bad(b"503 5.5.1 nobody to send to\r\n")
            return
        if not self.answer("data", b"354 go ahead\r\n"):
            return
        content = self.until_dot()
        self.show("C", f"({len(content)} octets, and the dot)")
        self.end_of_data(content)

    def bdat(self, rest):
        words = rest.upper().split()
        try:
            size = int(words[0])
        except (IndexError, ValueError):
            self.bad(b"501 5.5.4 BDAT size [LAST]\r\n")
            return
        last = words[1:] == [b"LAST"]
        transaction = self.transaction
        if transaction is None or not transaction.is_open or not transaction.recipients:
            if self.plan["swallow"]:
                _ = self.exactly(size)
            self.bad(b"503 5.5.1 nobody to send to\r\n")
            return
        content = self.exactly(size)
        self.show("C", f"({size} octets)")
        transaction.held += content
        if last:
            self.end_of_data(transaction.held)
        elif not self.answer("chunk", self.yes(b"octets")):
            self.forget()

    def end_of_data(self, content):
        """The end of data was read: decide, note, and only then say."""
        transaction = self.transaction
        transaction.is_open = False
        everyone = transaction.recipients
        if self.plan["lmtp"]:
            shown = transaction.named if self.plan["lmtp_answers_all"] else everyone
            for recipient in shown:
                if recipient in everyone:
                    self.final(content, [recipient])
                else:
                    self.say(b"550 5.1.1 no\r\n", "final", due=False)
        elif everyone:
            self.final(content, everyone)
        else:
            self.say(b"554 5.5.1 no valid recipients\r\n", "final")
        self.transaction = None
        self.messages += 1
        if self.plan["die_after"] and self.round.kept >= self.plan["die_after"]:
            if self.chance.random() < 0.5:
                self.flush()
            self.round.die()
            raise Over
        if self.plan["session_end"] == "close" and self.plan["session_messages"] == self.messages:
            self.flush()
            self.leave()

    def keep(self, content, recipients):
        """Take responsibility."""
        self.round.kept += 1
        self.unread.append(recipients)
        self.round.note(
            "kept",
            session=self.number,
            digest=hashlib.sha256(content).hexdigest(),
            sender=self.transaction.sender,
            recipients=recipients,
        )
        lied_to = self.transaction.lied_to
        misled = [each for each in recipients if each in lied_to or "everybody" in lied_to]
        if misled:
            self.round.note("lied", recipients=misled)
        self.show("S", f"(kept for {' '.join(recipients)})")

    def final(self, content, recipients):
        """The verdict on a content, for all of its recipients or, in LMTP, for one."""
        fate = self.draw("final")
        accepted = self.yes(b"queued as %d" % self.round.kept)
        match fate:
            case "no":
                self.say(self.refusal(), "final")
            case "421":
                self.say(b"421 4.3.2 shutting down\r\n", "final")
                if not self.plan["lmtp"] or self.chance.random() < 0.5:
                    self.flush()
                    self.leave()
            case "go on":
                self.say(b"421 4.3.2 shutting down, in a while\r\n", "final")
            case "close" | "reset":
                self.leave()
            case "lie":
                self.keep(content, recipients)
                self.round.note("lied", recipients=recipients)
                self.say(self.refusal(), "final")
            case "surplus" if self.chance.random() < 0.5:
                self.surplus(self.refusal(), "final")
            case "missing" if self.chance.random() < 0.5:
                self.leave_out(b"a refusal")
            case "die":
                self.keep(content, recipients)
                self.leave()
            case None:
                self.keep(content, recipients)
                self.say(accepted, "final")
            case "stall":
                self.keep(content, recipients)
                self.flush()
                self.pause(STALL)
                self.say(accepted, "final")
            case "late":
                self.keep(content, recipients)
                if self.chance.random() < 0.5:
                    self.flush()
                self.pause(self.chance.random() * 0.015)
                self.say(accepted, "final")
            case "pieces":
                self.keep(content, recipients)
                self.piecemeal(accepted, "final")
            case "surplus":
                self.keep(content, recipients)
                self.surplus(accepted, "final")
            case "missing":
                self.keep(content, recipients)
                self.leave_out(accepted)
            case "garbage":
                self.keep(content, recipients)
                self.say(self.chance.choice(GARBAGE), "final")
            case "wrong":
                self.keep(content, recipients)
                self.say(self.chance.choice((b"354 go ahead\r\n", b"150 ok\r\n")), "final")
            case _:
                raise AssertionError(fate)

    # What no client could know.

    def account(self):
        """Note which replies may have been missed, and whom a shift of the replies concerns."""
        for recipients in self.unread:
            self.round.note("unread", recipients=recipients)
        for transaction in self.excused():
            self.round.note("shifted", sender=transaction.sender, recipients=transaction.named)

    def excused(self):
        """The transactions whose replies were shifted, where nothing showed it in time.

        A client has evidence of a reply too many if it is there when the last reply that is due
        has been read: if that and the next came in one write, with nothing else due. Where each
        transaction waits for its end (a lone one), the server knows when nothing else is due; in
        a stream only at the end of the session, if nothing was read after the last write.
        """
        if self.settled is not None:
            del self.sent[self.settled[0] :]
            self.writes = self.settled[1]
        first = next((i for i, (_, _, _, due) in enumerate(self.sent) if due is not True), None)
        if first is None:
            return []
        concerned = []
        for _, _, transaction, due in self.sent[first:]:
            if due is not False and transaction is not None and transaction not in concerned:
                concerned.append(transaction)
        if any(due is None for _, _, _, due in self.sent):
            spoken = any(due is not None for _, _, _, due in self.sent[first + 1 :])
            return concerned if spoken else []
        return [transaction for transaction in concerned if not self.was_in_sight(transaction)]

    def was_in_sight(self, transaction):
        last = max(i for i, (_, _, whose, _) in enumerate(self.sent) if whose is transaction)
        if self.plan["lone"]:
            checkpoints = [end for end in self.checkpoints if end <= last + 1]
            if last + 1 not in checkpoints:
                checkpoints.append(last + 1)
        elif self.heard_after:
            return False
        else:
            checkpoints = [len(self.sent)]
        for end in checkpoints:
            due = sum(1 for _, _, _, due in self.sent[:end] if due)
            if 0 < due < end and self.sent[due - 1][1] == self.sent[due][0]:
                if self.plan["lone"]:
                    return True
                # Those before the last write were told before it could be seen.
                strays = sum(1 for _, _, _, due in self.sent[: last + 1] if due is False)
                return self.sent[max(0, last - strays)][0] == self.writes
        return False


def path_of(rest):
    """The address of ``FROM:<ann@example.org> SIZE=3``."""
    return rest.partition(b"<")[2].partition(b">")[0].decode("utf-8", "replace")


def linger(connected):
    """Have the peer get RST when it is closed."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset(connected):
    with contextlib.suppress(OSError):
        linger(connected)
    shut(connected)


def shut(connected):
    with contextlib.suppress(OSError):
        connected.close()


def main():
    here = None
    for line in sys.stdin:
        request = json.loads(line)
        if "open" in request:
            here = Round(request["open"])
            answer = {"port": here.port}
        elif "idle" in request:
            answer = here.end_idle()
        elif "finish" in request:
            answer = here.finish(request["finish"])
        else:
            answer = {"transcript": list(here.transcript)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
