"""The standard library's `smtplib`, on smtpx's engine: ``from smtpx import smtplib``.

Names, arguments, results and exceptions are the old ones, and so are the ways in which programs
and tests reach inside. What is deliberately otherwise is in docs/smtplib-differences.md. What
tests replace in this module (`socket`, `ssl`, `hmac`, `_fix_eols`, …) is looked up when called.
"""

from __future__ import annotations

import base64 as base64
import copy as copy
import datetime as datetime
import email.message
import email.utils
import hashlib as hashlib
import hmac as hmac
import io as io
import re as re
import socket as socket
import sys as sys
from collections.abc import Sequence
from email.base64mime import body_encode
from operator import attrgetter
from smtplib import (
    SMTPAuthenticationError,
    SMTPConnectError,
    SMTPDataError,
    SMTPException,
    SMTPHeloError,
    SMTPNotSupportedError,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPSenderRefused,
    SMTPServerDisconnected,
)
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from smtpx._forking import have_forks_wait
from smtpx._smtplib.authentication import MAXCHALLENGE, Authentication
from smtpx._smtplib.codes import MAXLINE, CodeAndText, accepts
from smtpx._smtplib.protection import check_key_arguments, own_context, part, protected
from smtpx._smtplib.secrecy import Secrecy
from smtpx._smtplib.transactions import Refused, Transactions

if TYPE_CHECKING:
    import ssl as ssl

    from smtpx._wire.content import Content

    _have_ssl: bool = True
else:
    try:
        import ssl
    except ImportError:
        _have_ssl = False
    else:
        _have_ssl = True

try:
    _ = hmac.digest(b"", b"", "md5")
except ValueError:
    _have_cram_md5_support = False
else:
    _have_cram_md5_support = True

have_forks_wait()

__all__ = [
    "SMTP",
    "SMTPAuthenticationError",
    "SMTPConnectError",
    "SMTPDataError",
    "SMTPException",
    "SMTPHeloError",
    "SMTPNotSupportedError",
    "SMTPRecipientsRefused",
    "SMTPResponseException",
    "SMTPSenderRefused",
    "SMTPServerDisconnected",
    "quoteaddr",
    "quotedata",
]

SMTP_PORT = 25
SMTP_SSL_PORT = 465
LMTP_PORT = 2003
CRLF = "\r\n"
bCRLF = b"\r\n"  # noqa: N816 - an old name
OLDSTYLE_AUTH = re.compile(r"auth=(.*)", re.IGNORECASE)
_MAXLINE = MAXLINE
_MAXCHALLENGE = MAXCHALLENGE
encode_base64 = body_encode

_SourceAddress: TypeAlias = tuple[bytearray | bytes | str, int]
_TIMEOUT: Any = vars(socket)["_GLOBAL_DEFAULT_TIMEOUT"]


def quoteaddr(addrstring: str) -> str:
    """Put the address of ``Name <address>`` into angle brackets."""
    name, address = email.utils.parseaddr(addrstring)
    if name or address:
        return f"<{address}>"
    return addrstring if addrstring.strip().startswith("<") else f"<{addrstring}>"


def _addr_only(addrstring: str) -> str:  # pyright: ignore[reportUnusedFunction] - an old name
    name, address = email.utils.parseaddr(addrstring)
    return address if name or address else addrstring


def quotedata(data: str) -> str:
    """Make every line end a CRLF and double the dots that begin a line."""
    text = _fix_eols(data).replace("\n.", "\n..")
    return "." + text if text.startswith(".") else text


