"""The commands of `smtpx.smtplib` that stand alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from smtplib import SMTPHeloError, SMTPNotSupportedError, SMTPServerDisconnected

from smtpx._smtplib.codes import CodeAndText, accepts
from smtpx._smtplib.dialogue import Dialogue

__all__ = ["Commands"]


class Commands(Dialogue):
    """A connection on which commands can be said, in the order that the caller chooses."""

    helo_resp: bytes | None = None
    ehlo_msg: str = "ehlo"
    ehlo_resp: bytes | None = None
    does_esmtp: bool = False
    esmtp_features: dict[str, str]
    """What EHLO was answered: lower-case keyword to parameters."""
    local_hostname: str

    _accepted = 0  # recipients, in the transaction that is made by single commands
    _utf8 = False  # command_encoding was set by us

    def _forget(self) -> None:
        """Forget what the server said about itself (RFC 3207 §4.2)."""
        self.helo_resp = self.ehlo_resp = None
        self.esmtp_features = {}
        self.does_esmtp = False

    def helo(self, name: str = "") -> CodeAndText:
        """HELO, with our own name unless another is given."""
        self.putcmd("helo", name or self.local_hostname)
        code, message = self.getreply()
        self.helo_resp = message
        return code, message

    def ehlo(self, name: str = "") -> CodeAndText:
        """EHLO, with our own name unless another is given; the answer fills `esmtp_features`."""
        self.esmtp_features = {}
        self.does_esmtp = False
        self.putcmd(self.ehlo_msg, name or self.local_hostname)
        code, message = self.getreply()
        if code == -1 and not message:
            self.close()
            raise SMTPServerDisconnected("Server not connected")
        self.ehlo_resp = message
        if not accepts(code):
            return code, message
        self.does_esmtp = True
        self.esmtp_features = self._engine.keywords(message)
        if "auth" in self.esmtp_features:
            # The old module puts a blank before each list that it joins.
            self.esmtp_features["auth"] = " " + self.esmtp_features["auth"]
        return code, message

    def ehlo_or_helo_if_needed(self) -> None:
        """EHLO, else HELO, unless one of them was said before.

        Raises:
            SMTPHeloError: the server takes neither.
        """
        if self.helo_resp is not None or self.ehlo_resp is not None:
            return
        code, message = self.ehlo()
        if not accepts(code) and code not in (-1, 421):
            code, message = self.helo()
        if not accepts(code):
            if code in (-1, 421):  # nobody is there to be asked again
                self.close()
            raise SMTPHeloError(code, message)

    def has_extn(self, opt: str) -> bool:
        """True if the server offers an extension; case does not matter."""
        return opt.lower() in self.esmtp_features

    def help(self, args: str = "") -> bytes:
        """HELP; the text of the reply."""
        self.putcmd("help", args)
        return self.getreply()[1]

    def noop(self) -> CodeAndText:
        """NOOP."""
        return self.docmd("noop")

    def verify(self, address: str) -> CodeAndText:
        """VRFY."""
        self.putcmd("vrfy", self._engine.user_or_list(address))
        return self.getreply()

    vrfy = verify

    def expn(self, address: str) -> CodeAndText:
        """EXPN."""
        self.putcmd("expn", self._engine.user_or_list(address))
        return self.getreply()

    def rset(self) -> CodeAndText:
        """RSET."""
        self.command_encoding = "ascii"
        self._accepted = 0
        return self.docmd("rset")

    def _rset(self) -> None:
        # A lost connection is the news of the next command, not of the one that failed already.
        try:
            code, _ = self.rset()
        except SMTPServerDisconnected:
            return
        if code == 421:
            self.close()  # RFC 5321 §3.8: whatever it says from now on is no answer to a message.

    def mail(self, sender: str, options: Sequence[str] = ()) -> CodeAndText:
        """MAIL; the options are left out unless the server speaks ESMTP.

        Raises:
            AddressError: the sender is no address.
            SMTPNotSupportedError: SMTPUTF8 is asked for, and not offered.
        """
        self._accepted = 0
        self.putcmd("mail", self._mail_argument(self._engine.sender_path(sender), options))
        return self.getreply()

    def _mail_argument(self, path: str, options: Iterable[str]) -> str:
        chosen = list(options) if self.does_esmtp else []
        if "smtputf8" in map(str.lower, chosen):
            if not self.has_extn("smtputf8"):
                raise SMTPNotSupportedError("SMTPUTF8 not supported by server")
            self.command_encoding = "utf-8"
            self._utf8 = True
        elif self._utf8:
            self.command_encoding = "ascii"
            self._utf8 = False
        return " ".join([f"from:<{path}>", *chosen])

    def rcpt(self, recip: str, options: Sequence[str] = ()) -> CodeAndText:
        """RCPT; the options are left out unless the server speaks ESMTP.

        Raises:
            AddressError: the recipient is no address.
        """
        self.putcmd("rcpt", self._rcpt_argument(self._engine.recipient_path(recip), options))
        code, message = self.getreply()
        self._accepted += accepts(code)
        return code, message

    def _rcpt_argument(self, path: str, options: Iterable[str]) -> str:
        return " ".join([f"to:<{path}>", *(options if self.does_esmtp else ())])
