"""What is said in an AUTH exchange is shown nowhere: no debug output, no error text."""

from __future__ import annotations

from base64 import b64decode

from smtpx._secrecy import redacted

__all__ = ["Secrecy"]

_REDACTED = "[redacted]"


class Secrecy:
    """Follows one connection's dialogue and knows which parts of it are secret."""

    __slots__ = ("_is_over", "challenged", "secrets")

    def __init__(self) -> None:
        self.challenged = False
        """The last reply was a 334: the next line is the answer to it."""
        self.secrets: frozenset[bytes] = frozenset()
        """What is cut out of what the server says."""
        self._is_over = True

    def shown(self, said: bytes | str) -> bytes | str:
        """What may be shown of a line that is to be sent."""
        if not self._is_secret(said):
            return said
        text = said if isinstance(said, str) else said.decode("utf-8", "replace")
        line = text.rstrip("\r\n")
        words = [] if self.challenged else line.split(" ", 2)
        hidden = self.challenged or len(words) > 2
        shown = " ".join([*words[:2], *([_REDACTED] if hidden else [])]) + text[len(line) :]
        return shown if isinstance(said, str) else shown.encode()

    def say(self, said: bytes) -> None:
        """Note octets that are being sent."""
        self._is_over = not self._is_secret(said)
        if self._is_over:
            return
        line = said.strip()
        words = [line] if self.challenged else line.split(None, 2)[2:]
        self.challenged = False
        for word in words:
            self._keep(word)

    def hear(self, code: int, text: bytes) -> bytes:
        """The text of a reply as the caller may have it."""
        self.challenged = code == 334 and not self._is_over
        if self.challenged:
            return text
        shown = self.hide(text)
        if self._is_over:  # The next command has been answered, be it by a reply too many.
            self.secrets = frozenset()
        return shown

    def hide(self, heard: bytes) -> bytes:
        """A server's text without the secrets that it echoes."""
        return redacted(heard, self.secrets)

    def _is_secret(self, said: bytes | str) -> bool:
        if self.challenged:
            return True
        if isinstance(said, str):
            return said[:5].upper() == "AUTH "
        return said[:5].upper() == b"AUTH "

    def _keep(self, argument: bytes) -> None:
        said = {argument}
        try:
            decoded = b64decode(argument)
        except ValueError:
            pass  # It is no base64, and stands for itself.
        else:
            said |= {decoded, *decoded.split(b"\0")}
        self.secrets |= said - {b"", b"=", b"*"}
