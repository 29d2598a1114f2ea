"""A strict SMTP and LMTP server without I/O, which writes down every breach by the client.

It shares no line with the client: it is the oracle the client is tested against. Bytes go in with
`ServerProtocol.receive_data`; commands come out one at a time with `next_command`. Each is either
performed (`answer`) or refused (`refuse`), which gives the bytes of its reply. The seam between
the two is where a host plays its faults. RFC 5321, RFC 2033, RFC 2920, RFC 3030.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto

from smtpx import _checks

from ._authentication import Authentication, Said
from ._delivery import deliver
from ._extensions import Extension
from ._grammar import is_identification, read_path
from ._mailbox import Mailbox, ReceivedMessage, Via
from ._offer import ehlo_lines, extensions_offered
from ._options import ServerOptions, refusal
from ._parameters import read_parameters
from ._reader import Command, CommandReader, read_chunk_size
from ._replies import format_reply
from ._transaction import Transaction
from .faults import AUTH_RESPONSE, END_OF_DATA

_RECIPIENT = 500
"""About how many octets one more takes, beside its line."""
_HTTP = re.compile(r"\S+ HTTP/[0-9.]+", re.IGNORECASE)
_BARE = frozenset({"DATA", "RSET", "QUIT", "STARTTLS"})


class Then(Enum):
    """What follows once the reply has been written."""

    CONTINUE = auto()
    START_TLS = auto()
    CLOSE = auto()
    HANG_UP = auto()
    """Close, though the client has not said QUIT."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says to a command."""

    reply: bytes
    then: Then = Then.CONTINUE


