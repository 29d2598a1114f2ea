"""The commands, and what befalls each of them."""

from __future__ import annotations

import hashlib
from typing import NoReturn

from tests.certainty.hostile.lines import STALL, Lines, Over, Transaction

GARBAGE = [
    b"hello\r\n",
    b"999 what\r\n",
    b"2\xff0 ok\r\n",
    b"250-ok\r\n550 no\r\n",
    b"\r\n",
    b"250" + b"x" * 40 + b"\r\n",
    b"25\r\n",
]
WRONG = [b"354 go ahead\r\n", b"150 ok\r\n"]
REFUSALS = [
    b"450 4.2.0 not now\r\n",
    b"550 5.1.1 no\r\n",
    b"554-5.7.1 never\r\n554 5.7.1 ever\r\n",
]
STRAYS = [b"250 2.0.0 stray\r\n", b"451 4.0.0 stray\r\n", b"550 stray\r\n"]
LEAVING = b"421 4.3.2 shutting down\r\n"
LEAVING_SOON = b"421 4.3.2 shutting down, in a while\r\n"


class Machine(Lines):
    """A session: strict in the order of commands, and as faulty as its plan says."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type] # as `Lines`
        self._limits: dict[str, int] = {}
        self._mails = 0
        self._errors = 0
        self._domains: set[str] = set()
        self._of_chunk = 0
        """Octets of a refused chunk that are still to be read as commands."""
        self._is_of_chunk = False
        """The present command stands in it: the client has not given it."""
        self._has_refused_reset = False

    def converse(self) -> None:
        if self.plan["tls"] == "implicit":
            self.protect()
        _ = self._answer("greeting", b"220 hostile.test ESMTP\r\n")
        while True:
            line = self.line()
            self._is_of_chunk = self._of_chunk > 0
            self._of_chunk = max(0, self._of_chunk - len(line) - len(b"\r\n"))
            self.show("C", line[:200].decode("utf-8", "replace"))
            verb, _, rest = line.partition(b" ")
            self.owed += 1
            self._command(verb.upper(), rest)

    def _command(self, verb: bytes, rest: bytes) -> None:
        match verb:
            case b"EHLO" | b"LHLO" | b"HELO":
                self.transaction = None
                took_effect = self._answer("hello", self._offer(verb))
                # Who has to be content with HELO knows of no limits.
                self._limits = self.plan["limits"] if took_effect and verb != b"HELO" else {}
            case b"STARTTLS":
                if self._answer("starttls", b"220 2.0.0 go ahead\r\n"):
                    self.flush()
                    self.protect()
            case b"AUTH":
                _ = self._answer("auth", b"235 2.7.0 welcome\r\n")
            case b"RSET":
                self._reset()
            case b"MAIL":
                self._mail(path_of(rest))
            case b"RCPT":
                self._rcpt(path_of(rest))
            case b"DATA":
                self._data()
            case b"BDAT":
                self._bdat(rest)
            case b"QUIT":
                unread = [*self._unread]
                self.settle()
                if self._has_refused_reset:
                    # That may be the sign of a reply too many; only a 221 shows that it is none.
                    self._unread += unread
                if self._answer("quit", b"221 2.0.0 bye\r\n"):
                    self._unread.clear()
                self.flush()
                raise Over
            case _:
                self._bad(b"500 5.5.2 what\r\n")

    def _offer(self, verb: bytes) -> bytes:
        if verb == b"HELO":
            return b"250 hostile.test\r\n"
        lines = ["hostile.test", *self.plan["extensions"]]
        if self.plan["tls"] == "starttls" and not self.under_tls:
            lines.append("STARTTLS")
        elif self.plan["auth"]:
            lines.append("AUTH PLAIN")
        text = "".join(f"250-{line}\r\n" for line in lines[:-1]) + f"250 {lines[-1]}\r\n"
        return text.encode()

    def _bad(self, reply: bytes) -> None:
        self.say(reply, "bad")
        self._errors += 1
        if self._errors > 20:
            self.flush()
            self.leave()

    def _reset(self) -> None:
        if self.plan["rset"]:
            self._has_refused_reset = True
            self._bad(b"%d 5.5.1 not here\r\n" % self.plan["rset"])
            return
        self._end_if_full()
        # Refused or not, it ends: a server that refuses RSET as such is another matter.
        self._has_refused_reset |= not self._answer("rset", self._yes(b"reset"))
        self.transaction = None

    def _end_if_full(self) -> None:
        """End a session that has had its messages, before another one."""
        most = self.plan["session_messages"]
        if most and self.messages >= most:
            self.say(b"421 4.4.5 too many messages in this session\r\n", "mail")
            self.part()

    def _mail(self, sender: str) -> None:
        self._end_if_full()
        if self.transaction is not None and self.transaction.is_open:
            self._bad(b"503 5.5.1 nested MAIL\r\n")
            return
        self.transaction = transaction = Transaction(sender)
        self._mails += not self._is_of_chunk
        most = self._limits.get("MAILMAX")
        if most and self._mails > most:
            self._exceeded("MAILMAX")
            self.say(b"421 4.7.0 too many transactions\r\n", "mail")
            self.part()
        # What follows a refusal belongs to this transaction, but to none that is open.
        transaction.is_open = self._answer("mail", self._yes(b"sender ok"))

    def _rcpt(self, recipient: str) -> None:
        transaction = self.transaction
        if transaction is None:
            self._bad(b"503 5.5.1 MAIL first\r\n")
            return
        transaction.named.append(recipient)
        limits = self._limits
        if not transaction.is_open:
            self.say(b"503 5.5.1 MAIL first\r\n", "rcpt")
            return
        if len(transaction.named) > limits.get("RCPTMAX", 1000):
            self._exceeded("RCPTMAX")
            self.say(b"452 4.5.3 too many recipients\r\n", "rcpt")
            return
        if not self._is_of_chunk:
            self._domains.add(recipient.rpartition("@")[2].lower())
        if len(self._domains) > limits.get("RCPTDOMAINMAX", 1000):
            self._exceeded("RCPTDOMAINMAX")
            self.say(b"452 4.5.3 too many domains\r\n", "rcpt")
            return
        if self._answer("rcpt", self._yes(b"recipient ok")):
            transaction.recipients.append(recipient)

    def _exceeded(self, limit: str) -> None:
        if not self._is_of_chunk:
            self.round.note("exceeded", limit=limit, session=self.number)

    def _data(self) -> None:
        transaction = self.transaction
        if (
            transaction is None
            or not transaction.is_open
            or not (transaction.recipients or self.plan["data_anyway"])
        ):
            self._bad(b"503 5.5.1 nobody to send to\r\n")
            return
        if self._answer("data", b"354 go ahead\r\n"):
            content = self.until_dot()
            self.show("C", f"({len(content)} octets, and the dot)")
            self.owed += 1
            self._end_of_data(transaction, content)

    def _bdat(self, rest: bytes) -> None:
        words = rest.upper().split()
        if not words or not words[0].isdigit():
            self._bad(b"501 5.5.4 BDAT size [LAST]\r\n")
            return
        size = int(words[0])
        transaction = self.transaction
        if transaction is None or not transaction.is_open or not transaction.recipients:
            if self.plan["swallow"]:
                _ = self.exactly(size)
            else:
                self._of_chunk = size
            self._bad(b"503 5.5.1 nobody to send to\r\n")
            return
        transaction.held += self.exactly(size)
        self.show("C", f"({size} octets)")
        if words[1:] == [b"LAST"]:
            self._end_of_data(transaction, transaction.held)
        else:
            transaction.is_open = self._answer("chunk", self._yes(b"octets"))

    def _end_of_data(self, transaction: Transaction, content: bytes) -> None:
        """The end of data was read: decide, note, and only then say."""
        transaction.is_open = False
        everyone = transaction.recipients
        if self.plan["lmtp"]:
            self.owed += len(everyone) - 1
            answered = transaction.named if self.plan["lmtp_answers_all"] else everyone
            for recipient in answered:
                if recipient in everyone:
                    self._final(transaction, content, [recipient])
                else:
                    self.say(b"550 5.1.1 no\r\n", "final", due=False)
        elif everyone:
            self._final(transaction, content, everyone)
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

    # What befalls them.

    def _answer(self, point: str, reply: bytes) -> bool:
        """Answer a command that is no end of data; True if it took effect."""
        match self.draw(point):
            case "no":
                self.say(self.chance.choice(REFUSALS), point)
                return False
            case "421":
                self._say_and_leave(LEAVING, point)
            case "go on":
                self.has_parted = True
                self.say(LEAVING_SOON, point)
                return False
            case "close" | "reset" | "die":
                self.leave()
            case "lie":
                self.say(self.chance.choice(REFUSALS), point)
                if self.transaction is not None:
                    self.transaction.lied_to.update(self.transaction.named[-1:])
                    self.transaction.lied_to_all |= point == "mail"
            case fate:
                self._speak(fate, reply, point)
        return True

    def _final(self, transaction: Transaction, content: bytes, recipients: list[str]) -> None:
        """The verdict on a content, for all of its recipients or, in LMTP, for one."""
        accepted = self._yes(b"queued as %d" % self.round.kept)
        fate = self.draw("final")
        match fate:
            case "no":
                self.say(self.chance.choice(REFUSALS), "final")
            case "421" if not self.plan["lmtp"] or self.chance.random() < 0.5:
                self._say_and_leave(LEAVING, "final")
            case "421" | "go on":
                self.has_parted = True
                self.say(LEAVING_SOON, "final")
            case "close" | "reset":
                self.leave()
            case "die":
                self._keep(transaction, content, recipients)
                self.leave()
            case "lie":
                transaction.lied_to.update(recipients)
                self._keep(transaction, content, recipients)
                self.say(self.chance.choice(REFUSALS), "final")
            case "surplus" | "missing" if self.chance.random() < 0.5:
                self._speak(fate, self.chance.choice(REFUSALS), "final")
            case _:
                self._keep(transaction, content, recipients)
                self._speak(fate, accepted, "final")

    def _keep(self, transaction: Transaction, content: bytes, recipients: list[str]) -> None:
        """Take responsibility."""
        self.round.kept += 1
        self.kept_for(recipients)
        self.round.note(
            "kept",
            session=self.number,
            digest=hashlib.sha256(content).hexdigest(),
            unfolded=hashlib.sha256(unfolded(content)).hexdigest(),
            sender=transaction.sender,
            recipients=recipients,
        )
        if misled := transaction.misled(recipients):
            self.round.note("lied", recipients=misled)
        self.show("S", f"(kept for {' '.join(recipients)})")

    def _speak(self, fate: str | None, reply: bytes, point: str) -> None:
        """Say what is true, in one way or the other."""
        match fate:
            case None:
                self.say(reply, point)
            case "stall":
                self.flush()
                self.pause(STALL)
                self.say(reply, point)
            case "late":
                if self.chance.random() < 0.5:
                    self.flush()
                self.pause_a_little()
                self.say(reply, point)
            case "pieces":
                self.piecemeal(reply, point)
            case "missing":
                self.leave_out(reply)
            case "garbage":
                self.say(self.chance.choice(GARBAGE), point)
            case "wrong":
                self.say(self.chance.choice(WRONG), point)
            case "surplus":
                self._speak_twice(reply, point)
            case _:
                raise AssertionError(fate)

    def _speak_twice(self, reply: bytes, point: str) -> None:
        """A reply too many, before or after the one that is due, in the same write or not."""
        said = [(self.chance.choice(STRAYS), False), (reply, True)]
        apart = self.chance.random() < 0.5
        if self.chance.random() < 0.5:
            said.reverse()
        if apart:
            self.flush()
        for each, due in said:
            self.say(each, point, due=due)
            if apart:
                self.flush()
                self.pause(self.chance.choice((0, 0.001, 0.01)))

    def _say_and_leave(self, reply: bytes, point: str) -> NoReturn:
        self.say(reply, point)
        self.flush()
        self.leave()

    def _yes(self, text: bytes) -> bytes:
        if self.plan["verbose"] and self.chance.random() < 0.3:
            return b"250-%b\r\n250 2.0.0 and more\r\n" % text
        return b"250 2.0.0 %b\r\n" % text


def unfolded(content: bytes) -> bytes:
    """A content with each header field on one line: where it is folded is its writer's choice."""
    header, between, body = content.partition(b"\r\n\r\n")
    return header.replace(b"\r\n ", b" ") + between + body


def path_of(rest: bytes) -> str:
    """The address of ``FROM:<ann@example.org> SIZE=3``."""
    return rest.partition(b"<")[2].partition(b">")[0].decode("utf-8", "replace")