def _quote_periods(bindata: bytes) -> bytes:
    stuffed = bindata.replace(b"\n.", b"\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


def _fix_eols(data: str) -> str:
    return data.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")


class SMTP(Authentication, Transactions):
    """A connection to an SMTP server, with a method for each command and `sendmail` for them all.

    With a `host` it connects at once. Replies are pairs: the code, and the text as bytes.

    Raises:
        SMTPConnectError: the server does not want the connection.
        SMTPServerDisconnected: it closed the connection, or was too slow.
        OSError: no connection can be made.
    """

    default_port: int = SMTP_PORT

    _finals: Sequence[CodeAndText] = ()  # the replies to the last end of data
    _is_reached_into = False  # A step of `sendmail` has been set here, if only for a while.

    def __init__(
        self,
        host: str = "",
        port: int = 0,
        local_hostname: str | None = None,
        timeout: float | None = _TIMEOUT,
        source_address: _SourceAddress | None = None,
    ) -> None:
        self._host = host
        self.timeout = timeout
        self.esmtp_features = {}
        self.command_encoding = "ascii"
        self.source_address = source_address
        self._auth_challenge_count = 0
        self._secrecy = Secrecy()
        if host:
            code, message = self.connect(host, port)
            if code != 220:
                self.close()
                raise SMTPConnectError(code, message)
        self.local_hostname = _own_name() if local_hostname is None else local_hostname

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        try:
            if any(
                isinstance(one, BaseException) and not isinstance(one, Exception) for one in args
            ):
                return  # Interrupted, who knows in the middle of what: QUIT might be content there.
            code, message = self.docmd("QUIT")
            part(self.sock)
            if code != 221:
                raise SMTPResponseException(code, message)
        except SMTPServerDisconnected:
            pass  # It is gone, as it was to be.
        finally:
            self.close()

    # The connection.

    def connect(
        self, host: str = "localhost", port: int = 0, source_address: _SourceAddress | None = None
    ) -> CodeAndText:
        """Connect and return the greeting; without a port, `host` may end in ``:port``."""
        if source_address:
            self.source_address = source_address
        if not port and host.count(":") == 1:
            host, _, suffix = host.partition(":")
            try:
                port = int(suffix)
            except ValueError:
                raise OSError("nonnumeric port") from None
        port = port or self.default_port
        sys.audit("smtplib.connect", self, host, port)
        self._start_afresh(host)
        self.sock = self._get_socket(host, port, self.timeout)
        self.file = None
        return self._greeting()

    def _get_socket(self, host: str, port: int, timeout: float | None) -> socket.socket:
        _check_timeout(timeout)
        if self.debuglevel > 0:
            self._print_debug("connect: to", (host, port), self.source_address)
        return socket.create_connection((host, port), timeout, self.source_address)

    def _start_afresh(self, host: str) -> None:
        if self.sock is not None:
            self.close()
        self._host = host
        self._secrecy = Secrecy()
        self._forget()
        _ = self._engine  # It is loaded before a server waits.

    def _greeting(self) -> CodeAndText:
        code, message = self.getreply()
        if self.debuglevel > 0:
            self._print_debug("connect:", repr(message))
        return code, message

    def quit(self) -> CodeAndText:
        """Say QUIT and close the connection; `connect` may follow."""
        reply = self.docmd("quit")
        part(self.sock)
        self._forget()
        self.close()
        return reply

    # TLS.

    def starttls(
        self,
        keyfile: str | None = None,
        certfile: str | None = None,
        context: ssl.SSLContext | None = None,
    ) -> CodeAndText:
        """STARTTLS and the handshake; what was learnt from the server before is forgotten.

        Without a context, certificate and name of every host but this machine are verified.

        Raises:
            SMTPNotSupportedError: the server does not offer it.
            SMTPResponseException: it does, but not now.
            SMTPException: octets in plain text followed its reply.
            ssl.SSLError: the handshake failed; the connection is closed.
        """
        check_key_arguments(keyfile, certfile, context)
        self.ehlo_or_helo_if_needed()
        if not self.has_extn("starttls"):
            raise SMTPNotSupportedError("STARTTLS extension not supported by server.")
        if not _have_ssl:
            raise RuntimeError("No SSL support included in this Python")
        code, message = self.docmd("STARTTLS")
        if not accepts(code):
            raise SMTPResponseException(code, message)
        try:
            injected = self._engine.glance(self)
        except OSError as error:
            self.close()
            raise SMTPServerDisconnected(f"Connection unexpectedly closed: {error}") from error
        if injected:
            self.close()
            raise SMTPException(
                "octets in plain text followed the reply to STARTTLS: an attack, or a broken server"
            )
        try:
            self.sock = protected(ssl, self.sock, context, self._host, keyfile, certfile)
        except BaseException:
            self.close()
            raise
        self.file = None
        self._forget()
        return code, message

    # Authentication.

    def auth_cram_md5(self, challenge: bytes | None = None) -> str | None:
        """CRAM-MD5 with `user` and `password`, for `auth`."""
        if challenge is None:
            return None
        if not self._has_cram_md5():
            raise SMTPException("CRAM-MD5 is not supported")
        digest = hmac.HMAC(self.password.encode(), challenge, "md5").hexdigest()
        return f"{self.user} {digest}"

    def _has_cram_md5(self) -> bool:
        return _have_cram_md5_support

    # Mail.

    def data(self, msg: bytes | str) -> CodeAndText:
        """DATA and the content; returns the reply to its end.

        Raises:
            SMTPDataError: DATA was refused.
            SMTPServerDisconnected: the connection ended; the text says if the outcome is in doubt.
        """
        self.putcmd("data")
        code, text = self.getreply()
        if self.debuglevel > 0:
            self._print_debug("data:", (code, text))
        if not 300 <= code <= 399:
            raise SMTPDataError(code, text)
        closing = self._engine.waiting(self)
        if closing is not None:
            raise SMTPDataError(*closing)
        octets = _octets(msg)
        due = max(self._accepted, 1) if self._lmtp else 1
        if self._is_as_made():
            self._finals = self._engine.sent(self, octets or bCRLF, due)
        else:
            self._finals = self._by_steps(_with_end(octets), due)
        self._accepted = 0
        # Who looks at one reply only must not miss a refusal.
        reply = next((reply for reply in self._finals if not accepts(reply[0])), self._finals[-1])
        if self.debuglevel > 0:
            self._print_debug("data:", reply)
        return reply

    def _is_as_made(self) -> bool:
        """True if nobody replaced a step of `sendmail`, here or in a subclass."""
        if _is_patched() or (self._is_reached_into and not vars(self).keys().isdisjoint(_STEPS)):
            return False
        return _steps_of(type(self)) == _AS_MADE

    if not TYPE_CHECKING:  # It would have a type checker take any attribute.

        def __setattr__(self, name: str, value: object) -> None:
            # To look into `__dict__` for each message would have CPython look up all else there,
            # too, and no longer by its place: a twentieth of what `sendmail` costs.
            if name in _STEPS:
                super().__setattr__("_is_reached_into", True)
            super().__setattr__(name, value)

    def sendmail(
        self,
        from_addr: str,
        to_addrs: str | Sequence[str],
        msg: bytes | str,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> Refused:
        """Send one message, and return who was refused: address to reply.

        A single string is one address. Text must be ASCII. Options are left out where the server
        does not offer what they need.

        Raises:
            AddressError: an address cannot be sent to; nothing was sent.
            SMTPHeloError: the server takes neither EHLO nor HELO.
            SMTPSenderRefused: it refused the sender.
            SMTPRecipientsRefused: it refused every recipient, or there is none.
            SMTPDataError: it refused the content.
            SMTPNotSupportedError: SMTPUTF8 is asked for, and not offered.
            SMTPServerDisconnected: the connection ended; the text says if the outcome is in doubt.
        """
        addresses = [to_addrs] if isinstance(to_addrs, str) else list(to_addrs)
        as_made, engine = self._is_as_made(), self._engine
        sender, paths = "", []
        if as_made:  # else the replaced steps may know what to make of them
            sender = engine.sender_path(from_addr)
            paths = list(map(engine.recipient_path, addresses))
        self.ehlo_or_helo_if_needed()
        octets = _octets(msg)
        content = engine.content(octets or bCRLF)
        mail_opts: list[str] = []
        if self.does_esmtp:
            if mail_options:
                mail_opts = engine.offered(mail_options, self.has_extn)
            states_size = mail_opts and any(o[:5].upper() == "SIZE=" for o in mail_opts)
            if self.has_extn("size") and not states_size:
                mail_opts.insert(0, f"size={_size(octets, content)}")
        rcpt_opts = engine.offered(rcpt_options, self.has_extn) if rcpt_options else []
        if not addresses:
            raise SMTPRecipientsRefused({})
        if as_made:  # Whatever cannot be said is found out before anything is.
            lines = [f"mail {self._mail_argument(sender, mail_opts)}"]
            for path in paths:
                lines.append(f"rcpt {self._rcpt_argument(path, rcpt_opts)}")
            self._guard(" ".join(lines))
            if self.does_esmtp and self.has_extn("pipelining"):
                return self._pipeline(from_addr, addresses, lines, content)
        return self._judge(
            from_addr,
            addresses,
            lambda: self._mail(from_addr, mail_opts),
            lambda address: self.rcpt(address, rcpt_opts),
            lambda accepted: self._data(octets, accepted),
        )

    def _mail(self, sender: str, options: Sequence[str]) -> CodeAndText:
        closing = self._engine.waiting(self)
        return self.mail(sender, options) if closing is None else closing

    def _data(self, octets: bytes, accepted: int) -> Sequence[CodeAndText]:
        self._accepted = accepted
        self._finals = list[CodeAndText]()
        reply = self.data(octets)
        return self._finals or [reply]

    def send_message(
        self,
        msg: email.message.Message[Any, Any],
        from_addr: str | None = None,
        to_addrs: str | Sequence[str] | None = None,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> Refused:
        """Write a message and give it to `sendmail`; it is sent without its Bcc fields.

        Who sends and who gets it is in the header, in the Resent- fields if it was resent.
        Non-ASCII addresses make it a message in SMTPUTF8 where that is offered.

        Raises:
            ValueError: there are several Resent- blocks, no sender, or a header value that
                would begin another field.
            SMTPNotSupportedError: a local-part is not ASCII, and SMTPUTF8 is not offered.
        """
        self.ehlo_or_helo_if_needed()
        from smtpx._smtplib.composing import as_given_to_sendmail

        given = as_given_to_sendmail(msg, from_addr, to_addrs, mail_options, self.has_extn)
        return self.sendmail(*given, rcpt_options)


_STEPS = ("data", "docmd", "getreply", "mail", "putcmd", "rcpt", "send")
_steps_of = attrgetter(*_STEPS)
_AS_MADE = _steps_of(SMTP)
_MADE = (_fix_eols, _quote_periods)


def _is_patched() -> bool:
    return (_fix_eols, _quote_periods) != _MADE


def _octets(msg: bytes | bytearray | memoryview | str) -> bytes:
    if isinstance(msg, str):
        return _fix_eols(msg).encode("ascii")
    return msg if isinstance(msg, bytes) else bytes(memoryview(msg))


def _with_end(msg: bytes) -> bytes:
    """Content as it goes on the wire, with the end of data."""
    if not _is_patched():
        from smtpx._wire.content import canonical

        msg = canonical(msg)
    octets = _quote_periods(msg)
    return octets + (b"" if octets.endswith(bCRLF) else bCRLF) + b"." + bCRLF


def _size(msg: bytes, content: Content) -> int:
    """What `size=` says: the octets as they will be sent, without a last line end we add."""
    if _is_patched() or not msg or content.size is None:
        return len(msg)
    return content.size - (0 if msg.endswith((b"\r", b"\n")) else 2)


def _own_name() -> str:
    """Our name for EHLO: the host's, else an address literal (RFC 5321 §4.1.4)."""
    name = socket.getfqdn()
    if "." in name:
        return name
    try:
        address = socket.gethostbyname(socket.gethostname())
    except socket.gaierror:
        address = "127.0.0.1"
    return f"[{address}]"


def _check_timeout(timeout: float | None) -> None:
    if timeout is not None and not timeout:
        raise ValueError("a timeout of 0 would make the socket non-blocking, which cannot work")


if _have_ssl:

    class SMTP_SSL(SMTP):  # noqa: N801 - an old name
        """A connection that is under TLS from its first octet on.

        Without a context, certificate and name of every host but this machine are verified.
        """

        default_port = SMTP_SSL_PORT

        def __init__(
            self,
            host: str = "",
            port: int = 0,
            local_hostname: str | None = None,
            keyfile: str | None = None,
            certfile: str | None = None,
            timeout: float | None = _TIMEOUT,
            source_address: _SourceAddress | None = None,
            context: ssl.SSLContext | None = None,
        ) -> None:
            check_key_arguments(keyfile, certfile, context)
            self.keyfile = keyfile
            self.certfile = certfile
            self._context = context
            super().__init__(host, port, local_hostname, timeout, source_address)

        @property
        def context(self) -> ssl.SSLContext:
            """The context that was given; without one, that for every host but this machine."""
            if self._context is None:
                self._context = own_context(ssl, self.keyfile, self.certfile)
            return self._context

        @context.setter
        def context(self, context: ssl.SSLContext) -> None:
            self._context = context

        def _get_socket(self, host: str, port: int, timeout: float | None) -> socket.socket:
            if self.debuglevel > 0:
                self._print_debug("connect:", (host, port))
            plain = super()._get_socket(host, port, timeout)
            try:
                return protected(ssl, plain, self._context, self._host, self.keyfile, self.certfile)
            except BaseException:
                plain.close()
                raise

    __all__ += ["SMTP_SSL"]


class LMTP(SMTP):
    """A connection to an LMTP server (RFC 2033); a host that begins with ``/`` is a unix socket.

    After the end of data the server replies for each recipient it had accepted: `sendmail` tells
    those it refused there like those it refused before.
    """

    ehlo_msg = "lhlo"
    default_port = LMTP_PORT
    _lmtp = True

    def __init__(
        self,
        host: str = "",
        port: int = LMTP_PORT,
        local_hostname: str | None = None,
        source_address: _SourceAddress | None = None,
        timeout: float | None = _TIMEOUT,
    ) -> None:
        super().__init__(host, port, local_hostname, timeout=timeout, source_address=source_address)

    @property
    def data_replies(self) -> list[CodeAndText]:
        """The replies to the end of data of the last `data`, one for each recipient accepted."""
        return list(self._finals)

    def connect(
        self, host: str = "localhost", port: int = 0, source_address: _SourceAddress | None = None
    ) -> CodeAndText:
        """Connect, by TCP or to a unix socket, and return the greeting."""
        if not host.startswith("/"):
            return super().connect(host, port, source_address=source_address)
        _check_timeout(self.timeout)
        if not hasattr(socket, "AF_UNIX"):
            raise OSError("this system has no unix sockets: connect to a host and port")
        self._start_afresh(host)
        try:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            if self.timeout is not _TIMEOUT:
                self.sock.settimeout(self.timeout)
            self.file = None
            self.sock.connect(host)
        except OSError:
            if self.debuglevel > 0:
                self._print_debug("connect fail:", host)
            self.close()
            raise
        return self._greeting()


def _main() -> None:
    def ask(what: str) -> str:
        _ = sys.stdout.write(f"{what}: ")
        sys.stdout.flush()
        return sys.stdin.readline().strip()

    sender = ask("From")
    to = [address.strip() for address in ask("To").split(",")]
    _ = sys.stdout.write("Enter message, end with ^D:\n")
    sys.stdout.flush()
    message = sys.stdin.read()
    _ = sys.stdout.write(f"Message length is {len(message)}\n")
    with SMTP("localhost") as server:
        server.set_debuglevel(1)
        _ = server.sendmail(sender, to, message)


if __name__ == "__main__":
    _main()