class ServerProtocol:
    """One session, seen from the server.

    `breaches` and `commands` grow as the session goes on. The first holds a sentence for everything
    the client should not have done. The second holds every line it said, content excepted.
    """

    def __init__(
        self,
        options: ServerOptions | None = None,
        mailbox: Mailbox | None = None,
        *,
        session: int = 1,
        tls: bool = False,
        kept_lines: int | None = None,
        is_full: Callable[[], bool] = lambda: False,
    ) -> None:
        """Begin a session; of its `commands` and `breaches` the first `kept_lines` are kept.

        `is_full` is asked whether there is no room for more of what is `held`.
        """
        _checks.count("kept_lines", kept_lines, 1, or_none=True)
        _checks.instance("options", options, ServerOptions, or_none=True)
        _checks.instance("mailbox", mailbox, Mailbox, or_none=True)
        _checks.count("session", session, 1)
        _checks.flag("tls", tls)
        self.options = options if options is not None else ServerOptions()
        self.mailbox = mailbox if mailbox is not None else Mailbox()
        self.session = session
        self.tls = tls
        if not callable(is_full):  # pyright: ignore[reportUnnecessaryComparison] - callers
            raise _checks.complaint("is_full", is_full, "what can be called")
        self._is_full = is_full
        self._reader = CommandReader(self.options.size_limit, kept_lines, is_full)
        self.breaches = self._reader.breaches
        self.commands = self._reader.commands
        self._helo: str | None = None
        self._turned_away = False
        self._transaction: Transaction | None = None
        self._attempted = False
        self._transactions = 0
        self._domains: set[str] = set()
        self._authentication = Authentication(self.options, self.breaches)
        self._perform: dict[str, Callable[[Command], Answer]] = {
            "EHLO": self._ehlo,
            "HELO": self._ehlo,
            "LHLO": self._ehlo,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            END_OF_DATA: self._end_of_data,
            "BDAT": self._bdat,
            "RSET": self._rset,
            "NOOP": self._noop,
            "HELP": self._help,
            "VRFY": self._verify,
            "EXPN": self._verify,
            "QUIT": self._quit,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            AUTH_RESPONSE: self._auth_response,
        }

    # What the host calls.

    @property
    def user(self) -> str | None:
        """Who has authenticated, if anyone."""
        return self._authentication.user

    @property
    def content_octets(self) -> int:
        """Octets of content received so far, those of an unfinished one included."""
        return self._reader.content_octets + (self._reader.content_pending or 0)

    @property
    def held(self) -> int:
        """About how many octets of mail have come that have not ended."""
        return self._reader.held + (0 if self._transaction is None else self._transaction.held)

    @property
    def in_content(self) -> bool:
        """The next octets from the client are content."""
        return self._reader.content_pending is not None

    def greet(self, reply: str | None = None) -> Answer:
        """Open the session (RFC 5321 §3.1), with `reply` in place of the usual one.

        After a refusal everything but QUIT is answered 503.
        """
        text = reply or self.options.greeting
        if text is None:
            kind = "LMTP" if self.options.lmtp else "ESMTP"
            text = f"220 {self.options.hostname} {kind} smtpx.testing"
        self._turned_away = text[0] != "2"
        return Answer(format_reply(text))

    def receive_data(self, data: bytes, *, unanswered: bool = False) -> None:
        """Take what came from the client.

        `unanswered` says that the reply to the last command has not left completely yet: then
        the client did not wait for it.
        """
        self._reader.feed(data, unanswered=unanswered)

    def next_command(self) -> Command | None:
        """Take the next command out of what was received; None when more bytes are needed.

        Each must be given to `answer` or `refuse` before the next is asked for.
        """
        command = self._reader.next_command()
        if command is not None and command.verb == "BDAT":
            return replace(command, also=self._also(command.argument))
        return command

    def _also(self, argument: str) -> tuple[tuple[str, int], ...]:
        """Say what a BDAT begins and ends, as DATA and the lone dot do."""
        transaction, size = self._transaction, read_chunk_size(argument)
        if transaction is None or transaction.broken or size is None:
            return ()
        names = [] if transaction.chunked else ["DATA"]
        if size[1] and transaction.recipients:
            names.append(END_OF_DATA)
        return tuple((name, self._reader.count(name)) for name in names)

    def answer(self, command: Command) -> Answer:
        """Perform the command."""
        verb = command.verb
        if self._turned_away and verb != "QUIT":
            self._breach(f"{verb}, though the greeting turned the client away")
            return self._say(503, "5.5.1", "Only QUIT is left to say")
        perform = self._perform.get(verb)
        if perform is None:
            self._breach(f"unknown command {verb[:60]!r}")
            answer = self._say(500, "5.5.2", "Command unrecognized")
            if _HTTP.fullmatch(command.argument):
                # Of a page in a browser: what follows would be commands of its author.
                self._reader.expect_nothing()
                return Answer(answer.reply, Then.HANG_UP)
            return answer
        if command.argument and verb in _BARE:
            self._breach(f"{verb} takes no argument")
            return self._say(501, "5.5.4", f"{verb} takes no argument")
        return perform(command)

    def refuse(self, command: Command, reply: str) -> Answer:
        """Say `reply` in place of performing the command."""
        said, count = format_reply(reply), 1
        match command.verb:
            case "MAIL":
                self._attempted = True
            case "BDAT":
                count = self._refuse_chunk(command)
            case verb if verb == END_OF_DATA:
                count = self._final_replies()
                self._forget_transaction()
            case verb if verb == AUTH_RESPONSE:
                self._authentication.cancel()
                self._reader.expect_commands()
            case _:
                pass
        return Answer(said * count)

    def tls_agreed(self, bindings: Mapping[str, bytes], certificate_user: str | None) -> None:
        """Note what the handshake came to, for the mechanisms that build on it."""
        self._authentication.bindings = bindings
        self._authentication.certificate_user = certificate_user

    def tls_started(self) -> None:
        """Begin anew, under TLS: the client must say EHLO again (RFC 3207 §4.2)."""
        self.tls = True
        self._authentication.user = None
        self._helo = None
        self._reader.offered = frozenset()
        self._forget_transaction()
        self._reader.expect_commands()

    # Speaking.

    def _offers(self, extension: Extension) -> bool:
        return extension in self._reader.offered

    def _breach(self, text: str) -> None:
        self.breaches.append(text)

    def _out_of_order(self, text: str) -> Answer:
        self._breach(f"out of order: {text}")
        return self._say(503, "5.5.1", text)

    def _not_offered(self, verb: str, extension: Extension) -> Answer:
        self._breach(f"{verb}, but {extension.value} was not offered")
        return self._say(502, "5.5.1", "Command not implemented")

    def _say(self, code: int, enhanced: str, text: str) -> Answer:
        # RFC 2034 §4: an enhanced status code stands in 2xx, 4xx and 5xx replies only.
        if self._offers(Extension.ENHANCED_STATUS_CODES) and code >= 200 and code // 100 != 3:
            return Answer(f"{code} {enhanced} {text}\r\n".encode())
        return Answer(f"{code} {text}\r\n".encode())

    # Client identification (RFC 5321 §4.1.1.1, RFC 2033 §4.1).

    def _ehlo(self, command: Command) -> Answer:
        options, said = self.options, command.verb
        if (said == "LHLO") is not options.lmtp:
            self._breach(f"{said} said to {'an LMTP' if options.lmtp else 'an SMTP'} server")
            return self._say(500, "5.5.1", "Wrong protocol")
        if options.refuse_ehlo and said == "EHLO":
            return self._say(502, "5.5.1", "Command not implemented")
        if not is_identification(command.argument):
            self._breach(f"{said} {command.argument!r} is no domain and no address literal")
            return self._say(501, "5.5.4", f"Syntax: {said} domain")
        self._helo = command.argument
        self._forget_transaction()
        if said == "HELO":
            self._reader.offered = frozenset()
            return self._say(250, "", options.hostname)
        offered = extensions_offered(options, tls=self.tls)
        self._reader.offered = offered
        lines = [f"{options.hostname} greets {command.argument}", *ehlo_lines(options, offered)]
        return Answer(format_reply("250 " + "\n".join(lines)))

    # The mail transaction (RFC 5321 §3.3).

    def _mail(self, command: Command) -> Answer:
        options = self.options
        if self._helo is None:
            return self._out_of_order("MAIL before EHLO")
        if self._transaction is not None:
            # A client that groups commands cannot know yet that its BDAT was refused.
            if self._transaction.broken and self._offers(Extension.PIPELINING):
                return self._say(503, "5.5.1", "Nested MAIL")
            return self._out_of_order("nested MAIL")
        self._attempted = True
        read = self._read_envelope("MAIL", "FROM:", command.argument)
        if isinstance(read, Answer):
            return read
        address, parameters = read
        if not address.isascii() and "SMTPUTF8" not in parameters:
            return self._needs_smtputf8(address)
        if options.require_authentication and self.user is None:
            return self._say(530, "5.7.0", "Authentication required")
        if options.mail_limit is not None and self._transactions >= options.mail_limit:
            if self._offers(Extension.LIMITS):
                self._breach("more transactions than MAILMAX (RFC 9422)")
            return self._say(452, "4.5.3", "Too many transactions in this session")
        if options.size_limit is not None and int(parameters.get("SIZE", 0)) > options.size_limit:
            return self._say(552, "5.3.4", "Message too big")
        if (refused := refusal("refuse_senders", options.refuse_senders, address)) is not None:
            return Answer(format_reply(refused))
        self._transactions += 1
        self._transaction = Transaction(address, parameters)
        return self._say(250, "2.1.0", "Ok")

    def _rcpt(self, command: Command) -> Answer:
        transaction = self._transaction
        if transaction is None:
            return self._not_begun("RCPT")
        if transaction.chunked:
            return self._out_of_order("RCPT after BDAT")
        read = self._read_envelope("RCPT", "TO:", command.argument)
        if isinstance(read, Answer):
            return read
        address, parameters = read
        if not address.isascii() and not transaction.smtputf8:
            return self._needs_smtputf8(address)
        limit = self.options.recipient_limit
        if limit is not None and len(transaction.recipients) >= limit:
            if self._offers(Extension.LIMITS):
                self._breach("more recipients than RCPTMAX (RFC 9422)")
            return self._say(452, "4.5.3", "Too many recipients")
        limit = self.options.domain_limit
        if limit is not None:
            self._domains.add(address.rpartition("@")[2].lower())
            if len(self._domains) > limit:
                if self._offers(Extension.LIMITS):
                    self._breach("more domains than RCPTDOMAINMAX (RFC 9422)")
                return self._say(452, "4.5.3", "Too many domains in this session")
        if (
            refused := refusal("refuse_recipients", self.options.refuse_recipients, address)
        ) is not None:
            return Answer(format_reply(refused))
        held = len(command.argument) + _RECIPIENT
        transaction.held += held
        if self._is_full():
            transaction.held -= held
            return self._no_room()
        transaction.recipients.append(address)
        transaction.recipient_parameters.append(parameters)
        return self._say(250, "2.1.5", "Ok")

    def _read_envelope(
        self, verb: str, preposition: str, argument: str
    ) -> tuple[str, dict[str, str]] | Answer:
        """Read ``FROM:<path> parameters``; an Answer is the refusal of what it is."""
        if argument[: len(preposition)].upper() != preposition:
            self._breach(f"{verb} without {preposition}")
            return self._say(501, "5.5.4", f"Syntax: {verb} {preposition}<address>")
        rest = argument[len(preposition) :]
        path = read_path(rest, null=verb == "MAIL")
        if path is None:
            self._breach(f"{verb} with a path unknown to RFC 5321 §4.1.2: {rest[:80]!r}")
            return self._say(501, "5.1.7" if verb == "MAIL" else "5.1.3", "Bad address syntax")
        for fault in path.faults:
            self._breach(f"{verb}: {fault}")
        parameters, faults = read_parameters(verb, rest[path.end :], self._reader.offered)
        for fault in faults:
            self._breach(f"{verb}: {fault}")
        if faults:
            return self._say(555, "5.5.4", "Parameters not recognized or not implemented")
        return path.address, parameters

    def _needs_smtputf8(self, address: str) -> Answer:
        self._breach(f"internationalized address {address!r} without SMTPUTF8 (RFC 6531 §3.4)")
        return self._say(553, "5.6.7", "Internationalized address without SMTPUTF8")

    def _not_begun(self, verb: str) -> Answer:
        # RFC 2920 §3.1: the rest of a command group whose MAIL was refused is no breach.
        if self._attempted and self._offers(Extension.PIPELINING):
            return self._say(503, "5.5.1", f"{verb} without an accepted MAIL")
        return self._out_of_order(f"{verb} without MAIL")

    def _no_recipients(self, verb: str) -> Answer:
        if not self._offers(Extension.PIPELINING):
            self._breach(f"out of order: {verb} without an accepted recipient")
        return self._say(503 if self.options.lmtp else 554, "5.5.1", "No valid recipients")

    def _data(self, _: Command) -> Answer:
        transaction = self._transaction
        if transaction is None:
            answer = self._not_begun("DATA")
            self._attempted = False
            return answer
        if transaction.chunked or transaction.broken:
            return self._out_of_order("DATA after BDAT")
        if transaction.body == "BINARYMIME":
            return self._out_of_order("DATA with BODY=BINARYMIME (RFC 3030 §3)")
        if not transaction.recipients and not self.options.data_without_recipients:
            return self._no_recipients("DATA")
        self._reader.expect_content()
        return self._say(354, "", "End data with <CR><LF>.<CR><LF>")

    def _end_of_data(self, command: Command) -> Answer:
        transaction = self._transaction
        if transaction is None:
            raise AssertionError("DATA is answered 354 within a transaction only")
        if not transaction.recipients and command.content:
            self._breach("content sent though no recipient was accepted (RFC 2920 §3.1)")
        if command.oversize:
            self._forget_transaction()
            said = self._no_room() if command.no_room else self._too_big()
            return Answer(said.reply * self._due(transaction))
        return self._conclude(transaction, command.content, Via.DATA)

    def _bdat(self, command: Command) -> Answer:
        size = read_chunk_size(command.argument)
        if size is None:
            self._breach(f"malformed BDAT {command.argument[:60]!r} (RFC 3030 §2)")
            return self._say(501, "5.5.4", "Syntax: BDAT size [LAST]")
        if not self._offers(Extension.CHUNKING):
            return self._not_offered("BDAT", Extension.CHUNKING)
        transaction = self._transaction
        if transaction is None:
            answer = self._not_begun("BDAT")
            self._attempted = self._attempted and not size[1]
            return answer
        if transaction.broken:
            return self._say(503, "5.5.1", "A chunk was refused, only RSET helps")
        if not transaction.recipients:
            transaction.broken = True
            return self._no_recipients("BDAT")
        transaction.chunked = True
        transaction.held += len(command.content)
        no_room = command.no_room or (not size[1] and self._is_full())
        if no_room or self._is_too_big(transaction, command):
            transaction.held = 0
            transaction.chunks.clear()
            transaction.broken = True
            said = self._no_room() if no_room else self._too_big()
            return Answer(said.reply * (self._due(transaction) if size[1] else 1))
        transaction.chunks.append(command.content)
        if not size[1]:
            return self._say(250, "2.0.0", f"{size[0]} octets received")
        return self._conclude(transaction, b"".join(transaction.chunks), Via.BDAT)

    def _refuse_chunk(self, command: Command) -> int:
        """Take note that a BDAT was refused; return how many replies that takes."""
        transaction, size = self._transaction, read_chunk_size(command.argument)
        if transaction is None:
            return 1
        if size is not None and size[1] and transaction.recipients and not transaction.broken:
            count = self._final_replies()
            self._forget_transaction()
            return count
        transaction.broken = True
        return 1

    def _is_too_big(self, transaction: Transaction, command: Command) -> bool:
        limit = self.options.size_limit
        held = sum(map(len, transaction.chunks)) + len(command.content)
        return limit is not None and (command.oversize or held > limit)

    def _too_big(self) -> Answer:
        return self._say(552, "5.3.4", "Message too big")

    def _no_room(self) -> Answer:
        return self._say(452, "4.3.1", "Too much mail is on its way: try again later")

    def _final_replies(self) -> int:
        """Count the replies after the end of the content (RFC 2033 §4.2)."""
        return 1 if self._transaction is None else self._due(self._transaction)

    def _due(self, transaction: Transaction) -> int:
        return max(1, len(transaction.recipients)) if self.options.lmtp else 1

    def _conclude(self, transaction: Transaction, content: bytes, via: Via) -> Answer:
        """Judge the content, deliver it, and reply."""
        self._forget_transaction()
        for fault in transaction.content_faults(content):
            self._breach(fault)
        if not transaction.recipients:
            return self._say(554, "5.5.1", "No valid recipients")
        message = self._message(transaction, content, via)
        accepted = self._say(250, "2.0.0", f"Ok: queued as {message.queue_id}").reply
        return Answer(deliver(message, self.options, self.mailbox, accepted))

    def _message(self, transaction: Transaction, content: bytes, via: Via) -> ReceivedMessage:
        return ReceivedMessage(
            sender=transaction.sender,
            recipients=tuple(transaction.recipients),
            content=content,
            mail_parameters=transaction.parameters,
            recipient_parameters=tuple(transaction.recipient_parameters),
            tls=self.tls,
            user=self.user,
            smtputf8=transaction.smtputf8,
            helo=self._helo or "",
            via=via,
            session=self.session,
            queue_id=self.mailbox._next_id(),
        )

    def _forget_transaction(self) -> None:
        self._transaction = None
        self._attempted = False

    # The small commands (RFC 5321 §4.1.1.5 to §4.1.1.10).

    def _rset(self, _: Command) -> Answer:
        self._forget_transaction()
        return self._say(250, "2.0.0", "Ok")

    def _noop(self, _: Command) -> Answer:
        return self._say(250, "2.0.0", "Ok")

    def _help(self, _: Command) -> Answer:
        return self._say(214, "2.0.0", "See RFC 5321")

    def _verify(self, command: Command) -> Answer:
        if not command.argument:
            self._breach(f"{command.verb} needs an argument")
            return self._say(501, "5.5.4", f"Syntax: {command.verb} string")
        text = command.argument.removesuffix(" SMTPUTF8")
        if not text.isascii() and text == command.argument:
            return self._needs_smtputf8(text)
        if command.verb == "EXPN":
            return self._say(502, "5.5.1", "Command not implemented")
        return self._say(252, "2.0.0", "Cannot verify, but will try")

    def _quit(self, _: Command) -> Answer:
        self._reader.expect_nothing()
        return Answer(self._say(221, "2.0.0", "Bye").reply, Then.CLOSE)

    # TLS (RFC 3207).

    def _starttls(self, _: Command) -> Answer:
        if self.tls:
            return self._out_of_order("STARTTLS under TLS")
        if not self._offers(Extension.STARTTLS):
            return self._not_offered("STARTTLS", Extension.STARTTLS)
        # What the client has sent already is plaintext that must not count (RFC 3207 §6).
        self._reader.expect_nothing()
        return Answer(self._say(220, "2.0.0", "Ready to start TLS").reply, Then.START_TLS)

    # Authentication (RFC 4954).

    def _auth(self, command: Command) -> Answer:
        if not self._offers(Extension.AUTH):
            return self._not_offered("AUTH", Extension.AUTH)
        if self.user is not None:
            return self._out_of_order("AUTH after authentication")
        if self._transaction is not None:
            return self._out_of_order("AUTH within a mail transaction")
        return self._exchange(self._authentication.begin(command.argument))

    def _auth_response(self, command: Command) -> Answer:
        return self._exchange(self._authentication.respond(command.argument))

    def _exchange(self, said: Said) -> Answer:
        if said.code == 334:
            self._reader.expect_auth_response()
        else:
            self._reader.expect_commands()
        return self._say(said.code, said.enhanced, said.text)
